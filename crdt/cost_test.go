package crdt

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/toftdb/toft/crdt/tree"
)

// What merging costs, in nodes of the tree and commits read again. All of it must
// follow what is new, neither the database nor how often was merged before.

// cost is what something costs a site.
func (s *site) cost(do func()) (nodes tree.Stats, commits int) {
	before, read := s.grove.Stats(), s.disk.read
	do()
	return s.grove.Stats().Sub(before), s.disk.read - read
}

// perGet is how many nodes a get looks into, of documents that are stored.
func (s *site) perGet(docs int) float64 {
	s.t.Helper()
	const gets = 500
	nodes, _ := s.cost(func() {
		for i := range gets {
			if s.read(numbered(i*docs/gets)) == "-" {
				s.t.Fatalf("document %d is not there", i)
			}
		}
	})
	return float64(nodes.Visited) / gets
}

func numbered(i int) string { return fmt.Sprintf("doc-%08d", i) }

// Two sides write at once and merge, twenty times: a merge looks into as many nodes as
// there are new operations, in the last round as in the first.
func TestRoundsOfSimultaneousWrites(t *testing.T) {
	const docs, rounds, ops, perCommit = 20_000, 20, 60, 10
	a, b := newCellar().site(t, "a"), newCellar().site(t, "b")
	for from := 0; from < docs; from += 1000 {
		var writes []Write
		for i := from; i < from+1000; i++ {
			writes = append(writes, put(numbered(i), fmt.Sprintf(`{"n":%d,"text":"%0200d"}`, i, i)))
		}
		a.write(writes...)
	}
	b.pull(a)
	a.flush()
	b.flush()
	levels := a.perGet(docs)

	rnd := rand.New(rand.NewPCG(3, 20))
	round := func(s *site, n int, keys []int) {
		for some := range slices.Chunk(keys, perCommit) {
			var writes []Write
			for _, k := range some {
				writes = append(writes, patch(numbered(k), fmt.Sprintf(`{"n":%d}`, n)))
			}
			s.write(writes...)
		}
	}
	merge := func(s, from *site) (took, flushed tree.Stats) {
		took, read := s.cost(func() { s.pull(from) })
		if read > 0 {
			t.Fatalf("a merge read %d commits again", read)
		}
		flushed, _ = s.cost(s.flush)
		return took, flushed
	}
	var all [rounds]float64
	for n := range rounds {
		keys := rnd.Perm(docs)
		round(a, 2*n, keys[:ops])
		round(b, 2*n+1, keys[ops*2/3:ops*5/3]) // a third of them the same
		took, flushed := merge(a, b)
		merge(b, a)
		if a.Digest() != b.Digest() || len(a.Heads()) != 2 {
			t.Fatalf("round %d: %d heads, states differ: %v", n, len(a.Heads()), a.Digest() != b.Digest())
		}
		all[n] = float64(took.Visited+flushed.Visited+took.Loaded+flushed.Loaded+flushed.Built+flushed.Saved) / (2 * ops)
		if n%5 == 0 || n == rounds-1 {
			t.Logf("round %2d, %d operations a side: merging visits %d nodes, loads %d; the flush visits %d, loads %d, builds %d, saves %d: %.1f per operation",
				n, ops, took.Visited, took.Loaded, flushed.Visited, flushed.Loaded, flushed.Built, flushed.Saved, all[n])
		}
		if limit := uint64(ops * (levels + 1)); took.Visited > limit || took.Loaded > limit {
			t.Errorf("round %d: merging %d operations visits %d nodes, more than %d", n, ops, took.Visited, limit)
		}
		// Both sides' operations since the flush before are one change of the tree.
		if limit := uint64(2 * ops * 4 * (levels + 1)); flushed.Visited > limit || flushed.Loaded > limit || flushed.Saved > limit/4 {
			t.Errorf("round %d: a flush of %d operations: %+v, more than %d", n, 2*ops, flushed, limit)
		}
	}
	if first, last := mean(all[:5]), mean(all[15:]); last > 1.1*first {
		t.Errorf("an operation costs %.1f nodes in the first rounds, %.1f in the last", first, last)
	}
	after := a.perGet(docs)
	if t.Logf("a get looks into %.2f nodes before, %.2f after", levels, after); after > levels {
		t.Errorf("a get looked into %.2f nodes before, and into %.2f after", levels, after)
	}
}

