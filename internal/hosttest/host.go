package hosttest

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Deadline bounds whatever a test waits for. It is generous because it is only
// ever reached by a failure, on a machine that runs many tests at once.
const Deadline = 60 * time.Second

// Loopback addresses to listen on; the system picks the ports.
const (
	QUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
	TCP  = "/ip4/127.0.0.1/tcp/0"
)

// New returns a host with a fresh Ed25519 key that listens on loopback, QUIC and
// TCP unless addresses are given, with libp2p's default resource limits. It is
// closed when the test ends.
func New(t testing.TB, listen ...string) host.Host {
	t.Helper()
	if len(listen) == 0 {
		listen = []string{QUIC, TCP}
	}
	h, err := libp2p.New(
		libp2p.ListenAddrStrings(listen...),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
	)
	if err != nil {
		t.Fatalf("new host: %v", err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// Connect dials b from a and waits until both sides have identified each other.
func Connect(t testing.TB, a, b host.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	if err := a.Connect(ctx, peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}); err != nil {
		t.Fatalf("connect: %v", err)
	}
	Wait(t, "both sides to be connected", func() bool {
		return b.Network().Connectedness(a.ID()) == network.Connected
	})
}

// Disconnect closes every connection between a and b and waits until both see it.
func Disconnect(t testing.TB, a, b host.Host) {
	t.Helper()
	_ = a.Network().ClosePeer(b.ID())
	Wait(t, "both sides to be disconnected", func() bool {
		return a.Network().Connectedness(b.ID()) != network.Connected &&
			b.Network().Connectedness(a.ID()) != network.Connected
	})
}

// Wait polls until cond holds and fails the test after [Deadline].
func Wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(Deadline); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}
