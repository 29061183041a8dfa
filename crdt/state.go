package crdt

import (
	"errors"
	"fmt"
	"maps"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
)

// State is a replica's state as a value: which commits it comes from and what
// they lead to. States of one database form a join semilattice under [Join].
type State struct {
	// Context tells for each actor up to which seq its commits are in the state.
	Context map[block.Actor]uint64
	// Entries are the canonical entries by document id.
	Entries map[string][]byte

	acc    accumulator
	void   [32]byte
	forked bool
}

// ErrJoin: the states cannot be joined, because they do not agree on which commits
// count. Replay the commits instead.
var ErrJoin = errors.New("states do not join")

// State returns the present state, all of it in memory. It shares the entries, which
// never change.
func (r *Replica) State() (*State, error) {
	s := &State{
		Context: make(map[block.Actor]uint64, len(r.logs)), Entries: make(map[string][]byte, r.docs.entries),
		acc: r.acc, void: r.VoidHash(), forked: r.forks > 0,
	}
	for _, log := range r.logs {
		s.Context[log.actor] = uint64(len(log.commits))
	}
	err := r.docs.each("", "", false, func(id string, rec record) (bool, error) {
		s.Entries[id] = rec.entry
		return true, nil
	})
	return s, err
}

// Digest returns the hash of the entries.
func (s *State) Digest() [32]byte { return s.acc.digest() }

// Join returns the state of all commits of both: the least upper bound. What only
// one side holds stays, unless the other side's context covers the dot that made
// it: then that side has dropped it.
//
// It is defined for causally closed states that agree on the void commits, without
// forks; anything else is an [ErrJoin], because a dot that means two commits, or
// counts on one side only, would silently lose data.
func Join(x, y *State, k Keys) (*State, error) {
	if x.void != y.void {
		return nil, fmt.Errorf("%w: their void commits differ", ErrJoin)
	}
	if x.forked || y.forked {
		return nil, fmt.Errorf("%w: an actor has forked", ErrJoin)
	}
	out := &State{Context: maps.Clone(x.Context), Entries: map[string][]byte{}, void: x.void}
	for a, seq := range y.Context {
		out.Context[a] = max(out.Context[a], seq)
	}
	for id := range x.Entries {
		if err := out.joinDoc(id, x, y, k); err != nil {
			return nil, err
		}
	}
	for id := range y.Entries {
		if _, both := x.Entries[id]; !both {
			if err := out.joinDoc(id, x, y, k); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func (s *State) joinDoc(id string, x, y *State, k Keys) error {
	a, err := decodeEntry(x.Entries[id], nil)
	if err != nil {
		return fmt.Errorf("entry %.80q: %w", id, err)
	}
	b, err := decodeEntry(y.Entries[id], nil)
	if err != nil {
		return fmt.Errorf("entry %.80q: %w", id, err)
	}
	if enc := joinEntries(a, b, x.Context, y.Context).encode(); enc != nil {
		s.Entries[id] = enc
		e := k.Expand(digestInput(nil, id, enc))
		s.acc.add(&e)
	}
	return nil
}

// joiner joins two entries of one document.
type joiner struct {
	out    entry
	groups map[Dot]*group
}

func joinEntries(a, b *entry, ca, cb map[block.Actor]uint64) *entry {
	j := joiner{groups: map[Dot]*group{}}
	j.side(a, b, cb)
	j.side(b, a, ca)
	return &j.out
}

// side takes over what stays of a: what b has too, or has never seen.
func (j *joiner) side(a, b *entry, seen map[block.Actor]uint64) {
	stays := func(g *group, has bool) bool {
		return has || g.dot.Seq > seen[g.dot.Actor] || planted.Bug("crdt-join-revives")
	}
	for _, g := range a.groups {
		if g.life == 0 {
			continue
		}
		other := b.group(&g.dot)
		if stays(g, other != nil && other.life == g.life) {
			j.group(g).life = g.life
		}
	}
	j.node(&j.out.root, &a.root, &b.root, stays)
}

// group returns the joined group of a dot.
func (j *joiner) group(g *group) *group {
	if x, ok := j.groups[g.dot]; ok {
		return x
	}
	x := &group{dot: g.dot, time: g.time}
	j.groups[g.dot] = x
	j.out.groups = append(j.out.groups, x)
	return x
}

func (j *joiner) node(out, a, b *node, stays func(*group, bool) bool) {
	for i := range a.asgs {
		x := &a.asgs[i]
		if !stays(x.g, b != nil && b.has(&x.g.dot)) || out.has(&x.g.dot) {
			continue
		}
		out.asgs = append(out.asgs, asg{g: j.group(x.g), orig: x.orig, val: x.val})
	}
	for i := range a.ctrs {
		c := out.ctr(&a.ctrs[i].actor)
		c.raise(a.ctrs[i].seq, a.ctrs[i].total)
		c.clear(a.ctrs[i].seqCl, a.ctrs[i].totalCl)
	}
	for _, kid := range a.kids {
		var other *node
		if b != nil {
			other = b.find(kid.key)
		}
		j.node(out.child(kid.key), kid, other, stays)
	}
}

// has reports whether a dot assigns at n.
func (n *node) has(d *Dot) bool {
	for i := range n.asgs {
		if n.asgs[i].g.dot == *d {
			return true
		}
	}
	return false
}
