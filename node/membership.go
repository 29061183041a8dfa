package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

// Rename gives the team another name.
func (t *teamDoor) Rename(ctx context.Context, name string) error {
	name, err := cleanName("team", name)
	if err != nil {
		return err
	}
	if t.c.Personal() {
		return api.ErrUsage.With("the personal team is always called "+api.Personal, "")
	}
	return doorError(t.c.Rename(ctx, name))
}

// found is a member or a device of a team that somebody named.
type found struct {
	key    block.Device
	name   string
	kind   string // member, device or replica
	member block.Device
}

// find looks for a name, an id or a unique prefix of one: members first, then
// devices. Those who were removed are found only if former says so.
func (t *teamDoor) find(text string, former bool) (found, error) {
	st := t.c.State()
	var named, prefixed []found
	offer := func(f found, name string) {
		id := f.key.String()
		switch {
		case text == "":
		case name == text || id == text || memberName(st, f.key) == text && f.kind == "member":
			named = append(named, f)
		case len(text) >= 12 && strings.HasPrefix(id, text):
			prefixed = append(prefixed, f)
		}
	}
	devices := st.Devices()
	if former {
		devices = st.FormerDevices()
	} else {
		for _, m := range st.Members() {
			kind := "member"
			if m.Role == team.RoleReplica {
				kind = "replica"
			}
			offer(found{m.ID, memberName(st, m.ID), kind, m.ID}, m.Name)
		}
	}
	if len(named) == 0 {
		for _, d := range devices {
			if !d.Recovery {
				offer(found{d.Key, cmp.Or(d.Name, shortID(d.Key)), "device", d.Member}, d.Name)
			}
		}
	}
	all := named
	if len(named) == 0 {
		all = prefixed
	}
	sameKey := func(a, b found) bool { return a.key == b.key }
	switch all = slices.CompactFunc(all, sameKey); len(all) {
	case 1:
		return all[0], nil
	case 0:
		return found{}, api.ErrNotFound.With(fmt.Sprintf("no member or device %q in team %q", text, st.Name()), "toft team members and toft team devices show them")
	}
	return found{}, api.ErrUsage.With(fmt.Sprintf("%q fits %d in team %q", text, len(all), st.Name()), "give the id: toft team devices --json")
}

// SetRole gives a member another role.
func (t *teamDoor) SetRole(ctx context.Context, member string, role api.Role) error {
	r, err := team.ParseRole(string(role))
	if err != nil || r == team.RoleReplica {
		return api.ErrUsage.With(fmt.Sprintf("%.20q is no role of a member", role), "admin, member or reader")
	}
	f, err := t.find(member, false)
	if err != nil {
		return err
	}
	if m, _ := t.c.State().Member(f.member); m.Role == r {
		return nil
	}
	return doorError(t.c.SetRole(ctx, f.member, r))
}

// Remove ends a member, a device or a replica, or tells what that would do.
func (t *teamDoor) Remove(ctx context.Context, r api.RemoveRequest) (api.Removal, error) {
	f, err := t.find(r.Target, false)
	if err != nil {
		return api.Removal{}, err
	}
	st := t.c.State()
	o := ledger.RemoveOptions{WithAdmitted: r.WithAdmitted, Device: f.kind == "device"}
	plan, err := t.c.PlanRemoval(f.key, o)
	if err == nil && !r.DryRun {
		plan, err = t.c.Remove(ctx, f.key, o)
	}
	if err != nil {
		return api.Removal{}, doorError(err)
	}
	out := api.Removal{
		Target: f.name, Kind: f.kind, DryRun: r.DryRun, Devices: deviceRows(st, plan.Devices), BroughtIn: deviceRows(st, plan.BroughtIn),
		Revokes: []string{}, Rekeys: plan.Rekeys, Databases: plan.Databases, Undoes: plan.Undoes,
	}
	for _, inv := range st.Invites() {
		if slices.Contains(plan.Revokes, inv.Link) {
			out.Revokes = append(out.Revokes, inv.ID.String())
		}
	}
	return out, nil
}

// deviceRows reports devices as the door shows them, recovery words not among them.
func deviceRows(st *team.State, keys []block.Device) []api.Device {
	out := []api.Device{}
	for _, key := range keys {
		if d, ok := st.Device(key); ok && !d.Recovery {
			out = append(out, api.Device{PeerID: d.Key.String(), Name: d.Name, Member: memberName(st, d.Member), State: d.Status.String()})
		}
	}
	return out
}

// Leave ends this device's member here.
func (t *teamDoor) Leave(ctx context.Context) error {
	if t.c.Personal() {
		return api.ErrForbidden.With("nobody leaves his personal team", "toft team remove personal DEVICE takes one device out")
	}
	return doorError(t.c.Leave(ctx))
}

// Rotate makes a new key.
func (t *teamDoor) Rotate(ctx context.Context) (api.TeamInfo, error) {
	if _, err := t.c.Rotate(ctx); err != nil {
		return api.TeamInfo{}, doorError(err)
	}
	return t.n.teamInfo(t.c), nil
}

// Adopt keeps what a removed device wrote.
func (t *teamDoor) Adopt(ctx context.Context, device string) error {
	f, err := t.find(device, true)
	if err != nil {
		return err
	}
	_, err = t.c.Adopt(ctx, f.key)
	return doorError(err)
}
