package team

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExhaustive: every chain of three links {add, remove, demote, promote} by and
// about three actors, in every shape of DAG and every order of arrival, reducer
// against model. Four links take minutes: TOFT_TEAM_LINKS=4, as make sim does.
func TestExhaustive(t *testing.T) {
	depth, long := 3, os.Getenv("TOFT_TEAM_LINKS") != ""
	if n, err := strconv.Atoi(os.Getenv("TOFT_TEAM_LINKS")); err == nil {
		depth = n
	} else if testing.Short() {
		depth = 2
	}
	for _, roles := range [][2]Role{{RoleAdmin, RoleAdmin}, {RoleAdmin, RoleMember}, {RoleMember, RoleReader}} {
		t.Run(fmt.Sprint(roles[0], "+", roles[1]), func(t *testing.T) {
			t.Parallel()
			e := &exhaustive{t: t, roles: roles, left: depth, long: long, symmetric: roles[0] == roles[1]}
			e.extend(nil)
			t.Logf("%d chains, %d orders", e.chains, e.orders)
			require.Greater(t, e.chains, 20*depth*depth)
		})
	}
}

type move struct {
	author, action, target int
	parents                int // set of the moves it stands on; 0: the team's founding
}

type exhaustive struct {
	t              *testing.T
	roles          [2]Role
	left           int
	long           bool
	symmetric      bool // b and c can be renamed into each other
	chains, orders int
}

var actors = []string{"a", "b", "c"}

// extend tries every next link. One that is not allowed leads nowhere new: the
// chain without it was tried already.
func (e *exhaustive) extend(ms []move) {
	if e.left == 0 {
		return
	}
	e.left--
	defer func() { e.left++ }()
	for parents := range 1 << len(ms) {
		if !antichain(ms, parents) {
			continue
		}
		for author := range 3 {
			for action := range 4 {
				for target := range 3 {
					m := append(ms[:len(ms):len(ms)], move{author, action, target, parents})
					if e.symmetric && renamed(m) {
						continue
					}
					if w := e.build(m); w != nil {
						e.chains++
						w.agree()
						e.everyOrder(w, m)
						e.extend(m)
					}
				}
			}
		}
	}
}

func antichain(ms []move, set int) bool {
	for i := range ms {
		if set>>i&1 != 0 && past(ms, i)&set != 0 {
			return false
		}
	}
	return true
}

// past is the set of moves below move i.
func past(ms []move, i int) (set int) {
	for j := range i {
		if ms[i].parents>>j&1 != 0 {
			set |= 1<<j | past(ms, j)
		}
	}
	return set
}

// renamed reports whether c is named before b: the twin with b was tried.
func renamed(ms []move) bool {
	for _, m := range ms {
		for _, who := range []int{m.author, m.target} {
			if who > 0 {
				return who == 2
			}
		}
	}
	return false
}

func (e *exhaustive) build(ms []move) *world {
	w := newSalted(e.t, "a", fmt.Sprint(ms), false)
	w.add("+b", by("a", add("b", e.roles[0])), "G")
	w.add("+c", by("a", add("c", e.roles[1])), "+b")
	for i, m := range ms {
		parents := []string{}
		for j := range i {
			if m.parents>>j&1 != 0 {
				parents = append(parents, fmt.Sprint("m", j))
			}
		}
		if len(parents) == 0 {
			parents = []string{"+c"}
		}
		who := actors[m.target]
		content := []made{add(who, RoleAdmin), remove(who), role(who, RoleMember), role(who, RoleAdmin)}[m.action]
		if m.action == 1 && m.author == m.target {
			content = leave(who)
		}
		name := fmt.Sprint("m", i)
		w.add(name, by(actors[m.author], content), parents...)
		if w.errs[name] != nil {
			if i == len(ms)-1 {
				w.agreeAllowed() // the model refuses it too
			}
			return nil
		}
	}
	return w
}

// everyOrder adds the links in other orders of arrival than they were drawn in; in
// the short run in one other, the long one tries all. What a replica holds in
// between is a smaller chain, and was tried before.
func (e *exhaustive) everyOrder(w *world, ms []move) {
	done := false
	var walk func(order []int, have int)
	walk = func(order []int, have int) {
		if done {
			return
		}
		if len(order) == len(ms) {
			if slices.IsSorted(order) {
				return
			}
			e.orders++
			done = !e.long
			c := w.fresh()
			require.NoError(e.t, c.Add(w.all[1]))
			require.NoError(e.t, c.Add(w.all[2]))
			for _, i := range order {
				require.NoError(e.t, c.Add(w.all[3+i]))
			}
			if want, got := w.chain.describe(), c.describe(); want != got {
				e.t.Fatalf("order %v\n%s\n\nelse\n%s\n\n%s", order, got, want, w.story())
			}
			return
		}
		for i := len(ms) - 1; i >= 0; i-- {
			if have>>i&1 == 0 && past(ms, i)&^have == 0 {
				walk(append(order[:len(order):len(order)], i), have|1<<i)
			}
		}
	}
	walk(nil, 0)
}
