package apitest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/node/api"
)

// admin locks the world and refuses whoever is no admin of the team.
func (h *teamHandle) admin(what string) (unlock func(), err error) {
	unlock = h.lock()
	if m := h.t.member(h.n); m == nil || m.Role != api.RoleAdmin {
		unlock()
		return func() {}, api.ErrForbidden.With("only an admin may "+what, "ask an admin of the team")
	}
	return unlock, nil
}

func (h *teamHandle) Rename(_ context.Context, name string) error {
	unlock, err := h.admin("rename the team")
	defer unlock()
	if err == nil && name == "" {
		err = api.ErrUsage.With("a team needs a name", "")
	}
	if err != nil {
		return err
	}
	h.t.info.Name = name
	h.t.link(h.n, "NAME")
	return nil
}

func (h *teamHandle) findMember(ref string) (*member, error) {
	var found []*member
	for _, m := range h.t.members {
		if ref != "" && (m.Name == ref || strings.HasPrefix(m.ID, ref)) {
			found = append(found, m)
		}
	}
	return only(found, "member", ref)
}

func (h *teamHandle) SetRole(_ context.Context, ref string, role api.Role) error {
	if !slices.Contains([]api.Role{api.RoleAdmin, api.RoleMember, api.RoleReader}, role) {
		return api.ErrUsage.With(fmt.Sprintf("%q is no role of a member", role), "admin, member or reader")
	}
	unlock, err := h.admin("give roles")
	defer unlock()
	if err != nil {
		return err
	}
	m, err := h.findMember(ref)
	if err != nil {
		return err
	}
	if m.Role == role {
		return nil
	}
	if role != api.RoleAdmin && h.lastAdmin(m) {
		return errLastAdmin()
	}
	m.Role = role
	h.t.link(h.n, "SET_ROLE")
	return nil
}

func errLastAdmin() error {
	return api.ErrForbidden.With("the last admin stays", "make somebody else an admin first")
}

func (h *teamHandle) lastAdmin(m *member) bool {
	return m.Role == api.RoleAdmin && !slices.ContainsFunc(h.t.members, func(o *member) bool {
		return o != m && o.Role == api.RoleAdmin
	})
}

func (h *teamHandle) Remove(_ context.Context, r api.RemoveRequest) (api.Removal, error) {
	unlock, err := h.admin("remove others")
	defer unlock()
	if err != nil {
		return api.Removal{}, err
	}
	out := api.Removal{Target: r.Target, Kind: "member", DryRun: r.DryRun, Databases: len(h.t.dbs)}
	var gone *Node // nil: all of the member
	m, err := h.findMember(r.Target)
	if err != nil {
		out.Kind = "device"
		if m, gone = h.t.device(r.Target); m == nil {
			return api.Removal{}, api.ErrNotFound.With(fmt.Sprintf("no member or device %q here", r.Target), "toft team members")
		}
	}
	left := slices.DeleteFunc(slices.Clone(m.nodes), func(n *Node) bool { return gone == nil || n == gone })
	if len(left) == 0 && h.lastAdmin(m) {
		return api.Removal{}, errLastAdmin()
	}
	for _, n := range m.nodes {
		if !slices.Contains(left, n) {
			out.Devices = append(out.Devices, api.Device{PeerID: n.id.PeerID, Name: n.id.Device, Member: m.Name, State: "active"})
		}
	}
	for _, i := range h.t.invites {
		if i.By == m.Name && i.state() == "open" {
			out.Revokes = append(out.Revokes, i.ID)
		}
	}
	for _, o := range h.t.members {
		out.Rekeys += len(o.nodes)
	}
	out.Rekeys -= len(out.Devices)
	if r.DryRun {
		return out, nil
	}
	for _, i := range h.t.invites {
		if slices.Contains(out.Revokes, i.ID) {
			i.State = "revoked"
		}
	}
	if m.nodes = left; gone == nil {
		h.t.members = slices.DeleteFunc(h.t.members, func(o *member) bool { return o == m })
	}
	h.t.link(h.n, "REMOVE_"+strings.ToUpper(out.Kind))
	h.t.rekey(h.n)
	return out, nil
}

