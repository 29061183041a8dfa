package peering

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/node/api"
)

// Whoever was admitted, by invitation or by token, enters the same way: it pulls the
// chain from a member and checks that it is seated.

// opening makes, of the first link of a team, a chain that waits for our seat; one that
// is here already it has wait for a new seat.
type opening func(genesis *block.Unverified) (*ledger.Chain, error)

// promised begins a chain that will seat us by a link we were told of.
func promised(ctx context.Context, l *ledger.Ledger, seat block.ID) opening {
	return func(genesis *block.Unverified) (*ledger.Chain, error) { return l.Begin(ctx, genesis, seat) }
}

// enter pulls the chain after an admission, starting from a genesis that hashes to
// the team id, and checks that the chain seats this device.
func (n *Network) enter(ctx context.Context, p peer.ID, id block.TeamID, start opening) (*ledger.Chain, error) {
	s, err := n.open(ctx, p, message.SyncProtocol)
	if err != nil {
		return nil, api.ErrUnreachable.Wrap(err, "join again")
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	defer n.enterBy(id, s)()
	var links [][]byte
	genesis, err := n.ledger.Stored(block.ID(id)) // of a team we were in, or a join that broke off
	if n.ledger.Chain(id) == nil || err != nil {
		resp, err := ask(s, message.Request{Teams: []message.TeamRequest{{Team: id, Summary: nothingYet()}}})
		if err != nil {
			return nil, api.ErrUnreachable.Wrap(err, "join again")
		}
		if genesis, links, err = firstLinks(id, resp); err != nil {
			return nil, err
		}
	}
	c, err := start(genesis)
	if err != nil {
		return nil, err
	}
	if _, err := n.takeLinks(ctx, p, c, links); err != nil {
		return nil, err
	}
	if _, err := n.pullTeam(ctx, p, s, c, nil); err != nil {
		return nil, api.ErrUnreachable.Wrap(fmt.Errorf("admitted, but the team did not arrive whole: %w", err), "it goes on by itself; see toft status")
	}
	if !c.Seated() {
		return nil, api.ErrVerify.With("the chain that arrived does not seat this device", "join again in a few seconds, or ask to be let in by another member")
	}
	return c, nil
}

// firstLinks finds the first link of a team in the first answer to a joiner.
func firstLinks(id block.TeamID, resp message.Response) (*block.Unverified, [][]byte, error) {
	for _, t := range resp.Teams {
		for _, data := range t.Links {
			if block.Sum(data) == block.ID(id) {
				u, err := block.Parse(data)
				return u, t.Links, err
			}
		}
	}
	return nil, nil, api.ErrVerify.With("the admitter did not send the team's first link", "join again")
}

// hearTime is how long a join waits for the team's topic.
const hearTime = 2 * time.Second

// hears waits until the peer is on the team's topic, so that what it writes right
// after the join is live here. If that takes long, a pull will do as well.
func (n *Network) hears(ctx context.Context, c *ledger.Chain, p peer.ID) {
	ctx, cancel := context.WithTimeout(ctx, hearTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		n.mu.Lock()
		a := n.announcers[c.ID()]
		n.mu.Unlock()
		if a != nil && slices.Contains(a.peers(), p) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
