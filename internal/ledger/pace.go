package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/toftdb/toft/block"
)

// A link on top of the present heads costs the reducer one step. A link on an old head,
// which runs beside much that came after that head, has it resolve all of that again,
// and a member may sign as many of those as it likes. So every batch with such links
// in it costs their author one of few turns, which come back with time. Who has none
// left is held: his links wait, together, and are taken in one batch, with one state,
// when his next turn comes.
//
// Invariants:
//
//   - Holding drops nothing: what is held is taken when a turn is there, when too many
//     are held, or when somebody with a turn built on it. So the rule decides when a link is taken, by at most oldTurn,
//     and never whether: replicas end at the same links and so at the same state.
//   - Nobody pays but by his signature: a name on a forged link costs its owner nothing.
//   - One pays by the batch, not by the link, and only for what runs beside more than
//     oldBeside links: two lines that meet, a sync in many answers, links in any order
//     cost a turn per fork at the most, and usually none. A device that is not (or not
//     surely) on the team yet, and one that reads its own disk, lets everything in.
//
// It bounds states, not links: to verify and judge each link once is what it costs to
// have it.
const (
	// oldBeside is how many links may run beside a link before it counts as old.
	oldBeside = 64
	// oldBurst is how many batches of old links a device has in hand.
	oldBurst = 32
	// oldTurn is how long one of them takes to come back.
	oldTurn = 2 * time.Second
	// maxHeld and maxHeldBytes are how many links are held; with more they are all taken
	// in one batch, whoever's they are. It is less than an answer of a sync, which is
	// 1 MiB, so that an answer that is not the last always brings something to take.
	maxHeld      = 256
	maxHeldBytes = 512 << 10
	// maxPaced bounds the devices that are remembered for having used some: twice the
	// largest team. More are strangers, whose links are refused behind this.
	maxPaced = 1024
)

// errHeld: the link is on an old head, and its author has no turn left.
var errHeld = errors.New("on an old head, held until its author's next turn")

// pace is what the devices of a chain have used of their turns.
type pace struct {
	owes map[block.Device]time.Time // when the device has all its turns again
	held map[block.ID]bool          // parked links of verified authors without a turn
}

func newPace() pace { return pace{map[block.Device]time.Time{}, map[block.ID]bool{}} }

// wait returns how long a device waits for its next turn, 0 if it has one. A clock that
// was set back makes nobody wait longer than for one turn.
func (p *pace) wait(dev block.Device, now time.Time) time.Duration {
	owes, ok := p.owes[dev]
	if !ok {
		return 0
	}
	if most := now.Add(oldBurst * oldTurn); owes.After(most) {
		owes = most
		p.owes[dev] = owes
	}
	return max(owes.Sub(now)-(oldBurst-1)*oldTurn, 0)
}

// use takes a turn of a device that has one.
func (p *pace) use(dev block.Device, now time.Time) {
	if len(p.owes) >= maxPaced {
		for d, owes := range p.owes {
			if !owes.After(now) {
				delete(p.owes, d)
			}
		}
		if len(p.owes) >= maxPaced {
			clear(p.owes)
		}
	}
	owes := p.owes[dev]
	if owes.Before(now) {
		owes = now
	}
	p.owes[dev] = owes.Add(oldTurn)
}

// batch is one run over the parked links, behind which there is one new state.
type batch struct {
	c    *Chain
	free bool // nobody pays
	now  time.Time
	top  map[block.ID]bool     // the heads before it, and what it added
	paid map[block.Device]bool // whose old links it takes
}

// newBatch starts a run. The caller holds mu.
func (c *Chain) newBatch(free bool) *batch {
	s := &batch{
		c: c, free: free || c.info.Provisional || !c.Seated(), now: c.n.o.Clock(),
		top: map[block.ID]bool{}, paid: map[block.Device]bool{},
	}
	if !s.free {
		for _, h := range c.log.Heads() {
			s.top[h] = true
		}
	}
	return s
}

// may reports whether a device has, or had, a turn for this batch.
func (s *batch) may(dev block.Device) bool {
	return s.free || s.paid[dev] || s.c.pace.wait(dev, s.now) == 0
}

// pay uses a device's turn for this batch. Its signature was verified.
func (s *batch) pay(dev block.Device) bool {
	if !s.may(dev) {
		return false
	}
	if !s.free && !s.paid[dev] {
		s.paid[dev] = true
		s.c.pace.use(dev, s.now)
	}
	return true
}

// try verifies, opens and adds one link, or holds it.
func (s *batch) try(u *block.Unverified) (*block.Block, error) {
	c := s.c
	if c.pace.held[u.ID] && !s.may(u.Author) {
		return nil, errHeld
	}
	b, err := c.accept(u, u.Verify, s.gate)
	if !errors.Is(err, errHeld) {
		delete(c.pace.held, u.ID)
	}
	if err == nil {
		s.top[u.ID] = true
	}
	return b, err
}

// gate lets a link through, whose signature is good and whose layers are open, if it
// is not old or its author has a turn.
func (s *batch) gate(u *block.Unverified) error {
	if s.old(u) && !s.pay(u.Author) {
		s.c.pace.held[u.ID] = true
		return errHeld
	}
	return nil
}

// old reports whether a link, whose parents are here, runs beside much.
func (s *batch) old(u *block.Unverified) bool {
	parents := u.Links[:u.Parents]
	known := func(id block.ID) bool { return s.top[id] }
	return !s.free && len(absent(parents, known)) > 0 && s.c.log.Beside(parents, oldBeside)
}

// release lets held links in on which a waiting link of somebody else stands: he took
// them, so this is his batch. It reports whether there are any.
func (s *batch) release(waiting []block.ID) (any bool) {
	c := s.c
	for _, id := range waiting {
		u := c.parked[id]
		for _, p := range u.Links[:u.Parents] {
			below := c.parked[p]
			if below == nil || !c.pace.held[p] || s.may(below.Author) || !s.may(u.Author) {
				continue
			}
			gen, ok := c.sealedUnder(u.GenerationHint)
			if !ok {
				continue
			}
			if _, err := u.Verify(c.id, gen); err == nil && s.pay(u.Author) {
				s.paid[below.Author], any = true, true
			}
		}
	}
	return any
}

// crowded reports whether too many links are held. The caller holds mu.
func (c *Chain) crowded() bool {
	size := 0
	for id := range c.pace.held {
		size += len(c.parked[id].Data())
	}
	return len(c.pace.held) >= maxHeld || size >= maxHeldBytes
}

// takeHeld takes the links whose authors have a turn again, and returns when the next
// has one.
func (c *Chain) takeHeld(ctx context.Context) (time.Duration, error) {
	c.mu.Lock()
	if len(c.pace.held) == 0 {
		c.mu.Unlock()
		return 0, nil
	}
	added, err := c.absorb(ctx)
	wake := c.heldFor()
	c.mu.Unlock()
	if added > 0 {
		c.settled()
	}
	return wake, err
}

// heldFor returns when the first of the held links can be taken, 0 if there are none.
// The caller holds mu.
func (c *Chain) heldFor() (wake time.Duration) {
	now := c.n.o.Clock()
	for id := range c.pace.held {
		left := max(c.pace.wait(c.parked[id].Author, now), time.Millisecond)
		if wake == 0 || left < wake {
			wake = left
		}
	}
	return wake
}

// Held returns how many links wait because their authors sent too many on old heads:
// [Chain.Tend] takes them when it is time.
func (c *Chain) Held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pace.held)
}