func (t *team) device(ref string) (*member, *Node) {
	for _, m := range t.members {
		for _, n := range m.nodes {
			if n.id.Device == ref || n.id.PeerID == ref {
				return m, n
			}
		}
	}
	return nil, nil
}

func (t *team) rekey(n *Node) { t.info.Generation = block.Generation(n.world.hash("gen")).String() }

func (h *teamHandle) Leave(context.Context) error {
	defer h.lock()()
	m := h.t.member(h.n)
	if m == nil || h.t.info.Personal {
		return api.ErrForbidden.With("this device cannot leave", "")
	}
	if h.lastAdmin(m) {
		return errLastAdmin()
	}
	h.t.members = slices.DeleteFunc(h.t.members, func(o *member) bool { return o == m })
	h.t.link(h.n, "REMOVE_MEMBER")
	return nil
}

func (h *teamHandle) Rotate(context.Context) (api.TeamInfo, error) {
	unlock, err := h.admin("make a new key")
	defer unlock()
	if err != nil {
		return api.TeamInfo{}, err
	}
	h.t.link(h.n, "ROTATE")
	h.t.rekey(h.n)
	return h.t.view(h.n), nil
}

func (h *teamHandle) Adopt(_ context.Context, device string) error {
	unlock, err := h.admin("keep what was removed")
	defer unlock()
	if err != nil {
		return err
	}
	return api.ErrNotFound.With(fmt.Sprintf("no device %q was removed", device), "toft team log")
}

func (h *teamHandle) Verify(context.Context) (api.VerifyReport, error) {
	defer h.lock()()
	return api.VerifyReport{OK: true, Checked: int64(len(h.t.links))}, nil
}

func (h *teamHandle) InviteReplica(_ context.Context, i api.ReplicaInvite) (api.Invite, error) {
	return h.invite(api.Invite{Kind: "replica", Role: api.RoleReplica, MaxUses: i.MaxUses, Expires: i.Expires}, ownSeed{short: i.Short})
}

// ShareWith writes the member down; the device comes in when it joins.
func (h *teamHandle) ShareWith(_ context.Context, r api.ShareRequest) (api.Shared, error) {
	if !strings.HasPrefix(r.DID, "did:key:z6Mk") {
		return api.Shared{}, api.ErrUsage.With("this is no share token", "on the other device: toft share token")
	}
	unlock, err := h.admin("share the team")
	defer unlock()
	if err != nil {
		return api.Shared{}, err
	}
	for _, m := range h.t.members {
		if m.did == r.DID {
			return api.Shared{}, api.ErrExists.With("this device is in the team already", "")
		}
	}
	role := cmp.Or(r.Role, api.RoleMember)
	cid := h.n.world.cid("share")
	h.t.members = append(h.t.members, &member{did: r.DID, share: cid, Member: api.Member{
		ID: r.DID, Name: r.Name, Role: role, AdmittedBy: h.t.member(h.n).Name, State: "active",
	}})
	h.t.link(h.n, "ADD_MEMBER")
	return api.Shared{Team: h.t.info.Name, DID: r.DID, Role: role, CID: cid, Link: "toft:share/" + cid, Words: fingerprint()}, nil
}

// pickUp is a join by the CID of an invite block.
func (n *Node) pickUp(cid string) (api.Joined, error) {
	for _, t := range n.world.teams {
		for _, m := range t.members {
			if m.share == cid && m.did == n.id.DID {
				if !slices.Contains(m.nodes, n) {
					m.nodes, m.ID = append(m.nodes, n), n.id.PeerID
					m.Name = cmp.Or(m.Name, n.id.User)
				}
				return t.joined(n, m.AdmittedBy), nil
			}
		}
	}
	return api.Joined{}, api.ErrInviteUnknown.With("nothing of this name was shared with this device", "")
}

