package node

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/toftdb/toft/internal/peering"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

// deviceInviteTime is how long a device invitation is good if nothing else is said.
const deviceInviteTime = 30 * time.Minute

// InviteMember makes an invitation for somebody else.
func (t *teamDoor) InviteMember(ctx context.Context, i api.MemberInvite) (api.Invite, error) {
	if t.c.Personal() {
		return api.Invite{}, api.ErrUsage.With("the personal team is for your own devices", "toft team create NAME makes one to share")
	}
	if i.Role == "" {
		i.Role = api.RoleMember
	}
	role, err := team.ParseRole(string(i.Role))
	if err != nil {
		return api.Invite{}, api.ErrUsage.Wrap(err, "admin, member or reader")
	}
	return t.invite(ctx, team.Invite{Kind: team.InviteMember, Role: role, MaxUses: i.MaxUses, Expires: wireTime(i.Expires)}, i.Short, ownSeed{i.Seed, i.AllowWeakSeed})
}

// InviteDevice makes an invitation for another device of this member.
func (t *teamDoor) InviteDevice(ctx context.Context, i api.DeviceInvite) (api.Invite, error) {
	if i.Expires.IsZero() {
		i.Expires = t.n.clock().Add(deviceInviteTime)
	}
	return t.invite(ctx, team.Invite{Kind: team.InviteDevice, MaxUses: 1, Expires: wireTime(i.Expires)}, i.Short, ownSeed{i.Seed, i.AllowWeakSeed})
}

// InviteReplica makes an invitation for a blind replica.
func (t *teamDoor) InviteReplica(ctx context.Context, i api.ReplicaInvite) (api.Invite, error) {
	return t.invite(ctx, team.Invite{Kind: team.InviteReplica, Role: team.RoleReplica, MaxUses: i.MaxUses, Expires: wireTime(i.Expires)}, i.Short, ownSeed{})
}

// ownSeed is a seed that travels apart from the code, as it was typed; empty: none.
type ownSeed struct {
	text      api.Secret
	allowWeak bool
}

// seedRules is what to do about a seed that is refused.
const seedRules = "leave the seed out, or take a longer one; a weak one needs --allow-weak-seed, one use, and at most --expires 24h"

// bytes returns what is stretched into the invitation's key, nil without an own
// seed.
func (o ownSeed) bytes(inv team.Invite, short bool, now wire.Time) ([]byte, error) {
	if o.text == "" {
		return nil, nil
	}
	clean, err := team.CleanSeed(o.text.Reveal())
	if err != nil {
		return nil, err
	}
	return []byte(clean), team.CheckSeed(clean, inv, short, o.allowWeak, now)
}

func (t *teamDoor) invite(ctx context.Context, inv team.Invite, short bool, own ownSeed) (api.Invite, error) {
	if inv.Expires != 0 && inv.Expires <= t.n.ledger.Now() {
		return api.Invite{}, api.ErrUsage.With("the invitation would have expired already", "give a time that is still to come")
	}
	id := t.c.ID()
	code := team.Code{Team: [20]byte(id[:20]), Short: short}
	if _, err := t.n.rand.Read(code.Invite[:]); err != nil {
		return api.Invite{}, err
	}
	seed, err := own.bytes(inv, short, t.n.ledger.Now())
	if err != nil {
		return api.Invite{}, doorError(err)
	}
	if seed == nil {
		if _, err := t.n.rand.Read(code.Seed[:]); err != nil {
			return api.Invite{}, err
		}
		seed = code.Seed[:]
	}
	signer, err := vault.InviteKey(code.Team, code.Invite, seed)
	if err != nil {
		return api.Invite{}, err
	}
	inv.ID, inv.Key = code.Invite, signer.Public()
	if !short {
		code.Device = t.n.id.Device()
		code.Addrs = t.n.codeAddrs()
	}
	if _, err := t.c.Link(ctx, inv, nil); err != nil {
		return api.Invite{}, doorError(err)
	}
	made, _ := t.c.State().Invitation(inv.ID)
	out := t.row(made)
	out.Code, out.Link, out.Apart = code.String(), code.Link(), own.text != ""
	return out, nil
}

// codeAddrs are the addresses an invitation carries.
func (n *Node) codeAddrs() [][]byte {
	if n.live.Load() == nil {
		return nil
	}
	return peering.CodeAddrs(n.host.Addrs())
}

// row reports an invitation as the door shows it.
func (t *teamDoor) row(inv team.Invitation) api.Invite {
	st := t.c.State()
	out := api.Invite{
		ID: inv.ID.String(), Team: st.Name(), Kind: inv.Kind.String(), Role: api.Role(inv.Role.String()),
		MaxUses: inv.MaxUses, Uses: inv.Uses, Expires: goTime(inv.Expires), By: memberName(st, inv.By), State: "open",
	}
	switch {
	case inv.Status == team.StatusUsed:
		out.State = "used"
	case inv.Status == team.StatusRevoked:
		out.State = "revoked"
	case inv.Expires != 0 && inv.Expires < t.n.ledger.Now():
		out.State = "expired"
	}
	return out
}

// Invites yields the team's invitations, newest first.
func (t *teamDoor) Invites(context.Context) iter.Seq2[api.Invite, error] {
	var rows []api.Invite
	for _, inv := range t.c.State().Invites() {
		rows = append(rows, t.row(inv))
	}
	slices.Reverse(rows)
	return all(rows)
}

// Revoke ends an invitation.
func (t *teamDoor) Revoke(ctx context.Context, id string) error {
	var found []team.Invitation
	for _, inv := range t.c.State().Invites() {
		if id != "" && strings.HasPrefix(inv.ID.String(), id) {
			found = append(found, inv)
		}
	}
	if len(found) != 1 {
		return api.ErrNotFound.With(fmt.Sprintf("%d invitations fit %q", len(found), id), "toft team invites shows their ids")
	}
	_, err := t.c.Link(ctx, team.Revoke{Invite: found[0].Link}, nil)
	return doorError(err)
}
