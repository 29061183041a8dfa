package apitest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/node/api"
)

// joined founds fam with a database, with bob in it.
func joined(t *testing.T, a, b api.API) (fam, theirs api.Team, notes api.DB) {
	t.Helper()
	fam, notes, inv := invited(t, a, api.MemberInvite{MaxUses: 1})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := b.Join(ctx, api.JoinRequest{Code: inv.Code, Name: "bob"})
	require.NoError(t, err)
	theirs, err = b.Team(ctx, fam.ID())
	require.NoError(t, err)
	return fam, theirs, notes
}

// until asks again until what holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, patience, 10*time.Millisecond, what)
}

// roleOf returns bob's role as a team's handle shows it; "" if he is no member.
func roleOf(t *testing.T, team api.Team, name string) api.Role {
	t.Helper()
	members, err := collect(team.Members(t.Context()))
	require.NoError(t, err)
	for _, m := range members {
		if m.Name == name && m.State == "active" {
			return m.Role
		}
	}
	return ""
}

func rolesAndNames(t *testing.T, a, b api.API) {
	ctx := t.Context()
	fam, theirs, _ := joined(t, a, b)
	require.ErrorIs(t, theirs.Rename(ctx, "mine"), api.ErrForbidden, "bob is no admin")
	require.ErrorIs(t, theirs.SetRole(ctx, "ann", api.RoleReader), api.ErrForbidden)
	_, err := theirs.Rotate(ctx)
	require.ErrorIs(t, err, api.ErrForbidden)
	_, err = theirs.Remove(ctx, api.RemoveRequest{Target: "ann"})
	require.ErrorIs(t, err, api.ErrForbidden)

	require.NoError(t, fam.Rename(ctx, "family"))
	until(t, "the new name", func() bool { _, err := b.Team(ctx, "family"); return err == nil })
	require.ErrorIs(t, fam.Rename(ctx, ""), api.ErrUsage)
	require.ErrorIs(t, fam.SetRole(ctx, "bob", "king"), api.ErrUsage)
	require.ErrorIs(t, fam.SetRole(ctx, "nobody", api.RoleReader), api.ErrNotFound)
	require.ErrorIs(t, fam.SetRole(ctx, "ann", api.RoleReader), api.ErrForbidden, "the last admin stays")
	require.NoError(t, fam.SetRole(ctx, "bob", api.RoleAdmin))
	until(t, "bob is an admin", func() bool { return roleOf(t, theirs, "bob") == api.RoleAdmin })
	_, err = theirs.InviteReplica(ctx, api.ReplicaInvite{MaxUses: 1})
	require.NoError(t, err, "an admin invites")

	before, err := fam.Info(ctx)
	require.NoError(t, err)
	after, err := fam.Rotate(ctx)
	require.NoError(t, err)
	require.NotEqual(t, before.Generation, after.Generation)
	report, err := fam.Verify(ctx)
	require.NoError(t, err)
	require.True(t, report.OK)
	require.Positive(t, report.Checked)
}

func removals(t *testing.T, a, b api.API) {
	ctx := t.Context()
	fam, _, notes := joined(t, a, b)
	put(t, notes, api.Doc{"_id": "before"})
	inv, err := fam.InviteMember(ctx, api.MemberInvite{})
	require.NoError(t, err)
	cuts := func() (n int) { // other links come by themselves: bob's words on paper
		all, err := collect(fam.Log(ctx))
		require.NoError(t, err)
		for _, l := range all {
			if slices.Contains([]string{"REMOVE_MEMBER", "REMOVE_DEVICE", "REVOKE", "SET_ROLE", "ROTATE"}, l.Action) {
				n++
			}
		}
		return n
	}
	before, err := fam.Info(ctx)
	require.NoError(t, err)
	had := cuts()
	plan, err := fam.Remove(ctx, api.RemoveRequest{Target: "bob", DryRun: true})
	require.NoError(t, err)
	require.Equal(t, "member", plan.Kind)
	require.True(t, plan.DryRun)
	require.Len(t, plan.Devices, 1)
	require.Equal(t, 1, plan.Databases)
	require.Positive(t, plan.Rekeys)
	require.Equal(t, had, cuts(), "a dry run takes nothing away")
	require.Equal(t, api.RoleMember, roleOf(t, fam, "bob"))
	dry, err := fam.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, before.Generation, dry.Generation, "nor does it make a key")

	done, err := fam.Remove(ctx, api.RemoveRequest{Target: "bob"})
	require.NoError(t, err)
	require.Equal(t, plan.Devices[0].PeerID, done.Devices[0].PeerID)
	require.Empty(t, roleOf(t, fam, "bob"))
	require.Greater(t, cuts(), had)
	after, err := fam.Info(ctx)
	require.NoError(t, err)
	require.NotEqual(t, before.Generation, after.Generation, "those who remain have a new key")
	_, err = fam.Remove(ctx, api.RemoveRequest{Target: "bob"})
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = fam.Remove(ctx, api.RemoveRequest{Target: "ann"})
	require.ErrorIs(t, err, api.ErrForbidden, "the last admin stays")
	require.ErrorIs(t, fam.Adopt(ctx, "nobody"), api.ErrNotFound)
	for i, err := range fam.Invites(ctx) {
		require.NoError(t, err)
		if i.ID == inv.ID {
			require.Contains(t, []string{"open", "revoked"}, i.State)
		}
	}
	put(t, notes, api.Doc{"_id": "after"})
}

