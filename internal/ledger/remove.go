package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/team"
)

// This file is what takes something away from somebody. A cut carries data heads:
// what its author has seen stays, what he has not seen of the one who goes does not
// count, on any replica, whatever arrives first.

// ErrBehind: commits are known to be missing here, so a removal would throw away
// work that others hold.
var ErrBehind = errors.New("this device does not hold all of the team's data yet")

// RemoveOptions say how far a removal goes.
type RemoveOptions struct {
	// WithAdmitted also removes the devices that the target admitted, added or
	// invited, and those they brought in: for a device that was stolen.
	WithAdmitted bool
	// Device takes the target for a device even where a member has its id, as the
	// first device of every member does.
	Device bool
	// Behind removes though data is missing here; what is missing is not vouched for.
	Behind bool
}

// RemovalPlan is what a removal does, or would do.
type RemovalPlan struct {
	Target    block.Device
	Member    bool           // the target is a member: all his devices go
	Devices   []block.Device // that go, the brought-in ones among them if they go too
	BroughtIn []block.Device // active devices that came in through those who go; they stay unless WithAdmitted
	Revokes   []block.ID     // invitations that end
	Rekeys    int            // devices that get the new key
	Undoes    int            // admissions that are taken back: WithAdmitted
	Databases int            // whose present heads are vouched for
}

// PlanRemoval says what Remove would do. target is the id of a member, else the key
// of a device, else of a replica.
func (c *Chain) PlanRemoval(target block.Device, o RemoveOptions) (RemovalPlan, error) {
	p, _, err := c.planRemoval(target, o)
	return p, err
}

// Remove takes a member, a device or a replica off the team and gives those who stay
// a new key. It returns what it did. Who removes himself leaves.
func (c *Chain) Remove(ctx context.Context, target block.Device, o RemoveOptions) (RemovalPlan, error) {
	p, goes, err := c.planRemoval(target, o)
	if err != nil {
		return p, err
	}
	heads, err := c.vouch(ctx, o.Behind)
	if err != nil {
		return p, err
	}
	for i, content := range goes {
		if err := c.cut(ctx, amend(content, func(r *team.Removal) { r.Heads = heads })); err != nil {
			return p, fmt.Errorf("removal %d of %d: %w", i+1, len(goes), err)
		}
	}
	return p, nil
}

// Leave takes this member, with all his devices, off the team. It makes no key: who
// leaves must not choose one. What he had is kept here and not written to any more.
func (c *Chain) Leave(ctx context.Context) error {
	self, ok := c.State().Device(c.n.Me())
	if !ok {
		return fmt.Errorf("this device is not in team %q", c.State().Name())
	}
	_, err := c.Remove(ctx, self.Member, RemoveOptions{Behind: true})
	return err
}

// SetRole gives a member another role.
func (c *Chain) SetRole(ctx context.Context, member block.Device, role team.Role) error {
	content := team.SetRole{Member: member, Role: role}
	if role < team.RoleMember {
		heads, err := c.vouch(ctx, false)
		if err != nil {
			return err
		}
		content.Heads = heads
	}
	_, err := c.Link(ctx, content, nil)
	return err
}

// Adopt keeps all that this device holds of somebody's work who was removed, also
// what the remover had not seen: a person's decision. It returns the link.
func (c *Chain) Adopt(ctx context.Context, device block.Device) (block.ID, error) {
	heads, err := c.vouchFor(device)
	if err != nil {
		return block.ID{}, err
	}
	c.mu.Lock()
	content, ok := c.log.Adopt(device, heads)
	c.mu.Unlock()
	if !ok {
		return block.ID{}, fmt.Errorf("%s was not removed from team %q: there is nothing to adopt", device, c.State().Name())
	}
	return c.Link(ctx, content, nil)
}

// Rename gives the team another name.
func (c *Chain) Rename(ctx context.Context, name string) error {
	return c.name(ctx, team.NameTeam, nil, name)
}

// RenameDB gives a database of the team another name.
func (c *Chain) RenameDB(ctx context.Context, db block.DBID, name string) error {
	return c.name(ctx, team.NameDB, db[:], name)
}

// RenameMember gives a member another name; only his own devices may.
func (c *Chain) RenameMember(ctx context.Context, member block.Device, name string) error {
	return c.name(ctx, team.NameMember, member[:], name)
}

// RenameDevice gives a device of this member another name.
func (c *Chain) RenameDevice(ctx context.Context, device block.Device, name string) error {
	return c.name(ctx, team.NameDevice, device[:], name)
}

func (c *Chain) name(ctx context.Context, kind team.NameKind, subject []byte, name string) error {
	clean, err := team.CleanName(name)
	if err != nil {
		return err
	}
	_, err = c.Link(ctx, team.Name{Kind: kind, Subject: subject, Name: clean}, nil)
	return err
}

