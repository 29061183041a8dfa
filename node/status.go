package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"iter"
	"net"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/peering"
	"github.com/toftdb/toft/internal/words"
	"github.com/toftdb/toft/node/api"
)

// Version of Toft.
const Version = "0.1.0"

// Identity reports who this device is.
func (n *Node) Identity(context.Context) (api.Identity, error) {
	d := n.id.Device()
	return api.Identity{
		User: n.cfg.User, Device: n.cfg.Device, PeerID: d.String(), DID: d.DID(), Words: words.Fingerprint(d),
	}, nil
}

// Status reports the node, its teams and databases, and every warning.
func (n *Node) Status(ctx context.Context) (api.Status, error) {
	s := api.Status{Version: Version, UptimeSeconds: int64(n.clock().Sub(n.started) / time.Second), Warnings: []api.Check{}}
	var err error
	if s.Device, err = n.Identity(ctx); err != nil {
		return s, err
	}
	s.Network = n.netRow()
	for t := range n.Teams(ctx) {
		s.Teams = append(s.Teams, t)
	}
	for _, c := range n.ledger.Chains() {
		s.Warnings = append(s.Warnings, peering.Standing(n.ledger, n.live.Load(), c)...)
		for _, d := range c.Databases() {
			s.DBs = append(s.DBs, n.dbState(d))
			s.Warnings = append(append(s.Warnings, peering.Health(d, dbName(d), fixDamage)...), n.doubts(d)...)
		}
	}
	if err := n.store.Writable(); err != nil {
		s.Warnings = append(s.Warnings, api.Check{
			ID: "store_read_only", Severity: api.Alarm, Title: "the disk refuses writes", Detail: err.Error(), Fix: "free some space: the next write tries again by itself; a broken disk must be replaced",
		})
	}
	sortBy(s.DBs, func(d api.DBState) string { return d.Team + "\x00" + d.Name })
	return s, nil
}

// dbState says how a database stands to the connected members.
func (n *Node) dbState(d *ledger.Database) api.DBState {
	i, h := n.dbInfo(d), d.Heads()
	s := api.DBState{
		Name: i.Name, ID: i.ID, Team: i.Team, Docs: i.Docs, Bytes: i.Bytes,
		Heads: texts(h.Heads), Digest: hex.EncodeToString(h.Digest[:]), State: api.Offline,
	}
	if peering.KeyMissing(n.ledger, d.Team()) {
		s.State = api.Locked
		return s
	}
	if n.live.Load() == nil {
		return s
	}
	equal := 0
	for _, p := range n.host.Network().Peers() {
		if n.gate.Shares(p, d.Team().ID()) {
			s.Peers++
			if n.live.Load().Agrees(d, p) {
				equal++
			}
		}
	}
	s.Waiting, s.Progress = n.live.Load().Reach(d).Away, n.progress(d)
	switch {
	case s.Peers == 0:
	case equal == s.Peers:
		s.State = api.InSync
	case n.live.Load().Pulling(d.Team().ID()):
		s.State = api.Receiving
	default:
		s.State = api.Sending
	}
	return s
}

func (n *Node) netRow() api.Net {
	r := api.Net{Reachability: "offline", Addrs: []string{}, Relays: []string{}}
	if n.live.Load() == nil {
		return r
	}
	r.Reachability = "unknown"
	for _, a := range n.host.Addrs() {
		r.Addrs = append(r.Addrs, fmt.Sprintf("%s/p2p/%s", a, n.host.ID()))
	}
	return r
}

// Peers yields the connected peers, then the devices of our teams that are not.
func (n *Node) Peers(context.Context) iter.Seq2[api.Peer, error] {
	var rows []api.Peer
	seen := map[peer.ID]bool{}
	if n.live.Load() != nil {
		for _, p := range n.host.Network().Peers() {
			seen[p] = true
			rows = append(rows, n.peerRow(p))
		}
	}
	for p := range n.gate.Members() {
		if !seen[p] {
			rows = append(rows, n.peerRow(p))
		}
	}
	sortBy(rows, func(p api.Peer) string {
		place := "connected "
		if p.Path == "none" {
			place = "not "
		}
		return place + p.Member + "\x00" + p.PeerID
	})
	return all(rows)
}

// peerRow reports one peer as the door shows it.
func (n *Node) peerRow(p peer.ID) api.Peer {
	r := api.Peer{PeerID: p.String(), Path: "none"}
	if dev, ok := peering.DeviceOf(p); ok {
		for _, c := range n.ledger.Chains() {
			st := c.State()
			if d, ok := st.Device(dev); ok {
				r.Device, r.Member = d.Name, memberName(st, d.Member)
				break
			}
		}
	}
	if n.live.Load() == nil {
		return r
	}
	total := n.traffic.GetBandwidthForPeer(p)
	r.RX, r.TX = total.TotalIn, total.TotalOut
	r.RTTMs = float64(n.host.Peerstore().LatencyEWMA(p)) / float64(time.Millisecond)
	for _, c := range n.host.Network().ConnsToPeer(p) {
		r.Addr, r.Path, r.LastSeen = c.RemoteMultiaddr().String(), pathOf(c), n.clock().UTC()
		break
	}
	return r
}

func pathOf(c network.Conn) string {
	if c.Stat().Limited {
		return "relay"
	}
	if ip, err := manet.ToIP(c.RemoteMultiaddr()); err == nil && (net.IP.IsPrivate(ip) || net.IP.IsLoopback(ip)) {
		return "lan"
	}
	return "direct"
}

func sortBy[T any](rows []T, key func(T) string) {
	slices.SortStableFunc(rows, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
}
