package crdt

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// The vectors were made by testdata/gen_vectors.py from the executable model of
// the merge. Every history is written again through Draft on a replica that holds
// exactly the author's past, which must make the model's operations; then all
// commits are delivered in several causal orders, which must end in the model's
// view, conflicts and void set.

type vector struct {
	Name    string
	Commits []vectorCommit
	Links   []vectorLink
	View    map[string][3]json.RawMessage // document, conflicts, n
	Void    []string
}

type vectorCommit struct {
	ID, Actor, Prev string
	Seq             uint64
	Parents         []string
	Time            wire.Time
	Team            []int
	Acts            [][]json.RawMessage
	Ops             [][2]json.RawMessage
}

type vectorLink struct {
	id    int
	actor string
	seq   uint64
	cid   string
}

func (l *vectorLink) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&l.id, &l.actor, &l.seq, &l.cid})
}

type vectorOp struct {
	Life   int64
	Sets   [][3]json.RawMessage // path, {"v": value} | {"obj": 1}, stamp | null
	Drops  [][3]json.RawMessage // slot, actor, seq
	Adds   [][2]json.RawMessage // path, total
	Clears [][2]json.RawMessage // path, [[actor, seq, total]…]
}

func vectorID(cid string) (id block.ID) {
	b, err := hex.DecodeString(cid)
	if err != nil {
		panic(err)
	}
	copy(id[:], b)
	return id
}

func vectorActor(letter string) block.Actor { return block.Actor{Device: block.Device{letter[0]}} }

// judge is the model's rule of cuts: a removal its author did not know takes every
// commit of the target but those its last good one was written on.
func (v *vector) judge(links []vectorLink, has func(block.ID) bool) func(*Commit) Validity {
	byID := map[block.ID]*vectorCommit{}
	for i := range v.Commits {
		byID[vectorID(v.Commits[i].ID)] = &v.Commits[i]
	}
	return func(c *Commit) Validity {
		vc := byID[c.ID]
		known, spared := false, false
		for _, l := range links {
			if l.actor != vc.Actor || slices.Contains(vc.Team, l.id) {
				continue
			}
			known = true
			spared = spared || vc.Seq <= l.seq && v.onChain(byID, has, vc, l.cid)
		}
		if known && !spared {
			return Void("cut")
		}
		return Valid
	}
}

func (v *vector) onChain(byID map[block.ID]*vectorCommit, has func(block.ID) bool, c *vectorCommit, cid string) bool {
	for has(vectorID(cid)) && byID[vectorID(cid)].Seq > c.Seq {
		cid = byID[vectorID(cid)].Prev
	}
	return cid == c.ID || !has(vectorID(cid))
}

// feedVector hands commits to a fresh replica that knows some of the links.
func (v *vector) feedVector(t *testing.T, commits []*Commit, links []vectorLink) *Replica {
	t.Helper()
	r := NewReplica(testDB, testKeys())
	for _, c := range commits {
		judge := v.judge(links, func(id block.ID) bool { return id == c.ID || r.Has(id) })
		if _, err := r.Add(c, judge(c)); err != nil {
			t.Fatalf("%s: add %s: %v", v.Name, c.ID, err)
		}
		if len(links) > 0 {
			r.Rejudge(v.judge(links, r.Has))
		}
	}
	return r
}

// pastOf returns the commits in the past of i, in order.
func (v *vector) pastOf(i int, made []*Commit) (past []*Commit) {
	in := map[string]bool{}
	for _, p := range v.Commits[i].Parents {
		in[p] = true
	}
	for j := i - 1; j >= 0; j-- {
		if c := v.Commits[j]; in[c.ID] {
			past = append(past, made[j])
			for _, p := range c.Parents {
				in[p] = true
			}
		}
	}
	slices.Reverse(past)
	return past
}

func (v *vector) linksOf(ids []int) (links []vectorLink) {
	for _, l := range v.Links {
		if slices.Contains(ids, l.id) {
			links = append(links, l)
		}
	}
	return links
}

