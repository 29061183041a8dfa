package peering

import (
	"errors"
	"time"

	"github.com/toftdb/toft/internal/ledger"
)

// Some of what keeps a team well happens by itself: a removal is confirmed, a key is
// made where none is good, a missing box is mended, an old topic is left. This is the
// clock of it: every chain is looked after when it has changed, and when it asked for.

const (
	// tendAgain is when a chain that could not be looked after is tried again.
	tendAgain = 10 * time.Second
	// tendIdle is how long nobody looks after a chain that asked for nothing.
	tendIdle = 10 * time.Minute
)

// tendSoon has a chain looked after; the loop that does may be busy with it now.
func (n *Network) tendSoon(c *ledger.Chain) {
	select {
	case n.follows <- c:
	default:
		n.mu.Lock()
		n.missed = true
		n.mu.Unlock()
	}
}

// tendLoop looks after the chains, one at a time.
func (n *Network) tendLoop() {
	due := map[*ledger.Chain]time.Time{}
	said := map[*ledger.Chain]string{} // of what failed, so that it is said once
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case c := <-n.follows:
			due[c] = time.Time{}
			if c.Personal() { // the other teams follow one's own devices
				clear(due)
			}
		case <-timer.C:
		}
		n.mu.Lock()
		missed := n.missed
		n.missed = false
		n.mu.Unlock()
		next := n.o.Clock().Add(tendIdle)
		for _, c := range n.ledger.Chains() {
			if at, ok := due[c]; !ok || missed || !n.o.Clock().Before(at) {
				wake, err := n.tend(c)
				if err != nil && n.ctx.Err() == nil && said[c] != err.Error() {
					said[c] = err.Error()
					n.o.Log.Warn("team not looked after", "team", c.ID(), "err", err)
				}
				due[c] = n.o.Clock().Add(wake)
			}
			if due[c].Before(next) {
				next = due[c]
			}
		}
		timer.Reset(max(next.Sub(n.o.Clock()), time.Millisecond))
	}
}

// tend looks after one chain and returns how long it may be left alone.
func (n *Network) tend(c *ledger.Chain) (time.Duration, error) {
	ours, err := c.Tend(n.ctx)
	topics, err2 := n.steerAgain(c)
	wake := tendIdle
	for _, later := range []time.Duration{ours, topics} {
		if later > 0 {
			wake = min(wake, later)
		}
	}
	if c.Personal() && n.claimSoon() {
		wake = min(wake, tendAgain)
	}
	if err = errors.Join(err, err2); err != nil {
		wake = min(wake, tendAgain)
	}
	return wake, err
}

// steerAgain does what has become due on a team's topics since its chain changed.
func (n *Network) steerAgain(c *ledger.Chain) (time.Duration, error) {
	n.mu.Lock()
	a := n.announcers[c.ID()]
	n.mu.Unlock()
	if a == nil {
		return 0, nil // Follow comes first
	}
	return a.steerAgain()
}
