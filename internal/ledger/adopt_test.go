package ledger

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
)

// newest is the ID of the newest checkpoint, after a flush.
func newest(t *testing.T, db *Database) block.ID {
	t.Helper()
	require.NoError(t, db.Flush(t.Context()))
	list, err := db.checkpoints()
	require.NoError(t, err)
	return list[0].id
}

// forgeCheckpoint signs what a device's newest checkpoint says, changed.
func forgeCheckpoint(t *testing.T, db *Database, change func(c *crdt.Checkpoint)) block.ID {
	t.Helper()
	c, err := db.openCheckpoint(newest(t, db))
	require.NoError(t, err)
	change(c)
	gen, ok := db.team.writable()
	require.True(t, ok)
	s := &sink{d: db, gen: gen, batch: db.n.o.Store.NewBatch(), waiting: map[block.ID][]byte{}}
	b, err := db.signCheckpoint(c, s)
	require.NoError(t, err)
	require.NoError(t, s.flush(t.Context()))
	return b.ID
}

// take takes a checkpoint as sync does: offer, rows, the rest. Rows may be nil: those of
// the teller.
func take(t *testing.T, teller, to *Database, id block.ID, fetch Fetch) error {
	t.Helper()
	by := teller.n.Me()
	if a := to.Adopting(t.Context()); !to.MayAdopt(by) {
		return ErrAdopt
	} else if a.Checkpoint.IsZero() {
		u, err := teller.n.Stored(id)
		require.NoError(t, err)
		if err := to.BeginAdopting(t.Context(), by, u.Data(), nil, nil, fetch); err != nil {
			return err
		}
	}
	for {
		a := to.Adopting(t.Context())
		rows := told(teller, a)
		if len(rows) == 0 {
			break
		}
		if err := to.AddRows(t.Context(), rows); err != nil {
			return err
		}
	}
	return to.Adopt(t.Context(), fetch, func() {})
}

// told are the next rows, some at a time, whatever the teller offered.
func told(teller *Database, a Adopting) (rows []byte) {
	_ = teller.View(func(r *crdt.Replica) error {
		rows = r.Rows(a.Have, min(a.Have+25, a.Rows))
		return nil
	})
	return rows
}

// joined is a pair of which bob has the chain and no commit.
func joined(t *testing.T, n int) (ann, bob *device, db, bobs *Database) {
	ann, bob = newDevice(t, "ann"), newDevice(t, "bob")
	c, db := ann.found("fam")
	_, bobs = ann.join(c, bob)
	for i := range n {
		put(t, db, fmt.Sprintf("d%03d", i), fmt.Sprint("text ", i))
	}
	return ann, bob, db, bobs
}

// A device that has nothing begins at a checkpoint of ann, though every third fetch
// fails and it is restarted on the way: nothing is shown before all of it was checked,
// and nothing is fetched twice. Then it writes and syncs as if it had it all; the
// history follows, and the checkpoint turns out to be true.
func TestAdoptingACheckpoint(t *testing.T) {
	ann, bob, db, bobs := joined(t, 60)
	_, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "big", Body: crdt.Doc{"text": large("v")}}})
	require.NoError(t, err)
	put(t, db, "gone", "1")
	_, err = db.Write(t.Context(), []crdt.Write{{Verb: crdt.Delete, ID: "gone"}})
	require.NoError(t, err)
	id := newest(t, db)
	calls, broken, fetched := 0, errors.New("connection lost"), map[block.ID]int{}
	flaky := func(ctx context.Context, c *Chain, ids []block.ID) (map[block.ID][]byte, error) {
		if calls++; calls%3 == 0 {
			return nil, broken
		}
		got, err := from(ann)(ctx, c, ids[:(len(ids)+1)/2])
		for id := range got {
			fetched[id]++
		}
		return got, err
	}
	for range 50 {
		if err = take(t, db, bobs, id, flaky); err == nil {
			break
		}
		require.Empty(t, docs(t, bobs))
		bob.restart()
		bobs = bob.Database(bobs.id)
	}
	require.NoError(t, err)
	require.Greater(t, calls, 3)
	for id, n := range fetched {
		require.Equal(t, 1, n, "%s fetched again", id)
	}
	want := docs(t, db)
	require.Equal(t, want, docs(t, bobs))
	require.Equal(t, db.Heads().Heads, bobs.Heads().Heads)
	require.Equal(t, db.Heads().Digest, bobs.Heads().Digest)
	by, ok := bobs.Unaudited()
	require.True(t, ok)
	require.Equal(t, ann.Me(), by)
	rows, cursor := feed(t, bobs, "")
	require.Len(t, rows, len(want)+1, "one row a document, the deleted one too")

	put(t, bobs, "bob's", "1")
	put(t, db, "d000", "newer")
	meet(t, db, bobs)
	want["bob's"], want["d000"] = "1", "newer"
	require.Equal(t, want, docs(t, bobs))
	bob.restart()
	bobs = bob.Database(bobs.id)
	require.Equal(t, want, docs(t, bobs))
	_, ok = bobs.Unaudited()
	require.True(t, ok)
	rows, _ = feed(t, bobs, cursor)
	require.Len(t, rows, 2, "cursors stay good")

	require.NoError(t, bobs.FetchHistory(t.Context(), from(ann)))
	_, ok = bobs.Unaudited()
	require.False(t, ok)
	require.NoError(t, bobs.Alarm())
	require.Equal(t, want, docs(t, bobs))
	rep := verify(t, bobs, true)
	require.Empty(t, rep.Bad)
	bob.restart()
	bobs = bob.Database(bobs.id)
	require.Equal(t, want, docs(t, bobs))
	require.Equal(t, db.Heads(), bobs.Heads())
	bob.checkIndex(bobs)
}