// make writes commit i as its author did.
func (v *vector) make(t *testing.T, i int, made []*Commit) *Commit {
	t.Helper()
	vc := &v.Commits[i]
	r := v.feedVector(t, v.pastOf(i, made), v.linksOf(vc.Team))
	a := Author{Actor: vectorActor(vc.Actor), Seat: block.ID{7}, Time: vc.Time, TeamHeads: []block.ID{{9}}}
	d, err := (*Draft)(nil), error(ErrActor)
	if vc.Acts != nil {
		var errs []error
		d, _, errs = r.Draft(a, [][]Write{vectorWrites(t, vc.Acts)})
		err = errs[0]
	}
	switch {
	case errors.Is(err, ErrActor) && vc.Ops != nil:
		d = v.draftOps(t, r, vc, a) // the model goes on where an author must not
	case err != nil:
		t.Fatalf("%s: commit %s: %v", v.Name, vc.ID, err)
	case d == nil:
		t.Fatalf("%s: commit %s: nothing changed", v.Name, vc.ID)
	}
	b := &block.Block{ID: vectorID(vc.ID), Header: block.Header{
		Kind: block.KindCommit, DB: testDB, Author: a.Actor.Device, Seat: a.Seat, Links: d.Parents, Parents: len(d.Parents),
	}}
	c, err := ParseCommit(b, d.Plain)
	if err != nil {
		t.Fatalf("%s: commit %s: %v", v.Name, vc.ID, err)
	}
	if c.Seq != vc.Seq || c.Time != vc.Time || len(c.Parents) != len(vc.Parents) {
		t.Fatalf("%s: commit %s: seq %d time %d, %d parents", v.Name, vc.ID, c.Seq, c.Time, len(c.Parents))
	}
	if vc.Ops != nil {
		if got, want := describeOps(c), describeVector(t, vc); got != want {
			t.Fatalf("%s: commit %s: operations\n%s\nwant\n%s", v.Name, vc.ID, got, want)
		}
	}
	return c
}

func vectorWrites(t *testing.T, acts [][]json.RawMessage) (writes []Write) {
	verbs := map[string]Verb{"put": Put, "patch": Patch, "delete": Delete, "restore": Restore, "purge": Purge}
	for _, act := range acts {
		w := Write{ID: unquote(t, act[0]), Verb: verbs[unquote(t, act[1])]}
		if len(act) > 2 {
			w.Body = doc(string(act[2]))
		}
		writes = append(writes, w)
	}
	return writes
}

func unquote(t *testing.T, raw json.RawMessage) (s string) {
	t.Helper()
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func decodeRaw[T any](t *testing.T, raw json.RawMessage) (v T) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return v
}

