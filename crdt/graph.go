package crdt

import (
	"bytes"
	"iter"
	"slices"

	"github.com/toftdb/toft/block"
)

// graph is the DAG of commits. A commit enters after its parents, so the order of
// arrival is causal, and the seqs of an actor have no gaps.
type graph struct {
	commits map[block.ID]*held
	order   []*held
	heads   []block.ID // sorted
	actors  map[block.Actor]int
	logs    []*actorLog // by local number
	seals   []seal
	forks   int      // seqs that were used twice
	none    *content // of commits whose own left memory
}

// held is a commit in the graph.
type held struct {
	Commit
	actor    int // local number
	index    int // in order
	seal     int // number of what it was made under
	past     clock
	prev     *held
	validity Validity
	gone     bool   // its operations left memory: see [Replica.Load]
	bad      string // malformed: names what its author cannot have seen
	void     string // why it does not count; "" if it does
	// stands: of a void commit, by document, what its operation had dropped. Whoever
	// names this commit's dot means that instead.
	stands map[string][]named
}

func (h *held) dot() Dot { return Dot{h.Actor, h.Seq} }

// actorLog is the commits of one actor: commits[i] has seq i+1.
type actorLog struct {
	actor   block.Actor
	commits []*held
	twins   map[uint64][]*held // all commits of a seq that was used more than once
	counts  *counts            // made when a clear asks for it
}

// at returns the commits of a seq.
func (l *actorLog) at(seq uint64) []*held {
	if t, ok := l.twins[seq]; ok {
		return t
	}
	if seq == 0 || seq > uint64(len(l.commits)) {
		return nil
	}
	return l.commits[seq-1 : seq]
}

func newGraph() graph {
	return graph{commits: map[block.ID]*held{}, actors: map[block.Actor]int{}, none: &content{}}
}

// unknown returns those of ids that are not in the graph.
func (g *graph) unknown(ids []block.ID) (missing []block.ID) {
	for _, id := range ids {
		if _, ok := g.commits[id]; !ok {
			missing = append(missing, id)
		}
	}
	return missing
}

// place finds a commit's place in the graph and checks what it says of it. What
// fails here is refused with all that is built on it: no honest replica takes it.
func (g *graph) place(c *Commit) (*held, error) {
	h := &held{Commit: *c, actor: -1, index: len(g.order)}
	content := *c.content // what is filled in and let go of here stays with the caller
	h.content = &content
	if n, ok := g.actors[c.Actor]; ok {
		h.actor = n
	} else if len(g.logs) >= MaxActors {
		return nil, malformed("more than %d actors", MaxActors)
	}
	for i, id := range c.Parents {
		p := g.commits[id]
		if p.dot() != c.parents[i] {
			return nil, malformed("parent %s is not what the commit says", id)
		}
		h.follow(p, i == 0)
	}
	if c.Seq == 1 {
		return h, nil
	}
	prev, ok := g.commits[c.Prev]
	switch {
	case !ok || prev.Actor != c.Actor || prev.Seq != c.Seq-1:
		return nil, malformed("previous commit is unknown or of another actor or seq")
	case prev.Time >= c.Time:
		return nil, malformed("time does not increase")
	}
	h.prev = prev
	if !slices.Contains(c.Parents, c.Prev) && !g.reaches(h, prev) {
		return nil, malformed("previous commit is not in its past")
	}
	return h, nil
}

// follow puts a parent and its past into the past of h.
func (h *held) follow(p *held, first bool) {
	past := p.past
	if p.actor != h.actor || len(h.Parents) > 1 {
		past = past.with(p.actor, p.Seq)
	}
	if first {
		h.past = past
	} else {
		h.past = h.past.join(past)
	}
}

// insert puts a placed commit into the graph.
func (g *graph) insert(h *held) {
	if h.actor < 0 {
		h.actor = len(g.logs)
		g.actors[h.Actor] = h.actor
		g.logs = append(g.logs, &actorLog{actor: h.Actor})
	}
	log := g.logs[h.actor]
	if n := uint64(len(log.commits)); h.Seq == n+1 {
		log.commits = append(log.commits, h)
	} else {
		if log.twins == nil {
			log.twins = map[uint64][]*held{}
		}
		if log.twins[h.Seq] == nil {
			log.twins[h.Seq] = []*held{log.commits[h.Seq-1]}
			g.forks++
		}
		log.twins[h.Seq] = append(log.twins[h.Seq], h)
	}
	g.commits[h.ID] = h
	g.order = append(g.order, h)
	g.share(h)
	heads := make([]block.ID, 1, len(g.heads)+1) // a new slice: readers keep the old one
	heads[0] = h.ID
	for _, id := range g.heads {
		if !slices.Contains(h.Parents, id) {
			heads = append(heads, id)
		}
	}
	slices.SortFunc(heads, compareIDs)
	g.heads = heads
}

