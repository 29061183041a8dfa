package ledger

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/team"
)

// Links that wait for parents nobody has are not verified and may be as large as any:
// what is kept of them is bounded in bytes too. Honest links come in as before.
func TestWaitingLinksAreBoundedInBytes(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, _ := ann.found("fam")
	bobs, _ := ann.join(c, bob)
	forge := func(n int) []byte {
		var parent block.ID
		binary.BigEndian.PutUint64(parent[:], uint64(n))
		h := block.Header{
			Kind: block.KindLink, Team: c.id, Generation: block.Generation(c.id), Parents: 1, Links: []block.ID{parent},
			Author: bob.Me(), Seat: block.ID{1},
		}
		b, err := block.New(h, make([]byte, 60<<10), &block.Signature{1})
		require.NoError(t, err)
		return b.Data
	}
	dropped := 0
	for n := range 2 * maxParkedBytes / (60 << 10) {
		_, err := c.Receive(t.Context(), [][]byte{forge(n + 1)})
		if err != nil {
			dropped++
		}
		require.LessOrEqual(t, c.parkedBytes(), maxParkedBytes)
	}
	require.NotZero(t, dropped)
	me := bob.Me()
	id, err := bobs.Link(t.Context(), team.Name{Kind: team.NameMember, Subject: me[:], Name: "robert"}, nil)
	require.NoError(t, err)
	bob.tell(bobs, ann)
	require.True(t, c.Has(id))
}

// A member may name blocks that do not exist, as many as he likes and with names that
// sort before all others: those that somebody else's link names are asked for all the
// same, among the first.
func TestWantedBlocksAreAskedForInTurns(t *testing.T) {
	ann := newDevice(t, "ann")
	c, _ := ann.found("fam")
	link := func(by byte) *block.Block { return &block.Block{Header: block.Header{Author: block.Device{by}}} }
	mallory, honest := link(1), link(2)
	for i := range 5000 {
		var id block.ID
		binary.BigEndian.PutUint64(id[8:], uint64(i+1))
		c.wanted[id] = mallory
	}
	need := block.ID{0xff}
	c.wanted[need] = honest
	want := c.Wanted()
	require.Len(t, want, 5001)
	require.Less(t, slices.Index(want, need), 2)
	slices.SortFunc(want, func(a, b block.ID) int { return slices.Compare(a[:], b[:]) })
	require.Len(t, slices.Compact(want), 5001)
}
