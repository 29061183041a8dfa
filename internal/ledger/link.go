package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// This file is how this device writes a link:
//
//	content ─▶ allowed? ─▶ a good key to seal under ─▶ boxes ─▶ sign ─▶ disk ─▶ chain
//	              │                │
//	              │                └─ nobody may write: ROTATE first
//	              └─ refused: nothing was written
//
// A link that nobody but its author knows of yet is as good as any: others get it
// when they meet.

// draft is a link to be: what it says, and what it hands out.
type draft struct {
	content team.Content
	boxes   []block.BoxGroup // keys that exist already
	linked  []*block.Block   // stored with it and named behind its parents
	secret  block.Secret     // of the generation it makes; zero: none
	parents []block.ID       // nil: the present heads
}

// Link composes, signs and stores one link of our own on top of the present heads.
// What the rules do not allow is refused before anything is written. An admission
// without boxes gets them here: every key the newcomer needs.
func (c *Chain) Link(ctx context.Context, content team.Content, boxes []block.BoxGroup) (block.ID, error) {
	return c.write(ctx, draft{content: content, boxes: boxes})
}

// write adds a link and lets everything follow it.
func (c *Chain) write(ctx context.Context, d draft) (block.ID, error) {
	c.mu.Lock()
	before := c.State()
	id, err := c.add(ctx, d)
	changed := c.State() != before // a rotation may have gone before a link that failed
	c.mu.Unlock()
	if changed {
		c.settled()
	}
	return id, err
}

// add is write with mu held.
func (c *Chain) add(ctx context.Context, d draft) (block.ID, error) {
	if err := c.merge(ctx); err != nil {
		return block.ID{}, err
	}
	if err := c.log.Check(c.n.Me(), d.content); err != nil {
		return block.ID{}, err
	}
	gen, err := c.sealing(ctx, d)
	if err != nil {
		return block.ID{}, err
	}
	if d.boxes == nil && d.secret.IsZero() {
		if d.boxes, err = c.welcome(d.content); err != nil {
			return block.ID{}, err
		}
	}
	return c.put(ctx, gen, d)
}

// sealing chooses the generation a link is sealed under: a good one, so that nobody
// who is out reads it. Where none is good, one is made first. What makes a
// generation itself, and the leaving of somebody who may not make one, is sealed
// under what there is.
func (c *Chain) sealing(ctx context.Context, d draft) (block.Generation, error) {
	if gen, ok := c.writable(); ok {
		return gen, nil
	}
	if _, good := c.State().WriteGeneration(); !good && d.secret.IsZero() {
		if _, err := c.rotate(ctx); err == nil {
			gen, ok := c.writable()
			if err := c.log.Check(c.n.Me(), d.content); ok || err != nil {
				return gen, err
			}
		}
	}
	if d.secret.IsZero() && !takesAway(d.content) {
		return block.Generation{}, fmt.Errorf("%w in team %q", ErrNoKey, c.State().Name())
	}
	for _, g := range c.State().Generations() {
		if c.n.keys.Has(c.id, g.ID) {
			return g.ID, nil
		}
	}
	return block.Generation{}, fmt.Errorf("%w in team %q", ErrNoKey, c.State().Name())
}

// writable returns the good current generation of the lowest id among those whose
// key is here.
func (c *Chain) writable() (block.Generation, bool) {
	for _, g := range c.State().Generations() {
		if g.Good && c.n.keys.Has(c.id, g.ID) {
			return g.ID, true
		}
	}
	return block.Generation{}, false
}

// put composes a link that was checked, stores it and adds it to the chain.
func (c *Chain) put(ctx context.Context, gen block.Generation, d draft) (block.ID, error) {
	st := c.State()
	self, ok := st.Device(c.n.Me())
	if !ok {
		return block.ID{}, fmt.Errorf("this device is not in team %q", st.Name())
	}
	if d.parents == nil {
		d.parents = c.log.Parents()
	}
	if !d.secret.IsZero() {
		if err := c.boxAll(&d); err != nil {
			return block.ID{}, err
		}
	}
	h := block.Header{
		Kind: block.KindLink, Team: c.id, Generation: gen, Parents: len(d.parents), Links: slices.Clone(d.parents),
		Author: c.n.Me(), Seat: self.Seat, Boxes: d.boxes,
	}
	for _, b := range d.linked {
		h.Links = append(h.Links, b.ID)
	}
	b, l, err := c.compose(h, d)
	if err != nil {
		return block.ID{}, err
	}
	if err := c.persist(ctx, d.linked, b); err != nil {
		return block.ID{}, err
	}
	if err := c.log.Add(l); err != nil {
		return block.ID{}, errors.Join(fmt.Errorf("own link: %w", err), c.takeBack(ctx, b))
	}
	c.joined(b, l)
	c.publish()
	return b.ID, nil
}

