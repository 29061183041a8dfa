package apitest

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/node/api"
)

// teamHandle is a team as one node sees it.
type teamHandle struct {
	n *Node
	t *team
}

func (h *teamHandle) ID() string   { return h.t.info.ID }
func (h *teamHandle) Name() string { return h.t.info.Name }

func (h *teamHandle) lock() func() {
	h.n.world.mu.Lock()
	return h.n.world.mu.Unlock
}

func (h *teamHandle) Info(context.Context) (api.TeamInfo, error) {
	defer h.lock()()
	return h.t.view(h.n), nil
}

func (h *teamHandle) CreateDB(_ context.Context, name string) (api.DB, error) {
	defer h.lock()()
	if name == "" || strings.Contains(name, "/") {
		return nil, api.ErrUsage.With(fmt.Sprintf("%q is no name of a database", name), "")
	}
	for _, d := range h.t.dbs {
		if d.name == name {
			return nil, api.ErrExists.With(fmt.Sprintf("there is a database %q already", name), "")
		}
	}
	sum := h.n.world.hash("db")
	d := &database{
		world: h.n.world, team: h.t, id: block.DBID(sum[:16]).String(), name: name,
		rows: map[string]*row{}, wake: make(chan struct{}),
	}
	h.t.dbs = append(h.t.dbs, d)
	h.t.link(h.n, "ADD_DB")
	return &dbHandle{d: d, n: h.n}, nil
}

func (h *teamHandle) InviteMember(_ context.Context, i api.MemberInvite) (api.Invite, error) {
	return h.invite(api.Invite{Kind: "member", Role: cmp.Or(i.Role, api.RoleMember), MaxUses: i.MaxUses, Expires: i.Expires}, ownSeed{i.Seed, i.AllowWeakSeed, i.Short})
}

func (h *teamHandle) InviteDevice(_ context.Context, i api.DeviceInvite) (api.Invite, error) {
	if i.Expires.IsZero() {
		i.Expires = time.Now().Add(30 * time.Minute)
	}
	return h.invite(api.Invite{Kind: "device", Role: api.RoleMember, MaxUses: 1, Expires: i.Expires}, ownSeed{i.Seed, i.AllowWeakSeed, i.Short})
}

// ownSeed is a seed of the inviter's own and what was said with it.
type ownSeed struct {
	text        api.Secret
	weak, short bool
}

// check refuses what a real node does. What can be guessed is told by length here.
func (o ownSeed) check(i api.Invite) error {
	clean := cleanSeed(o.text)
	switch {
	case o.text == "":
		return nil
	case clean == "" || o.short:
		return api.ErrUsage.With("this seed cannot be used", "")
	case len(clean) >= 20 && strings.Trim(clean.Reveal(), clean.Reveal()[:1]) != "":
		return nil
	case !o.weak || i.MaxUses != 1 || i.Expires.IsZero() || i.Expires.After(time.Now().Add(24*time.Hour)):
		return api.ErrUsage.With("a weak seed needs the flag, one use, and at most 24 hours", "")
	}
	return nil
}

// cleanSeed is how a seed is compared.
func cleanSeed(s api.Secret) api.Secret {
	return api.Secret(strings.ToLower(strings.NewReplacer(" ", "", "-", "", ".", "", "\n", "").Replace(s.Reveal())))
}

func (h *teamHandle) invite(i api.Invite, own ownSeed) (api.Invite, error) {
	defer h.lock()()
	if err := own.check(i); err != nil {
		return api.Invite{}, err
	}
	me := h.t.member(h.n)
	if i.Kind != "device" && me.Role != api.RoleAdmin {
		return api.Invite{}, api.ErrForbidden.With("only an admin may invite", "")
	}
	sum := h.n.world.hash("invite")
	i.ID, i.Team, i.By = block.InviteID(sum[:8]).String(), h.t.info.Name, me.Name
	h.t.invites = append(h.t.invites, &invite{i, cleanSeed(own.text)})
	h.t.link(h.n, "INVITE")
	i.State, i.Code, i.Link, i.Apart = "open", i.ID, "toft:join/"+i.ID, own.text != ""
	return i, nil
}

func (h *teamHandle) Invites(context.Context) iter.Seq2[api.Invite, error] {
	return seq(h.n, func() ([]api.Invite, error) {
		var all []api.Invite
		for _, i := range slices.Backward(h.t.invites) {
			v := i.Invite
			v.State = i.state()
			all = append(all, v)
		}
		return all, nil
	})
}

func (h *teamHandle) Revoke(_ context.Context, id string) error {
	defer h.lock()()
	for _, i := range h.t.invites {
		if strings.HasPrefix(i.ID, id) {
			i.State = "revoked"
			h.t.link(h.n, "REVOKE")
			return nil
		}
	}
	return api.ErrNotFound.With(fmt.Sprintf("no invitation %q here", id), "toft team invites")
}

func (h *teamHandle) Members(context.Context) iter.Seq2[api.Member, error] {
	return seq(h.n, func() ([]api.Member, error) {
		var all []api.Member
		for _, m := range h.t.members {
			v := m.Member
			v.Devices = len(m.nodes)
			all = append(all, v)
		}
		slices.SortFunc(all, func(a, b api.Member) int { return cmp.Compare(a.Name, b.Name) })
		return all, nil
	})
}

func (h *teamHandle) Devices(_ context.Context, who string) iter.Seq2[api.Device, error] {
	return seq(h.n, func() ([]api.Device, error) {
		var all []api.Device
		known := who == ""
		for _, m := range h.t.members {
			if who != "" && who != m.Name && !strings.HasPrefix(m.ID, who) {
				continue
			}
			known = true
			for _, n := range m.nodes {
				all = append(all, api.Device{PeerID: n.id.PeerID, Name: n.id.Device, Member: m.Name, State: "active"})
			}
		}
		if !known {
			return nil, api.ErrNotFound.With(fmt.Sprintf("no member %q here", who), "toft team members")
		}
		return all, nil
	})
}

func (h *teamHandle) Log(context.Context) iter.Seq2[api.ChainLink, error] {
	return seq(h.n, func() ([]api.ChainLink, error) { return slices.Clone(h.t.links), nil })
}
