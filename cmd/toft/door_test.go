package main

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/api/apitest"
	"github.com/toftdb/toft/node/api/server"
)

// TestRealNodes tells the door's stories to two real nodes on loopback, as the
// command line opens them: in this process, and through their sockets.
func TestRealNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("opens many stores")
	}
	for name, door := range map[string]func(*testing.T, localNode) api.API{
		"in process":         func(_ *testing.T, n localNode) api.API { return n },
		"through the socket": throughSocket,
	} {
		t.Run(name, func(t *testing.T) {
			apitest.Run(t, func(t *testing.T) (a, b api.API) {
				return door(t, realNode(t, "ann", "laptop")), door(t, realNode(t, "bob", "phone"))
			})
		})
	}
}

func realNode(t *testing.T, user, device string) localNode {
	n, err := openNode(t.Context(), config.Config{
		Dir: filepath.Join(t.TempDir(), user), User: user, Device: device,
		Network: config.LAN, Listen: []string{"/ip4/127.0.0.1/tcp/0"},
	}, nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

// throughSocket serves a node as the daemon does and returns a client of it.
func throughSocket(t *testing.T, n localNode) api.API {
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := server.Listen(socket)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.New(server.Options{API: n}).Serve(ctx, ln) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	c, err := api.Dial(t.Context(), socket)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}
