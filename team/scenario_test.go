package team

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
)

// The numbers are those of the scenarios the design names. T37 and G17 ask for
// unique user names: here a name is a label, and duplicates show a short id.

// T5, T6, T10, T11, T15, T21–T23, T53, T55, T63–T65, T68–T70, T80, T92: who is there.
func TestWhoIsThere(t *testing.T) {
	w := newWorld(t, "a")
	a := dev("a").dev
	w.draw(`G -> team -> alice -> +b -> +c -> laptop -> laptop2 -> b-team -> +c2`, steps{
		"team":    by("a", rename(NameTeam, nil, "Spies Я Us")),
		"alice":   by("a", rename(NameMember, a[:], "alice")),
		"+b":      by("a", add("b", RoleMember)),
		"+c":      by("a", add("c", RoleAdmin)),
		"laptop":  by("a", device("a-laptop", "a")),
		"laptop2": by("a", device("a-laptop-2", "a")),
		"b-team":  by("b", rename(NameTeam, nil, "B's")),
		"+c2":     by("a", add("c", RoleAdmin)),
	})
	w.refused("b-team", "needs the role admin")
	w.refused("+c2", "above a link that is not")
	s := w.chain.State()
	require.Equal(t, "Spies Я Us", s.Name())
	var names []string
	for _, m := range s.Members() {
		names = append(names, m.Name+" "+m.Role.String())
	}
	require.Equal(t, []string{"alice admin", "b member", "c admin"}, names, "in order of seniority")
	require.Equal(t, w.named["team"].Time, s.Members()[0].Joined, "genesis has no time: the first name has")
	require.Equal(t, RoleAdmin, s.Role(a))
	require.Equal(t, RoleMember, s.Role(dev("b").dev))
	_, ok := s.Member(dev("ned").dev)
	require.False(t, ok, "T64")
	d, ok := s.Device(dev("a-laptop").dev)
	require.True(t, ok)
	require.Equal(t, a, d.Member, "T22: the owner of a device")
	_, ok = s.Device(dev("pizza").dev)
	require.False(t, ok, "T23")
	w.settled("a:admin(a a-laptop a-laptop-2) b:member c:admin")

	w = newWorld(t, "a").draw(`G -> 1 -> 2 -> 3 -> 4`, steps{
		"1": by("a", device("x1", "a")), "2": by("a", device("x2", "a")),
		"3": by("a", renameDev("x1", "laptop")), "4": by("a", renameDev("x2", "laptop")),
	})
	w.draw(`4 -> 5`, steps{"5": by("a", removeDev("x1"))})
	left, _ := w.chain.State().Device(dev("x2").dev)
	require.Equal(t, "laptop", left.Name, "T15: the other laptop stays")
	w.settled("a:admin(a x2)")
}

func renameDev(who, name string) made {
	k := dev(who).dev
	return rename(NameDevice, k[:], name)
}

