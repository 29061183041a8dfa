package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// This file is the keys of a team on their way: into a link that makes a
// generation, and out of the links of others.

// generation drafts a link that makes a generation; build is told the commitments.
func (c *Chain) generation(build func(team.Keys) team.Content) (draft, error) {
	secret, err := vault.NewSecret(c.n.o.Rand)
	if err != nil {
		return draft{}, err
	}
	route := vault.RouteCommitment(vault.RouteKey(c.id, secret))
	return draft{content: build(team.Keys{Key: vault.Commitment(secret), Route: route}), secret: secret}, nil
}

// rotate makes a generation. The caller holds mu.
func (c *Chain) rotate(ctx context.Context) (block.ID, error) {
	d, err := c.generation(func(k team.Keys) team.Content { return team.Rotate{Keys: k} })
	if err != nil {
		return block.ID{}, err
	}
	return c.add(ctx, d)
}

// Rotate makes a new generation: for an admin, and for any member where none is
// good. It returns the link.
func (c *Chain) Rotate(ctx context.Context) (block.ID, error) {
	d, err := c.generation(func(k team.Keys) team.Content { return team.Rotate{Keys: k} })
	if err != nil {
		return block.ID{}, err
	}
	return c.write(ctx, d)
}

// Ready makes the team fit to write data in: a generation that is good, no more
// heads than a commit can name. Whoever writes may do both, so nobody waits for
// anybody.
func (c *Chain) Ready(ctx context.Context) error {
	st := c.State()
	if _, good := st.WriteGeneration(); good && len(st.Heads()) <= block.MaxParents || !st.CanWrite(c.n.Me()) {
		return nil
	}
	c.mu.Lock()
	err := c.merge(ctx)
	if _, good := c.State().WriteGeneration(); err == nil && !good {
		_, err = c.rotate(ctx)
	}
	c.mu.Unlock()
	c.settled()
	return err
}

// boxAll seals the secret that a draft makes to every device that stays, to a
// replica its route key only. What does not fit into the header goes into linked
// blocks. A device whose key cannot be sealed to is passed over: a rotation must
// not fail because of one.
func (c *Chain) boxAll(d *draft) error {
	to := c.State().Remaining(d.content)
	route := vault.RouteKey(c.id, d.secret)
	full := vault.BoxContext{Team: c.id, Purpose: block.BoxGeneration, Commitment: vault.Commitment(d.secret), Author: c.n.Me()}
	half := vault.BoxContext{Team: c.id, Purpose: block.BoxRoute, Commitment: vault.RouteCommitment(route), Author: c.n.Me()}
	boxes, errs := make([]block.Box, len(to)), make([]error, len(to))
	var wg sync.WaitGroup
	for w := range min(len(to), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := w; i < len(to); i += runtime.GOMAXPROCS(0) {
				if to[i].Role == team.RoleReplica {
					boxes[i], errs[i] = vault.SealBox(half, to[i].BoxKey, route)
				} else {
					boxes[i], errs[i] = vault.SealBox(full, to[i].BoxKey, d.secret)
				}
			}
		})
	}
	wg.Wait()
	keys := block.BoxGroup{Purpose: block.BoxGeneration, Commitment: full.Commitment}
	routes := block.BoxGroup{Purpose: block.BoxRoute, Commitment: half.Commitment}
	for i, dev := range to {
		switch {
		case errs[i] != nil:
			c.n.o.Log.Warn("no lockbox for a device", "team", c.id, "device", dev.Key, "err", errs[i])
		case dev.Role == team.RoleReplica:
			routes.Boxes = append(routes.Boxes, boxes[i])
		default:
			keys.Boxes = append(keys.Boxes, boxes[i])
		}
	}
	return c.pack(d, slices.DeleteFunc([]block.BoxGroup{keys, routes}, func(g block.BoxGroup) bool { return len(g.Boxes) == 0 }))
}

// pack puts lockboxes into a draft: into the header, or into linked blocks.
func (c *Chain) pack(d *draft, groups []block.BoxGroup) error {
	inline, bodies, err := block.PackBoxes(groups)
	if err != nil {
		return err
	}
	var linked []*block.Block
	for _, body := range bodies {
		b, err := block.New(block.Header{Kind: block.KindBoxes, Team: c.id}, body, nil)
		if err != nil {
			return err
		}
		linked = append(linked, b)
	}
	d.boxes, d.linked = inline, append(linked, d.linked...) // a share block stands last
	return nil
}

