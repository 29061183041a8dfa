package team

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
)

// Each story is what two sides did while offline from each other. settled checks
// it in other orders of arrival and against the model.
func TestMerges(t *testing.T) {
	type story struct {
		name, drawing string
		steps         steps
		team          string
		counting      string
	}
	base := steps{"+b": by("a", add("b", RoleAdmin)), "+c": by("a", add("c", RoleMember))}
	two := func(left, right step) steps {
		return steps{"+b": base["+b"], "+c": base["+c"], "L": left, "R": right}
	}
	fork := `
		G -> +b -> +c -> L
		           | -> R
	`
	for _, s := range []story{
		{"T106 unrelated", fork, two(by("a", add("d", RoleMember)), by("b", addDB("x"))), "a:admin b:admin c:member d:member", "G +b +c L R"},
		{"T107 a removes b ∥ b adds d", fork, two(by("a", remove("b")), by("b", add("d", RoleMember))), "a:admin c:member", "G +b +c L"},
		{"T108 a demotes b ∥ b adds d", fork, two(by("a", role("b", RoleMember)), by("b", add("d", RoleMember))), "a:admin b:member c:member", "G +b +c L"},
		{"T109 a and b remove each other", fork, two(by("a", remove("b")), by("b", remove("a"))), "a:admin c:member", "G +b +c L"},
		{"T111 a and b demote each other", fork, two(by("a", role("b", RoleMember)), by("b", role("a", RoleMember))), "a:admin b:member c:member", "G +b +c L"},
		{"C49 both add d (G20)", fork, two(by("a", add("d", RoleMember)), by("b", add("d", RoleReader))), "", "G +b +c L R"},
		{"C57 both remove c (G19)", fork, two(by("a", remove("c")), by("b", remove("c"))), "a:admin b:admin", "G +b +c L R"},
		{"C62 a demotes b ∥ b promotes c", fork, two(by("a", role("b", RoleMember)), by("b", role("c", RoleAdmin))), "a:admin b:member c:member", "G +b +c L"},
		{"a removes b ∥ b promotes c", fork, two(by("a", remove("b")), by("b", role("c", RoleAdmin))), "a:admin c:member", "G +b +c L"},
		{"a removes b ∥ b leaves", fork, two(by("a", remove("b")), by("b", leave("b"))), "a:admin c:member", "G +b +c L"},
		{"C58 b removes the founder", fork, steps{"+b": base["+b"], "+c": base["+c"], "L": by("b", remove("a")), "R": by("c", addDB("x"))}, "b:admin c:member", "G +b +c L R"},
		{"both leave: an admin stays", fork, two(by("a", leave("a")), by("b", leave("b"))), "b:admin c:member", "G +b +c L"},
		{"both step down", fork, two(by("a", role("a", RoleMember)), by("b", role("b", RoleMember))), "a:member b:admin c:member", "G +b +c L"},
		{"c demoted twice: the lowest role", fork, two(by("a", role("c", RoleReader)), by("b", role("c", RoleAdmin))), "a:admin b:admin c:reader", "G +b +c L R"},
		{
			"G21 a demotes b ∥ b promotes c, who acts", `
			G -> +b -> +c -> L
			           | -> R -> c+d
			`, steps{
				"+b": base["+b"], "+c": base["+c"], "L": by("a", role("b", RoleMember)),
				"R": by("b", role("c", RoleAdmin)), "c+d": by("c", add("d", RoleMember)),
			}, "a:admin b:member c:member", "G +b +c L",
		},
		{
			"C64 a demotes b ∥ b invites and admits d", `
			G -> +b -> +c -> L
			           | -> inv -> adm
			`, steps{
				"+b": base["+b"], "+c": base["+c"], "L": by("a", role("b", RoleMember)),
				"inv": by("b", invite("i", InviteMember, RoleMember, 1)), "adm": by("c", admit("inv", "d", "c")),
			}, "a:admin b:member c:member", "G +b +c L",
		},
		{
			"C60 a and b remove each other, a goes on", `
			G -> +b -> +c -> a-b -> db
			           | -> b-a
			`, steps{
				"+b": base["+b"], "+c": base["+c"], "a-b": by("a", remove("b")), "db": by("a", addDB("x")), "b-a": by("b", remove("a")),
			}, "a:admin c:member", "G +b +c a-b db",
		},
		{
			"a removed member's links on old heads", `
			G -> +b -> +c -> a-b -> +d
			     | -> old1 -> old2
			`, steps{
				"+b": base["+b"], "+c": base["+c"], "a-b": by("a", remove("b")), "+d": by("a", add("d", RoleMember)),
				"old1": by("b", add("e", RoleAdmin)), "old2": by("e", remove("a")),
			}, "a:admin c:member d:member", "G +b +c a-b +d",
		},
		{
			"a junior's removal of a senior, undone by the senior's concurrent one", `
			G -> +b -> +c -> +e -> b-e
			                 | -> e-b
			`, steps{
				"+b": base["+b"], "+c": base["+c"], "+e": by("a", add("e", RoleAdmin)), "b-e": by("b", remove("e")), "e-b": by("e", remove("b")),
			}, "a:admin b:admin c:member", "G +b +c +e b-e",
		},
		{
			"and made final when somebody senior to the target confirms it", `
			G -> +b -> +c -> +e -> b-e
			                 | -> e-b -> conf
			`, steps{
				"+b": base["+b"], "+c": base["+c"], "+e": by("a", add("e", RoleAdmin)), "b-e": by("b", remove("e")), "e-b": by("e", remove("b")),
				"conf": by("a", confirm("e-b")),
			}, "a:admin c:member e:admin", "G +b +c +e e-b conf",
		},
		{
			"a confirmation spares who was added again", `
			G -> +b -> +c -> -c -> +c2 -> c-db
			                 | -> conf
			`, steps{
				"+b": base["+b"], "+c": base["+c"], "-c": by("b", remove("c")), "+c2": by("b", add("c", RoleMember)),
				"c-db": by("c", addDB("x")), "conf": by("a", confirm("-c")),
			}, "a:admin b:admin c:member", "G +b +c -c +c2 c-db conf",
		},
		{
			"a demotion confirmed", `
			G -> +b -> +c -> +e -> b-e
			                 | -> e-b -> conf
			`, steps{
				"+b": base["+b"], "+c": base["+c"], "+e": by("a", add("e", RoleAdmin)), "b-e": by("b", role("e", RoleMember)),
				"e-b": by("e", role("b", RoleReader)), "conf": by("a", confirm("e-b")),
			}, "a:admin b:reader c:member e:admin", "G +b +c +e e-b conf",
		},
		{
			"revoke ∥ admit", `
			G -> +b -> inv -> rev
			           | -> adm
			`, steps{
				"+b": base["+b"], "inv": by("a", invite("i", InviteMember, RoleMember, 1)), "rev": by("a", revoke("inv")), "adm": by("b", admit("inv", "d", "b")),
			}, "a:admin b:admin", "G +b inv rev",
		},
		{
			"a removal that revokes ∥ admit", `
			G -> +b -> inv -> rem
			           | -> adm
			`, steps{
				"+b": base["+b"], "inv": by("b", invite("i", InviteMember, RoleMember, 1)), "rem": by("a", revoking(remove("b"), "inv")),
				"adm": by("a", admit("inv", "d", "a")),
			}, "a:admin", "G +b inv rem",
		},
		{
			"G27 the admitter is removed ∥ he admits", `
			G -> +b -> inv -> rem
			           | -> adm
			`, steps{
				"+b": by("a", add("b", RoleMember)), "inv": by("a", invite("i", InviteMember, RoleMember, 1)), "rem": by("a", remove("b")),
				"adm": by("b", admit("inv", "d", "b")),
			}, "a:admin", "G +b inv rem",
		},
		{
			"G15 one use on both sides: the senior's guest stays", `
			G -> +b -> inv -> a-d
			           | -> b-e
			`, steps{
				"+b": base["+b"], "inv": by("a", invite("i", InviteMember, RoleMember, 1)), "a-d": by("a", admit("inv", "d", "a")),
				"b-e": by("b", admit("inv", "e", "b")),
			}, "a:admin b:admin d:member e:member!suspended(e!suspended)", "G +b inv a-d b-e",
		},
		{
			"G15, and the loser is approved by ADD_MEMBER", `
			G -> +b -> inv -> a-d -> yes
			           | -> b-e -> yes
			`, steps{
				"+b": base["+b"], "inv": by("a", invite("i", InviteMember, RoleMember, 1)), "a-d": by("a", admit("inv", "d", "a")),
				"b-e": by("b", admit("inv", "e", "b")), "yes": by("a", add("e", RoleReader)),
			}, "a:admin b:admin d:member e:reader", "G +b inv a-d b-e yes",
		},
		{
			"the loser's own devices are suspended with him", `
			G -> +b -> inv -> a-d
			           | -> b-e -> e2
			`, steps{
				"+b": base["+b"], "inv": by("a", invite("i", InviteMember, RoleMember, 1)), "a-d": by("a", admit("inv", "d", "a")),
				"b-e": by("b", admit("inv", "e", "b")), "e2": by("e", device("e2", "e")),
			}, "a:admin b:admin d:member e:member!suspended(e!suspended e2!suspended)", "G +b inv a-d b-e e2",
		},
		{
			"G16 one guest admitted by two", `
			G -> +b -> inv -> a-d
			           | -> b-d
			`, steps{
				"+b": base["+b"], "inv": by("a", invite("i", InviteMember, RoleMember, 1)), "a-d": by("a", admit("inv", "d", "a")),
				"b-d": by("b", admit("inv", "d", "b")),
			}, "a:admin b:admin d:member", "G +b inv a-d b-d",
		},
		{
			"a removed device voids what it added at the same time, not before", `
			G -> p1 -> p2 -> -p1
			           | -> p3
			`, steps{
				"p1": by("a", device("p1", "a")), "p2": by("p1", device("p2", "a")), "-p1": by("a", removeDev("p1")), "p3": by("p1", device("p3", "a")),
			}, "a:admin(a p2)", "G p1 p2 -p1",
		},
		{
			"an admin who comes later does not let an old cut through that failed", `
			G -> +b -> +c -> boss -> a-out -> c+d
			                 |    -> b-out -> c+d
			                 |    -> x
			`, steps{
				"+b": base["+b"], "+c": base["+c"], "boss": by("a", bound("boss", "d", RoleAdmin)), "a-out": by("a", leave("a")),
				"b-out": by("b", leave("b")), "c+d": by("c", admit("boss", "d", "c")), "x": by("c", addDB("x")),
			}, "b:admin c:member d:admin", "G +b +c boss a-out c+d x",
		},
		{
			"a key that a senior member brings back is no admin of its own", `
			G -> +b -> phone -> down
			           |     -> b-out -> a+b
			`, steps{
				"+b": base["+b"], "phone": by("a", invite("phone", InviteDevice, 0, 1)), "down": by("a", role("a", RoleMember)),
				"b-out": by("b", dropDev("b")), "a+b": by("a", admit("phone", "b", "a")),
			}, "a:admin(a b)", "G +b phone b-out a+b",
		},
		{
			"everybody against the founder", `
			G -> +b -> +c -> +e -> b-a
			                 | -> e-a
			                 | -> a-b
			`, steps{
				"+b": base["+b"], "+c": base["+c"], "+e": by("a", add("e", RoleAdmin)),
				"b-a": by("b", remove("a")), "e-a": by("e", remove("a")), "a-b": by("a", remove("b")),
			}, "c:member e:admin", "G +b +c +e e-a a-b",
		},
	} {
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(t, "a").draw(s.drawing, s.steps)
			for n := range s.steps {
				w.taken(n)
			}
			if s.team == "" {
				s.team = w.team()
			}
			w.settled(s.team)
			if s.counting != "" {
				require.Equal(t, s.counting, w.counting(), w.story())
			}
		})
	}
}

