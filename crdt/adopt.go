package crdt

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt/tree"
)

// ErrLie: a checkpoint is not of the state it describes. Its signature is the proof.
var ErrLie = errors.New("the checkpoint does not describe its state")

// Fetch starts to bring a tree of somebody else here, see [tree.Fetch].
func (r *Replica) Fetch(c *Checkpoint) *tree.Fetch {
	return r.grove.Fetch(tree.Ref{Hash: c.RootHash, ID: c.Root})
}

// Adopting is what a replica asks for while it takes over a checkpoint.
type Adopting struct {
	// Bring puts value blocks, which entries refer to, where the source finds them.
	Bring func(ids []block.ID) error
	// BringVoid does so with a commit that does not count, and what it links.
	BringVoid func(id block.ID) error
	// Judge says of a commit without operations what the team chain says of it.
	Judge func(*Commit) Validity
}

// ErrJudged: this replica's chain and the checkpoint's author judge otherwise. One of
// them does not know all links yet.
var ErrJudged = errors.New("the checkpoint is of other void commits")

// Adopt takes over somebody else's checkpoint in a replica that has read the rows of
// its commits ([Replica.ReadRows]) and nothing else, and whose nodes are all here. All
// of it is held against the checkpoint: rows lead to its heads and frontier, the void
// commits are those the chain tells here, the tree is the tree of its entries, every
// dot lies at or below the frontier, digest and counts are those of the entries; else
// the error wraps [ErrLie] or [ErrJudged]. What only operations can tell, whether they
// lead to these entries, is not known: that is the author's word.
//
// What is taken over is to be written down ([Replica.Graph], [Replica.Rest]) and opened
// from there, as a history that begins at a floor.
func (r *Replica) Adopt(ctx context.Context, c *Checkpoint, x Adopting) error {
	if r.docs.entries > 0 || r.grove == nil || r.failed != nil {
		return errors.New("adopt: the replica is not empty, or has no nodes")
	}
	if err := r.adoptGraph(c, x); err != nil {
		return err
	}
	return r.AuditState(ctx, c, x.Bring)
}

// Rest returns what a replica must know beside its graph and its checkpoint, see
// [Flush.Rest].
func (r *Replica) Rest() []byte { return r.rest() }

// adoptGraph holds the rows against the checkpoint and judges them.
func (r *Replica) adoptGraph(c *Checkpoint, x Adopting) error {
	if mine := r.Checkpoint(); r.forks > 0 || c.Forked || !slices.Equal(mine.Heads, c.Heads) || !slices.Equal(mine.Frontier, c.Frontier) {
		return fmt.Errorf("%w: the rows are of other commits", ErrLie)
	}
	for _, h := range r.order {
		h.validity = x.Judge(&h.Commit)
	}
	for _, id := range c.Voids {
		h, ok := r.commits[id]
		if !ok {
			return fmt.Errorf("%w: void commit %s is not below it", ErrLie, id)
		}
		if err := x.BringVoid(id); err != nil {
			return err
		}
		if err := r.misnames(h); err != nil {
			return err
		}
	}
	for _, log := range r.logs {
		r.judgeLog(log, 1)
	}
	if !slices.Equal(r.Checkpoint().Voids, c.Voids) {
		return ErrJudged
	}
	for _, h := range r.order {
		if h.void == "" {
			continue
		}
		if err := r.skip(h, nil); err != nil {
			return err
		}
	}
	return nil
}

// misnames finds out whether a commit names what its author cannot have seen.
func (r *Replica) misnames(h *held) error {
	full, err := r.Load(h.ID)
	if err == nil {
		err = r.Witness(full)
	}
	if errors.Is(err, ErrMalformed) {
		return fmt.Errorf("%w: %w", ErrLie, err)
	}
	if err != nil {
		return err
	}
	probe := *h
	probe.ctx = full.ctx
	ops := full.operations()
	for i := 0; i < len(ops) && h.bad == ""; i++ {
		h.bad = r.outside(&probe, &ops[i])
	}
	return nil
}

