package peering

import (
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/team"
)

// Gate decides who is talked to. It holds a picture, replaced whenever a chain
// changes: which peers are on the roster of which team, and until when an invitation,
// open or ended lately, is a reason to let a stranger knock. The picture lets in; who
// is out is asked of the chain itself, so that a removal shuts every door at the
// moment it counts, whoever is still busy with the picture.
//
// It is asked at five doors: the handshake (below), every Toft stream, every
// Bitswap request, every GossipSub message and peer exchange, and every sync
// answer.
type Gate struct {
	clock func() time.Time
	now   atomic.Pointer[admitted]
	crowd atomic.Pointer[func() int] // how many strangers are connected; nil: not known

	mu    sync.Mutex
	ended map[block.ID]wire.Time // when an invitation without expiry was first seen ended
}

type admitted struct {
	chains map[block.TeamID]*ledger.Chain
	teams  map[peer.ID][]block.TeamID
	// words are those among them that exist on paper only: let in, for that is how
	// somebody comes back who lost everything, and never dialled.
	words map[peer.ID]bool
	// until is how long strangers may knock at the join door. Zero: nobody was
	// invited.
	until wire.Time
}

// never is later than any time of a message.
const never = wire.MaxTime

// NewGate returns a gate that lets nobody in.
func NewGate(clock func() time.Time) *Gate {
	g := &Gate{clock: clock, ended: map[block.ID]wire.Time{}}
	g.now.Store(&admitted{})
	return g
}

// inviting reports whether an invitation is open, or ended so lately that its holder
// is to be told.
func (g *Gate) inviting() bool { return wire.Time(g.clock().UnixMilli()) < g.now.Load().until }

// Members lists the peers on any roster that may be online.
func (g *Gate) Members() iter.Seq[peer.ID] {
	now := g.now.Load()
	return func(yield func(peer.ID) bool) {
		for p := range now.teams {
			if !now.words[p] && !yield(p) {
				return
			}
		}
	}
}

// known reports whether the peer is on the roster of any team of ours.
func (g *Gate) known(p peer.ID) bool {
	a := g.now.Load()
	return slices.ContainsFunc(a.teams[p], func(t block.TeamID) bool { return a.seats(p, t) })
}

// Shares reports whether a peer is on the roster of one team.
func (g *Gate) Shares(p peer.ID, team block.TeamID) bool {
	a := g.now.Load()
	return slices.Contains(a.teams[p], team) && a.seats(p, team)
}

// teams lists the teams we share with a peer.
func (g *Gate) teams(p peer.ID) []block.TeamID {
	a := g.now.Load()
	all := a.teams[p]
	for _, t := range all {
		if !a.seats(p, t) {
			return slices.DeleteFunc(slices.Clone(all), func(t block.TeamID) bool { return !a.seats(p, t) })
		}
	}
	return all
}

// seats reports whether the chain of a team seats a peer of the picture now. Whether
// we are on the team ourselves does not matter: who leaves has to tell somebody.
func (a *admitted) seats(p peer.ID, t block.TeamID) bool {
	return a.chains[t].State().Active(deviceIn(p))
}

// out reports whether a device was on a team and is not any more.
func out(st *team.State, dev block.Device) bool {
	d, was := st.Device(dev)
	return was && d.Status != team.StatusActive
}

// former reports whether a peer was on a team of ours and is not any more. It may
// knock, to hear why.
func (g *Gate) former(p peer.ID) bool {
	dev, ok := DeviceOf(p)
	if !ok {
		return false
	}
	for _, c := range g.now.Load().chains {
		if out(c.State(), dev) {
			return true
		}
	}
	return false
}

// deviceIn is DeviceOf for a peer that is known to be one: an Ed25519 key is the end
// of its PeerID.
func deviceIn(p peer.ID) block.Device { return block.Device([]byte(p[len(p)-len(block.Device{}):])) }

// InterceptPeerDial allows every dial: we only dial whom we or the user chose.
func (g *Gate) InterceptPeerDial(peer.ID) bool { return true }

// InterceptAddrDial allows every address.
func (g *Gate) InterceptAddrDial(peer.ID, multiaddr.Multiaddr) bool { return true }

// InterceptAccept allows every socket: who it is shows only after the handshake.
func (g *Gate) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured refuses strangers who dial us, unless they may knock.
func (g *Gate) InterceptSecured(dir network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return dir == network.DirOutbound || g.known(p) || (g.inviting() || g.former(p)) && !g.crowded()
}

// maxStrangers is how many peers may be connected that are on no roster: who comes in
// crowds while somebody is invited keeps joiners out, but no member.
const maxStrangers = 32

func (g *Gate) crowded() bool {
	count := g.crowd.Load()
	return count != nil && (*count)() >= maxStrangers
}