func (t *team) joined(n *Node, by string) api.Joined {
	j := api.Joined{Team: t.view(n), AdmittedBy: by, Words: fingerprint()[:4]}
	for _, d := range t.dbs {
		j.DBs = append(j.DBs, d.info())
	}
	return j
}

func fingerprint() []string {
	return []string{"acid", "acorn", "acre", "acts", "afar", "affix", "aged", "agent"}
}

// RecoveryKit implements [api.API]. The words of this world are one word and a
// device.
func (n *Node) RecoveryKit(context.Context) (api.RecoveryKit, error) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if n.forgot {
		return api.RecoveryKit{}, api.ErrNotFound.With("the recovery kit is no longer on this device", "")
	}
	k := api.RecoveryKit{User: n.id.User, Words: n.words()}
	for _, t := range n.mine() {
		k.Teams = append(k.Teams, api.KitTeam{ID: t.info.ID, Name: t.info.Name})
	}
	return k, nil
}

func (n *Node) words() []api.Secret {
	w := make([]api.Secret, 16)
	for i := range w {
		w[i] = api.Secret("acid")
	}
	w[15] = api.Secret(n.id.PeerID)
	return w
}

// ForgetRecovery implements [api.API].
func (n *Node) ForgetRecovery(context.Context) error {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.forgot = true
	return nil
}

// Recover implements [api.API].
func (n *Node) Recover(_ context.Context, r api.RecoverRequest) (api.Joined, error) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if len(r.Words) != 16 {
		return api.Joined{}, api.ErrUsage.With("these are not the words of a recovery kit", "16 words, in their order")
	}
	for _, t := range n.world.teams {
		for _, m := range t.members {
			for _, lost := range m.nodes {
				if t.info.ID == r.Team && slices.Equal(lost.words(), r.Words) {
					m.nodes = append(m.nodes, n)
					t.link(n, "ADD_DEVICE")
					return t.joined(n, m.Name), nil
				}
			}
		}
	}
	return api.Joined{}, api.ErrForbidden.With("the team does not know these words", "")
}

// LockKeys implements [api.API].
func (n *Node) LockKeys(_ context.Context, p api.Secret) error {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if p == "" {
		return api.ErrUsage.With("the passphrase is empty", "")
	}
	n.lock = p
	return nil
}

// UnlockKeys implements [api.API].
func (n *Node) UnlockKeys(_ context.Context, p api.Secret) error {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if p != n.lock {
		return api.ErrKeyLocked.With("wrong passphrase", "")
	}
	n.lock = ""
	return nil
}

func (h *dbHandle) Rename(_ context.Context, name string) error {
	defer h.lock()()
	if m := h.d.team.member(h.n); m == nil || m.Role != api.RoleAdmin {
		return api.ErrForbidden.With("only an admin may rename a database", "")
	}
	for _, d := range h.d.team.dbs {
		if d.name == name {
			return api.ErrExists.With(fmt.Sprintf("there is a database %q already", name), "")
		}
	}
	h.d.name = name
	h.d.team.link(h.n, "NAME")
	return nil
}

func (h *dbHandle) Move(_ context.Context, ref string) (api.DBInfo, error) {
	defer h.lock()()
	t, err := h.n.findTeam(ref)
	if err != nil {
		return api.DBInfo{}, err
	}
	if t == h.d.team {
		return api.DBInfo{}, api.ErrExists.With("the database is there already", "")
	}
	h.leaveTeam()
	t.dbs, h.d.team = append(t.dbs, h.d), t
	t.link(h.n, "ADD_DB")
	return h.d.info(), nil
}

func (h *dbHandle) leaveTeam() {
	t := h.d.team
	t.dbs = slices.DeleteFunc(t.dbs, func(d *database) bool { return d == h.d })
	t.link(h.n, "REMOVE_DB")
}

func (h *dbHandle) Drop(context.Context) error {
	defer h.lock()()
	if m := h.d.team.member(h.n); m == nil || m.Role != api.RoleAdmin {
		return api.ErrForbidden.With("only an admin may drop a database", "")
	}
	h.leaveTeam()
	return nil
}
