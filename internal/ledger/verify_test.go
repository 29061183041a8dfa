package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
)

// from makes a Fetch of what another device holds.
func from(x *device) Fetch {
	return func(_ context.Context, _ *Chain, ids []block.ID) (map[block.ID][]byte, error) {
		got := map[block.ID][]byte{}
		for _, id := range ids {
			if u, err := x.Stored(id); err == nil {
				got[id] = u.Data()
			}
		}
		return got, nil
	}
}

func verify(t *testing.T, db *Database, deep bool) Report {
	t.Helper()
	rep, err := db.Verify(t.Context(), deep)
	require.NoError(t, err)
	return rep
}

func found(rep Report) (kinds []string) {
	for _, f := range rep.Bad {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

// Two devices write apart and together; every digest that was signed is confirmed,
// also of states that only one line of the history passed through.
func TestVerifyConfirmsEveryDigest(t *testing.T) {
	_, _, x, y := pair(t, 3)
	catchUp(t, x, y)
	for round := range 5 {
		for i := range 4 {
			put(t, x, "both", fmt.Sprint("x", round, i))
			put(t, y, "both", fmt.Sprint("y", round, i))
		}
		put(t, x, fmt.Sprint("big ", round), large("x"))
		give(t, x, y)
		give(t, y, x)
	}
	for _, d := range []*Database{x, y} {
		rep := verify(t, d, true)
		require.Empty(t, rep.Bad)
		require.Equal(t, 3+5*9, rep.Digests)
		require.Equal(t, 3+5*9+5, rep.Checked, "commits, and values out of line")
		rep = verify(t, d, false)
		require.Zero(t, rep.Digests)
		require.Empty(t, rep.Bad)
	}
}

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	for _, which := range []string{FoundHash, FoundMissing, FoundSignature, FoundOrder, FoundDigest, FoundState} {
		t.Run(which, func(t *testing.T) {
			ann, bob, db, bobs := pair(t, 3)
			w, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "big", Body: crdt.Doc{"text": large("a")}}})
			require.NoError(t, err)
			put(t, db, "last", "1")
			meet(t, db, bobs)
			u, err := ann.Stored(w.Commit)
			require.NoError(t, err)
			victim, deep := u.Links[u.Parents], false
			switch which {
			case FoundHash:
				ann.rot(victim)
			case FoundMissing:
				batch := ann.st.NewBatch()
				batch.Delete(store.Block(victim))
				require.NoError(t, ann.st.Commit(t.Context(), batch))
			case FoundSignature:
				victim = ann.forge(db, w.Commit)
			case FoundOrder:
				victim = ann.swap(db)
			case FoundDigest:
				victim, deep = ann.lie(db), true
				require.NoError(t, db.Alarm(), "nobody compared")
			case FoundState:
				victim, deep = block.ID{}, true
				ann.confuse(db)
			}
			rep := verify(t, db, deep)
			require.Equal(t, []string{which}, found(rep))
			require.Equal(t, victim, rep.Bad[0].Block)
			require.NotEmpty(t, rep.Bad[0].Detail)
			require.Empty(t, verify(t, bobs, true).Bad, "the other device is well")

			fixed, err := db.Repair(t.Context(), from(bob))
			require.NoError(t, err)
			switch which {
			case FoundHash, FoundMissing:
				require.Equal(t, 1, fixed.Healed)
				require.Empty(t, fixed.Bad)
				require.Empty(t, verify(t, db, true).Bad)
			case FoundState:
				require.True(t, fixed.Rebuilt)
				require.Empty(t, verify(t, db, true).Bad)
				require.Equal(t, docs(t, bobs), docs(t, db))
			default:
				require.Zero(t, fixed.Healed, "a copy would not help")
			}
		})
	}
}

