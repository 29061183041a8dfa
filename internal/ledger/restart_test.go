package ledger

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/team"
)

func TestARestartChangesNothing(t *testing.T) {
	ann := newDevice(t, "ann")
	c, db := ann.found("fam")
	other := ann.addDB(c, "empty")
	for i := range 20 {
		put(t, db, fmt.Sprintf("d%02d", i%7), fmt.Sprint("text ", i))
	}
	_, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Delete, ID: "d03"}, {Verb: crdt.Put, ID: "big", Body: crdt.Doc{"text": large("a")}}})
	require.NoError(t, err)
	want, heads, chainHeads, disk := docs(t, db), db.Heads(), c.Heads(), ann.disk()
	require.Len(t, want, 7)

	for range 2 {
		ann.restart()
		c, db = ann.Chain(c.id), ann.Database(db.id)
		require.Equal(t, "fam", c.State().Name())
		require.Equal(t, chainHeads, c.Heads())
		require.Equal(t, want, docs(t, db))
		require.Equal(t, heads, db.Heads())
		require.Equal(t, disk, ann.disk(), "opening writes nothing")
		require.Empty(t, docs(t, ann.Database(other.id)))
		ann.checkIndex(db)
	}
	put(t, db, "after", "restart")
	ann.checkIndex(db)
}

// A reader of the feed that is interrupted at every change, by restarts, misses
// nothing and sees nothing twice.
func TestAFeedResumesAcrossRestarts(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	var got []string
	cursor := ""
	for i := range 12 {
		put(t, db, fmt.Sprint("d", i), "x")
		if i%3 == 0 {
			_, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Delete, ID: fmt.Sprint("d", i)}})
			require.NoError(t, err)
		}
		ann.restart()
		db = ann.Database(db.id)
		var rows []string
		rows, cursor = feed(t, db, cursor)
		got = append(got, rows...)
	}
	var want []string
	for i := range 12 {
		want = append(want, fmt.Sprint("d", i))
	}
	require.Equal(t, want, got)
	rest, _ := feed(t, db, cursor)
	require.Empty(t, rest)
}

func TestWhatAClosedLedgerAcknowledgedIsThereAndTheRestIsRefused(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	put(t, db, "a", "1")
	ann.Ledger.Close()
	<-db.Gone()
	_, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "b", Body: crdt.Doc{}}})
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, ann.st.Close())
	require.NoError(t, ann.open())
	require.Equal(t, map[string]string{"a": "1"}, docs(t, ann.Database(db.id)))
}

func TestAReaderMayNotWrite(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, db := ann.found("fam")
	_, bobs := ann.join(c, bob)
	put(t, bobs, "mine", "1")
	meet(t, db, bobs)
	ann.link(c, demote(bob, db), nil)
	ann.tell(c, bob)
	_, err := bobs.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "no", Body: crdt.Doc{}}})
	require.ErrorIs(t, err, ErrForbidden)
	require.ErrorContains(t, err, `"fam"`)
	require.Equal(t, map[string]string{"mine": "1"}, docs(t, bobs))
}

// What the rules do not allow leaves no link behind.
func TestARefusedLinkLeavesNothing(t *testing.T) {
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, _ := ann.found("fam")
	bobs, _ := ann.join(c, bob)
	before, heads := bob.disk(), bobs.Heads()
	_, err := bobs.Link(t.Context(), team.Name{Kind: team.NameTeam, Name: "bob's"}, nil)
	var refused *team.RefusedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, heads, bobs.Heads())
	require.Equal(t, before, bob.disk())
}
