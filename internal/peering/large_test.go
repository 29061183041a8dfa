package peering

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/replicate"
)

// What commits link, large values, may exceed what is kept of a window by far: in many
// commits that build on each other, and in one. It arrives all the same, and nothing of
// it twice.
func TestLinkedBlocksBeyondAWindow(t *testing.T) {
	t.Parallel()
	a, b, _, _, dbA, dbB := pair(t)
	hosttest.Disconnect(t, a.host, b.host)
	text := func(n int) crdt.Doc { return crdt.Doc{"text": strings.Repeat(fmt.Sprintf("%08d", n), 25<<10)} }
	const singly, together = 90, 180
	for n := range singly {
		put(t, dbA, fmt.Sprintf("single-%03d", n), text(n))
	}
	var bulk []crdt.Write
	for n := range together {
		bulk = append(bulk, crdt.Write{Verb: crdt.Put, ID: fmt.Sprintf("bulk-%03d", n), Body: text(singly + n)})
	}
	_, err := dbA.Write(t.Context(), bulk)
	require.NoError(t, err)
	_, err = dbA.Write(t.Context(), append(bulk, bulk...))
	require.ErrorIs(t, err, ledger.ErrBatch)
	require.Greater(t, together*200<<10, replicate.WindowBytes)

	hosttest.Connect(t, b.host, a.host)
	same(t, dbA, dbB)
	require.Equal(t, singly+together, count(dbB))
	require.Empty(t, b.log.take())
}
