package team

// vec is a persistent sparse vector: set returns a new one and shares what did not
// change, so that a state costs what it adds to the state before it, and an old
// one stays readable for ever. Absent elements are zero.
//
//	a 8-way tree over the index, low bits at the leaves
type vec[T any] struct {
	root   *vnode[T]
	height int // levels above the leaves
}

type vnode[T any] struct {
	kids *[8]*vnode[T]
	vals *[8]T
}

func (v vec[T]) get(i int32) (zero T) {
	if v.root == nil || i < 0 || int64(i)>>(3*(v.height+1)) != 0 {
		return zero
	}
	n := v.root
	for h := v.height; h > 0; h-- {
		if n = n.kids[i>>(3*h)&7]; n == nil {
			return zero
		}
	}
	return n.vals[i&7]
}

func (v vec[T]) set(i int32, x T) vec[T] {
	if v.root == nil {
		v.root, v.height = &vnode[T]{vals: new([8]T)}, 0
	}
	for int64(i)>>(3*(v.height+1)) != 0 {
		v.root = &vnode[T]{kids: &[8]*vnode[T]{v.root}}
		v.height++
	}
	v.root = v.root.set(i, v.height, x)
	return v
}

func (n *vnode[T]) set(i int32, height int, x T) *vnode[T] {
	if height == 0 {
		vals := new([8]T)
		if n != nil {
			*vals = *n.vals
		}
		vals[i&7] = x
		return &vnode[T]{vals: vals}
	}
	kids := new([8]*vnode[T])
	if n != nil {
		*kids = *n.kids
	}
	k := i >> (3 * height) & 7
	kids[k] = kids[k].set(i, height-1, x)
	return &vnode[T]{kids: kids}
}

// all calls f for every element of every allocated leaf in index order, zero ones
// included, until f returns false.
func (v vec[T]) all(f func(i int32, x T) bool) {
	if v.root != nil {
		v.root.all(0, v.height, f)
	}
}

func (n *vnode[T]) all(from int32, height int, f func(int32, T) bool) bool {
	for k := range int32(8) {
		i := from + k<<(3*height)
		if height == 0 {
			if !f(i, n.vals[k]) {
				return false
			}
		} else if kid := n.kids[k]; kid != nil && !kid.all(i, height-1, f) {
			return false
		}
	}
	return true
}

// list is a persistent stack of numbers; nil is empty.
type list struct {
	n    int32
	next *list
}

func (l *list) push(n int32) *list { return &list{n: n, next: l} }

func (l *list) has(n int32) bool {
	for ; l != nil; l = l.next {
		if l.n == n {
			return true
		}
	}
	return false
}
