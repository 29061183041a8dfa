package node

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/peering"
	"github.com/toftdb/toft/internal/words"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

// errOffline is the cause wherever the network is asked for and off.
var errOffline = errors.New("the network is off (--network offline)")

// Join redeems an invitation.
func (n *Node) Join(ctx context.Context, r api.JoinRequest) (api.Joined, error) {
	share := peering.IsShareLink(r.Code)
	var code team.Code
	var seed []byte
	if !share {
		var err error
		if code, err = team.ParseCode(r.Code); err != nil {
			return api.Joined{}, api.ErrInviteInvalid.Wrap(err, "copy the whole code again; spaces, dashes and case do not matter")
		}
		if seed, err = seedOf(code, r.Seed); err != nil {
			return api.Joined{}, err
		}
	}
	if n.live.Load() == nil {
		return api.Joined{}, api.ErrNoDaemon.Wrap(errOffline, "start it: toft daemon")
	}
	if share {
		return n.pickUp(ctx, r.Code)
	}
	c, proof, err := n.live.Load().JoinBySeed(ctx, code, seed, peering.Joiner{Name: r.Name, Device: r.Device})
	if err != nil {
		return api.Joined{}, doorError(err)
	}
	return n.joined(c, proof.Admitter, words.Transcript(proof.Hash())), nil
}

// joined reports the team this device has come to.
func (n *Node) joined(c *ledger.Chain, by block.Device, words []string) api.Joined {
	st := c.State()
	out := api.Joined{Team: n.teamInfo(c), Words: words, Provisional: c.Provisional(), DBs: []api.DBInfo{}}
	if d, ok := st.Device(by); ok {
		out.AdmittedBy = memberName(st, d.Member)
	}
	for _, info := range st.DBs() {
		row := api.DBInfo{Name: info.Name, ID: info.ID.String(), Team: st.Name(), Indexes: []string{}}
		if d := n.ledger.Database(info.ID); d != nil { // else it is just being opened
			row = n.dbInfo(d)
		}
		out.DBs = append(out.DBs, row)
	}
	return out
}

// seedOf returns the seed of a code, or the one of somebody's own that was told
// apart from it: then its place in the code is empty.
func seedOf(code team.Code, own api.Secret) ([]byte, error) {
	apart := code.Seed == [16]byte{}
	switch {
	case apart && own == "":
		return nil, api.ErrInviteSeed.With("the seed of this invitation was not in the code", "ask for it on another way, then: toft join CODE --seed-file FILE")
	case !apart && own != "":
		return nil, api.ErrUsage.With("the code has its seed in it", "leave the other one out")
	case !apart:
		return code.Seed[:], nil
	case code.Short:
		return nil, api.ErrInviteInvalid.With("a seed is proven to a named device only, and this code names none", "ask for the full code")
	}
	clean, err := team.CleanSeed(own.Reveal())
	if err != nil {
		return nil, doorError(err)
	}
	return []byte(clean), nil
}

// addrsOf returns where a member was last seen, as text.
func (n *Node) addrsOf(p peer.ID) []string {
	addrs, err := n.live.Load().KeptAddrs(p)
	if err != nil {
		return nil // no more than a hint
	}
	var out []string
	for _, a := range addrs {
		out = append(out, fmt.Sprintf("%s/p2p/%s", a, p))
	}
	return out
}

// Connect dials an address that ends in /p2p/PEERID, or a device we know one of.
func (n *Node) Connect(ctx context.Context, addr string) (api.Peer, error) {
	if n.live.Load() == nil {
		return api.Peer{}, api.ErrNoDaemon.Wrap(errOffline, "start it: toft daemon")
	}
	info, err := n.dialTarget(addr)
	if err != nil {
		return api.Peer{}, err
	}
	if err := n.host.Connect(ctx, info); err != nil {
		return api.Peer{}, api.ErrUnreachable.Wrap(fmt.Errorf("connect to %s: %w", addr, err), "check the address, and that the other side lets this device in")
	}
	return n.peerRow(info.ID), nil
}

func (n *Node) dialTarget(text string) (peer.AddrInfo, error) {
	if strings.HasPrefix(text, "/") {
		info, err := peer.AddrInfoFromString(text)
		if err != nil {
			return peer.AddrInfo{}, api.ErrUsage.Wrap(err, "an address looks like /ip4/192.168.1.7/tcp/4001/p2p/12D3KooW…")
		}
		return *info, nil
	}
	for _, c := range n.ledger.Chains() {
		for _, d := range c.State().Devices() {
			if d.Name == text || d.Key.String() == text || len(text) >= 12 && strings.HasPrefix(d.Key.String(), text) {
				p := peering.PeerOf(d.Key)
				addrs, err := n.live.Load().KeptAddrs(p)
				if err == nil && len(addrs) == 0 {
					err = api.ErrUnreachable.With("no address of "+text+" is known yet", "give its address: toft id on that device shows it")
				}
				return peer.AddrInfo{ID: p, Addrs: addrs}, err
			}
		}
	}
	return peer.AddrInfo{}, api.ErrNotFound.With(fmt.Sprintf("no device %q", text), "toft team devices shows the names")
}