// h does not count, but x was given it, and it opens g: so g is not good either, and
// nobody who knows that x is out writes under it.
func TestHeirsOfAGeneration(t *testing.T) {
	w := newWorld(t, "a").draw(`
		G -> +b -> +d -> g -> h
		           | -> +x -> h
		                | -> down -> r
	`, steps{
		"+b": by("a", add("b", RoleAdmin)), "+d": by("a", add("d", RoleAdmin)), "g": by("b", rotate()), "+x": by("a", add("x", RoleMember)),
		"h": by("d", rotate()), "down": by("a", role("d", RoleMember)), "r": by("a", remove("x")),
	})
	w.settled("a:admin b:admin d:member")
	require.Equal(t, "G +b +d g +x down r", w.counting())
	for _, g := range w.chain.State().Generations() {
		require.Equal(t, w.nameOf(block.ID(g.ID)) == "r", g.Good, w.nameOf(block.ID(g.ID)))
	}
	w.keepsSecrets()
}

// A suspended member cannot act, but may leave; the first to see him may remove him.
func TestSuspended(t *testing.T) {
	w := newWorld(t, "a").draw(`
		G -> +b -> inv -> a-d -> m
		           | -> b-e -> m
		m -> act
		m -> role
		m -> own
		m -> leave
		m -> gone
	`, steps{
		"+b": by("a", add("b", RoleAdmin)), "inv": by("a", invite("i", InviteMember, RoleMember, 1)),
		"a-d": by("a", admit("inv", "d", "a")), "b-e": by("b", admit("inv", "e", "b")), "m": by("a", addDB("x")),
		"act": by("e", addDB("y")), "role": by("a", role("e", RoleReader)), "own": by("e", device("e2", "e")),
		"leave": by("e", leave("e")), "gone": by("a", remove("e")),
	})
	w.refused("act", "suspended")
	w.refused("own", "suspended")
	w.refused("role", "not on the team")
	w.taken("leave", "gone")
	w.settled("a:admin b:admin d:member")
	require.Equal(t, "gone good", w.gens(), "e knew the key")
	inv, _ := w.chain.State().Invitation(inviteID("i"))
	require.Equal(t, uint64(2), inv.Uses)
	require.Equal(t, StatusUsed, inv.Status)
}

