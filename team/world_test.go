package team

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// world makes links for tests. A link is drawn by name; what it does and who does
// it is said beside the drawing:
//
//	w := newWorld(t, "a")
//	w.draw(`
//	    G -> +b -> a-b
//	          | -> b-a
//	`, steps{
//	    "+b":  by("a", add("b", RoleAdmin)),
//	    "a-b": by("a", remove("b")),
//	    "b-a": by("b", remove("a")),
//	})
//
// "|" hangs a branch under the link that stands above it; a name that comes again
// on the right of an arrow gets one more parent. Links that no rule allows can be
// drawn too: the world holds them, a chain refuses them.
type world struct {
	t     testing.TB
	genID block.ID
	all   []*UnverifiedLink // as drawn: parents first
	named map[string]*UnverifiedLink
	salt  string            // changes every hash
	chain *Chain            // what a device that saw all of it holds
	errs  map[string]error  // why the chain did not take a link
	cache map[[32]byte]bool // proofs that were verified
	fast  bool              // proofs are hashes, not signatures: for thousands of worlds
}

type step struct {
	by      string
	content func(w *world, past []*UnverifiedLink) Content
	mod     func(u *UnverifiedLink)
}

type steps map[string]step

func by(author string, f func(w *world, past []*UnverifiedLink) Content) step {
	return step{by: author, content: f}
}

// with changes the link after it was made, before it gets its id.
func (s step) with(f func(u *UnverifiedLink)) step { s.mod = f; return s }

func newWorld(t testing.TB, founder string) *world { return newSalted(t, founder, "", false) }

func newSalted(t testing.TB, founder, salt string, recovery bool) *world {
	w := &world{t: t, named: map[string]*UnverifiedLink{}, salt: salt, errs: map[string]error{}, cache: map[[32]byte]bool{}}
	k := dev(founder)
	c := Create{BoxKey: k.box, Key: fill[[32]byte](1)}
	if recovery {
		r := dev(founder + "-words")
		c.Recovery = &Recovery{Device: r.dev, BoxKey: r.box}
	}
	g := &UnverifiedLink{Header: block.Header{Kind: block.KindLink, Author: k.dev}, Content: c, complete: true}
	w.seal(g, "G")
	w.genID = g.ID
	w.chain = w.fresh()
	return w
}

// devs are shared by all tests: making a key costs more than a link.
var (
	devs   = map[string]*key{}
	devsOf = map[block.Device]*key{}
	devsMu sync.Mutex
)

func dev(name string) *key {
	devsMu.Lock()
	defer devsMu.Unlock()
	k, ok := devs[name]
	if !ok {
		k = newKey(name)
		devs[name], devsOf[k.dev] = k, k
	}
	return k
}

// fresh returns a chain that holds genesis only.
func (w *world) fresh() *Chain { return w.freshFold(false) }

func (w *world) freshFold(roster bool) *Chain {
	c, err := newChain(w.all[0], roster)
	require.NoError(w.t, err)
	c.g.proof = w.verify
	return c
}

// verify remembers proofs, so that thousands of chains cost one signature check.
func (w *world) verify(p Proof, invite block.Device) error {
	if w.fast {
		if p.InviteSig != quickSig(invite, p) || p.DeviceSig != quickSig(p.Device, p) {
			return ErrProof
		}
		return nil
	}
	key := sha256.Sum256(append(append(p.Signed(), invite[:]...), append(p.InviteSig[:], p.DeviceSig[:]...)...))
	if w.cache[key] {
		return nil
	}
	if err := p.Verify(invite); err != nil {
		return err
	}
	w.cache[key] = true
	return nil
}

// quickSig stands for a signature in fast worlds: it covers all that a proof signs.
func quickSig(by block.Device, p Proof) block.Signature {
	a := sha256.Sum256(append(by[:], p.Signed()...))
	return block.Signature(append(a[:], a[:]...))
}

