package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p"
	libp2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"

	"github.com/toftdb/toft/internal/peering"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/internal/wire"
)

// connsPerAddress replaces libp2p's default of 8 connections per IPv4 address: an
// office behind one NAT must not lock itself out.
const connsPerAddress = 128

// newHost constructs a libp2p host of Toft: QUIC and TCP with TLS 1.3, keyed by the
// device key, so that the PeerID is the device. The gate refuses strangers at the
// handshake. There is one, and for a moment a second while recovery words act.
func (n *Node) newHost(id *vault.Identity, gate *peering.Gate, listen []string) (host.Host, error) {
	key, err := libp2pcrypto.UnmarshalEd25519PrivateKey(id.PrivateKey())
	if err != nil {
		return nil, fmt.Errorf("device key: %w", err)
	}
	limit := func(bits int) []rcmgr.ConnLimitPerSubnet {
		return []rcmgr.ConnLimitPerSubnet{{PrefixLength: bits, ConnCount: connsPerAddress}}
	}
	resources, err := rcmgr.NewResourceManager(
		rcmgr.NewFixedLimiter(rcmgr.DefaultLimits.AutoScale()),
		rcmgr.WithMetricsDisabled(), rcmgr.WithLimitPerSubnet(limit(32), limit(56)))
	if err != nil {
		return nil, fmt.Errorf("resource manager: %w", err)
	}
	h, err := libp2p.New(
		libp2p.Identity(key),
		libp2p.ListenAddrStrings(listen...),
		libp2p.Transport(quic.NewTransport),
		// Two processes that share a port would get each other's connections.
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.ConnectionGater(gate),
		libp2p.ResourceManager(resources),
		libp2p.UserAgent("toft"),
		libp2p.DisableMetrics(),
		libp2p.BandwidthReporter(n.traffic),
		libp2p.DisableRelay(),
	)
	if err != nil {
		_ = resources.Close() // the host would have; it never came to be
		return nil, fmt.Errorf("start libp2p host: %w", err)
	}
	return h, nil
}

// listen starts the host on the configured addresses. Where one asks for any port,
// the port drawn last time is tried first, so that peers who know this device find
// it again after a restart; if it is taken, a new one is drawn.
func (n *Node) listen(ctx context.Context) (host.Host, error) {
	for _, a := range n.cfg.Listen {
		if _, err := multiaddr.NewMultiaddr(a); err != nil {
			return nil, fmt.Errorf("listen address %q: %w", a, err)
		}
	}
	if kept := n.keptPorts(); len(kept) > 0 {
		h, err := n.newHost(n.id, n.gate, kept)
		if err == nil && len(h.Network().ListenAddresses()) >= len(kept) {
			return h, nil
		}
		if err == nil {
			_ = h.Close() // one of the ports is taken
		}
	}
	h, err := n.newHost(n.id, n.gate, n.cfg.Listen)
	if err != nil {
		return nil, err
	}
	return h, n.keepPorts(ctx, h.Network().ListenAddresses())
}

// ports is what is remembered of listening: what was asked for, and the same with
// the ports that were drawn.
type ports struct {
	Asked []string `cbor:"1,keyasint,omitempty"`
	Drawn []string `cbor:"2,keyasint,omitempty"`
}

// maxPorts bounds the record: 16 addresses twice, with room.
const maxPorts = 16 << 10

func (n *Node) keptPorts() []string {
	data, err := n.store.Get(store.Meta("listen"))
	if err != nil {
		return nil
	}
	p, err := wire.Decode[ports](data, maxPorts)
	if err != nil || !slices.Equal(p.Asked, n.cfg.Listen) {
		return nil
	}
	return p.Drawn
}

func (n *Node) keepPorts(ctx context.Context, got []multiaddr.Multiaddr) error {
	p := ports{Asked: n.cfg.Listen}
	for _, want := range n.cfg.Listen {
		p.Drawn = append(p.Drawn, withPort(want, got))
	}
	batch := n.store.NewBatch()
	batch.Set(store.Meta("listen"), wire.Must(p))
	return n.store.Commit(ctx, batch)
}

// withPort replaces port 0 in an address by the port of the listener that came of
// it: the first with the same address and transport.
func withPort(want string, got []multiaddr.Multiaddr) string {
	for _, any := range []string{"/tcp/0", "/udp/0"} {
		before, after, ok := strings.Cut(want, any)
		if !ok {
			continue
		}
		for _, g := range got {
			if s := g.String(); strings.HasPrefix(s, before+any[:5]) && strings.HasSuffix(s, after) {
				return s
			}
		}
	}
	return want
}

// hostKey reads the private key of a borrowed host.
func hostKey(h host.Host) (ed25519.PrivateKey, error) {
	priv := h.Peerstore().PrivKey(h.ID())
	if priv == nil {
		return nil, fmt.Errorf("borrowed host %s: its key is not in its peerstore", h.ID())
	}
	key, err := libp2pcrypto.PrivKeyToStdKey(priv)
	if err != nil {
		return nil, fmt.Errorf("borrowed host %s: %w", h.ID(), err)
	}
	if std, ok := key.(*ed25519.PrivateKey); ok {
		return *std, nil
	}
	return nil, fmt.Errorf("borrowed host %s has no Ed25519 key, which a device needs", h.ID())
}

// sameKey reports whether a borrowed host has the key this directory was made with:
// Toft signs with it, so that a connection proves the device.
func sameKey(h host.Host, id *vault.Identity) error {
	if h.ID().String() != id.Device().String() {
		return fmt.Errorf("borrowed host is %s, this directory belongs to %s: open Toft with that host", h.ID(), id.Device())
	}
	return nil
}

// placeOf names this machine and the directory of the store, by device and inode:
// a copy of the directory has another name.
func placeOf(dir string) (string, error) {
	machine, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		machine = nil // no such file on this system: the directory must do
	}
	inode, err := inodeOf(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a store in memory has no directory
		return "", err
	}
	return fmt.Sprintf("%s|%s", strings.TrimSpace(string(machine)), inode), nil
}