// forge puts a copy of a commit with another signature behind the others, as
// somebody with access to the disk could.
func (d *device) forge(db *Database, id block.ID) block.ID {
	d.t.Helper()
	u, err := d.Stored(id)
	require.NoError(d.t, err)
	data := bytes.Clone(u.Data())
	for i := len(data) - 1; ; i-- { // the signature stands at the end
		data[i] ^= 1
		if _, err := block.Parse(data); err == nil {
			break
		}
		data[i] ^= 1
	}
	forged := block.Sum(data)
	batch := d.st.NewBatch()
	batch.Set(store.Block(forged), data)
	batch.Set(store.CommitIndex(db.id, db.arrival), forged[:])
	require.NoError(d.t, d.st.Commit(d.t.Context(), batch))
	d.reopen(db)
	return forged
}

// swap exchanges the last two entries of the commit index.
func (d *device) swap(db *Database) block.ID {
	d.t.Helper()
	batch := d.st.NewBatch()
	var last [2][]byte
	for i := range last {
		id, err := d.st.Get(store.CommitIndex(db.id, db.arrival-1-uint64(i)))
		require.NoError(d.t, err)
		last[i] = id
	}
	batch.Set(store.CommitIndex(db.id, db.arrival-1), last[1])
	batch.Set(store.CommitIndex(db.id, db.arrival-2), last[0])
	require.NoError(d.t, d.st.Commit(d.t.Context(), batch))
	return block.ID(last[0])
}

// lie commits what a program with a bug would: a signed commit that claims another
// state. It arrives beside others, so that nobody compares.
func (d *device) lie(db *Database) block.ID {
	d.t.Helper()
	st := db.team.State()
	self, _ := st.Device(d.id.Device())
	gen, _ := st.WriteGeneration()
	a := crdt.Author{Actor: block.Actor{Device: d.id.Device(), Incarnation: block.Incarnation{9}}, Seat: self.Seat, TeamHeads: st.Heads(), Time: d.Now()}
	var draft *crdt.Draft
	db.writing.Lock()
	require.NoError(d.t, db.View(func(r *crdt.Replica) error {
		var errs []error
		draft, _, errs = r.Draft(a, [][]crdt.Write{{{Verb: crdt.Put, ID: "lie", Body: crdt.Doc{}}}})
		return errs[0]
	}))
	db.writing.Unlock()
	j, err := db.seal(draft, a, gen)
	require.NoError(d.t, err)
	draft.Plain = bytes.Replace(draft.Plain, j.commit.Digest[:], bytes.Repeat([]byte{7}, 32), 1)
	j, err = db.seal(draft, a, gen)
	require.NoError(d.t, err)
	put(d.t, db, "beside", "1") // now its parents are not the heads
	_, err = db.Commit(d.t.Context(), []Candidate{{Data: j.block.Data}})
	require.NoError(d.t, err)
	require.True(d.t, db.Has(j.block.ID))
	return j.block.ID
}

// confuse gives the database a replica that computes other digests.
func (d *device) confuse(db *Database) {
	d.t.Helper()
	r := crdt.NewReplica(db.id, crdt.Keys{
		Expand: func(entry []byte) (out [2048]byte) { out[0] = byte(len(entry)); return out }, ValueHash: db.valueHash(d.t),
	})
	var set []block.ID
	require.NoError(d.t, db.View(func(r *crdt.Replica) (err error) { set, err = r.Past(r.Heads()); return err }))
	require.NoError(d.t, db.play(d.t.Context(), r, set, nil))
	db.writing.Lock()
	defer db.writing.Unlock()
	db.mu.Lock()
	defer db.mu.Unlock()
	db.replica = r
}

func (d *Database) valueHash(t testing.TB) func([]byte) [32]byte {
	t.Helper()
	keys, err := d.n.keys.Database(d.id)
	require.NoError(t, err)
	return keys.ValueHash
}

// reopen restarts the device and keeps db pointing at the open database.
func (d *device) reopen(db *Database) {
	d.t.Helper()
	require.NoError(d.t, db.reload())
}

