package peering

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// dialTime is how long one member may take to answer a dial.
	dialTime = 5 * time.Second
	// dialsAtOnce bounds the members dialled at the same time.
	dialsAtOnce = 16
	// firstPause is how long after a round of dials the next one comes; it grows by
	// half each time, up to lastPause: with dialTime less than half a minute, after
	// which a network that came back shall be in use.
	firstPause = time.Second
	lastPause  = 20 * time.Second
	// bellPause lets what rings together be one round.
	bellPause = 200 * time.Millisecond
)

// dialSoon has the members dialled who are not connected: one has gone, or the address
// of one was learned.
func (n *Network) dialSoon() {
	select {
	case n.dials <- struct{}{}:
	default:
	}
}

// dialLoop keeps trying the members we know an address of and are not connected
// to: at once after the start, then with growing pauses.
func (n *Network) dialLoop() {
	pause := firstPause
	for {
		n.dialMembers()
		bell := n.dials
		wait := time.NewTimer(pause/2 + rand.N(pause/2))
		for waiting := true; waiting; {
			select {
			case <-n.ctx.Done():
				wait.Stop()
				return
			case <-bell:
				pause, bell = firstPause, nil
				wait.Reset(bellPause/2 + rand.N(bellPause))
			case <-wait.C:
				waiting = false
			}
		}
		pause = min(pause*3/2, lastPause)
	}
}

func (n *Network) dialMembers() {
	var wg sync.WaitGroup
	defer wg.Wait()
	room := make(chan struct{}, dialsAtOnce)
	for p := range n.gate.Members() {
		if n.host.Network().Connectedness(p) == network.Connected || !n.worthDialling(p) {
			continue
		}
		addrs, err := n.KeptAddrs(p)
		if err != nil || len(addrs) == 0 {
			continue
		}
		select {
		case room <- struct{}{}:
		case <-n.ctx.Done():
			return
		}
		wg.Go(func() {
			defer func() { <-room }()
			ctx, cancel := context.WithTimeout(n.ctx, dialTime)
			defer cancel()
			if n.host.Network().Connectedness(p) == network.Limited {
				ctx = network.WithForceDirectDial(ctx, "toft") // one relayed connection is enough
			}
			if err := n.host.Connect(ctx, peer.AddrInfo{ID: p, Addrs: addrs}); err != nil {
				n.o.Log.Debug("member not reached", "peer", p, "err", err)
			}
		})
	}
}