// cut writes a removal, with a new key unless somebody leaves.
func (c *Chain) cut(ctx context.Context, content team.Content) error {
	if c.leaving(content) {
		_, err := c.Link(ctx, content, nil)
		return err
	}
	d, err := c.generation(func(k team.Keys) team.Content {
		if x, ok := content.(team.RemoveReplica); ok {
			x.Keys = k
			return x
		}
		return amend(content, func(r *team.Removal) { r.Keys = &k })
	})
	if err != nil {
		return err
	}
	_, err = c.write(ctx, d)
	return err
}

// leaving reports whether a removal is of its author: his member, or this device.
func (c *Chain) leaving(content team.Content) bool {
	self, _ := c.State().Device(c.n.Me())
	switch x := content.(type) {
	case team.RemoveMember:
		return x.Target == self.Member
	case team.RemoveDevice:
		return x.Target == self.Key
	}
	return false
}

// planRemoval finds out who goes, and the links that say so: the target first, so
// that it cannot bring in more.
func (c *Chain) planRemoval(target block.Device, o RemoveOptions) (RemovalPlan, []team.Content, error) {
	st := c.State()
	p := RemovalPlan{Target: target}
	first, err := removalOf(st, target, o.Device)
	if err != nil {
		return p, nil, err
	}
	_, p.Member = first.(team.RemoveMember)
	goes := []team.Content{first}
	c.mu.Lock()
	defer c.mu.Unlock()
	gone := map[block.Device]bool{}
	c.collect(first, gone)
	next := c.broughtIn(gone)
	p.BroughtIn = next
	for o.WithAdmitted && len(next) > 0 {
		content, err := removalOf(st, next[0], !c.whole(next, gone))
		if err != nil {
			return p, nil, err
		}
		goes = append(goes, content)
		c.collect(content, gone)
		next = c.broughtIn(gone)
		for _, d := range next {
			if !slices.Contains(p.BroughtIn, d) {
				p.BroughtIn = append(p.BroughtIn, d)
			}
		}
	}
	if o.WithAdmitted {
		p.Undoes = len(p.BroughtIn)
	}
	for i := range goes {
		ids := c.log.Revokes(c.n.Me(), goes[i])
		goes[i] = amend(goes[i], func(r *team.Removal) { r.Revokes = ids })
		p.Revokes = append(p.Revokes, ids...)
	}
	slices.SortFunc(p.Revokes, func(a, b block.ID) int { return bytes.Compare(a[:], b[:]) })
	p.Revokes = slices.Compact(p.Revokes)
	for _, d := range st.Devices() {
		switch {
		case gone[d.Key]:
			p.Devices = append(p.Devices, d.Key)
		case d.Status == team.StatusActive && !c.leaving(first):
			p.Rekeys++
		}
	}
	p.Databases = len(st.DBs())
	return p, goes, nil
}

// removalOf is the content that removes a target: a member, a device, a replica.
func removalOf(st *team.State, target block.Device, asDevice bool) (team.Content, error) {
	d, isDevice := st.Device(target)
	m, isMember := st.Member(target)
	switch {
	case isDevice && d.Role == team.RoleReplica && d.Status <= team.StatusSuspended:
		return team.RemoveReplica{Device: target}, nil
	case isMember && !asDevice && m.Status <= team.StatusSuspended:
		return team.RemoveMember{Removal: team.Removal{Target: target}}, nil
	case isDevice && d.Status <= team.StatusSuspended:
		return team.RemoveDevice{Removal: team.Removal{Target: target}}, nil
	}
	return nil, fmt.Errorf("%s is not in team %q", target, st.Name())
}

// collect notes the devices that content takes off the team.
func (c *Chain) collect(content team.Content, gone map[block.Device]bool) {
	st := c.State()
	stay := map[block.Device]bool{}
	for _, d := range st.Remaining(content) {
		stay[d.Key] = true
	}
	for _, d := range st.Devices() {
		if d.Status == team.StatusActive && !stay[d.Key] {
			gone[d.Key] = true
		}
	}
	if x, ok := content.(team.RemoveDevice); ok {
		gone[x.Target] = true // a suspended one
	}
}