// A cut that fell may come back when what took it falls.
func TestCutComesBack(t *testing.T) {
	w := newWorld(t, "a").draw(`
		G -> +b -> +c -> b-c
		           | -> c-x
		     | -> +x -> x1
	`, steps{
		"+b": by("a", add("b", RoleAdmin)), "+c": by("a", add("c", RoleAdmin)), "b-c": by("b", remove("c")), "c-x": by("c", remove("b")),
		"+x": by("a", add("x", RoleMember)), "x1": by("x", addDB("x")),
	})
	require.Equal(t, "G +b +c b-c +x x1", w.counting(), "b is senior to c")
	w.draw(`+x -> a-b`, steps{"a-b": by("a", remove("b"))})
	require.Equal(t, "G +b +c c-x +x x1 a-b", w.counting(), "a takes b's removal, so c's stands")
	w.settled("a:admin c:admin x:member")
}

// The roster: what a replica, which checks no proof, makes of a forged admission.
func TestRosterForgery(t *testing.T) {
	w := newWorld(t, "a").draw(`G -> +b -> +m -> phone`, steps{
		"+b": by("a", add("b", RoleAdmin)), "+m": by("a", add("m", RoleMember)), "phone": by("a", invite("phone", InviteDevice, 0, 1)),
	})
	// m forges an admission of x as a device of a's, and x puts everybody out.
	forged := func(w *world, _ []*UnverifiedLink) Content {
		inv := w.named["phone"].Content.(Invite)
		inv.Key = dev("x").dev
		return w.join(w.named["phone"].ID, inv, "x", "m", nil)
	}
	w.draw(`phone -> forged -> x-b -> x-a`, steps{"forged": by("m", forged), "x-b": by("x", remove("b")), "x-a": by("x", removeDev("a"))})
	w.refused("forged", "proof")
	replica := w.freshFold(true)
	for _, u := range w.all[1:] {
		require.NoError(t, replica.Add(u))
	}
	for _, who := range []string{"a", "b", "m"} {
		require.True(t, replica.State().Active(dev(who).dev), "%s was put off the replica", who)
	}
	// Nor is there a way around it: whom x adds, and whom x promotes, is believed as
	// little as x.
	w.draw(`
		forged -> x+y -> y-b
		| -> x+m -> m-a
	`, steps{
		"x+y": by("x", add("y", RoleAdmin)), "y-b": by("y", remove("b")),
		"x+m": by("x", role("m", RoleAdmin)), "m-a": by("m", remove("a")),
	})
	for _, n := range []string{"x+y", "y-b", "x+m", "m-a"} {
		require.NoError(t, replica.Add(w.named[n]))
	}
	for _, who := range []string{"a", "b", "m"} {
		require.True(t, replica.State().Active(dev(who).dev), "%s was put off the replica", who)
	}
	// a sees the forgery and removes m: x goes with him.
	w.draw(`phone -> a-m`, steps{"a-m": by("a", remove("m"))})
	require.NoError(t, replica.Add(w.named["a-m"]))
	for who, on := range map[string]bool{"a": true, "b": true, "m": false, "x": false} {
		require.Equal(t, on, replica.State().Active(dev(who).dev), who)
	}
}

