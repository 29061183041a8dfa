package bitswap

import (
	"context"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/libp2p/go-libp2p/core/peer"
)

// receive handles one message of a peer.
func (e *Exchange) receive(p peer.ID, m bsmsg.BitSwapMessage) error {
	err := e.answers(p, m)
	if len(m.Wantlist()) > 0 {
		e.server.ReceiveMessage(context.Background(), p, m)
	}
	return err
}

// answers takes the half of a message that is for the client. The hash of every
// block was computed when the message was decoded, by the reader of its stream.
func (e *Exchange) answers(p peer.ID, m bsmsg.BitSwapMessage) error {
	got, none := m.Blocks(), m.DontHaves()
	if len(got) == 0 && len(none) == 0 {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now, waste := time.Now(), e.garbage[p]
	for _, b := range got {
		data := b.RawData()
		if id, ok := idOf(b.Cid()); ok && len(data) <= MaxBlock && e.arrived(p, id, data, now) {
			waste -= len(data)
		} else {
			waste += len(data)
		}
	}
	for _, c := range none {
		if id, ok := idOf(c); ok {
			e.refused(p, id, now)
		}
	}
	if r := e.remotes[p]; r != nil {
		r.feed(now)
	}
	if len(got) == 0 {
		return nil
	}
	if e.garbage[p] = max(0, waste); waste > maxGarbage {
		delete(e.garbage, p)
		e.log.Warn("bitswap: stream reset, its peer sends blocks nobody asked for", "peer", p)
		return errGarbage
	}
	return nil
}

// up is called when p is connected, or has admitted us.
func (e *Exchange) up(p peer.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	for f := range e.fetches {
		f.revive(p, now)
	}
}

// down is called when p is gone.
func (e *Exchange) down(p peer.ID) {
	e.server.PeerDisconnected(p)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.garbage, p)
	now := time.Now()
	for f := range e.fetches {
		for _, l := range f.lanes {
			if l.r.p == p {
				l.down = true
				f.abandon(l, now)
			}
		}
	}
}
