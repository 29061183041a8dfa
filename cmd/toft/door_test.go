package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/api/apitest"
)

// TestRealNodes tells the door's stories to two real nodes on loopback, as the
// command line opens them.
func TestRealNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("opens many stores")
	}
	apitest.Run(t, func(t *testing.T) (a, b api.API) {
		open := func(user, device string) api.API {
			n, err := openNode(t.Context(), config.Config{
				Dir: filepath.Join(t.TempDir(), user), User: user, Device: device,
				Network: config.LAN, Listen: []string{"/ip4/127.0.0.1/tcp/0"},
			}, nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, n.Close()) })
			return n
		}
		return open("ann", "laptop"), open("bob", "phone")
	})
}
