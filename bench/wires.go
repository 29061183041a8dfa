package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	libp2pnet "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// network is some hosts on loopback, TCP only, and who may reach whom: nothing
// connects but what the scenario connects. Bytes are counted where they leave
// libp2p, both directions of both ends.
type network struct {
	hosts   []host.Host
	gates   []*gate
	proxies []*proxy // before each host; nil without delay
	count   *metrics.BandwidthCounter
}

// newNetwork makes n hosts; what is dialled to one takes rtt to come back.
func newNetwork(n int, rtt time.Duration) (*network, error) {
	w := &network{count: metrics.NewBandwidthCounter()}
	for range n {
		g := &gate{}
		g.open.Store(true)
		h, err := libp2p.New(
			libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.DisableMetrics(),
			libp2p.BandwidthReporter(w.count), libp2p.ConnectionGater(g), libp2p.ResourceManager(&libp2pnet.NullResourceManager{}),
		)
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		w.hosts, w.gates = append(w.hosts, h), append(w.gates, g)
		var p *proxy
		if rtt > 0 {
			if p, err = newProxy(h.Addrs()[0], rtt/2); err != nil {
				return nil, errors.Join(err, w.close())
			}
		}
		w.proxies = append(w.proxies, p)
	}
	return w, nil
}

func (w *network) close() error {
	var errs []error
	for _, h := range w.hosts {
		errs = append(errs, h.Close())
	}
	for _, p := range w.proxies {
		if p != nil {
			p.close()
		}
	}
	return errors.Join(errs...)
}

// addr is where host i is to be dialled.
func (w *network) addr(i int) multiaddr.Multiaddr {
	if w.proxies[i] != nil {
		return w.proxies[i].addr
	}
	return w.hosts[i].Addrs()[0]
}

// connect lets i dial j, through j's proxy if it has one.
func (w *network) connect(ctx context.Context, i, j int) error {
	w.gates[i].allow(w.hosts[j].ID(), w.addr(j))
	return w.hosts[i].Connect(ctx, peer.AddrInfo{ID: w.hosts[j].ID(), Addrs: []multiaddr.Multiaddr{w.addr(j)}})
}

// connectAll connects every pair.
func (w *network) connectAll(ctx context.Context) error {
	for i := range w.hosts {
		for j := range i {
			if err := w.connect(ctx, i, j); err != nil {
				return err
			}
		}
	}
	return nil
}

// cut ends every connection and allows no new one until connect.
func (w *network) cut() error {
	for _, g := range w.gates {
		g.open.Store(false)
		g.one.Store(nil)
	}
	for _, h := range w.hosts {
		for _, p := range h.Network().Peers() {
			if err := h.Network().ClosePeer(p); err != nil {
				return err
			}
		}
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		left := 0
		for _, h := range w.hosts {
			left += len(h.Network().Peers())
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d connections do not end", left)
		}
	}
}

// settled is how long libp2p's counter takes to count what was sent.
const settled = 2100 * time.Millisecond

// bytes is what has been sent so far, by all hosts, as far as it has been counted.
func (w *network) bytes(settle time.Duration) int64 {
	time.Sleep(settle)
	return w.count.GetBandwidthTotals().TotalOut
}

// protocols is what has been sent so far by protocol, without version and prefix.
func (w *network) protocols() map[string]int64 {
	sent := map[string]int64{}
	for p, s := range w.count.GetBandwidthByProtocol() {
		sent[string(p)] += s.TotalOut
	}
	return sent
}

// since subtracts what was sent before.
func since(now, before map[string]int64) map[string]int64 {
	for p, n := range before {
		if now[p] -= n; now[p] == 0 {
			delete(now, p)
		}
	}
	return now
}

// gate lets a host dial only what the scenario allows: systems that dial by
// themselves would begin before the clock does, or go around the proxy.
type gate struct {
	open atomic.Bool
	one  atomic.Pointer[map[peer.ID]multiaddr.Multiaddr]
}

// allow adds one address to those that may be dialled. One goroutine calls it.
func (g *gate) allow(p peer.ID, a multiaddr.Multiaddr) {
	next := map[peer.ID]multiaddr.Multiaddr{p: a}
	if old := g.one.Load(); old != nil {
		for q, b := range *old {
			if q != p {
				next[q] = b
			}
		}
	}
	g.one.Store(&next)
	g.open.Store(false)
}

func (g *gate) InterceptPeerDial(peer.ID) bool { return true }

func (g *gate) InterceptAddrDial(p peer.ID, a multiaddr.Multiaddr) bool {
	if g.open.Load() {
		return true
	}
	one := g.one.Load()
	if one == nil {
		return false
	}
	allowed, ok := (*one)[p]
	return ok && allowed.Equal(a)
}

func (g *gate) InterceptAccept(libp2pnet.ConnMultiaddrs) bool { return true }

func (g *gate) InterceptSecured(libp2pnet.Direction, peer.ID, libp2pnet.ConnMultiaddrs) bool {
	return true
}

func (g *gate) InterceptUpgraded(libp2pnet.Conn) (bool, control.DisconnectReason) { return true, 0 }
