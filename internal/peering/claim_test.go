package peering

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

// A phone is let into ann's personal team, and finds itself in the team she shares with
// bob, data and all. When it is removed from the one, it is out of the other.
func TestAPhoneComesAndGoesWithThePersonalTeam(t *testing.T) {
	ann, bob, phone := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "phone")
	personal, err := ann.ledger.Found(t.Context(), api.Personal, true)
	require.NoError(t, err)
	_, err = phone.ledger.Found(t.Context(), api.Personal, true)
	require.NoError(t, err)
	fam, db := ann.found("fam")
	put(t, db, "a", nil)
	bobs, _ := bob.join(ann, fam)
	hosttest.Wait(t, "noted in the personal team", func() bool { return len(personal.State().Teams()) == 1 })

	inv, key := ann.open(personal, team.Invite{Kind: team.InviteDevice, MaxUses: 1})
	mine, _ := phone.use(ann, personal, inv, key)
	var phones *ledger.Chain
	hosttest.Wait(t, "the phone is in both", func() bool {
		phones = phone.ledger.Chain(fam.ID())
		return mine.Personal() && phones != nil && phones.Seated() && phone.ledger.Database(db.ID()) != nil
	})
	require.Len(t, phone.ledger.Chains(), 2)
	hosttest.Wait(t, "the data is there", func() bool { return phone.ledger.Database(db.ID()).Has(db.Heads().Heads[0]) })
	self, _ := phones.State().Device(phone.id.Device())
	require.Equal(t, ann.id.Device(), self.Member)
	hosttest.Wait(t, "bob knows", func() bool { return bobs.State().Active(phone.id.Device()) })

	_, err = personal.Remove(t.Context(), phone.id.Device(), ledger.RemoveOptions{Device: true})
	require.NoError(t, err)
	hosttest.Wait(t, "out everywhere", func() bool {
		return !fam.State().Active(phone.id.Device()) && !bobs.State().Active(phone.id.Device())
	})
}

// A member of a shared team is none of one's own devices; a word in another's name is
// answered by nothing.
func TestAClaimIsForOwnDevices(t *testing.T) {
	w := newTrio(t)
	_, err := w.ann.ledger.Found(t.Context(), api.Personal, true)
	require.NoError(t, err)
	st := w.bob.ledger.Claim(w.c.ID(), w.ann.id.Device())
	require.ErrorContains(t, w.bob.claim(w.ann.host.ID(), st), "not added")

	s, err := w.bob.Network.open(t.Context(), w.ann.host.ID(), message.DeviceProtocol)
	require.NoError(t, err)
	st = w.mallory.ledger.Claim(w.c.ID(), w.ann.id.Device())
	data, err := message.Claim{Team: st.Team, Member: st.Member, Device: st.Device, BoxKey: st.BoxKey, Statement: st.Signature}.Encode()
	require.NoError(t, err)
	require.NoError(t, message.Write(s, data))
	_, err = message.Read(s, message.MaxJoinFrame)
	require.Error(t, err)
	for _, e := range w.c.Log() { // other links come by themselves: words on paper
		added, ok := e.Content.(team.AddDevice)
		require.False(t, ok && e.By == w.ann.id.Device() && added.Device == st.Device, "ann vouched for mallory")
	}
}

// A database moves to a team with somebody who never was in the old one: its past
// comes to her over the wire, and no block of the old team's other database does.
func TestAMovedDatabaseIsServed(t *testing.T) {
	ann, carol := newDevice(t, "ann"), newDevice(t, "carol")
	from, db := ann.found("old")
	other := ann.database(from, "other")
	private := put(t, other, "private", nil)
	for i := range 20 {
		put(t, db, fmt.Sprint(i), crdt.Doc{"text": strings.Repeat("x", 20<<10)})
	}
	to, err := ann.ledger.Found(t.Context(), "new", false)
	require.NoError(t, err)
	carol.join(ann, to)
	require.NoError(t, ann.ledger.Move(t.Context(), db.ID(), to.ID()))
	db = ann.ledger.Database(db.ID())
	hosttest.Wait(t, "all of it", func() bool {
		hers := carol.ledger.Database(db.ID())
		return hers != nil && hers.Heads().Digest == db.Heads().Digest
	})
	put(t, carol.ledger.Database(db.ID()), "hers", nil)
	hosttest.Wait(t, "back", func() bool {
		return carol.ledger.Database(db.ID()).Heads().Digest == db.Heads().Digest
	})
	require.False(t, ann.serves(carol.host.ID(), private))
}
