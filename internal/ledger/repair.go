package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/store"
)

// Disks rot. A block names its own bytes, so damage is found when it is read, and
// any other device's copy is as good as ours was. Where a read finds a rotten block
// it is noted; whoever has the network asks peers for what was noted and hands it to
// [Ledger.Heal].

// Fetch asks connected members of a team for blocks. What comes is checked here; it
// may be less than was asked for.
type Fetch func(ctx context.Context, c *Chain, ids []block.ID) (map[block.ID][]byte, error)

// maxRotten bounds what is noted. A verification finds the rest.
const maxRotten = 4096

// rotten are the blocks that reads found damaged.
type rotten struct {
	mu  sync.Mutex
	ids map[block.ID]bool
}

// note adds a block, and reports whether it is new.
func (r *rotten) note(id block.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids[id] || len(r.ids) >= maxRotten {
		return false
	}
	if r.ids == nil {
		r.ids = map[block.ID]bool{}
	}
	r.ids[id] = true
	return true
}

func (r *rotten) list() []block.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Keys(r.ids), func(a, b block.ID) int { return slices.Compare(a[:], b[:]) })
}

func (r *rotten) forget(ids []block.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		delete(r.ids, id)
	}
}

// noteRot is told of a block that was read and is not what it was.
func (n *Ledger) noteRot(id block.ID) {
	if n.rotten.note(id) {
		n.o.Log.Warn("a block on disk is damaged; peers are asked for it", "block", id)
		n.o.Damaged()
	}
}

// Rotten returns the blocks that reads found damaged and nobody has healed yet.
func (n *Ledger) Rotten() []block.ID { return n.rotten.list() }

// NeedsHealing reports whether a block, a database or the store is known to be damaged.
func (n *Ledger) NeedsHealing() bool {
	damaged := func(d *Database) bool { return d.Damage() != nil || d.needs.Load() != nil || d.patchy() }
	return n.o.Store.Damaged() || len(n.rotten.list()) > 0 || slices.ContainsFunc(n.databases(), damaged)
}

func (n *Ledger) databases() (all []*Database) {
	for _, c := range n.Chains() {
		all = append(all, c.Databases()...)
	}
	return all
}

