package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"

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

// find looks for a member or device that somebody named; former: for a device that
// was removed.
func (t *teamDoor) find(text string, former bool) (team.Named, error) {
	st := t.c.State()
	fits := st.Find(text, former)
	switch len(fits) {
	case 1:
		return fits[0], nil
	case 0:
		return team.Named{}, api.ErrNotFound.With(fmt.Sprintf("no member or device %q in team %q", text, st.Name()), "toft team members and toft team devices show them")
	}
	return team.Named{}, api.ErrUsage.With(fmt.Sprintf("%q fits %d in team %q", text, len(fits), st.Name()), "give the id: toft team devices --json")
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
	if m, _ := t.c.State().Member(f.Member); m.Role == r {
		return nil
	}
	return doorError(t.c.SetRole(ctx, f.Member, r))
}

// Remove ends a member, a device or a replica, or tells what that would do.
func (t *teamDoor) Remove(ctx context.Context, r api.RemoveRequest) (api.Removal, error) {
	f, err := t.find(r.Target, false)
	if err != nil {
		return api.Removal{}, err
	}
	st := t.c.State()
	o := ledger.RemoveOptions{WithAdmitted: r.WithAdmitted, Device: f.Kind == team.NamedDevice}
	plan, err := t.c.PlanRemoval(f.Key, o)
	if err == nil && !r.DryRun {
		plan, err = t.c.Remove(ctx, f.Key, o)
	}
	if err != nil {
		return api.Removal{}, doorError(err)
	}
	out := api.Removal{
		Target: cmp.Or(f.Name, shortID(f.Key)), Kind: string(f.Kind), DryRun: r.DryRun, Devices: deviceRows(st, plan.Devices), BroughtIn: deviceRows(st, plan.BroughtIn),
		Revokes: []string{}, Rekeys: plan.Rekeys, Databases: plan.Databases, Undoes: plan.Undoes,
	}
	for _, d := range st.Devices() {
		if d.Recovery && d.Status == team.StatusActive && !slices.Contains(plan.Devices, d.Key) && out.Rekeys > 0 {
			out.Rekeys-- // words on paper get the key too, but nobody counts them
		}
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
	_, err = t.c.Adopt(ctx, f.Key)
	return doorError(err)
}

// Verify checks the whole chain on disk again.
func (t *teamDoor) Verify(ctx context.Context) (api.VerifyReport, error) {
	began := t.n.clock()
	r, err := t.c.Verify(ctx)
	if err != nil {
		return api.VerifyReport{}, doorError(err)
	}
	out := api.VerifyReport{OK: len(r.Bad) == 0, Checked: int64(r.Links), Bad: []api.BadBlock{}}
	for _, b := range r.Bad {
		out.Bad = append(out.Bad, api.BadBlock{CID: b.ID.String(), Kind: "link", Detail: b.Why})
	}
	out.Seconds = t.n.clock().Sub(began).Seconds()
	return out, nil
}
