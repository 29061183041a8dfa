package peering

import (
	"bytes"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
)

// Standing is what status knows of the others: where each device was last heard to
// stand in each database. It is never guessed: a device that has not said that it
// holds what we hold does not count as in sync.

// tip names one state of one database.
func tip(h message.DBHeads) [32]byte { return message.Summary(nil, []message.DBHeads{h}) }

// agreed notes that a peer holds exactly what we do of a team.
func (n *Network) agreed(c *ledger.Chain, p peer.ID) {
	dev, ok := DeviceOf(p)
	if !ok {
		return
	}
	for _, d := range c.Databases() {
		n.stands(dev, d.Heads())
	}
	n.vouched(c, p)
}

// vouched notes that a peer shows the same chain, which may end a provisional join.
// What either wrote in databases does not matter: a joiner that has written already
// holds more than anybody else until it is confirmed.
func (n *Network) vouched(c *ledger.Chain, p peer.ID) {
	dev, ok := DeviceOf(p)
	if !ok {
		return
	}
	n.chained(c, dev, c.Heads())
	ended, err := c.Agreed(n.ctx, dev)
	if err != nil {
		n.o.Log.Error("join not confirmed", "team", c.ID(), "err", err)
	}
	if ended {
		n.announceAll(c)
	}
}

// compared notes where a peer stands after it had nothing more for us: it may be
// behind, and then does not agree.
func (n *Network) compared(c *ledger.Chain, p peer.ID, t message.TeamResponse) {
	if t.Summary == c.Summary() {
		n.agreed(c, p)
		return
	}
	if slices.Equal(t.ChainHeads, c.Heads()) {
		n.vouched(c, p)
	}
	if dev, ok := DeviceOf(p); ok {
		n.chained(c, dev, t.ChainHeads)
		for _, db := range t.DBs {
			if d := n.ledger.Database(db.DB); d != nil && d.Team() == c {
				n.stands(dev, db.DBHeads)
				n.again(d, dev, db)
			}
		}
	}
}

// shown notes what an asker's own question says of where it stands: with our chain
// and our frontier it holds what we do.
func (n *Network) shown(c *ledger.Chain, p peer.ID, t message.TeamRequest, r message.TeamResponse) {
	dev, ok := DeviceOf(p)
	if !ok || !slices.Equal(t.ChainHeads, r.ChainHeads) {
		return
	}
	n.vouched(c, p)
	for _, ours := range r.DBs {
		for _, theirs := range t.DBs {
			if theirs.DB == ours.DB && bytes.Equal(theirs.Frontier, ours.Frontier) {
				n.stands(dev, ours.DBHeads)
			}
		}
	}
}

// stands notes where a device says it stands in a database of a team it is in: it may
// say so of any id it makes up.
func (n *Network) stands(dev block.Device, h message.DBHeads) {
	if d := n.ledger.Database(h.DB); d == nil || !d.Team().State().Active(dev) {
		return
	}
	n.mu.Lock()
	if n.tips[h.DB] == nil {
		n.tips[h.DB] = map[block.Device][32]byte{}
	}
	n.tips[h.DB][dev] = tip(h)
	n.mu.Unlock()
	n.doubt(dev, h)
	n.standing()
}

// chained notes which heads of a team's chain a device of it says it has.
func (n *Network) chained(c *ledger.Chain, dev block.Device, heads []block.ID) {
	if !c.State().Active(dev) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.links[c.ID()] == nil {
		n.links[c.ID()] = map[block.Device][32]byte{}
	}
	n.links[c.ID()][dev] = message.Summary(heads, nil)
}

// sameChain reports whether a peer was last heard to have exactly the links we have.
func (n *Network) sameChain(c *ledger.Chain, p peer.ID) bool {
	dev, ok := DeviceOf(p)
	ours := message.Summary(c.Heads(), nil)
	n.mu.Lock()
	defer n.mu.Unlock()
	return ok && n.links[c.ID()][dev] == ours
}

// Agrees reports whether a peer was last heard to hold exactly what we hold now of a
// database.
func (n *Network) Agrees(d *ledger.Database, p peer.ID) bool {
	dev, ok := DeviceOf(p)
	ours := tip(d.Heads())
	n.mu.Lock()
	defer n.mu.Unlock()
	return ok && n.tips[d.ID()][dev] == ours
}

// Pulling reports whether a pull of a team is in flight.
func (n *Network) Pulling(team block.TeamID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pulls[team] > 0
}

// count notes a pull of a team that begins (1) or ends (-1).
func (n *Network) count(team block.TeamID, by int) {
	n.mu.Lock()
	n.pulls[team] += by
	idle := n.pulls[team] == 0
	n.mu.Unlock()
	if idle {
		n.finished(team)
	}
}
