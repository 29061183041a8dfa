package ledger

import (
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// crowd adds devices by their did:keys until the team has n; all with hybrid keys, as
// after they published them.
func (d *device) crowd(b *testing.B, c *Chain, n int) (last block.Device) {
	b.Helper()
	for len(c.State().Devices()) < n {
		id, err := vault.NewIdentity(rand.Reader)
		require.NoError(b, err)
		last = id.Device()
		_, err = c.Link(b.Context(), team.AddMember{Device: last, Role: team.RoleMember, BoxKey: id.BoxKey()}, nil)
		require.NoError(b, err)
	}
	return last
}

// A removal in a team of 500 devices: 500 lockboxes, ten linked blocks, one link.
// The budget is 150 ms.
func BenchmarkRemoval(b *testing.B) {
	for _, n := range []int{50, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := newDevice(b, "ann")
			c, err := d.Found(b.Context(), "fam", false)
			require.NoError(b, err)
			d.crowd(b, c, n-1)
			for b.Loop() {
				b.StopTimer()
				last := d.crowd(b, c, n)
				b.StartTimer()
				_, err := c.Remove(b.Context(), last, RemoveOptions{})
				require.NoError(b, err)
			}
		})
	}
}

// Opening a team of many links.
func BenchmarkOpenChain(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := newDevice(b, "ann")
			c, err := d.Found(b.Context(), "fam", false)
			require.NoError(b, err)
			me := d.Me()
			for i := range n {
				_, err := c.Link(b.Context(), team.Name{Kind: team.NameMember, Subject: me[:], Name: fmt.Sprint("ann ", i)}, nil)
				require.NoError(b, err)
			}
			for b.Loop() {
				_, err := d.openChain(c.id)
				require.NoError(b, err)
			}
		})
	}
}
