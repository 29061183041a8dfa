package peering

import (
	"context"
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
)

// Heal starts fetching what the ledger knows to be damaged on this device's disk,
// unless that is under way, or nothing is, or nobody is connected: then the next
// member who connects starts it. It does not wait.
func (n *Network) Heal() {
	if !n.ledger.NeedsHealing() || !n.healing.CompareAndSwap(false, true) {
		return
	}
	n.run("heal", func() {
		defer n.healing.Store(false)
		if err := n.ledger.Heal(n.ctx, n.Fetch); err != nil && n.ctx.Err() == nil {
			n.o.Log.Warn("damaged blocks not healed yet", "err", err)
			return
		}
		for _, c := range n.ledger.Chains() {
			n.announceAll(c) // a database that was shut says where it stands again
		}
	})
}

// Fetch asks the connected members of a team for blocks of it. It returns what came,
// and an error if that is not all. It has the shape of [ledger.Fetch].
func (n *Network) Fetch(ctx context.Context, c *ledger.Chain, ids []block.ID) (map[block.ID][]byte, error) {
	have := map[block.ID][]byte{}
	var members []peer.ID
	for _, p := range n.host.Network().Peers() {
		if n.gate.Shares(p, c.ID()) {
			members = append(members, p)
		}
	}
	if len(members) == 0 {
		return have, nil
	}
	size := 0
	for window := range slices.Chunk(ids, healWindow) {
		for f, err := range n.exchange.GetMany(ctx, window, members) {
			if err != nil {
				return have, fmt.Errorf("fetch damaged blocks of %s: %w", c.ID(), err)
			}
			have[f.ID] = f.Data
			if size += len(f.Data); size >= healBytes {
				return have, nil // the rest is asked for in another round
			}
		}
	}
	return have, nil
}

const (
	healWindow = 256      // blocks asked for at once
	healBytes  = 32 << 20 // kept in memory until they are written
)
