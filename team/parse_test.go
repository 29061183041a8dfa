package team

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
)

// envelope is a link as it travels. The layers stand unsealed in the body: sealing
// is vault's, and team never sees it.
type envelope struct {
	header block.Header
	layers Layers
	body   Body
	author *key
}

func seal(t testing.TB, author *key, h block.Header, c Content) envelope {
	l, err := Encode(c, sampleTime)
	require.NoError(t, err)
	h.Kind, h.Author = block.KindLink, author.dev
	e := envelope{header: h, layers: l, body: Body{Roster: l.Roster, Private: l.Private}, author: author}
	if keysOf(c) != nil {
		e.body.History, e.body.RouteHistory = []byte("history"), []byte("route history")
	}
	return e
}

func (e envelope) block(t testing.TB) *block.Block {
	body := e.body.Encode()
	if e.header.Genesis() {
		body = e.layers.Roster
	}
	sig := e.author.sign(block.ForLink, e.header.SignedBytes(body))
	b, err := block.New(e.header, body, &sig)
	require.NoError(t, err)
	u, err := block.Parse(b.Data)
	require.NoError(t, err)
	again, err := u.Verify(e.header.Team, e.header.Generation)
	require.NoError(t, err)
	return again
}

func (e envelope) parse(t testing.TB) *UnverifiedLink {
	u, err := Parse(e.block(t), e.layers)
	require.NoError(t, err)
	return u
}

// real is a small team in real envelopes: alice, an invitation, bob through it.
type real struct {
	t          testing.TB
	alice, bob *key
	chain      *Chain
	links      []*UnverifiedLink
	gen        block.Generation
}

func newReal(t testing.TB) *real {
	r := &real{t: t, alice: newKey("alice"), bob: newKey("bob")}
	g := seal(t, r.alice, block.Header{}, Create{BoxKey: r.alice.box, Key: sampleKeys.Key, Random: fill[[32]byte](9)})
	g.header.Boxes = []block.BoxGroup{{Purpose: block.BoxGeneration, Commitment: sampleKeys.Key, Boxes: []block.Box{fakeBox()}}}
	u := g.parse(t)
	var err error
	r.chain, err = NewChain(u)
	require.NoError(t, err)
	r.links, r.gen = []*UnverifiedLink{u}, block.Generation(u.ID)
	return r
}

func fakeBox() block.Box {
	return block.Box{KEM: block.KEMX25519, Enc: bytes.Repeat([]byte{1}, 32), Text: bytes.Repeat([]byte{2}, 48)}
}

// link makes an envelope on top of the chain.
func (r *real) link(author *key, c Content) envelope {
	d, ok := r.chain.State().Device(author.dev)
	require.True(r.t, ok)
	h := block.Header{Team: r.chain.Team(), Generation: r.gen, Links: r.chain.Parents(), Seat: d.Seat}
	h.Parents = len(h.Links)
	return seal(r.t, author, h, c)
}

func (r *real) add(e envelope) block.ID {
	u := e.parse(r.t)
	require.NoError(r.t, r.chain.Check(e.author.dev, u.Content))
	require.NoError(r.t, r.chain.Add(u))
	r.links = append(r.links, u)
	return u.ID
}