func leaves(t *testing.T, a, b api.API) {
	ctx := t.Context()
	fam, theirs, _ := joined(t, a, b)
	require.ErrorIs(t, fam.Leave(ctx), api.ErrForbidden, "the last admin stays")
	require.NoError(t, theirs.Leave(ctx))
	until(t, "ann sees that bob left", func() bool { return roleOf(t, fam, "bob") == "" })
	own, err := a.Team(ctx, api.Personal)
	require.NoError(t, err)
	require.ErrorIs(t, own.Leave(ctx), api.ErrForbidden)
}

func ownSeeds(t *testing.T, a, b api.API) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	fam, err := a.CreateTeam(ctx, "fam")
	require.NoError(t, err)
	const weak, strong = "little pony", "k7q2 m9x4 t3w8 b5n6 r1z0 h8j2 v4c7 d9f3 p6g5"
	hour := time.Now().Add(time.Hour)
	for what, i := range map[string]api.MemberInvite{
		"no flag":        {MaxUses: 1, Expires: hour, Seed: weak},
		"many uses":      {MaxUses: 2, Expires: hour, Seed: weak, AllowWeakSeed: true},
		"any number":     {Expires: hour, Seed: weak, AllowWeakSeed: true},
		"too long":       {MaxUses: 1, Expires: hour.Add(48 * time.Hour), Seed: weak, AllowWeakSeed: true},
		"for ever":       {MaxUses: 1, Seed: weak, AllowWeakSeed: true},
		"nobody named":   {MaxUses: 1, Expires: hour, Seed: weak, AllowWeakSeed: true, Short: true},
		"nothing in it":  {MaxUses: 1, Expires: hour, Seed: "-- ..", AllowWeakSeed: true},
		"same character": {MaxUses: 2, Expires: hour, Seed: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
	} {
		_, err := fam.InviteMember(ctx, i)
		require.ErrorIs(t, err, api.ErrUsage, what)
		require.NotContains(t, err.Error(), "pony", "a seed is a secret")
	}
	_, err = fam.InviteMember(ctx, api.MemberInvite{MaxUses: 3, Seed: strong})
	require.NoError(t, err, "a strong seed has no rules")
	inv, err := fam.InviteMember(ctx, api.MemberInvite{MaxUses: 1, Expires: hour, Seed: weak, AllowWeakSeed: true})
	require.NoError(t, err)

	_, err = b.Join(ctx, api.JoinRequest{Code: inv.Code})
	require.ErrorIs(t, err, api.ErrInviteSeed, "the code alone is not enough")
	_, err = b.Join(ctx, api.JoinRequest{Code: inv.Code, Seed: "little horse"})
	require.ErrorIs(t, err, api.ErrInviteSeed)
	got, err := b.Join(ctx, api.JoinRequest{Code: inv.Code, Seed: " LITTLE-Pony\n"})
	require.NoError(t, err, "case, spaces and dashes do not matter")
	require.Equal(t, fam.ID(), got.Team.ID)
}

func shares(t *testing.T, a, b api.API) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	fam, err := a.CreateTeam(ctx, "fam")
	require.NoError(t, err)
	notes, err := fam.CreateDB(ctx, "notes")
	require.NoError(t, err)
	put(t, notes, api.Doc{"_id": "from ann"})
	bob, err := b.Identity(ctx)
	require.NoError(t, err)
	_, err = fam.ShareWith(ctx, api.ShareRequest{DID: "did:key:nobody"})
	require.ErrorIs(t, err, api.ErrUsage)
	shared, err := fam.ShareWith(ctx, api.ShareRequest{DID: bob.DID, Name: "bob"})
	require.NoError(t, err)
	require.Equal(t, bob.Words, shared.Words, "both screens show the same words")
	require.Equal(t, api.RoleMember, shared.Role)
	_, err = fam.ShareWith(ctx, api.ShareRequest{DID: bob.DID})
	require.ErrorIs(t, err, api.ErrExists)

	got, err := b.Join(ctx, api.JoinRequest{Code: shared.Link})
	require.NoError(t, err)
	require.Equal(t, fam.ID(), got.Team.ID)
	theirs, err := b.DB(ctx, "fam/notes")
	require.NoError(t, err)
	await(t, ctx, theirs, "from ann")
	_, err = a.Join(ctx, api.JoinRequest{Code: shared.Link})
	require.Error(t, err, "it opens for bob only")
}

