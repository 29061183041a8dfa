package ledger

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/crdt"
)

// A watcher that does not look costs a line per document, however often the
// documents change, and nobody waits for it.
func TestASlowWatcherSeesEachDocumentOnce(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	put(t, db, "before", "1")
	slow, quick := db.Mailbox(), db.Mailbox()
	for i := range 50 {
		put(t, db, fmt.Sprint("d", i%3), fmt.Sprint(i))
		<-quick.Bell
		ids, gap := quick.Take()
		require.Equal(t, []string{fmt.Sprint("d", i%3)}, ids)
		require.False(t, gap)
	}
	<-slow.Bell
	ids, gap := slow.Take()
	require.Equal(t, []string{"d0", "d1", "d2"}, ids)
	require.False(t, gap)
	select {
	case <-slow.Bell:
		t.Fatal("the bell rings once, however often it was rung")
	default:
	}
	ids, _ = slow.Take()
	require.Empty(t, ids)
}

func TestAClosedMailboxHearsNothing(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	x := db.Mailbox()
	x.Close()
	x.Close()
	put(t, db, "a", "1")
	ids, _ := x.Take()
	require.Empty(t, ids)
	require.Empty(t, db.watchers.all)
}

// Beyond its bound a mailbox forgets and says so; after that it collects again.
func TestAFullMailboxSaysThereIsAGap(t *testing.T) {
	w := newWatchers()
	d := &Database{watchers: w}
	x := d.Mailbox()
	some := func(from, n int) (out []crdt.Change) {
		for i := range n {
			out = append(out, crdt.Change{ID: fmt.Sprint(from + i)})
		}
		return out
	}
	w.tell(some(0, maxPending))
	require.Len(t, x.order, maxPending)
	w.tell(some(0, maxPending)) // the same ones again: no gap
	require.False(t, x.gap)
	w.tell(some(maxPending, 1))
	w.tell(some(0, 10))
	require.Empty(t, x.order, "who must read everything again needs no ids")
	<-x.Bell
	ids, gap := x.Take()
	require.True(t, gap)
	require.Empty(t, ids)
	w.tell(some(5, 1))
	<-x.Bell
	ids, gap = x.Take()
	require.False(t, gap)
	require.Equal(t, []string{"5"}, ids)
}

// What a reader sees when the bell rings is at least what rang it.
func TestTheBellRingsAfterTheChangeIsVisible(t *testing.T) {
	_, _, anns, bobs := pair(t, 5)
	x := bobs.Mailbox()
	seen := make(chan map[string]string)
	go func() {
		<-x.Bell
		ids, _ := x.Take()
		got := map[string]string{}
		_ = bobs.View(func(r *crdt.Replica) error {
			for _, id := range ids {
				doc, _, err := r.Get(id)
				if err == nil {
					got[id], _ = doc["text"].(string)
				}
			}
			return nil
		})
		seen <- got
	}()
	give(t, anns, bobs)
	require.Equal(t, docs(t, anns), <-seen)
}
