package team_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/team"
)

func TestSeedsReadTheSameHoweverTyped(t *testing.T) {
	for _, typed := range []string{"little pony 7", "Little-Pony_7", " LITTLE\tPONY\n７ ", "l i t t l e p o n y 7"} {
		clean, err := team.CleanSeed(typed)
		require.NoError(t, err)
		require.Equal(t, "littlepony7", clean)
	}
	composed, err := team.CleanSeed("Käse")
	require.NoError(t, err)
	apart, err := team.CleanSeed("KA\u0308SE")
	require.NoError(t, err)
	require.Equal(t, composed, apart)
	for _, nothing := range []string{"", " - ", "🐴🐴", strings.Repeat("x", 1025)} {
		_, err := team.CleanSeed(nothing)
		require.ErrorIs(t, err, team.ErrSeed)
	}
	rapid.Check(t, func(t *rapid.T) {
		clean, err := team.CleanSeed(rapid.String().Draw(t, "typed"))
		if err != nil {
			return
		}
		again, err := team.CleanSeed(clean)
		if err != nil || again != clean {
			t.Fatalf("%q is cleaned to %q, %v", clean, again, err)
		}
	})
}

func TestSeedStrength(t *testing.T) {
	weak := []string{
		"hunter2", "password123", "123456789012345678901234567890123456789", strings.Repeat("a", 200),
		strings.Repeat("ab", 100), strings.Repeat("horse", 40), "abcdefghijklmnopqrstuvwxyz0123456789",
		"correcthorsebatterystaple", "0000000000000000000000000000000000000000", "tobeornottobethatisthequestion",
	}
	for _, s := range weak {
		require.Less(t, team.SeedStrength(s), float64(team.SeedBits), s)
	}
	strong := []string{
		"k7q2m9x4t3w8b5n6r1z0h8j2v4c7d9f3p6g5", "9f86d081884c7d659a2feaa0c55ad015",
		"vertigosnapshotbacktraceunifiedcobaltmarathonpelican",
	}
	for _, s := range strong {
		require.GreaterOrEqual(t, team.SeedStrength(s), float64(team.SeedBits), s)
	}
}

func TestWeakSeedsHaveRules(t *testing.T) {
	const now, hour = wire.Time(1_000_000), wire.Time(3_600_000)
	ok := team.Invite{MaxUses: 1, Expires: now + 24*hour}
	require.NoError(t, team.CheckSeed("pony", ok, false, true, now))
	require.NoError(t, team.CheckSeed("k7q2m9x4t3w8b5n6r1z0h8j2v4c7d9f3p6g5", team.Invite{}, false, false, now))
	for why, err := range map[string]error{
		"flag":    team.CheckSeed("pony", ok, false, false, now),
		"uses":    team.CheckSeed("pony", team.Invite{MaxUses: 2, Expires: now + hour}, false, true, now),
		"any":     team.CheckSeed("pony", team.Invite{Expires: now + hour}, false, true, now),
		"long":    team.CheckSeed("pony", team.Invite{MaxUses: 1, Expires: now + 24*hour + 1}, false, true, now),
		"forever": team.CheckSeed("pony", team.Invite{MaxUses: 1}, false, true, now),
		"short":   team.CheckSeed("k7q2m9x4t3w8b5n6r1z0h8j2v4c7d9f3p6g5", ok, true, true, now),
	} {
		require.ErrorIs(t, err, team.ErrSeed, why)
		require.NotContains(t, err.Error(), "pony")
	}
}
