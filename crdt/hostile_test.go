package crdt

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
	"pgregory.net/rapid"
)

// deepOp is an operation that names leaves paths below a chain of the longest keys, and
// drops something of one dot at each.
func deepOp(id string, actor int, seq uint64, keys, leaves int) op {
	o := op{id: id, drops: []opDrop{{actor: actor, seq: seq}}}
	for i := range keys {
		o.rows = append(o.rows, row{parent: i - 1, depth: i + 1, key: strings.Repeat("k", MaxKey)})
	}
	for i := range leaves {
		o.rows = append(o.rows, row{parent: keys - 1, depth: keys + 1, key: fmt.Sprintf("%04x", i)})
		o.drops[0].slots = append(o.drops[0].slots, slotPath+keys+i)
	}
	return o
}

// The paths of an operation are named without writing each of them out: 4,000 leaves
// 32 KiB below the root are 36 KiB of an operation, and would be 128 MiB of text.
func TestNamedPathsShareTheirFronts(t *testing.T) {
	o := deepOp("d", 0, 1, MaxDepth-1, 4000)
	c := opContext{actors: []block.Actor{actorNamed("A")}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	list := o.named(&c)
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 8<<20 {
		t.Errorf("%d bytes of memory for %d names", spent, len(list))
	}
	last := list[len(list)-1].slot.place.keys()
	if len(list) != 4000 || len(last) != MaxDepth || last[MaxDepth-1] != "0f9f" || last[0] != strings.Repeat("k", MaxKey) {
		t.Errorf("%d names, the last is %.20q of %d keys", len(list), last[len(last)-1], len(last))
	}
}

// A cover is what comparing each with each would say.
func TestCoverIsBelow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var places []*place
		for range rapid.IntRange(1, 12).Draw(t, "places") {
			var above *place
			if n := len(places); n > 0 && rapid.Bool().Draw(t, "below") {
				above = places[rapid.IntRange(0, n-1).Draw(t, "parent")]
			}
			places = append(places, above.child(rapid.SampledFrom([]string{"", "a", "b", "\x00", "a\x00"}).Draw(t, "key")))
		}
		slots := rapid.SliceOfDistinct(rapid.IntRange(0, slotPath+len(places)-1), rapid.ID).Draw(t, "slots")
		c := over(slots, places)
		for s := range slotPath + len(places) {
			m := slot{kind: min(s, slotPath)}
			want := slices.Contains(slots, slotAlive) || slices.Contains(slots, slotDead)
			if s >= slotPath {
				m.place = places[s-slotPath]
				keys := m.place.keys()
				want = slices.ContainsFunc(slots, func(x int) bool {
					if x < slotPath {
						return false
					}
					front := places[x-slotPath].keys()
					return len(front) <= len(keys) && slices.Equal(keys[:len(front)], front)
				})
			}
			if got := c.has(m); got != want {
				t.Fatalf("slot %d under %v: %v", s, slots, got)
			}
		}
	})
}

// hostile makes a commit of one operation as no draft would.
func (s *site) hostile(seq uint64, o op, actors ...block.Actor) *Commit {
	s.t.Helper()
	s.time++
	x := body{incarnation: s.actor.Incarnation, seq: seq, time: s.time, team: []block.ID{{9}}, actors: actors, opBlocks: 1, hasDigest: true, digest: [32]byte{1}}
	parents := s.Heads()
	for _, id := range parents {
		p := s.commits[id]
		i := slices.Index(actors, p.Actor) + 1
		if x.parents = append(x.parents, parent{i, p.Seq}); len(parents) == 1 && i == 0 {
			x.parents = nil
		}
	}
	ops := o.append(appendHead(nil, majorArray, 1))
	id := block.Sum(ops)
	b := &block.Block{Header: block.Header{
		Kind: block.KindCommit, DB: testDB, Generation: block.Generation{3}, Author: s.actor.Device, Seat: block.ID{7},
		Parents: len(parents), Links: append(slices.Clone(parents), id),
	}}
	b.ID = block.Sum(append(id[:], x.encode()...))
	c, err := ParseCommit(b, x.encode())
	if err == nil {
		err = c.Fill(id, ops)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// What an operation names of a void commit is not held against all that commit has
// dropped, one by one: 65,000 against 65,000 would keep every replica busy for a minute,
// at half a megabyte from somebody who may not even write.
func TestNamesOfAVoidCommitAreNotComparedOneByOne(t *testing.T) {
	a, eve := newSite(t, "A"), newSite(t, "E")
	a.write(put("d", `{"x":1}`))
	eve.pull(a)
	eve.time = 10
	const many = 65_000
	one := eve.hostile(1, deepOp("d", 1, 1, 0, many), a.actor)
	eve.addAs(one, Void("reader"))
	two := eve.hostile(2, deepOp("d", 0, 1, 0, many))
	if got := eve.addAs(two, Void("reader")); got.Status != Voided {
		t.Fatal(got.Status)
	}
	if n := len(eve.commits[two.ID].stands["d"]); n != many {
		t.Errorf("the second stands for %d of %d", n, many)
	}
	if got := eve.read("d"); got != `{"x":1}` {
		t.Errorf("shows %s", got)
	}
}

// A document on which many wrote at once, each within the bounds, is kept whole however
// large that makes it: a bound on what is kept would shut the database for everybody.
func TestAnEntryIsNeverTooLargeToBeRead(t *testing.T) {
	all := newSite(t, "all")
	const writers = 70
	text := strings.Repeat("x", MaxInline-16)
	for w := range writers {
		s := newSite(t, fmt.Sprint("w", w))
		d := Doc{}
		for i := range 15 {
			d[fmt.Sprintf("%d-%d", w, i)] = text
		}
		all.add(s.write(Write{Verb: Put, ID: "d", Body: d}))
	}
	if n := len(all.docs.live.records["d"].entry); n <= 16<<20 {
		t.Fatalf("entry of %d bytes", n)
	}
	all.add(newSite(t, "late").write(put("d", `{"last":1}`)))
	d, _, err := all.Get("d")
	if err != nil || len(d) != 15*writers+3 {
		t.Errorf("%d fields, %v", len(d), err)
	}
	e := entry{groups: []*group{{dot: Dot{actorNamed("A"), 1}, time: 1, life: 1}}}
	for i := range maxPlain + 9 { // more paths than any operation has
		e.root.kids = append(e.root.kids, &node{key: fmt.Sprintf("%06x", i), asgs: []asg{{g: e.groups[0], val: cell{0}}}})
	}
	enc := e.encode()
	if back, err := decodeEntry(enc, nil); err != nil || len(back.root.kids) != maxPlain+9 {
		t.Errorf("entry of %d paths: %v", maxPlain+9, err)
	}
}
