package ledger

import (
	"context"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/store"
)

// ChainReport is what a check of a whole chain on disk found.
type ChainReport struct {
	Links  int // read, genesis among them
	Void   int // of them do not count
	Parked int // wait for a parent or a key; not on disk
	Bad    []BadBlock
}

// BadBlock is a block of the chain that is not what it should be.
type BadBlock struct {
	ID  block.ID
	Why string
}

// Verify reads every link from disk again and checks that its bytes still hash to its
// name, that its signature is good, that its parents stand before it, and that it is
// in the chain that is shown; and the blocks it names, as far as they are here.
// It changes nothing. The error is of the disk, or ctx's.
func (c *Chain) Verify(ctx context.Context) (ChainReport, error) {
	var r ChainReport
	bad := func(id block.ID, why string, args ...any) {
		r.Bad = append(r.Bad, BadBlock{id, fmt.Sprintf(why, args...)})
	}
	seen := map[block.ID]bool{}
	for e, err := range c.n.o.Store.Scan(store.Links(c.id)) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return r, fmt.Errorf("read chain of %s: %w", c.id, err)
		}
		id, err := store.ID[block.ID](e.Value)
		if err != nil {
			return r, err
		}
		r.Links++
		seen[id] = true
		u, err := c.n.Stored(id)
		if err != nil {
			bad(id, "%v", err)
			continue
		}
		if err := c.verify(u); err != nil {
			bad(id, "%v", err)
		}
		for _, p := range u.Links[:u.Parents] {
			if !seen[p] {
				bad(id, "its parent %s does not stand before it", p)
			}
		}
		for _, l := range u.Links[u.Parents:] {
			if has, err := c.n.o.Store.Has(store.Block(l)); err != nil || !has {
				continue // wanted: it may still come
			}
			if _, err := c.n.Stored(l); err != nil {
				bad(l, "%v", err)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Parked = len(c.parked)
	for _, e := range c.log.Log() {
		if !e.Valid {
			r.Void++
		}
		if !seen[e.ID] && len(c.unsaved) == 0 {
			bad(e.ID, "in the chain and not on disk")
		}
	}
	return r, nil
}

// verify checks the signature of a stored link.
func (c *Chain) verify(u *block.Unverified) error {
	if u.Genesis() {
		_, err := u.Verify(block.TeamID{}, block.Generation{})
		return err
	}
	gen, ok := c.Generation(u.GenerationHint)
	if !ok {
		return errNoGeneration
	}
	_, err := u.Verify(c.id, gen)
	return err
}
