package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/team"
)

// Compaction lets the history of a database begin later:
//
//	order of arrival  0 ───────── floor ──────────────────── now
//	                    older than keep, and every │ younger, or somebody
//	                    active device has it       │ has not said so yet
//
//	old deletes ─▶ purged by a commit ─▶ how far may the floor rise? ─▶ states that
//	labels name get trees of their own ─▶ the ground is made and pinned ─▶ record
//
// Nothing is lost by it that readers see, and nothing is deleted: what lies below is
// collected later, see gc.go. A device that is silent longer than keep does not hold
// it back; when it comes again it takes a checkpoint.

// Keep is how long history is kept if nobody says otherwise.
const Keep = 30 * 24 * time.Hour

// Ack is what a device of the team is known to hold of a database: heads, with all
// they build on.
type Ack struct {
	Device block.Device
	Heads  []block.ID
	Heard  time.Time // when it last said something; zero: never
}

// Compaction is what a compaction is asked for.
type Compaction struct {
	Keep   time.Duration // commits and deletions younger than this stay
	Acks   []Ack         // of other devices
	DryRun bool          // only say what would be done
}

// Compacted is what a compaction did, or would do.
type Compacted struct {
	Commits int       // that lie below the floor and did not before
	Below   int       // that lie below the floor now
	Purged  int       // documents of which nothing was kept but that they were deleted
	Labels  int       // that got a state of their own
	Oldest  wire.Time // of the oldest state that can be opened; 0: all of them
	Held    []Held    // what keeps the floor from rising further
	Freed   Freed     // what was collected: of compactions before, whose grace is over
}

// Held is a reason why the floor does not rise further.
type Held struct {
	Device  block.Device // that has not said it holds more; zero: age
	Since   time.Time    // when it was heard last; of age: the time of the first commit that stays
	Commits int          // how many commits are kept for it
}

// Compact raises the floor as far as it may, and collects what compactions before left
// behind, if their grace is over.
func (d *Database) Compact(ctx context.Context, o Compaction) (out Compacted, err error) {
	if err := d.Damage(); err != nil {
		return out, err
	}
	if err := d.Repairing(); err != nil {
		return out, err
	}
	place, held, err := d.mayRise(o)
	if err != nil {
		return out, err
	}
	out.Held = held
	if out.Purged, err = d.purgeOld(ctx, place, o); err != nil {
		return out, fmt.Errorf("purge old deletions: %w", err)
	}
	was := 0
	if f := d.begins(); f != nil {
		was, out.Oldest = int(f.Place), f.Time
	}
	out.Below = max(was, place)
	out.Commits = out.Below - was
	if !o.DryRun && place > was {
		if out.Labels, err = d.raise(ctx, place); err != nil {
			return out, err
		}
		out.Oldest = d.begins().Time
	}
	out.Freed, err = d.GC(ctx, Collection{DryRun: o.DryRun})
	return out, err
}

// begins returns the record of where the history begins, nil if all of it is here.
func (d *Database) begins() *floor {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.floor
}

// keepFrom returns the time after which everything stays. To keep nothing means nothing,
// also of commits whose time is ahead of the clock, as that of quick writers is.
func (d *Database) keepFrom(o Compaction) wire.Time {
	if o.Keep == 0 {
		return math.MaxInt64
	}
	return d.n.Now() - wire.Time(o.Keep.Milliseconds())
}

