package peering

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
)

// fill writes more commits than one answer carries, several to a document.
func fill(t testing.TB, db *ledger.Database, n int) {
	t.Helper()
	for i := range n {
		put(t, db, fmt.Sprintf("doc-%04d", i%250), crdt.Doc{"n": int64(i), "text": strings.Repeat("x", 300)})
	}
}

// Who joins a team with a history begins at a member's checkpoint, and reads, writes
// and syncs from there on. The history follows, unless it is not wanted.
func TestANewcomerBeginsAtACheckpoint(t *testing.T) {
	t.Parallel()
	ann, bob, eve := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "eve")
	bob.o.NoHistory = true
	c, dbA := ann.found("fam")
	fill(t, dbA, 1000)
	onB, dbB := bob.join(ann, c)
	same(t, dbA, dbB)
	by, ok := dbB.Unaudited()
	require.True(t, ok)
	require.Equal(t, ann.id.Device(), by)
	require.Less(t, dbB.Bytes(), int64(1000), "no history was fetched")
	confirmed(t, onB)

	put(t, dbB, "doc-0001", crdt.Doc{"n": int64(-1)})
	put(t, dbA, "doc-0002", crdt.Doc{"n": int64(-2)})
	same(t, dbA, dbB)

	_, dbE := eve.join(ann, c)
	same(t, dbA, dbB, dbE)
	hosttest.Wait(t, "the audit", func() bool { _, ok := dbE.Unaudited(); return !ok })
	require.NoError(t, dbE.Alarm())
	rep, err := dbE.Verify(t.Context(), true)
	require.NoError(t, err)
	require.Empty(t, rep.Bad)
	same(t, dbA, dbB, dbE)
}

// A member that lies about checkpoints costs a pull or two; what an honest one offers
// is taken.
func TestLyingOffers(t *testing.T) {
	for name, lie := range map[string]func(w *trio, n int) message.DBResponse{
		"rows that never come": func(w *trio, _ int) message.DBResponse {
			o, _ := w.dbM.Offer()
			return message.DBResponse{Offer: o.Block}
		},
		"garbage for rows": func(w *trio, _ int) message.DBResponse {
			o, _ := w.dbM.Offer()
			return message.DBResponse{Offer: o.Block, Rows: []byte("garbage")}
		},
		"rows of nothing": func(*trio, int) message.DBResponse {
			return message.DBResponse{Rows: []byte{0x81, 0x40}}
		},
		"garbage for a checkpoint": func(*trio, int) message.DBResponse {
			return message.DBResponse{Offer: []byte("garbage")}
		},
		"one checkpoint after the other": func(w *trio, n int) message.DBResponse {
			// Errors are of a test that has ended.
			_, _ = w.dbM.Write(w.mallory.ctx, []crdt.Write{{Verb: crdt.Put, ID: fmt.Sprint("more ", n), Body: crdt.Doc{}}})
			_ = w.dbM.Flush(w.mallory.ctx)
			o, _ := w.dbM.Offer()
			return message.DBResponse{Offer: o.Block}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTrio(t)
			apart(t, w.bob, w.ann, w.mallory)
			fill(t, w.dbA, 1000)
			together(t, w.ann, w.mallory)
			same(t, w.dbA, w.dbM)
			var asked atomic.Int64
			w.lies(func(s network.Stream, req message.Request) bool {
				n := asked.Add(1)
				if n > 1000 {
					t.Error("asked for ever")
					return false
				}
				return says(s, w.answer(req, lie(w, int(n))))
			})
			together(t, w.bob)
			connect(t, w.bob, w.mallory)
			hosttest.Wait(t, "mallory to be asked", func() bool { return asked.Load() > 1 })
			connect(t, w.bob, w.ann)
			hosttest.Wait(t, "what ann has", func() bool { return count(w.dbB) >= 250 })
			require.NoError(t, w.dbB.Alarm())
		})
	}
}

// A device that was away until everybody had compacted away what it lacks: it keeps what
// it holds and says why it is behind. Only a person's repair takes a member's state, and
// nothing that the device wrote is lost by it.
func TestADeviceThatWasAwayTooLong(t *testing.T) {
	t.Parallel()
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob")
	c, dbA := ann.found("fam")
	onB, dbB := bob.join(ann, c)
	confirmed(t, onB)
	fill(t, dbA, 20)
	same(t, dbA, dbB)
	apart(t, ann, bob)
	fill(t, dbA, 250) // more than announcements carry along
	put(t, dbB, "bob's", crdt.Doc{"n": int64(1)})
	put(t, dbB, "doc-0001", crdt.Doc{"bob": true})
	ann.skew.Store((90 * 24 * time.Hour).Milliseconds())
	put(t, dbA, "now", nil)
	done, err := dbA.Compact(t.Context(), ledger.Compaction{Keep: time.Hour})
	require.NoError(t, err)
	freed, err := dbA.GC(t.Context(), ledger.Collection{Now: true})
	require.NoError(t, err)
	require.Positive(t, done.Below)
	require.Positive(t, freed.Commits)
	ann.skew.Store(0)
	before := count(dbB)
	together(t, ann, bob)
	hosttest.Wait(t, "bob to know", func() bool { _, ok := dbB.CutOff(); return ok })
	require.GreaterOrEqual(t, count(dbB), before)
	require.Less(t, count(dbB), count(dbA), "an announcement carries a part along, and no more")
	_, ok := dbB.Unaudited()
	require.False(t, ok)
	require.NoError(t, dbB.Damage())

	_, err = bob.Repair(within(t), dbB)
	require.NoError(t, err)
	same(t, dbA, dbB)
	_, ok = dbB.CutOff()
	require.False(t, ok)
	by, ok := dbB.Unaudited()
	require.True(t, ok)
	require.Equal(t, ann.id.Device(), by)
	for _, db := range []*ledger.Database{dbA, dbB} {
		require.NoError(t, db.Alarm())
		require.NoError(t, db.View(func(r *crdt.Replica) error {
			_, _, err := r.Get("bob's")
			require.NoError(t, err)
			doc, _, err := r.Get("doc-0001")
			require.NoError(t, err)
			require.Equal(t, true, doc["bob"])
			return nil
		}))
	}
}
