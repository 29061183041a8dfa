package team

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/vault"
)

// The keys of a drawn chain as its honest nodes hand them out: who makes a
// generation boxes it to those who remain and seals its parents under it; who seats
// a device boxes it what is current; BOX boxes what it names.
type keys struct {
	w     *world
	links []*UnverifiedLink
	gifts []gift
}

// gift is what one link hands out.
type gift struct {
	view    *State                      // of its past
	makes   bool                        // a generation, named by the link
	parents []block.ID                  // the generations it seals under the one it makes
	boxes   map[block.ID][]block.Device // generation to recipients
}

func (w *world) keys() *keys {
	k := &keys{w: w}
	for _, u := range w.all {
		if !w.chain.Has(u.ID) {
			continue
		}
		g := gift{boxes: map[block.ID][]block.Device{}, makes: keysOf(u.Content) != nil}
		if u.ID == w.genID {
			g.view = newState(&view{g: w.chain.g})
			g.boxes[u.ID] = []block.Device{u.Header.Author}
		} else {
			var err error
			g.view, err = w.chain.At(u.Header.Links[:u.Header.Parents])
			require.NoError(w.t, err)
		}
		for _, x := range g.view.Generations() {
			g.parents = append(g.parents, block.ID(x.ID))
		}
		k.links, k.gifts = append(k.links, u), append(k.gifts, g)
		k.give(u, g)
	}
	return k
}

func (k *keys) give(u *UnverifiedLink, g gift) {
	var fresh []block.Device
	switch c := u.Content.(type) {
	case Admit:
		if inv := k.w.byID(c.Invite).Content.(Invite); inv.Kind != InviteReplica {
			fresh = append(fresh, c.Device)
		}
	case AddMember:
		fresh = append(fresh, c.Device)
	case AddDevice:
		fresh = append(fresh, c.Device)
	case GiveBoxes:
		g.boxes[block.ID(c.Generation)] = c.Devices
	}
	if r := recoveryOf(u.Content); r != nil {
		fresh = append(fresh, r.Device)
	}
	if g.makes {
		for _, d := range g.view.Remaining(u.Content) {
			if d.Role != RoleReplica {
				g.boxes[u.ID] = append(g.boxes[u.ID], d.Key)
			}
		}
		g.boxes[u.ID] = append(g.boxes[u.ID], fresh...) // of CREATE
		return
	}
	for _, id := range g.parents {
		g.boxes[id] = append(g.boxes[id], fresh...)
	}
}

// held is the generations a device can open with all boxes of the links for which
// from holds: those boxed to it or made by it, and what is sealed under them.
func (k *keys) held(d block.Device, from func(i int) bool) map[block.ID]bool {
	out := map[block.ID]bool{}
	for i, g := range k.gifts {
		if from(i) {
			if g.makes && k.links[i].Header.Author == d {
				out[k.links[i].ID] = true
			}
			for id, to := range g.boxes {
				if slices.Contains(to, d) {
					out[id] = true
				}
			}
		}
	}
	for i := len(k.links) - 1; i >= 0; i-- { // a generation's parents are before it
		if out[k.links[i].ID] && k.gifts[i].makes {
			for _, p := range k.gifts[i].parents {
				out[p] = true
			}
		}
	}
	return out
}