// T1, T25, T35, G29–G31: create, invite, join, in real envelopes.
func TestJoinWalk(t *testing.T) {
	r := newReal(t)
	inv := newKey("invitation")
	r.add(r.link(r.alice, Name{Kind: NameTeam, Name: "Spies Я Us"}))
	i := Invite{ID: inviteID("first"), Kind: InviteMember, Role: RoleMember, MaxUses: 1, Key: inv.dev}
	invite := r.add(r.link(r.alice, i))

	p := Proof{
		Kind: InviteMember, Role: RoleMember, Invite: i.ID, Device: r.bob.dev, BoxKey: r.bob.box, Name: "bob", DeviceName: "laptop",
		R: fill[[32]byte](5), Nonce: fill[[32]byte](6), Admitter: r.alice.dev,
	}
	id := r.chain.Team()
	copy(p.Team[:], id[:])
	p.Commit = Commit(p.Device, p.BoxKey, p.Name, p.DeviceName, p.R)
	p.InviteSig, p.DeviceSig = inv.sign(block.ForJoin, p.Signed()), r.bob.sign(block.ForJoin, p.Signed())
	require.NoError(t, p.Verify(inv.dev))
	require.Equal(t, p.Hash(), p.Hash())

	admit := Admit{Invite: invite, Device: p.Device, BoxKey: p.BoxKey, Proof: p}
	for what, change := range map[string]func(a *Admit){
		"another device (G29)":         func(a *Admit) { a.Device = newKey("eve").dev },
		"another box key (T38)":        func(a *Admit) { a.BoxKey = newKey("eve").box },
		"signed with her own key":      func(a *Admit) { a.Proof.InviteSig = newKey("eve").sign(block.ForJoin, p.Signed()) },
		"device signature by another":  func(a *Admit) { a.Proof.DeviceSig = newKey("eve").sign(block.ForJoin, p.Signed()) },
		"another nonce (G31)":          func(a *Admit) { a.Proof.Nonce = fill[[32]byte](7) },
		"another name":                 func(a *Admit) { a.Proof.Name = "alice" },
		"another r":                    func(a *Admit) { a.Proof.R = fill[[32]byte](7) },
		"no proof at all (G11)":        func(a *Admit) { a.Proof = Proof{} },
		"signed for another purpose":   func(a *Admit) { a.Proof.DeviceSig = r.bob.sign(block.ForLink, p.Signed()) },
		"a recovery key slipped under": func(a *Admit) { a.Recovery = samples()["add-device-own"].(AddDevice).Recovery },
	} {
		a := admit
		change(&a)
		require.Error(t, r.chain.Check(r.alice.dev, a), what)
		require.Equal(t, "alice", nameless(r.chain.State()), what)
	}

	e := r.link(r.alice, admit)
	e.header.Boxes = []block.BoxGroup{{Generation: r.gen, Purpose: block.BoxGeneration, Commitment: sampleKeys.Key, Boxes: []block.Box{fakeBox()}}}
	r.add(e)
	s := r.chain.State()
	require.Equal(t, "Spies Я Us", s.Name())
	bob, ok := s.Member(r.bob.dev)
	require.True(t, ok)
	require.Equal(t, "bob", bob.Name)
	require.Equal(t, RoleMember, bob.Role)
	require.Equal(t, sampleTime, bob.Joined)
	require.True(t, s.CanWrite(r.bob.dev))
	d, _ := s.Device(r.bob.dev)
	require.Equal(t, "laptop", d.Name)
	require.True(t, d.BoxKey.Equal(r.bob.box))
	by, inviter := s.AdmittedBy(d.Seat)
	require.Equal(t, r.alice.dev, by)
	require.Equal(t, r.alice.dev, inviter)
	i2, _ := s.Invitation(i.ID)
	require.Equal(t, StatusUsed, i2.Status)
	require.Empty(t, s.Lacking())
	gen, ok := s.WriteGeneration()
	require.True(t, ok)
	require.Equal(t, r.gen, gen)

	// A relayed proof: eve's node admits bob with the proof alice was given.
	require.ErrorContains(t, r.chain.Check(r.bob.dev, admit), "used up")

	// A replica takes the same links with the roster layer only.
	replica, err := NewRosterChain(r.links[0])
	require.NoError(t, err)
	for _, u := range r.links[1:] {
		blind := *u
		blind.complete = false
		require.NoError(t, replica.Add(&blind))
		if c, ok := u.Content.(Admit); ok {
			require.ErrorIs(t, r.chain.Add(&UnverifiedLink{ID: fill[block.ID](1), Header: u.Header, Content: c}), ErrKeyMissing)
		}
	}
	require.True(t, replica.State().Active(r.bob.dev))
}

func nameless(s *State) string {
	out := ""
	for _, m := range s.Members() {
		for _, k := range []*key{newKey("alice"), newKey("bob"), newKey("eve")} {
			if k.dev == m.ID {
				out += k.name
			}
		}
	}
	return out
}

