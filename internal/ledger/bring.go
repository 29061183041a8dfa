package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/crdt/tree"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// What a checkpoint needs from others is brought here, kept as it comes, and looked at
// once: the newest commits, whose signatures say that the actors are who they are, and
// the tree.

// checkTips fetches the newest commit of every actor and asks the chain about it as it
// is here. A removal that the author did not know cuts some actor's newest commit
// first, so this finds whatever it would take away.
func (d *Database) checkTips(ctx context.Context, c *crdt.Checkpoint, fetch Fetch) error {
	tips := map[block.ID]bool{}
	for pins := range slices.Chunk(c.Frontier, maxBrought) {
		ids := make([]block.ID, len(pins))
		for i, p := range pins {
			ids[i], tips[p.ID] = p.ID, true
		}
		got, err := d.bring(ctx, ids, fetch)
		if err != nil {
			return err
		}
		for _, p := range pins {
			if _, void := slices.BinarySearchFunc(c.Voids, p.ID, func(a, b block.ID) int { return slices.Compare(a[:], b[:]) }); void {
				continue
			}
			switch err := d.checkTip(p, got[p.ID]); {
			case errors.Is(err, crdt.ErrJudged):
				return fmt.Errorf("tip %s: %w", p.ID, err)
			case err != nil:
				return fmt.Errorf("%w: tip %s: %w", ErrAdopt, p.ID, err)
			}
		}
	}
	if len(absent(c.Heads, func(id block.ID) bool { return tips[id] })) > 0 {
		return fmt.Errorf("%w: a head is no actor's newest commit", ErrAdopt)
	}
	return nil
}

func (d *Database) checkTip(p crdt.Pin, data []byte) error {
	u, err := block.Parse(data)
	if err != nil {
		return err
	}
	gen, ok := d.team.Generation(u.GenerationHint)
	if !ok || u.DB != d.id {
		return errTeamHeads
	}
	b, err := u.Verify(d.team.id, gen)
	if err != nil {
		return err
	}
	plain, err := d.n.keys.Open(vault.Data, b.Header, b.Body)
	if err != nil {
		return err
	}
	c, err := crdt.ParseCommit(b, plain)
	if err != nil {
		return err
	}
	if c.Actor != p.Actor || c.Seq != p.Seq {
		return fmt.Errorf("%w: of another actor or seq", block.ErrMalformed)
	}
	v := d.team.judge(team.CommitFacts{
		DB: d.id, Device: c.Actor.Device, Seat: c.Seat, Generation: c.Generation, TeamHeads: c.TeamHeads,
		Inside: func(heads []block.ID) bool { return slices.Contains(heads, c.ID) },
	})
	switch {
	case len(v.Missing) > 0:
		return errTeamHeads
	case !v.Valid:
		return fmt.Errorf("%w: %s", crdt.ErrJudged, v.Why)
	}
	return nil
}

const (
	maxBrought = 64   // blocks kept in memory at once
	maxNodes   = 1024 // nodes asked for at once
	maxRounds  = 3    // without anything new, before a fetch is given up
)

// bring returns blocks, from the disk or from members. Those of the tree and its values
// are kept by whoever asks.
func (d *Database) bring(ctx context.Context, ids []block.ID, fetch Fetch) (map[block.ID][]byte, error) {
	out := make(map[block.ID][]byte, len(ids))
	var lacking []block.ID
	for _, id := range ids {
		if data, err := d.n.o.Store.Get(store.Block(id)); err == nil && block.Sum(data) == id {
			out[id] = data
		} else {
			lacking = append(lacking, id)
		}
	}
	if len(lacking) > 0 && fetch == nil {
		return nil, fmt.Errorf("%d blocks are not here", len(lacking))
	}
	for round := 0; len(lacking) > 0; round++ {
		got, err := fetch(ctx, d.team, lacking)
		batch := d.n.o.Store.NewBatch()
		for _, id := range lacking {
			if data, ok := got[id]; ok && block.Sum(data) == id {
				out[id], round = data, 0
				batch.Set(store.Block(id), data)
			}
		}
		if err := errors.Join(err, ctx.Err()); err != nil && batch.Len() == 0 {
			return nil, fmt.Errorf("fetch %d blocks: %w", len(lacking), err)
		}
		if err := d.n.durable(ctx, batch); err != nil {
			return nil, err
		}
		lacking = slices.DeleteFunc(lacking, func(id block.ID) bool { return out[id] != nil })
		if len(lacking) > 0 && round >= maxRounds {
			return nil, fmt.Errorf("%d blocks did not come", len(lacking))
		}
	}
	return out, nil
}

// fetchTree brings the nodes of a checkpoint here, many at a time, those near the root
// first. They are listed, so that they are collected once nothing needs them.
func (d *Database) fetchTree(ctx context.Context, a *adoption, fetch Fetch, moved func()) error {
	if a.c.Entries == 0 {
		return nil
	}
	f := a.r.Fetch(a.c)
	for !f.Done() {
		refs, err := f.Next(ctx, maxNodes)
		if err != nil {
			return lying(err)
		}
		ids := make([]block.ID, len(refs))
		for i, ref := range refs {
			ids[i] = ref.ID
		}
		got, err := d.bring(ctx, ids, fetch)
		if err != nil {
			return err
		}
		for _, ref := range refs {
			b, plain, err := d.openLinked(ref.ID, got[ref.ID])
			if err == nil && b.Header.Kind != block.KindNode {
				err = tree.ErrMalformed
			}
			if err == nil {
				err = f.Add(ref, plain, b.Header.Links)
			}
			if err != nil {
				return lying(err)
			}
		}
		if err := d.listFetched(ctx, ids); err != nil {
			return err
		}
		moved()
	}
	return nil
}

// lying marks what only a wrong tree can cause.
func lying(err error) error {
	if errors.Is(err, tree.ErrMalformed) || errors.Is(err, block.ErrMalformed) {
		return fmt.Errorf("%w: %w", crdt.ErrLie, err)
	}
	return err
}

func (d *Database) listFetched(ctx context.Context, ids []block.ID) error {
	batch := d.n.o.Store.NewBatch()
	d.listNodes(batch, ids)
	return d.n.durable(ctx, batch)
}
