package apitest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/node/api"
)

func references(t *testing.T, a, _ api.API) {
	ctx := t.Context()
	_, err := a.Team(ctx, "")
	require.ErrorIs(t, err, api.ErrNotFound, "there is no shared team yet")
	_, err = a.Team(ctx, "fam")
	require.ErrorIs(t, err, api.ErrNotFound)
	fam, err := a.CreateTeam(ctx, "fam")
	require.NoError(t, err)
	_, err = a.CreateTeam(ctx, "fam")
	require.ErrorIs(t, err, api.ErrExists)
	_, err = a.CreateTeam(ctx, "")
	require.ErrorIs(t, err, api.ErrUsage)
	for _, ref := range []string{"", "fam", fam.ID(), fam.ID()[:12]} {
		got, err := a.Team(ctx, ref)
		require.NoError(t, err, ref)
		require.Equal(t, fam.ID(), got.ID())
	}
	work, err := a.CreateTeam(ctx, "work")
	require.NoError(t, err)
	_, err = a.Team(ctx, "")
	require.ErrorIs(t, err, api.ErrUsage, "two shared teams")

	one, err := fam.CreateDB(ctx, "notes")
	require.NoError(t, err)
	_, err = fam.CreateDB(ctx, "notes")
	require.ErrorIs(t, err, api.ErrExists)
	_, err = fam.CreateDB(ctx, "")
	require.ErrorIs(t, err, api.ErrUsage)
	for _, ref := range []string{"notes", "fam/notes", one.ID(), one.ID()[:10]} {
		got, err := a.DB(ctx, ref)
		require.NoError(t, err, ref)
		require.Equal(t, one.ID(), got.ID())
	}
	two, err := work.CreateDB(ctx, "notes")
	require.NoError(t, err)
	_, err = a.DB(ctx, "notes")
	require.ErrorIs(t, err, api.ErrUsage, "two databases have this name")
	got, err := a.DB(ctx, "work/notes")
	require.NoError(t, err)
	require.Equal(t, two.ID(), got.ID())
	_, err = a.DB(ctx, "fam/nothing")
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = a.DB(ctx, "")
	require.ErrorIs(t, err, api.ErrUsage)

	dbs, err := collect(a.DBs(ctx))
	require.NoError(t, err)
	require.Len(t, dbs, 2)
	require.Equal(t, "fam", dbs[0].Team)
	info, err := two.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, dbs[1], info)
}

func teams(t *testing.T, a, b api.API) {
	ctx := t.Context()
	fam, err := a.CreateTeam(ctx, "fam")
	require.NoError(t, err)
	require.Equal(t, "fam", fam.Name())
	info, err := fam.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, api.RoleAdmin, info.Role)
	require.Equal(t, 1, info.Members)
	require.Equal(t, 1, info.Devices)
	require.NotEmpty(t, info.Heads)

	all, err := collect(a.Teams(ctx))
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.True(t, all[0].Personal)
	require.Equal(t, info, all[1])
	theirs, err := collect(b.Teams(ctx))
	require.NoError(t, err)
	require.Len(t, theirs, 1, "a team is not seen by who is not in it")

	members, err := collect(fam.Members(ctx))
	require.NoError(t, err)
	require.Len(t, members, 1)
	require.Equal(t, "ann", members[0].Name)
	me, err := a.Identity(ctx)
	require.NoError(t, err)
	devices, err := collect(fam.Devices(ctx, "ann"))
	require.NoError(t, err)
	require.Len(t, devices, 1)
	require.Equal(t, me.PeerID, devices[0].PeerID)
	require.Equal(t, me.Device, devices[0].Name)
	_, err = collect(fam.Devices(ctx, "nobody"))
	require.ErrorIs(t, err, api.ErrNotFound)

	links, err := collect(fam.Log(ctx))
	require.NoError(t, err)
	require.NotEmpty(t, links)
	require.Equal(t, "CREATE", links[0].Action)
	require.Empty(t, links[0].Parents)
	for _, l := range links {
		require.True(t, l.Valid)
		require.Equal(t, me.PeerID, l.By)
	}
}

// invited founds fam with a database and returns an invitation to it.
func invited(t *testing.T, a api.API, i api.MemberInvite) (api.Team, api.DB, api.Invite) {
	t.Helper()
	fam, err := a.CreateTeam(t.Context(), "fam")
	require.NoError(t, err)
	db, err := fam.CreateDB(t.Context(), "notes")
	require.NoError(t, err)
	inv, err := fam.InviteMember(t.Context(), i)
	require.NoError(t, err)
	return fam, db, inv
}

