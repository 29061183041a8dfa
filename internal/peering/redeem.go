package peering

import (
	"context"

	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/team"
)

// Join redeems a code: it proves the seed to a member over a fresh nonce, bound to
// this device's key, and then pulls the chain and the databases.
func (n *Network) Join(ctx context.Context, code team.Code, name string) (*ledger.Chain, team.Proof, error) {
	return n.JoinBySeed(ctx, code, code.Seed[:], name)
}

// JoinBySeed is Join with a seed that was told apart from the code.
func (n *Network) JoinBySeed(ctx context.Context, code team.Code, seed []byte, name string) (*ledger.Chain, team.Proof, error) {
	if !n.begin() {
		return nil, team.Proof{}, errClosing()
	}
	defer n.wg.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	c, proof, err := n.join(ctx, code, seed, name)
	if err != nil && n.ctx.Err() != nil {
		err = errClosing()
	}
	return c, proof, err
}