// A database that cannot be opened is healed from a peer and opens again, without a
// restart, with everything it had.
func TestADamagedDatabaseOpensAgainOnceHealed(t *testing.T) {
	for _, lost := range []int{1, 5} {
		t.Run(fmt.Sprint(lost, " blocks"), func(t *testing.T) {
			ann, bob, db, bobs := pair(t, 8)
			w, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "big", Body: crdt.Doc{"text": large("a")}}})
			require.NoError(t, err)
			meet(t, db, bobs)
			want := docs(t, db)
			var ids []block.ID
			for _, c := range commits(t, db) {
				ids = append(ids, block.Sum(c.Data))
			}
			for _, id := range ids[:lost-1] {
				ann.rot(id)
			}
			ann.rot(w.Commit) // whose links are known only once it is healed
			u, err := bob.Stored(w.Commit)
			require.NoError(t, err)
			ann.rot(u.Links[u.Parents])
			ann.restart()
			_, db = ann.only()
			require.Error(t, db.Damage())
			require.True(t, ann.NeedsHealing())
			x := db.Mailbox()
			defer x.Close()

			require.ErrorContains(t, ann.Heal(t.Context(), func(context.Context, *Chain, []block.ID) (map[block.ID][]byte, error) { return nil, nil }), "still damaged")
			require.Error(t, db.Damage(), "nobody was there")
			before := ann.disk()
			require.Error(t, ann.Heal(t.Context(), func(_ context.Context, _ *Chain, ids []block.ID) (map[block.ID][]byte, error) {
				return map[block.ID][]byte{ids[0]: []byte("something else")}, nil
			}))
			require.Error(t, db.Damage(), "what came was not what was asked for")
			require.Equal(t, before, ann.disk())

			require.NoError(t, ann.Heal(t.Context(), from(bob)))
			require.NoError(t, db.Damage())
			require.False(t, ann.NeedsHealing())
			require.Equal(t, want, docs(t, db))
			require.Empty(t, verify(t, db, true).Bad)
			changed, _ := x.Take()
			require.Len(t, changed, len(want), "who watches is told")
			put(t, db, "on", "1")
			give(t, db, bobs)
			require.Equal(t, docs(t, db), docs(t, bobs))
			ann.checkIndex(db)
		})
	}
}

// A read that meets a rotten block fails, says which, and asks for healing; after it
// the same read works.
func TestRotIsNoticedByAReadAndHealed(t *testing.T) {
	ann, bob, db, bobs := pair(t, 3)
	first := put(t, db, "d", "1")
	put(t, db, "d", "2")
	meet(t, db, bobs)
	ann.rot(first)
	require.Empty(t, ann.Rotten())
	require.False(t, ann.NeedsHealing())
	_, err := db.DocAt(t.Context(), "d", first.String())
	damage, ok := errors.AsType[*DamageError](err)
	require.True(t, ok)
	require.Equal(t, first, damage.Block)
	require.Equal(t, []block.ID{first}, ann.Rotten())
	require.Equal(t, int64(1), ann.damaged.Load(), "once")
	_, err = db.DocAt(t.Context(), "d", first.String())
	require.Error(t, err)
	require.Equal(t, int64(1), ann.damaged.Load(), "once")

	require.NoError(t, ann.Heal(t.Context(), from(bob)))
	require.Empty(t, ann.Rotten())
	doc, err := db.DocAt(t.Context(), "d", first.String())
	require.NoError(t, err)
	require.Equal(t, "1", doc["text"])
}

func TestRepairOfASoundDatabaseChangesNothing(t *testing.T) {
	ann, _, db, _ := pair(t, 3)
	before := ann.disk()
	out, err := db.Repair(t.Context(), nil)
	require.NoError(t, err)
	require.False(t, out.Rebuilt)
	require.Zero(t, out.Healed)
	require.Empty(t, out.Bad)
	require.Equal(t, before, ann.disk())
	require.True(t, slices.IsSorted([]int{out.Digests, out.Checked}))
}
