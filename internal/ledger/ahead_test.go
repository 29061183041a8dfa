package ledger

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
)

// A commit whose signature is broken is refused in its turn, with what builds on it;
// what stands before it counts. The same one by one and all at once.
func TestABrokenSignatureAmongMany(t *testing.T) {
	const broken = 6
	_, _, anns, bobs := pair(t, 10)
	all := commits(t, anns)
	bad := slices.Clone(all)
	bad[broken].Data = slices.Clone(bad[broken].Data)
	bad[broken].Data[len(bad[broken].Data)-1] ^= 1

	out, err := bobs.Commit(t.Context(), bad)
	require.NoError(t, err)
	require.Equal(t, broken, out.Applied)
	require.ErrorIs(t, out.Rejected, block.ErrSignature)
	require.Len(t, out.Missing, len(all)-broken-1, "each after it lacks its parent")

	for _, c := range bad[broken : broken+1] {
		out, err = bobs.Commit(t.Context(), []Candidate{c})
		require.NoError(t, err)
		require.ErrorIs(t, out.Rejected, block.ErrSignature)
	}
	out, err = bobs.Commit(t.Context(), all)
	require.NoError(t, err)
	require.Equal(t, len(all)-broken, out.Applied)
	require.Equal(t, anns.Heads(), bobs.Heads())
}