// seal gives a link its id: a hash of all it says.
func (w *world) seal(u *UnverifiedLink, name string) {
	w.identify(u, name)
	w.all = append(w.all, u)
	w.named[name] = u
}

func (w *world) identify(u *UnverifiedLink, name string) {
	l := u.Content.layers(1)
	b := append([]byte(w.salt), '|')
	b = append(append(b, name...), '|')
	for _, p := range u.Header.Links {
		b = append(b, p[:]...)
	}
	b = append(append(append(b, u.Header.Author[:]...), u.Header.Seat[:]...), u.Header.Generation[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(u.Time))
	b = append(append(b, l.Roster...), l.Private...)
	if u.Header.Critical {
		b = append(b, "critical"...)
	}
	for _, g := range u.Header.Boxes {
		b = append(append(append(b, g.Generation[:]...), byte(g.Purpose)), g.Commitment[:]...)
	}
	u.ID = sha256.Sum256(b)
}

// past returns parents and what is below them, oldest first.
func (w *world) past(parents []*UnverifiedLink) []*UnverifiedLink {
	want := map[block.ID]bool{}
	for _, p := range parents {
		want[p.ID] = true
	}
	var out []*UnverifiedLink
	for _, u := range slices.Backward(w.all) {
		if want[u.ID] {
			out = append(out, u)
			for _, p := range u.Header.Links[:u.Header.Parents] {
				want[p] = true
			}
		}
	}
	slices.Reverse(out)
	return out
}

// seatIn returns the last link of past that seats the key, whatever it is worth.
func seatIn(past []*UnverifiedLink, k block.Device) (id block.ID) {
	for _, u := range past {
		var seated block.Device
		switch c := u.Content.(type) {
		case Create:
			seated = u.Header.Author
		case Admit:
			seated = c.Device
		case AddMember:
			seated = c.Device
		case AddDevice:
			if c.Device != u.Header.Author {
				seated = c.Device
			}
		}
		if r := recoveryOf(u.Content); seated == k || r != nil && r.Device == k {
			id = u.ID
		}
	}
	return id
}

// add makes one link above parents and offers it to the chain.
func (w *world) add(name string, s step, parents ...string) *UnverifiedLink {
	u := w.make(s, parents...)
	w.seal(u, name)
	w.errs[name] = w.chain.Add(u)
	return u
}

// make makes a link that has no id yet and is in no chain.
func (w *world) make(s step, parents ...string) *UnverifiedLink {
	var ps []*UnverifiedLink
	for _, p := range parents {
		if w.named[p] == nil {
			w.t.Fatalf("no link %s to stand on", p)
		}
		ps = append(ps, w.named[p])
	}
	past := w.past(ps)
	k := dev(s.by)
	h := block.Header{Kind: block.KindLink, Team: block.TeamID(w.genID), Generation: block.Generation(w.genID), Author: k.dev}
	for _, p := range ps {
		h.Links = append(h.Links, p.ID)
	}
	slices.SortFunc(h.Links, func(a, b block.ID) int { return strings.Compare(string(a[:]), string(b[:])) })
	h.Links = slices.Compact(h.Links)
	h.Parents = len(h.Links)
	h.Seat = seatIn(past, k.dev)
	u := &UnverifiedLink{Header: h, Content: s.content(w, past), Time: wire.Time(1000 + len(w.all)), complete: true}
	if s.mod != nil {
		s.mod(u)
	}
	return u
}

// draw reads a drawing and makes its links in an order in which parents come first.
func (w *world) draw(drawing string, s steps) *world {
	w.t.Helper()
	parents, order := parseDrawing(w.t, drawing)
	for _, name := range order {
		if _, ok := w.named[name]; ok {
			continue
		}
		st, ok := s[name]
		require.True(w.t, ok, "%s is drawn but not described", name)
		w.add(name, st, parents[name]...)
	}
	for name := range s {
		require.Contains(w.t, w.named, name, "described but not drawn")
	}
	return w
}

// parseDrawing returns the parents of each name, and the names with parents first.
func parseDrawing(t testing.TB, drawing string) (map[string][]string, []string) {
	t.Helper()
	type node struct {
		name string
		col  int
	}
	parents := map[string][]string{}
	var names []string
	var above [][]node
	for _, line := range strings.Split(drawing, "\n") {
		var row []node
		prev := ""
		for col := 0; col < len(line); {
			if line[col] == ' ' || line[col] == '\t' {
				col++
				continue
			}
			end := col
			for end < len(line) && line[end] != ' ' && line[end] != '\t' {
				end++
			}
			word := line[col:end]
			switch {
			case word == "->":
			case word == "|":
				for _, up := range slices.Backward(above) {
					for _, n := range up {
						if n.col <= col {
							prev = n.name
						}
					}
					if prev != "" {
						break
					}
				}
				require.NotEmpty(t, prev, "nothing above | in %q", line)
			default:
				if prev != "" {
					parents[word] = append(parents[word], prev)
				}
				if !slices.Contains(names, word) {
					names = append(names, word)
				}
				row = append(row, node{word, col})
				prev = word
			}
			col = end
		}
		if len(row) > 0 {
			above = append(above, row)
		}
	}
	var order []string
	done := map[string]bool{}
	var visit func(n string)
	visit = func(n string) {
		if !done[n] {
			done[n] = true
			for _, p := range parents[n] {
				visit(p)
			}
			order = append(order, n)
		}
	}
	for _, n := range names {
		visit(n)
	}
	return parents, order
}

// refused wants the chain to have refused a link, for a reason with these words.
func (w *world) refused(name, why string) {
	w.t.Helper()
	require.Error(w.t, w.errs[name], name)
	require.ErrorContains(w.t, w.errs[name], why, name)
}

// taken wants the chain to have taken all named links.
func (w *world) taken(names ...string) {
	w.t.Helper()
	for _, n := range names {
		require.NoError(w.t, w.errs[n], n)
	}
}

// counting returns the names of the links that count, in drawing order.
func (w *world) counting() string {
	valid := map[block.ID]bool{}
	for _, e := range w.chain.Log() {
		valid[e.ID] = e.Valid
	}
	var out []string
	for _, u := range w.all {
		if valid[u.ID] {
			out = append(out, w.nameOf(u.ID))
		}
	}
	return strings.Join(out, " ")
}

func (w *world) nameOf(id block.ID) string {
	for n, u := range w.named {
		if u.ID == id {
			return n
		}
	}
	return id.String()
}

// team prints who is active: "a:admin b:member(b b2)". Devices are shown where
// there is more than one.
func (w *world) team() string { return teamOf(w.chain.State()) }

func teamOf(s *State) string {
	var out []string
	for _, m := range s.Members() {
		line := nameOfDev(m.ID) + ":" + m.Role.String()
		if m.Status != StatusActive {
			line += "!" + m.Status.String()
		}
		var ds []string
		for _, d := range m.Devices {
			if info, _ := s.Device(d); info.Status != StatusActive {
				ds = append(ds, nameOfDev(d)+"!"+info.Status.String())
			} else {
				ds = append(ds, nameOfDev(d))
			}
		}
		if len(ds) != 1 || ds[0] != nameOfDev(m.ID) {
			line += "(" + strings.Join(ds, " ") + ")"
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func nameOfDev(d block.Device) string {
	devsMu.Lock()
	defer devsMu.Unlock()
	if k := devsOf[d]; k != nil {
		return k.name
	}
	return d.String()
}

// Contents by name.

type made = func(w *world, past []*UnverifiedLink) Content

func add(who string, r Role) made {
	return func(*world, []*UnverifiedLink) Content { return AddMember{Device: dev(who).dev, Role: r, Name: who} }
}

func role(who string, r Role) made {
	return func(*world, []*UnverifiedLink) Content { return SetRole{Member: dev(who).dev, Role: r} }
}

var newKeys = Keys{Key: fill[[32]byte](7), Route: fill[[32]byte](8)}

func remove(who string) made {
	return func(*world, []*UnverifiedLink) Content {
		return RemoveMember{Removal{Target: dev(who).dev, Keys: &newKeys}}
	}
}

func removeDev(who string) made {
	return func(*world, []*UnverifiedLink) Content {
		return RemoveDevice{Removal{Target: dev(who).dev, Keys: &newKeys}}
	}
}

func leave(who string) made {
	return func(*world, []*UnverifiedLink) Content { return RemoveMember{Removal{Target: dev(who).dev}} }
}

func dropDev(who string) made { // a device signs its own leaving
	return func(*world, []*UnverifiedLink) Content { return RemoveDevice{Removal{Target: dev(who).dev}} }
}

// confirm repeats the removal or demotion drawn under a name.
func confirm(what string, heads ...DBHeads) made {
	return func(w *world, _ []*UnverifiedLink) Content {
		u := w.named[what]
		switch c := u.Content.(type) {
		case SetRole:
			return SetRole{Member: c.Member, Role: c.Role, Heads: heads, Confirms: u.ID}
		case RemoveMember:
			return RemoveMember{Removal{Target: c.Target, Heads: heads, Confirms: u.ID}}
		case RemoveDevice:
			return RemoveDevice{Removal{Target: c.Target, Heads: heads, Confirms: u.ID}}
		}
		panic("not a cut")
	}
}

// invite opens an invitation under a name whose seed everybody in a test knows.
func invite(name string, kind InviteKind, r Role, uses uint64) made {
	return func(*world, []*UnverifiedLink) Content {
		return Invite{ID: inviteID(name), Kind: kind, Role: r, MaxUses: uses, Key: dev("invite " + name).dev}
	}
}

func bound(name, who string, r Role) made {
	return func(*world, []*UnverifiedLink) Content {
		return Invite{ID: inviteID(name), Kind: InviteMember, Role: r, MaxUses: 1, Key: dev("invite " + name).dev, Bound: dev(who).dev}
	}
}

func inviteID(name string) block.InviteID {
	sum := sha256.Sum256([]byte(name))
	return block.InviteID(sum[:8])
}

func revoke(link string) made {
	return func(w *world, _ []*UnverifiedLink) Content { return Revoke{Invite: w.named[link].ID} }
}

// admit joins who through the invitation drawn as link, with admitter as author.
func admit(link, who, admitter string) made {
	return func(w *world, _ []*UnverifiedLink) Content {
		inv := w.named[link].Content.(Invite)
		return w.join(w.named[link].ID, inv, who, admitter, nil)
	}
}

func (w *world) join(link block.ID, inv Invite, who, admitter string, change func(p *Proof)) Admit {
	p := w.prove(inv, who, admitter, change)
	return Admit{Invite: link, Device: p.Device, BoxKey: p.BoxKey, Recovery: p.Recovery, Proof: p}
}

// prove is what a joiner does with the seed of an invitation.
func (w *world) prove(inv Invite, who, admitter string, change func(p *Proof)) Proof {
	k := dev(who)
	p := Proof{
		Kind: inv.Kind, Role: inv.Role, Invite: inv.ID, Device: k.dev, BoxKey: k.box, DeviceName: who + "'s device",
		R: fill[[32]byte](3), Nonce: fill[[32]byte](4), Admitter: dev(admitter).dev,
	}
	copy(p.Team[:], w.genID[:])
	if inv.Kind == InviteMember {
		p.Name = who
	}
	if change != nil {
		change(&p)
	}
	p.Commit = Commit(p.Device, p.BoxKey, p.Name, p.DeviceName, p.R)
	if w.fast {
		p.InviteSig, p.DeviceSig = quickSig(inviteSigner(inv).dev, p), quickSig(p.Device, p)
		return p
	}
	p.InviteSig = inviteSigner(inv).sign(block.ForJoin, p.Signed())
	p.DeviceSig = k.sign(block.ForJoin, p.Signed())
	return p
}

// inviteSigner is who has the seed: everybody, where the invitation was drawn.
func inviteSigner(inv Invite) *key {
	devsMu.Lock()
	k := devsOf[inv.Key]
	devsMu.Unlock()
	if k != nil && strings.HasPrefix(k.name, "invite ") {
		return k
	}
	return dev("no seed")
}

// device adds a device to the author's member.
func device(who, of string) made {
	return func(w *world, _ []*UnverifiedLink) Content {
		k := dev(who)
		st := DeviceStatement(block.TeamID(w.genID), dev(of).dev, k.dev, k.box)
		return AddDevice{Device: k.dev, BoxKey: k.box, Statement: k.sign(block.ForDevice, st), Name: who}
	}
}

// words is the recovery half of a member, vouched for by a device.
func (w *world) words(of, voucher string) *Recovery {
	r := dev(of + "-words")
	st := DeviceStatement(block.TeamID(w.genID), dev(of).dev, r.dev, r.box)
	rec := &Recovery{Device: r.dev, BoxKey: r.box, Statement: r.sign(block.ForDevice, st)}
	if voucher != "" {
		rec.Vouch = dev(voucher).sign(block.ForDevice, st)
	}
	return rec
}

// addWords adds a member with recovery words that voucher, who should be himself,
// vouches for.
func addWords(who string, r Role, voucher string) made {
	return func(w *world, _ []*UnverifiedLink) Content {
		return AddMember{Device: dev(who).dev, Role: r, Recovery: w.words(who, voucher), Name: who}
	}
}

// admitWords is admit of somebody who brings recovery words.
func admitWords(link, who, admitter string) made {
	return func(w *world, _ []*UnverifiedLink) Content {
		inv := w.named[link].Content.(Invite)
		return w.join(w.named[link].ID, inv, who, admitter, func(p *Proof) {
			if inv.Kind == InviteMember {
				p.Recovery = w.words(who, "")
			}
		})
	}
}

// ownKey publishes another HPKE key of the author.
func ownKey(author, key string) made {
	return func(*world, []*UnverifiedLink) Content {
		return AddDevice{Device: dev(author).dev, BoxKey: dev(author + " box " + key).box}
	}
}

// ownWords brings recovery words of a member later than himself.
func ownWords(author string) made {
	return func(w *world, _ []*UnverifiedLink) Content {
		return AddDevice{Device: dev(author).dev, BoxKey: dev(author).box, Recovery: w.words(author, "")}
	}
}

func memberOf(team byte, gone bool) made {
	return func(*world, []*UnverifiedLink) Content {
		return MemberOf{Team: fill[block.TeamID](team), Member: dev("a").dev, Name: "there", Gone: gone}
	}
}

func rotate() made { return func(*world, []*UnverifiedLink) Content { return Rotate{Keys: newKeys} } }

func boxes(gen string, who ...string) made {
	return func(w *world, _ []*UnverifiedLink) Content {
		b := GiveBoxes{Generation: block.Generation(w.named[gen].ID)}
		for _, n := range who {
			b.Devices = append(b.Devices, dev(n).dev)
		}
		slices.SortFunc(b.Devices, func(x, y block.Device) int { return strings.Compare(string(x[:]), string(y[:])) })
		return b
	}
}

func dbID(name string) block.DBID {
	sum := sha256.Sum256([]byte("db " + name))
	return block.DBID(sum[:16])
}

func addDB(name string) made {
	return func(*world, []*UnverifiedLink) Content {
		return AddDB{DB: dbID(name), Name: name, Secret: secret(9)}
	}
}

func removeDB(name string) made {
	return func(*world, []*UnverifiedLink) Content { return RemoveDB{DB: dbID(name)} }
}

func rename(kind NameKind, subject []byte, name string) made {
	return func(*world, []*UnverifiedLink) Content { return Name{Kind: kind, Subject: subject, Name: name} }
}

func removeReplica(who string) made {
	return func(*world, []*UnverifiedLink) Content { return RemoveReplica{Device: dev(who).dev, Keys: newKeys} }
}

// revoking makes a removal revoke the invitations drawn under names.
func revoking(f made, links ...string) made {
	return func(w *world, past []*UnverifiedLink) Content {
		var ids []block.ID
		for _, n := range links {
			ids = append(ids, w.named[n].ID)
		}
		slices.SortFunc(ids, func(a, b block.ID) int { return strings.Compare(string(a[:]), string(b[:])) })
		switch c := f(w, past).(type) {
		case RemoveMember:
			c.Revokes = ids
			return c
		case RemoveDevice:
			c.Revokes = ids
			return c
		}
		panic("not a removal")
	}
}

// settled checks what every drawn chain must satisfy: the model agrees, the roster
// is not narrower, and every order of arrival gives the same state (a sample, where
// there are many), as do a restart and a third replica that meets one side first.
func (w *world) settled(team string) *world {
	w.t.Helper()
	require.Equal(w.t, team, w.team(), w.story())
	w.agree()
	w.rosterCovers()
	want, roster := w.chain.describe(), teamOf(w.chain.Roster())
	same := func(what string, c *Chain) {
		w.t.Helper()
		require.Equal(w.t, want, c.describe(), what)
		require.Equal(w.t, w.chain.Heads(), c.Heads(), what)
		require.Equal(w.t, roster, teamOf(c.Roster()), what)
	}
	orders := 0
	w.orders(func(order []*UnverifiedLink) bool {
		c := w.fresh()
		for _, u := range order {
			_ = c.Add(u) // refused is as good as stored here
		}
		same("another order", c)
		orders++
		return orders < 24
	})
	rng := rand.New(rand.NewPCG(7, 7))
	for range 3 {
		c := w.fresh()
		for _, i := range rng.Perm(len(w.all)) {
			addAll(c, w.all[i], w.all)
		}
		same("shuffled", c)
	}
	again := w.fresh()
	send(w.t, w.chain, again, w.all)
	same("after a restart", again)
	third := w.fresh()
	for _, head := range w.chain.Heads() { // who knows one head only, then the next
		one := w.fresh()
		for _, u := range w.past([]*UnverifiedLink{w.byID(head)}) {
			_ = one.Add(u)
		}
		send(w.t, one, third, w.all)
	}
	same("through a third", third)
	return w
}

// orders calls f with the links below genesis in every order in which parents come
// first, until it returns false.
func (w *world) orders(f func(order []*UnverifiedLink) bool) {
	have, going := map[block.ID]bool{w.genID: true}, true
	var walk func(order []*UnverifiedLink)
	walk = func(order []*UnverifiedLink) {
		if len(order) == len(w.all)-1 {
			going = f(order)
			return
		}
		for _, u := range slices.Backward(w.all[1:]) {
			ready := !have[u.ID]
			for _, p := range u.Header.Links[:u.Header.Parents] {
				ready = ready && have[p]
			}
			if ready && going {
				have[u.ID] = true
				walk(append(order[:len(order):len(order)], u))
				have[u.ID] = false
			}
		}
	}
	walk(nil)
}

// send gives one chain what another has and it has not, as two nodes do.
func send(t testing.TB, from, to *Chain, all []*UnverifiedLink) {
	t.Helper()
	for _, id := range from.Since(to.Heads()) {
		i := slices.IndexFunc(all, func(u *UnverifiedLink) bool { return u.ID == id })
		require.NoError(t, to.Add(all[i]))
	}
}

func (w *world) byID(id block.ID) *UnverifiedLink {
	return w.all[slices.IndexFunc(w.all, func(u *UnverifiedLink) bool { return u.ID == id })]
}

// addAll adds a link and first what it says is missing.
func addAll(c *Chain, u *UnverifiedLink, all []*UnverifiedLink) {
	if e, ok := c.Add(u).(*MissingError); ok {
		for _, id := range e.IDs {
			for _, p := range all {
				if p.ID == id {
					addAll(c, p, all)
				}
			}
		}
		_ = c.Add(u) // refused is as good as stored here
	}
}
