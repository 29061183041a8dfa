package team

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// story is one scenario, told as setup → action → expected. a is the founder, b an
// admin, m a plain member; where the drawing starts at "base" they are all there.
type story struct {
	number, drawing string
	steps           steps
	team            string            // who is there in the end; settled checks the rest
	refused         map[string]string // names of links that are refused, and why
	void            string            // names of links that do not count in the end
	check           func(t *testing.T, w *world)
}

const everybody = "a:admin b:admin m:member"

func (s story) run(t *testing.T) {
	w := newWorld(t, "a")
	w.add("+b", by("a", add("b", RoleAdmin)), "G")
	w.add("base", by("a", add("m", RoleMember)), "+b")
	w.draw(s.drawing, s.steps)
	for name := range s.steps {
		if why, no := s.refused[name]; no {
			w.refused(name, why)
		} else {
			w.taken(name)
		}
	}
	w.settled(s.team)
	var void []string
	for _, e := range w.chain.Log() {
		if !e.Valid {
			void = append(void, w.nameOf(e.ID))
			require.NotEmpty(t, e.Why, "a link that does not count says why")
		}
	}
	require.ElementsMatch(t, regexp.MustCompile(`\S+`).FindAllString(s.void, -1), void, w.story())
	if s.check != nil {
		s.check(t, w)
	}
}

// no is a link that must be refused, with the reason.
func no(name, why string) map[string]string { return map[string]string{name: why} }

// one link above base.
func act(who string, f made) steps { return steps{"x": by(who, f)} }

const line1, fork1 = `base -> x`, `
		base -> L
		     | -> R
`

func sides(left, right step) steps { return steps{"L": left, "R": right} }

func status(w *world, who string) Status {
	d, _ := w.chain.State().Device(dev(who).dev)
	return d.Status
}

