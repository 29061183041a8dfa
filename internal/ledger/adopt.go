package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/crdt/tree"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// A device that has nothing of a database yet can show somebody else's checkpoint
// while the commits are on their way: the documents are there after fetching the live
// data once, not the history.
//
//	checkpoint ─▶ may its author write? ─▶ tips fetched and judged ─▶ tree fetched
//	     ─▶ all of it read: shape, dots, digest ─▶ shown, unaudited
//	commits arrive ─▶ replica (empty at first, the only thing that is ever written to)
//	     ─▶ as soon as it holds what the checkpoint stands for it is shown instead, and
//	        the checkpoint held against it
//
// The two never mix: nothing of a checkpoint enters the replica, so a checkpoint that
// lies can neither take away nor change what this device holds, and the lie shows when
// the commits are here. An adoption lasts until then, or until the ledger closes.

// ErrAdopt: the checkpoint is not one to adopt.
var ErrAdopt = errors.New("checkpoint not adopted")

// adoption is a checkpoint that is shown.
type adoption struct {
	id block.ID
	by block.Device
	c  *crdt.Checkpoint
	r  *crdt.Replica
}

// Read runs fn with the documents of the database: those of an adopted checkpoint as
// long as the commits it stands for are not here, else those of the replica. fn must
// ask for documents only; heads and frontier are those of [Database.View].
func (d *Database) Read(fn func(r *crdt.Replica) error) error {
	if a := d.adopted.Load(); a != nil {
		return fn(a.r)
	}
	return d.View(fn)
}

// Adopted tells whose checkpoint is shown, unaudited: that device alone vouches for
// what is read.
func (d *Database) Adopted() (by block.Device, ok bool) {
	if a := d.adopted.Load(); a != nil {
		return a.by, true
	}
	return block.Device{}, false
}

// Lie is the proof that a device signed a checkpoint of a state that its commits do
// not lead to.
type Lie struct {
	Checkpoint block.ID
	Device     block.Device
}

func (e *Lie) Error() string {
	return fmt.Sprintf("checkpoint %s signed by %s is not what the commits lead to", e.Checkpoint, e.Device)
}

// Adopt fetches and checks a checkpoint of another member and shows its documents. The
// chain must be as new as the author's, and this device hold no commit yet. Fetching
// goes on where it was broken off. An error that wraps [ErrAdopt] or [crdt.ErrLie]
// refuses the checkpoint; any other says that something could not be brought.
func (d *Database) Adopt(ctx context.Context, id block.ID, fetch Fetch) error {
	if err := d.View(d.mayAdopt); err != nil {
		return err
	}
	a, err := d.checkAdoption(ctx, id, fetch)
	if err != nil {
		return err
	}
	if a.r, err = d.newReplica(0); err != nil {
		return err
	}
	if err := d.fetchTree(ctx, a, fetch); err != nil {
		return err
	}
	bring := func(ids []block.ID) error { _, err := d.bring(ctx, ids, fetch); return err }
	if err := a.r.Adopt(ctx, a.c, bring); err != nil {
		return err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.mayAdopt(d.replica); err != nil {
		return err // commits came meanwhile
	}
	d.adopted.Store(a)
	return nil
}

func (d *Database) mayAdopt(r *crdt.Replica) error {
	if r.Len() > 0 {
		return fmt.Errorf("%w: commits of the database are here already", ErrAdopt)
	}
	return nil
}

// checkAdoption does what can be done before the tree is fetched.
func (d *Database) checkAdoption(ctx context.Context, id block.ID, fetch Fetch) (*adoption, error) {
	got, err := d.bring(ctx, []block.ID{id}, fetch)
	if err != nil {
		return nil, err
	}
	u, err := block.Parse(got[id])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAdopt, err)
	}
	b, c, err := d.parseCheckpoint(u, func(part block.ID) ([]byte, error) {
		got, err := d.bring(ctx, []block.ID{part}, fetch)
		return got[part], err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAdopt, err)
	}
	st, by := d.team.State(), b.Header.Author
	self, ok := st.Device(by)
	switch {
	case !ok || self.Seat != b.Header.Seat || !st.CanWrite(by):
		return nil, fmt.Errorf("%w: %s may not write", ErrAdopt, by)
	case c.Forked:
		return nil, fmt.Errorf("%w: an actor forked below it", ErrAdopt)
	case len(absent(c.TeamHeads, d.team.Has)) > 0:
		return nil, fmt.Errorf("%w: %w", ErrAdopt, errTeamHeads)
	}
	if err := d.checkTips(ctx, c, fetch); err != nil {
		return nil, err
	}
	return &adoption{id: id, by: by, c: c}, nil
}

// checkTips fetches the newest commit of every actor and asks the chain about it as it
// is here. A removal that the author did not know cuts some actor's newest commit
// first, so this finds whatever it would take away.
func (d *Database) checkTips(ctx context.Context, c *crdt.Checkpoint, fetch Fetch) error {
	tips := map[block.ID]bool{}
	for pins := range slices.Chunk(c.Frontier, maxBrought) {
		ids := make([]block.ID, len(pins))
		for i, p := range pins {
			ids[i], tips[p.ID] = p.ID, true
		}
		got, err := d.bring(ctx, ids, fetch)
		if err != nil {
			return err
		}
		for _, p := range pins {
			if _, void := slices.BinarySearchFunc(c.Voids, p.ID, func(a, b block.ID) int { return slices.Compare(a[:], b[:]) }); void {
				continue
			}
			if err := d.checkTip(p, got[p.ID]); err != nil {
				return fmt.Errorf("%w: tip %s: %w", ErrAdopt, p.ID, err)
			}
		}
	}
	if len(absent(c.Heads, func(id block.ID) bool { return tips[id] })) > 0 {
		return fmt.Errorf("%w: a head is no actor's newest commit", ErrAdopt)
	}
	return nil
}

