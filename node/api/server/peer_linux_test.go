package server

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhoMayTalk(t *testing.T) {
	require.True(t, mayTalk(1000, 1000))
	require.True(t, mayTalk(0, 1000))
	require.False(t, mayTalk(1001, 1000))
	require.False(t, mayTalk(1001, 0))
}

func TestPeerIsAskedForItsUser(t *testing.T) {
	ln, err := Listen(filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer ln.Close()
	dial, err := net.Dial("unix", ln.Addr().String())
	require.NoError(t, err)
	defer dial.Close()
	c, err := ln.Accept()
	require.NoError(t, err)
	require.True(t, allowed(c))
	require.NoError(t, c.Close())

	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcp.Close()
	out, err := net.Dial("tcp", tcp.Addr().String())
	require.NoError(t, err)
	defer out.Close()
	require.False(t, allowed(out), "nobody can be asked at the other end of TCP")
}

func TestStrangersAreClosedWithoutAWord(t *testing.T) {
	inner, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	calls := 0
	ln := &ownListener{Listener: inner, allowed: func(net.Conn) bool { calls++; return calls > 1 }}
	defer ln.Close()
	stranger, err := net.Dial("unix", inner.Addr().String())
	require.NoError(t, err)
	defer stranger.Close()
	friend, err := net.Dial("unix", inner.Addr().String())
	require.NoError(t, err)
	defer friend.Close()
	c, err := ln.Accept()
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, stranger.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = stranger.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, net.ErrClosed)
}
