package team

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExhaustive: every chain of three links {add, remove, demote, promote} by and
// about three actors, in every shape of DAG and every order of arrival, reducer
// against model, and whoever is out without a key. Under the race detector two links, because it takes ten times as
// long and finds nothing more: the room has no goroutine. Four links take minutes:
// TOFT_TEAM_LINKS=4, as make sim does.
func TestExhaustive(t *testing.T) {
	depth := 3
	if n, err := strconv.Atoi(os.Getenv("TOFT_TEAM_LINKS")); err == nil {
		depth = n
	} else if testing.Short() || raceDetector {
		depth = 2
	}
	for _, roles := range [][2]Role{{RoleAdmin, RoleAdmin}, {RoleAdmin, RoleMember}, {RoleMember, RoleReader}} {
		t.Run(fmt.Sprint(roles[0], "+", roles[1]), func(t *testing.T) {
			t.Parallel()
			e := &exhaustive{t: t, roles: roles, depth: depth, symmetric: roles[0] == roles[1]}
			w := newSalted(t, "a", fmt.Sprint(roles), false)
			w.add("+b", by("a", add("b", roles[0])), "G")
			w.add("+c", by("a", add("c", roles[1])), "+b")
			e.extend(w, nil)
			t.Logf("%d links tried, %d chains, %d orders", e.tried, e.chains, e.orders)
			require.Greater(t, e.chains, 20*depth*depth)
		})
	}
}

type move struct {
	author, action, target int
	parents                int // set of the moves it stands on; 0: the team's founding
}

type exhaustive struct {
	t                     *testing.T
	roles                 [2]Role
	depth                 int
	symmetric             bool // b and c can be renamed into each other
	tried, chains, orders int
}

var actors = []string{"a", "b", "c"}

// extend tries every next link above those of w. One that is not allowed leads
// nowhere new: the chain without it was tried already.
func (e *exhaustive) extend(w *world, ms []move) {
	if len(ms) == e.depth {
		return
	}
	for parents := range 1 << len(ms) {
		if !antichain(ms, parents) {
			continue
		}
		for author := range 3 {
			for action := range 4 {
				for target := range 3 {
					next := append(ms[:len(ms):len(ms)], move{author, action, target, parents})
					if !e.symmetric || !renamed(next) {
						e.try(w, next)
					}
				}
			}
		}
	}
}

// try offers the last of ms to the chain of the others, which refuses it or not as
// the model does, and goes on above it.
func (e *exhaustive) try(w *world, ms []move) {
	e.tried++
	last := ms[len(ms)-1]
	parents := []string{}
	for j := range ms {
		if last.parents>>j&1 != 0 {
			parents = append(parents, fmt.Sprint("m", j))
		}
	}
	if len(parents) == 0 {
		parents = []string{"+c"}
	}
	u := w.make(by(actors[last.author], last.content()), parents...)
	w.identify(u, fmt.Sprint("m", len(ms)-1))
	if l := newModel(append(w.all[:len(w.all):len(w.all)], u), w.verify).ls[len(w.all)]; !l.ok {
		if w.chain.Add(u) == nil { // if it does not, it is as it was
			e.t.Fatalf("%v: the chain takes what the model refuses: %s\n%s", ms, l.why, w.story())
		}
		return
	}
	next := w.grown(u, fmt.Sprint("m", len(ms)-1))
	e.chains++
	next.agree()
	next.keepsSecrets()
	e.everyOrder(next, ms)
	e.extend(next, ms)
}

func (m move) content() made {
	who := actors[m.target]
	if m.action == 1 && m.author == m.target {
		return leave(who)
	}
	return []made{add(who, RoleAdmin), remove(who), role(who, RoleMember), role(who, RoleAdmin)}[m.action]
}

// grown returns a world of its own with one more link.
func (w *world) grown(u *UnverifiedLink, name string) *world {
	n := &world{
		t: w.t, genID: w.genID, all: append(w.all[:len(w.all):len(w.all)], u), named: maps.Clone(w.named), salt: w.salt,
		errs: map[string]error{}, cache: w.cache, fast: w.fast,
	}
	n.named[name] = u
	n.chain = n.fresh()
	for _, x := range n.all[1:] {
		if err := n.chain.Add(x); err != nil {
			n.errs[name] = err
		}
	}
	return n
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

// everyOrder adds the links in every other order of arrival. What a replica holds
// in between, a down-set of the links, is a smaller chain, and was tried before.
func (e *exhaustive) everyOrder(w *world, ms []move) {
	want := ""
	var walk func(order []int, have int)
	walk = func(order []int, have int) {
		if len(order) == len(ms) {
			if slices.IsSorted(order) {
				return
			}
			e.orders++
			if want == "" {
				want = w.chain.describe()
			}
			c := w.fresh()
			require.NoError(e.t, c.Add(w.all[1]))
			require.NoError(e.t, c.Add(w.all[2]))
			for _, i := range order {
				require.NoError(e.t, c.Add(w.all[3+i]))
			}
			if got := c.describe(); want != got {
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
