package team

import (
	"errors"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
)

// This file is rule 1 for what brings people and keys in: invitations, admissions,
// devices, lockboxes.

func (a *actor) invite(c Invite) error {
	if c.Kind != InviteDevice {
		a.require(RoleAdmin)
	}
	for _, n := range a.g.invites[c.ID] {
		if a.invites.get(n).mark != absent {
			return fmt.Errorf("invitation %s exists already", c.ID)
		}
	}
	return nil
}

// openInvite finds an INVITE in the past that counts and is not revoked or used up.
func (a *actor) openInvite(id block.ID) (int32, Invite, error) {
	n, ok := a.g.byID[id]
	if !ok || a.invites.get(n).mark == absent {
		return none, Invite{}, errors.New("the invitation is not in its past")
	}
	inv := a.g.links[n].content.(Invite)
	switch x := a.invites.get(n); {
	case x.mark == void:
		return none, inv, errors.New("the invitation does not count")
	case x.revoked != nil:
		return none, inv, errors.New("the invitation is revoked")
	case a.usedUp(n):
		return none, inv, errors.New("the invitation is used up")
	}
	return n, inv, nil
}

// errProof: what a joiner must have signed was not signed by him. An honest admitter
// checks that before he writes.
var errProof = errors.New("the join proof does not hold")

func (a *actor) admit(c Admit) error {
	n, inv, err := a.openInvite(c.Invite)
	if err != nil {
		return err
	}
	a.f.invite, a.f.member = n, none
	id := c.Device
	if inv.Kind == InviteDevice {
		a.f.member = a.g.seats[a.g.links[n].seat].member
		if !a.memberIn(a.f.member) {
			return errors.New("the inviter is not on the team any more")
		}
		id = a.g.keys[a.g.members[a.f.member].id]
	}
	if err := a.newDevice(c.Device, c.Recovery); err != nil {
		return err
	}
	for _, s := range a.keys.get(a.g.lookup(c.Device)).seats {
		if a.g.links[a.g.seats[s].link].invite == n {
			return errors.New("the invitation admitted this device already")
		}
	}
	if inv.Kind != InviteMember && c.Recovery != nil {
		return errors.New("a recovery half for what is no member")
	}
	if !inv.Bound.IsZero() && inv.Bound != c.Device {
		return errors.New("the invitation is for another device")
	}
	p := c.Proof
	p.Kind, p.Role, p.Invite = inv.Kind, inv.Role, inv.ID
	if !planted.Bug("team-proof-replayed") {
		p.Admitter = a.g.keys[a.l.author]
	}
	copy(p.Team[:], a.g.team[:])
	p.Device, p.BoxKey, p.Recovery = c.Device, c.BoxKey, c.Recovery
	p.Commit = Commit(p.Device, p.BoxKey, p.Name, p.DeviceName, p.R)
	if err := a.g.proof(p, inv.Key); err != nil {
		return fmt.Errorf("%w: %w", errProof, err)
	}
	return a.recovery(c.Recovery, id)
}

// newDevice wants keys that hold no active seat, and room for them.
func (a *actor) newDevice(d block.Device, r *Recovery) error {
	if a.holder(a.g.lookup(d)) != none {
		return fmt.Errorf("device %s is on the team already", d)
	}
	room := 1
	if r != nil {
		room = 2
		if r.Device == d || a.holder(a.g.lookup(r.Device)) != none {
			return errors.New("the recovery key is on the team already")
		}
	}
	if a.active+room > MaxDevices {
		return fmt.Errorf("the team has %d devices, at most %d", a.active, MaxDevices)
	}
	return nil
}

// recovery wants the recovery half's own signature, for the member it is for.
func (a *actor) recovery(r *Recovery, member block.Device) error {
	if r == nil {
		return nil
	}
	st := DeviceStatement(a.g.team, member, r.Device, r.BoxKey)
	if err := r.Device.Verify(block.ForDevice, st, r.Statement); err != nil {
		return fmt.Errorf("recovery half: %w", err)
	}
	return nil
}