// T12–T20, T24, T59–T62, G19, G36–G39: removing, leaving, coming back.
func TestRemoving(t *testing.T) {
	w := newWorld(t, "a").draw(`G -> +b -> +c -> b2 -> b-a -> c-b`, steps{
		"+b":  by("a", add("b", RoleMember)),
		"+c":  by("a", add("c", RoleMember)),
		"b2":  by("b", device("b2", "b")),
		"b-a": by("b", removeDev("a")),
		"c-b": by("c", remove("b")),
	})
	w.refused("b-a", "needs the role admin")
	w.refused("c-b", "above a link")
	w.draw(`b2 -> again -> pizza`, steps{
		"again": by("c", remove("b")), "pizza": by("a", removeDev("pizza")),
	})
	w.refused("again", "needs the role admin")
	w.draw(`b2 -> none`, steps{"none": by("a", removeDev("pizza"))})
	w.refused("none", "not on the team")

	before, _ := w.chain.State().WriteGeneration()
	w.draw(`b2 -> b-b2`, steps{"b-b2": by("b", removeDev("b2"))})
	after, ok := w.chain.State().WriteGeneration()
	require.True(t, ok)
	require.NotEqual(t, before, after, "T24: removing one's own other device makes a generation")
	require.Equal(t, block.Generation(w.named["b-b2"].ID), after)
	w.settled("a:admin b:member c:member")
	d, ok := w.chain.State().Device(dev("b2").dev)
	require.True(t, ok, "T20")
	require.Equal(t, StatusRemoved, d.Status)
	require.False(t, w.chain.State().Active(dev("b2").dev), "T19")

	w.draw(`b-b2 -> twice`, steps{"twice": by("b", removeDev("b2"))})
	w.refused("twice", "not on the team")

	w.draw(`b-b2 -> b-drop`, steps{"b-drop": by("b", dropDev("b"))})
	w.settled("a:admin c:member")
	m, _ := w.chain.State().Member(dev("b").dev)
	require.Equal(t, StatusRemoved, m.Status, "T12, T59: wasRemoved")
	gen, ok := w.chain.State().WriteGeneration()
	require.False(t, ok, "leaving makes no generation, and b knows the present one: %s", gen)

	w.draw(`b-drop -> c-rot -> +b-again -> c-leave`, steps{
		"c-rot": by("c", rotate()), "+b-again": by("a", add("b", RoleReader)), "c-leave": by("c", leave("c")),
	})
	w.taken("c-rot", "+b-again", "c-leave")
	w.settled("a:admin b:reader")
	m, _ = w.chain.State().Member(dev("b").dev)
	require.Equal(t, StatusActive, m.Status, "G37")

	w.draw(`c-leave -> a-leave`, steps{"a-leave": by("a", leave("a"))})
	w.refused("a-leave", "last admin")
	w.draw(`c-leave -> a-down`, steps{"a-down": by("a", role("a", RoleMember))})
	w.refused("a-down", "last admin")
	w.draw(`c-leave -> a-dev`, steps{"a-dev": by("a", dropDev("a"))})
	w.refused("a-dev", "last admin")
}

// T81–T87, T73, T74, G38, G40: who may do what.
func TestRoles(t *testing.T) {
	w := newWorld(t, "a").draw(`G -> +b -> +c -> +d -> i`, steps{
		"+b": by("a", add("b", RoleAdmin)),
		"+c": by("b", add("c", RoleMember)),
		"+d": by("b", add("d", RoleMember)),
		"i":  by("c", invite("phone", InviteDevice, 0, 1)),
	})
	w.taken("+b", "+c", "+d", "i")
	for name, s := range map[string]step{
		"T82 c adds": by("c", add("e", RoleMember)), "T83 c removes": by("c", remove("d")), "T84 c promotes": by("c", role("d", RoleAdmin)),
		"T85 c demotes": by("c", role("b", RoleMember)), "c invites": by("c", invite("x", InviteMember, RoleMember, 1)),
		"c raises himself": by("c", role("c", RoleAdmin)), "c rotates": by("c", rotate()), "c drops a db": by("c", removeDB("notes")),
		"T50 c re-keys b": by("c", device("b", "b")), "d revokes c's": by("d", revoke("i")), "e is nobody": by("e", rotate()),
		"c names b": by("c", func(*world, []*UnverifiedLink) Content {
			k := dev("b").dev
			return Name{Kind: NameMember, Subject: k[:], Name: "bob"}
		}),
		"b promotes to what he is": by("b", role("b", RoleAdmin)), "no such member": by("a", role("e", RoleAdmin)),
		"twice": by("a", add("b", RoleMember)), "critical by c": by("c", addDB("x")).with(func(u *UnverifiedLink) { u.Header.Critical = true }),
		"same invitation": by("a", invite("phone", InviteMember, RoleMember, 1)),
	} {
		w.add(name, s, "i")
		require.IsType(t, &RefusedError{}, w.errs[name], name)
	}
	w.settled("a:admin b:admin c:member d:member")
	w.draw(`i -> c-rev -> b+c -> c-a -> c-down -> d-read -> d-db`, steps{
		"c-rev": by("c", revoke("i")), "b+c": by("b", role("c", RoleAdmin)), "c-a": by("c", role("a", RoleReader)),
		"c-down": by("c", role("c", RoleMember)), "d-read": by("b", role("d", RoleReader)), "d-db": by("d", addDB("x")),
	})
	w.taken("c-rev", "b+c", "c-a", "c-down", "d-read")
	w.refused("d-db", "needs the role member")
	w.settled("a:reader b:admin c:member d:reader")
	require.False(t, w.chain.State().CanWrite(dev("d").dev))
	require.True(t, w.chain.State().CanRead(dev("d").dev))
}

