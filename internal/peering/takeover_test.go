package peering

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

// Eve sends ann a code that is for a device. Whoever becomes a device of eve's follows her
// personal team: eve would come into every team that ann is in, as ann. So ann must have
// said that she means it; the code alone does not tell her.
func TestACodeForADeviceIsNotTakenUnawares(t *testing.T) {
	t.Parallel()
	ann, eve := newDevice(t, "ann"), newDevice(t, "eve")
	_, err := ann.ledger.Found(t.Context(), api.Personal, true)
	require.NoError(t, err)
	fam, _ := ann.found("fam")
	eves, err := eve.ledger.Found(t.Context(), api.Personal, true)
	require.NoError(t, err)
	code := eve.invite(eves, team.Invite{Kind: team.InviteDevice, MaxUses: 1, Expires: eve.ledger.Now() + hour})

	_, _, err = ann.Join(within(t), code, Joiner{Name: "ann"})
	require.ErrorIs(t, err, api.ErrUsage)
	require.Contains(t, api.ErrorOf(err).Hint, "--device")
	require.Nil(t, ann.ledger.Chain(eves.ID()))
	require.Equal(t, team.StatusOpen, eves.State().Invites()[0].Status, "nothing was proven, the code is as good as before")

	// This is what it would have meant.
	_, _, err = ann.Join(within(t), code, Joiner{Device: true})
	require.NoError(t, err)
	hosttest.Wait(t, "ann's device is eve's", func() bool { return ann.ledger.Chain(eves.ID()).Personal() })
	_, err = eves.Link(t.Context(), team.Name{Kind: team.NameTeam, Name: api.Personal}, nil)
	require.NoError(t, err)
	hosttest.Wait(t, "eve to be in fam", func() bool { return fam.State().Active(eve.id.Device()) })
}