// joined notes what a link that was added to the log means for this device.
func (c *Chain) joined(b *block.Block, l *team.UnverifiedLink) {
	c.cuts = c.cuts || takesAway(l.Content)
	if makes(b) {
		c.made[block.Generation(b.ID)] = b.Header.Links[:b.Header.Parents]
	}
	c.opened(b)
}

// compose encodes and seals the layers of a link and signs it.
func (c *Chain) compose(h block.Header, d draft) (*block.Block, *team.UnverifiedLink, error) {
	layers, err := team.Encode(d.content, c.n.Now())
	if err != nil {
		return nil, nil, err
	}
	var body team.Body
	if body.Roster, err = c.n.keys.Seal(vault.Roster, h, layers.Roster); err != nil {
		return nil, nil, err
	}
	if len(layers.Private) > 0 {
		if body.Private, err = c.n.keys.Seal(vault.Private, h, layers.Private); err != nil {
			return nil, nil, err
		}
	}
	if !d.secret.IsZero() {
		if body.History, body.RouteHistory, err = c.n.keys.SealHistory(d.secret, h, c.roots()); err != nil {
			return nil, nil, err
		}
	}
	b, err := c.n.o.Identity.SignBlock(h, body.Encode())
	if err != nil {
		return nil, nil, err
	}
	l, err := team.Parse(b, layers)
	return b, l, err
}

// merge brings more heads than a link, or a commit, can name down to that number:
// each of its links goes over 64 of them and says what is known already, the name
// of this device.
func (c *Chain) merge(ctx context.Context) error {
	for {
		heads := c.log.Heads()
		if len(heads) <= block.MaxParents {
			return nil
		}
		me := c.n.Me()
		name := team.Name{Kind: team.NameDevice, Subject: me[:], Name: c.n.o.Device}
		if d, _ := c.State().Device(me); d.Name != "" {
			name.Name = d.Name
		}
		if name.Name == "" {
			name.Name = "device"
		}
		parents, gen, err := c.under(heads)
		if err != nil {
			return err
		}
		if _, err := c.put(ctx, gen, draft{content: name, parents: parents}); err != nil {
			return fmt.Errorf("merge %d heads of team %q: %w", len(heads), c.State().Name(), err)
		}
	}
}

// under chooses 64 heads under which this device is on the team, one of which seats
// it, and a generation from below them.
func (c *Chain) under(heads []block.ID) ([]block.ID, block.Generation, error) {
	for i, h := range heads {
		if st, err := c.log.At([]block.ID{h}); err != nil || !st.Active(c.n.Me()) {
			continue
		}
		parents := append([]block.ID{h}, slices.Delete(slices.Clone(heads), i, i+1)[:block.MaxParents-1]...)
		slices.SortFunc(parents, func(a, b block.ID) int { return bytes.Compare(a[:], b[:]) })
		st, err := c.log.At(parents)
		if err != nil || !st.Active(c.n.Me()) {
			continue
		}
		for _, g := range st.Generations() {
			if c.n.keys.Has(c.id, g.ID) {
				return parents, g.ID, nil
			}
		}
	}
	return nil, block.Generation{}, fmt.Errorf("team %q has %d heads, and this device is under too few of them to merge", c.State().Name(), len(heads))
}

// persist makes links durable, numbered as they arrived: first those that the disk
// did not take before, or the chain on disk would have a gap. Linked are blocks
// they name.
func (c *Chain) persist(ctx context.Context, linked []*block.Block, blocks ...*block.Block) error {
	blocks = append(slices.Clip(c.unsaved), blocks...)
	batch := c.n.o.Store.NewBatch()
	for _, b := range linked {
		batch.Set(store.Block(b.ID), b.Data)
	}
	c.stage(batch, blocks...)
	if err := c.n.durable(ctx, batch); err != nil {
		return fmt.Errorf("store chain of %s: %w", c.id, err)
	}
	c.arrival += uint64(len(blocks))
	c.unsaved = nil
	return nil
}

// stage adds links to a batch, in the order given.
func (c *Chain) stage(batch *store.Batch, blocks ...*block.Block) {
	for i, b := range blocks {
		batch.Set(store.Block(b.ID), b.Data)
		batch.Set(store.LinkIndex(c.id, c.arrival+uint64(i)), b.ID[:])
	}
}

// takeBack takes the link that was stored last off the disk: the chain did not take
// it, and would not open again with it.
func (c *Chain) takeBack(ctx context.Context, b *block.Block) error {
	batch := c.n.o.Store.NewBatch()
	batch.Delete(store.LinkIndex(c.id, c.arrival-1))
	batch.Delete(store.Block(b.ID))
	if err := c.n.durable(ctx, batch); err != nil {
		return err
	}
	c.arrival--
	return nil
}
