package ledger

import (
	"bytes"
	"crypto/rand"
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// pair is a team of two with one database, and some commits of ann's that bob has
// not got yet.
func pair(t *testing.T, writes int) (ann, bob *device, anns, bobs *Database) {
	t.Helper()
	ann, bob = newDevice(t, "ann"), newDevice(t, "bob")
	c, anns := ann.found("fam")
	_, bobs = ann.join(c, bob)
	for i := range writes {
		put(t, anns, fmt.Sprint("d", i), fmt.Sprint("text ", i))
	}
	return ann, bob, anns, bobs
}

func TestCommitsArriveShuffledAndTwice(t *testing.T) {
	_, bob, anns, bobs := pair(t, 30)
	all := commits(t, anns)
	applied := 0
	for seed := uint64(0); applied < len(all); seed++ {
		require.Less(t, seed, uint64(1000))
		rng := mrand.New(mrand.NewPCG(seed, 0))
		some := slices.Clone(all)
		rng.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		out, err := bobs.Commit(t.Context(), append(some[:10:10], some[:10]...))
		require.NoError(t, err)
		require.NoError(t, out.Rejected)
		require.False(t, out.Chain)
		for _, id := range out.Missing {
			known := slices.ContainsFunc(all, func(c Candidate) bool { return block.Sum(c.Data) == id })
			require.True(t, known)
		}
		applied += out.Applied
		bob.checkIndex(bobs)
	}
	require.Equal(t, anns.Heads(), bobs.Heads())
	require.Equal(t, docs(t, anns), docs(t, bobs))
	bob.restart()
	require.Equal(t, anns.Heads(), bob.Database(bobs.id).Heads())
}

func TestAMissingParentIsNamedAndNothingIsKept(t *testing.T) {
	_, bob, anns, bobs := pair(t, 3)
	all, before := commits(t, anns), bob.disk()
	out, err := bobs.Commit(t.Context(), all[1:])
	require.NoError(t, err)
	require.Zero(t, out.Applied)
	require.Equal(t, []block.ID{block.Sum(all[0].Data), block.Sum(all[1].Data)}, out.Missing)
	require.Equal(t, before, bob.disk())
}

func TestLinkedBlocksAreAskedFor(t *testing.T) {
	ann, bob, anns, bobs := pair(t, 0)
	_, err := anns.Write(t.Context(), []crdt.Write{
		{Verb: crdt.Put, ID: "big", Body: crdt.Doc{"text": large("a"), "more": large("b")}},
	})
	require.NoError(t, err)
	put(t, anns, "child", "1")
	all, before := commits(t, anns), bob.disk()
	require.Len(t, all[0].Linked, 2)

	bare := []Candidate{{Data: all[0].Data}, all[1]}
	out, err := bobs.Commit(t.Context(), bare)
	require.NoError(t, err)
	require.Len(t, out.Needs, 2)
	require.Len(t, out.Missing, 1, "the child's parent is not here yet")
	require.Equal(t, before, bob.disk())

	for name, spoil := range map[string]func([]byte) []byte{
		"cut off": func(b []byte) []byte { return b[:len(b)-1] },
		"flipped": func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b },
		"empty":   func([]byte) []byte { return nil },
		"another": func([]byte) []byte { return all[1].Data },
	} {
		wrong := map[block.ID][]byte{}
		for i, id := range out.Needs {
			wrong[id] = all[0].Linked[id]
			if i == 0 {
				wrong[id] = spoil(all[0].Linked[id])
			}
		}
		out, err := bobs.Commit(t.Context(), []Candidate{{Data: all[0].Data, Linked: wrong}})
		require.NoError(t, err)
		require.ErrorIs(t, out.Rejected, block.ErrMalformed, name)
		require.Equal(t, before, bob.disk(), name)
	}
	out, err = bobs.Commit(t.Context(), all)
	require.NoError(t, err)
	require.Equal(t, 2, out.Applied)
	bob.restart()
	require.Equal(t, docs(t, anns), docs(t, bob.Database(bobs.id)))
	require.Equal(t, ann.Database(anns.id).Heads(), bob.Database(bobs.id).Heads())
}