// T28, T31–T33, T39–T41, G4, G15, G16, G27, G40, C17, C64: invitations.
func TestInvitations(t *testing.T) {
	w := newWorld(t, "a").draw(`G -> +b -> one -> two -> any -> b-admits-c -> again -> d -> e -> f -> g`, steps{
		"+b":         by("a", add("b", RoleReader)),
		"one":        by("a", invite("one", InviteMember, RoleMember, 1)),
		"two":        by("a", invite("two", InviteMember, RoleMember, 2)),
		"any":        by("a", invite("any", InviteMember, RoleReader, 0)),
		"b-admits-c": by("b", admit("one", "c", "b")),
		"again":      by("a", admit("two", "c", "a")),
		"d":          by("a", admit("any", "d", "a")), "e": by("c", admit("any", "e", "c")),
		"f": by("d", admit("any", "f", "d")), "g": by("a", admit("any", "g", "a")),
	})
	w.taken("b-admits-c")
	w.refused("again", "on the team already")
	w.draw(`b-admits-c -> d1 -> e1 -> full`, steps{
		"d1": by("c", admit("two", "d", "c")), "e1": by("d", admit("two", "e", "d")), "full": by("a", admit("two", "f", "a")),
	})
	w.refused("full", "used up")
	for i := range 26 { // T32
		prev := "e1"
		if i > 0 {
			prev = fmt.Sprint("any", i-1)
		}
		w.add(fmt.Sprint("any", i), by("a", admit("any", fmt.Sprint("guest", i), "a")), prev)
		w.taken(fmt.Sprint("any", i))
	}
	inv, _ := w.chain.State().Invitation(inviteID("any"))
	require.Equal(t, uint64(26), inv.Uses)
	require.Equal(t, StatusOpen, inv.Status)
	w.draw(`any25 -> rev -> late`, steps{"rev": by("a", revoke("any")), "late": by("b", admit("any", "zoe", "b"))})
	w.refused("late", "revoked")

	w = newWorld(t, "a").draw(`G -> +b -> phone -> b-admits -> T41`, steps{
		"+b":       by("a", add("b", RoleMember)),
		"phone":    by("a", invite("phone", InviteDevice, 0, 1)),
		"b-admits": by("b", admit("phone", "a-phone", "b")),
		"T41":      by("b", admit("phone", "b-phone", "b")),
	})
	w.taken("b-admits")
	w.refused("T41", "used up")
	w.settled("a:admin(a a-phone) b:member")
	by, inviter := w.chain.State().AdmittedBy(w.named["b-admits"].ID)
	require.Equal(t, dev("b").dev, by)
	require.Equal(t, dev("a").dev, inviter)
}

// Invitations that grant admin are bound to a device.
func TestBoundInvitation(t *testing.T) {
	w := newWorld(t, "a").draw(`
		G -> +b -> i -> wrong
		           | -> right
	`, steps{
		"+b":    by("a", add("b", RoleReader)),
		"i":     by("a", bound("boss", "c", RoleAdmin)),
		"wrong": by("b", admit("i", "d", "b")),
		"right": by("b", admit("i", "c", "b")),
	})
	w.refused("wrong", "another device")
	w.taken("right")
	w.settled("a:admin b:reader c:admin")
}

