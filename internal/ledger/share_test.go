package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/team"
)

// Ann adds bob by his did:key and goes offline. Carol serves him the chain; the invite
// block gives him the key to start from.
func TestAddedByToken(t *testing.T) {
	ann, bob, carol, eve := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol"), newDevice(t, "eve")
	c, db := ann.found("fam")
	carols, carolDB := ann.join(c, carol)
	put(t, db, "a", "1")
	_, err := c.Rotate(t.Context())
	require.NoError(t, err)
	put(t, db, "b", "2")
	seat, share, err := c.AddMember(t.Context(), bob.Me(), team.RoleMember, "bob", []byte{4, 127, 0, 0, 1})
	require.NoError(t, err)
	u, err := ann.Stored(seat)
	require.NoError(t, err)
	require.Equal(t, share.ID, u.Links[len(u.Links)-1], "the chain names the invite block")
	_, _, err = c.AddMember(t.Context(), bob.Me(), team.RoleMember, "bob")
	require.Error(t, err, "twice")

	ann.tell(c, carol)
	require.Equal(t, []block.ID{share.ID}, carols.Wanted())
	n, err := carols.Fill(t.Context(), [][]byte{share.Data})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	give(t, db, carolDB)

	_, err = eve.OpenShare(share.Data)
	require.Error(t, err)
	_, err = bob.OpenShare(u.Data())
	require.Error(t, err)
	s, err := bob.OpenShare(share.Data)
	require.NoError(t, err)
	require.Equal(t, c.id, s.Team)
	require.Equal(t, ann.Me(), s.Inviter)
	require.Equal(t, [][]byte{{4, 127, 0, 0, 1}}, s.Addrs)

	links := carol.links(carols)
	genesis, err := block.Parse(links[0])
	require.NoError(t, err)
	other, _ := eve.found("other")
	wrong, err := block.Parse(eve.links(other)[0])
	require.NoError(t, err)
	_, err = bob.BeginShare(t.Context(), wrong, share.Data)
	require.ErrorIs(t, err, block.ErrOtherTeam)

	bobs, err := bob.BeginShare(t.Context(), genesis, share.Data)
	require.NoError(t, err)
	_, err = bobs.Receive(t.Context(), links)
	require.NoError(t, err)
	require.True(t, bobs.Seated())
	_, bobDB := bob.only()
	give(t, carolDB, bobDB)
	want := map[string]string{"a": "1", "b": "2"}
	require.Equal(t, want, docs(t, bobDB))
	require.True(t, bobs.Provisional())
	bob.restart()
	bobs, bobDB = bob.only()
	require.Equal(t, want, docs(t, bobDB))
	require.True(t, bobs.Provisional())
	ended, err := bobs.Agreed(t.Context(), carol.Me())
	require.NoError(t, err)
	require.True(t, ended)

	// Now known by its did:key alone, it publishes its own key.
	self, _ := bobs.State().Device(bob.Me())
	require.Equal(t, block.KEMX25519, self.BoxKey.KEM)
	bob.calm(bobs)
	self, _ = bobs.State().Device(bob.Me())
	require.Equal(t, bob.id.BoxKey(), self.BoxKey)
	bob.tell(bobs, ann)
	_, err = c.Rotate(t.Context())
	require.NoError(t, err)
	ann.tell(c, bob)
	put(t, db, "c", "3")
	give(t, db, bobDB)
	require.Equal(t, "3", docs(t, bobDB)["c"])
}

// Whoever serves a chain that lacks what the inviter had seen ends no provisional
// join.
func TestAShareNamesWhatMustBeShown(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, _ := ann.found("fam")
	_, share, err := c.AddMember(t.Context(), bob.Me(), team.RoleReader, "bob")
	require.NoError(t, err)
	links := ann.links(c)
	genesis, err := block.Parse(links[0])
	require.NoError(t, err)
	bobs, err := bob.BeginShare(t.Context(), genesis, share.Data)
	require.NoError(t, err)
	_, err = bobs.Receive(t.Context(), links[:len(links)-2])
	require.NoError(t, err)
	require.False(t, bobs.shown())
	_, err = bobs.Receive(t.Context(), links)
	require.NoError(t, err)
	require.True(t, bobs.shown())
	require.Equal(t, team.RoleReader, bobs.State().Role(bob.Me()))
	ended, err := bobs.Agreed(t.Context(), ann.Me())
	require.NoError(t, err)
	require.True(t, ended, "who added him is who meant to")
}

// Verify reads the disk again: a rotten byte is found and named.
func TestVerifyFindsARottenLink(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, _ := ann.found("fam")
	ann.join(c, bob)
	ann.remove(c, bob)
	r, err := c.Verify(t.Context())
	require.NoError(t, err)
	require.Empty(t, r.Bad)
	require.Equal(t, len(c.Log()), r.Links)
	require.Zero(t, r.Void)

	id := c.Heads()[0]
	u, err := ann.Stored(id)
	require.NoError(t, err)
	rotten := append([]byte(nil), u.Data()...)
	rotten[len(rotten)-70] ^= 1
	batch := ann.st.NewBatch()
	batch.Set(store.Block(id), rotten)
	require.NoError(t, ann.st.Commit(t.Context(), batch))
	r, err = c.Verify(t.Context())
	require.NoError(t, err)
	require.Len(t, r.Bad, 1)
	require.Equal(t, id, r.Bad[0].ID)
	require.Contains(t, r.Bad[0].Why, "hash to another name")
}