// The history comes in pieces too, and goes on after a restart; as long as nobody has
// some of it the checkpoint stays somebody's word.
func TestHistoryThatIsNotToBeHad(t *testing.T) {
	ann, bob, db, bobs := joined(t, auditWindow+40)
	require.NoError(t, take(t, db, bobs, newest(t, db), from(ann)))
	lost := commits(t, db)[auditWindow+10]
	u, err := block.Parse(lost.Data)
	require.NoError(t, err)
	asked := map[block.ID]int{}
	some := func(ctx context.Context, c *Chain, ids []block.ID) (map[block.ID][]byte, error) {
		got, err := from(ann)(ctx, c, ids)
		delete(got, u.ID)
		for id := range got {
			asked[id]++
		}
		return got, err
	}
	for range 2 {
		require.ErrorContains(t, bobs.FetchHistory(t.Context(), some), "did not come")
		_, ok := bobs.Unaudited()
		require.True(t, ok)
		bob.restart()
		bobs = bob.Database(bobs.id)
		require.Equal(t, docs(t, db), docs(t, bobs))
	}
	require.NoError(t, bobs.FetchHistory(t.Context(), from(ann)))
	for id, n := range asked {
		require.Equal(t, 1, n, "%s fetched again", id)
	}
	_, ok := bobs.Unaudited()
	require.False(t, ok)
}

// Checkpoints that lie. Those that contradict themselves, their rows, their commits or
// the chain are refused.
func TestLyingCheckpoints(t *testing.T) {
	ann, bob, db, _ := joined(t, 12)
	old, err := db.openCheckpoint(newest(t, db))
	require.NoError(t, err)
	put(t, db, "d000", "newer")
	for name, x := range map[string]struct {
		change func(c *crdt.Checkpoint)
		want   error
	}{
		"endless rows":            {func(c *crdt.Checkpoint) { c.Frontier[0].Seq = 1 << 40 }, ErrAdopt},
		"another's tip":           {func(c *crdt.Checkpoint) { c.Frontier[0].Actor.Incarnation[0]++ }, crdt.ErrLie},
		"a head of nobody":        {func(c *crdt.Checkpoint) { c.Heads = []block.ID{old.Heads[0]} }, crdt.ErrLie},
		"a fork inside":           {func(c *crdt.Checkpoint) { c.Forked = true }, ErrAdopt},
		"unknown team links":      {func(c *crdt.Checkpoint) { c.TeamHeads = []block.ID{{1}} }, ErrAdopt},
		"dots above the frontier": {func(c *crdt.Checkpoint) { c.Frontier, c.Heads = old.Frontier, old.Heads }, crdt.ErrLie},
		"another state's tree":    {func(c *crdt.Checkpoint) { c.Root, c.RootHash = old.Root, old.RootHash }, crdt.ErrLie},
		"another digest":          {func(c *crdt.Checkpoint) { c.Accumulator = old.Accumulator }, crdt.ErrLie},
		"fewer documents":         {func(c *crdt.Checkpoint) { c.Documents-- }, crdt.ErrLie},
		"a root of another hash":  {func(c *crdt.Checkpoint) { c.RootHash[0]++ }, crdt.ErrLie},
		"a digest of nothing":     {func(c *crdt.Checkpoint) { c.Entries, c.Documents, c.Root, c.RootHash = 0, 0, block.ID{}, [32]byte{} }, crdt.ErrLie},
		"a void commit too many":  {func(c *crdt.Checkpoint) { c.Voids = []block.ID{old.Heads[0]} }, crdt.ErrJudged},
	} {
		t.Run(name, func(t *testing.T) {
			eve := newDevice(t, "eve")
			_, eves := ann.join(db.team, eve)
			id := forgeCheckpoint(t, db, x.change)
			err := take(t, db, eves, id, from(ann))
			if !errors.Is(err, x.want) && !errors.Is(err, ErrAdopt) {
				t.Errorf("%v, want %v", err, x.want)
			}
			require.Error(t, err)
			require.Empty(t, docs(t, eves))
			require.True(t, eves.Adopting(t.Context()).Checkpoint.IsZero())
			_ = take(t, db, eves, id, from(ann))
			require.False(t, eves.MayAdopt(ann.Me()), "it is asked for commits now")
			give(t, db, eves)
			require.Equal(t, docs(t, db), docs(t, eves))
			require.NoError(t, eves.Alarm())
		})
	}
	_ = bob
}