func homes(t *testing.T, a, _ api.API) {
	ctx := t.Context()
	fam, err := a.CreateTeam(ctx, "fam")
	require.NoError(t, err)
	db := notes(t, a)
	put(t, db, api.Doc{"_id": "x", "n": 1})
	_, err = db.Move(ctx, "nowhere")
	require.ErrorIs(t, err, api.ErrNotFound)
	info, err := db.Move(ctx, "fam")
	require.NoError(t, err)
	require.Equal(t, "fam", info.Team)
	moved, err := a.DB(ctx, "fam/notes")
	require.NoError(t, err)
	require.Equal(t, db.ID(), moved.ID(), "it stays the same database")
	d, err := moved.Get(ctx, "x")
	require.NoError(t, err)
	require.Equal(t, int64(1), d["n"])
	put(t, moved, api.Doc{"_id": "y"})
	_, err = moved.Move(ctx, "fam")
	require.ErrorIs(t, err, api.ErrExists)
	own, err := a.Team(ctx, api.Personal)
	require.NoError(t, err)
	left, err := own.Info(ctx)
	require.NoError(t, err)
	require.True(t, left.Personal)

	other, err := fam.CreateDB(ctx, "todos")
	require.NoError(t, err)
	require.ErrorIs(t, other.Rename(ctx, "notes"), api.ErrExists)
	require.NoError(t, other.Rename(ctx, "chores"))
	chores, err := a.DB(ctx, "chores")
	require.NoError(t, err)
	require.Equal(t, other.ID(), chores.ID())
	require.NoError(t, chores.Drop(ctx))
	_, err = a.DB(ctx, "chores")
	require.ErrorIs(t, err, api.ErrNotFound)
}

func recovery(t *testing.T, a, b api.API) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	fam, _, notes := joined(t, a, b)
	put(t, notes, api.Doc{"_id": "old"})
	kit, err := a.RecoveryKit(ctx)
	require.NoError(t, err)
	at := addrsOf(t, a)
	wrong := slices.Clone(kit.Words)
	wrong[0], wrong[1] = wrong[1], wrong[0]
	if wrong[0] != wrong[1] {
		_, err = b.Recover(ctx, api.RecoverRequest{Words: wrong, Team: fam.ID(), Addrs: at})
		require.ErrorIs(t, err, api.ErrUsage, "the words have a check")
	}
	_, err = b.Recover(ctx, api.RecoverRequest{Words: kit.Words, Team: "fam", Addrs: at})
	require.Error(t, err)
}

func addrsOf(t *testing.T, a api.API) []string {
	t.Helper()
	s, err := a.Status(t.Context())
	require.NoError(t, err)
	return s.Network.Addrs
}

func secrets(t *testing.T, a, _ api.API) {
	ctx := t.Context()
	fam, err := a.CreateTeam(ctx, "fam")
	require.NoError(t, err)
	kit, err := a.RecoveryKit(ctx)
	require.NoError(t, err)
	require.Len(t, kit.Words, 16)
	require.Contains(t, kit.Teams, api.KitTeam{ID: fam.ID(), Name: "fam", Addrs: kit.Teams[len(kit.Teams)-1].Addrs})
	again, err := a.RecoveryKit(ctx)
	require.NoError(t, err)
	require.Equal(t, kit.Words, again.Words, "it stays until somebody has it on paper")
	require.NoError(t, a.ForgetRecovery(ctx))
	_, err = a.RecoveryKit(ctx)
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = a.Recover(ctx, api.RecoverRequest{Words: kit.Words[1:], Team: fam.ID()})
	require.ErrorIs(t, err, api.ErrUsage)
	require.NotContains(t, err.Error(), kit.Words[3].Reveal())

	require.ErrorIs(t, a.LockKeys(ctx, ""), api.ErrUsage)
	require.NoError(t, a.LockKeys(ctx, "correct horse"))
	require.ErrorIs(t, a.UnlockKeys(ctx, "wrong horse"), api.ErrKeyLocked)
	require.NoError(t, a.UnlockKeys(ctx, "correct horse"))
}