// strangers counts the connected peers that are on no roster.
func (n *Network) strangers() (count int) {
	for _, p := range n.host.Network().Peers() {
		if !n.gate.known(p) {
			count++
		}
	}
	return count
}

// InterceptUpgraded has nothing to add.
func (g *Gate) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// members wraps a stream handler: a stranger's stream is reset without a byte, as
// if nobody spoke the protocol.
func (n *Network) members(handle func(network.Stream)) func(network.Stream) {
	return func(s network.Stream) {
		p := s.Conn().RemotePeer()
		switch {
		case n.gate.known(p):
			handle(s)
		case n.gate.former(p) && n.seat(p):
			defer n.unseat(p)
			n.serveFormer(s)
		default:
			_ = s.Reset()
		}
	}
}

// serves reports whether a block may go to a peer: only if the peer is on the
// roster of the team that the block's own header names, or of the one its database
// moved to. An invite block names none:
// it is sealed to one device, its id may be published, and that device is on the
// roster when it asks.
func (n *Network) serves(p peer.ID, id block.ID) bool {
	teams := n.gate.teams(p)
	if len(teams) == 0 {
		return false
	}
	if planted.Bug("gate-any-member-any-block") {
		return true
	}
	of, ok := n.owners.of(id, func() ([]byte, error) { return n.o.Store.Get(store.Block(id)) })
	if !ok || of.share {
		return true // "don't have" tells a member nothing
	}
	if of.none {
		return false
	}
	for _, t := range teams {
		if of.hint == t.Hint() || (of.hint == block.Hint{} && block.ID(t) == id) {
			return true
		}
	}
	return n.movedTo(teams, of.hint, id)
}

// movedTo reports whether a block belongs to a database that came to one of these
// teams from the team its header names: who is in the new one reads its past.
func (n *Network) movedTo(teams []block.TeamID, from block.Hint, id block.ID) bool {
	for _, t := range teams {
		c := n.ledger.Chain(t)
		if c == nil {
			continue
		}
		for _, db := range c.State().DBs() {
			if db.Base == nil || db.Base.Team.Hint() != from {
				continue
			}
			if u, err := n.ledger.Stored(id); err == nil && u.DB == db.ID {
				return true
			}
		}
	}
	return false
}

// Refresh takes a new picture from the chains. It returns the old and the new one,
// for those who hold on to what they were told: gossip and Bitswap.
func (g *Gate) Refresh(l *ledger.Ledger) (before, next *admitted) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next = &admitted{chains: map[block.TeamID]*ledger.Chain{}, teams: map[peer.ID][]block.TeamID{}, words: map[peer.ID]bool{}}
	for _, c := range l.Chains() {
		next.chains[c.ID()] = c
		st := c.State()
		for _, dev := range st.Devices() {
			if st.Active(dev.Key) && dev.Key != l.Me() {
				p := PeerOf(dev.Key)
				next.words[p] = dev.Recovery
				if !slices.Contains(next.teams[p], c.ID()) {
					next.teams[p] = append(next.teams[p], c.ID())
				}
			}
		}
		for _, inv := range st.Invites() {
			next.until = max(next.until, g.knockable(inv))
		}
	}
	return g.now.Swap(next), next
}

// tellTime is how long who holds an invitation that has ended is told so, instead of
// finding a closed door.
const tellTime = wire.Time(7 * 24 * time.Hour / time.Millisecond)

// knockable returns until when strangers may knock because of an invitation: to its
// end and some days more. When one was used up or revoked is not written anywhere, so
// it counts from when we first saw it. The caller holds mu.
func (g *Gate) knockable(inv team.Invitation) wire.Time {
	until := never
	if inv.Expires != 0 {
		until = inv.Expires + tellTime
	}
	if inv.Status == team.StatusOpen {
		return until
	}
	if g.ended[inv.Link] == 0 {
		g.ended[inv.Link] = wire.Time(g.clock().UnixMilli())
	}
	return min(until, g.ended[inv.Link]+tellTime)
}

// PeerOf returns the PeerID of a device: the identity multihash of its key.
func PeerOf(d block.Device) peer.ID {
	p, err := peer.Decode(d.String())
	if err != nil {
		panic(fmt.Sprintf("device %s has no peer id: %v", d, err)) // both are the same bytes
	}
	return p
}

// DeviceOf returns the device behind a PeerID; ok is false for peers that are not
// Ed25519 keys and so can be no device.
func DeviceOf(p peer.ID) (d block.Device, ok bool) {
	pub, err := p.ExtractPublicKey()
	if err != nil || pub.Type() != crypto.Ed25519 {
		return d, false
	}
	raw, err := pub.Raw()
	if err != nil || len(raw) != len(d) {
		return d, false
	}
	return block.Device(raw), true
}