// keepsSecrets: whoever was on the team and is out in some view opens no generation
// that is good there, that is nothing a node with this view writes: not with all it
// was ever given, and not with all that nodes who know that it is out will write.
func (w *world) keepsSecrets() {
	w.t.Helper()
	k := w.keys()
	check := func(view *State, past []*UnverifiedLink, where string) {
		for _, d := range view.devices {
			if view.Active(d.Key) || d.Role == RoleReplica {
				continue
			}
			held := k.held(d.Key, func(i int) bool {
				back := w.chain.g.seatOf(w.chain.g.byID[k.links[i].ID], w.chain.g.lookup(d.Key)) != none
				return slices.Contains(past, k.links[i]) || !back && !k.gifts[i].view.Active(d.Key)
			})
			for _, g := range view.Generations() {
				if g.Good && held[block.ID(g.ID)] {
					w.t.Fatalf("%s: %s is out and holds %s, which is good\n%s", where, nameOfDev(d.Key), w.nameOf(block.ID(g.ID)), w.story())
				}
			}
		}
	}
	for i, u := range k.links {
		var parents []*UnverifiedLink
		for _, p := range u.Header.Links[:u.Header.Parents] {
			parents = append(parents, w.byID(p))
		}
		check(k.gifts[i].view, w.past(parents), "below "+w.nameOf(u.ID))
		for _, d := range k.gifts[i].view.devices { // no box for who is out
			for id, to := range k.gifts[i].boxes {
				if fresh := w.chain.g.seatOf(w.chain.g.byID[u.ID], w.chain.g.lookup(d.Key)) != none; !fresh && !k.gifts[i].view.Active(d.Key) && slices.Contains(to, d.Key) {
					w.t.Fatalf("%s boxes %s to %s, who is out\n%s", w.nameOf(u.ID), w.nameOf(id), nameOfDev(d.Key), w.story())
				}
			}
		}
	}
	check(w.chain.State(), k.links, "in the end")
}

// TestSecrets: random chains of removals, demotions, leavings, suspensions.
func TestSecrets(t *testing.T) {
	n := 3000
	if raceDetector || testing.Short() {
		n = 150
	}
	if more, err := strconv.Atoi(os.Getenv("TOFT_TEAM_SOUPS")); err == nil {
		n = more
	}
	for seed := range uint64(n) {
		newSoup(t, seed, 8+int(seed%28)).keepsSecrets()
	}
}

// TestSecrecy: the same with real keys, for every numbered scenario in which somebody
// goes. Everybody is given every link and opens all he can.
func TestSecrecy(t *testing.T) {
	told := 0
	for _, s := range append(goings, goingsAtOnce...) {
		t.Run(s.number, func(t *testing.T) {
			w := newWorld(t, "a")
			w.add("+b", by("a", add("b", RoleAdmin)), "G")
			w.add("base", by("a", add("m", RoleMember)), "+b")
			w.draw(s.drawing, s.steps)
			w.settled(s.team)
			w.keepsSecrets()
			w.sealed().opens(t)
		})
		told++
	}
	require.Greater(t, told, 12)
}

var goings = []story{
	{number: "G1 T61 b is removed, a goes on", drawing: `base -> x -> y -> z`, steps: steps{
		"x": by("a", remove("b")), "y": by("a", addDB("x")), "z": by("a", rotate())}, team: "a:admin m:member"},
	{number: "G2 T74 b is demoted, reads on, then goes", drawing: `base -> x -> y -> z`, steps: steps{
		"x": by("a", role("b", RoleReader)), "y": by("a", remove("b")), "z": by("m", addDB("x"))}, team: "a:admin m:member"},
	{number: "T13 C73 a stolen phone", drawing: `base -> p -> x -> y`, steps: steps{
		"p": by("b", device("phone", "b")), "x": by("b", removeDev("phone")), "y": by("b", addDB("x"))}, team: everybody},
	{number: "T12 G39 m leaves, b rotates", drawing: `base -> x -> y -> z`, steps: steps{
		"x": by("m", leave("m")), "y": by("b", rotate()), "z": by("a", addDB("x"))}, team: "a:admin b:admin"},
	{number: "T36 T42 two rotations, then c", drawing: `base -> x -> y -> z`, steps: steps{
		"x": by("a", rotate()), "y": by("a", rotate()), "z": by("a", add("c", RoleMember))}, team: "a:admin b:admin c:member m:member"},
	{number: "G37 b is removed and comes back", drawing: `base -> x -> y -> z`, steps: steps{
		"x": by("a", remove("b")), "y": by("a", add("b", RoleMember)), "z": by("m", addDB("x"))}, team: "a:admin b:member m:member"},
	{number: "G6 a replica goes", drawing: `base -> i -> r -> x`, steps: steps{"i": by("a", invite("i", InviteReplica, RoleReplica, 1)),
		"r": by("a", admit("i", "rep", "a")), "x": by("a", removeReplica("rep"))}, team: everybody},
	{number: "G4 the phone of a used invitation goes", drawing: `base -> i -> p -> x -> y`, steps: steps{"i": by("m", invite("i", InviteDevice, 0, 1)),
		"p": by("b", admit("i", "phone", "b")), "x": by("m", removeDev("phone")), "y": by("m", addDB("x"))}, team: everybody},
}

