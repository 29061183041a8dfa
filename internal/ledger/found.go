package ledger

import (
	"context"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// genesis makes and stores the first link of a new team: this device, the recovery
// half of its user, and a first key boxed to both.
func (n *Ledger) genesis(ctx context.Context, i info) (*Chain, error) {
	secret, err := vault.NewSecret(n.o.Rand)
	if err != nil {
		return nil, err
	}
	unique, err := vault.NewSecret(n.o.Rand)
	if err != nil {
		return nil, err
	}
	me := n.o.Identity.Device()
	commitment := vault.Commitment(secret)
	recovery, recoveryKey, _ := n.o.Identity.Recovery()
	group := block.BoxGroup{Purpose: block.BoxGeneration, Commitment: commitment}
	for _, to := range []block.BoxKey{n.o.Identity.BoxKey(), recoveryKey} {
		box, err := vault.SealBox(vault.BoxContext{Purpose: block.BoxGeneration, Commitment: commitment, Author: me}, to, secret)
		if err != nil {
			return nil, err
		}
		group.Boxes = append(group.Boxes, box)
	}
	content := team.Create{
		BoxKey: n.o.Identity.BoxKey(), Recovery: &team.Recovery{Device: recovery, BoxKey: recoveryKey},
		Key: commitment, Random: [32]byte(unique.Reveal()),
	}
	layers, err := team.Encode(content, n.Now())
	if err != nil {
		return nil, err
	}
	h := block.Header{Kind: block.KindLink, Author: me, Boxes: []block.BoxGroup{group}}
	block.SortBoxes(h.Boxes)
	b, err := n.o.Identity.SignBlock(h, layers.Roster)
	if err != nil {
		return nil, err
	}
	u, err := block.Parse(b.Data)
	if err != nil {
		return nil, err
	}
	c, err := n.newChain(u)
	if err != nil {
		return nil, err
	}
	return c, c.begin(ctx, b, i)
}

// introduce names the team, the founder and this device, as far as they have names.
// Names are in the private layer, which genesis does not have.
func (c *Chain) introduce(ctx context.Context, name string) error {
	me := c.n.Me()
	names := []team.Name{
		team.Name{Kind: team.NameTeam, Name: name},
		team.Name{Kind: team.NameMember, Subject: me[:], Name: c.n.o.User},
		team.Name{Kind: team.NameDevice, Subject: me[:], Name: c.n.o.Device},
	}
	for _, content := range names {
		if content.Name == "" {
			continue
		}
		if _, err := c.Link(ctx, content, nil); err != nil {
			return err
		}
	}
	return nil
}