// broughtIn lists the active devices that those who go brought in and that stay,
// this one never among them.
func (c *Chain) broughtIn(gone map[block.Device]bool) []block.Device {
	var out []block.Device
	for by := range gone {
		for _, d := range c.log.BroughtIn(by) {
			if !gone[d] && d != c.n.Me() && !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	slices.SortFunc(out, func(a, b block.Device) int { return bytes.Compare(a[:], b[:]) })
	return out
}

// whole reports whether all of the member whose id is the first of brought would go:
// then he is removed, not his devices.
func (c *Chain) whole(brought []block.Device, gone map[block.Device]bool) bool {
	m, ok := c.State().Member(brought[0])
	if !ok {
		return false
	}
	for _, d := range m.Devices {
		if !gone[d] && !slices.Contains(brought, d) {
			return false
		}
	}
	return true
}

// amend returns a removal of a member or a device, changed. That of a replica has none
// of these fields: a replica writes nothing and invites nobody.
func amend(content team.Content, change func(*team.Removal)) team.Content {
	switch x := content.(type) {
	case team.RemoveMember:
		change(&x.Removal)
		return x
	case team.RemoveDevice:
		change(&x.Removal)
		return x
	}
	return content
}

// vouch returns the present heads of all databases of the team: what a cut keeps. It
// fails with ErrBehind where data is known to be missing, unless that is accepted.
func (c *Chain) vouch(ctx context.Context, behind bool) ([]team.DBHeads, error) {
	var out []team.DBHeads
	for _, info := range c.State().DBs() {
		d := c.n.Database(info.ID)
		if d == nil {
			if behind {
				continue
			}
			return nil, fmt.Errorf("%w: database %q is not open", ErrBehind, info.Name)
		}
		heads, err := d.vouch(ctx, behind)
		if err != nil {
			return nil, err
		}
		if len(heads) > 0 {
			out = append(out, team.DBHeads{DB: info.ID, Heads: heads})
		}
	}
	return out, nil
}

// vouch returns the heads of what counts in the database, merged down to as many as
// a link carries.
func (d *Database) vouch(ctx context.Context, behind bool) ([]block.ID, error) {
	if err := d.Damage(); err != nil {
		if behind {
			return nil, nil
		}
		return nil, fmt.Errorf("%w: %w", ErrBehind, err)
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	if len(d.awaited) > 0 && !behind {
		return nil, fmt.Errorf("%w: %d commits that a removal vouches for are not here; sync first", ErrBehind, len(d.awaited))
	}
	for range maxPrepare {
		d.mu.RLock()
		heads := standing(d.replica)
		d.mu.RUnlock()
		if len(heads) <= team.MaxDataHeads {
			return heads, nil
		}
		if err := d.mergeHeads(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s has too many concurrent heads to vouch for at once: try again", d.id)
}

// mergeHeads writes commits over more heads than a link carries. The caller holds
// writing.
func (d *Database) mergeHeads() error {
	gen, ok := d.team.writable()
	self, in := d.team.State().Device(d.n.Me())
	if !ok || !in {
		return fmt.Errorf("%w in team %q", ErrNoKey, d.team.State().Name())
	}
	a := crdt.Author{Actor: d.actor, Seat: self.Seat, TeamHeads: d.team.State().Heads(), Time: max(d.n.Now(), d.lastTime+1)}
	d.mu.RLock()
	draft, err := d.replica.Merge(a)
	d.mu.RUnlock()
	if errors.Is(err, crdt.ErrActor) {
		d.actor, err = d.n.newActor(d.id)
		return err // the next round writes with it
	}
	if err != nil || draft == nil {
		return err
	}
	_, err = d.write(draft, a, gen)
	return err
}

// standing returns the heads of the commits that count. A head that is void is not
// vouched for, what it builds on is: or the next cut would bring back what the last
// one took.
func standing(r *crdt.Replica) []block.ID {
	voids := r.Voids()
	if len(voids) == 0 {
		return slices.Clone(r.Heads())
	}
	below := map[block.ID]bool{} // in the past of a commit that counts
	var counting []block.ID
	for c := range r.Commits() {
		if _, void := voids[c.ID]; void {
			continue
		}
		counting = append(counting, c.ID)
		for _, p := range c.Parents {
			below[p] = true
		}
	}
	// Between two that count there may be void ones: a tip is a head only if it is not
	// below another.
	var tips []block.ID
	for _, id := range counting {
		if !below[id] {
			tips = append(tips, id)
		}
	}
	heads := slices.DeleteFunc(slices.Clone(tips), func(id block.ID) bool {
		return slices.ContainsFunc(tips, func(t block.ID) bool { return t != id && r.Inside([]block.ID{t}, id) })
	})
	slices.SortFunc(heads, func(a, b block.ID) int { return bytes.Compare(a[:], b[:]) })
	return heads
}

// vouchFor returns data heads that hold everything here by one device, void or not,
// beside what counts.
func (c *Chain) vouchFor(device block.Device) ([]team.DBHeads, error) {
	var out []team.DBHeads
	for _, d := range c.Databases() {
		var heads []block.ID
		err := d.View(func(r *crdt.Replica) error {
			last := map[block.Actor]block.ID{}
			for x := range r.Commits() {
				if x.Actor.Device == device {
					last[x.Actor] = x.ID
				}
			}
			for _, id := range last {
				heads = append(heads, id)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(heads) > team.MaxDataHeads {
			return nil, fmt.Errorf("%s wrote to %s under %d actors, at most %d can be adopted", device, d.id, len(heads), team.MaxDataHeads)
		}
		if len(heads) > 0 {
			slices.SortFunc(heads, func(a, b block.ID) int { return bytes.Compare(a[:], b[:]) })
			out = append(out, team.DBHeads{DB: d.id, Heads: heads})
		}
	}
	return out, nil
}