// welcome boxes what somebody who is seated needs to read everything: the keys of
// all generations that no other holds. For other content there is none.
func (c *Chain) welcome(content team.Content) ([]block.BoxGroup, error) {
	purpose := block.BoxGeneration
	var keys []block.BoxKey
	switch x := content.(type) {
	case team.Admit:
		keys = append(keys, x.BoxKey)
		for _, inv := range c.State().Invites() {
			if inv.Link == x.Invite && inv.Kind == team.InviteReplica {
				purpose = block.BoxRoute
			}
		}
		if x.Recovery != nil {
			keys = append(keys, x.Recovery.BoxKey)
		}
	case team.AddMember:
		key := x.BoxKey
		if key.IsZero() {
			var err error
			if key, err = x.Device.BoxKey(); err != nil {
				return nil, err
			}
		}
		keys = append(keys, key)
		if x.Recovery != nil {
			keys = append(keys, x.Recovery.BoxKey)
		}
	case team.AddDevice:
		keys = append(keys, x.BoxKey)
		if x.Recovery != nil {
			keys = append(keys, x.Recovery.BoxKey)
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	return c.boxes(purpose, c.roots(), keys...)
}

// boxes seals keys that this device holds, of some generations, to recipients.
func (c *Chain) boxes(purpose block.BoxPurpose, gens []block.Generation, to ...block.BoxKey) ([]block.BoxGroup, error) {
	var groups []block.BoxGroup
	for _, gen := range gens {
		g := block.BoxGroup{Generation: gen, Purpose: purpose}
		for _, key := range to {
			box, commitment, err := c.n.keys.Box(c.id, gen, purpose, key)
			if err != nil {
				return nil, err
			}
			g.Commitment, g.Boxes = commitment, append(g.Boxes, box)
		}
		groups = append(groups, g)
	}
	if len(groups) == 0 {
		return nil, fmt.Errorf("%w in team %q", ErrNoKey, c.State().Name())
	}
	block.SortBoxes(groups)
	return groups, nil
}

// roots returns the generations that a new one holds the keys of, as far as they are
// here: the current ones, and those no other follows though they do not count. What
// was written under such a one by members who knew no better stays valid, and whoever
// joins later must be able to read it.
func (c *Chain) roots() []block.Generation {
	var below []block.ID
	for _, parents := range c.made {
		below = append(below, parents...)
	}
	top := map[block.ID]bool{}
	for _, id := range c.log.Since(below) {
		top[id] = true
	}
	var out []block.Generation
	for _, g := range c.State().Generations() {
		out = append(out, g.ID)
	}
	for gen := range c.made {
		if top[block.ID(gen)] && !slices.Contains(out, gen) {
			out = append(out, gen)
		}
	}
	out = slices.DeleteFunc(out, func(g block.Generation) bool { return !c.n.keys.Has(c.id, g) })
	out = out[:min(len(out), block.MaxParents)] // the current ones come first
	slices.SortFunc(out, func(a, b block.Generation) int { return bytes.Compare(a[:], b[:]) })
	return out
}

// opened takes what a link brings for us: keys in boxes, and the keys of older
// generations under a new one.
func (c *Chain) opened(b *block.Block) {
	if makes(b) {
		gen := block.Generation(b.ID)
		c.gens.Store(b.ID.Hint(), gen)
		c.closed[gen] = b
	}
	c.unbox(b, b.Header.Boxes)
	for _, id := range b.Header.Links[b.Header.Parents:] {
		data, err := c.n.o.Store.Get(store.Block(id))
		if err != nil {
			c.wanted[id] = b
			continue
		}
		c.openLinked(b, data)
	}
	c.unfold()
}

// unbox opens our lockboxes among those of a link.
func (c *Chain) unbox(b *block.Block, groups []block.BoxGroup) {
	if _, err := c.n.keys.OpenBoxes(c.id, b.ID, b.Header.Author, groups); err != nil {
		c.n.o.Log.Warn("lockbox refused", "team", c.id, "link", b.ID, "err", err)
	}
}

// openLinked opens our lockboxes in a block that a link names. An invite block has
// nothing for us: we are here.
func (c *Chain) openLinked(b *block.Block, data []byte) {
	u, err := block.Parse(data)
	if err != nil || u.Kind != block.KindBoxes || u.TeamHint != c.id.Hint() {
		return
	}
	if lb, err := u.Resolve(c.id, block.Generation{}); err == nil {
		if groups, err := block.ParseBoxes(lb.Body); err == nil {
			c.unbox(b, groups)
		}
	}
}

// unfold opens the history layers under every generation we hold; what one brings
// may open the next. A key may come long after the link that made it.
func (c *Chain) unfold() {
	for again := true; again; {
		again = false
		for gen, b := range c.closed {
			if !c.n.keys.HasRoute(c.id, gen) {
				continue
			}
			again = c.history(b) > 0 || again
			if c.n.keys.Has(c.id, gen) {
				delete(c.closed, gen)
			}
		}
	}
}

// makes reports whether a link makes a generation: genesis does, and whatever seals
// the history of keys under a new one.
func makes(b *block.Block) bool {
	body, err := team.ParseBody(b.Body)
	return b.Header.Genesis() || err == nil && len(body.History) > 0
}

// history opens the history layers of a link that makes a generation we hold, and
// returns how many keys are new.
func (c *Chain) history(b *block.Block) int {
	body, err := team.ParseBody(b.Body)
	if err != nil || len(body.History) == 0 {
		return 0 // genesis, or no generation made
	}
	added, err := c.n.keys.OpenHistory(b.Header, block.Generation(b.ID), body.History, body.RouteHistory)
	if err != nil && !errors.Is(err, vault.ErrNoKey) {
		c.n.o.Log.Warn("history of keys refused", "team", c.id, "link", b.ID, "err", err)
	}
	return added
}

// coming reports whether blocks with keys are still to come, and returns a channel
// that is closed when the chain changes.
func (c *Chain) coming() (<-chan struct{}, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.news, len(c.wanted) > 0
}

// Wanted lists the blocks that links of this chain name and that are not here: more
// lockboxes than fit into a link, and invite blocks. Every member holds them, so
// that a key is to be had from anybody who is online. Hand them to Fill.
//
// Those who named them take turns: only the first few are asked for at once, and one
// who names blocks that do not exist must not stand before everybody else's.
func (c *Chain) Wanted() []block.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	by := map[block.Device][]block.ID{}
	for id, link := range c.wanted {
		by[link.Header.Author] = append(by[link.Header.Author], id)
	}
	authors := slices.SortedFunc(maps.Keys(by), func(a, b block.Device) int { return bytes.Compare(a[:], b[:]) })
	for _, ids := range by {
		slices.SortFunc(ids, func(a, b block.ID) int { return bytes.Compare(a[:], b[:]) })
	}
	out := make([]block.ID, 0, len(c.wanted))
	for turn := 0; len(out) < len(c.wanted); turn++ {
		for _, a := range authors {
			if turn < len(by[a]) {
				out = append(out, by[a][turn])
			}
		}
	}
	return out
}

// Fill takes blocks that Wanted asked for, stores them, and opens what waited for
// the keys in them. It returns how many were of use.
func (c *Chain) Fill(ctx context.Context, raw [][]byte) (used int, err error) {
	c.mu.Lock()
	batch := c.n.o.Store.NewBatch()
	came := map[block.ID][]byte{}
	for _, data := range raw {
		id := block.Sum(data)
		u, err := block.Parse(data)
		if c.wanted[id] == nil || err != nil || u.Kind != block.KindBoxes && u.Kind != block.KindShare {
			continue
		}
		batch.Set(store.Block(id), data)
		came[id] = data
	}
	if len(came) > 0 {
		err = c.n.durable(ctx, batch)
	}
	if err != nil || len(came) == 0 {
		c.mu.Unlock()
		return 0, err
	}
	for id, data := range came {
		c.openLinked(c.wanted[id], data)
		delete(c.wanted, id)
	}
	c.unfold()
	_, err = c.absorb(ctx)
	c.mu.Unlock()
	c.settled()
	return len(came), err
}
