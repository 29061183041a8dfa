package crdt

import (
	"bytes"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
)

// Tip is an actor's newest commit: its seq and the first 8 bytes of its ID, which
// tell a fork apart.
type Tip struct {
	Actor block.Actor
	Seq   uint64
	Hint  block.Hint
}

// Frontier says what a replica holds: for each actor its newest commit, sorted by
// actor. Whoever holds a commit holds everything below it.
type Frontier []Tip

// Encode returns the canonical bytes: [[actor 40 bytes, seq, hint 8 bytes] …].
func (f Frontier) Encode() []byte {
	b := appendHead(make([]byte, 0, 8+58*len(f)), majorArray, uint64(len(f)))
	for i := range f {
		t := &f[i]
		b = appendHead(append(b, majorArray<<5|3), majorBytes, 40)
		b = append(append(b, t.Actor.Device[:]...), t.Actor.Incarnation[:]...)
		b = appendBytes(appendUint(b, t.Seq), t.Hint[:])
	}
	return b
}

// ParseFrontier reads a frontier; empty input is the empty frontier.
func ParseFrontier(b []byte) (Frontier, error) {
	if len(b) == 0 {
		return nil, nil
	}
	r := reader{b: b}
	n := r.array(MaxActors)
	f := make(Frontier, 0, min(n, len(b)/53+1))
	for range n {
		if r.array(3) != 3 {
			r.fail("tip of a frontier")
		}
		raw := r.bytes(40)
		t := Tip{
			Actor: block.Actor{Device: block.Device(raw[:32]), Incarnation: block.Incarnation(raw[32:])},
			Seq:   r.positive(maxSeq), Hint: block.Hint(r.bytes(8)),
		}
		if k := len(f); k > 0 && r.err == nil && compareActors(&f[k-1].Actor, &t.Actor) >= 0 {
			r.fail("frontier is not sorted")
		}
		if r.err != nil {
			return nil, r.err
		}
		f = append(f, t)
	}
	return f, r.end()
}

// Frontier returns what this replica holds.
func (g *graph) Frontier() Frontier {
	f := make(Frontier, 0, len(g.logs))
	for _, log := range g.logs {
		h := log.commits[len(log.commits)-1]
		f = append(f, Tip{log.actor, h.Seq, h.ID.Hint()})
	}
	slices.SortFunc(f, func(a, b Tip) int { return compareActors(&a.Actor, &b.Actor) })
	return f
}

// Since returns the commits that a holder of f lacks, in causal order. Where the
// two sides hold different commits under one seq, or an actor has forked here, it
// errs on the side of more: all that the fork can reach, because a frontier does not
// tell where two lines parted. A longer line hides its twins from the shorter one;
// the side with the shorter is then told of the other's when it asks.
func (g *graph) Since(f Frontier) []block.ID {
	var lacking []*held
	for _, log := range g.logs {
		lacking = append(lacking, log.since(f.tip(log.actor))...)
	}
	slices.SortFunc(lacking, func(a, b *held) int { return a.index - b.index })
	ids := make([]block.ID, len(lacking))
	for i, h := range lacking {
		ids[i] = h.ID
	}
	return ids
}

// tip returns the tip of an actor, zero if f has none.
func (f Frontier) tip(a block.Actor) Tip {
	i, ok := slices.BinarySearchFunc(f, a, func(t Tip, a block.Actor) int { return compareActors(&t.Actor, &a) })
	if !ok {
		return Tip{}
	}
	return f[i]
}

// forkReach is how far below a tip that differs the two lines may have parted: how
// many commits a disk may be rolled back by. Half of what one answer of sync names,
// so that the answer has room for what else is lacking.
const forkReach = 32_768

// since returns the commits of an actor that a holder of tip t lacks.
func (l *actorLog) since(t Tip) (list []*held) {
	from := t.Seq + 1
	for seq := range l.twins {
		from = min(from, seq)
	}
	if own := l.at(t.Seq); len(own) == 1 && own[0].ID.Hint() != t.Hint {
		from = min(from, max(t.Seq, forkReach)-forkReach+1)
		if planted.Bug("sync-fork-below-tip") {
			from = t.Seq
		}
	}
	for seq := from; seq <= uint64(len(l.commits)); seq++ {
		list = append(list, l.at(seq)...)
	}
	return list
}

// Covers reports whether everything a frontier names is in the graph.
func (g *graph) Covers(f Frontier) bool {
	for i := range f {
		n, ok := g.actors[f[i].Actor]
		if !ok || !slices.ContainsFunc(g.logs[n].at(f[i].Seq), func(h *held) bool {
			return bytes.Equal(h.ID[:8], f[i].Hint[:])
		}) {
			return false
		}
	}
	return true
}