// T89–T94, T97–T101, T104, T105, G6: a replica is on the roster and can do nothing.
// T101 lets a server admit; here a replica authors nothing, so members do.
func TestReplica(t *testing.T) {
	w := newWorld(t, "a").draw(`G -> +b -> i -> r`, steps{
		"+b": by("a", add("b", RoleMember)),
		"i":  by("a", invite("rep", InviteReplica, RoleReplica, 1)),
		"r":  by("b", admit("i", "rep", "b")),
	})
	for name, s := range map[string]step{
		"T98 invites": by("rep", invite("x", InviteMember, RoleReader, 1)), "T99 device": by("rep", invite("x", InviteDevice, 0, 1)),
		"T100 removes": by("rep", remove("b")), "rotates": by("rep", rotate()), "T104 own keys": by("rep", device("rep", "rep")),
		"leaves": by("rep", leave("rep")), "T92 b adds": by("b", invite("y", InviteReplica, RoleReplica, 1)),
		"T93 b removes": by("b", removeReplica("rep")), "by REMOVE_DEVICE": by("a", removeDev("rep")), "by REMOVE_MEMBER": by("a", remove("rep")),
		"promoted": by("a", role("rep", RoleMember)), "a is none": by("a", removeReplica("b")),
	} {
		w.add(name, s, "r")
		require.IsType(t, &RefusedError{}, w.errs[name], name)
	}
	w.settled("a:admin b:member rep:replica")
	s := w.chain.State()
	require.False(t, s.CanRead(dev("rep").dev))
	require.True(t, w.chain.Roster().Active(dev("rep").dev))
	w.draw(`r -> -r -> i2 -> r2`, steps{
		"-r": by("a", removeReplica("rep")), "i2": by("a", invite("rep2", InviteReplica, RoleReplica, 1)), "r2": by("a", admit("i2", "rep", "a")),
	})
	gen, ok := w.chain.State().WriteGeneration()
	require.True(t, ok)
	require.Equal(t, block.Generation(w.named["-r"].ID), gen, "G6: keys rotate")
	w.settled("a:admin b:member rep:replica")

	full := by("b", admit("i", "rep", "b")).with(func(u *UnverifiedLink) {
		u.Header.Boxes = []block.BoxGroup{{Generation: block.Generation(u.Header.Team), Purpose: block.BoxGeneration, Commitment: fill[[32]byte](1)}}
	})
	w.add("reads", full, "i")
	w.refused("reads", "route keys only")
}

// Own devices, HPKE keys, recovery words.
func TestDevicesAndRecovery(t *testing.T) {
	w := newSalted(t, "a", "", true)
	k := dev("a2")
	rekey := func(of string, box block.BoxKey) made {
		return func(*world, []*UnverifiedLink) Content { return AddDevice{Device: dev(of).dev, BoxKey: box} }
	}
	w.draw(`G -> a2 -> box -> b -> forged`, steps{
		"a2":  by("a", device("a2", "a")),
		"box": by("a2", rekey("a2", hybrid("a2"))),
		"b":   by("a", add("b", RoleAdmin)),
		"forged": by("b", func(w *world, _ []*UnverifiedLink) Content { // G9: a device of a's under b's hand
			return device("a3", "a")(w, nil)
		}),
	})
	w.taken("a2", "box", "b")
	require.IsType(t, &RefusedError{}, w.errs["forged"])
	d, _ := w.chain.State().Device(k.dev)
	require.True(t, d.BoxKey.Equal(hybrid("a2")))
	require.ErrorContains(t, w.chain.Check(k.dev, AddDevice{Device: k.dev, BoxKey: hybrid("a2")}), "this HPKE key already")

	// The laptop is stolen and a2 lost; the words on paper bring a new device.
	w.draw(`b -> new -> -a -> -a2`, steps{
		"new": by("a-words", device("a-new", "a")),
		"-a":  by("a-words", removeDev("a")),
		"-a2": by("a-words", removeDev("a2")),
	})
	w.taken("new", "-a", "-a2")
	w.settled("a:admin(a-words a-new) b:admin")

	// The thief is not senior to the words: his removal of the new device is void.
	w.draw(`new -> thief`, steps{"thief": by("a", removeDev("a-new"))})
	w.settled("a:admin(a-words a-new) b:admin")

	// Words alone are not an admin's device: the last real one cannot go.
	w2 := newSalted(t, "a", "x", true).draw(`G -> gone`, steps{"gone": by("a", dropDev("a"))})
	w2.refused("gone", "last admin")

	// A member's own recovery half, and one that an admin slips under a new member.
	half := func(signer string) *Recovery {
		r := dev("b-words")
		st := DeviceStatement(block.TeamID(w2.genID), dev("b").dev, r.dev, r.box)
		return &Recovery{Device: r.dev, BoxKey: r.box, Statement: r.sign(block.ForDevice, st), Vouch: dev(signer).sign(block.ForDevice, st)}
	}
	with := func(r *Recovery) made {
		return func(*world, []*UnverifiedLink) Content {
			return AddMember{Device: dev("b").dev, Role: RoleMember, Recovery: r}
		}
	}
	w2.draw(`
		G -> slipped
		| -> honest
	`, steps{"slipped": by("a", with(half("a"))), "honest": by("a", with(half("b")))})
	w2.refused("slipped", "signature")
	w2.settled("a:admin(a-words a) b:member(b-words b)")
}

