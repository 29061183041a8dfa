package crdt

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt/tree"
	"pgregory.net/rapid"
)

// checkpointOf is the checkpoint of what a site holds now, its nodes on the site's disk.
func checkpointOf(t *testing.T, s *site) *Checkpoint {
	t.Helper()
	s.thaw(true)
	f, err := s.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	err = f.Run(t.Context())
	s.Thaw(f, false)
	if err != nil {
		t.Fatal(err)
	}
	return f.Checkpoint
}

// rowsBelow reads all rows of the commits below a checkpoint, in chunks as they travel.
func rowsBelow(t *testing.T, s *site, total int) (chunks [][]byte) {
	t.Helper()
	r := NewReplica(testDB, testKeys())
	for from := 0; from < total; {
		chunk := s.Rows(from, total)
		n, err := r.ReadRows(chunk, total-from)
		if err != nil || n == 0 {
			t.Fatalf("rows from %d: %d read, %v", from, n, err)
		}
		if again := r.Rows(from, total); !bytes.Equal(again, chunk) {
			t.Fatalf("rows from %d read and written again:\n%x\n%x", from, again, chunk)
		}
		chunks, from = append(chunks, chunk), from+n
	}
	return chunks
}

// adopter is a site that has fetched the nodes of a checkpoint of another, and its
// values, and nothing else.
func adopter(t *testing.T, s *site, c *Checkpoint) *site {
	t.Helper()
	n := side(t, "newcomer")
	n.disk.values = s.disk.values
	if c.Entries == 0 {
		return n
	}
	for f := n.Fetch(c); !f.Done(); {
		refs, err := f.Next(t.Context(), 8)
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range refs {
			plain, links, err := s.disk.Load(t.Context(), ref)
			if err == nil {
				err = f.Add(ref, plain, links)
			}
			if err == nil {
				_, err = n.disk.Save(t.Context(), tree.Node{Plain: plain, Links: links})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

// adopt begins at a checkpoint of another site.
func (s *site) adopt(t *testing.T, from *site, c *Checkpoint, chunks [][]byte, judge func(*Commit) Validity) error {
	t.Helper()
	scratch := s.disk.replica(t)
	for _, chunk := range chunks {
		if _, err := scratch.ReadRows(chunk, 1<<20); err != nil {
			return err
		}
	}
	err := scratch.Adopt(t.Context(), c, Adopting{
		Bring: func([]block.ID) error { return nil },
		BringVoid: func(id block.ID) error {
			c, err := from.Load(id)
			s.disk.commits[id] = c
			return err
		},
		Judge: judge,
	})
	if err != nil {
		return err
	}
	s.disk.floor = &floorOn{scratch.Len(), c, scratch.Rest(), scratch.Graph(0, scratch.Len())}
	s.disk.arrived = make([]arrival, scratch.Len()) // not to be handed in again
	s.Replica = s.disk.replica(t)
	return s.Restore(t.Context(), s.disk.floor.saved())
}

// TestAdoptionLaw: adopt(checkpoint(x)) + later commits = x + later commits. Of a random
// history, one part lies below the checkpoint; the rest comes to both, in some order,
// forks and verdicts above the floor with it. Where a verdict reaches below, the
// newcomer changes nothing before the commits are there, and then the same.
func TestAdoptionLaw(t *testing.T) {
	adopted := 0
	rapid.Check(t, func(rt *rapid.T) {
		h := genHistory(rt, t, 14)
		if len(h.commits) == 0 {
			return
		}
		actor := rapid.SampledFrom(h.sites).Draw(rt, "removed").actor
		from := uint64(rapid.IntRange(1, 6).Draw(rt, "from"))
		judge := func(c *Commit) Validity {
			if c.Actor == actor && c.Seq >= from {
				return Void("removed")
			}
			return Valid
		}
		x := side(t, "x")
		k := rapid.IntRange(1, len(h.commits)).Draw(rt, "below")
		for _, c := range h.commits[:k] {
			x.hand(c, judge(c))
		}
		x.disk.values = h.sites[0].disk.values
		if x.forks > 0 {
			return
		}
		c := checkpointOf(t, x)
		n := adopter(t, x, c)
		if err := n.adopt(t, x, c, rowsBelow(t, x, k), judge); err != nil {
			rt.Fatalf("adopt: %v", err)
		}
		adopted++
		sameReplicas(rt, "adopted", n.Replica, x.Replica)
		for id := range entriesOf(x.Replica) {
			if rows := rowsOf(rt, n.Replica, Cursor{}); !slices.ContainsFunc(rows, func(r Change) bool { return r.ID == id }) {
				rt.Fatalf("the feed does not tell of %q", id)
			}
		}
		for _, c := range h.commits[k:] {
			x.hand(c, judge(c))
			n.hand(c, judge(c))
			if rapid.IntRange(0, 5).Draw(rt, "restart") == 0 {
				n.fromGround()
			}
		}
		sameReplicas(rt, "and went on", n.Replica, x.Replica)

		later := rapid.SampledFrom(h.sites).Draw(rt, "removed late").actor
		late := func(c *Commit) Validity {
			if c.Actor == later && c.Seq >= 2 {
				return Void("removed late")
			}
			return judge(c)
		}
		x.judge(late)
		_, err := n.Rejudge(late)
		for errors.Is(err, ErrHistory) {
			var needed *HistoryError
			if !errors.As(err, &needed) {
				rt.Fatal(err)
			}
			for _, id := range needed.Commits {
				n.disk.commits[id] = x.disk.commits[id]
			}
			_, err = n.Rejudge(late)
		}
		if err != nil {
			rt.Fatal(err)
		}
		sameReplicas(rt, "after a late removal", n.Replica, x.Replica)
	})
	if adopted == 0 {
		t.Error("nothing was ever adopted")
	}
}

// The bytes of docs/format.md: two commits of one actor, and one that merges another's.
func TestRowBytes(t *testing.T) {
	a, b := newSite(t, "a"), newSite(t, "b")
	one := a.write(put("d", `{}`))
	two := a.write(put("e", `{}`))
	other := b.write(put("d", `{}`))
	a.pull(b)
	merge := a.write(put("f", `{}`))
	chunk := a.Rows(0, 4)
	in := reader{b: chunk}
	if n := in.array(100); n != 1+9+4+6+5 {
		t.Errorf("%d items", n)
	}
	want := slices.Concat(one.ID[:], two.ID[:], other.ID[:], merge.ID[:])
	if got := in.bytes(4 * 32); !bytes.Equal(got, want) {
		t.Errorf("names %x", got)
	}
	tail := in.b[len(in.b)-7:]
	if want := []byte{0, byte(merge.Time - two.Time), 0, 0x82, 1, 2, 0}; !bytes.Equal(tail, want) {
		t.Errorf("the merge: %x, want %x", tail, want)
	}
	if got := a.Rows(1, 2); got != nil && len(got) != 1+34+4 {
		t.Errorf("a row of a line takes %d bytes", len(got))
	}
}
