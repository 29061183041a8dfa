package team

import (
	"errors"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
)

// allowed is rule 1: may link l stand above view v, which is resolve(past of l)?
// It returns the facts its own past decides. The answer holds for ever: nothing
// that is added later can change what was in the past of l.
func (v *view) allowed(l *link, h block.Header) (facts, error) {
	if v.g.roster {
		return v.allowedRoster(l, h)
	}
	a, err := v.actor(l)
	if err != nil {
		return facts{}, err
	}
	a.f = facts{need: RoleReader, root: none, invite: none, target: none, member: none, keys: keysOf(l.content)}
	if l.critical {
		a.f.need = RoleAdmin // on anybody else's link the bit makes the link void
	}
	if err := a.judge(l.content); err != nil {
		return facts{}, err
	}
	switch {
	case a.suspended && !(a.f.leaving && l.action != ActSetRole):
		return facts{}, errors.New("its author is suspended: his invitation was used up elsewhere")
	case a.role == RoleReplica:
		return facts{}, errors.New("a replica authors nothing")
	case a.role < a.f.need:
		return facts{}, fmt.Errorf("needs the role %s, its author is %s", a.f.need, a.role)
	}
	if err := a.boxes(h); err != nil {
		return facts{}, err
	}
	if a.f.keys != nil {
		for _, x := range v.gens {
			a.f.gens = append(a.f.gens, x.link)
		}
	}
	return a.f, nil
}

// actor is the author of a link in the view below it.
type actor struct {
	*view
	l         *link
	seat      int32
	member    int32
	role      Role
	suspended bool
	f         facts
}

// actor finds the author's seat and wants it active, or suspended.
func (v *view) actor(l *link) (*actor, error) {
	x := v.seats.get(l.seat)
	switch {
	case l.seat == none || x.mark == absent:
		return nil, errors.New("its author's seat is not in its past")
	case x.mark == void:
		return nil, errors.New("its author's admission does not count")
	case x.ends != nil:
		return nil, errors.New("its author had been removed")
	case !v.suspended(l.seat) && !v.isActive(l.seat):
		return nil, errors.New("its author's key belongs to a more senior member")
	}
	m := v.g.seats[l.seat].member
	return &actor{view: v, l: l, seat: l.seat, member: m, role: v.members.get(m).role, suspended: v.suspended(l.seat)}, nil
}

func (a *actor) judge(c Content) error {
	switch c := c.(type) {
	case Create:
		return errors.New("a second genesis")
	case Invite:
		return a.invite(c)
	case Revoke:
		return a.revoke(c)
	case Admit:
		return a.admit(c)
	case AddMember:
		return a.addMember(c)
	case AddDevice:
		return a.addDevice(c)
	case SetRole:
		return a.setRole(c)
	case RemoveMember:
		return a.removeMember(c.Removal)
	case RemoveDevice:
		return a.removeDevice(c.Removal)
	case RemoveReplica:
		return a.removeReplica(c)
	}
	return a.judgeRest(c)
}

func (a *actor) judgeRest(c Content) error {
	switch c := c.(type) {
	case Rotate:
		if a.anyGood() {
			a.require(RoleAdmin)
		}
	case GiveBoxes:
		return a.giveBoxes(c)
	case AddDB:
		a.require(RoleMember)
		if a.dbIn(a.g.dbLookup(c.DB)) {
			return fmt.Errorf("%s is in the team already", c.DB)
		}
	case RemoveDB:
		a.require(RoleAdmin)
		if !a.dbIn(a.g.dbLookup(c.DB)) {
			return fmt.Errorf("%s is not in the team", c.DB)
		}
	case Name:
		return a.rename(c)
	}
	return nil // MEMBER_OF, and actions of later versions
}

// require raises the role the link needs.
func (a *actor) require(r Role) { a.f.need = max(a.f.need, r) }

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