func compareIDs(a, b block.ID) int { return bytes.Compare(a[:], b[:]) }

// twins returns how many commits share the actor and seq of h.
func (g *graph) twins(h *held) int { return len(g.logs[h.actor].at(h.Seq)) }

// sees reports whether a dot lies in the past of h.
func (g *graph) sees(h *held, a block.Actor, seq uint64) bool {
	n, ok := g.actors[a]
	return seq > 0 && (a == h.Actor && seq < h.Seq || ok && h.past.at(n) >= seq)
}

// reaches reports whether x is in the past of h. Clocks answer, unless x's actor
// has forked: then a dot is not one commit, and the graph between is walked.
func (g *graph) reaches(h, x *held) bool {
	if !g.sees(h, x.Actor, x.Seq) {
		return false
	}
	if len(g.logs[x.actor].twins) == 0 {
		return true
	}
	seen := map[*held]bool{}
	todo := []*held{h}
	for len(todo) > 0 {
		h := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, id := range h.Parents {
			p := g.commits[id]
			if p == x {
				return true
			}
			// What arrived before x cannot be above it.
			if p.index > x.index && !seen[p] && g.sees(p, x.Actor, x.Seq) {
				seen[p] = true
				todo = append(todo, p)
			}
		}
	}
	return false
}

// Has reports whether a commit is in the graph. Parked ones are not.
func (g *graph) Has(id block.ID) bool { _, ok := g.commits[id]; return ok }

// Commit returns a commit of the graph.
func (g *graph) Commit(id block.ID) (*Commit, bool) {
	h, ok := g.commits[id]
	if !ok {
		return nil, false
	}
	return &h.Commit, true
}

// Commits yields all commits in the order they arrived, which is causal. The
// second value says why a commit does not count, "" if it does.
func (g *graph) Commits() iter.Seq2[*Commit, string] {
	return func(yield func(*Commit, string) bool) {
		for _, h := range g.order {
			if !yield(&h.Commit, h.void) {
				return
			}
		}
	}
}

// Order returns the names of the commits between two places in the order of arrival.
func (g *graph) Order(from, to int) []block.ID {
	if to = min(to, len(g.order)); from >= to {
		return nil
	}
	ids := make([]block.ID, 0, to-from)
	for _, h := range g.order[from:to] {
		ids = append(ids, h.ID)
	}
	return ids
}

// Len returns the number of commits in the graph.
func (g *graph) Len() int { return len(g.order) }

// Heads returns the commits nobody has built on yet, sorted. The slice is not
// changed later.
func (g *graph) Heads() []block.ID { return g.heads }

// Inside reports whether a commit is one of heads or in the past of one. Heads
// that are not known here tell nothing: judge again when they arrive.
func (g *graph) Inside(heads []block.ID, id block.ID) bool {
	if slices.Contains(heads, id) {
		return true
	}
	x, ok := g.commits[id]
	return ok && slices.ContainsFunc(heads, func(head block.ID) bool {
		h, ok := g.commits[head]
		return ok && g.reaches(h, x)
	})
}

// Fork is the proof that an actor wrote twice under one seq: two stores share it.
type Fork struct {
	Actor   block.Actor
	Seq     uint64
	Commits []block.ID // sorted
}

// Forks returns all forks, by actor and seq.
func (g *graph) Forks() (list []Fork) {
	for _, log := range g.logs {
		for seq, twins := range log.twins {
			f := Fork{Actor: log.actor, Seq: seq}
			for _, h := range twins {
				f.Commits = append(f.Commits, h.ID)
			}
			slices.SortFunc(f.Commits, compareIDs)
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b Fork) int {
		x, y := Dot{a.Actor, a.Seq}, Dot{b.Actor, b.Seq}
		return x.compare(&y)
	})
	return list
}

// Seq returns the seq and ID of an actor's newest commit, 0 if it has none.
func (g *graph) Seq(a block.Actor) (uint64, block.ID) {
	n, ok := g.actors[a]
	if !ok {
		return 0, block.ID{}
	}
	log := g.logs[n].commits
	return uint64(len(log)), log[len(log)-1].ID
}
