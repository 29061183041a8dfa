package peering

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/node/api"
)

// This file is how somebody who lost every device comes back: the words of his
// recovery kit are a device that has a seat, so for a moment they are put on a host of
// their own, add the new device, and see to it that a member has that link.
//
//	words' network ── enter ──▶ member: chain
//	      └─ AddDevice(new device) ── question with our heads ──▶ member pulls the link
//	new device ── Begin, Receive ── connects as itself ──▶ member: data

// Recover takes this device into a team as a device of the member whose recovery words
// seed is. at says who may have the team; newHost makes a host for the words, which
// nobody needs to reach. The data comes behind it, as after a join. Errors:
// [api.ErrUnreachable]; [api.ErrForbidden] if the team does not know the words.
func (n *Network) Recover(ctx context.Context, seed vault.RecoverySeed, t block.TeamID, at []peer.AddrInfo,
	newHost func(*vault.Identity, *Gate) (host.Host, error)) (c *ledger.Chain, err error) {
	if !n.begin() {
		return nil, errClosing()
	}
	defer n.wg.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	err = n.asWords(seed, newHost, func(words *Network) error {
		err := error(api.ErrUsage.With("nobody is named who has the team", "--at ADDR"))
		for _, p := range at {
			if c, err = n.seatBy(ctx, words, t, p); err == nil {
				return nil
			}
		}
		return err
	})
	return c, err
}

// asWords puts the words of a recovery kit on the network while fn runs.
func (n *Network) asWords(seed vault.RecoverySeed, newHost func(*vault.Identity, *Gate) (host.Host, error), fn func(*Network) error) (err error) {
	id, err := seed.Identity()
	if err != nil {
		return err
	}
	var live atomic.Pointer[Network]
	o := ledger.Options{User: n.o.User, Clock: n.o.Clock, Rand: n.o.Rand, Log: n.o.Log, Changed: func(c *ledger.Chain) {
		if net := live.Load(); net != nil {
			net.Follow(c)
		}
	}}
	l, err := ledger.Recovery(o, seed)
	if err != nil {
		return err
	}
	defer func() { l.Close(); err = errors.Join(err, l.Store().Close()) }()
	gate := NewGate(n.o.Clock)
	h, err := newHost(id, gate)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	net, err := Start(Options{
		Ledger: l, Store: l.Store(), Identity: id, Gate: gate, Host: h,
		User: n.o.User, Clock: n.o.Clock, Rand: n.o.Rand, Log: n.o.Log,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, net.Close()) }()
	live.Store(net)
	return fn(net)
}

// seatBy has the words add this device in the team that a member holds, and comes in.
func (n *Network) seatBy(ctx context.Context, words *Network, t block.TeamID, at peer.AddrInfo) (*ledger.Chain, error) {
	if err := words.knock(ctx, at); err != nil {
		return nil, err
	}
	theirs, err := words.enter(ctx, at.ID, t, promised(ctx, words.ledger, block.ID{}))
	if err != nil {
		return nil, errStranger(err)
	}
	c, err := n.takeSeat(ctx, words, theirs)
	if err != nil {
		return nil, err
	}
	if err := words.inform(ctx, theirs, at.ID); err != nil {
		return nil, api.ErrUnreachable.Wrap(fmt.Errorf("the member did not take the new device's link: %w", err), "try again")
	}
	if err := n.knock(ctx, at); err != nil {
		return nil, err
	}
	s, err := n.open(ctx, at.ID, message.SyncProtocol)
	if err != nil {
		return nil, api.ErrUnreachable.Wrap(err, "try again")
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	defer n.enterBy(c.ID(), s)()
	if _, err := n.pullTeam(ctx, at.ID, s, c, nil); err != nil {
		return nil, api.ErrUnreachable.Wrap(fmt.Errorf("back in the team, but it did not arrive whole: %w", err), "it goes on by itself; see toft status")
	}
	n.hears(ctx, c, at.ID)
	return c, nil
}

// knock connects to a member.
func (n *Network) knock(ctx context.Context, at peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	err := n.host.Connect(ctx, at)
	switch {
	case err == nil:
		return nil
	case shutOut(err):
		return errStranger(err)
	}
	return api.ErrUnreachable.Wrap(fmt.Errorf("nobody answers at %v: %w", at.Addrs, err), "check that a member's daemon runs there")
}

func errStranger(err error) error {
	return api.ErrForbidden.Wrap(fmt.Errorf("the team does not know these words: %w", err), "check the team and the words; another member can still invite you")
}

// takeSeat has the words add this device, and begins the team here with that link.
func (n *Network) takeSeat(ctx context.Context, words *Network, theirs *ledger.Chain) (*ledger.Chain, error) {
	self, ok := theirs.State().Device(words.ledger.Me())
	if !ok {
		return nil, errStranger(ledger.ErrRecovery)
	}
	seat, err := theirs.AddDevice(ctx, n.ledger.Claim(theirs.ID(), self.Member))
	if err != nil {
		return nil, err
	}
	var links [][]byte
	var genesis *block.Unverified
	for _, id := range theirs.Since(nil) {
		u, err := words.ledger.Stored(id)
		if err != nil {
			return nil, err
		}
		if u.Genesis() {
			genesis = u
		}
		links = append(links, u.Data())
	}
	c, err := n.ledger.Begin(ctx, genesis, seat)
	if err != nil {
		return nil, err
	}
	_, err = c.Receive(ctx, links)
	return c, err
}

// tellAgain is how long who was told of a link is given to fetch it before it is told
// again.
const tellAgain = 100 * time.Millisecond

// inform asks a peer about a team until it holds our heads: a question shows where its
// asker stands, and who is behind pulls.
func (n *Network) inform(ctx context.Context, c *ledger.Chain, p peer.ID) error {
	s, err := n.open(ctx, p, message.SyncProtocol)
	if err != nil {
		return err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	for {
		resp, err := ask(s, message.Request{Teams: []message.TeamRequest{c.Request()}})
		if err != nil {
			return err
		}
		for _, t := range resp.Teams {
			if t.Team == c.ID() && slices.Equal(t.ChainHeads, c.Heads()) {
				return nil
			}
		}
		again := time.NewTimer(tellAgain)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		}
	}
}
