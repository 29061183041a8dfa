package ledger

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
)

// 64 writers at once. Every eighth asks for the impossible and is told so; the
// others do not notice, and what they were told is written is there after a restart.
func TestManyWritersAtOnce(t *testing.T) {
	const writers, each = 64, 8
	ann := newDevice(t, "ann")
	c, db := ann.found("fam")
	put(t, db, "taken", "1")
	before := ann.seen.Load()
	var wg sync.WaitGroup
	errs := make([]error, writers*each)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				write := crdt.Write{Verb: crdt.Put, ID: fmt.Sprintf("w%02d-%d", w, i), Body: crdt.Doc{"text": fmt.Sprint(i)}}
				if w%8 == 0 {
					write.ID, write.IfAbsent = "taken", true
				}
				res, err := db.Write(context.Background(), []crdt.Write{write})
				if err == nil && (res.Commit.IsZero() || !res.Results[0].Changed || res.Results[0].Rev == "") {
					err = fmt.Errorf("acknowledged without a commit: %+v", res)
				}
				errs[w*each+i] = err
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		if i/each%8 == 0 {
			require.ErrorIs(t, err, crdt.ErrExists)
		} else {
			require.NoError(t, err)
		}
	}
	made := ann.seen.Load() - before
	t.Logf("%d writes in %d commits", writers*each, made)
	require.LessOrEqual(t, made, int64(writers*each*7/8))

	want, heads := docs(t, db), db.Heads()
	require.Len(t, want, 1+writers*each*7/8)
	ann.restart()
	db = ann.Database(db.id)
	require.Equal(t, want, docs(t, db))
	require.Equal(t, heads, db.Heads())
	ann.checkIndex(db)
	require.Equal(t, c.Heads(), ann.Chain(c.id).Heads())
}

// Whoever comes while a group is being synced shares the next commit.
func TestWaitingWritersShareACommit(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	const writers = 64
	before := ann.seen.Load()
	db.turn <- struct{}{} // as if somebody were writing
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			_, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: fmt.Sprint("d", i), Body: crdt.Doc{}}})
			require.NoError(t, err)
		})
	}
	group := []*request{<-db.inbox}
	for len(group) < writers {
		group = db.gatherInto(group)
		runtime.Gosched()
	}
	db.writeGroup(group)
	<-db.turn
	wg.Wait()
	require.Equal(t, before+1, ann.seen.Load())
	require.Len(t, docs(t, db), writers)
}

// What fails only because of who else is in the group is tried again alone: here a
// condition on a revision, beside a write that touched the document and changed
// nothing. The same saves a request for which a full group leaves no room.
func TestARequestThatFailsBesideOthersIsTriedAlone(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	same := crdt.Write{Verb: crdt.Put, ID: "a", Body: crdt.Doc{"text": "1"}}
	res, err := db.Write(t.Context(), []crdt.Write{same})
	require.NoError(t, err)
	conditional := crdt.Write{Verb: crdt.Put, ID: "a", Body: crdt.Doc{"text": "2"}, IfRev: res.Results[0].Rev}
	hopeless := crdt.Write{Verb: crdt.Put, ID: "a", Body: crdt.Doc{}, IfAbsent: true}
	var group []*request
	for _, w := range []crdt.Write{same, conditional, hopeless} {
		group = append(group, &request{writes: []crdt.Write{w}, done: make(chan struct{})})
	}
	db.writeGroup(group)
	require.NoError(t, group[0].err)
	require.NoError(t, group[1].err)
	require.False(t, group[1].written.Commit.IsZero())
	require.ErrorIs(t, group[2].err, crdt.ErrExists)
	require.Equal(t, map[string]string{"a": "2"}, docs(t, db))
}

// All writes of a request happen, or none.
func TestARequestIsAtomic(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	_, err := db.Write(t.Context(), []crdt.Write{
		{Verb: crdt.Put, ID: "a", Body: crdt.Doc{}}, {Verb: crdt.Delete, ID: "nobody"},
	})
	require.ErrorIs(t, err, crdt.ErrNotFound)
	require.Empty(t, docs(t, db))
	res, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "a", Body: crdt.Doc{"text": "1"}}})
	require.NoError(t, err)
	require.False(t, res.Commit.IsZero())
	res, err = db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "a", Body: crdt.Doc{"text": "1"}}})
	require.NoError(t, err)
	require.True(t, res.Commit.IsZero(), "it reads so already: no commit")
}

func TestAWriterThatGivesUpDoesNotHang(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	ctx, cancel := context.WithCancel(t.Context())
	db.writing.Lock()
	done := make(chan error)
	go func() {
		_, err := db.Write(ctx, []crdt.Write{{Verb: crdt.Put, ID: "a", Body: crdt.Doc{}}})
		done <- err
	}()
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	db.writing.Unlock()
	put(t, db, "b", "1")
}

