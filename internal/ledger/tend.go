package ledger

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/team"
)

// turn is how long a device waits for each one before it, where one of them has to
// do something and any may.
const turn = 2 * time.Second

// behindTurn is how long a removal that waits for data waits before it is tried
// again.
const behindTurn = 10 * time.Second

// waiting is since when something is to be done that any device may do. The first in
// rank does it at once, the next if nothing came of that.
type waiting struct{ rotation, boxes, removal, forgers time.Time }

// Tend does what a team needs and nobody has to ask for:
//
//   - a removal or demotion of somebody senior is confirmed by somebody yet more
//     senior, or the target could undo it;
//   - where no key is good, because somebody left or two removals crossed, one is made;
//   - devices that lack a key that others have are given it;
//   - this device's HPKE key is published, and words on paper of its member;
//   - this member's devices follow his personal team: see personal.go;
//   - who admitted somebody by a forged proof is removed: see forged.go;
//   - links that are held for their authors' turn are taken: see pace.go.
//
// Call it after every change of a chain and when the time it returns is over; 0 is
// "only after a change". It may be called at any time, again.
func (c *Chain) Tend(ctx context.Context) (wake time.Duration, err error) {
	held, err := c.takeHeld(ctx)
	if err != nil {
		return turn, err
	}
	defer func() {
		if held > 0 && (wake == 0 || held < wake) {
			wake = held
		}
	}()
	if err := c.n.adoptPersonal(ctx, c); err != nil {
		return turn, err
	}
	if !c.Seated() {
		return 0, c.noteGone(ctx)
	}
	if c.Provisional() {
		return turn, nil // what we were shown may not be all; that it is, is no change
	}
	tasks := []func(context.Context) (time.Duration, error){
		c.confirm, c.keepGood, c.giveBoxes, c.publishOwn, c.notePersonal, c.dropRemoved, c.dropForgers,
	}
	for _, task := range tasks {
		later, failed := task(ctx)
		if later > 0 && (wake == 0 || later < wake) {
			wake = later
		}
		err = errors.Join(err, failed)
	}
	return wake, err
}

// confirm writes the confirmations that this device owes.
func (c *Chain) confirm(ctx context.Context) (time.Duration, error) {
	c.mu.Lock()
	owed := c.log.Confirmations(c.n.Me())
	c.mu.Unlock()
	for _, content := range owed {
		if _, err := c.Link(ctx, content, nil); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// due reports whether it is this device's turn for something that has been to do
// since a time, which it notes, and if not, when: before is how many may do it first.
// The caller holds mu.
func (c *Chain) due(since *time.Time, before int) (bool, time.Duration) {
	now := c.n.o.Clock()
	if since.IsZero() {
		*since = now
	}
	left := time.Duration(before)*turn - now.Sub(*since)
	return left <= 0, max(left, 0)
}

// keepGood makes a generation where none is good.
func (c *Chain) keepGood(ctx context.Context) (time.Duration, error) {
	c.mu.Lock()
	if _, good := c.State().WriteGeneration(); good {
		c.waits.rotation = time.Time{}
		c.mu.Unlock()
		return 0, nil
	}
	due, left := c.due(&c.waits.rotation, c.State().RotationRank(c.n.Me()))
	if !due {
		c.mu.Unlock()
		return left, nil
	}
	_, err := c.rotate(ctx)
	c.mu.Unlock()
	c.settled()
	if errors.Is(err, ErrNoKey) {
		return 0, nil // somebody else must; a key that comes is a change
	}
	return 0, err
}

// giveBoxes boxes keys to active devices that lack them: current ones, and those of
// generations made where such a device was out, for links stand under them that it
// could not open otherwise.
func (c *Chain) giveBoxes(ctx context.Context) (time.Duration, error) {
	c.mu.Lock()
	lacking := map[block.Generation][]block.Device{}
	for _, l := range c.log.Lacking() {
		if l.Device != c.n.Me() && c.n.keys.Has(c.id, l.Generation) {
			lacking[l.Generation] = append(lacking[l.Generation], l.Device)
		}
	}
	if len(lacking) == 0 {
		c.waits.boxes = time.Time{}
		c.mu.Unlock()
		return 0, nil
	}
	due, left := c.due(&c.waits.boxes, c.State().RotationRank(c.n.Me()))
	c.mu.Unlock()
	if !due {
		return left, nil
	}
	for gen, devices := range lacking {
		if err := c.Box(ctx, gen, devices); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// Box gives an existing generation to active devices, replicas its route key: those
// that lack it, or whose box was wrong.
func (c *Chain) Box(ctx context.Context, gen block.Generation, devices []block.Device) error {
	slices.SortFunc(devices, func(a, b block.Device) int { return bytes.Compare(a[:], b[:]) })
	devices = slices.Compact(devices)
	var full, half []block.BoxKey
	for _, key := range devices {
		d, _ := c.State().Device(key)
		if d.Role == team.RoleReplica {
			half = append(half, d.BoxKey)
		} else {
			full = append(full, d.BoxKey)
		}
	}
	d := draft{content: team.GiveBoxes{Generation: gen, Devices: devices}}
	var groups []block.BoxGroup
	for purpose, to := range map[block.BoxPurpose][]block.BoxKey{block.BoxGeneration: full, block.BoxRoute: half} {
		if len(to) == 0 {
			continue
		}
		g, err := c.boxes(purpose, []block.Generation{gen}, to...)
		if err != nil {
			return err
		}
		groups = append(groups, g...)
	}
	if err := c.pack(&d, groups); err != nil {
		return err
	}
	_, err := c.write(ctx, d)
	return err
}

// publishOwn publishes the HPKE key of a device that was added by its did:key, and
// words on paper for a member who has none.
func (c *Chain) publishOwn(ctx context.Context) (time.Duration, error) {
	self, ok := c.State().Device(c.n.Me())
	if !ok || self.Recovery || self.Role == team.RoleReplica {
		return 0, nil
	}
	content := c.insure(self)
	if key := c.n.o.Identity.BoxKey(); content == nil && !self.BoxKey.Equal(key) {
		content = team.AddDevice{Device: self.Key, BoxKey: key}
	}
	if content == nil {
		return 0, nil
	}
	_, err := c.Link(ctx, content, nil)
	return 0, err
}
