package peering_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/node"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

func open(t testing.TB, cfg node.Config) *node.Node {
	t.Helper()
	n, err := node.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

func address(t testing.TB, a api.API) string {
	t.Helper()
	st, err := a.Status(t.Context())
	require.NoError(t, err)
	require.Len(t, st.Network.Addrs, 1)
	return st.Network.Addrs[0]
}

// Two nodes that were both off find each other again by the addresses they kept, on
// the ports that they drew the first time, though the system was asked for any.
func TestDevicesMeetAgainAfterRestart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*hosttest.Deadline)
	defer cancel()
	cfgs := []node.Config{nodetest.Config(t), nodetest.Config(t)}
	a, b := open(t, cfgs[0]), open(t, cfgs[1])
	_, err := a.CreateTeam(ctx, nodetest.Team)
	require.NoError(t, err)
	nodetest.DB(t, a, "notes")
	nodetest.Join(t, b, nodetest.Invite(t, a, nodetest.Team), "")
	before := []string{address(t, a), address(t, b)}
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())

	a, b = open(t, cfgs[0]), open(t, cfgs[1])
	require.Equal(t, before, []string{address(t, a), address(t, b)}, "the same ports")
	onA, err := a.DB(ctx, "notes")
	require.NoError(t, err)
	_, err = onA.Put(ctx, api.Doc{"_id": "after the night"})
	require.NoError(t, err)
	nodetest.Equal(ctx, t, "notes", a, b)
}

// A port that somebody else has taken meanwhile is no reason not to start.
func TestTakenPortIsDrawnAgain(t *testing.T) {
	cfg := nodetest.Config(t)
	a := open(t, cfg)
	before := address(t, a)
	require.NoError(t, a.Close())
	info, err := peer.AddrInfoFromString(before)
	require.NoError(t, err)
	port, err := info.Addrs[0].ValueForProtocol(multiaddr.P_TCP)
	require.NoError(t, err)
	l, err := net.Listen("tcp4", "127.0.0.1:"+port)
	require.NoError(t, err)
	defer l.Close()
	after := address(t, open(t, cfg))
	require.NotEqual(t, before, after)
	require.NotContains(t, after, fmt.Sprintf("/tcp/%s/", port))
}
