package ledger

import (
	"context"
	"slices"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/store"
)

// Whoever holds nothing of a database may begin at a checkpoint of this device. One is
// made when it is asked for, unless the newest tells nearly all there is; what came
// after it goes as commits.

// Offer is a checkpoint of this device for others to begin with.
type Offer struct {
	ID      block.ID
	Block   []byte
	Tips    []block.ID // the newest commit of every actor below it
	Commits int        // below it, the first in the order of arrival
}

const (
	// offerTail is how many commits may have come after a checkpoint that is offered; an
	// eighth of those below it is as good.
	offerTail = 512
	// offerEvery is how often one is made at most, whoever asks.
	offerEvery = 5 * time.Second
	// keptOffers is how many are remembered: as many as stay on disk.
	keptOffers = keptCheckpoints
)

// Offer returns a checkpoint that covers what is here, or nearly so; false: this
// device's do not count for others, or it cannot make one.
func (d *Database) Offer() (Offer, bool) {
	if !d.team.State().CanWrite(d.n.Me()) || d.Damage() != nil {
		return Offer{}, false
	}
	d.offering.Lock()
	defer d.offering.Unlock()
	held := 0
	_ = d.View(func(r *crdt.Replica) error { held = r.Len(); return nil })
	last, ok := d.lastOffer()
	tail := held - last.Commits
	recent := ok && d.n.o.Clock().Sub(d.offeredAt).Abs() < offerEvery
	if !ok || tail > max(offerTail, last.Commits/8) && !recent || planted.Bug("ledger-flush-for-every-asker") {
		if err := d.Flush(context.Background()); err != nil {
			d.n.o.Log.Debug("no checkpoint to offer", "db", d.id, "err", err)
		}
		d.offeredAt = d.n.o.Clock()
		last, ok = d.lastOffer()
	}
	return last, ok
}

// lastOffer returns the newest checkpoint on disk as an offer, if it is this device's.
func (d *Database) lastOffer() (Offer, bool) {
	list, err := d.checkpoints()
	if err != nil || len(list) == 0 {
		return Offer{}, false
	}
	return d.offerOf(list[0].id)
}

// offerOf reads a checkpoint that is on disk as an offer. The caller holds offering.
func (d *Database) offerOf(id block.ID) (Offer, bool) {
	if i := slices.IndexFunc(d.offers, func(o Offer) bool { return o.ID == id }); i >= 0 {
		return d.offers[i], !d.offers[i].empty()
	}
	o := Offer{ID: id}
	u, err := d.n.Stored(id)
	if err != nil {
		return o, false
	}
	if c, err := d.openCheckpoint(id); err == nil && u.Author == d.n.Me() && !c.Forked {
		o.Block = u.Data()
		for _, p := range c.Frontier {
			o.Tips, o.Commits = append(o.Tips, p.ID), o.Commits+int(p.Seq) // no actor forked: seqs have no gaps
		}
	}
	if d.offers = append(d.offers, o); len(d.offers) > keptOffers {
		d.offers = d.offers[1:]
	}
	return o, !o.empty()
}

func (o Offer) empty() bool { return o.Commits == 0 }

// Rows returns rows of the graph below a checkpoint that was offered, from a place on;
// nil if there are none, or it is not known any more.
func (d *Database) Rows(checkpoint block.ID, from uint64) (rows []byte) {
	list, err := d.checkpoints()
	if err != nil || !slices.ContainsFunc(list, func(s saved) bool { return s.id == checkpoint }) {
		return nil
	}
	d.offering.Lock()
	o, ok := d.offerOf(checkpoint)
	d.offering.Unlock()
	if !ok || from >= uint64(o.Commits) {
		return nil
	}
	_ = d.View(func(r *crdt.Replica) error {
		if r.Len() >= o.Commits {
			rows = r.Rows(int(from), o.Commits)
		}
		return nil
	})
	return rows
}

// Weight tells what sending everything costs: commits, the bytes of their blocks, and
// about those of the state's nodes. Below: some of the history is not here.
func (d *Database) Weight() (commits int, history, state int64, below bool) {
	err := d.View(func(r *crdt.Replica) (err error) {
		commits, below = r.Len(), r.Floor() > 0
		state, err = r.StateBytes()
		return err
	})
	if err != nil {
		return 0, 0, 0, false
	}
	return commits, d.Bytes(), state, below
}

// Below reports whether a commit lies below the floor, so that its block may not be here.
func (d *Database) Below(id block.ID) (below bool) {
	_ = d.View(func(r *crdt.Replica) error {
		below = r.Below(id)
		return nil
	})
	return below && !d.has(id)
}

// has reports whether a block is on disk.
func (d *Database) has(id block.ID) bool {
	ok, err := d.n.o.Store.Has(store.Block(id))
	return err == nil && ok
}