// describeVector and describeOps write operations in one readable form, sorted.
func describeVector(t *testing.T, vc *vectorCommit) string {
	var lines []string
	for _, pair := range vc.Ops {
		id, o := unquote(t, pair[0]), decodeRaw[vectorOp](t, pair[1])
		add := func(format string, args ...any) { lines = append(lines, id+" "+fmt.Sprintf(format, args...)) }
		if o.Life != 0 {
			add("life %d", o.Life)
		}
		for _, s := range o.Sets {
			val, stamp := string(s[1]), ""
			if x := doc(val); x["obj"] != nil {
				val = "object"
			} else {
				val = string(appendJSON(nil, x["v"]))
			}
			if string(s[2]) != "null" {
				st := decodeRaw[[3]any](t, s[2])
				stamp = fmt.Sprint(" ", st[0], st[1], st[2])
			}
			add("set %q %s%s", decodeRaw[[]string](t, s[0]), val, stamp)
		}
		for _, d := range o.Drops {
			slot := string(d[0])
			if slot[0] == '[' {
				slot = fmt.Sprintf("%q", decodeRaw[[]string](t, d[0]))
			}
			add("drop %s %s %s", slot, unquote(t, d[1]), d[2])
		}
		for _, x := range o.Adds {
			add("total %q %s", decodeRaw[[]string](t, x[0]), x[1])
		}
		for _, x := range o.Clears {
			for _, s := range decodeRaw[[][3]any](t, x[1]) {
				add("clear %q %v %v %v", decodeRaw[[]string](t, x[0]), s[0], s[1], s[2])
			}
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func describeOps(c *Commit) string {
	var lines []string
	actor := func(i int) string { return string(c.ctx.actors[i].Device[:1]) }
	for _, o := range c.operations() {
		add := func(format string, args ...any) { lines = append(lines, o.id+" "+fmt.Sprintf(format, args...)) }
		paths := o.places()
		if o.life != 0 {
			add("life %d", o.life)
		}
		for _, s := range o.sets {
			val, stamp := "object", ""
			if !s.val.object() {
				r := reader{b: s.val}
				val = string(appendJSON(nil, r.value()))
			}
			if s.orig != nil {
				stamp = fmt.Sprint(" ", s.orig.time, actor(s.orig.actor), s.orig.seq)
			}
			add("set %q %s%s", paths[s.path].keys(), val, stamp)
		}
		for _, d := range o.drops {
			for _, s := range d.slots {
				slot := map[int]string{slotAlive: `"a"`, slotDead: `"d"`}[s]
				if s >= slotPath {
					slot = fmt.Sprintf("%q", paths[s-slotPath].keys())
				}
				add("drop %s %s %d", slot, actor(d.actor), d.seq)
			}
		}
		for _, x := range o.totals {
			add("total %q %d", paths[x.path].keys(), x.total.clamp())
		}
		for _, x := range o.clears {
			for _, s := range x.seen {
				add("clear %q %s %d %d", paths[x.path].keys(), actor(s.actor), s.seq, s.total.clamp())
			}
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// draftOps writes the operations of a vector as they stand.
func (v *vector) draftOps(t *testing.T, r *Replica, vc *vectorCommit, a Author) *Draft {
	t.Helper()
	d := &drafting{r: r, parents: r.Heads(), table: newActorTable(a.Actor)}
	d.ctx = opContext{dot: Dot{a.Actor, vc.Seq}, time: vc.Time}
	d.body = body{seq: vc.Seq, time: vc.Time, team: a.TeamHeads, void: r.VoidHash()}
	var own []block.ID
	for _, id := range d.parents {
		p := r.commits[id]
		d.body.parents = append(d.body.parents, parent{d.table.of(p.Actor), p.Seq})
		if p.Actor == a.Actor && p.Seq == vc.Seq-1 {
			own = append(own, id)
		}
	}
	if vc.Prev != "" && !slices.Equal(own, []block.ID{vectorID(vc.Prev)}) {
		d.body.prev = vectorID(vc.Prev)
	}
	if len(own) == 1 && len(d.parents) == 1 {
		d.body.parents = nil
	}
	var ops []op
	for _, pair := range vc.Ops {
		ops = append(ops, vectorToOp(t, unquote(t, pair[0]), decodeRaw[vectorOp](t, pair[1]), d.table))
	}
	d.number(ops)
	if _, err := d.encodeOps(ops); err != nil {
		t.Fatal(err)
	}
	d.body.digest, d.body.hasDigest = [32]byte{1}, true
	d.body.void = [32]byte{0xff} // not comparable: this author claims nothing
	return d.draft(nil)
}

// path is a list of keys as one string that sorts as the list does: each key, with
// 0x00 and 0x01 written as 0x01 0x01 and 0x01 0x02, then 0x00.
type path string

func (p path) child(key string) path {
	return p + path(strings.NewReplacer("\x00", "\x01\x01", "\x01", "\x01\x02").Replace(key)) + "\x00"
}

func vectorToOp(t *testing.T, id string, v vectorOp, table *actorTable) op {
	o := op{id: id, life: v.Life}
	keys := map[path][]string{}
	note := func(raw json.RawMessage) path {
		p := path("")
		list := decodeRaw[[]string](t, raw)
		for i, k := range list {
			p = p.child(k)
			keys[p] = list[:i+1]
		}
		return p
	}
	for _, s := range v.Sets {
		note(s[0])
	}
	for _, d := range v.Drops {
		if d[0][0] == '[' {
			note(d[0])
		}
	}
	for _, x := range slices.Concat(v.Adds, v.Clears) {
		note(x[0])
	}
	var paths []path
	for p := range keys {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	at := map[path]int{}
	for i, p := range paths {
		k := keys[p]
		parent := -1
		if len(k) > 1 {
			q := path("")
			for _, x := range k[:len(k)-1] {
				q = q.child(x)
			}
			parent = at[q]
		}
		at[p] = i
		o.rows = append(o.rows, row{parent: parent, key: k[len(k)-1]})
	}
	for _, s := range v.Sets {
		x := doc(string(s[1]))
		val := cell{cellObject}
		if x["obj"] == nil {
			val, _ = EncodeValue(x["v"])
		}
		set := opSet{path: at[note(s[0])], val: val, link: noLink}
		if string(s[2]) != "null" {
			st := decodeRaw[[3]json.RawMessage](t, s[2])
			set.orig = &opStamp{decodeRaw[wire.Time](t, st[0]), table.of(vectorActor(unquote(t, st[1]))), decodeRaw[uint64](t, st[2])}
		}
		o.sets = append(o.sets, set)
	}
	slices.SortFunc(o.sets, func(a, b opSet) int { return a.path - b.path })
	for _, d := range v.Drops {
		slot := map[string]int{`"a"`: slotAlive, `"d"`: slotDead}[string(d[0])]
		if d[0][0] == '[' {
			slot = slotPath + at[note(d[0])]
		}
		actor, seq := table.of(vectorActor(unquote(t, d[1]))), decodeRaw[uint64](t, d[2])
		i := slices.IndexFunc(o.drops, func(x opDrop) bool { return x.actor == actor && x.seq == seq })
		if i < 0 {
			i = len(o.drops)
			o.drops = append(o.drops, opDrop{actor: actor, seq: seq})
		}
		o.drops[i].slots = append(o.drops[i].slots, slot)
		slices.Sort(o.drops[i].slots)
	}
	for _, x := range v.Adds {
		o.totals = append(o.totals, opTotal{at[note(x[0])], totalOf(decodeRaw[int64](t, x[1]))})
	}
	slices.SortFunc(o.totals, func(a, b opTotal) int { return a.path - b.path })
	for _, x := range v.Clears {
		cl := opClear{path: at[note(x[0])]}
		for _, s := range decodeRaw[[][3]json.RawMessage](t, x[1]) {
			cl.seen = append(cl.seen, opSeen{table.of(vectorActor(unquote(t, s[0]))), decodeRaw[uint64](t, s[1]), totalOf(decodeRaw[int64](t, s[2]))})
		}
		o.clears = append(o.clears, cl)
	}
	slices.SortFunc(o.clears, func(a, b opClear) int { return a.path - b.path })
	return o
}

// check holds a replica against the model's view.
func (v *vector) check(t *testing.T, r *Replica, how string) {
	t.Helper()
	for id, want := range v.View {
		got := "null"
		if d, _, err := r.Get(id); err == nil {
			rev := d[keyRev].(string)
			delete(d, keyID)
			delete(d, keyRev)
			got = string(d.JSON())
			if n := string(want[2]); !strings.HasPrefix(rev, n+"-") {
				t.Fatalf("%s, %s: %s has rev %s, want n = %s", v.Name, how, id, rev, n)
			}
		}
		wantDoc := "null"
		if string(want[0]) != "null" {
			wantDoc = string(doc(string(want[0])).JSON())
		}
		if got != wantDoc {
			t.Fatalf("%s, %s: %s shows %s, want %s\n%s", v.Name, how, id, got, wantDoc, v.dump())
		}
		if got, want := flatConflicts(r, id), vectorConflicts(t, want[1]); got != want {
			t.Fatalf("%s, %s: %s conflicts %s, want %s", v.Name, how, id, got, want)
		}
	}
	var void []string
	for id := range r.Voids() {
		void = append(void, hex.EncodeToString(id[:6]))
	}
	sort.Strings(void)
	if !slices.Equal(void, v.Void) {
		t.Fatalf("%s, %s: void %v, want %v\n%s", v.Name, how, void, v.Void, v.dump())
	}
}

func (v *vector) dump() string {
	b, _ := json.Marshal(v.Commits)
	return string(b)
}

func flatConflicts(r *Replica, id string) string {
	conflicts, err := r.Conflicts(id)
	if err != nil {
		return "[]"
	}
	lines := []string{}
	for _, c := range conflicts {
		for _, o := range c.Others {
			lines = append(lines, fmt.Sprintf("%q=%s", c.Path, appendJSON(nil, o.Value)))
		}
	}
	sort.Strings(lines)
	return fmt.Sprint(lines)
}

func vectorConflicts(t *testing.T, raw json.RawMessage) string {
	lines := []string{}
	for _, pair := range decodeRaw[[][2]json.RawMessage](t, raw) {
		val := doc(`{"v":` + string(pair[1]) + `}`)["v"]
		lines = append(lines, fmt.Sprintf("%q=%s", decodeRaw[[]string](t, pair[0]), appendJSON(nil, val)))
	}
	sort.Strings(lines)
	return fmt.Sprint(lines)
}

// shuffled returns the commits in another causal order.
func shuffled(rng *rand.Rand, commits []*Commit) (out []*Commit) {
	left, have := slices.Clone(commits), map[block.ID]bool{}
	for len(left) > 0 {
		i := rng.IntN(len(left))
		c := left[i]
		if slices.ContainsFunc(c.Parents, func(p block.ID) bool { return !have[p] }) {
			continue
		}
		have[c.ID] = true
		out = append(out, c)
		left = slices.Delete(left, i, i+1)
	}
	return out
}

func TestVectors(t *testing.T) {
	raw, err := os.ReadFile(cmp.Or(os.Getenv("TOFT_VECTORS"), "testdata/vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	commits, orders, forks := 0, 0, 0
	for i := range vectors {
		v := &vectors[i]
		v.Name = fmt.Sprintf("%d %s", i, v.Name)
		made := make([]*Commit, 0, len(v.Commits))
		for i := range v.Commits {
			made = append(made, v.make(t, i, made))
		}
		commits += len(made)
		r := v.feedVector(t, made, v.Links)
		v.check(t, r, "as written")
		forks += len(r.Forks())
		for range 3 {
			o := v.feedVector(t, shuffled(rng, made), v.Links)
			v.check(t, o, "shuffled")
			late := v.feedVector(t, shuffled(rng, made), nil)
			late.Rejudge(v.judge(v.Links, late.Has))
			v.check(t, late, "links last")
			if r.Digest() != o.Digest() || r.Digest() != late.Digest() {
				t.Fatalf("%s: digests differ", v.Name)
			}
			orders += 2
		}
	}
	t.Logf("%d histories, %d commits, %d orders, %d forks", len(vectors), commits, orders, forks)
}