func (d *Database) checkTip(p crdt.Pin, data []byte) error {
	u, err := block.Parse(data)
	if err != nil {
		return err
	}
	gen, ok := d.team.Generation(u.GenerationHint)
	if !ok || u.DB != d.id {
		return errTeamHeads
	}
	b, err := u.Verify(d.team.id, gen)
	if err != nil {
		return err
	}
	plain, err := d.n.keys.Open(vault.Data, b.Header, b.Body)
	if err != nil {
		return err
	}
	c, err := crdt.ParseCommit(b, plain)
	if err != nil {
		return err
	}
	if c.Actor != p.Actor || c.Seq != p.Seq {
		return fmt.Errorf("%w: of another actor or seq", block.ErrMalformed)
	}
	v := d.team.judge(team.CommitFacts{
		DB: d.id, Device: c.Actor.Device, Seat: c.Seat, Generation: c.Generation, TeamHeads: c.TeamHeads,
		Inside: func(heads []block.ID) bool { return slices.Contains(heads, c.ID) },
	})
	switch {
	case len(v.Missing) > 0:
		return errTeamHeads
	case !v.Valid:
		return errors.New(v.Why)
	}
	return nil
}

const (
	maxBrought = 64 // blocks asked for at once
	maxRounds  = 3  // without anything new, before a fetch is given up
)

// bring returns blocks, from the disk or from members. Those of the tree and its values
// are kept by whoever asks.
func (d *Database) bring(ctx context.Context, ids []block.ID, fetch Fetch) (map[block.ID][]byte, error) {
	out := make(map[block.ID][]byte, len(ids))
	var lacking []block.ID
	for _, id := range ids {
		if data, err := d.n.o.Store.Get(store.Block(id)); err == nil && block.Sum(data) == id {
			out[id] = data
		} else {
			lacking = append(lacking, id)
		}
	}
	for round := 0; len(lacking) > 0; round++ {
		got, err := fetch(ctx, d.team, lacking[:min(len(lacking), maxBrought)])
		batch := d.n.o.Store.NewBatch()
		for _, id := range lacking[:min(len(lacking), maxBrought)] {
			if data, ok := got[id]; ok && block.Sum(data) == id {
				out[id], round = data, 0
				batch.Set(store.Block(id), data)
			}
		}
		if err := errors.Join(err, ctx.Err()); err != nil && batch.Len() == 0 {
			return nil, fmt.Errorf("fetch %d blocks: %w", len(lacking), err)
		}
		if err := d.n.durable(ctx, batch); err != nil {
			return nil, err
		}
		lacking = slices.DeleteFunc(lacking, func(id block.ID) bool { return out[id] != nil })
		if len(lacking) > 0 && round >= maxRounds {
			return nil, fmt.Errorf("%d blocks did not come", len(lacking))
		}
	}
	return out, nil
}

// fetchTree brings the nodes of a checkpoint here, many at a time, those near the root
// first. They are listed, so that they are collected once nothing needs them.
func (d *Database) fetchTree(ctx context.Context, a *adoption, fetch Fetch) error {
	if a.c.Entries == 0 {
		return nil
	}
	f := a.r.Fetch(a.c)
	for !f.Done() {
		refs, err := f.Next(ctx, maxBrought)
		if err != nil {
			return lying(err)
		}
		ids := make([]block.ID, len(refs))
		for i, ref := range refs {
			ids[i] = ref.ID
		}
		got, err := d.bring(ctx, ids, fetch)
		if err != nil {
			return err
		}
		for _, ref := range refs {
			b, plain, err := d.openLinked(ref.ID, got[ref.ID])
			if err == nil && b.Header.Kind != block.KindNode {
				err = tree.ErrMalformed
			}
			if err == nil {
				err = f.Add(ref, plain, b.Header.Links)
			}
			if err != nil {
				return lying(err)
			}
		}
		if err := d.listFetched(ctx, ids); err != nil {
			return err
		}
	}
	return nil
}

// lying marks what only a wrong tree can cause.
func lying(err error) error {
	if errors.Is(err, tree.ErrMalformed) || errors.Is(err, block.ErrMalformed) {
		return fmt.Errorf("%w: %w", crdt.ErrLie, err)
	}
	return err
}

func (d *Database) listFetched(ctx context.Context, ids []block.ID) error {
	d.await() // a flush lists nodes too
	d.writing.Lock()
	defer d.writing.Unlock()
	batch := d.n.o.Store.NewBatch()
	d.listNodes(batch, ids)
	return d.n.durable(ctx, batch)
}

// audit ends an adoption once the replica holds all that the checkpoint stands for, and
// says whether it was true. Until then it returns nil.
func (d *Database) audit(ctx context.Context) error {
	a := d.adopted.Load()
	if a == nil {
		return nil
	}
	var p Point
	err := d.View(func(r *crdt.Replica) error {
		if slices.ContainsFunc(a.c.Frontier, func(p crdt.Pin) bool { return !r.Has(p.ID) }) {
			return nil
		}
		set, err := r.Past(a.c.Heads)
		p.set = set
		return err
	})
	if err != nil || p.set == nil {
		return err
	}
	d.adopted.Store(nil) // from here on the replica is shown: it has it all
	lie := &Lie{a.id, a.by}
	err = d.ViewAt(ctx, p, func(r *crdt.Replica) error {
		mine := r.Checkpoint()
		if r.Digest() != a.c.Digest() || !slices.Equal(mine.Frontier, a.c.Frontier) {
			return lie
		}
		return nil
	})
	if errors.Is(err, lie) {
		d.alarm(lie)
	}
	return err
}
