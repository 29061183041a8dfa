package ledger

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// Ann moves a database from one team to another. Carol, who is in the new one only,
// reads all of its history and nothing else of the old team. Bob is in both and wrote
// offline: what he was told is kept is kept. Dave, in the old one only, is told that
// it moved. All of it again after a restart, and back.
func TestADatabaseMovesWithItsHistory(t *testing.T) {
	ann, bob, carol, dave := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol"), newDevice(t, "dave")
	from, db := ann.found("old")
	other := ann.addDB(from, "other")
	put(t, other, "private", "1")
	ann.join(from, bob)
	daveFrom, _ := ann.join(from, dave)
	put(t, db, "a", large("a"))
	_, err := from.Rotate(t.Context())
	require.NoError(t, err)
	put(t, db, "b", "1")
	ann.exchange(from, bob)
	ann.exchange(from, dave)
	bobDB, daveDB := bob.Database(db.id), dave.Database(db.id)
	put(t, bobDB, "b", "offline")
	put(t, bobDB, "c", "offline")
	put(t, daveDB, "d", "never seen")

	to, err := ann.Found(t.Context(), "new", false)
	require.NoError(t, err)
	bobTo, _ := ann.join(to, bob)
	ann.join(to, carol)
	require.Error(t, bob.Move(t.Context(), db.id, to.id), "he is no admin")
	require.NoError(t, ann.Move(t.Context(), db.id, to.id))
	require.Error(t, ann.Move(t.Context(), db.id, to.id), "twice")
	_, err = db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "x", Body: crdt.Doc{}}})
	require.Error(t, err, "the old handle")
	<-db.Gone()
	db = ann.Database(db.id)
	require.Equal(t, to, db.Team())
	require.Len(t, from.Databases(), 1)
	want := map[string]string{"a": large("a"), "b": "1"}
	require.Equal(t, want, docs(t, db))
	put(t, db, "e", "new")

	// Carol: the past by its own keys, and nothing else of the old team.
	ann.tell(to, carol)
	carolDB := carol.Database(db.id)
	for _, one := range commits(t, db) { // one by one: what is old counts when the base is here
		_, err := carolDB.Commit(t.Context(), []Candidate{one})
		require.NoError(t, err)
	}
	want["e"] = "new"
	require.Equal(t, want, docs(t, carolDB))
	require.Equal(t, db.Heads(), carolDB.Heads())
	for gen := range from.made {
		require.False(t, carol.Keys().Has(from.id, gen) || carol.Keys().HasRoute(from.id, gen))
		_, err := carol.Keys().Open(vault.Data, block.Header{Kind: block.KindValue, Team: from.id, DB: other.id, Generation: gen}, nil)
		require.ErrorIs(t, err, vault.ErrNoKey)
	}

	// Bob: first he hears that it left, then where it went.
	ann.tell(from, bob)
	_, err = bobDB.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "x", Body: crdt.Doc{}}})
	require.ErrorIs(t, err, ErrMoved)
	require.Equal(t, "offline", docs(t, bobDB)["c"])
	ann.tell(to, bob)
	bobDB = bob.Database(db.id)
	require.Equal(t, bobTo, bobDB.Team())
	put(t, bobDB, "f", "1") // behind what he wrote again
	give(t, bobDB, db)
	want["b"], want["c"], want["f"] = "offline", "offline", "1"
	require.Equal(t, want, docs(t, db))
	give(t, db, carolDB)
	put(t, carolDB, "b", "carol")
	give(t, carolDB, db)
	give(t, db, bobDB)
	want["b"] = "carol"
	for _, x := range []*device{ann, bob, carol} {
		require.Equal(t, want, docs(t, x.Database(db.id)), x.name)
		require.Equal(t, db.Heads(), x.Database(db.id).Heads(), x.name)
		x.restart()
		require.Equal(t, want, docs(t, x.Database(db.id)), x.name)
		require.NoError(t, x.Database(db.id).Damage())
	}

	ann.tell(ann.Chain(from.id), dave)
	_, err = daveDB.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "x", Body: crdt.Doc{}}})
	require.ErrorIs(t, err, ErrMoved)
	require.Equal(t, "never seen", docs(t, daveDB)["d"], "his copy is as it was")
	require.False(t, daveFrom.State().DBs()[0].ID == db.id)

	// And back: dave sees what came about elsewhere, and what was written here at the
	// time counts again, beside it.
	require.NoError(t, ann.Move(t.Context(), db.id, from.id))
	from = ann.Chain(from.id)
	ann.tell(from, dave)
	db, daveDB = ann.Database(db.id), dave.Database(db.id)
	require.Equal(t, from, db.Team())
	give(t, db, daveDB)
	require.Equal(t, "1", docs(t, daveDB)["f"])
	put(t, daveDB, "g", "1")
	give(t, daveDB, db)
	require.Equal(t, "1", docs(t, db)["g"])
	require.Equal(t, "never seen", docs(t, db)["d"], "written when it was his team's, and his team's again")
	dave.restart()
	require.Equal(t, docs(t, db), docs(t, dave.Database(db.id)))
}

