package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/crdt/tree"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/wire"
)

// What lies below the floor is collected once the grace is over: a member who was just
// being given old commits can finish. Of a commit that counts go its block, its place
// in the index, its operation blocks, and the value blocks that nothing else names:
//
//	named by   the ground, kept checkpoints, states of labels
//	           commits above the floor, and void ones below (they stay, to be looked at)
//
// A document that stands in a later tree stands there by an assignment that either was
// there at the floor, or is of a commit above it; so these are all. The ground is read
// whole and held against its digest before anything goes.

// Grace is how long blocks below a floor stay after it was set.
const Grace = 24 * time.Hour

// Collection is what a collection is asked for.
type Collection struct {
	Now    bool // without waiting for the grace to end
	DryRun bool
}

// Freed is what a collection took away, or would.
type Freed struct {
	Commits, Blocks int
	Bytes           int64
	Waiting         wire.Time // when the grace ends of what still waits; 0: nothing does
}

// GC collects what lies below the floor.
func (d *Database) GC(ctx context.Context, o Collection) (Freed, error) {
	g := collection{d: d, o: o, kept: map[block.ID]bool{}, gone: map[block.ID]bool{}}
	if d.Damage() != nil || d.Repairing() != nil {
		return g.Freed, nil // what lies below may be what is lacking
	}
	f := d.begins()
	if f == nil {
		return g.Freed, nil
	}
	d.collecting.Lock()
	defer d.collecting.Unlock()
	if end := f.Set + wire.Time(Grace.Milliseconds()); !o.Now && d.n.Now() < end {
		if some, err := d.anyBelow(f); err != nil || !some {
			return g.Freed, err
		}
		g.Waiting = end
		return g.Freed, nil
	}
	err := g.run(ctx, f)
	if o.DryRun {
		return g.Freed, err
	}
	d.bytes.Add(-g.ofCommits)
	if err == nil && g.Blocks > 0 {
		err = d.n.o.Store.Compact(ctx)
	}
	return g.Freed, err
}

// anyBelow reports whether something of the commits below the floor is in the index.
func (d *Database) anyBelow(f *floor) (bool, error) {
	for e, err := range d.n.o.Store.Scan(store.Commits(d.id)) {
		return err == nil && number(e.Key) < f.Arrival, err
	}
	return false, nil
}

// collection is one run.
type collection struct {
	Freed
	d         *Database
	o         Collection
	ofCommits int64

	live    map[block.ID]struct{} // blocks that something names; nil: not looked yet
	scanned uint64                // up to this number commits of the index are in live
	kept    map[block.ID]bool     // that outlive the commit that brought them
	gone    map[block.ID]bool     // linked blocks that were dropped
}

// below is a commit to be collected.
type below struct {
	key    []byte
	commit block.ID
	links  []block.ID
	bytes  int
}

// batchBelow is how many commits are collected under one lock.
const batchBelow = 256