// Heal fetches what is known to be damaged and opens databases again that it was
// keeping shut. It is cheap when nothing is.
func (n *Ledger) Heal(ctx context.Context, fetch Fetch) error {
	if err := n.mend(ctx); err != nil {
		return err
	}
	var errs []error
	for _, c := range n.Chains() {
		ids := n.rotten.list()
		if len(ids) == 0 {
			break
		}
		got, err := fetch(ctx, c, ids)
		if err == nil || len(got) > 0 {
			_, err = n.heal(ctx, got)
		}
		errs = append(errs, err)
	}
	left := len(n.rotten.list()) > 0
	if !left {
		errs = nil // a block is fetched from one team; the others do not have it
	}
	for _, d := range n.databases() {
		if err := d.refetch(ctx, fetch); err != nil {
			errs = append(errs, err)
		}
		// What nobody has may be of this device's own making: nodes of a tree.
		if d.Damage() != nil || d.patchy() || left && isDamage(d.readAll(ctx)) {
			r, err := d.Repair(ctx, fetch)
			if err == nil && len(r.Bad) > 0 {
				err = fmt.Errorf("%s: %d blocks are still damaged", d.id, len(r.Bad))
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// mend takes rotten tables out of the store, before healed blocks are written over
// them: what is left of them would stay for ever, and nothing could be compacted.
func (n *Ledger) mend(ctx context.Context) error {
	if _, err := n.o.Store.Mend(ctx); err != nil && !errors.Is(err, store.ErrReadOnly) {
		return fmt.Errorf("take rotten tables out of the store: %w", err)
	}
	return nil
}

// heal writes blocks whose bytes are those of their names, and returns those.
func (n *Ledger) heal(ctx context.Context, got map[block.ID][]byte) ([]block.ID, error) {
	var healed []block.ID
	batch := n.o.Store.NewBatch()
	for id, data := range got {
		if block.Sum(data) == id || planted.Bug("ledger-heals-with-anything") {
			batch.Set(store.Block(id), data)
			healed = append(healed, id)
		}
	}
	if len(healed) == 0 {
		return nil, nil
	}
	if err := n.durable(ctx, batch); err != nil {
		return nil, fmt.Errorf("write %d healed blocks: %w", len(healed), err)
	}
	n.rotten.forget(healed)
	n.o.Log.Info("damaged blocks healed from peers", "blocks", len(healed))
	return healed, nil
}

// Repaired is what a repair did.
type Repaired struct {
	Report       // what is still wrong
	Healed  int  // blocks that were fetched again
	Rebuilt bool // the state was made anew from the commits
}

// maxHealRounds bounds how often a repair looks again: a healed commit shows which
// blocks it links, and those may be damaged too.
const maxHealRounds = 4

// Repair fetches damaged and missing blocks from peers (fetch may be nil: there are
// none) and makes what is derived from the blocks anew where it does not agree with
// them. Nothing that can be read is taken away.
func (d *Database) Repair(ctx context.Context, fetch Fetch) (Repaired, error) {
	var out Repaired
	if err := d.n.mend(ctx); err != nil {
		return out, err
	}
	for range maxHealRounds {
		var err error
		if out.Report, err = d.Verify(ctx, false); err != nil {
			return out, err
		}
		want := out.damaged()
		if len(want) == 0 || fetch == nil {
			break
		}
		got, err := fetch(ctx, d.team, want)
		if err != nil {
			d.n.o.Log.Info("not all damaged blocks were found at peers", "db", d.id, "err", err)
		}
		healed, err := d.n.heal(ctx, got)
		if err != nil {
			return out, err
		}
		if out.Healed += len(healed); len(healed) == 0 {
			break
		}
	}
	if len(out.Bad) > 0 {
		return out, ctx.Err()
	}
	agrees := d.Damage() == nil && !d.patchy()
	if agrees {
		var err error
		if out.Report, err = d.Verify(ctx, true); err != nil {
			return out, err
		}
		agrees = !slices.ContainsFunc(out.Bad, func(f Finding) bool { return f.Kind == FoundState })
	}
	if agrees {
		err := d.readAll(ctx)
		if agrees = !isDamage(err); err != nil && agrees {
			return out, err
		}
	}
	if agrees {
		return out, nil
	}
	out.Rebuilt = true
	if err := d.reload(); err != nil {
		return out, err
	}
	var err error
	out.Report, err = d.Verify(ctx, false)
	return out, err
}

func isDamage(err error) bool {
	_, ok := errors.AsType[*DamageError](err)
	return ok
}

// forgetNodes takes the nodes of trees of before off the list of what is to be healed:
// nobody else has them, and nobody needs them any more. Those of a ground are needed.
func (d *Database) forgetNodes() {
	if d.floor != nil {
		return
	}
	for e, err := range d.n.o.Store.Scan(d.derivedAll('n')) {
		if err != nil {
			return
		}
		ids := make([]block.ID, 0, len(e.Value)/32)
		for raw := range slices.Chunk(e.Value, 32) {
			if len(raw) == 32 {
				ids = append(ids, block.ID(raw))
			}
		}
		d.n.rotten.forget(ids)
	}
}

// patchy reports whether some of what is derived from the commits was on a table that
// is gone. It is made anew as a whole.
func (d *Database) patchy() bool { return d.n.o.Store.Lost(d.derivedAll()) }

// readAll reads every document, and with them all nodes of the tree, a few at a time,
// so that writers need not wait for all of it.
func (d *Database) readAll(ctx context.Context) error {
	span := crdt.Range{Limit: 1000}
	for n := span.Limit; n == span.Limit; {
		n = 0
		err := d.View(func(r *crdt.Replica) error {
			for doc, err := range r.All(span) {
				if err != nil {
					return err
				}
				if id, ok := doc["_id"].(string); ok {
					span.After = id
				}
				n++
			}
			return ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// errRebuilding is what readers are told while the state is made anew.
var errRebuilding = errors.New("the database is being rebuilt from its blocks: try again in a moment")

// reload makes the replica anew from what is on disk.
func (d *Database) reload() error {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.await()
	busy := errRebuilding
	d.damage.Store(&busy)
	err := d.openFloor()
	if err == nil {
		err = d.begin() // checkpoints were made of what is now in doubt
	}
	if err != nil {
		d.damage.Store(&err)
		return err
	}
	d.damage.Store(nil)
	d.forgetNodes()
	d.n.o.Log.Info("database rebuilt from its blocks", "db", d.id)
	_ = d.n.past.use(context.Background(), func(s *pastStates) error { s.drop(d.id); return nil })
	return d.View(func(*crdt.Replica) error { return nil })
}