// A team that names a database of another does not get it.
func TestADatabaseIsNotDrawnOver(t *testing.T) {
	ann, eve := newDevice(t, "ann"), newDevice(t, "eve")
	c, db := ann.found("fam")
	eves, _ := ann.join(c, eve)
	put(t, db, "a", "1")
	theirs, err := eve.Found(t.Context(), "trap", false)
	require.NoError(t, err)
	info, _ := eves.State().DB(db.id)
	eve.link(theirs, team.AddDB{DB: db.id, Secret: info.Secret, Base: &team.Base{Team: c.id}}, nil)
	eve.join(theirs, ann)
	require.Equal(t, c, ann.Database(db.id).Team())
	require.Equal(t, eves, eve.Database(db.id).Team())
	put(t, db, "b", "1")
	ann.restart()
	require.Equal(t, ann.Chain(c.id), ann.Database(db.id).Team())
	require.Equal(t, map[string]string{"a": "1", "b": "1"}, docs(t, ann.Database(db.id)))
}

// Nor does one that does not say where it has it from, whatever its ID: who left with
// the secret of a database would read what is written to it from then on.
func TestADatabaseStaysWhereItIsOpen(t *testing.T) {
	ann, eve := newDevice(t, "ann"), newDevice(t, "eve")
	c, db := ann.found("fam")
	eves, _ := ann.join(c, eve)
	put(t, db, "a", "1")
	ann.remove(c, eve)
	info, _ := eves.State().DB(db.id)
	bases := []*team.Base{nil, {Team: block.TeamID{1}}}
	for i, below := 0, 0; below < len(bases); i++ { // teams are looked through in order of their IDs
		trap, err := eve.Found(t.Context(), fmt.Sprint("trap", i), false)
		require.NoError(t, err)
		if bytes.Compare(trap.id[:], c.id[:]) > 0 {
			continue
		}
		eve.link(trap, team.AddDB{DB: db.id, Secret: info.Secret, Base: bases[below]}, nil)
		eve.join(trap, ann)
		below++
	}
	require.Equal(t, c.id, ann.Database(db.id).Team().id)
	put(t, ann.Database(db.id), "b", "1")
	ann.restart()
	require.Equal(t, c.id, ann.Database(db.id).Team().id)
	put(t, ann.Database(db.id), "c", "1")
	require.Equal(t, map[string]string{"a": "1", "b": "1", "c": "1"}, docs(t, ann.Database(db.id)))
}

// The ID of a database is in the clear in every block: who knows no more keeps nobody
// from opening it, not even who hears of his team first.
func TestAWrongSecretNamesNothing(t *testing.T) {
	ann, eve, bob := newDevice(t, "ann"), newDevice(t, "eve"), newDevice(t, "bob")
	c, db := ann.found("fam")
	put(t, db, "a", "1")
	_, secret, err := vault.NewDatabase(rand.Reader)
	require.NoError(t, err)
	for i := 0; ; i++ {
		trap, err := eve.Found(t.Context(), fmt.Sprint("trap", i), false)
		require.NoError(t, err)
		if bytes.Compare(trap.id[:], c.id[:]) < 0 {
			eve.link(trap, team.AddDB{DB: db.id, Secret: secret}, nil)
			eve.join(trap, bob)
			break
		}
	}
	require.Nil(t, bob.Database(db.id))
	ann.join(c, bob)
	require.NotNil(t, bob.Database(db.id))
	give(t, db, bob.Database(db.id))
	bob.restart()
	require.Equal(t, map[string]string{"a": "1"}, docs(t, bob.Database(db.id)))
}
