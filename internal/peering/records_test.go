package peering

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	"github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/internal/hosttest"
)

// Bob and carol have each met ann only. By what she hands on they find each other, and
// go on when she is gone.
func TestMembersFindEachOtherByWhatTheySigned(t *testing.T) {
	t.Parallel()
	a, b, c := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol")
	fam, db := a.found("fam")
	_, dbB := b.join(a, fam)
	onC, dbC := c.join(a, fam)
	hosttest.Wait(t, "bob and carol to be connected", func() bool {
		return b.host.Network().Connectedness(c.host.ID()) == network.Connected
	})
	confirmed(t, onC)
	same(t, db, dbB, dbC)
	require.NoError(t, a.Network.Close())
	require.NoError(t, a.host.Close())
	put(t, dbB, "without ann", nil)
	same(t, dbB, dbC)
	put(t, dbC, "and back", nil)
	same(t, dbB, dbC)
}

// What is kept of a peer is what it signed itself, the newest, and only of members.
func TestRecordsAreJudged(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	eve := hosttest.New(t, hosttest.TCP)
	fam, _ := a.found("fam")
	b.join(a, fam)
	b.deaf()
	hosttest.Disconnect(t, a.host, b.host)

	signed := func(by peer.ID, about peer.ID, seq uint64, addr string) []byte {
		key := b.host.Peerstore().PrivKey(by)
		if by == eve.ID() {
			key = eve.Peerstore().PrivKey(by)
		}
		at, err := multiaddr.NewMultiaddr(addr)
		require.NoError(t, err)
		env, err := record.Seal(&peer.PeerRecord{PeerID: about, Seq: seq, Addrs: []multiaddr.Multiaddr{at}}, key)
		require.NoError(t, err)
		data, err := env.Marshal()
		require.NoError(t, err)
		return data
	}
	bob, first := b.host.ID(), uint64(1)<<62
	says := func(data []byte) []string {
		a.meet(fam, [][]byte{data})
		addrs, err := a.KeptAddrs(bob)
		require.NoError(t, err)
		var out []string
		for _, x := range addrs {
			out = append(out, x.String())
		}
		return out
	}
	const one, two, three = "/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1", "/ip4/192.0.2.3/tcp/1"
	good := signed(bob, bob, first, one)
	require.Contains(t, says(good), one)
	require.NotContains(t, says(signed(bob, bob, first-1, two)), two, "an older one")
	require.NotContains(t, says(signed(eve.ID(), bob, first+1, two)), two, "signed by eve")
	bent := append([]byte{}, signed(bob, bob, first+2, two)...)
	bent[len(bent)-1] ^= 1
	require.NotContains(t, says(bent), two)
	require.NotContains(t, says(make([]byte, 5000)), two)
	got := says(signed(bob, bob, first+3, three))
	require.Contains(t, got, three)
	require.NotContains(t, got, one, "replaced")

	a.meet(fam, [][]byte{signed(eve.ID(), eve.ID(), 1, one)})
	addrs, err := a.KeptAddrs(eve.ID())
	require.NoError(t, err)
	require.Empty(t, addrs, "eve is no member")
}