var goingsAtOnce = []story{
	{number: "two removals at once", drawing: `
		base -> L -> z
		     | -> R -> z
		`, steps: steps{"L": by("a", remove("b")), "R": by("b", remove("m")), "z": by("a", rotate())}, team: "a:admin m:member"},
	{number: "two removals of others at once", drawing: `
		base -> +c -> L -> z
		        |  -> R -> z
		`, steps: steps{"+c": by("a", add("c", RoleMember)), "L": by("a", remove("m")), "R": by("b", remove("c")), "z": by("b", rotate())},
		team: "a:admin b:admin"},
	{number: "T109 each other", drawing: `
		base -> L -> y
		     | -> R
		`, steps: steps{"L": by("a", remove("b")), "R": by("b", remove("a")), "y": by("a", addDB("x"))}, team: "a:admin m:member"},
	{number: "T107 a removes b ∥ b adds c", drawing: `
		base -> L -> z
		     | -> R -> z
		`, steps: steps{"L": by("a", remove("b")), "R": by("b", add("c", RoleMember)), "z": by("a", rotate())}, team: "a:admin m:member"},
	{number: "T108 a demotes b ∥ b adds c, m rotates", drawing: `
		base -> L -> z
		     | -> R -> z
		`, steps: steps{"L": by("a", role("b", RoleMember)), "R": by("b", add("c", RoleMember)), "z": by("m", rotate())},
		team: "a:admin b:member m:member"},
	{number: "a removal ∥ a rotation that boxes the removed", drawing: `
		base -> L -> z
		     | -> R -> z
		`, steps: steps{"L": by("a", remove("m")), "R": by("b", rotate()), "z": by("b", addDB("x"))}, team: "a:admin b:admin"},
	{number: "G15 the suspended goes", drawing: `
		base -> i -> x -> z
		        | -> y -> z
		`, steps: steps{"i": by("a", invite("i", InviteMember, RoleMember, 1)), "x": by("m", admit("i", "c", "m")),
		"y": by("a", admit("i", "d", "a")), "z": by("b", rotate())}, team: "a:admin b:admin c:member!suspended(c!suspended) d:member m:member"},
}

// sealedLink is a link as it travels: its layers sealed, its keys in lockboxes.
type sealedLink struct {
	u               *UnverifiedLink
	header          block.Header
	groups          []block.BoxGroup
	private         []byte // what only members read
	history, routes []byte
}

type sealedChain struct {
	k     *keys
	links []sealedLink
	rings map[string]*vault.Keyring // what each device opened, by name
}

// seedOf is endless bytes that depend on a name.
func seedOf(name string) io.Reader { return rand.NewChaCha8(sha256.Sum256([]byte(name))) }

var (
	identities   = map[block.Device]*vault.Identity{}
	identitiesMu sync.Mutex
)

func identityOf(t testing.TB, d block.Device) *vault.Identity {
	identitiesMu.Lock()
	defer identitiesMu.Unlock()
	id, ok := identities[d]
	if !ok {
		devsMu.Lock()
		priv := devsOf[d].priv
		devsMu.Unlock()
		var err error
		id, err = vault.NewIdentityOf(priv, seedOf("identity of "+d.String()))
		require.NoError(t, err)
		identities[d] = id
	}
	return id
}

