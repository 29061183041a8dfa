package bitswap

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/toftdb/toft/internal/planted"
)

// wires holds the streams with all peers:
//
//	us ──wants──▶ peer      two pipes to a peer, so that a want never waits
//	us ──blocks─▶ peer      behind a megabyte of blocks for the same peer
//	us ◀─────any─ peer      up to maxInbound streams from it
type wires struct {
	host host.Host
	// receive takes every message; an error ends the stream it came on.
	receive func(p peer.ID, m bsmsg.BitSwapMessage) error
	// known reports whether a peer may ever have anything of us.
	known func(peer.ID) bool
	// up and down tell that the first connection to a peer is there, or the last
	// one gone.
	up, down func(peer.ID)

	mu     sync.Mutex
	links  map[peer.ID]*link
	closed bool
	done   chan struct{}  // closed when closed is set
	wait   sync.WaitGroup // inbound handlers
}

// link is all streams with one peer.
type link struct {
	wants, blocks *pipe
	inbound       []network.Stream // oldest first
	got           atomic.Int64     // bytes read from the peer so far
	pace          pace             // of its wants
}

// pace is when the wants of a peer that came so far are due at wantRate.
type pace struct{ due time.Time }

// add books n wants and returns how long nothing more is to be read from who sent them:
// until it is at most a second ahead of the rate.
func (p *pace) add(n int, now time.Time) time.Duration {
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(time.Duration(n) * time.Second / wantRate)
	if planted.Bug("sync-wants-without-end") {
		return 0
	}
	return max(0, p.due.Sub(now)-time.Second)
}

func newWires(h host.Host) *wires {
	return &wires{host: h, links: make(map[peer.ID]*link), done: make(chan struct{})}
}

func (w *wires) start() {
	w.host.SetStreamHandler(Protocol, w.handle)
	w.host.Network().Notify((*notifiee)(w))
}

// link returns the streams with p, nil after close.
func (w *wires) link(p peer.ID) *link {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.linkLocked(p)
}

func (w *wires) linkLocked(p peer.ID) *link {
	l := w.links[p]
	if l == nil && !w.closed {
		l = &link{wants: newPipe(w.host, p), blocks: newPipe(w.host, p)}
		w.links[p] = l
	}
	return l
}

// got is how many bytes were read from p since it is connected.
func (w *wires) got(p peer.ID) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.links[p]; l != nil {
		return l.got.Load()
	}
	return 0
}

func (w *wires) connected(p peer.ID) bool {
	c := w.host.Network().Connectedness(p)
	return c == network.Connected || c == network.Limited
}

// handle reads messages until the stream ends.
func (w *wires) handle(s network.Stream) {
	p := s.Conn().RemotePeer()
	w.mu.Lock()
	l := w.linkLocked(p)
	if l == nil {
		w.mu.Unlock()
		_ = s.Reset()
		return
	}
	if len(l.inbound) == maxInbound {
		_ = l.inbound[0].Reset()
		l.inbound = l.inbound[1:]
	}
	l.inbound = append(l.inbound, s)
	w.wait.Add(1)
	w.mu.Unlock()
	defer w.wait.Done()

	r := &messages{r: bufio.NewReader(counted{s, &l.got}), limit: func() int {
		if w.known(p) {
			return maxMessage
		}
		return strangerMessage
	}}
	for {
		m, _, err := bsmsg.FromMsgReader(r)
		if err == nil {
			err = w.receive(p, m)
		}
		if err != nil {
			break
		}
		w.hold(l, len(m.Wantlist()))
	}
	_ = s.Reset()
	w.mu.Lock()
	for i := range l.inbound {
		if l.inbound[i] == s {
			l.inbound = append(l.inbound[:i:i], l.inbound[i+1:]...)
			break
		}
	}
	w.mu.Unlock()
	if !w.connected(p) {
		w.forget(p) // a message handled after the disconnect may have left traces
	}
}

// hold waits while a peer has sent more wants than it may: the rest stays on the line,
// and its sender with it. What the peer owes us comes on its other stream.
func (w *wires) hold(l *link, wants int) {
	w.mu.Lock()
	wait := l.pace.add(wants, time.Now())
	w.mu.Unlock()
	if wait == 0 {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.done:
	}
}

// messages reads what stands behind a length. It makes room as bytes arrive: a length
// costs who sends it three bytes, and its stream may stay open for ever.
type messages struct {
	r     *bufio.Reader
	limit func() int
	buf   bytes.Buffer // of the message at hand
}

// ReadMsg returns the next message, good until [messages.ReleaseMsg].
func (m *messages) ReadMsg() ([]byte, error) {
	n, err := binary.ReadUvarint(m.r)
	if err != nil {
		return nil, err
	}
	if n > uint64(m.limit()) {
		return nil, fmt.Errorf("bitswap: message of %d bytes", n)
	}
	m.buf.Reset()
	if _, err := io.CopyN(&m.buf, m.r, int64(n)); err != nil {
		return nil, err
	}
	return m.buf.Bytes(), nil
}

// ReleaseMsg gives a large buffer back.
func (m *messages) ReleaseMsg([]byte) {
	if m.buf.Cap() > 2*targetMessage {
		m.buf = bytes.Buffer{}
	}
}

// Read and NextMsgLen are the rest of what boxo takes, which calls neither.
func (m *messages) Read([]byte) (int, error) { return 0, errNotOurs }
func (m *messages) NextMsgLen() (int, error) { return 0, errNotOurs }

// counted counts the bytes read, which is how a stall is told from a large block.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// forget drops what is kept for a peer that is gone.
func (w *wires) forget(p peer.ID) {
	w.mu.Lock()
	l := w.links[p]
	gone := l != nil && len(l.inbound) == 0
	if gone {
		delete(w.links, p)
	}
	w.mu.Unlock()
	switch {
	case gone: // whoever still holds the link must not open a stream nobody knows of
		l.wants.close()
		l.blocks.close()
	case l != nil:
		l.wants.reset()
		l.blocks.reset()
	}
	w.down(p)
}

// close ends all streams and waits for their readers.
func (w *wires) close() {
	w.host.RemoveStreamHandler(Protocol)
	w.host.Network().StopNotify((*notifiee)(w))
	w.mu.Lock()
	w.closed = true
	close(w.done)
	for _, l := range w.links {
		l.wants.close()
		l.blocks.close()
		for _, s := range l.inbound {
			_ = s.Reset()
		}
	}
	w.mu.Unlock()
	w.wait.Wait()
}

// notifiee turns the host's connection events into up and down.
type notifiee wires

func (n *notifiee) Connected(_ network.Network, c network.Conn) { n.up(c.RemotePeer()) }

func (n *notifiee) Disconnected(_ network.Network, c network.Conn) {
	if w := (*wires)(n); !w.connected(c.RemotePeer()) {
		w.forget(c.RemotePeer())
	}
}

func (n *notifiee) Listen(network.Network, ma.Multiaddr)      {}
func (n *notifiee) ListenClose(network.Network, ma.Multiaddr) {}