// A replica believes the cuts of a device that somebody trustworthy has built on,
// and of one admitted by an admin.
func TestRosterChecked(t *testing.T) {
	w := newWorld(t, "a").draw(`G -> +m -> +c -> phone -> joined -> cut`, steps{
		"+m": by("a", add("m", RoleMember)), "+c": by("a", add("c", RoleMember)), "phone": by("a", invite("phone", InviteDevice, 0, 1)),
		"joined": by("m", admit("phone", "a2", "m")), "cut": by("a2", remove("c")),
	})
	w.settled("a:admin(a a2) m:member")
	require.True(t, w.chain.Roster().Active(dev("c").dev), "nobody a replica trusts has checked a2's admission")
	w.draw(`joined -> db -> cut2`, steps{"db": by("a", addDB("x")), "cut2": by("a2", remove("c"))})
	w.settled("a:admin(a a2) m:member")
	require.False(t, w.chain.Roster().Active(dev("c").dev), "a has built on it")

	// What a cut nobody can check would take, does not count either: the roster is
	// never narrower than the team.
	w = newWorld(t, "a").draw(`
		G -> +b -> +m -> +c -> phone -> joined -> a2-b
		                                | -> b-c
	`, steps{
		"+b": by("a", add("b", RoleAdmin)), "+m": by("a", add("m", RoleMember)), "+c": by("a", add("c", RoleMember)),
		"phone": by("a", invite("phone", InviteDevice, 0, 1)), "joined": by("m", admit("phone", "a2", "m")),
		"a2-b": by("a2", remove("b")), "b-c": by("b", remove("c")),
	})
	w.settled("a:admin(a a2) c:member m:member")
	require.True(t, w.chain.Roster().Active(dev("c").dev))
	require.True(t, w.chain.Roster().Active(dev("b").dev))
}

