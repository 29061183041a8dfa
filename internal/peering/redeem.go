package peering

import (
	"context"

	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/team"
)

// Joiner is how this device wants to be taken in.
type Joiner struct {
	Name string // of the member; empty: the user's
	// Device agrees to become one of the inviter's own devices. A code does not show
	// that it is one for that, and who becomes one by mistake lets him into all he has.
	Device bool
}

// Join redeems a code: it proves the seed to a member over a fresh nonce, bound to
// this device's key, and then pulls the chain and the databases.
func (n *Network) Join(ctx context.Context, code team.Code, as Joiner) (*ledger.Chain, team.Proof, error) {
	return n.JoinBySeed(ctx, code, code.Seed[:], as)
}

// JoinBySeed is Join with a seed that was told apart from the code.
func (n *Network) JoinBySeed(ctx context.Context, code team.Code, seed []byte, as Joiner) (*ledger.Chain, team.Proof, error) {
	if !n.begin() {
		return nil, team.Proof{}, errClosing()
	}
	defer n.wg.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	c, proof, err := n.join(ctx, code, seed, as)
	if err != nil && n.ctx.Err() != nil {
		err = errClosing()
	}
	return c, proof, err
}
