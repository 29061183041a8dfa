package peering

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/node/api"
)

// Somebody who was added by token finds his way in: from the id of an invite block to
// the block, from the block to the team, from any member to the chain. The one who
// added him may be long offline.
//
//	CID or link ──▶ block, from any member reached ──▶ opens it: team, first key
//	                                                      │
//	            seated ◀── chain, from any member ◀───────┘
//
// A member gives the block to nobody who is not on its roster; he is, since he was
// added, and the handshake proves that it is he who asks.

// ShareLink says where an invite block is: its id, and peers that may have it. As text
// it is toft:share/ and the id, each address behind a comma; the id alone will do for
// who is connected to a member.
type ShareLink struct {
	ID   block.ID
	From []multiaddr.Multiaddr // each ends in /p2p/PEERID
}

const (
	sharePrefix = "toft:share/"
	// maxShareLink bounds the text, in bytes; maxShareFrom the addresses in it.
	maxShareLink = 4096
	maxShareFrom = 8
	// maxAskedForShare bounds the peers that are asked for the block.
	maxAskedForShare = 32
)

// ShareLinkOf is the link to an invite block that this device holds, at some of its
// packed addresses.
func ShareLinkOf(id block.ID, holder block.Device, packed [][]byte) ShareLink {
	return ShareLink{ID: id, From: withPeer(packed, PeerOf(holder))}
}

// String returns the link.
func (l ShareLink) String() string {
	var b strings.Builder
	b.WriteString(sharePrefix + l.ID.String())
	for _, a := range l.From {
		b.WriteString("," + a.String())
	}
	return b.String()
}

// IsShareLink reports whether a text is meant as a link or id of an invite block, and
// not as an invitation code.
func IsShareLink(text string) bool {
	text = strings.TrimSpace(text)
	id, _, _ := strings.Cut(text, ",")
	_, err := block.ParseID(id)
	return err == nil || strings.HasPrefix(strings.ToLower(text), sharePrefix)
}

// ParseShareLink reads a link, or the id alone.
func ParseShareLink(text string) (ShareLink, error) {
	if len(text) > maxShareLink {
		return ShareLink{}, fmt.Errorf("link of %d bytes, at most %d", len(text), maxShareLink)
	}
	text = strings.TrimSpace(text)
	if len(text) >= len(sharePrefix) && strings.EqualFold(text[:len(sharePrefix)], sharePrefix) {
		text = text[len(sharePrefix):]
	}
	parts := strings.Split(text, ",")
	id, err := block.ParseID(parts[0])
	if err != nil {
		return ShareLink{}, err
	}
	if len(parts)-1 > maxShareFrom {
		return ShareLink{}, fmt.Errorf("link with %d addresses, at most %d", len(parts)-1, maxShareFrom)
	}
	l := ShareLink{ID: id}
	for _, p := range parts[1:] {
		a, err := multiaddr.NewMultiaddr(p)
		if err == nil {
			_, err = peer.AddrInfoFromP2pAddr(a)
		}
		if err != nil {
			return ShareLink{}, fmt.Errorf("address %q: %w", p, err)
		}
		l.From = append(l.From, a)
	}
	return l, nil
}

// JoinShare enters a team that this device was added to by its token. The invite block
// comes from whoever has it, and so does the chain.
func (n *Network) JoinShare(ctx context.Context, link ShareLink) (*ledger.Chain, ledger.Share, error) {
	if !n.begin() {
		return nil, ledger.Share{}, errClosing()
	}
	defer n.wg.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	c, share, err := n.joinShare(ctx, link)
	if err != nil && n.ctx.Err() != nil {
		err = errClosing()
	}
	return c, share, err
}

func (n *Network) joinShare(ctx context.Context, link ShareLink) (*ledger.Chain, ledger.Share, error) {
	n.dialAll(ctx, link.From)
	data, err := n.inviteBlock(ctx, link.ID)
	if err != nil {
		return nil, ledger.Share{}, err
	}
	share, err := n.ledger.OpenShare(data)
	if err != nil {
		return nil, share, api.ErrInviteInvalid.Wrap(err, "it was made for another device: compare toft share token here with what was shared with")
	}
	inviter := PeerOf(share.Inviter)
	if n.host.Network().Connectedness(inviter) != network.Connected {
		n.dialAll(ctx, withPeer(share.Addrs, inviter)) // one more who may have the chain
	}
	start := func(genesis *block.Unverified) (*ledger.Chain, error) {
		return n.ledger.BeginShare(ctx, genesis, data)
	}
	var errs []error
	for _, p := range n.connectedPeers() {
		c, err := n.enter(ctx, p, share.Team, start)
		if err == nil {
			n.hears(ctx, c, p)
			return c, share, nil
		}
		errs = append(errs, err)
	}
	return nil, share, errors.Join(errs...)
}

// inviteBlock asks everybody we are connected to.
func (n *Network) inviteBlock(ctx context.Context, id block.ID) ([]byte, error) {
	if u, err := n.ledger.Stored(id); err == nil {
		return u.Data(), nil // of a join that broke off
	}
	peers := n.connectedPeers()
	if len(peers) == 0 {
		return nil, api.ErrUnreachable.With("this device is connected to nobody who could have the invite", "use the whole link, or connect to a member first: toft connect ADDR")
	}
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	data, err := n.exchange.Get(ctx, id, peers)
	if err != nil {
		return nil, api.ErrInviteUnknown.Wrap(fmt.Errorf("none of %d peers gives the invite %s: %w", len(peers), id, err),
			"check the link; a member who heard of it must be online")
	}
	return data, nil
}

// connectedPeers lists whom we are connected to, not all of them in a crowd.
func (n *Network) connectedPeers() []peer.ID {
	peers := n.host.Network().Peers()
	return peers[:min(len(peers), maxAskedForShare)]
}

// dialAll connects to all of some addresses and waits until each did or failed.
func (n *Network) dialAll(ctx context.Context, addrs []multiaddr.Multiaddr) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	infos, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		return // ParseShareLink has refused it
	}
	var wg sync.WaitGroup
	for _, info := range infos {
		wg.Go(func() {
			if err := n.host.Connect(ctx, info); err != nil {
				n.o.Log.Debug("holder of an invite not reached", "peer", info.ID, "err", err)
			}
		})
	}
	wg.Wait()
}

// withPeer returns packed addresses of a peer as addresses that end in its id; what is
// no address is left out.
func withPeer(packed [][]byte, p peer.ID) (out []multiaddr.Multiaddr) {
	tail, err := multiaddr.NewComponent("p2p", p.String())
	if err != nil {
		return nil
	}
	for _, raw := range packed {
		if a, err := multiaddr.NewMultiaddrBytes(raw); err == nil {
			out = append(out, a.AppendComponent(tail))
		}
	}
	return out
}
