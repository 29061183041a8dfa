package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// Ann loses every device. With sixteen words and somebody who serves the chain she is
// back as who she was, reads everything, and removes what she lost.
func TestWordsBringAMemberBack(t *testing.T) {
	ann, bob, phone := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "new phone")
	c, db := ann.found("fam")
	bobs, bobDB := ann.join(c, bob)
	bob.confirmed(bobs)
	put(t, db, "a", "1")
	_, err := c.Rotate(t.Context())
	require.NoError(t, err)
	put(t, db, "b", "2")
	ann.exchange(c, bob)
	_, _, seed := ann.id.Recovery()
	words := seed.Words()
	ann.stop()

	seed, err = vault.ParseRecovery(words)
	require.NoError(t, err)
	mine, seat, err := phone.Recover(t.Context(), seed, bob.links(bobs))
	require.NoError(t, err)
	require.True(t, mine.Seated())
	self, _ := mine.State().Device(phone.Me())
	require.Equal(t, ann.id.Device(), self.Member)
	require.Equal(t, team.RoleAdmin, self.Role)
	require.Equal(t, self.Seat, seat.ID)

	n, err := bobs.Receive(t.Context(), [][]byte{seat.Data})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.True(t, bobs.State().Active(phone.Me()))
	_, phoneDB := phone.only()
	give(t, bobDB, phoneDB)
	require.Equal(t, map[string]string{"a": "1", "b": "2"}, docs(t, phoneDB))
	phone.restart()
	mine, phoneDB = phone.only()
	require.Equal(t, map[string]string{"a": "1", "b": "2"}, docs(t, phoneDB))

	_, err = mine.Remove(t.Context(), ann.id.Device(), RemoveOptions{Device: true})
	require.NoError(t, err)
	phone.exchange(mine, bob)
	require.False(t, bobs.State().Active(ann.id.Device()))
	put(t, phoneDB, "c", "3")
	give(t, phoneDB, bobDB)
	require.Equal(t, "3", docs(t, bobDB)["c"])
}

// Bob joined by an invitation: his words are not in the link that let him in. His
// device writes them down itself, as long as it has them.
func TestWordsOfAMemberWhoJoined(t *testing.T) {
	ann, bob, phone, eve := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "phone"), newDevice(t, "eve")
	c, db := ann.found("fam")
	bobs, _ := ann.join(c, bob)
	bob.confirmed(bobs)
	bob.calm(bobs)
	bob.tell(bobs, ann)
	_, err := c.Rotate(t.Context())
	require.NoError(t, err)
	put(t, db, "a", "1")
	_, _, seed := bob.id.Recovery()
	mine, seat, err := phone.Recover(t.Context(), seed, ann.links(c))
	require.NoError(t, err)
	self, _ := mine.State().Device(phone.Me())
	require.Equal(t, bob.Me(), self.Member)
	_, err = c.Receive(t.Context(), [][]byte{seat.Data})
	require.NoError(t, err)
	_, phoneDB := phone.only()
	give(t, db, phoneDB)
	require.Equal(t, map[string]string{"a": "1"}, docs(t, phoneDB))

	_, _, other := eve.id.Recovery()
	_, _, err = eve.Recover(t.Context(), other, ann.links(c))
	require.ErrorIs(t, err, ErrRecovery)
	require.Empty(t, eve.Chains())
	_, _, err = eve.Recover(t.Context(), other, ann.links(c)[1:])
	require.ErrorIs(t, err, block.ErrMalformed)
}
