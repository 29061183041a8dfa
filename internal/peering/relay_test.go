package peering

import (
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/internal/hosttest"
)

// relayedHost can be reached by relays.
func relayedHost(t testing.TB) host.Host {
	h, err := libp2p.New(libp2p.ListenAddrStrings(hosttest.TCP), libp2p.EnableRelay(), libp2p.DisableMetrics())
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// Two devices that reach each other by a relay only, of the kind that closes every
// connection after 128 KiB, come to the same state: announcements do not pass there, so
// who wrote is asked, and what was cut off goes on over the next connection.
func TestSyncOverARelay(t *testing.T) {
	t.Parallel()
	middle := relayedHost(t)
	r, err := relay.New(middle, relay.WithResources(relay.DefaultResources()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })

	a, b := newDeviceOn(t, "ann", relayedHost(t)), newDeviceOn(t, "bob", relayedHost(t))
	c, dbA := a.found("fam")
	_, dbB := b.join(a, c)
	apart(t, a, b)
	puts(t, dbA, "ann", 600)
	puts(t, dbB, "bob", 20)

	hosttest.Connect(t, a.host, middle)
	_, err = client.Reserve(t.Context(), a.host, peer.AddrInfo{ID: middle.ID(), Addrs: middle.Addrs()})
	require.NoError(t, err)
	at, err := multiaddr.NewMultiaddr(middle.Addrs()[0].String() + "/p2p/" + middle.ID().String() + "/p2p-circuit")
	require.NoError(t, err)
	var reached int
	hosttest.Wait(t, "equal databases over the relay", func() bool {
		if b.host.Network().Connectedness(a.host.ID()) == network.NotConnected {
			reached++
			_ = b.host.Connect(within(t), peer.AddrInfo{ID: a.host.ID(), Addrs: []multiaddr.Multiaddr{at}})
		}
		return tip(dbA.Heads()) == tip(dbB.Heads())
	})
	require.Equal(t, network.Limited, b.host.Network().Connectedness(a.host.ID()), "no direct connection")
	require.Equal(t, 620, count(dbB))
	t.Logf("over %d connections", reached)
}
