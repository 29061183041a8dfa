package vault

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
)

// The pair of one database opens that database in that generation of that team, and
// nothing beside it.
func TestABaseKeyOpensOneDatabase(t *testing.T) {
	mine, err := NewIdentity(rand.Reader)
	require.NoError(t, err)
	theirs, err := NewIdentity(rand.Reader)
	require.NoError(t, err)
	ring, other := NewKeyring(mine), NewKeyring(theirs)
	secret, err := NewSecret(rand.Reader)
	require.NoError(t, err)
	team, gen := block.TeamID{1}, block.Generation{2}
	require.NoError(t, ring.Add(team, gen, secret))
	h := block.Header{Kind: block.KindValue, Team: team, DB: block.DBID{3}, Generation: gen}
	body, err := ring.Seal(Data, h, []byte("moved"))
	require.NoError(t, err)
	_, err = other.Open(Data, h, body)
	require.ErrorIs(t, err, ErrNoKey)
	mac, enc, err := ring.BaseKey(team, gen, h.DB)
	require.NoError(t, err)
	other.AddBase(team, gen, h.DB, mac, enc)
	plain, err := other.Open(Data, h, body)
	require.NoError(t, err)
	require.Equal(t, "moved", string(plain))
	require.False(t, other.Has(team, gen) || other.HasRoute(team, gen))
	again, _, err := other.BaseKey(team, gen, h.DB)
	require.NoError(t, err)
	require.True(t, again.Equal(mac))
	for name, elsewhere := range map[string]block.Header{
		"another database":   {Kind: block.KindValue, Team: team, DB: block.DBID{4}, Generation: gen},
		"another generation": {Kind: block.KindValue, Team: team, DB: h.DB, Generation: block.Generation{5}},
		"another team":       {Kind: block.KindValue, Team: block.TeamID{6}, DB: h.DB, Generation: gen},
	} {
		_, err := other.Open(Data, elsewhere, body)
		require.ErrorIs(t, err, ErrNoKey, name)
	}
	_, err = other.Open(Roster, block.Header{Kind: block.KindLink, Team: team, Generation: gen, Parents: 1, Links: []block.ID{{1}}}, body)
	require.ErrorIs(t, err, ErrNoKey)
}