func mean(list []float64) (m float64) {
	for _, x := range list {
		m += x / float64(len(list))
	}
	return m
}

// diamonds are two sites that write at once and merge so often: between the first
// commit and the heads lie 2^n ways.
func diamonds(t *testing.T, n int) (a, b *site) {
	cellar := newCellar()
	a, b = cellar.site(t, "a"), cellar.site(t, "b")
	b.add(a.write(put("d", `{"n":0}`)))
	told := 0
	for i := range n {
		one, two := a.write(patch("d", fmt.Sprintf(`{"a":%d}`, i))), b.write(patch("d", fmt.Sprintf(`{"b":%d}`, i)))
		told += len(a.add(two).Changes) + len(b.add(one).Changes)
		if i > 0 && (len(one.Parents) != 2 || len(two.Parents) != 2) {
			t.Fatal("no diamond")
		}
	}
	if told != 2*n || cellar.read > 0 {
		t.Fatalf("%d merges told of %d changes, and read %d commits again", 2*n, told, cellar.read)
	}
	a.flush()
	return a, b
}

// Merging merges again and again costs what is new, and what needs the whole history
// reads each commit of it once or twice. At 60 diamonds whoever goes along ways instead
// of commits does not come back.
func TestMergeDiamonds(t *testing.T) {
	costs := func(n int) (total int) {
		a, b := diamonds(t, n)
		commits := a.Len()
		at := func(what string, most int, do func()) {
			t.Helper()
			_, read := a.cost(do)
			t.Logf("%d diamonds, %d commits: %s reads %d", n, commits, what, read)
			if total += read; read > most {
				t.Errorf("%s reads %d of %d commits", what, read, commits)
			}
		}
		at("the past", 0, func() {
			if set, err := a.Past(a.Heads()); err != nil || len(set) != commits {
				t.Errorf("past of %d commits, %v", len(set), err)
			}
		})
		at("the document's history", 2*commits, func() {
			revisions := 0
			for _, err := range a.Revisions("d") {
				if revisions++; err != nil {
					t.Fatal(err)
				}
			}
			if revisions != commits {
				t.Errorf("%d revisions of %d commits", revisions, commits)
			}
		})
		first := a.Order(0, 1)[0]
		at("a new judgement of all", 4*commits, func() {
			a.judge(func(c *Commit) Validity {
				if c.ID == first {
					return Void("removed")
				}
				return Valid
			})
		})
		if got, want := a.read("d"), fmt.Sprintf(`{"b":%d}`, n-1); got != want {
			t.Errorf("shows %s, want %s", got, want)
		}
		// Below all lies a fork, and nothing is built on one of the twins: clocks cannot
		// tell that.
		c := &site{Replica: a.disk.replica(t), t: t, actor: actorNamed("c"), disk: a.disk}
		twin := newSite(t, "a").write(put("d", `{"twin":1}`))
		c.add(a.commit(first))
		c.add(twin)
		at("taking all over a fork", 4*commits, func() {
			for _, id := range b.Order(1, commits) {
				c.add(a.disk.commits[id])
			}
		})
		if heads := b.Heads(); !c.Inside(heads, first) || c.Inside(heads, twin.ID) {
			t.Error("the past of the heads is not told right")
		}
		return total
	}
	if few, many := costs(14), costs(60); many*14 > 5*few*60/4 {
		t.Errorf("14 diamonds read %d commits, 60 read %d", few, many)
	}
}