// TestNumbered: the scenarios that one drawn chain tells, by their numbers. What
// takes more is elsewhere: testdata/scenarios.txt says where each number is.
func TestNumbered(t *testing.T) {
	k := func(who string) []byte { d := dev(who).dev; return d[:] }
	needs := "needs the role admin"
	for _, s := range []story{
		{"T1 a team keeps its name", line1, act("a", rename(NameTeam, nil, "Spies Я Us")), everybody, nil, "",
			func(t *testing.T, w *world) {
				require.Equal(t, "Spies Я Us", w.chain.State().Name())
				require.Equal(t, block.TeamID(w.genID), w.chain.State().Team())
			}},
		{"T2 a device that signed for another member", line1, act("a", device("a2", "b")), everybody, no("x", "signature"), "", nil},
		{"T4 what is added after a removal is there", `base -> x -> db`, steps{"x": by("a", remove("b")), "db": by("a", addDB("x"))},
			"a:admin m:member", nil, "", func(t *testing.T, w *world) { require.Len(t, w.chain.State().DBs(), 1) }},
		{"T5 rename", `base -> x -> y`, steps{"x": by("a", rename(NameTeam, nil, "one")), "y": by("b", rename(NameTeam, nil, "two"))},
			everybody, nil, "", func(t *testing.T, w *world) { require.Equal(t, "two", w.chain.State().Name()) }},
		{"T6 a device tells its name", line1, act("a", device("a2", "a")), "a:admin(a a2) b:admin m:member", nil, "",
			func(t *testing.T, w *world) {
				d, _ := w.chain.State().Device(dev("a2").dev)
				require.Equal(t, "a2", d.Name)
			}},
		{"T12 m drops his only device", line1, act("m", dropDev("m")), "a:admin b:admin", nil, "",
			func(t *testing.T, w *world) { require.Equal(t, StatusRemoved, status(w, "m")) }},
		{"T13 a removes m's device", line1, act("a", removeDev("m")), "a:admin b:admin", nil, "", nil},
		{"T14 m removes a's device", line1, act("m", removeDev("a")), everybody, no("x", needs), "", nil},
		{"T16 removed, not removed, never there", `base -> m2 -> x`, steps{"m2": by("m", device("m2", "m")), "x": by("a", removeDev("m2"))},
			everybody, nil, "", func(t *testing.T, w *world) {
				require.Equal(t, StatusActive, status(w, "a"))
				require.Equal(t, StatusRemoved, status(w, "m2"))
				require.Equal(t, Status(0), status(w, "phone"))
			}},
		{"T17 a device removed twice", `base -> m2 -> x -> y`, steps{
			"m2": by("m", device("m2", "m")), "x": by("a", removeDev("m2")), "y": by("b", removeDev("m2"))},
			everybody, no("y", "not on the team"), "", nil},
		{"T18 an unknown device", line1, act("a", removeDev("pizza")), everybody, no("x", "not on the team"), "", nil},
		{"T24 m adds a phone and removes it: a new generation", `base -> m2 -> x`, steps{
			"m2": by("m", device("m2", "m")), "x": by("m", removeDev("m2"))}, everybody, nil, "",
			func(t *testing.T, w *world) { require.Equal(t, "x good", w.gens()) }},
		{"T25 invite, prove, admit", `base -> i -> x`, steps{
			"i": by("a", invite("i", InviteMember, RoleMember, 1)), "x": by("a", admit("i", "c", "a"))},
			"a:admin b:admin c:member m:member", nil, "", nil},
		{"T28 the inviter is away, m admits", `base -> i -> x`, steps{
			"i": by("a", invite("i", InviteMember, RoleMember, 1)), "x": by("m", admit("i", "c", "m"))},
			"a:admin b:admin c:member m:member", nil, "", nil},
		{"T29 T30 expiry is the admitter's clock: the chain keeps what he signed", `base -> i -> x`, steps{
			"i": by("a", func(*world, []*UnverifiedLink) Content {
				return Invite{ID: inviteID("i"), Kind: InviteMember, Role: RoleMember, MaxUses: 1, Key: dev("invite i").dev, Expires: wire.Time(1)}
			}), "x": by("a", admit("i", "c", "a"))}, "a:admin b:admin c:member m:member", nil, "", nil},
		{"T31 two uses", `base -> i -> x -> y -> z`, steps{"i": by("a", invite("i", InviteMember, RoleReader, 2)),
			"x": by("a", admit("i", "c", "a")), "y": by("m", admit("i", "d", "m")), "z": by("a", admit("i", "e", "a"))},
			"a:admin b:admin c:reader d:reader m:member", no("z", "used up"), "", nil},
		{"T33 one use", `base -> i -> x -> y`, steps{"i": by("a", invite("i", InviteMember, RoleMember, 1)),
			"x": by("a", admit("i", "c", "a")), "y": by("a", admit("i", "d", "a"))},
			"a:admin b:admin c:member m:member", no("y", "used up"), "", nil},
		{"T35 m signs the invitation's id with her own key", `base -> i -> x`, steps{"i": by("a", invite("i", InviteMember, RoleMember, 1)),
			"x": by("m", forgedAdmit("i", "m2", "m"))}, everybody, no("x", "seed"), "", nil},
		{"T37 G17 two members of one name: a name is a label", `base -> x -> y`, steps{
			"x": by("b", rename(NameMember, k("b"), "ann")), "y": by("m", rename(NameMember, k("m"), "ann"))}, everybody, nil, "",
			func(t *testing.T, w *world) { require.Len(t, w.chain.State().Members(), 3) }},
		{"T38 keys that are a's already", `base -> i -> x`, steps{"i": by("a", invite("i", InviteMember, RoleMember, 1)),
			"x": by("m", admit("i", "a", "m"))}, everybody, no("x", "on the team already"), "", nil},
		{"T39 T40 a laptop invites a phone, b admits it", `base -> i -> x`, steps{"i": by("a", invite("i", InviteDevice, 0, 1)),
			"x": by("b", admit("i", "phone", "b"))}, "a:admin(a phone) b:admin m:member", nil, "", nil},
		{"T41 m forges the proof of a device", `base -> i -> x`, steps{"i": by("a", invite("i", InviteDevice, 0, 1)),
			"x": by("m", forgedAdmit("i", "m2", "m"))}, everybody, no("x", "seed"), "", nil},
		{"T47 b publishes another HPKE key", line1, act("b", ownKey("b", "new")), everybody, nil, "",
			func(t *testing.T, w *world) {
				d, _ := w.chain.State().Device(dev("b").dev)
				require.True(t, d.BoxKey.Equal(dev("b box new").box))
				require.Equal(t, "G good", w.gens())
			}},
		{"T48 G14 an admin replaces another's keys: only its holder may", line1, act("a", ownKey("m", "new")), everybody,
			no("x", "on the team already"), "", nil},
		{"T50 T51 T52 m replaces a's keys", line1, act("m", ownKey("a", "new")), everybody, no("x", "on the team already"), "", nil},
		{"T58 b added twice", line1, act("a", add("b", RoleMember)), everybody, no("x", "on the team already"), "", nil},
		{"T59 removed, and never there", line1, act("a", remove("b")), "a:admin m:member", nil, "", func(t *testing.T, w *world) {
			x, ok := w.chain.State().Member(dev("b").dev)
			require.True(t, ok && x.Status == StatusRemoved)
			_, ok = w.chain.State().Member(dev("c").dev)
			require.False(t, ok)
		}},
		{"T60 m removes b", line1, act("m", remove("b")), everybody, no("x", needs), "", nil},
		{"T61 C67 a removes admin b: a new generation", line1, act("a", remove("b")), "a:admin m:member", nil, "",
			func(t *testing.T, w *world) { require.Equal(t, "x good", w.gens()) }},
		{"T62 an unknown member", line1, act("a", remove("ned")), everybody, no("x", "not on the team"), "", nil},
		{"T73 m is promoted", line1, act("a", role("m", RoleAdmin)), "a:admin b:admin m:admin", nil, "", nil},
		{"T74 C68 b is demoted: the same generation", line1, act("a", role("b", RoleMember)), "a:admin b:member m:member", nil, "",
			func(t *testing.T, w *world) { require.Equal(t, "G good", w.gens()) }},
		{"T81 b adds c", line1, act("b", add("c", RoleMember)), "a:admin b:admin c:member m:member", nil, "", nil},
		{"T82 m adds c", line1, act("m", add("c", RoleMember)), everybody, no("x", needs), "", nil},
		{"T83 m removes b", line1, act("m", remove("b")), everybody, no("x", needs), "", nil},
		{"T84 m promotes himself", line1, act("m", role("m", RoleAdmin)), everybody, no("x", needs), "", nil},
		{"T85 m demotes b", line1, act("m", role("b", RoleMember)), everybody, no("x", needs), "", nil},
		{"T86 G38 the last admin steps down, leaves, drops his device", `
		base -> -b -> down
		        | -> out
		        | -> drop
		`, steps{"-b": by("a", remove("b")), "down": by("a", role("a", RoleMember)), "out": by("a", leave("a")), "drop": by("a", dropDev("a"))},
			"a:admin m:member", map[string]string{"down": "last admin", "out": "last admin", "drop": "last admin"}, "", nil},
		{"T87 with a second admin he may", line1, act("a", role("a", RoleMember)), "a:member b:admin m:member", nil, "", nil},
		{"T89 T91 a replica comes, goes, comes back", `base -> i -> r -> x -> j -> y`, steps{
			"i": by("a", invite("i", InviteReplica, RoleReplica, 1)), "r": by("a", admit("i", "rep", "a")), "x": by("b", removeReplica("rep")),
			"j": by("a", invite("j", InviteReplica, RoleReplica, 1)), "y": by("a", admit("j", "rep", "a"))},
			everybody + " rep:replica", nil, "", func(t *testing.T, w *world) { require.Equal(t, "x good", w.gens()) }},
		{"T90 an unknown replica", line1, act("a", removeReplica("rep")), everybody, no("x", "not on the team"), "", nil},
		{"T106 a adds c ∥ b adds a database", fork1, sides(by("a", add("c", RoleMember)), by("b", addDB("x"))),
			"a:admin b:admin c:member m:member", nil, "", nil},
		{"T107 a removes b ∥ b adds c", fork1, sides(by("a", remove("b")), by("b", add("c", RoleMember))), "a:admin m:member", nil, "R", nil},
		{"T108 a demotes b ∥ b adds c", fork1, sides(by("a", role("b", RoleMember)), by("b", add("c", RoleMember))),
			"a:admin b:member m:member", nil, "R", nil},
		{"T109 a and b remove each other", fork1, sides(by("a", remove("b")), by("b", remove("a"))), "a:admin m:member", nil, "R", nil},
		{"T111 C59 a and b demote each other", fork1, sides(by("a", role("b", RoleMember)), by("b", role("a", RoleMember))),
			"a:admin b:member m:member", nil, "R", nil},
		{"C11 a invites c, promotes him, he invites d", `base -> i -> x -> up -> j -> y`, steps{
			"i": by("a", invite("i", InviteMember, RoleMember, 1)), "x": by("a", admit("i", "c", "a")), "up": by("a", role("c", RoleAdmin)),
			"j": by("c", invite("j", InviteMember, RoleMember, 1)), "y": by("a", admit("j", "d", "a"))},
			"a:admin b:admin c:admin d:member m:member", nil, "", nil},
		{"C44 C45 two links while offline", `base -> x -> y`, steps{"x": by("a", addDB("x")), "y": by("a", role("m", RoleReader))},
			"a:admin b:admin m:reader", nil, "", nil},
		{"C48 a adds a database ∥ b invites", fork1, sides(by("a", addDB("x")), by("b", invite("i", InviteMember, RoleMember, 1))), everybody, nil, "", nil},
		{"C49 C53 G20 both add c", fork1, sides(by("a", add("c", RoleMember)), by("b", add("c", RoleMember))), "a:admin b:admin c:member m:member", nil, "",
			func(t *testing.T, w *world) { require.Len(t, w.chain.State().Devices(), 4, "one entry") }},
		{"C52 three add databases before they meet", `
		base -> x
		     | -> y
		     | -> z
		`, steps{"x": by("a", addDB("x")), "y": by("b", addDB("y")), "z": by("m", addDB("z"))}, everybody, nil, "",
			func(t *testing.T, w *world) { require.Len(t, w.chain.State().DBs(), 3) }},
		{"C57 G19 a and b remove m", fork1, sides(by("a", remove("m")), by("b", removeDev("m"))), "a:admin b:admin", nil, "",
			func(t *testing.T, w *world) {
				require.Len(t, w.chain.State().Generations(), 2)
				require.NotEqual(t, block.Generation{}, mustWrite(t, w))
			}},
		{"C58 b removes the founder", line1, act("b", remove("a")), "b:admin m:member", nil, "", nil},
		{"C60 a and b remove each other, a goes on", `
		base -> L -> db
		     | -> R
		`, steps{"L": by("a", remove("b")), "db": by("a", addDB("x")), "R": by("b", remove("a"))}, "a:admin m:member", nil, "R",
			func(t *testing.T, w *world) { require.Len(t, w.chain.State().DBs(), 1) }},
		{"C62 a demotes b ∥ b promotes m", fork1, sides(by("a", role("b", RoleMember)), by("b", role("m", RoleAdmin))),
			"a:admin b:member m:member", nil, "R", nil},
		{"C64 a demotes b ∥ b invites and admits c", `
		base -> L
		     | -> i -> x
		`, steps{"L": by("a", role("b", RoleMember)), "i": by("b", invite("i", InviteMember, RoleMember, 1)), "x": by("b", admit("i", "c", "b"))},
			"a:admin b:member m:member", nil, "i x", nil},
		{"C66 a promotes, then demotes m", `base -> x -> y`, steps{"x": by("a", role("m", RoleAdmin)), "y": by("a", role("m", RoleMember))}, everybody, nil, "", nil},
		{"C69 C71 a removes b and adds a database: m has the key", `base -> x -> y`, steps{"x": by("a", remove("b")), "y": by("a", addDB("x"))},
			"a:admin m:member", nil, "", func(t *testing.T, w *world) {
				require.Equal(t, "x good", w.gens())
				require.Empty(t, w.chain.State().Lacking())
			}},
		{"C70 the same, then c is invited and joins", `base -> x -> y -> i -> z`, steps{"x": by("a", remove("b")), "y": by("a", addDB("x")),
			"i": by("a", invite("i", InviteMember, RoleMember, 1)), "z": by("m", admit("i", "c", "m"))}, "a:admin c:member m:member", nil, "", nil},
		{"C73 b's stolen phone is removed on the laptop", `base -> p -> x`, steps{"p": by("b", device("phone", "b")), "x": by("b", removeDev("phone"))},
			everybody, nil, "", func(t *testing.T, w *world) { require.Equal(t, "x good", w.gens()) }},
		{"G4 the seed of a used device invitation", `base -> i -> x -> -x -> y`, steps{"i": by("m", invite("i", InviteDevice, 0, 1)),
			"x": by("m", admit("i", "phone", "m")), "-x": by("m", removeDev("phone")), "y": by("m", admit("i", "phone2", "m"))},
			everybody, no("y", "used up"), "", nil},
		{"G7 a link under a's seat with m's key", line1, steps{"x": by("m", addDB("x")).with(func(u *UnverifiedLink) { u.Header.Seat = block.ID(u.Header.Team) })},
			everybody, no("x", "seat is not in its past"), "", nil},
		{"G9 m adds a device under a", line1, act("m", device("m2", "a")), everybody, no("x", "signature"), "", nil},
		{"G10 m posts a device invitation for a: it is one for m", `base -> i -> x`, steps{"i": by("m", invite("i", InviteDevice, 0, 1)),
			"x": by("a", admit("i", "m2", "a"))}, "a:admin b:admin m:member(m m2)", nil, "", nil},
		{"G11 an admission without proof", `base -> i -> x`, steps{"i": by("a", invite("i", InviteMember, RoleMember, 1)),
			"x": by("m", func(w *world, p []*UnverifiedLink) Content {
				c := admit("i", "c", "m")(w, p).(Admit)
				c.Proof.InviteSig, c.Proof.DeviceSig = block.Signature{}, block.Signature{}
				return c
			})}, everybody, no("x", "proof"), "", nil},
		{"G12 and by an outsider", `base -> i -> x`, steps{"i": by("a", invite("i", InviteMember, RoleMember, 1)), "x": by("out", admit("i", "c", "out"))},
			everybody, no("x", "seat is not in its past"), "", nil},
		{"G13 a lockbox of a generation that jumps", line1, steps{"x": by("m", boxes("base", "b"))}, everybody, no("x", "generation is not in its past"), "", nil},
		{"G15 one use on both sides", `
		base -> i -> x
		        | -> y
		`, steps{"i": by("a", invite("i", InviteMember, RoleMember, 1)), "x": by("m", admit("i", "c", "m")), "y": by("a", admit("i", "d", "a"))},
			"a:admin b:admin c:member!suspended(c!suspended) d:member m:member", nil, "", nil},
		{"G16 one guest on both sides", `
		base -> i -> x
		        | -> y
		`, steps{"i": by("a", invite("i", InviteMember, RoleMember, 1)), "x": by("m", admit("i", "c", "m")), "y": by("a", admit("i", "c", "a"))},
			"a:admin b:admin c:member m:member", nil, "", nil},
		{"G21 a demotes b ∥ b promotes m, who acts", `
		base -> L
		     | -> R -> y
		`, steps{"L": by("a", role("b", RoleMember)), "R": by("b", role("m", RoleAdmin)), "y": by("m", add("c", RoleMember))},
			"a:admin b:member m:member", nil, "R y", nil},
		{"G27 the admitter is removed ∥ he admits", `
		base -> i -> L
		        | -> R
		`, steps{"i": by("a", invite("i", InviteMember, RoleMember, 1)), "L": by("a", remove("m")), "R": by("m", admit("i", "c", "m"))},
			"a:admin b:admin", nil, "R", nil},
		{"G29 a captured proof with other keys", `base -> i -> x`, steps{"i": by("a", invite("i", InviteMember, RoleMember, 1)),
			"x": by("m", func(w *world, p []*UnverifiedLink) Content {
				c := admit("i", "c", "m")(w, p).(Admit)
				c.Device, c.BoxKey = dev("m2").dev, dev("m2").box
				return c
			})}, everybody, no("x", "proof"), "", nil},
		{"G29 a captured proof at another admitter", `base -> i -> x`, steps{"i": by("a", invite("i", InviteMember, RoleMember, 1)),
			"x": by("m", admit("i", "c", "a"))}, everybody, no("x", "proof"), "", nil},
		{"G34 an admission dated back counts: the chain knows no clock", `base -> i -> x`, steps{
			"i": by("a", invite("i", InviteMember, RoleMember, 1)), "x": by("m", admit("i", "c", "m")).with(func(u *UnverifiedLink) { u.Time = 1 })},
			"a:admin b:admin c:member m:member", nil, "", nil},
		{"G36 b removed, d added", `base -> x -> y`, steps{"x": by("a", remove("b")), "y": by("a", add("d", RoleMember))}, "a:admin d:member m:member", nil, "",
			func(t *testing.T, w *world) { require.Equal(t, StatusRemoved, status(w, "b")) }},
		{"G37 b invited again", `base -> x -> i -> y`, steps{"x": by("a", remove("b")), "i": by("a", invite("i", InviteMember, RoleMember, 1)),
			"y": by("a", admit("i", "b", "a"))}, "a:admin b:member m:member", nil, "", func(t *testing.T, w *world) { require.Equal(t, StatusActive, status(w, "b")) }},
		{"G39 a plain member leaves", line1, act("m", leave("m")), "a:admin b:admin", nil, "", nil},
		{"G40 the inviter of a device revokes his invitation", `base -> i -> x`, steps{"i": by("m", invite("i", InviteDevice, 0, 1)), "x": by("m", revoke("i"))},
			everybody, nil, "", nil},
		{"G43 what is refused leaves nothing behind", `base -> x`, act("m", remove("a")), everybody, no("x", needs), "", func(t *testing.T, w *world) {
			require.Equal(t, []block.ID{w.named["base"].ID}, w.chain.Heads())
			require.Error(t, w.chain.Check(dev("m").dev, remove("a")(w, nil)))
			require.Equal(t, []block.ID{w.named["base"].ID}, w.chain.Heads())
		}},
		{"G44 fourteen diamonds", `base`, nil, everybody, nil, "", diamonds},
	} {
		t.Run(s.number, s.run)
	}
}