// Who may not be an admin for the members does not let the last one leave the roster
// of a replica, and whoever came by an invitation that was used too often may not be.
func TestRosterLastAdmin(t *testing.T) {
	w := newWorld(t, "a").draw(`
		G -> +b -> phone -> a-x -> a-out
		                    | -> x-out
		           | -> b-y
	`, steps{
		"+b": by("a", add("b", RoleMember)), "phone": by("a", invite("phone", InviteDevice, 0, 1)),
		"a-x": by("a", admit("phone", "x", "a")), "b-y": by("b", admit("phone", "y", "b")),
		"a-out": by("a", dropDev("a")), "x-out": by("x", dropDev("x")),
	})
	w.taken("a-x", "b-y", "a-out", "x-out")
	w.settled("a:admin(y!suspended x) b:member")
}

// G44 and Since, At, Log on a chain with branches.
func TestWalking(t *testing.T) {
	w := newWorld(t, "a").draw(`
		G -> +b -> x -> m
		     | -> y -> m
		m -> z
	`, steps{
		"+b": by("a", add("b", RoleAdmin)), "x": by("a", addDB("x")), "y": by("b", addDB("y")), "m": by("a", addDB("m")), "z": by("b", addDB("z")),
	})
	id := func(n string) block.ID { return w.named[n].ID }
	require.Equal(t, []block.ID{id("z")}, w.chain.Heads())
	require.ElementsMatch(t, []block.ID{id("y"), id("m"), id("z")}, w.chain.Since([]block.ID{id("x"), {1}}))
	require.Empty(t, w.chain.Since([]block.ID{id("z")}))
	require.Len(t, w.chain.Since(nil), 6)
	require.Equal(t, id("G"), w.chain.Since(nil)[0])
	s, err := w.chain.At([]block.ID{id("x")})
	require.NoError(t, err)
	require.Len(t, s.DBs(), 1)
	s, err = w.chain.At([]block.ID{id("x"), id("y"), id("+b")})
	require.NoError(t, err)
	require.Len(t, s.DBs(), 2)
	_, err = w.chain.At([]block.ID{{1}})
	require.IsType(t, &MissingError{}, err)
	log := w.chain.Log()
	require.Len(t, log, 6)
	require.Equal(t, ActCreate, log[0].Action)
	require.Equal(t, []block.ID{id("m")}, log[5].Parents)
	require.NoError(t, w.chain.Add(w.named["x"]), "known already")

	w.draw(`+b -> late`, steps{"late": by("b", removeDB("x"))})
	w.refused("late", "not in the team")
}
