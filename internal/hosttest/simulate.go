package hosttest

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"
)

// Simulate returns n hosts that speak real QUIC over a simulated network with
// this round-trip time and this bandwidth, in bits per second, each way. It must
// be called inside a [testing/synctest] bubble, whose clock it runs on: a minute
// takes no time at all. Everything ends with the bubble.
func Simulate(t *testing.T, n int, rtt time.Duration, bandwidth int) []host.Host {
	t.Helper()
	net := &simnet.Simnet{LatencyFunc: simnet.StaticLatency(rtt / 2)}
	link := simnet.NodeBiDiLinkSettings{
		Downlink: simnet.LinkSettings{BitsPerSecond: bandwidth},
		Uplink:   simnet.LinkSettings{BitsPerSecond: bandwidth},
	}
	hosts := make([]host.Host, n)
	for i := range hosts {
		hosts[i] = simlibp2p.MustNewHost(t,
			libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/1.0.%d.%d/udp/8000/quic-v1", i/250, 1+i%250)),
			libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.DisableIdentifyAddressDiscovery(),
			simlibp2p.QUICSimnet(net, link),
		)
	}
	net.Start()
	t.Cleanup(net.Close)
	for _, h := range hosts {
		t.Cleanup(func() { _ = h.Close() })
	}
	return hosts
}
