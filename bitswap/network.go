package bitswap

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	bsnet "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-msgio"
	ma "github.com/multiformats/go-multiaddr"
)

// wires holds the streams with all peers:
//
//	us ──wants──▶ peer      two pipes to a peer, so that a want never waits
//	us ──blocks─▶ peer      behind a megabyte of blocks for the same peer
//	us ◀─────any─ peer      up to maxInbound streams from it
type wires struct {
	host host.Host
	// receive takes every message; an error ends the stream it came on.
	receive func(p peer.ID, m bsmsg.BitSwapMessage, size int) error
	// up and down tell that the first connection to a peer is there, or the last
	// one gone.
	up, down func(peer.ID)

	mu     sync.Mutex
	links  map[peer.ID]*link
	closed bool
	wait   sync.WaitGroup // inbound handlers
}

// link is all streams with one peer.
type link struct {
	wants, blocks *pipe
	inbound       []network.Stream // oldest first
	got           atomic.Int64     // bytes read from the peer so far
}

func newWires(h host.Host) *wires { return &wires{host: h, links: make(map[peer.ID]*link)} }

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

	r := msgio.NewVarintReaderSize(counted{s, &l.got}, maxMessage)
	for {
		m, size, err := bsmsg.FromMsgReader(r)
		if err == nil {
			err = w.receive(p, m, size)
		}
		if err != nil {
			break
		}
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

// counter is the network as boxo's server sees it: it sends answers, and each is
// held against the rights of the peer once more at the moment it is sent.
type counter struct {
	*wires
	allow func(peer.ID, cid.Cid) bool
	// vain is told of the blocks that a peer was told we do not have.
	vain func(c cid.Cid)
}

var errNotOurs = errors.New("bitswap: not the server's business")

// SendMessage writes an answer. What p may not have (any more) is taken out: the
// server asks for permission when a want arrives, and may answer much later.
func (c *counter) SendMessage(ctx context.Context, p peer.ID, m bsmsg.BitSwapMessage) error {
	l := c.link(p)
	if l == nil {
		return ErrClosed
	}
	m = c.permitted(p, m)
	for _, missing := range m.DontHaves() {
		c.vain(missing)
	}
	return l.blocks.send(ctx, m)
}

func (c *counter) permitted(p peer.ID, m bsmsg.BitSwapMessage) bsmsg.BitSwapMessage {
	out := bsmsg.New(false)
	out.SetPendingBytes(m.PendingBytes())
	for _, b := range m.Blocks() {
		if c.allow(p, b.Cid()) {
			out.AddBlock(b)
		} else {
			out.AddDontHave(b.Cid())
		}
	}
	for _, b := range m.BlockPresences() {
		if b.Type == pb.Message_Have && c.allow(p, b.Cid) {
			out.AddHave(b.Cid)
		} else {
			out.AddDontHave(b.Cid)
		}
	}
	return out
}

func (c *counter) Self() peer.ID   { return c.host.ID() }
func (c *counter) Host() host.Host { return c.host }

// DisconnectFrom ends our streams only: the connection belongs to the host.
func (c *counter) DisconnectFrom(_ context.Context, p peer.ID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.links[p]; l != nil {
		for _, s := range l.inbound {
			_ = s.Reset()
		}
	}
	return nil
}

func (c *counter) IsConnectedToPeer(_ context.Context, p peer.ID) bool { return c.connected(p) }

// The rest of boxo's network interface is the client's half, which is ours.

func (c *counter) Start(...bsnet.Receiver)                      {}
func (c *counter) Stop()                                        {}
func (c *counter) Stats() bsnet.Stats                           { return bsnet.Stats{} }
func (c *counter) Connect(context.Context, peer.AddrInfo) error { return errNotOurs }
func (c *counter) Ping(context.Context, peer.ID) ping.Result    { return ping.Result{Error: errNotOurs} }
func (c *counter) Latency(peer.ID) time.Duration                { return 0 }
func (c *counter) TagPeer(peer.ID, string, int)                 {}
func (c *counter) UntagPeer(peer.ID, string)                    {}
func (c *counter) Protect(peer.ID, string)                      {}
func (c *counter) Unprotect(peer.ID, string) bool               { return false }
func (c *counter) NewMessageSender(context.Context, peer.ID, *bsnet.MessageSenderOpts) (bsnet.MessageSender, error) {
	return nil, errNotOurs
}
