package ledger

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/team"
)

// What others ask of a chain. The reducer is not safe for concurrent use, so these
// take the lock; whatever the immutable state can answer does not.

// ID returns the team's id.
func (c *Chain) ID() block.TeamID { return c.id }

// State returns the team as it is now; it never changes under the caller.
func (c *Chain) State() *team.State { return c.state.Load() }

// Personal reports whether this is the team of the user's own devices.
func (c *Chain) Personal() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.info.Personal }

// Heads returns the links nothing builds on yet, sorted.
func (c *Chain) Heads() []block.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Heads()
}

// Has reports whether a link is here.
func (c *Chain) Has(id block.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Has(id)
}

// Since returns the links that a holder of heads lacks, parents before children.
func (c *Chain) Since(heads []block.ID) []block.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Since(heads)
}

func (c *Chain) judge(f team.CommitFacts) team.Verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Judge(f)
}

// Log returns every link with what the rules made of it.
func (c *Chain) Log() []team.Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Log()
}

// Generation returns the full id of a generation of this team.
func (c *Chain) Generation(hint block.Hint) (block.Generation, bool) {
	g, ok := c.gens.Load(hint)
	if !ok {
		return block.Generation{}, false
	}
	return g.(block.Generation), true
}

// Databases lists the team's databases that are open, in the order of their ids.
func (c *Chain) Databases() []*Database {
	c.n.mu.RLock()
	defer c.n.mu.RUnlock()
	var out []*Database
	for _, d := range c.n.dbs {
		if d.team == c {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *Database) int { return bytes.Compare(a.id[:], b.id[:]) })
	return out
}

// Summary is one hash over everything sync compares of the team.
func (c *Chain) Summary() [32]byte {
	var dbs []message.DBHeads
	for _, d := range c.Databases() {
		dbs = append(dbs, d.Heads())
	}
	return message.Summary(c.Heads(), dbs)
}

// Request says how far this node is in the team.
func (c *Chain) Request() message.TeamRequest {
	t := message.TeamRequest{Team: c.id, ChainHeads: c.Heads()}
	for _, d := range c.Databases() {
		_ = d.View(func(r *crdt.Replica) error {
			t.DBs = append(t.DBs, message.DBRequest{DB: d.id, Frontier: r.Frontier().Encode()})
			return nil
		})
	}
	return t
}

// Heads says where the database stands.
func (d *Database) Heads() message.DBHeads {
	h := message.DBHeads{DB: d.id}
	_ = d.View(func(r *crdt.Replica) error {
		h.Heads, h.Digest, h.Void = r.Heads(), r.Digest(), r.VoidHash()
		return nil
	})
	return h
}

// Seated reports whether this device is an active member of the team.
func (c *Chain) Seated() bool { return c.State().Active(c.n.Me()) }

// Provisional reports whether the join is unconfirmed: nobody but the admitter has
// shown the same heads yet, so it might hide a part of the chain. Until then what
// this device writes stays here.
func (c *Chain) Provisional() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.info.Provisional }

// Agreed notes that a device holds exactly what we do. Any member but the admitter's
// and our own ends a provisional join by that, and any other device of the
// inviter's. It reports whether it did.
func (c *Chain) Agreed(ctx context.Context, dev block.Device) (ended bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.info.Provisional {
		return false, nil
	}
	st := c.State()
	self, ok := st.Device(c.n.Me())
	other, known := st.Device(dev)
	if !ok || !known || !st.Active(dev) {
		return false, nil
	}
	admitter, inviter := st.AdmittedBy(self.Seat)
	by, _ := st.Device(admitter)
	if inviter.IsZero() {
		inviter = by.Member // who added somebody without an invitation meant to
	}
	if !c.shown() {
		return false, nil
	}
	if dev == c.n.Me() || other.Member != inviter && (other.Member == by.Member || other.Member == self.Member) {
		return false, nil
	}
	c.info.Provisional = false
	return true, c.keepInfo(ctx)
}

// Expect notes the ADMIT link that this device was promised, where the chain is here
// already and does not seat it (any more). The join is provisional again. It does
// nothing for a device that is on the team.
func (c *Chain) Expect(ctx context.Context, seat block.ID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.State().Active(c.n.Me()) || c.info.Seat == seat {
		return nil
	}
	c.info.Seat, c.info.Provisional = seat, true
	return c.keepInfo(ctx)
}

// info is this device's own record of a team.
type info struct {
	Personal    bool     `cbor:"1,keyasint,omitempty"`
	Provisional bool     `cbor:"2,keyasint,omitempty"`
	Seat        block.ID `cbor:"3,keyasint,omitzero"` // the ADMIT that was promised to us
	Share       block.ID `cbor:"4,keyasint,omitzero"` // the invite block we came by
}

// maxInfo bounds the record.
const maxInfo = 256

// begin makes genesis and the record of the team durable in one step: a chain
// without its record could not be opened again.
func (c *Chain) begin(ctx context.Context, genesis *block.Block, i info) error {
	batch := c.n.o.Store.NewBatch()
	batch.Set(store.TeamInfo(c.id), wire.Must(i))
	c.stage(batch, genesis)
	if err := c.n.durable(ctx, batch); err != nil {
		return fmt.Errorf("store chain of %s: %w", c.id, err)
	}
	c.info, c.arrival = i, 1
	return nil
}

func (c *Chain) keepInfo(ctx context.Context) error {
	batch := c.n.o.Store.NewBatch()
	batch.Set(store.TeamInfo(c.id), wire.Must(c.info))
	return c.n.durable(ctx, batch)
}

func (c *Chain) readInfo() error {
	data, err := c.n.o.Store.Get(store.TeamInfo(c.id))
	if err == nil {
		c.info, err = wire.Decode[info](data, maxInfo)
	}
	if err != nil {
		return fmt.Errorf("record of team %s: %w", c.id, err)
	}
	return nil
}
