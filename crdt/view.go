package crdt

import (
	"cmp"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// What a document shows. At each path the candidates are the scalars assigned
// there and, if an object was assigned there or anything stands below, the object;
// the greatest stamp wins (an object's is the greatest in it). Live increments add
// to a winning number; where nothing else stands they are the value.

// Conflict is a path at which a document keeps more than the value it shows.
type Conflict struct {
	Path   []string
	Winner any
	Others []Other
}

// Other is a value that lost: a concurrent assignment whose author had not seen
// the winner, or whom the winner's author had not seen.
type Other struct {
	Value any
	// Actor and Time of the assignment; zero for a sum of increments, which has no
	// single author.
	Actor block.Actor
	Time  wire.Time
}

// stores resolve references: the bytes of the value behind one, and the block a
// file starts at. link is the block it names; nil: it is not sealed yet.
type stores interface {
	value(f ref, link *block.ID) ([]byte, error)
	root(f ref, link *block.ID) (block.ID, bool)
}

// shown is what a path shows.
type shown struct {
	present bool
	value   any
	number  bool
	object  bool
	stamp   stamp // time −1: of increments alone, before every other
}

// viewer evaluates an entry; with keep it collects the losers.
type viewer struct {
	stores    stores
	keep      bool
	conflicts []Conflict
	missing   error // why a value out of line is not at hand
	path      []string
}

// document returns what the entry shows, without _id and _rev.
func (v *viewer) document(e *entry) map[string]any {
	m, _ := v.kids(&e.root)
	return m
}

// kids evaluates what stands below n; best is the greatest stamp there.
func (v *viewer) kids(n *node) (m map[string]any, best stamp) {
	m = make(map[string]any, len(n.kids)+2)
	best.time = -2
	for _, k := range n.kids {
		v.path = append(v.path, k.key)
		s := v.node(k)
		v.path = v.path[:len(v.path)-1]
		if !s.present {
			continue
		}
		m[k.key] = s.value
		if best.time == -2 || s.stamp.compare(&best) > 0 {
			best = s.stamp
		}
	}
	return m, best
}

func (v *viewer) node(n *node) shown {
	if len(n.kids) == 0 && len(n.ctrs) == 0 && len(n.asgs) == 1 && !n.asgs[0].val.object() {
		a := &n.asgs[0] // by far the most frequent: one settled value
		return shown{present: true, value: v.cell(a), number: a.val.number(), stamp: a.stamp()}
	}
	mark := len(v.conflicts)
	object, inside := shown{}, stamp{time: -2}
	if len(n.kids) > 0 {
		var m map[string]any
		if m, inside = v.kids(n); inside.time != -2 {
			object = shown{present: true, value: m, object: true, stamp: inside}
		}
	}
	scalar := v.scalars(n, &object)
	live, sum := n.sum()
	win, lost := scalar, object
	if object.present && (scalar == nil || object.stamp.compare(ptr(scalar.stamp())) >= 0) {
		win = nil
	}
	switch {
	case win == nil && !object.present:
		return shown{present: live, value: sum.clamp(), number: true, stamp: stamp{time: -1}}
	case win == nil:
		v.lose(n, nil, shown{}, live, sum, object.value)
		return object
	}
	v.conflicts = v.conflicts[:mark] // of an object that lost, nothing shows inside
	s := shown{present: true, number: win.val.number(), stamp: win.stamp()}
	if live && s.number {
		s.value, live = add(v.cell(win), sum), false
	} else {
		s.value = v.cell(win)
	}
	v.lose(n, win, lost, live, sum, s.value)
	return s
}

func ptr[T any](v T) *T { return &v }

// scalars returns the winner among the scalar assignments and raises the object by
// the markers among them.
func (v *viewer) scalars(n *node, object *shown) (win *asg) {
	for i := range n.asgs {
		a := &n.asgs[i]
		if !a.val.object() {
			if win == nil || win.before(a) {
				win = a
			}
			continue
		}
		if s := a.stamp(); !object.present || s.compare(&object.stamp) > 0 {
			if !object.present {
				object.present, object.object, object.value = true, true, map[string]any{}
			}
			object.stamp = s
		}
	}
	return win
}

// lose notes what a path keeps beside its winner (nil: the object won).
func (v *viewer) lose(n *node, win *asg, object shown, live bool, sum total, value any) {
	if !v.keep {
		return
	}
	var others []Other
	for i := range n.asgs {
		a := &n.asgs[i]
		if !a.val.object() && (win == nil || !a.val.is(win.val)) {
			s := a.stamp()
			others = append(others, Other{v.cell(a), s.dot.Actor, s.time})
		}
	}
	slices.SortStableFunc(others, func(a, b Other) int { return cmp.Compare(b.Time, a.Time) })
	if object.present {
		o := Other{Value: object.value}
		if object.stamp.time > 0 {
			o.Actor, o.Time = object.stamp.dot.Actor, object.stamp.time
		}
		others = append(others, o)
	}
	if live {
		others = append(others, Other{Value: sum.clamp()})
	}
	if len(others) > 0 {
		v.conflicts = append(v.conflicts, Conflict{slices.Clone(v.path), value, others})
	}
}

// cell returns the Go value that is assigned.
func (v *viewer) cell(a *asg) any {
	c := a.val
	if !c.ref() {
		r := reader{b: c}
		return r.value()
	}
	f := c.parseRef()
	if f.file {
		m := map[string]any{"type": f.mime, "size": int64(f.size), "modified": int64(f.modified)}
		if id, ok := v.stores.root(f, a.link); ok {
			m["root"] = id.String()
		}
		return m
	}
	b, err := v.stores.value(f, a.link)
	if err != nil {
		v.missing = err
		return nil
	}
	r := reader{b: b}
	return r.value()
}

// add returns a number and a sum of increments, clamped to int64 if the number is
// an integer.
func add(n any, sum total) any {
	if f, ok := n.(float64); ok {
		return f + sum.float()
	}
	i, _ := n.(int64)
	return sum.add(totalOf(i)).clamp()
}