func join(t *testing.T, a, b api.API) {
	fam, mine, inv := invited(t, a, api.MemberInvite{MaxUses: 1, Expires: time.Now().Add(time.Hour)})
	require.NotEmpty(t, inv.Code)
	require.True(t, strings.HasPrefix(inv.Link, "toft:join/"))
	require.Equal(t, "open", inv.State)
	put(t, mine, api.Doc{"_id": "from ann", "n": 1})

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	joined, err := b.Join(ctx, api.JoinRequest{Code: " " + strings.ToLower(inv.Code) + "\n", Name: "bob"})
	require.NoError(t, err)
	require.Equal(t, fam.ID(), joined.Team.ID)
	require.Equal(t, "fam", joined.Team.Name)
	require.Equal(t, api.RoleMember, joined.Team.Role)
	require.Equal(t, "ann", joined.AdmittedBy)
	require.Len(t, joined.Words, 4)
	require.Len(t, joined.DBs, 1)

	theirs, err := b.DB(ctx, "fam/notes")
	require.NoError(t, err)
	require.Equal(t, mine.ID(), theirs.ID())
	await(t, ctx, theirs, "from ann")
	put(t, theirs, api.Doc{"_id": "from bob"})
	await(t, ctx, mine, "from bob")

	members, err := collect(fam.Members(ctx))
	require.NoError(t, err)
	require.Len(t, members, 2)
	require.Equal(t, "bob", members[1].Name)
	require.Equal(t, "ann", members[1].AdmittedBy)
	theirFam, err := b.Team(ctx, "")
	require.NoError(t, err)
	_, err = theirFam.InviteMember(ctx, api.MemberInvite{})
	require.ErrorIs(t, err, api.ErrForbidden, "only admins invite")

	peers, err := collect(a.Peers(ctx))
	require.NoError(t, err)
	require.NotEmpty(t, peers)
	require.Equal(t, "bob", peers[0].Member)
}

// await watches until a document of this id is there.
func await(t *testing.T, ctx context.Context, db api.DB, id string) {
	t.Helper()
	for e, err := range db.Watch(ctx) {
		require.NoError(t, err, "waiting for %q", id)
		if e.ID == id {
			return
		}
	}
}

func invitationsEnd(t *testing.T, a, b api.API) {
	ctx := t.Context()
	fam, _, inv := invited(t, a, api.MemberInvite{})
	require.Equal(t, uint64(0), inv.MaxUses, "the library's default is unlimited")
	require.True(t, inv.Expires.IsZero())
	require.NoError(t, fam.Revoke(ctx, inv.ID))
	_, err := b.Join(ctx, api.JoinRequest{Code: inv.Code})
	require.ErrorIs(t, err, api.ErrInviteRevoked)
	require.ErrorIs(t, fam.Revoke(ctx, "inv-zzz"), api.ErrNotFound)

	late, err := fam.InviteMember(ctx, api.MemberInvite{Expires: time.Now().Add(-time.Hour)})
	if err == nil { // an implementation may refuse to write what is over already
		_, err = b.Join(ctx, api.JoinRequest{Code: late.Code})
		require.ErrorIs(t, err, api.ErrInviteExpired)
	} else {
		require.ErrorIs(t, err, api.ErrUsage)
	}

	device, err := fam.InviteDevice(ctx, api.DeviceInvite{})
	require.NoError(t, err)
	require.Equal(t, "device", device.Kind)
	require.Equal(t, uint64(1), device.MaxUses)
	require.WithinDuration(t, time.Now().Add(30*time.Minute), device.Expires, 2*time.Minute)
	_, err = b.Join(ctx, api.JoinRequest{Code: device.Code})
	require.ErrorIs(t, err, api.ErrUsage, "nobody becomes a device of somebody else without saying so")

	listed, err := collect(fam.Invites(ctx))
	require.NoError(t, err)
	states := map[string]string{}
	for _, i := range listed {
		require.Empty(t, i.Code, "codes are not kept")
		states[i.ID] = i.State
	}
	require.Equal(t, "revoked", states[inv.ID])
	require.Equal(t, "open", states[device.ID])
	theirs, err := collect(b.Teams(ctx))
	require.NoError(t, err)
	require.Len(t, theirs, 1, "bob is in no team of ann's")
}

func wrongCode(t *testing.T, a, b api.API) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, _, inv := invited(t, a, api.MemberInvite{})
	for _, code := range []string{"", "x", "hello world", inv.Code[:len(inv.Code)-3]} {
		_, err := b.Join(ctx, api.JoinRequest{Code: code})
		require.ErrorIs(t, err, api.ErrInviteInvalid, "%q", code)
		require.Equal(t, 8, api.ErrorOf(err).Code)
		require.NotContains(t, err.Error(), inv.Code[:len(inv.Code)-3], "a code is a secret")
	}
}

func status(t *testing.T, a, _ api.API) {
	db := notes(t, a)
	put(t, db, api.Doc{"_id": "x"})
	s, err := a.Status(t.Context())
	require.NoError(t, err)
	id, err := a.Identity(t.Context())
	require.NoError(t, err)
	require.Equal(t, id.PeerID, s.Device.PeerID)
	require.Equal(t, "ann", id.User)
	require.Len(t, id.Words, 8)
	require.True(t, strings.HasPrefix(id.DID, "did:key:z6Mk"))
	require.Len(t, s.Teams, 1)
	require.Len(t, s.DBs, 1)
	require.Equal(t, int64(1), s.DBs[0].Docs)
	require.Regexp(t, "^[0-9a-f]{64}$", s.DBs[0].Digest)
	before := s.DBs[0].Digest
	put(t, db, api.Doc{"_id": "y"})
	s, err = a.Status(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, before, s.DBs[0].Digest)
}

func ended(t *testing.T, a, _ api.API) {
	db := notes(t, a)
	soon, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for e, err := range db.Watch(soon) {
		if e.Op == api.OpReady {
			cancel()
		}
		last = err
	}
	require.ErrorIs(t, last, api.ErrInterrupted)
	require.Equal(t, 130, api.ErrorOf(last).Code)
}
