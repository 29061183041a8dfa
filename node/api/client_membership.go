package api

import (
	"context"
	"net/http"
)

func (t *clientTeam) Rename(ctx context.Context, name string) error {
	_, err := callWith[struct{}](ctx, t.c, http.MethodPatch, t.path(), nil, struct {
		Name string `json:"name"`
	}{name})
	return err
}

func (t *clientTeam) SetRole(ctx context.Context, member string, role Role) error {
	_, err := callWith[struct{}](ctx, t.c, http.MethodPost, t.path("roles"), nil, struct {
		Member string `json:"member"`
		Role   Role   `json:"role"`
	}{member, role})
	return err
}

func (t *clientTeam) Remove(ctx context.Context, r RemoveRequest) (Removal, error) {
	return callWith[Removal](ctx, t.c, http.MethodPost, t.path("remove"), nil, r)
}

func (t *clientTeam) Leave(ctx context.Context) error {
	_, err := call[struct{}](ctx, t.c, http.MethodPost, t.path("leave"), nil, nil)
	return err
}

func (t *clientTeam) Rotate(ctx context.Context) (TeamInfo, error) {
	return call[TeamInfo](ctx, t.c, http.MethodPost, t.path("rotate"), nil, nil)
}

func (t *clientTeam) Adopt(ctx context.Context, device string) error {
	_, err := callWith[struct{}](ctx, t.c, http.MethodPost, t.path("adopt"), nil, struct {
		Device string `json:"device"`
	}{device})
	return err
}

func (t *clientTeam) Verify(ctx context.Context) (VerifyReport, error) {
	return call[VerifyReport](ctx, t.c, http.MethodPost, t.path("verify"), nil, nil)
}

func (t *clientTeam) InviteReplica(ctx context.Context, i ReplicaInvite) (Invite, error) {
	return callWith[Invite](ctx, t.c, http.MethodPost, t.path("invites"), nil, struct {
		Kind string `json:"kind"`
		ReplicaInvite
	}{"replica", i})
}

func (t *clientTeam) ShareWith(ctx context.Context, r ShareRequest) (Shared, error) {
	return callWith[Shared](ctx, t.c, http.MethodPost, t.path("share"), nil, r)
}

func (d *clientDB) Rename(ctx context.Context, name string) error {
	_, err := callWith[struct{}](ctx, d.c, http.MethodPatch, d.path(), nil, struct {
		Name string `json:"name"`
	}{name})
	return err
}

func (d *clientDB) Move(ctx context.Context, team string) (DBInfo, error) {
	return callWith[DBInfo](ctx, d.c, http.MethodPost, d.path("move"), nil, struct {
		Team string `json:"team"`
	}{team})
}

func (d *clientDB) Drop(ctx context.Context) error {
	_, err := call[struct{}](ctx, d.c, http.MethodDelete, d.path(), nil, nil)
	return err
}

// RecoveryKit implements [API].
func (c *Client) RecoveryKit(ctx context.Context) (RecoveryKit, error) {
	return call[RecoveryKit](ctx, c, http.MethodGet, "/v1/keys/recovery", nil, nil)
}

// ForgetRecovery implements [API].
func (c *Client) ForgetRecovery(ctx context.Context) error {
	_, err := call[struct{}](ctx, c, http.MethodDelete, "/v1/keys/recovery", nil, nil)
	return err
}

// Recover implements [API].
func (c *Client) Recover(ctx context.Context, r RecoverRequest) (Joined, error) {
	return callWith[Joined](ctx, c, http.MethodPost, "/v1/keys/recovery", nil, r)
}

// LockKeys implements [API].
func (c *Client) LockKeys(ctx context.Context, passphrase Secret) error {
	return c.lock(ctx, "lock", passphrase)
}

// UnlockKeys implements [API].
func (c *Client) UnlockKeys(ctx context.Context, passphrase Secret) error {
	return c.lock(ctx, "unlock", passphrase)
}

func (c *Client) lock(ctx context.Context, verb string, passphrase Secret) error {
	_, err := callWith[struct{}](ctx, c, http.MethodPost, "/v1/keys/"+verb, nil, struct {
		Passphrase Secret `json:"passphrase"`
	}{passphrase})
	return err
}
