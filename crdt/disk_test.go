package crdt

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt/tree"
	"pgregory.net/rapid"
)

// cellar is where commits and values of some sites can be read again.
type cellar struct {
	commits map[block.ID]*Commit
	values  map[block.ID][]byte
	broken  error // if set, nothing can be read
	read    int   // commits that were read
}

func newCellar() *cellar {
	return &cellar{commits: map[block.ID]*Commit{}, values: map[block.ID][]byte{}}
}

func (g *cellar) Commit(id block.ID) (*Commit, error) {
	if g.broken != nil {
		return nil, g.broken
	}
	g.read++
	c, ok := g.commits[id]
	if !ok {
		return nil, fmt.Errorf("%s was never stored", id)
	}
	return c, nil
}

func (g *cellar) Value(id block.ID) ([]byte, error) {
	b, ok := g.values[id]
	if g.broken != nil || !ok {
		return nil, fmt.Errorf("value %s was never stored: %w", id, g.broken)
	}
	return b, nil
}

// disk is what a replica has written down: what flushes told, and what arrived since
// the last of them, as it was judged then.
type disk struct {
	*cellar
	tree.Memory
	arrived  []arrival
	saved    []Saved
	upTo     []int // of arrived, by saved
	graph    [][]byte
	chunks   []RowChunk
	last     map[string]uint64
	flushing *Flush
	floor    *floorOn
}

type arrival struct {
	c *Commit
	v Validity
}

func (d *disk) SaveValue(_ context.Context, plain []byte) (block.ID, error) {
	id := block.Sum(append([]byte{byte(block.KindValue)}, plain...))
	d.values[id] = slices.Clone(plain)
	return id, nil
}

func (d *disk) Chunks(pos uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, c := range d.chunks {
			if c.Last > pos && !yield(c.Plain, nil) {
				return
			}
		}
	}
}

func (d *disk) Last(id string) (uint64, error) { return d.last[id], nil }

