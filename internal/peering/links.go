package peering

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/replicate"
)

// What a pull does with links of a chain, and with the blocks that they name.

// takeLinks adds links to the chain, and then the blocks that they name: a key may be
// in one of those, and what it opens counts as taken. It returns how many were new.
func (n *Network) takeLinks(ctx context.Context, p peer.ID, c *ledger.Chain, links [][]byte) (added int, err error) {
	if added, err = c.Receive(ctx, links); err != nil {
		return added, err
	}
	if c.Held() > 0 {
		n.tendSoon(c) // which takes them when it is time
	}
	for want := c.Wanted(); len(want) > 0 && n.mayHave(p, c, added > 0); want = c.Wanted() {
		blocks, err := n.blocks(ctx, p, c, want[:min(len(want), wantedAtOnce)])
		if len(blocks) == 0 {
			n.o.Log.Debug("blocks that links name not fetched", "team", c.ID(), "of", len(want), "err", err)
			return added, nil
		}
		used, err := c.Fill(ctx, blocks)
		added += used
		if err != nil || used == 0 {
			return added, err
		}
	}
	return added, nil
}

// mayHave reports whether it is time to ask around for what links name. Not every
// device needs it, and who has it may never come: without new links it is asked for
// again after a while only.
func (n *Network) mayHave(p peer.ID, c *ledger.Chain, news bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	k, now := pairing{c.ID(), p}, n.o.Clock()
	if !news && now.Sub(n.wanted[k]).Abs() < wantedAgain {
		return false
	}
	n.wanted[k] = now
	return true
}

// pairing is a peer as one team sees it.
type pairing struct {
	team block.TeamID
	peer peer.ID
}

// wantedAgain is how long nobody is asked again for a block that nobody had.
const wantedAgain = 30 * time.Second

// wantedAtOnce bounds the blocks of keys in memory: each is about 64 KiB.
const wantedAtOnce = 64

// blocks fetches some blocks whole, as far as anybody has them.
func (n *Network) blocks(ctx context.Context, p peer.ID, c *ledger.Chain, want []block.ID) (out [][]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	for f, err := range n.exchange.GetMany(ctx, want, n.holders(c, p)) {
		if err != nil {
			return out, err
		}
		out = append(out, f.Data)
	}
	return out, nil
}

// fill applies commits and fetches what they link, large values and operations, as
// many times as it takes: not all of it may fit memory at once.
func (n *Network) fill(ctx context.Context, p peer.ID, d *ledger.Database, in []ledger.Candidate, intake *replicate.Intake) (ledger.Outcome, error) {
	in = slices.Clone(in)
	out, err := d.Commit(ctx, in)
	applied, moved := out.Applied, out.Applied > 0
	for err == nil && len(out.Needs) > 0 {
		var want, done []block.ID
		in = slices.DeleteFunc(in, func(c ledger.Candidate) bool {
			id := block.Sum(c.Data)
			if d.Has(id) {
				done = append(done, id)
			}
			return d.Has(id)
		})
		intake.Took(done, linked)
		if want, err = intake.Linked(out.Needs, out.First, moved); err != nil {
			break
		}
		if err = n.fetch(ctx, p, d.Team(), want, intake); err != nil {
			break
		}
		n.moving(p)
		rejected := out.Rejected
		out, err = d.Commit(ctx, in)
		applied, moved = applied+out.Applied, out.Applied > 0
		out.Rejected = cmp.Or(out.Rejected, rejected)
	}
	out.Applied = applied
	return out, err
}

// linked lists what a commit names besides its parents.
func linked(commit []byte) []block.ID {
	u, err := block.Parse(commit)
	if err != nil {
		return nil
	}
	return u.Links[u.Parents:]
}