// forge drafts a commit on db and lets edit change its header before it is sealed
// and signed by id.
func forge(t *testing.T, db *Database, id *vault.Identity, edit func(*block.Header)) Candidate {
	t.Helper()
	st := db.team.State()
	self, _ := st.Device(db.n.Me())
	gen, _ := st.WriteGeneration()
	a := crdt.Author{Actor: db.actor, Seat: self.Seat, TeamHeads: st.Heads(), Time: db.n.Now()}
	draft, _, errs := db.replica.Draft(a, [][]crdt.Write{{{Verb: crdt.Put, ID: "forged", Body: crdt.Doc{"text": "x"}}}})
	require.NoError(t, errs[0])
	h := block.Header{
		Kind: block.KindCommit, Team: db.team.id, DB: db.id, Generation: gen,
		Parents: len(draft.Parents), Links: slices.Clone(draft.Parents), Author: db.n.Me(), Seat: self.Seat,
	}
	body, err := db.n.keys.Seal(vault.Data, h, draft.Plain)
	require.NoError(t, err)
	was := h.Generation
	edit(&h)
	if h.Generation == was {
		body, err = db.n.keys.Seal(vault.Data, h, draft.Plain)
		require.NoError(t, err)
	}
	b, err := id.SignBlock(h, body)
	require.NoError(t, err)
	return Candidate{Data: b.Data}
}

// Whatever is refused leaves nothing on disk, and honest commits beside it, in the
// same set and later, are taken.
func TestWhatIsRefusedLeavesNothing(t *testing.T) {
	ann, bob, anns, bobs := pair(t, 2)
	other := ann.addDB(anns.team, "other")
	ann.tell(anns.team, bob)
	put(t, other, "x", "1")
	stranger, err := vault.NewIdentity(rand.Reader)
	require.NoError(t, err)
	honest := commits(t, anns)
	good := honest[1].Data
	// Two commits that are what they say, but not of whom: their parent is another
	// one than the author means. Only the replica can tell.
	lying := forge(t, anns, ann.id, func(h *block.Header) { h.Links[0] = block.Sum(honest[0].Data) })
	child := forge(t, anns, ann.id, func(h *block.Header) { h.Links[0] = block.Sum(lying.Data) })

	cases := map[string]struct {
		in       []Candidate
		chain    bool
		rejected error
	}{
		"no bytes":          {in: []Candidate{{}}, rejected: block.ErrMalformed},
		"a link":            {in: []Candidate{{Data: ann.links(anns.team)[1]}}, rejected: block.ErrMalformed},
		"another database":  {in: commits(t, other), rejected: block.ErrMalformed},
		"another signature": {in: []Candidate{{Data: resigned(good, stranger)}}, rejected: block.ErrSignature},
		"a parent it does not mean": {
			in: []Candidate{lying}, rejected: crdt.ErrMalformed,
		},
		"built on such": {in: []Candidate{lying, child}, rejected: crdt.ErrMalformed},
		"unknown generation": {in: []Candidate{forge(t, anns, ann.id, func(h *block.Header) {
			h.Generation = block.Generation{1, 2, 3}
		})}, chain: true},
	}
	give(t, anns, bobs)
	for name, c := range cases {
		before := bob.disk()
		out, err := bobs.Commit(t.Context(), c.in)
		require.NoError(t, err, name)
		require.Zero(t, out.Applied, name)
		require.Equal(t, c.chain, out.Chain, name)
		require.ErrorIs(t, out.Rejected, c.rejected, name)
		require.Equal(t, before, bob.disk(), name)
		bob.checkIndex(bobs)
		put(t, anns, name, "honest")
		give(t, anns, bobs)
		require.Equal(t, docs(t, anns), docs(t, bobs), name)
	}
	bob.restart()
	require.Equal(t, anns.Heads(), bob.Database(bobs.id).Heads())
}

// resigned puts a stranger's signature behind a commit.
func resigned(data []byte, by *vault.Identity) []byte {
	signed := data[:len(data)-64]
	sig := by.Sign(block.ForCommit, signed)
	return append(bytes.Clone(signed), sig[:]...)
}

// No bit of a commit can be changed, and no byte left out, without its being
// refused.
func TestASpoiltCommitIsRefused(t *testing.T) {
	_, bob, anns, bobs := pair(t, 2)
	all := commits(t, anns)
	give(t, anns, bobs)
	put(t, anns, "next", "1")
	good, before := commits(t, anns)[len(all)].Data, bob.disk()
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		for _, data := range [][]byte{bad, good[:i]} {
			out, err := bobs.Commit(t.Context(), []Candidate{{Data: data}})
			require.NoError(t, err)
			require.Zero(t, out.Applied, "byte %d", i)
			if out.Rejected == nil {
				require.True(t, out.Chain || len(out.Missing) > 0, "byte %d", i)
			}
		}
	}
	require.Equal(t, before, bob.disk())
	require.Equal(t, 1, give(t, anns, bobs).Applied)
}

