package peering

import (
	"fmt"
	"testing"
	"time"

	"github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/store"
)

// The address book holds members only, and of each a few addresses, whatever it
// claims.
func TestAddressBookIsBounded(t *testing.T) {
	t.Parallel()
	a, b, _, _, _, _ := pair(t)
	hosttest.Wait(t, "bob in the book", func() bool { kept, _ := a.KeptAddrs(b.host.ID()); return len(kept) > 0 })
	kept, err := a.KeptAddrs(b.host.ID())
	require.NoError(t, err)
	require.Contains(t, kept, b.host.Addrs()[0])
	for i := range 500 {
		m, err := multiaddr.NewMultiaddr(fmt.Sprintf("/ip4/127.1.%d.%d/tcp/4001", i/250, i%250))
		require.NoError(t, err)
		a.host.Peerstore().AddAddr(b.host.ID(), m, time.Hour)
	}
	a.met(b.host.ID())
	kept, err = a.KeptAddrs(b.host.ID())
	require.NoError(t, err)
	// As many as were seen, and those of the record that he signed.
	require.GreaterOrEqual(t, len(kept), maxAddrs)
	require.LessOrEqual(t, len(kept), 2*maxAddrs)
	if len(a.certified(b.host.ID())) > 0 { // else it has not come yet
		require.Contains(t, kept, b.host.Addrs()[0], "what he signed is not crowded out")
	}

	stranger := hosttest.New(t, hosttest.TCP)
	hosttest.Connect(t, stranger, a.host)
	a.met(stranger.ID())
	kept, err = a.KeptAddrs(stranger.ID())
	require.NoError(t, err)
	require.Empty(t, kept)

	batch := a.store.NewBatch()
	batch.Set(store.Peer([]byte(b.host.ID())), []byte("rotten"))
	require.NoError(t, a.store.Commit(t.Context(), batch))
	_, err = a.KeptAddrs(b.host.ID())
	require.Error(t, err, "said, not guessed")
}