// T36, T42, T61, C67, C68 and "who writes": generations.
func TestGenerations(t *testing.T) {
	w := newWorld(t, "a").draw(`G -> rot -> +b -> +c`, steps{
		"rot": by("a", rotate()), "+b": by("a", add("b", RoleAdmin)), "+c": by("a", add("c", RoleMember)),
	})
	require.Equal(t, "rot good", w.gens())
	w.draw(`+c -> -c`, steps{"-c": by("a", remove("c"))})
	require.Equal(t, "-c good", w.gens(), "T61")
	w.draw(`-c -> b-down`, steps{"b-down": by("a", role("b", RoleMember))})
	require.Equal(t, "-c good", w.gens(), "C68: a demotion needs no new generation")
	require.Equal(t, []block.Generation{block.Generation(w.named["rot"].ID)}, w.chain.State().Generations()[0].Parents)

	// Two rotations at once make two; a third follows both.
	w = newWorld(t, "a").draw(`
		G -> +b -> r1 -> r3
		     | -> r2 -> r3
	`, steps{"+b": by("a", add("b", RoleAdmin)), "r1": by("a", rotate()), "r2": by("b", rotate()), "r3": by("b", rotate())})
	require.Equal(t, "r3 good", w.gens())
	s, err := w.chain.At([]block.ID{w.named["r1"].ID, w.named["r2"].ID})
	require.NoError(t, err)
	require.Len(t, s.Generations(), 2)
	require.Len(t, w.chain.State().Generations()[0].Parents, 2)
	w.settled("a:admin b:admin")

	// An admission that falls has seen the key: the generation is not good any more,
	// any member may rotate, and then it is over.
	w = newWorld(t, "a").draw(`
		G -> +b -> +c -> b+d
		           | -> a-b
	`, steps{
		"+b": by("a", add("b", RoleAdmin)), "+c": by("a", add("c", RoleMember)),
		"b+d": by("b", add("d", RoleMember)), "a-b": by("a", role("b", RoleMember)),
	})
	require.Equal(t, "G bad", w.gens(), "d was given the key, and is not on the team")
	require.Equal(t, "a:admin b:member c:member", w.team())
	_, ok := w.chain.State().WriteGeneration()
	require.False(t, ok)
	w.draw(`
		b+d -> c-rot
		a-b -> c-rot
	`, steps{"c-rot": by("c", rotate())})
	w.taken("c-rot")
	require.Equal(t, "c-rot good", w.gens())
	w.settled("a:admin b:member c:member")

	// Who was away when a generation was made lacks a box until somebody gives one.
	w = newWorld(t, "a").draw(`
		G -> +b -> rot -> m
		     | -> +c -> m
	`, steps{"+b": by("a", add("b", RoleAdmin)), "rot": by("a", rotate()), "+c": by("b", add("c", RoleMember)), "m": by("a", addDB("x"))})
	rot := block.Generation(w.named["rot"].ID)
	require.Equal(t, []Lack{{Device: dev("c").dev, Generation: rot}}, w.chain.State().Lacking())
	w.draw(`m -> box -> not`, steps{"box": by("b", boxes("rot", "c")), "not": by("b", boxes("rot", "z"))})
	w.refused("not", "not on the team")
	require.Empty(t, w.chain.State().Lacking())
	w.settled("a:admin b:admin c:member")
}