// TestParseRefuses: header, body and layers that do not fit each other.
func TestParseRefuses(t *testing.T) {
	r := newReal(t)
	s := samples()
	group := func(g block.Generation, k [32]byte) []block.BoxGroup {
		return []block.BoxGroup{{Generation: g, Purpose: block.BoxGeneration, Commitment: k, Boxes: []block.Box{fakeBox()}}}
	}
	for what, change := range map[string]struct {
		content Content
		f       func(e *envelope)
	}{
		"history without a generation":    {s["revoke"], func(e *envelope) { e.body.History = []byte("x") }},
		"generation without history":      {s["rotate"], func(e *envelope) { e.body.History = nil }},
		"generation without its route":    {s["rotate"], func(e *envelope) { e.body.RouteHistory = nil }},
		"no roster layer":                 {s["revoke"], func(e *envelope) { e.body.Roster = nil }},
		"a body of five":                  {s["revoke"], func(e *envelope) { e.body.Roster = nil; e.body = Body{} }},
		"boxes of a key it does not make": {s["revoke"], func(e *envelope) { e.header.Boxes = group(block.Generation{}, [32]byte{1}) }},
		"boxes in a NAME":                 {s["name-team"], func(e *envelope) { e.header.Boxes = group(r.gen, sampleKeys.Key) }},
		"boxes of another commitment":     {s["rotate"], func(e *envelope) { e.header.Boxes = group(block.Generation{}, [32]byte{1}) }},
		"boxes of another generation":     {s["box"], func(e *envelope) { e.header.Boxes = group(r.gen, sampleKeys.Key) }},
		"a linked block too many":         {s["revoke"], func(e *envelope) { e.header.Links = append(e.header.Links, fill[block.ID](1)) }},
		"an invite block that is none":    {s["add-member-all"], func(e *envelope) {}},
		"a CREATE that is no genesis":     {s["create"], func(e *envelope) {}},
		"roster of another action":        {s["revoke"], func(e *envelope) { e.layers.Roster = []byte{0xa1, 1, 0x0e} }},
		"unsorted roster":                 {s["revoke"], func(e *envelope) { slices.Reverse(e.layers.Roster) }},
		"bytes after the private layer":   {s["revoke"], func(e *envelope) { e.layers.Private = append(e.layers.Private, 0) }},
		"a private layer of another":      {s["revoke"], func(e *envelope) { e.layers.Private = s["name-team"].layers(1).Private }},
	} {
		c := change.content
		if c.Action() == ActCreate { // Encode gives it no time, so make the header by hand
			l := c.layers(0)
			e := r.link(r.alice, s["revoke"])
			e.layers, e.body = l, Body{Roster: l.Roster, History: []byte("h"), RouteHistory: []byte("r")}
			_, err := Parse(e.block(t), e.layers)
			require.ErrorIs(t, err, ErrMalformed, what)
			continue
		}
		e := r.link(r.alice, c)
		change.f(&e)
		_, err := Parse(e.block(t), e.layers)
		require.ErrorIs(t, err, ErrMalformed, what)
	}
	_, err := NewChain(r.link(r.alice, Rotate{Keys: newKeys}).parse(t))
	require.ErrorIs(t, err, ErrMalformed, "a chain from the middle")
}

// TestAddRefuses: G7–G10, G13: links that are well made and not allowed.
func TestAddRefuses(t *testing.T) {
	r := newReal(t)
	other := newReal(t)
	eve := newKey("eve")
	r.add(r.link(r.alice, AddMember{Device: r.bob.dev, Role: RoleMember}))
	seat := func(k *key) block.ID { d, _ := r.chain.State().Device(k.dev); return d.Seat }
	for what, e := range map[string]envelope{
		"eve under alice's seat (G7, G8)": func() envelope {
			e := r.link(r.alice, Rotate{Keys: newKeys})
			e.author, e.header.Author = eve, eve.dev
			return e
		}(),
		"bob under alice's seat":         func() envelope { e := r.link(r.bob, Rotate{Keys: newKeys}); e.header.Seat = seat(r.alice); return e }(),
		"a device for alice by bob (G9)": r.link(r.bob, device("phone", "alice")(&world{genID: block.ID(r.chain.Team())}, nil)),
		"a generation of the future": func() envelope {
			e := r.link(r.alice, Name{Kind: NameTeam, Name: "x"})
			e.header.Generation = fill[block.Generation](7)
			return e
		}(),
		"boxes of a future generation (G13)": r.link(r.alice, GiveBoxes{Generation: fill[block.Generation](7), Devices: []block.Device{r.bob.dev}}),
		"a parent below another": func() envelope {
			e := r.link(r.alice, Rotate{Keys: newKeys})
			e.header.Links = twoParents(r)
			e.header.Parents = 2
			return e
		}(),
	} {
		err := r.chain.Add(e.parse(t))
		var refused *RefusedError
		require.ErrorAs(t, err, &refused, what)
		require.ErrorAs(t, r.chain.Add(e.parse(t)), &refused, "%s, again", what)
		child := r.link(r.alice, Name{Kind: NameTeam, Name: "y"})
		child.header.Links, child.header.Parents = []block.ID{refused.ID}, 1
		require.ErrorAs(t, r.chain.Add(child.parse(t)), &refused, "above %s", what)
	}
	require.Equal(t, 2, len(r.chain.Log()), "G43: what was refused left nothing behind")

	foreign := other.link(other.alice, Name{Kind: NameTeam, Name: "x"})
	foreign.header.Team = fill[block.TeamID](3)
	require.ErrorIs(t, r.chain.Add(foreign.parse(t)), ErrMalformed)

	orphan := r.link(r.alice, Name{Kind: NameTeam, Name: "x"})
	orphan.header.Links = []block.ID{fill[block.ID](3)}
	var missing *MissingError
	require.ErrorAs(t, r.chain.Add(orphan.parse(t)), &missing)
	require.Equal(t, []block.ID{fill[block.ID](3)}, missing.IDs)
}

func twoParents(r *real) []block.ID {
	ids := []block.ID{r.links[0].ID, r.links[1].ID}
	slices.SortFunc(ids, func(a, b block.ID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}