// The disk fails under a write: it is not acknowledged, nothing of it shows, and
// after a restart everything that was acknowledged is there.
func TestAFailedDiskAcknowledgesNothing(t *testing.T) {
	disk := &failing{FS: store.NewMem()}
	ann := newDevice(t, "ann")
	ann.stop()
	ann.fs = disk
	require.NoError(t, ann.open())
	c, db := ann.found("fam")
	put(t, db, "a", "1")
	disk.fail.Store(true)
	box := db.Mailbox()
	for range 2 {
		_, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "b", Body: crdt.Doc{}}})
		var broken *store.IOError
		require.ErrorAs(t, err, &broken)
	}
	_, err := c.Link(t.Context(), rename("no"), nil)
	require.Error(t, err)
	require.Equal(t, "fam", c.State().Name())
	require.Equal(t, map[string]string{"a": "1"}, docs(t, db))
	ids, gap := box.Take()
	require.Empty(t, ids)
	require.False(t, gap)

	disk.fail.Store(false)
	require.NoError(t, ann.st.Recover(t.Context()))
	put(t, db, "c", "1")
	ann.link(c, rename("smith"), nil)
	ann.restart()
	require.Equal(t, "smith", ann.Chain(c.id).State().Name())
	got := docs(t, ann.Database(db.id))
	require.Equal(t, "1", got["a"])
	require.Equal(t, "1", got["c"])
	ann.checkIndex(ann.Database(db.id))
}

// The disk fails under commits of others: none of them shows, and they are taken when
// the disk works again.
func TestAFailedDiskShowsNothingOfOthers(t *testing.T) {
	disk := &failing{FS: store.NewMem()}
	bob := newDevice(t, "bob")
	bob.stop()
	bob.fs = disk
	require.NoError(t, bob.open())
	ann := newDevice(t, "ann")
	c, db := ann.found("fam")
	_, bobs := ann.join(c, bob)
	put(t, db, "a", "1")
	box := bobs.Mailbox()
	disk.fail.Store(true)
	_, err := bobs.Commit(t.Context(), commits(t, db))
	require.Error(t, err)
	require.Empty(t, docs(t, bobs))
	require.Empty(t, bobs.Heads().Heads)
	ids, _ := box.Take()
	require.Empty(t, ids, "a watcher was told of what is not on disk")

	disk.fail.Store(false)
	require.NoError(t, bob.st.Recover(t.Context()))
	require.Equal(t, 1, give(t, db, bobs).Applied)
	bob.restart()
	require.Equal(t, map[string]string{"a": "1"}, docs(t, bob.Database(db.id)))
}

// Links that arrive while the disk is broken are not lost from memory, so they must
// reach the disk before anything that builds on them.
func TestLinksOfABrokenDiskGoFirstLater(t *testing.T) {
	disk := &failing{FS: store.NewMem()}
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	bob.stop()
	bob.fs = disk
	require.NoError(t, bob.open())
	c, _ := ann.found("fam")
	mine, _ := ann.join(c, bob)
	ann.link(c, rename("smith"), nil)
	disk.fail.Store(true)
	_, err := mine.Receive(t.Context(), ann.links(c))
	require.Error(t, err)
	require.Equal(t, "fam", mine.State().Name())
	disk.fail.Store(false)
	require.NoError(t, bob.st.Recover(t.Context()))
	ann.link(c, rename("jones"), nil)
	links := ann.links(c)
	_, err = mine.Receive(t.Context(), links[len(links)-1:])
	require.NoError(t, err)
	bob.restart()
	require.Equal(t, "jones", bob.Chain(c.id).State().Name())
	require.Equal(t, c.Heads(), bob.Chain(c.id).Heads())
}

// More heads than a commit can merge are merged in steps.
func TestManyHeadsAreMerged(t *testing.T) {
	ann, bob, anns, bobs := pair(t, 1)
	meet(t, anns, bobs)
	base := commits(t, anns)
	for i := range 70 {
		x := ann.twin(store.NewMem(), fmt.Sprint("place ", i))
		require.NoError(t, x.copyTeam(ann, anns.team))
		db := x.Database(anns.id)
		_, err := db.Commit(t.Context(), base)
		require.NoError(t, err)
		put(t, db, fmt.Sprint("from ", i), "1")
		give(t, db, bobs)
		x.stop()
	}
	require.Len(t, bobs.Heads().Heads, 70)
	put(t, bobs, "bob's", "1")
	require.Len(t, bobs.Heads().Heads, 1)
	meet(t, anns, bobs)
	require.Len(t, docs(t, anns), 72)
	heads := bobs.Heads()
	bob.restart()
	require.Equal(t, heads, bob.Database(bobs.id).Heads())
}

var errBroken = errors.New("broken disk")
