package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/team"
)

// An ADMIT with a proof that is not the joiner's is refused by everybody who can read
// it. Replicas cannot: their roster takes it for good, and whoever was smuggled in is
// given ciphertext. So the first admin who sees one removes the device that wrote it,
// which takes away what that device admitted beside the removal, on the roster too.

// maxForgers bounds whom we remember; a team has few liars, and one at a time goes.
const maxForgers = 64

// noteForged remembers the author of a link that was refused, if it was a forged
// admission. The caller holds mu.
func (c *Chain) noteForged(err error) {
	var refused *team.RefusedError
	if errors.As(err, &refused) && refused.Forged && len(c.forgers) < maxForgers && !slices.Contains(c.forgers, refused.By) {
		c.forgers = append(c.forgers, refused.By)
	}
}

// forging returns how many are remembered.
func (c *Chain) forging() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.forgers)
}

// dropForgers removes whoever forged an admission, one at a time, if this device is an
// admin's and it is its turn.
func (c *Chain) dropForgers(ctx context.Context) (time.Duration, error) {
	st, me := c.State(), c.n.Me()
	c.mu.Lock()
	c.forgers = slices.DeleteFunc(c.forgers, func(d block.Device) bool { return d == me || !st.Active(d) })
	if len(c.forgers) == 0 || st.Role(me) != team.RoleAdmin {
		c.waits.forgers = time.Time{}
		c.mu.Unlock()
		return 0, nil
	}
	before := 0 // admins' devices that come first
	for _, d := range st.Devices() {
		if d.Key == me {
			break
		}
		if d.Status == team.StatusActive && d.Role == team.RoleAdmin && !d.Recovery && !slices.Contains(c.forgers, d.Key) {
			before++
		}
	}
	due, left := c.due(&c.waits.forgers, before)
	forger := c.forgers[0]
	c.mu.Unlock()
	if !due {
		return left, nil
	}
	if _, err := c.Remove(ctx, forger, RemoveOptions{Device: true, Behind: true}); err != nil {
		return behindTurn, fmt.Errorf("remove %s, which forged an admission: %w", forger, err)
	}
	c.n.o.Log.Warn("a device was removed: it forged an admission", "team", c.id, "device", forger)
	return turn, nil
}
