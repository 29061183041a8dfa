package ledger

import (
	"context"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// This file is how somebody joins who was added by the did:key of his device: an
// invite block, safe to publish, tells him which team, where, and one key to start
// from. Whoever added him need not be online any more.

// Share is what an invite block says to the device it is sealed to.
type Share struct {
	Team    block.TeamID
	Inviter block.Device
	Addrs   [][]byte   // packed multiaddrs of the inviter
	Heads   []block.ID // of the chain, below the link that adds this device
	boxes   []block.BoxGroup
}

// AddMember adds the device with this key as a new member, without an invitation.
// share is the invite block for it, stored, and linked by the team's chain, so that
// every member holds it. addrs say where this device may be found.
func (c *Chain) AddMember(ctx context.Context, token block.Device, role team.Role, name string, addrs ...[]byte) (seat block.ID, share *block.Block, err error) {
	if err := c.Ready(ctx); err != nil {
		return seat, nil, err
	}
	c.mu.Lock()
	seat, share, err = c.addMember(ctx, team.AddMember{Device: token, Role: role, Name: name}, addrs)
	c.mu.Unlock()
	c.settled()
	return seat, share, err
}

// addMember is AddMember with mu held.
func (c *Chain) addMember(ctx context.Context, content team.AddMember, addrs [][]byte) (block.ID, *block.Block, error) {
	if err := c.log.Check(c.n.Me(), content); err != nil {
		return block.ID{}, nil, err
	}
	key, err := content.Device.BoxKey()
	if err != nil {
		return block.ID{}, nil, err
	}
	gen, ok := c.writable()
	if !ok {
		return block.ID{}, nil, fmt.Errorf("%w in team %q", ErrNoKey, c.State().Name())
	}
	boxes, err := c.boxes(block.BoxGeneration, []block.Generation{gen}, key)
	if err != nil {
		return block.ID{}, nil, err
	}
	parents := c.log.Parents()
	share, err := c.n.o.Identity.SealShare(vault.Share{
		Team: c.id, Inviter: c.n.Me(), Recipient: content.Device, Addrs: addrs, Heads: parents, Boxes: boxes,
	})
	if err != nil {
		return block.ID{}, nil, err
	}
	content.Share = len(parents)
	d := draft{content: content, linked: []*block.Block{share}, parents: parents}
	if d.boxes, err = c.welcome(content); err != nil {
		return block.ID{}, nil, err
	}
	seat, err := c.put(ctx, gen, d)
	return seat, share, err
}

// OpenShare opens an invite block that is sealed to this device.
func (l *Ledger) OpenShare(data []byte) (Share, error) {
	u, err := block.Parse(data)
	if err != nil {
		return Share{}, err
	}
	if u.Kind != block.KindShare {
		return Share{}, fmt.Errorf("%w: not an invite block", block.ErrMalformed)
	}
	b, err := u.Resolve(block.TeamID{}, block.Generation{})
	if err != nil {
		return Share{}, err
	}
	s, err := l.o.Identity.OpenShare(b.Body)
	if err != nil {
		return Share{}, err
	}
	return Share{Team: s.Team, Inviter: s.Inviter, Addrs: s.Addrs, Heads: s.Heads, boxes: s.Boxes}, nil
}

// BeginShare starts the chain of a team this device was added to, from its genesis and
// the invite block. As with an invitation, the join is provisional until somebody else
// vouches for what was shown.
func (l *Ledger) BeginShare(ctx context.Context, genesis *block.Unverified, invite []byte) (*Chain, error) {
	s, err := l.OpenShare(invite)
	if err != nil {
		return nil, err
	}
	if block.TeamID(genesis.ID) != s.Team {
		return nil, fmt.Errorf("%w: the first link of another team than the invite's", block.ErrOtherTeam)
	}
	id := block.Sum(invite)
	c := l.Chain(s.Team)
	fresh := c == nil
	if fresh {
		if c, err = l.newChain(genesis); err != nil {
			return nil, err
		}
	}
	b, err := genesis.Resolve(block.TeamID{}, block.Generation{})
	if err != nil {
		return nil, err
	}
	if err := c.enter(ctx, s, id, invite, b, fresh); err != nil {
		return nil, err
	}
	if fresh {
		l.adopt(c)
	}
	return c, nil
}

// enter keeps the invite block and takes the key in it.
func (c *Chain) enter(ctx context.Context, s Share, id block.ID, invite []byte, genesis *block.Block, fresh bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !fresh && c.State().Active(c.n.Me()) {
		return nil
	}
	batch := c.n.o.Store.NewBatch()
	batch.Set(store.Block(id), invite)
	if err := c.n.durable(ctx, batch); err != nil {
		return err
	}
	i := c.info
	i.Provisional, i.Share = true, id
	if fresh {
		if err := c.begin(ctx, genesis, i); err != nil {
			return err
		}
	} else {
		c.info = i
		if err := c.keepInfo(ctx); err != nil {
			return err
		}
	}
	return c.unshare(s)
}

// unshare takes the key of an invite block into the keyring.
func (c *Chain) unshare(s Share) error {
	if _, err := c.n.keys.OpenBoxes(c.id, c.info.Share, s.Inviter, s.boxes); err != nil {
		return err
	}
	c.unfold()
	return nil
}

// reopen opens the invite block this device came by, after a restart: keys are not
// kept, and the link that adds us may stand above others that need this one.
func (c *Chain) reopen() error {
	if c.info.Share.IsZero() {
		return nil
	}
	u, err := c.n.Stored(c.info.Share)
	if err != nil {
		return err
	}
	s, err := c.n.OpenShare(u.Data())
	if err != nil {
		return err
	}
	return c.unshare(s)
}

// shown reports whether the chain holds what an invite block said it does: whoever
// served it has not hidden a part of it.
func (c *Chain) shown() bool {
	if c.info.Share.IsZero() {
		return true
	}
	u, err := c.n.Stored(c.info.Share)
	if err != nil {
		return false
	}
	s, err := c.n.OpenShare(u.Data())
	return err == nil && len(absent(s.Heads, c.log.Has)) == 0
}