func (g *collection) run(ctx context.Context, f *floor) error {
	d := g.d
	voids, err := d.voidsNow()
	if err != nil {
		return err
	}
	audited := false
	var list []below
	flush := func() error {
		if len(list) == 0 {
			return nil
		}
		if !audited && !g.o.DryRun {
			var rep Report
			if err := d.auditGround(ctx, &rep); err != nil {
				return err
			}
			if len(rep.Bad) > 0 {
				return fmt.Errorf("nothing is collected, because the ground of the history is damaged: %s", rep.Bad[0].Detail)
			}
			audited = true
		}
		err := g.collect(ctx, f, list)
		list = list[:0]
		return errors.Join(err, ctx.Err())
	}
	for e, err := range d.n.o.Store.Scan(store.Commits(d.id)) {
		if err != nil {
			return err
		}
		if number(e.Key) >= f.Arrival {
			break
		}
		id, err := store.ID[block.ID](e.Value)
		if err != nil {
			return err
		}
		if _, void := voids[id]; void {
			continue
		}
		x := below{key: slices.Clone(e.Key), commit: id}
		if u, err := d.n.Stored(id); err == nil {
			x.links, x.bytes = u.Links[u.Parents:], len(u.Data())
		}
		if list = append(list, x); len(list) == batchBelow {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if g.Commits == 0 && !g.o.Now {
		return nil // what outlived its commit then is named still
	}
	return g.again(ctx, f)
}

func (d *Database) voidsNow() (voids map[block.ID]string, err error) {
	err = d.View(func(r *crdt.Replica) error { voids = r.Voids(); return nil })
	return voids, err
}

// collect takes some commits away, with the blocks that only they need. All of one
// commit goes in one batch, so that a run that breaks off leaves whole ones.
func (g *collection) collect(ctx context.Context, f *floor, list []below) error {
	ops := map[block.ID]bool{} // operation blocks, which no tree names
	var others []block.ID
	for _, x := range list {
		for _, id := range x.links {
			if u, err := g.d.n.Stored(id); err == nil && u.Kind == block.KindOps {
				ops[id] = true
			} else if err == nil {
				others = append(others, id)
			}
		}
	}
	return g.locked(ctx, f, len(ops)+len(others) > 0, func(batch *store.Batch) error {
		for _, x := range list {
			batch.Delete(x.key)
			g.drop(batch, x.commit, x.bytes)
			g.Commits++
			g.ofCommits += int64(x.bytes)
		}
		for id := range ops {
			g.dropLink(batch, id)
		}
		for _, id := range others {
			g.dropLink(batch, id)
		}
		return g.noteKept(batch)
	})
}

// locked runs f on a batch and commits it, while nobody writes; named: what commits and
// trees name is known.
func (g *collection) locked(ctx context.Context, f *floor, named bool, fill func(*store.Batch) error) error {
	if named {
		if err := g.look(ctx, f); err != nil { // most of it while others write
			return err
		}
	}
	g.d.writing.Lock()
	defer g.d.writing.Unlock()
	if g.d.begins() != f || g.d.Repairing() != nil {
		return errors.New("the history changed meanwhile: collect again")
	}
	if named {
		if err := g.look(ctx, f); err != nil {
			return err
		}
	}
	batch := g.d.n.o.Store.NewBatch()
	if err := fill(batch); err != nil || g.o.DryRun {
		return err
	}
	if err := g.d.n.durable(ctx, batch); err != nil {
		return fmt.Errorf("collect old blocks of %s: %w", g.d.id, err)
	}
	return nil
}

func (g *collection) drop(batch *store.Batch, id block.ID, size int) {
	batch.Delete(store.Block(id))
	g.Blocks++
	g.Bytes += int64(size)
}

// dropLink drops a linked block unless something else names it.
func (g *collection) dropLink(batch *store.Batch, id block.ID) {
	if _, live := g.live[id]; live && !planted.Bug("ledger-collects-live-values") {
		g.kept[id] = true
		return
	}
	delete(g.kept, id)
	if g.gone[id] {
		return
	}
	if size, err := g.d.n.o.Store.Size(store.Block(id)); err == nil {
		g.drop(batch, id, size)
		g.gone[id] = true
	}
}

// keptList is where the blocks are listed that outlived their commits: the next floor
// may be above the last that names them.
func (d *Database) keptList() []byte { return d.derived('k', 0) }

const maxKept = 1 << 18

func (g *collection) noteKept(batch *store.Batch) error {
	before, err := g.d.readKept()
	if err != nil {
		return err
	}
	for _, id := range before {
		if _, again := g.kept[id]; !again {
			if _, live := g.live[id]; live || g.live == nil {
				g.kept[id] = true
			}
		}
	}
	raw := make([]byte, 0, 32*len(g.kept))
	for id := range g.kept {
		if len(raw) < 32*maxKept {
			raw = append(raw, id[:]...)
		}
	}
	if batch.Delete(g.d.keptList()); len(raw) > 0 {
		batch.Set(g.d.keptList(), raw)
	}
	return nil
}

func (d *Database) readKept() (ids []block.ID, err error) {
	raw, err := d.n.o.Store.Get(d.keptList())
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	for id := range slices.Chunk(raw, 32) {
		if len(id) == 32 {
			ids = append(ids, block.ID(id))
		}
	}
	return ids, err
}

// again collects blocks that outlived their commits in earlier runs.
func (g *collection) again(ctx context.Context, f *floor) error {
	list, err := g.d.readKept()
	if err != nil || len(list) == 0 {
		return err
	}
	return g.locked(ctx, f, true, func(batch *store.Batch) error {
		for _, id := range list {
			g.dropLink(batch, id)
		}
		return g.noteKept(batch)
	})
}

// look finds what trees and commits name. Called again it adds what was written since.
func (g *collection) look(ctx context.Context, f *floor) error {
	d := g.d
	if g.live == nil {
		live := map[block.ID]struct{}{}
		if err := g.lookTrees(ctx, live); err != nil {
			return err
		}
		voids, err := d.voidsNow()
		if err != nil {
			return err
		}
		for id := range voids {
			if u, err := d.n.Stored(id); err == nil {
				name(live, u)
			}
		}
		g.live, g.scanned = live, f.Arrival
	}
	span := store.Span{Prefix: store.Commits(d.id), From: store.CommitIndex(d.id, g.scanned)}
	for e, err := range d.n.o.Store.ScanSpan(span) {
		if err != nil {
			return err
		}
		id, err := store.ID[block.ID](e.Value)
		if err != nil {
			return err
		}
		u, err := d.n.Stored(id)
		if err != nil {
			return err
		}
		name(g.live, u)
		g.scanned = number(e.Key) + 1
	}
	return ctx.Err()
}

func name(live map[block.ID]struct{}, u *block.Unverified) {
	for _, id := range u.Links[u.Parents:] {
		live[id] = struct{}{}
	}
}

// lookTrees finds what the trees name that are kept.
func (g *collection) lookTrees(ctx context.Context, live map[block.ID]struct{}) error {
	d := g.d
	ids, err := d.pinned()
	if err != nil {
		return err
	}
	r, err := d.newReplica(0)
	if err != nil {
		return err
	}
	list, err := d.checkpoints()
	if err != nil {
		return err
	}
	for _, s := range list[:min(len(list), keptCheckpoints)] {
		ids = append(ids, s.id)
	}
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			continue
		}
		c, err := d.openCheckpoint(id)
		if err != nil {
			return err
		}
		if c.Root.IsZero() {
			continue
		}
		for link, err := range r.Links(ctx, tree.Ref{Hash: c.RootHash, ID: c.Root}) {
			if err != nil {
				return err
			}
			live[link] = struct{}{}
		}
	}
	return nil
}

// Collect frees what compactions of all databases left behind, as far as their grace is
// over. Whoever has a clock that ticks calls it now and then.
func (l *Ledger) Collect(ctx context.Context) {
	for _, d := range l.databases() {
		if l.closing() || ctx.Err() != nil {
			return
		}
		if f, err := d.GC(ctx, Collection{}); err != nil {
			l.o.Log.Warn("old history is not collected", "db", d.id, "err", err)
		} else if f.Commits > 0 {
			l.o.Log.Info("old history collected", "db", d.id, "commits", f.Commits, "bytes", f.Bytes)
		}
	}
}
