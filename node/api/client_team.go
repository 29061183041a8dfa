package api

import (
	"context"
	"iter"
	"net/http"
	"net/url"
)

// clientTeam is a [Team] in a daemon.
type clientTeam struct {
	c    *Client
	info TeamInfo // as it was when the handle was made
}

func (t *clientTeam) ID() string   { return t.info.ID }
func (t *clientTeam) Name() string { return t.info.Name }

func (t *clientTeam) path(segments ...string) string {
	return path(append([]string{"v1", "teams", t.info.ID}, segments...)...)
}

func (t *clientTeam) Info(ctx context.Context) (TeamInfo, error) {
	return call[TeamInfo](ctx, t.c, http.MethodGet, t.path(), nil, nil)
}

func (t *clientTeam) CreateDB(ctx context.Context, name string) (DB, error) {
	info, err := callWith[DBInfo](ctx, t.c, http.MethodPost, "/v1/dbs", nil, struct {
		Name string `json:"name"`
		Team string `json:"team"`
	}{name, t.info.ID})
	if err != nil {
		return nil, err
	}
	return &clientDB{c: t.c, info: info}, nil
}

func (t *clientTeam) InviteMember(ctx context.Context, i MemberInvite) (Invite, error) {
	return callWith[Invite](ctx, t.c, http.MethodPost, t.path("invites"), nil, struct {
		Kind string `json:"kind"`
		MemberInvite
	}{"member", i})
}

func (t *clientTeam) InviteDevice(ctx context.Context, i DeviceInvite) (Invite, error) {
	return callWith[Invite](ctx, t.c, http.MethodPost, t.path("invites"), nil, struct {
		Kind string `json:"kind"`
		DeviceInvite
	}{"device", i})
}

func (t *clientTeam) Invites(ctx context.Context) iter.Seq2[Invite, error] {
	return array[Invite](ctx, t.c, t.path("invites"))
}

func (t *clientTeam) Revoke(ctx context.Context, id string) error {
	if id == "" {
		return ErrUsage.With("no invitation is named", "")
	}
	_, err := call[struct{}](ctx, t.c, http.MethodDelete, t.path("invites", id), nil, nil)
	return err
}

func (t *clientTeam) Members(ctx context.Context) iter.Seq2[Member, error] {
	return array[Member](ctx, t.c, t.path("members"))
}

func (t *clientTeam) Devices(ctx context.Context, member string) iter.Seq2[Device, error] {
	return array[Device](ctx, t.c, t.path("devices")+"?member="+url.QueryEscape(member))
}

func (t *clientTeam) Log(ctx context.Context) iter.Seq2[ChainLink, error] {
	return array[ChainLink](ctx, t.c, t.path("chain"))
}
