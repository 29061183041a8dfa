package bitswap

import (
	"context"
	"errors"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	bsnet "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

// counter is the network as boxo's server sees it: it sends answers, and each is
// held against the rights of the peer once more at the moment it is sent.
type counter struct {
	*wires
	allow func(peer.ID, cid.Cid) bool
	// vain is told of the blocks that a peer would have got if we had them.
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
		if c.allow(p, missing) {
			c.vain(missing)
		}
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