// mayRise returns up to which place everything is older than keep and held by all that
// count, and what keeps it from being the present.
func (d *Database) mayRise(o Compaction) (place int, held []Held, err error) {
	limit := d.keepFrom(o)
	silent := d.n.o.Clock().Add(-o.Keep)
	newest := d.Newest()
	seated := d.seated()
	err = d.View(func(r *crdt.Replica) error {
		place = r.Len()
		n := 0
		for c := range r.Commits() {
			if c.Time > limit {
				held = append(held, Held{Since: time.UnixMilli(int64(c.Time)), Commits: r.Len() - n})
				place = n
				break
			}
			n++
		}
		aged := place
		for dev, since := range seated {
			heads, heard := []block.ID(nil), since
			for _, a := range o.Acks {
				if a.Device == dev {
					heads = append(heads, a.Heads...)
					heard = later(heard, a.Heard)
				}
			}
			for _, c := range newest[dev] { // who wrote it held all of its past
				heads = append(heads, c.ID)
				heard = later(heard, time.UnixMilli(int64(c.Time)))
			}
			if heard.Before(silent) || planted.Bug("ledger-compacts-what-others-lack") {
				continue
			}
			has, err := r.Holds(heads)
			if err != nil {
				return err
			}
			if has < aged {
				held = append(held, Held{Device: dev, Since: heard, Commits: r.Len() - has})
			}
			place = min(place, has)
		}
		return nil
	})
	slices.SortFunc(held, func(a, b Held) int { return b.Commits - a.Commits })
	return place, held, err
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// seated returns the other active devices that hold this database, and when each came.
func (d *Database) seated() map[block.Device]time.Time {
	st, out := d.team.State(), map[block.Device]time.Time{}
	at := map[block.ID]wire.Time{}
	for _, e := range d.team.Log() {
		at[e.ID] = e.Time
	}
	for _, dev := range st.Devices() {
		if dev.Key != d.n.Me() && !dev.Recovery && st.CanRead(dev.Key) && dev.Role != team.RoleReplica {
			out[dev.Key] = time.UnixMilli(int64(at[dev.Seat]))
		}
	}
	return out
}

// purgeSlice is how many documents are looked at while writers wait, and purged by one
// commit at most.
const purgeSlice = 1000

// purgeOld drops what is kept of documents that were deleted longer ago than keep,
// where everybody has their deletion. It is an ordinary commit: who edits such a
// document meanwhile brings back what he wrote.
func (d *Database) purgeOld(ctx context.Context, place int, o Compaction) (n int, err error) {
	st := d.team.State()
	if !st.CanWrite(d.n.Me()) {
		return 0, nil
	}
	limit := d.keepFrom(o)
	for after, more := "", true; more; {
		var list []crdt.Hidden
		if err := d.View(func(r *crdt.Replica) error {
			list, after, err = r.Stale(place, limit, after, purgeSlice)
			return err
		}); err != nil {
			return n, err
		}
		more = after != ""
		writes := make([]crdt.Write, len(list))
		for i, doc := range list {
			writes[i] = crdt.Write{Verb: crdt.Purge, ID: doc.ID, IfRev: doc.Rev}
		}
		if len(writes) > 0 && !o.DryRun {
			var conflict *crdt.ConflictError // somebody was quicker: the next compaction
			_, err := d.Write(ctx, writes)
			if errors.As(err, &conflict) {
				continue
			}
			if err != nil {
				return n, err
			}
		}
		n += len(writes)
	}
	return n, nil
}

// raise makes the ground of a place, and lets the history begin there.
func (d *Database) raise(ctx context.Context, place int) (labels int, err error) {
	d.labelling.Lock()
	defer d.labelling.Unlock()
	d.building.Add(1) // what is saved below no checkpoint names yet
	defer d.building.Add(-1)
	if labels, err = d.keepLabels(ctx, place); err != nil {
		return 0, err
	}
	var all bool
	if err := d.View(func(r *crdt.Replica) error { all = place == r.Len(); return nil }); err != nil {
		return 0, err
	}
	if all {
		if done, err := d.floorNow(ctx, place); done || err != nil {
			return labels, err
		}
	}
	b, err := d.build(ctx, nil, place)
	if err != nil {
		return labels, err
	}
	d.lockQuiet()
	defer d.writing.Unlock()
	f := d.floorOf(b.f, b.checkpoint, 0)
	if f.Arrival, err = d.arrivalOf(place); err != nil {
		return labels, err
	}
	return labels, d.setFloor(ctx, f)
}

// arrivalOf returns the number in the index of the commit at a place.
func (d *Database) arrivalOf(place int) (uint64, error) {
	var want block.ID
	from := uint64(0)
	err := d.View(func(r *crdt.Replica) error {
		if d.floor != nil {
			from = d.floor.Arrival
		}
		if place == r.Len() {
			return nil
		}
		for c := range r.Commits() {
			if i, _ := r.Place(c.ID); i == place {
				want = c.ID
				break
			}
		}
		return nil
	})
	if err != nil || want.IsZero() {
		return d.arrival, err
	}
	for e, err := range d.n.o.Store.ScanSpan(store.Span{Prefix: store.Commits(d.id), From: store.CommitIndex(d.id, from)}) {
		if err != nil {
			return 0, err
		}
		if id, err := store.ID[block.ID](e.Value); err == nil && id == want {
			return store.Arrival(e.Key)
		}
	}
	return 0, fmt.Errorf("commit %s is not in the index", want)
}

// keepLabels gives the states that labels name a tree of their own where a floor at a
// place would make them untellable.
func (d *Database) keepLabels(ctx context.Context, place int) (n int, err error) {
	labels, err := d.Labels()
	if err != nil {
		return 0, err
	}
	for _, l := range labels {
		if !l.State.IsZero() || len(l.Heads) == 0 {
			continue
		}
		var set []block.ID
		whole := false
		if err := d.View(func(r *crdt.Replica) (err error) {
			if set, err = r.Past(l.Heads); err == nil && len(set) >= place {
				i, _ := r.Place(set[place-1])
				whole = i == place-1
			}
			return err
		}); err != nil {
			return n, err
		}
		if whole || planted.Bug("ledger-labels-not-respected") {
			continue
		}
		b, err := d.build(ctx, set, 0)
		if err != nil {
			return n, fmt.Errorf("keep label %q: %w", l.Name, err)
		}
		l.State = b.checkpoint
		key, err := d.labelKey(l.Name)
		if err != nil {
			return n, err
		}
		batch := d.n.o.Store.NewBatch()
		if err := d.putLabel(batch, key, l); err != nil {
			return n, err
		}
		if err := d.n.durable(ctx, batch); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
