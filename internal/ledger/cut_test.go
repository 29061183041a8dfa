package ledger

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// large is a text that stands in a block of its own.
func large(letter string) string { return strings.Repeat(letter, crdt.MaxInline+1) }

// vouch names the heads of a database as a remover sees them.
func vouch(db *Database) []team.DBHeads {
	return []team.DBHeads{{DB: db.id, Heads: db.Heads().Heads}}
}

// demote makes x a reader; what db holds stays.
func demote(x *device, db *Database) team.SetRole {
	return team.SetRole{Member: x.id.Device(), Role: team.RoleReader, Heads: vouch(db)}
}

// remove takes x off the team.
func (d *device) remove(c *Chain, x *device) RemovalPlan {
	d.t.Helper()
	p, err := c.Remove(d.t.Context(), x.Me(), RemoveOptions{})
	require.NoError(d.t, err)
	require.False(d.t, c.State().Active(x.Me()))
	return p
}

// Bob writes two commits that ann saw and two that she did not, and ann takes his
// right to write. On every replica the last two are void, whatever arrives first.
func TestACutIsJudgedAlikeInEveryOrder(t *testing.T) {
	cuts := map[string]func(ann *device, c *Chain, bob *device, db *Database){
		"demotion": func(ann *device, c *Chain, bob *device, db *Database) {
			ann.link(c, demote(bob, db), nil)
		},
		"removal": func(ann *device, c *Chain, bob *device, _ *Database) {
			ann.remove(c, bob)
		},
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
			watchers := []*device{newDevice(t, "cut first"), newDevice(t, "commits first"), newDevice(t, "cut between"), newDevice(t, "one by one")}
			c, db := ann.found("fam")
			_, bobs := ann.join(c, bob)
			put(t, db, "ann's", "1")
			meet(t, db, bobs)
			for _, w := range watchers {
				ann.join(c, w)
			}
			for _, d := range append(watchers, bob) {
				ann.tell(c, d)
			}
			put(t, bobs, "seen", "1")
			put(t, bobs, "seen", "2")
			give(t, bobs, db)
			put(t, bobs, "seen", "3")
			put(t, bobs, "unseen", "1")
			all := commits(t, bobs)
			require.Len(t, all, 5)
			cut(ann, c, bob, db)
			want := map[string]string{"ann's": "1", "seen": "2"}
			require.Equal(t, want, docs(t, db))

			take := func(db *Database, in ...Candidate) {
				_, err := db.Commit(t.Context(), in)
				require.NoError(t, err)
			}
			_, first := watchers[0].only()
			ann.tell(c, watchers[0])
			take(first, all...)

			_, second := watchers[1].only()
			take(second, all...)
			require.Len(t, docs(t, second), 3)
			box := second.Mailbox()
			ann.tell(c, watchers[1])
			changed, _ := box.Take()
			require.ElementsMatch(t, []string{"seen", "unseen"}, changed)

			_, third := watchers[2].only()
			take(third, all[:2]...)
			ann.tell(c, watchers[2])
			take(third, all[2:]...)

			_, fourth := watchers[3].only()
			ann.tell(c, watchers[3])
			for _, one := range all {
				take(fourth, one)
			}

			give(t, bobs, db)
			ann.tell(c, bob)
			heads := db.Heads()
			require.NotZero(t, heads.Void)
			for _, d := range append(watchers, ann, bob) {
				for _, when := range []string{"at once", "after a restart"} {
					_, db := d.only()
					require.Equal(t, want, docs(t, db), "%s, %s", d.name, when)
					require.Equal(t, heads, db.Heads(), "%s, %s", d.name, when)
					require.NoError(t, db.Alarm())
					d.checkIndex(db)
					d.restart()
				}
			}
		})
	}
}

// After a removal the team writes under the new generation, which the one who is
// out cannot open.
func TestWhoIsRemovedReadsNothingNew(t *testing.T) {
	ann, bob, eve := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "eve")
	c, db := ann.found("fam")
	_, bobs := ann.join(c, bob)
	_, eves := ann.join(c, eve)
	put(t, db, "old", "1")
	meet(t, db, eves)
	ann.remove(c, eve)
	ann.tell(c, bob)
	ann.tell(c, eve)
	put(t, db, "new", "2")
	meet(t, db, bobs)
	put(t, bobs, "newer", "3")
	meet(t, db, bobs)
	require.Len(t, docs(t, bobs), 3)
	before := eve.disk()
	out := give(t, db, eves)
	require.ErrorIs(t, out.Rejected, vault.ErrNoKey)
	require.Equal(t, before, eve.disk())
	require.Equal(t, map[string]string{"old": "1"}, docs(t, eves))

	// A device that comes later opens the past from the new key.
	carol := newDevice(t, "carol")
	_, carols := ann.join(c, carol)
	meet(t, db, carols)
	require.Len(t, docs(t, carols), 3)
}

// A cut of our own judges what is here already: a commit that came in after the
// data heads were read falls with it.
func TestOwnCutJudgesWhatCameInMeanwhile(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, db := ann.found("fam")
	_, bobs := ann.join(c, bob)
	put(t, bobs, "seen", "1")
	give(t, bobs, db)
	content := demote(bob, db)
	put(t, bobs, "late", "1")
	give(t, bobs, db)
	box := db.Mailbox()
	ann.link(c, content, nil)
	require.Equal(t, map[string]string{"seen": "1"}, docs(t, db))
	ids, _ := box.Take()
	require.Equal(t, []string{"late"}, ids)
}

// Bob was demoted and his last commits are void. When he may write again he takes a
// new actor: nothing may be built on what does not count.
func TestWhoMayWriteAgainTakesANewActor(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, db := ann.found("fam")
	_, bobs := ann.join(c, bob)
	put(t, bobs, "seen", "1")
	give(t, bobs, db)
	put(t, bobs, "unseen", "1")
	ann.link(c, demote(bob, db), nil)
	ann.link(c, team.SetRole{Member: bob.Me(), Role: team.RoleMember}, nil)
	ann.tell(c, bob)
	was := bobs.actor
	put(t, bobs, "again", "1")
	require.NotEqual(t, was, bobs.actor)
	meet(t, bobs, db)
	require.Equal(t, map[string]string{"seen": "1", "again": "1"}, docs(t, db))
	require.Equal(t, docs(t, db), docs(t, bobs))
	bob.restart()
	require.Equal(t, db.Heads(), bob.Database(db.id).Heads())
}
