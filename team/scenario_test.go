package team

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// T109, T107, T108, C64: the four duels and what hangs on them.
func TestDuels(t *testing.T) {
	w := newWorld(t, "a").draw(`
		G -> +b -> a-b
		     | -> b-a
	`, steps{
		"+b":  by("a", add("b", RoleAdmin)),
		"a-b": by("a", remove("b")),
		"b-a": by("b", remove("a")),
	})
	w.taken("+b", "a-b", "b-a")
	require.Equal(t, "a:admin", w.team(), "T109: the founder stays")
	require.Equal(t, "G +b a-b", w.counting())
}