// A seat that is not the author's makes a commit void, here and on its author's own
// other replicas; nothing else changes.
func TestABackdatedSeatIsVoid(t *testing.T) {
	ann, bob, anns, bobs := pair(t, 1)
	meet(t, anns, bobs)
	backdated := forge(t, bobs, bob.id, func(h *block.Header) { h.Seat = block.ID(bobs.team.id) })
	for _, db := range []*Database{anns, bobs} {
		out, err := db.Commit(t.Context(), []Candidate{backdated})
		require.NoError(t, err)
		require.Equal(t, 1, out.Applied)
		require.Equal(t, map[string]string{"d0": "text 0"}, docs(t, db))
	}
	put(t, anns, "d1", "on top")
	put(t, bobs, "d2", "by a new actor")
	meet(t, anns, bobs)
	require.Len(t, docs(t, bobs), 3)
	for _, d := range []*device{ann, bob} {
		heads := d.Database(anns.id).Heads()
		d.restart()
		require.Equal(t, heads, d.Database(anns.id).Heads())
	}
}

// A reader whose node has our code thrown away writes all the same, as if it had not
// heard yet and as if it were allowed: nothing shows anywhere, and others go on.
func TestAReaderWhoWritesAnyway(t *testing.T) {
	ann, bob, anns, bobs := pair(t, 1)
	meet(t, anns, bobs)
	require.NoError(t, anns.team.SetRole(t.Context(), bob.Me(), team.RoleReader))
	late := forge(t, bobs, bob.id, func(*block.Header) {})
	ann.tell(anns.team, bob)
	bold := forge(t, bobs, bob.id, func(*block.Header) {})
	for _, db := range []*Database{anns, bobs} {
		for _, c := range []Candidate{late, bold} {
			_, err := db.Commit(t.Context(), []Candidate{c})
			require.NoError(t, err)
			require.Equal(t, map[string]string{"d0": "text 0"}, docs(t, db))
		}
	}
	put(t, anns, "d1", "on top")
	meet(t, anns, bobs)
	for _, d := range []*device{ann, bob} {
		d.restart()
		require.Equal(t, map[string]string{"d0": "text 0", "d1": "on top"}, docs(t, d.Database(anns.id)))
	}
	require.Equal(t, ann.Database(anns.id).Heads(), bob.Database(anns.id).Heads())
}

func TestUnknownTeamHeadsAskForTheChain(t *testing.T) {
	ann, bob, anns, bobs := pair(t, 0)
	ann.addDB(anns.team, "more")
	put(t, anns, "a", "1")
	before := bob.disk()
	require.True(t, give(t, anns, bobs).Chain)
	require.Equal(t, before, bob.disk())
	ann.tell(anns.team, bob)
	out := give(t, anns, bobs)
	require.Equal(t, Outcome{Applied: 1}, out)
}

// A crash between a batch and the batch that takes a refused commit off again
// leaves it in the index: replay passes over it and takes it off, and nothing is lost.
func TestReplayPassesOverWhatWasRefused(t *testing.T) {
	ann, bob, anns, bobs := pair(t, 3)
	honest := commits(t, anns)
	give(t, anns, bobs)
	lying := forge(t, anns, ann.id, func(h *block.Header) { h.Links[0] = block.Sum(honest[0].Data) })
	u, err := block.Parse(lying.Data)
	require.NoError(t, err)
	batch := bob.st.NewBatch()
	batch.Set(store.Block(u.ID), lying.Data)
	batch.Set(store.CommitIndex(bobs.id, bobs.arrival), u.ID[:])
	require.NoError(t, bob.st.Commit(t.Context(), batch))
	for i := range 3 {
		bob.restart()
		bobs = bob.Database(bobs.id)
		require.NoError(t, bobs.Damage())
		bob.checkIndex(bobs)
		put(t, bobs, fmt.Sprint("mine", i), "1")
		require.Len(t, docs(t, bobs), 4+i)
	}
	meet(t, anns, bobs)
	require.Equal(t, docs(t, anns), docs(t, bobs))
}

// An index that lacks a parent is damage, not something to pass over.
func TestAHoleInTheIndexIsDamage(t *testing.T) {
	ann := newDevice(t, "ann")
	_, db := ann.found("fam")
	for i := range 3 {
		put(t, db, fmt.Sprint("d", i), "1")
	}
	batch := ann.st.NewBatch()
	batch.Delete(store.CommitIndex(db.id, 1))
	require.NoError(t, ann.st.Commit(t.Context(), batch))
	ann.restart()
	require.ErrorContains(t, ann.Database(db.id).Damage(), "parents")
}