func mustWrite(t *testing.T, w *world) block.Generation {
	g, ok := w.chain.State().WriteGeneration()
	require.True(t, ok)
	return g
}

// forgedAdmit signs the proof with the admitter's own key instead of the seed's.
func forgedAdmit(link, who, by string) made {
	return func(w *world, _ []*UnverifiedLink) Content {
		inv := w.named[link].Content.(Invite)
		inv.Key = dev(by).dev
		return w.join(w.named[link].ID, inv, who, by, nil)
	}
}

// diamonds draws fourteen forks and merges one above the other.
func diamonds(t *testing.T, w *world) {
	tip := []string{"base"}
	for i := range 14 {
		l, r := "l"+string(rune('a'+i)), "r"+string(rune('a'+i))
		w.add(l, by("a", addDB(l)), tip...)
		w.add(r, by("b", addDB(r)), tip...)
		w.taken(l, r)
		tip = []string{l, r}
	}
	require.Len(t, w.chain.State().DBs(), 28)
	w.settled(everybody)
}

// TestScenarios: no scenario is forgotten. Each of testdata/scenarios.txt that is
// told in this package names a test that is here, and TestNumbered's are its own.
func TestScenarios(t *testing.T) {
	data, err := os.ReadFile("testdata/scenarios.txt")
	require.NoError(t, err)
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	var source []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		source = append(source, b...)
	}
	count := map[string]int{}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		word := strings.Fields(line)
		require.Greater(t, len(word), 2, line)
		count[word[1]]++
		if word[1] != "team" {
			continue
		}
		require.Contains(t, string(source), "func "+word[2]+"(", line)
		if word[2] == "TestNumbered" && len(word) == 3 {
			require.Regexp(t, `\{"([TCG]\d+ )*`+word[0]+` `, string(source), line)
		}
	}
	require.Greater(t, count["team"], 120)
	t.Logf("%d told in this package, %d in whole nodes, %d in other rooms, %d have no counterpart", count["team"], count["node"], count["vault"]+count["block"], count["none"])
}