// sealed does with real keys what keys says; one keyring that is given every
// generation stands for what each author holds.
func (w *world) sealed() *sealedChain {
	c := &sealedChain{k: w.keys(), rings: map[string]*vault.Keyring{}}
	all := vault.NewKeyring(identityOf(w.t, w.all[0].Header.Author))
	team := block.TeamID(w.genID)
	secrets := map[block.ID]block.Secret{}
	for i, u := range c.k.links {
		g := c.k.gifts[i]
		l := sealedLink{u: u, header: u.Header}
		if i > 0 {
			if id, ok := g.view.WriteGeneration(); ok {
				l.header.Generation = id
			}
			var err error
			l.private, err = all.Seal(vault.Private, l.header, []byte("private layer of "+w.nameOf(u.ID)))
			require.NoError(w.t, err)
		}
		if g.makes {
			s, err := vault.NewSecret(seedOf(fmt.Sprintf("generation %x", u.ID)))
			require.NoError(w.t, err)
			secrets[u.ID] = s
			var parents []block.Generation
			for _, p := range g.parents {
				parents = append(parents, block.Generation(p))
			}
			if i > 0 {
				l.history, l.routes, err = all.SealHistory(s, l.header, parents)
				require.NoError(w.t, err)
			}
			require.NoError(w.t, all.Add(team, block.Generation(u.ID), s))
		}
		for id, to := range g.boxes {
			bc := vault.BoxContext{Team: team, Purpose: block.BoxGeneration, Commitment: vault.Commitment(secrets[id]), Author: u.Header.Author}
			if i == 0 {
				bc.Team = block.TeamID{}
			}
			group := block.BoxGroup{Generation: block.Generation(id), Purpose: block.BoxGeneration, Commitment: bc.Commitment}
			if id == u.ID {
				group.Generation = block.Generation{}
			}
			for _, d := range to {
				b, err := vault.SealBox(bc, identityOf(w.t, d).BoxKey(), secrets[id])
				require.NoError(w.t, err)
				group.Boxes = append(group.Boxes, b)
			}
			slices.SortFunc(group.Boxes, func(x, y block.Box) int { return bytes.Compare(x.Hint[:], y.Hint[:]) })
			l.groups = append(l.groups, group)
		}
		c.links = append(c.links, l)
	}
	return c
}

// opens gives every device every link, over and over, until nobody opens more, and
// compares with what keys says; and nobody who is out reads what was written after.
func (c *sealedChain) opens(t *testing.T) {
	w := c.k.w
	team := block.TeamID(w.genID)
	for _, d := range w.chain.State().devices {
		if d.Role == RoleReplica {
			continue
		}
		ring := vault.NewKeyring(identityOf(t, d.Key))
		for range len(c.links) {
			for i, l := range c.links {
				of := team
				if i == 0 {
					of = block.TeamID{}
				}
				_, err := ring.OpenBoxes(of, l.u.ID, l.u.Header.Author, l.groups)
				require.NoError(t, err)
				if l.history != nil {
					_, _ = ring.OpenHistory(l.header, block.Generation(l.u.ID), l.history, l.routes)
				}
			}
		}
		held := c.k.held(d.Key, func(int) bool { return true })
		for i, l := range c.links {
			made := c.k.gifts[i].makes
			if made && l.u.Header.Author != d.Key { // its maker has it without a box
				require.Equal(t, held[l.u.ID], ring.Has(team, block.Generation(l.u.ID)), "%s and the generation of %s", nameOfDev(d.Key), w.nameOf(l.u.ID))
			}
			view := c.k.gifts[i].view
			_, wrote := view.WriteGeneration()
			if i == 0 || !wrote || view.Active(d.Key) {
				continue
			}
			if _, there := view.Device(d.Key); there {
				_, err := ring.Open(vault.Private, l.header, l.private)
				if w.chain.State().Active(d.Key) {
					continue // back on the team, and reads the past
				}
				require.ErrorIs(t, err, vault.ErrNoKey, "%s reads %s", nameOfDev(d.Key), w.nameOf(l.u.ID))
			}
		}
	}
}