func (d *disk) replica(t testing.TB) *Replica {
	t.Helper()
	k := testKeys()
	k.Shape = func(b []byte) [32]byte { return k.ValueHash(append([]byte("shape"), b...)) }
	k.NodeHash = func(b []byte) [32]byte { return k.ValueHash(append([]byte("node"), b...)) }
	// A cache that holds next to nothing: every read loads.
	r, err := New(Config{DB: testDB, Keys: k, Source: d, Nodes: d, CacheBytes: 4 << 10, Rows: d, Epoch: 7})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// on makes a site that keeps nothing in memory for longer than a flush.
func (g *cellar) site(t testing.TB, name string) *site {
	s := newSite(t, name)
	s.disk = &disk{cellar: g, last: map[string]uint64{}}
	s.Replica = s.disk.replica(t)
	return s
}

// freeze begins a flush, thaw ends it.
func (s *site) freeze() {
	s.t.Helper()
	if _, busy := s.Dirty(); busy || s.Len() == 0 {
		return
	}
	f, err := s.Freeze()
	if err != nil {
		s.t.Fatal(err)
	}
	s.disk.flushing, s.disk.upTo = f, append(s.disk.upTo, len(s.disk.arrived))
}

func (s *site) thaw(stored bool) {
	s.t.Helper()
	d := s.disk
	f := d.flushing
	if f == nil {
		return
	}
	d.flushing = nil
	if err := f.Run(s.t.Context()); err != nil {
		s.t.Fatalf("flush: %v", err)
	}
	if !stored {
		d.upTo = d.upTo[:len(d.upTo)-1]
		s.Thaw(f, false)
		return
	}
	d.graph = append(d.graph, f.Graph...)
	d.chunks = append(d.chunks, f.Rows...)
	for _, c := range f.Rows {
		for i, id := range c.IDs {
			d.last[id] = c.At[i]
		}
	}
	d.saved = append(d.saved, Saved{Checkpoint: f.Checkpoint, Rest: f.Rest})
	s.Thaw(f, true)
}

func (s *site) flush() { s.freeze(); s.thaw(true) }

// reload forgets everything in memory and opens what is on the disk, from the
// checkpoint before last if older.
func (s *site) reload(older bool) {
	s.t.Helper()
	d := s.disk
	d.flushing = nil
	d.upTo = d.upTo[:len(d.saved)]
	s.Replica = d.replica(s.t)
	from, k := 0, len(d.saved)-1-one(older)
	if d.floor != nil && (k < 0 || d.upTo[k] < d.floor.place) {
		s.fromGround()
		return
	}
	if k >= 0 {
		d.saved, d.upTo = d.saved[:k+1], d.upTo[:k+1]
		saved := d.saved[k]
		saved.Graph, saved.Doubt = chunks(d.graph), older
		if f := d.floor; f != nil {
			saved.Graph, saved.Floor, saved.Ground = chunks(slices.Concat(f.rows, d.graph)), f.place, f.ground
		}
		if err := s.Restore(s.t.Context(), saved); err != nil {
			s.t.Fatal(err)
		}
		from = d.upTo[k]
	} else {
		d.graph, d.chunks, d.saved, d.upTo = nil, nil, nil, nil
		clear(d.last)
	}
	if older && k >= 0 { // what later flushes appended is cut off
		d.graph = s.Graph(0, s.Len())
		d.chunks = slices.DeleteFunc(d.chunks, func(c RowChunk) bool { return c.Last > s.feed.pos })
	}
	for _, a := range d.arrived[from:] {
		if _, err := s.Add(a.c, a.v); err != nil {
			s.t.Fatal(err)
		}
	}
}

func chunks(list [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, b := range list {
			if !yield(b, nil) {
				return
			}
		}
	}
}

// judge settles verdicts, and writes them down at once as a ledger does.
func (s *site) judge(verdict func(*Commit) Validity) []Change {
	s.t.Helper()
	changes, err := s.Rejudge(verdict)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.disk != nil {
		s.thaw(true)
		s.flush()
	}
	return changes
}

// stateOf is a state that can be read.
func stateOf(r interface{ State() (*State, error) }) *State {
	s, err := r.State()
	if err != nil {
		panic(err)
	}
	return s
}

// entry is what is kept of a document.
func (s *site) entry(id string) []byte {
	s.t.Helper()
	rec, err := s.docs.get(id)
	if err != nil {
		s.t.Fatal(err)
	}
	return rec.entry
}

// entriesOf is everything that is kept.
func entriesOf(r *Replica) map[string][]byte { return stateOf(r).Entries }

// rowsOf is the feed behind a cursor.
func rowsOf(t interface{ Fatalf(string, ...any) }, r *Replica, since Cursor) (out []Change) {
	for c, err := range r.Changes(since) {
		if err != nil {
			t.Fatalf("changes: %v", err)
		}
		out = append(out, c)
	}
	return out
}

// A replica with documents all over, on a disk: what it shows does not depend on
// what is in memory, whichever way it is asked.
func TestLayersReadAsOne(t *testing.T) {
	s, m := newCellar().site(t, "a"), newSite(t, "a")
	both := func(writes ...Write) { c := s.write(writes...); m.add(c) }
	same := func(when string) {
		t.Helper()
		if !maps.EqualFunc(entriesOf(s.Replica), entriesOf(m.Replica), slices.Equal) || s.Digest() != m.Digest() || s.Count() != m.Count() {
			t.Fatalf("%s: states differ", when)
		}
		for _, q := range []Range{{}, {Desc: true}, {From: "k2", To: "k5"}, {From: "k2", To: "k5", Desc: true}, {Prefix: "k1"}, {Limit: 3}, {After: "k30", Limit: 4}, {After: "k30", Limit: 4, Desc: true}} {
			if got, want := list(t, s.Replica, q), list(t, m.Replica, q); !slices.Equal(got, want) {
				t.Fatalf("%s: %+v shows %v, want %v", when, q, got, want)
			}
		}
	}
	for i := range 60 {
		both(put(fmt.Sprint("k", i), fmt.Sprintf(`{"i":%d}`, i)))
	}
	same("in memory")
	s.flush()
	same("flushed")
	both(put("k3", `{"new":1}`), purge("k10"), del("k11"), put("k99", `{}`))
	same("flushed and written on")
	s.freeze()
	both(put("k3", `{"new":2}`), put("k10", `{"back":1}`), purge("k20"), put("k98", `{}`))
	same("while flushing")
	s.thaw(false)
	same("after a flush that failed")
	s.freeze()
	both(purge("k21"), put("k20", `{"back":2}`))
	s.thaw(true)
	same("after the next")
	s.reload(false)
	same("reopened")
	s.flush()
	s.reload(false)
	same("flushed and reopened")
	if d, _ := s.Dirty(); d != (Dirty{}) || len(s.feed.rows) != 0 {
		t.Errorf("%+v and %d rows are in memory", d, len(s.feed.rows))
	}
	writes := []Write{}
	for id := range entriesOf(s.Replica) {
		writes = append(writes, purge(id))
	}
	both(writes...)
	s.flush()
	same("everything gone")
	s.reload(false)
	both(put("k", `{}`))
	same("begun anew")
}

func list(t *testing.T, r *Replica, q Range) (out []string) {
	t.Helper()
	for d, err := range r.All(q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(d.JSON()))
	}
	return out
}

