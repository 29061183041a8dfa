package api

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A client talks to a daemon of its own user, or of root, and to nobody who put a socket
// in their place.
func TestWhoseDaemonIsTalkedTo(t *testing.T) {
	require.True(t, mayServe(1000, 1000))
	require.True(t, mayServe(0, 1000))
	require.True(t, mayServe(1000, 0))
	require.False(t, mayServe(1001, 1000))

	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer ln.Close()
	c, err := net.Dial("unix", ln.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	require.True(t, owned(c))
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	require.False(t, owned(a))
}
