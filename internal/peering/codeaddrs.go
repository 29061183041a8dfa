package peering

import (
	"slices"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/toftdb/toft/team"
)

// CodeAddrs chooses, of the addresses of a host, those that an invitation carries,
// packed: public before private before loopback, and of those the first of each
// transport, TCP first.
func CodeAddrs(all []multiaddr.Multiaddr) [][]byte {
	rank := func(a multiaddr.Multiaddr) int {
		r := 0
		if _, err := a.ValueForProtocol(multiaddr.P_TCP); err != nil {
			r++
		}
		if _, err := a.ValueForProtocol(multiaddr.P_IP4); err != nil {
			r += 2
		}
		switch {
		case manet.IsPublicAddr(a):
		case manet.IsIPLoopback(a):
			r += 8
		default:
			r += 4
		}
		return r
	}
	addrs := slices.Clone(all)
	slices.SortStableFunc(addrs, func(a, b multiaddr.Multiaddr) int { return rank(a) - rank(b) })
	var out [][]byte
	for _, a := range addrs[:min(len(addrs), team.MaxCodeAddrs)] {
		out = append(out, a.Bytes())
	}
	return out
}
