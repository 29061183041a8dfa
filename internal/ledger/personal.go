package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/team"
)

// A user's own devices are a team of their own, the personal one. Every other team
// follows it: a device that came to it is added to the teams its member is in, one
// that was removed from it is removed there. So one invitation makes a new phone one's
// own everywhere, and one removal ends a stolen one.
//
//	personal:  G -> +phone -> MEMBER_OF fam -> -phone
//	                            |                 └─ dropRemoved: REMOVE_DEVICE in fam
//	fam:       ...              └─ Claims (phone) ─▶ Grant (laptop): ADD_DEVICE in fam

// personalName is what a personal team is called; no other can be.
const personalName = "personal"

// Personal returns the chain of the team of the user's own devices, nil if there is
// none.
func (l *Ledger) Personal() *Chain {
	for _, c := range l.Chains() {
		if c.Personal() {
			return c
		}
	}
	return nil
}

// other returns the personal chain where it is another than c and this device may
// write in it; else nil.
func (c *Chain) other() *Chain {
	p := c.n.Personal()
	if p == nil || p == c || !p.Seated() || p.Provisional() {
		return nil
	}
	return p
}

// notePersonal writes into the personal team that one is in this one: one's other
// devices learn of it.
func (c *Chain) notePersonal(ctx context.Context) (time.Duration, error) {
	p := c.other()
	self, ok := c.State().Device(c.n.Me())
	if p == nil || !ok || self.Role == team.RoleReplica {
		return 0, nil
	}
	for _, of := range p.State().Teams() {
		if of.Team == c.id && of.Member == self.Member && !of.Gone {
			return 0, nil
		}
	}
	_, err := p.Link(ctx, team.MemberOf{Team: c.id, Member: self.Member, Name: c.State().Name()}, nil)
	return 0, err
}

// noteGone writes into the personal team that one is in this team no more, with any
// device.
func (c *Chain) noteGone(ctx context.Context) error {
	p := c.other()
	if p == nil {
		return nil
	}
	for _, of := range p.State().Teams() {
		m, ok := c.State().Member(of.Member)
		if of.Team != c.id || of.Gone || !ok || m.Status != team.StatusRemoved {
			continue
		}
		of.Gone, of.Addrs = true, nil
		if _, err := p.Link(ctx, of, nil); err != nil {
			return err
		}
	}
	return nil
}

// dropRemoved removes this member's devices that were removed from his personal team.
// Devices that never were in it are left alone.
func (c *Chain) dropRemoved(ctx context.Context) (time.Duration, error) {
	p := c.other()
	self, ok := c.State().Device(c.n.Me())
	if p == nil || !ok {
		return 0, nil
	}
	var gone, own []block.Device
	before := 0 // own devices that come first
	for _, d := range c.State().Devices() {
		if d.Key == self.Key {
			before = len(own)
		}
		was, known := p.State().Device(d.Key)
		switch {
		case d.Member != self.Member || d.Recovery:
		case d.Key != self.Key && known && was.Status == team.StatusRemoved:
			gone = append(gone, d.Key)
		default:
			own = append(own, d.Key)
		}
	}
	c.mu.Lock()
	if len(gone) == 0 {
		c.waits.removal = time.Time{}
		c.mu.Unlock()
		return 0, nil
	}
	due, left := c.due(&c.waits.removal, before)
	c.mu.Unlock()
	if !due {
		return left, nil
	}
	for _, d := range gone {
		_, err := c.Remove(ctx, d, RemoveOptions{Device: true})
		if errors.Is(err, ErrBehind) {
			return behindTurn, nil
		}
		if err != nil {
			return 0, fmt.Errorf("remove %s, which left the personal team: %w", d, err)
		}
	}
	return 0, nil
}

// Claims are this device's statements for the teams that its member is in with other
// devices, and it is not: those the personal team names. Hand each to one of one's own
// devices, which answers with Grant.
func (l *Ledger) Claims() []Statement {
	p := l.Personal()
	if p == nil || !p.Seated() || p.Provisional() {
		return nil
	}
	var out []Statement
	for _, of := range p.State().Teams() {
		if of.Gone || of.Team == p.id {
			continue
		}
		if c := l.Chain(of.Team); c != nil {
			if _, was := c.State().Device(l.Me()); was {
				continue // in, or taken out on purpose
			}
		}
		out = append(out, l.Claim(of.Team, of.Member))
	}
	return out
}

// Grant adds one of this user's own devices to a team, at its word. It returns the
// link that seats it: the device begins the team with it. Which device asks, the
// network has proved.
func (l *Ledger) Grant(ctx context.Context, s Statement) (seat block.ID, err error) {
	p, c := l.Personal(), l.Chain(s.Team)
	if p == nil || c == nil || !p.State().Active(s.Device) || !c.Seated() || c.Provisional() {
		return seat, fmt.Errorf("%w: %s is none of one's own devices, or the team is not here", ErrForbidden, s.Device)
	}
	if d, ok := c.State().Device(s.Device); ok && d.Status == team.StatusRemoved {
		return seat, fmt.Errorf("%w: %s was removed from team %q", ErrForbidden, s.Device, c.State().Name())
	}
	return c.AddDevice(ctx, s)
}

// adoptPersonal makes c the personal team of this device if it has become that: the
// user let this device into the personal team of another. The one it had is dropped
// if it is empty.
func (l *Ledger) adoptPersonal(ctx context.Context, c *Chain) error {
	st := c.State()
	self, ok := st.Device(l.Me())
	if c.Personal() || !ok || self.Status != team.StatusActive || self.Member == l.Me() || st.Name() != personalName || c.Provisional() {
		return nil
	}
	old := l.Personal()
	if old != nil {
		if err := old.become(ctx, false); err != nil {
			return err
		}
	}
	if err := c.become(ctx, true); err != nil {
		return err
	}
	if old != nil && old.empty() {
		return l.drop(ctx, old)
	}
	return nil
}

func (c *Chain) become(ctx context.Context, personal bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.info.Personal = personal
	return c.keepInfo(ctx)
}

// empty reports whether a team is nothing but this device.
func (c *Chain) empty() bool {
	st := c.State()
	for _, d := range st.Devices() {
		if d.Key != c.n.Me() && !d.Recovery {
			return false
		}
	}
	return len(st.DBs()) == 0
}

// drop forgets a team that has no database.
func (l *Ledger) drop(ctx context.Context, c *Chain) error {
	batch := l.o.Store.NewBatch()
	for e, err := range l.o.Store.Scan(store.Team(c.id)) {
		if err != nil {
			return err
		}
		batch.Delete(bytes.Clone(e.Key))
	}
	if err := l.durable(ctx, batch); err != nil {
		return err
	}
	l.mu.Lock()
	delete(l.teams, c.id)
	l.mu.Unlock()
	l.o.Changed(c)
	return nil
}