// Rows that end before the frontier says so: the checkpoint is offered once more, and
// then its author is asked for commits.
func TestRowsThatDoNotCome(t *testing.T) {
	ann, _, db, bobs := joined(t, 12)
	id := forgeCheckpoint(t, db, func(c *crdt.Checkpoint) { c.Frontier[0].Seq++ })
	for range refusals + 1 {
		require.ErrorIs(t, take(t, db, bobs, id, from(ann)), ErrAdopt)
		if !bobs.MayAdopt(ann.Me()) {
			break
		}
		u, err := db.n.Stored(id)
		require.NoError(t, err)
		require.ErrorIs(t, bobs.BeginAdopting(t.Context(), ann.Me(), u.Data(), nil, nil, from(ann)), ErrAdopt)
	}
	require.False(t, bobs.MayAdopt(ann.Me()))
	give(t, db, bobs)
	require.Equal(t, docs(t, db), docs(t, bobs))
}

// One that is consistent and wrong, an empty tree with a full context, is the word of
// its author until the commits are here; they expose it, and what they lead to is shown.
func TestALieIsExposed(t *testing.T) {
	ann, bob, db, bobs := joined(t, 12)
	empty := func(c *crdt.Checkpoint) {
		c.Entries, c.Documents, c.Root, c.RootHash, c.Accumulator = 0, 0, block.ID{}, [32]byte{}, [2048]byte{}
	}
	id := forgeCheckpoint(t, db, empty)
	// Who holds commits takes none.
	eve := newDevice(t, "eve")
	_, eves := ann.join(db.team, eve)
	give(t, db, eves)
	before := docs(t, eves)
	require.ErrorIs(t, take(t, db, eves, id, from(ann)), ErrAdopt)
	require.Equal(t, before, docs(t, eves))

	put(t, bobs, "mine", "1") // before and after: neither is lost
	require.NoError(t, take(t, db, bobs, id, from(ann)))
	require.Equal(t, map[string]string{"mine": "1"}, docs(t, bobs))
	put(t, bobs, "and mine", "2")
	var lie *Lie
	require.ErrorAs(t, bobs.FetchHistory(t.Context(), from(ann)), &lie)
	require.ErrorAs(t, bobs.Alarm(), &lie)
	require.Equal(t, ann.Me(), lie.Device)
	require.Equal(t, id, lie.Checkpoint)
	_, ok := bobs.Unaudited()
	require.False(t, ok)
	want := docs(t, db)
	want["mine"], want["and mine"] = "1", "2"
	require.Equal(t, want, docs(t, bobs))
	require.Empty(t, verify(t, bobs, true).Bad, "who built on the lie did not sign for it")
	bob.restart()
	bobs = bob.Database(bobs.id)
	require.Equal(t, want, docs(t, bobs))
	bob.checkIndex(bobs)
	meetAfterALie(t, db, bobs)
}

// meetAfterALie is meet, but the alarm stays.
func meetAfterALie(t *testing.T, x, y *Database) {
	t.Helper()
	give(t, x, y)
	give(t, y, x)
	require.Equal(t, x.Heads(), y.Heads())
	require.NoError(t, x.Alarm())
}