// AuditState reads all entries of a checkpoint and holds them against it, as
// [Replica.Adopt] does with what it adopts. The replica is of no other use.
func (r *Replica) AuditState(ctx context.Context, c *Checkpoint, bring func([]block.ID) error) error {
	if c.Entries == 0 {
		if c.Digest() != (&accumulator{}).digest() {
			return fmt.Errorf("%w: a digest of nothing", ErrLie)
		}
		return nil
	}
	t, err := r.grove.Open(ctx, tree.Ref{Hash: c.RootHash, ID: c.Root})
	if err != nil {
		return err
	}
	a := adoption{r: r, bring: bring, frontier: make(map[block.Actor]uint64, len(c.Frontier))}
	for _, p := range c.Frontier {
		a.frontier[p.Actor] = p.Seq
	}
	for e, err := range t.Audit(ctx) {
		if err == nil {
			err = a.entry(e)
		}
		if errors.Is(err, tree.ErrMalformed) || errors.Is(err, ErrMalformed) {
			err = fmt.Errorf("%w: %w", ErrLie, err)
		}
		if err != nil {
			return err
		}
	}
	if err := a.brought(0); err != nil {
		return err
	}
	if a.acc.digest() != c.Digest() || uint64(a.entries) != c.Entries || uint64(a.visible) != c.Documents {
		return fmt.Errorf("%w: its digest or counts are not those of its %d entries", ErrLie, a.entries)
	}
	r.acc, r.docs.base, r.docs.entries, r.docs.visible = a.acc, t, a.entries, a.visible
	return nil
}

// adoption is what is summed up over the entries of a checkpoint.
type adoption struct {
	r                *Replica
	bring            func([]block.ID) error
	frontier         map[block.Actor]uint64
	acc              accumulator
	entries, visible int
	wanted           []block.ID // value blocks to be brought
}

// maxWanted is how many value blocks are asked for at once.
const maxWanted = 256

// brought asks for what is wanted, if it is more than so much.
func (a *adoption) brought(limit int) error {
	if len(a.wanted) <= limit {
		return nil
	}
	ids := a.wanted
	a.wanted = nil
	return a.bring(ids)
}

func (a *adoption) entry(e tree.Entry) error {
	id := string(e.Key)
	if err := CheckID(id); err != nil {
		return malformed("entry under %.80q", id)
	}
	if n, err := pieces(e); err != nil {
		return err
	} else if n > 0 {
		if err := a.bring(e.Links[:n]); err != nil {
			return err
		}
	}
	rec, err := a.r.unpack(e)
	if err != nil {
		return err
	}
	k, err := rec.open(id)
	if err != nil {
		return err
	}
	if k.rec.entry == nil || !a.below(k.e) {
		return malformed("document %.80q names what its frontier does not", id)
	}
	for i, asg := range k.e.references() {
		if !asg.val.file() {
			a.wanted = append(a.wanted, rec.links[i])
		}
	}
	x := a.r.keys.Expand(digestInput(nil, id, rec.entry))
	a.acc.add(&x)
	a.entries, a.visible = a.entries+1, a.visible+one(k.alive)
	return a.brought(maxWanted)
}

// below reports whether all that an entry names lies at or below the frontier.
func (a *adoption) below(e *entry) bool {
	ok := true
	check := func(actor block.Actor, seq uint64) { ok = ok && seq <= a.frontier[actor] }
	for _, g := range e.groups {
		check(g.dot.Actor, g.dot.Seq)
	}
	e.root.each(func(n *node) {
		for i := range n.asgs {
			s := n.asgs[i].stamp()
			check(s.dot.Actor, s.dot.Seq)
		}
		for i := range n.ctrs {
			check(n.ctrs[i].actor, max(n.ctrs[i].seq, n.ctrs[i].seqCl))
		}
	})
	return ok
}

// references returns the assignments of an entry just decoded that refer to blocks,
// in the order of their links.
func (e *entry) references() (list []*asg) {
	e.encode() // puts the assignments in order
	for _, g := range e.groups {
		for _, s := range g.sets {
			if s.val.ref() {
				list = append(list, s.asg)
			}
		}
	}
	return list
}