// gens prints the current generations: "rot good".
func (w *world) gens() string {
	out := ""
	for _, g := range w.chain.State().Generations() {
		if out += w.nameOf(block.ID(g.ID)) + " bad"; g.Good {
			out = out[:len(out)-3] + "good"
		}
	}
	return out
}

// Databases: added, removed, moved, named; personal team: MEMBER_OF.
func TestDatabases(t *testing.T) {
	db := dbID("notes")
	w := newWorld(t, "a").draw(`G -> +b -> db -> twice`, steps{
		"+b": by("a", add("b", RoleMember)), "db": by("b", addDB("notes")), "twice": by("a", addDB("notes")),
	})
	w.refused("twice", "already")
	w.draw(`db -> name -> b-drops -> x`, steps{
		"name": by("a", rename(NameDB, db[:], "Notes")), "b-drops": by("b", removeDB("notes")), "x": by("a", rotate()),
	})
	w.refused("b-drops", "needs the role admin")
	got, ok := w.chain.State().DB(db)
	require.True(t, ok)
	require.Equal(t, "Notes", got.Name)
	require.True(t, got.Secret.Equal(secret(9)))
	w.draw(`name -> drop -> rename -> readd`, steps{
		"drop": by("a", removeDB("notes")), "rename": by("a", rename(NameDB, db[:], "x")), "readd": by("a", addDB("notes")),
	})
	w.refused("rename", "not in the team")
	require.Empty(t, w.chain.State().DBs())
	w.draw(`drop -> back`, steps{"back": by("b", addDB("notes"))})
	require.Len(t, w.chain.State().DBs(), 1)
	w.settled("a:admin b:member")

	of := func(name string, gone bool) made {
		return func(*world, []*UnverifiedLink) Content {
			return MemberOf{Team: fill[block.TeamID](4), Member: dev("a").dev, Name: name, Gone: gone}
		}
	}
	w = newWorld(t, "a").draw(`
		G -> a2 -> m1 -> m2
		     | -> m3
	`, steps{"a2": by("a", device("a2", "a")), "m1": by("a", of("fam", false)), "m2": by("a", of("family", false)), "m3": by("a2", of("f", true))})
	require.Len(t, w.chain.State().Teams(), 1)
	require.Equal(t, "family", w.chain.State().Teams()[0].Name, "the latest speaks")
}

// Links of later versions are kept, and say that an upgrade is needed.
func TestUnknownActions(t *testing.T) {
	what := func(*world, []*UnverifiedLink) Content { return Unknown{Number: 77} }
	critical := func(u *UnverifiedLink) { u.Header.Critical = true }
	w := newWorld(t, "a").draw(`G -> +b -> u`, steps{"+b": by("a", add("b", RoleMember)), "u": by("b", what)})
	needed, stop := w.chain.State().Upgrade()
	require.True(t, needed)
	require.False(t, stop)
	w.draw(`
		u -> b-crit
		| -> a-crit
	`, steps{"b-crit": by("b", what).with(critical), "a-crit": by("a", what).with(critical)})
	w.refused("b-crit", "needs the role admin")
	_, stop = w.chain.State().Upgrade()
	require.True(t, stop, "an admin's critical link makes data read-only")
	w.settled("a:admin b:member")
}
