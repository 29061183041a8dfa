package server_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/api/apitest"
	"github.com/toftdb/toft/node/api/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve puts an API behind a socket until the test ends.
func serve(t *testing.T, a api.API) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	ln, err := server.Listen(socket)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := server.New(server.Options{API: a, Heartbeat: 20 * time.Millisecond})
	go func() { done <- s.Serve(ctx, ln) }()
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			stopped = true
			require.NoError(t, <-done)
		}
	}
	t.Cleanup(stop)
	return socket, stop
}

func dial(t *testing.T, socket string) *api.Client {
	t.Helper()
	c, err := api.Dial(t.Context(), socket)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestTheWorldItself(t *testing.T) {
	apitest.Run(t, func(*testing.T) (a, b api.API) {
		w := apitest.NewWorld()
		return w.Node("ann", "laptop"), w.Node("bob", "phone")
	})
}

func TestThroughTheSocket(t *testing.T) {
	apitest.Run(t, func(t *testing.T) (a, b api.API) {
		w := apitest.NewWorld()
		sa, _ := serve(t, w.Node("ann", "laptop"))
		sb, _ := serve(t, w.Node("bob", "phone"))
		return dial(t, sa), dial(t, sb)
	})
}

func TestNobodyIsThere(t *testing.T) {
	_, err := api.Dial(t.Context(), filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, api.ErrNoDaemon)
	require.Equal(t, 10, api.ErrorOf(err).Code)
	require.Equal(t, "start it: toft daemon", api.ErrorOf(err).Hint)
}

func TestListenTakesOverAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	ln, err := server.Listen(path)
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	require.NoFileExists(t, path)
}