// Values out of line, entries too large for a node and files survive the way to the
// disk and back, and are loaded when they are read.
func TestLargeOnDisk(t *testing.T) {
	g := newCellar()
	s, o := g.site(t, "a"), g.site(t, "b")
	big := func(n int, c string) string { return fmt.Sprintf(`"%s"`, slices.Repeat([]byte(c), n)) }
	s.write(put("v", `{"a":`+big(MaxInline+1, "x")+`,"b":`+big(MaxInline+1, "y")+`}`))
	o.pull(s)
	s.write(patch("v", `{"a":`+big(MaxInline+2, "s")+`}`))
	o.write(patch("v", `{"a":`+big(MaxInline+2, "o")+`}`))
	s.pull(o)
	o.pull(s)
	w := put("e", `{}`)
	for i := range 20 { // an entry of more than 64 KiB, of values that stand in it
		w.Body[fmt.Sprint("f", i)] = string(slices.Repeat([]byte{'a' + byte(i)}, 8000))
	}
	s.write(w)
	s.write(Write{Verb: Patch, ID: "f", Body: Doc{}, Files: map[string]*File{
		"f": {Root: block.ID{1}, Hash: [32]byte{2}, Size: 3, Type: "text/plain", Modified: 4},
	}})
	want := list(t, s.Replica, Range{})
	lost := s.losers("v")
	for _, reload := range []bool{false, true} {
		if s.flush(); reload {
			s.reload(false)
		}
		if got := list(t, s.Replica, Range{}); !slices.Equal(got, want) || s.losers("v") != lost || lost == "" {
			t.Fatalf("reads otherwise after a flush (reopened: %v)", reload)
		}
		if f, err := s.File("f", "f"); err != nil || f.Root != (block.ID{1}) {
			t.Fatal(f, err)
		}
	}
	// A restore names the block again that holds the value.
	s.write(del("v"))
	s.flush()
	s.write(restore("v"))
	s.flush()
	s.reload(false)
	if d, _, err := s.Get("v"); err != nil || len(d["b"].(string)) != MaxInline+1 {
		t.Fatal(err)
	}
	if len(s.values) != 0 {
		t.Errorf("%d values are kept in memory", len(s.values))
	}
	g.broken = errNoValue
	if _, _, err := s.Get("v"); err == nil {
		t.Error("a value that cannot be read reads as something")
	}
	if _, _, err := s.Get("e"); err == nil {
		t.Error("an entry that cannot be read reads as something")
	}
}

// A replica that cannot read what it must replay says so and takes nothing more,
// rather than show a state that is not that of its commits.
func TestSourceFails(t *testing.T) {
	g := newCellar()
	s := g.site(t, "a")
	c := s.write(put("d", `{"x":1}`))
	s.write(put("d", `{"x":2}`))
	s.flush()
	g.broken = fmt.Errorf("rotten block")
	_, err := s.Rejudge(func(x *Commit) Validity {
		if x.ID == c.ID {
			return Void("removed")
		}
		return Valid
	})
	if err == nil {
		t.Fatal("replayed what cannot be read")
	}
	if _, err := s.Add(c, Valid); err == nil {
		t.Error("goes on")
	}
	if _, err := s.Freeze(); err == nil {
		t.Error("writes it down")
	}
	g.broken = nil
	s.reload(false)
	if s.read("d") != `{"x":2}` {
		t.Error(s.read("d"))
	}
}

// TestFeedOnDisk: the feed of a replica that flushes and restarts at any moment is row
// by row, position by position that of one that runs for ever, whatever arrives, is
// cut late or comes back. So a reader that keeps its cursor misses nothing and gets
// nothing twice.
func TestFeedOnDisk(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := genHistory(rt, t, 10)
		order := h.order("order")
		g := newCellar()
		s, m := g.site(t, "s"), newSite(t, "s")
		m.feed.epoch = 7
		cut := map[block.Actor]uint64{}
		verdict := func(c *Commit) Validity {
			if from, ok := cut[c.Actor]; ok && c.Seq >= from {
				return Void("removed")
			}
			return Valid
		}
		var cursor Cursor
		read := func() {
			got, want := rowsOf(rt, s.Replica, cursor), rowsOf(rt, m.Replica, cursor)
			if !slices.Equal(got, want) {
				rt.Fatalf("behind %s:\n%v\nwant\n%v", cursor, got, want)
			}
			if len(got) > 0 && rapid.Bool().Draw(rt, "commit the cursor") {
				c, err := ParseCursor(rapid.SampledFrom(got).Draw(rt, "up to").Cursor.String())
				if err != nil {
					rt.Fatal(err)
				}
				cursor = c
			}
		}
		for _, c := range order {
			g.commits[c.ID] = c
			s.addAs(c, verdict(c))
			m.addAs(c, verdict(c))
			if rapid.IntRange(0, 4).Draw(rt, "cut") == 0 {
				if a := c.Actor; cut[a] == 0 {
					cut[a] = uint64(rapid.IntRange(1, 3).Draw(rt, "from"))
				} else {
					delete(cut, a)
				}
				s.judge(verdict)
				m.judge(verdict)
			}
			switch rapid.IntRange(0, 5).Draw(rt, "upset") {
			case 1:
				s.flush()
			case 2:
				s.freeze()
			case 3:
				s.thaw(rapid.Bool().Draw(rt, "stored"))
			case 4:
				s.reload(false)
			}
			read()
		}
		if cursor = (Cursor{}); s.Digest() != m.Digest() {
			rt.Fatal("digests differ")
		}
		read()
		checkKept(rt, s.Replica)
		// From the checkpoint before last, the rows that were written later are in doubt.
		s.reload(true)
		s.judge(verdict)
		checkKept(rt, s.Replica)
		if s.Digest() != m.Digest() {
			rt.Fatal("digests differ after opening an older checkpoint")
		}
	})
}
