package team

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/vault"
)

// canaries is one content of every action that has something a replica must not
// learn, made with a word and a seed: names, names and secrets of databases, what the
// seed of an invitation makes (its key, and signatures by it), addresses.
func canaries(word, seed string) map[string]Content {
	a, b, inv := newKey("alice"), newKey("bob"), newKey("invite "+seed)
	team := fill[block.TeamID](0x21)
	secret, err := block.NewSecret(bytes.Repeat([]byte(word)[:4], 8))
	if err != nil {
		panic(err)
	}
	proof := Proof{
		Kind: InviteMember, Role: RoleMember, Team: fill[[20]byte](0x21), Invite: fill[block.InviteID](0x51), Device: b.dev, BoxKey: b.box,
		Name: word + " bob", DeviceName: word + " laptop", R: [32]byte([]byte(word + word + word + word)[:32]), Admitter: a.dev,
	}
	proof.Commit = Commit(b.dev, b.box, proof.Name, proof.DeviceName, proof.R)
	proof.InviteSig, proof.DeviceSig = inv.sign(block.ForJoin, proof.Signed()), b.sign(block.ForJoin, proof.Signed())
	statement := b.sign(block.ForDevice, DeviceStatement(team, a.dev, b.dev, b.box))
	return map[string]Content{
		"invite":     Invite{ID: fill[block.InviteID](0x51), Kind: InviteMember, Role: RoleMember, MaxUses: 1, Key: inv.dev, Bound: inv.dev},
		"phone":      Invite{ID: fill[block.InviteID](0x52), Kind: InviteDevice, MaxUses: 1, Key: inv.dev},
		"admit":      Admit{Invite: fill[block.ID](0x71), Device: b.dev, BoxKey: b.box, Proof: proof},
		"add member": AddMember{Device: b.dev, Role: RoleMember, Name: word + " bob"},
		"add device": AddDevice{Device: b.dev, BoxKey: b.box, Statement: statement, Name: word + " phone"},
		"database": AddDB{DB: fill[block.DBID](0x31), Name: word + " diary", Number: uint64(len(word)), Secret: secret, Base: &Base{
			Team: team, Keys: []BaseKey{{Generation: fill[block.Generation](0x81), MAC: secret, Enc: secret}}}},
		"team":   Name{Kind: NameTeam, Name: word},
		"bob":    Name{Kind: NameMember, Subject: b.dev[:], Name: word},
		"laptop": Name{Kind: NameDevice, Subject: b.dev[:], Name: word},
		"diary":  Name{Kind: NameDB, Subject: bytes.Repeat([]byte{0x31}, 16), Name: word},
		"of":     MemberOf{Team: team, Member: b.dev, Addrs: [][]byte{[]byte(word)}, Name: word},
	}
}

// TestRosterLayerShowsNoSecret: the roster layer is the same whatever the names, the
// secrets, the seed and the clock are; so nothing in it can be computed from them.
func TestRosterLayerShowsNoSecret(t *testing.T) {
	one, other := canaries("CANARY-ONE", "open sesame"), canaries("canary two", "0000")
	for name, c := range one {
		x, err := Encode(c, sampleTime)
		require.NoError(t, err, name)
		y, err := Encode(other[name], sampleTime+86_400_000)
		require.NoError(t, err, name)
		require.Equal(t, x.Roster, y.Roster, name)
		require.NotEqual(t, x.Private, y.Private, name)
	}
	// Every action that has a private layer with more than the clock is among them.
	for name, c := range samples() {
		bare, err := Encode(c, sampleTime)
		require.NoError(t, err)
		has := false
		for _, o := range one {
			has = has || o.Action() == c.Action()
		}
		if !has && c.Action() != ActCreate {
			require.Len(t, bare.Private, 11, "%s tells something in private: add it to the canaries", name)
		}
	}
}

// TestReplicaFindsNoCanary: all that a replica holds, opened with all that it can
// open, shows none of it.
func TestReplicaFindsNoCanary(t *testing.T) {
	const word = "CANARY-ONE"
	team, gen := fill[block.TeamID](0x21), fill[block.Generation](0x22)
	alice := identityOf(t, dev("alice").dev)
	member := vault.NewKeyring(alice)
	s, err := vault.NewSecret(seedOf("generation"))
	require.NoError(t, err)
	require.NoError(t, member.Add(team, gen, s))
	box, commitment, err := member.Box(team, gen, block.BoxRoute, identityOf(t, dev("rep").dev).BoxKey())
	require.NoError(t, err)
	replica := vault.NewKeyring(identityOf(t, dev("rep").dev))
	n, err := replica.OpenBoxes(team, block.ID{1}, alice.Device(), []block.BoxGroup{
		{Generation: gen, Purpose: block.BoxRoute, Commitment: commitment, Boxes: []block.Box{box}}})
	require.NoError(t, err)
	require.Equal(t, 1, n)

	inv := newKey("invite open sesame")
	for name, c := range canaries(word, "open sesame") {
		l, err := Encode(c, sampleTime)
		require.NoError(t, err)
		h := block.Header{Kind: block.KindLink, Team: team, Generation: gen, Links: []block.ID{{7}}, Parents: 1, Author: alice.Device(), Seat: block.ID{8}}
		roster, err := member.Seal(vault.Roster, h, l.Roster)
		require.NoError(t, err)
		private, err := member.Seal(vault.Private, h, l.Private)
		require.NoError(t, err)
		sealed, err := alice.SignBlock(h, Body{Roster: roster, Private: private}.Encode())
		require.NoError(t, err)

		opened, err := replica.Open(vault.Roster, h, roster)
		require.NoError(t, err)
		_, err = replica.Open(vault.Private, h, private)
		require.ErrorIs(t, err, vault.ErrNoKey, name)
		for _, seen := range [][]byte{sealed.Data, opened} {
			for what, secret := range map[string][]byte{
				"a name or a secret": []byte(word), "part of a secret": bytes.Repeat([]byte(word)[:4], 2),
				"the invitation's key": inv.dev[:], "its private half": inv.priv.Seed(), "the seed": []byte("open sesame"),
			} {
				require.False(t, bytes.Contains(seen, secret), "%s shows %s", name, what)
			}
		}
		if c, ok := c.(Admit); ok {
			for _, seen := range [][]byte{sealed.Data, opened} {
				require.False(t, bytes.Contains(seen, c.Proof.InviteSig[:]), "a signature by the seed lets it be guessed")
			}
		}
	}
}