func (a *actor) addMember(c AddMember) error {
	a.require(RoleAdmin)
	if err := a.newDevice(c.Device, c.Recovery); err != nil {
		return err
	}
	if r := c.Recovery; r != nil {
		st := DeviceStatement(a.g.team, c.Device, r.Device, r.BoxKey)
		if err := c.Device.Verify(block.ForDevice, st, r.Vouch); err != nil {
			return fmt.Errorf("recovery half: %w", err)
		}
	}
	return a.recovery(c.Recovery, c.Device)
}

func (a *actor) addDevice(c AddDevice) error {
	self := a.g.keys[a.g.members[a.member].id]
	a.f.member = a.member
	if c.Device != a.g.keys[a.l.author] {
		if err := a.newDevice(c.Device, c.Recovery); err != nil {
			return err
		}
		err := c.Device.Verify(block.ForDevice, DeviceStatement(a.g.team, self, c.Device, c.BoxKey), c.Statement)
		if err != nil && !planted.Bug("team-device-unsigned") {
			return err
		}
		return a.recovery(c.Recovery, self)
	}
	if c.Statement != (block.Signature{}) {
		return errors.New("a statement about the author's own key")
	}
	if c.Recovery == nil {
		if a.boxKey(a.seat).Equal(c.BoxKey) {
			return errors.New("the device has this HPKE key already")
		}
		return nil
	}
	if a.holder(a.g.lookup(c.Recovery.Device)) != none || a.active+1 > MaxDevices {
		return errors.New("the recovery key is on the team already, or there is no room for it")
	}
	return a.recovery(c.Recovery, self)
}

func (a *actor) giveBoxes(c GiveBoxes) error {
	n, ok := a.g.byID[block.ID(c.Generation)]
	if !ok || a.g.links[n].keys == nil || !a.g.within(n, a.heads) {
		return errors.New("the generation is not in its past")
	}
	for _, d := range c.Devices {
		if a.holder(a.g.lookup(d)) == none && !planted.Bug("team-boxes-for-outsiders") {
			return fmt.Errorf("boxes for %s, who is not on the team", d)
		}
	}
	return nil
}

// boxes checks the keys a link is sealed under and hands out: generations of its
// past, with the commitments they have, and for a replica no more than route keys.
func (a *actor) boxes(h block.Header) error {
	gen := func(id block.Generation) *Keys {
		n, ok := a.g.byID[block.ID(id)]
		if !ok || a.g.links[n].keys == nil || !a.g.within(n, a.heads) {
			return nil
		}
		return a.g.links[n].keys
	}
	if gen(h.Generation) == nil {
		return errors.New("sealed under a generation that is not in its past")
	}
	for _, b := range h.Boxes {
		if b.Generation.IsZero() {
			continue // checked by Parse against the keys it makes
		}
		k := gen(b.Generation)
		switch {
		case k == nil:
			return errors.New("lockboxes of a generation that is not in its past")
		case b.Purpose == block.BoxGeneration && b.Commitment != k.Key, b.Purpose == block.BoxRoute && k.Route != [32]byte{} && b.Commitment != k.Route:
			return errors.New("lockboxes of another key than the generation's")
		}
		if c, ok := a.l.content.(Admit); ok && b.Purpose == block.BoxGeneration {
			if n := a.g.byID[c.Invite]; a.g.links[n].content.(Invite).Kind == InviteReplica {
				return errors.New("a replica gets route keys only")
			}
		}
	}
	return nil
}

// boxKey returns the HPKE key of a seat in the view.
func (v *view) boxKey(s int32) block.BoxKey {
	st := v.g.seats[s]
	if own := v.seats.get(s).box; own != st.link {
		return v.g.links[own].content.(AddDevice).BoxKey
	}
	c := v.g.links[st.link].content
	if r := recoveryOf(c); st.recovery && r != nil {
		return r.BoxKey
	}
	switch c := c.(type) {
	case Create:
		return c.BoxKey
	case Admit:
		return c.BoxKey
	case AddDevice:
		return c.BoxKey
	case AddMember:
		if !c.BoxKey.IsZero() {
			return c.BoxKey
		}
		k, _ := c.Device.BoxKey() // Parse checked that the key is on the curve
		return k
	}
	return block.BoxKey{}
}
