package node

import (
	"context"
	"fmt"
	"strings"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/peering"
	"github.com/toftdb/toft/internal/words"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

// ShareWith admits the device of a did:key and publishes the invite block for it.
func (t *teamDoor) ShareWith(ctx context.Context, r api.ShareRequest) (api.Shared, error) {
	if t.c.Personal() {
		return api.Shared{}, api.ErrUsage.With("the personal team is for your own devices", "toft team invite device")
	}
	dev, err := block.ParseDevice(r.DID)
	if err != nil || !strings.HasPrefix(r.DID, "did:key:") {
		return api.Shared{}, api.ErrUsage.With("this is no share token: one looks like did:key:z6Mk…", "on the other device: toft share token")
	}
	role := team.RoleMember
	if r.Role != "" {
		role, err = team.ParseRole(string(r.Role))
	}
	if err != nil || role == team.RoleReplica {
		return api.Shared{}, api.ErrUsage.With(fmt.Sprintf("%.20q is no role of a member", r.Role), "admin, member or reader")
	}
	if t.c.State().Active(dev) {
		return api.Shared{}, api.ErrExists.With("this device is in team "+t.Name()+" already", "toft team devices")
	}
	name, err := team.CleanName(r.Name)
	if err != nil {
		return api.Shared{}, api.ErrUsage.Wrap(err, "choose another name")
	}
	addrs := t.n.codeAddrs()
	_, invite, err := t.c.AddMember(ctx, dev, role, name, addrs...)
	if err != nil {
		return api.Shared{}, doorError(err)
	}
	link := peering.ShareLinkOf(invite.ID, t.n.id.Device(), addrs).String()
	return api.Shared{Team: t.Name(), DID: r.DID, Role: api.Role(role.String()), CID: invite.ID.String(), Link: link, Words: words.Fingerprint(dev)}, nil
}

// pickUp joins by an invite block.
func (n *Node) pickUp(ctx context.Context, text string) (api.Joined, error) {
	link, err := peering.ParseShareLink(text)
	if err != nil {
		return api.Joined{}, api.ErrInviteInvalid.Wrap(err, "copy the whole link again")
	}
	c, s, err := n.live.Load().JoinShare(ctx, link)
	if err != nil {
		return api.Joined{}, doorError(err)
	}
	return n.joined(c, s.Inviter, words.Fingerprint(s.Inviter)), nil
}