// A reader's checkpoint counts for nobody, nor does one whose author did not know that
// somebody's work was cut.
func TestWhoseCheckpointCounts(t *testing.T) {
	ann, bob, db, bobs := joined(t, 3)
	eve := newDevice(t, "eve")
	c := db.team
	_, eves := ann.join(c, eve)
	ann.tell(c, bob)
	give(t, db, bobs)
	cut := demote(bob, db)
	put(t, bobs, "late", "1")
	give(t, bobs, db)
	before := newest(t, db) // of ann, with bob's work
	read := newest(t, bobs)

	ann.link(c, cut, nil)
	ann.tell(c, eve)
	require.ErrorIs(t, take(t, db, eves, before, from(ann)), crdt.ErrJudged)
	require.ErrorIs(t, take(t, bobs, eves, read, from(bob)), ErrAdopt)
	require.NoError(t, take(t, db, eves, newest(t, db), from(ann)))
	require.NotContains(t, docs(t, eves), "late")
	require.Equal(t, db.Heads(), eves.Heads())
	require.NoError(t, eves.FetchHistory(t.Context(), from(ann)))
	require.NoError(t, eves.Alarm())
	require.Equal(t, docs(t, db), docs(t, eves))
}

// Commits of others that come while a checkpoint is taken: it is given up, and nothing
// of what they say is touched.
func TestNothingHeldIsAdoptedOver(t *testing.T) {
	ann, _, db, bobs := joined(t, 12)
	id := forgeCheckpoint(t, db, func(c *crdt.Checkpoint) {
		c.Entries, c.Documents, c.Root, c.RootHash, c.Accumulator = 0, 0, block.ID{}, [32]byte{}, [2048]byte{}
	})
	came := false
	meanwhile := func(ctx context.Context, c *Chain, ids []block.ID) (map[block.ID][]byte, error) {
		if !came {
			came = true
			_, err := bobs.Commit(t.Context(), commits(t, db)[:5])
			require.NoError(t, err)
		}
		return from(ann)(ctx, c, ids)
	}
	require.ErrorIs(t, take(t, db, bobs, id, meanwhile), ErrAdopt)
	require.True(t, came)
	require.Len(t, docs(t, bobs), 5)
	give(t, db, bobs)
	require.Equal(t, docs(t, db), docs(t, bobs))
	require.NoError(t, bobs.Alarm())
}

// Rows that belie a commit, another time here, show when it comes. All that stood on
// them goes, the commits come in the plain way, and what was written meanwhile is taken
// in again; that device's checkpoints are taken no more, after a restart too.
func TestRowsThatLie(t *testing.T) {
	ann, bob, db, bobs := joined(t, 12)
	u, err := db.n.Stored(newest(t, db))
	require.NoError(t, err)
	var rows []byte
	require.NoError(t, db.View(func(r *crdt.Replica) error { rows = r.Rows(0, r.Len()); return nil }))
	rows[len(rows)-3]++ // when the last of them was written
	require.NoError(t, bobs.BeginAdopting(t.Context(), ann.Me(), u.Data(), nil, rows, from(ann)))
	require.NoError(t, bobs.Adopt(t.Context(), from(ann), func() {}))
	want := docs(t, db)
	require.Equal(t, want, docs(t, bobs))
	mine := put(t, bobs, "mine", "1")
	bob.restart()
	bobs = bob.Database(bobs.id)
	var lie *Lie
	require.ErrorAs(t, bobs.FetchHistory(t.Context(), from(ann)), &lie)
	require.Equal(t, ann.Me(), lie.Device)
	require.ErrorAs(t, bobs.Alarm(), &lie)
	require.Empty(t, docs(t, bobs))
	bob.restart()
	bobs = bob.Database(bobs.id)
	require.False(t, bobs.MayAdopt(ann.Me()))
	put(t, bobs, "mine too", "2")
	give(t, db, bobs)
	require.True(t, bobs.Has(mine))
	want["mine"], want["mine too"] = "1", "2"
	require.Equal(t, want, docs(t, bobs))
	bob.checkIndex(bobs)
	meetAfterALie(t, db, bobs)
}

// A checkpoint is made for who asks, but not for each: what came since goes as commits.
func TestOffers(t *testing.T) {
	ann, bob, db, bobs := joined(t, 5)
	list, err := db.checkpoints()
	require.NoError(t, err)
	require.Empty(t, list)
	first, ok := db.Offer()
	require.True(t, ok)
	require.Equal(t, 5, first.Commits)
	put(t, db, "x", "1")
	again, ok := db.Offer()
	require.True(t, ok)
	require.Equal(t, first, again)
	require.NotEmpty(t, db.Rows(first.ID, 4))
	require.Empty(t, db.Rows(first.ID, 5))
	require.Empty(t, db.Rows(block.ID{1}, 0))
	ann.restart()
	db = ann.Database(db.id)
	require.NotEmpty(t, db.Rows(first.ID, 0), "after a restart too")

	_, ok = bobs.Offer()
	require.False(t, ok, "of nothing")
	require.NoError(t, take(t, db, bobs, first.ID, from(ann)))
	_, ok = bobs.Offer()
	require.True(t, ok, "of what it adopted, in its own name")
	_ = bob
}