// mayRevoke raises the needed role unless the invitation is the author's own.
func (a *actor) mayRevoke(invite int32) {
	if a.g.seats[a.g.links[invite].seat].member != a.member {
		a.require(RoleAdmin)
	}
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

func (a *actor) revoke(c Revoke) error {
	n, _, err := a.openInvite(c.Invite)
	if err != nil {
		return err
	}
	a.mayRevoke(n)
	a.f.cut, a.f.invite, a.f.revokes = true, n, []int32{n}
	return nil
}

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
	p.Kind, p.Role, p.Invite, p.Admitter = inv.Kind, inv.Role, inv.ID, a.g.keys[a.l.author]
	copy(p.Team[:], a.g.team[:])
	p.Device, p.BoxKey, p.Recovery = c.Device, c.BoxKey, c.Recovery
	p.Commit = Commit(p.Device, p.BoxKey, p.Name, p.DeviceName, p.R)
	if err := a.g.proof(p, inv.Key); err != nil {
		return err
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
		if err := c.Device.Verify(block.ForDevice, DeviceStatement(a.g.team, self, c.Device, c.BoxKey), c.Statement); err != nil {
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

// targets returns the seats in the view, suspended ones included, that pick holds for.
func (a *actor) targets(seats []int32) []int32 {
	var in []int32
	for _, s := range seats {
		if a.in(s) {
			in = append(in, s)
		}
	}
	return in
}

func (a *actor) setRole(c SetRole) error {
	id := a.g.lookup(c.Member)
	m := a.memberByID(id)
	a.f.target = id
	now := a.members.get(max(m, 0)).role
	if m == none {
		now = 0
	}
	if !c.Confirms.IsZero() {
		if now != 0 && now != c.Role {
			return errors.New("nothing to confirm: the member has another role")
		}
		return a.confirm(c.Confirms, a.keys.get(id).demoted, func(x Content) bool {
			s, ok := x.(SetRole)
			return ok && s.Role == c.Role
		})
	}
	switch {
	case now == 0:
		return fmt.Errorf("%s is not on the team", c.Member)
	case now == RoleReplica:
		return errors.New("a replica has no other role")
	case now == c.Role:
		return fmt.Errorf("%s is %s already", c.Member, now)
	}
	lower := c.Role < now
	if m != a.member || !lower {
		a.require(RoleAdmin)
	}
	if lower && a.role >= a.f.need && !a.adminLeft(func(s int32) bool { return a.g.members[a.g.seats[s].member].id == id }) {
		return errors.New("the last admin cannot step down")
	}
	a.f.cut, a.f.root, a.f.leaving = lower, a.l.n, lower && m == a.member
	return nil
}

// confirm checks a cut that repeats an earlier one of somebody already out.
func (a *actor) confirm(id block.ID, inForce *list, same func(Content) bool) error {
	a.require(RoleAdmin)
	n, ok := a.g.byID[id]
	if !ok || !inForce.has(n) || !same(a.g.links[n].content) {
		return errors.New("what it confirms is not in force")
	}
	a.f.cut, a.f.root = true, a.g.links[n].root
	return nil
}

func (a *actor) removeMember(r Removal) error {
	id := a.g.lookup(r.Target)
	a.f.target = id
	var seats []int32
	for _, m := range a.keys.get(id).members {
		seats = append(seats, a.members.get(m).seats...)
	}
	own := a.g.members[a.member].id == id
	return a.removal(r, ActRemoveMember, seats, own, own,
		func(s int32) bool { return a.g.members[a.g.seats[s].member].id == id })
}

func (a *actor) removeDevice(r Removal) error {
	key := a.g.lookup(r.Target)
	a.f.target = key
	seats := a.keys.get(key).seats
	self := key == a.l.author
	own := self || !slices.ContainsFunc(a.targets(seats), func(s int32) bool { return a.g.seats[s].member != a.member })
	return a.removal(r, ActRemoveDevice, seats, own, self, func(s int32) bool { return a.g.seats[s].key == key })
}

// removal is the common part: seats are those the target ever had in this view,
// own needs no admin, leaving makes no generation.
func (a *actor) removal(r Removal, act Action, seats []int32, own, leaving bool, gone func(s int32) bool) error {
	in := a.targets(seats)
	for _, n := range r.Revokes {
		i, ok := a.g.byID[n]
		if !ok || a.invites.get(i).mark == absent {
			return errors.New("an invitation it revokes is not in its past")
		}
		// One that is not open is no error, and is revoked all the same: what closed it
		// here may fall.
		a.mayRevoke(i)
		a.f.revokes = append(a.f.revokes, i)
	}
	if len(in) == 0 {
		if r.Confirms.IsZero() || r.Keys != nil {
			return fmt.Errorf("%s is not on the team", r.Target)
		}
		var inForce *list
		for _, s := range seats {
			for e := a.seats.get(s).ends; e != nil; e = e.next {
				inForce = inForce.push(e.n)
			}
		}
		return a.confirm(r.Confirms, inForce, func(c Content) bool {
			x, ok := removalOf(c)
			return ok && c.Action() == act && x.Target == r.Target
		})
	}
	switch {
	case !r.Confirms.IsZero():
		return errors.New("nothing to confirm: the target is on the team")
	case leaving != (r.Keys == nil):
		return errors.New("a removal makes a generation, leaving makes none")
	}
	for _, s := range in {
		if a.members.get(a.g.seats[s].member).role == RoleReplica {
			return errors.New("a replica leaves by REMOVE_REPLICA only")
		}
	}
	if !own {
		a.require(RoleAdmin)
	}
	if a.role >= a.f.need && !a.adminLeft(gone) {
		return errors.New("the last admin cannot be removed or leave")
	}
	a.f.cut, a.f.leaving, a.f.root = true, leaving, a.l.n
	return nil
}

func (a *actor) removeReplica(c RemoveReplica) error {
	a.require(RoleAdmin)
	key := a.g.lookup(c.Device)
	in := a.targets(a.keys.get(key).seats)
	if len(in) == 0 {
		return fmt.Errorf("%s is not on the team", c.Device)
	}
	for _, s := range in {
		if a.members.get(a.g.seats[s].member).role != RoleReplica {
			return errors.New("not a replica: use REMOVE_DEVICE")
		}
	}
	a.f.cut, a.f.target, a.f.root = true, key, a.l.n
	return nil
}

func (a *actor) giveBoxes(c GiveBoxes) error {
	n, ok := a.g.byID[block.ID(c.Generation)]
	if !ok || a.g.links[n].keys == nil || !a.g.within(n, a.heads) {
		return errors.New("the generation is not in its past")
	}
	for _, d := range c.Devices {
		if a.holder(a.g.lookup(d)) == none {
			return fmt.Errorf("boxes for %s, who is not on the team", d)
		}
	}
	return nil
}

func (a *actor) rename(c Name) error {
	switch c.Kind {
	case NameTeam:
		a.require(RoleAdmin)
	case NameDB:
		a.require(RoleAdmin)
		if !a.dbIn(a.g.dbLookup(block.DBID(c.Subject))) {
			return errors.New("names a database that is not in the team")
		}
	case NameMember:
		if a.g.keys[a.g.members[a.member].id] != block.Device(c.Subject) {
			return errors.New("names another member")
		}
	case NameDevice:
		k := a.g.lookup(block.Device(c.Subject))
		if !slices.ContainsFunc(a.keys.get(k).seats, func(s int32) bool { return a.in(s) && a.g.seats[s].member == a.member }) {
			return errors.New("names a device of another member")
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

// removalOf returns the common part of REMOVE_MEMBER and REMOVE_DEVICE.
func removalOf(c Content) (Removal, bool) {
	switch c := c.(type) {
	case RemoveMember:
		return c.Removal, true
	case RemoveDevice:
		return c.Removal, true
	}
	return Removal{}, false
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

// dbLookup returns the number of a database, none if no link ever named it.
func (g *graph) dbLookup(id block.DBID) int32 {
	if n, ok := g.dbNum[id]; ok {
		return n
	}
	return none
}
