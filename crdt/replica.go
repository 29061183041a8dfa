package crdt

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/toftdb/toft/block"
)

// Keys are the keyed functions of a database; a replica never sees the keys.
type Keys struct {
	// Expand returns the 2,048-byte expansion of an entry: the AES-256-CTR keystream
	// (IV 0) under HMAC-SHA-256(K_digest, entry).
	Expand func(entry []byte) [2048]byte
	// ValueHash returns the keyed hash of a value kept out of line.
	ValueHash func(value []byte) [32]byte
}

// Replica is one copy of a database: the graph of its commits and the state they
// lead to. It knows no disk, network or clock; what arrives is handed in, what is
// lacking is asked for.
//
// It is not safe for concurrent use, with one relief: methods that only read
// (including [Replica.Draft], one at a time) may run together. Add and
// Rejudge need the replica for themselves.
type Replica struct {
	db   block.DBID
	keys Keys

	graph
	docs     documents
	acc      accumulator
	feed     feed
	parked   parking
	values   map[[32]byte][]byte   // values out of line
	roots    map[[32]byte]block.ID // files: where they start
	voids    map[block.ID]*held
	voidHash atomic.Pointer[[32]byte] // nil: to be computed
	pending  *staged                  // what the last draft leads to
}

// NewReplica returns an empty replica.
func NewReplica(db block.DBID, k Keys) *Replica {
	return &Replica{
		db: db, keys: k, graph: newGraph(), docs: newDocuments(), feed: newFeed(), parked: newParking(),
		values: map[[32]byte][]byte{}, roots: map[[32]byte]block.ID{}, voids: map[block.ID]*held{},
	}
}

func (r *Replica) value(hash [32]byte) ([]byte, bool)  { b, ok := r.values[hash]; return b, ok }
func (r *Replica) root(hash [32]byte) (block.ID, bool) { id, ok := r.roots[hash]; return id, ok }

// Validity is what the team chain says of a commit ([Valid] or [Void]): whether
// its author might write at that point. It is the same on every replica that knows
// the same chain, and may change when the chain grows: see [Replica.Rejudge].
type Validity struct{ why string }

// Valid is the validity of a commit that counts. It is never written to.
var Valid = Validity{}

// Void returns the validity of a commit that does not count, and why.
func Void(why string) Validity {
	if why == "" {
		why = "not allowed by the team chain"
	}
	return Validity{why}
}

// Reason returns why a commit does not count, "" if it does.
func (v Validity) Reason() string { return v.why }

// Status is what became of an added commit.
type Status uint8

// The outcomes of [Replica.Add].
const (
	// Applied: its operations are part of the state.
	Applied Status = iota + 1
	// Known: it was there before.
	Known
	// Parked: it waits for parents, see [Replica.Missing].
	Parked
	// Voided: it is part of the graph, its operations are skipped.
	Voided
)

// String returns the name of the status.
func (s Status) String() string {
	switch s {
	case Applied:
		return "applied"
	case Known:
		return "known"
	case Parked:
		return "parked"
	case Voided:
		return "void"
	}
	return "unknown"
}

// Added is the outcome of [Replica.Add].
type Added struct {
	Status Status
	Why    string // of a void commit
	// Changes are the documents that read differently now, in order.
	Changes []Change
	// Unparked are parked commits whose parents are all known now, to be judged and
	// added: see [Replica.Parked].
	Unparked []block.ID
	// Forked: the actor wrote twice under one seq; see [Replica.Forks].
	Forked bool
}

// Add takes in a commit, its linked blocks filled in. v is what the team says of
// it; it is ignored while the commit is parked, because only its parents tell.
//
// An error that wraps [ErrMalformed] or [ErrParked] refuses the commit. A
// *[DigestError] is an alarm: the commit was applied and the state kept, but its
// author claims another one.
func (r *Replica) Add(c *Commit, v Validity) (Added, error) {
	if c.DB != r.db {
		return Added{}, malformed("commit %s is of %s, not of %s", c.ID, c.DB, r.db)
	}
	if _, ok := r.commits[c.ID]; ok {
		return Added{Status: Known}, nil
	}
	if !c.complete() {
		return Added{}, fmt.Errorf("commit %s: linked blocks are not filled in", c.ID)
	}
	if missing := r.unknown(c.Parents); len(missing) > 0 {
		return Added{Status: Parked}, r.parked.park(c, missing)
	}
	h, err := r.hold(c, v)
	if err != nil {
		return Added{}, err
	}
	exact := slices.Equal(r.heads, h.Parents)
	r.parked.remove(c.ID)
	r.insert(h)
	a := Added{Status: Applied, Forked: r.twins(h) > 1}
	flipped := r.judgeFrom(h)
	ours := r.pending.fits(r, h) // its digest was computed here
	if len(flipped) > 0 {
		a.Changes = r.rebuild(flipped, h)
	} else {
		a.Changes = r.play(h)
	}
	if h.void != "" {
		a.Status, a.Why = Voided, h.void
	}
	a.Unparked = r.parked.release(h.ID, func(id block.ID) bool { _, ok := r.commits[id]; return ok })
	h.ops = nil // decoded again if it must be replayed
	if exact && !ours && h.HasDigest && h.void == "" && h.Void == r.VoidHash() {
		if have := r.Digest(); have != h.Digest {
			return a, &DigestError{Commit: h.ID, Author: h.Actor.Device, Want: h.Digest, Have: have}
		}
	}
	return a, nil
}

// hold checks a commit against its past and wraps it for the graph.
func (r *Replica) hold(c *Commit, v Validity) (*held, error) {
	h, err := r.place(c)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", c.ID, err)
	}
	h.validity, h.ops = v, c.operations()
	for i := range h.ops {
		if err := r.checkRefs(h, &h.ops[i]); err != nil {
			return nil, fmt.Errorf("commit %s: %w", c.ID, err)
		}
	}
	for i := range h.ops {
		if h.bad = r.outside(h, &h.ops[i]); h.bad != "" {
			break
		}
	}
	return h, nil
}

// checkRefs holds the keyed hashes against the blocks they stand for, and keeps
// the values.
func (r *Replica) checkRefs(h *held, o *op) error {
	for _, s := range o.sets {
		if s.link == noLink {
			continue
		}
		f := s.val.parseRef()
		if f.file {
			r.roots[f.hash] = h.links[s.link]
			continue
		}
		b := h.cells[s.link-h.opBlocks]
		if uint64(len(b)) != f.size || r.keys.ValueHash(b) != f.hash {
			return malformed("value of %.40q is not what the operation names", o.id)
		}
		r.values[f.hash] = b
	}
	return nil
}

// outside says which dot an operation names that its author cannot have seen.
func (r *Replica) outside(h *held, o *op) string {
	for _, d := range o.drops {
		if !r.sees(h, h.ctx.actors[d.actor], d.seq) {
			return "names a commit outside its past"
		}
	}
	for _, c := range o.clears {
		for _, s := range c.seen {
			if !r.sees(h, h.ctx.actors[s.actor], s.seq) {
				return "clears an increment outside its past"
			}
		}
	}
	for _, s := range o.sets {
		if s.orig != nil && !r.sees(h, h.ctx.actors[s.orig.actor], s.orig.seq) {
			return "has a stamp from outside its past"
		}
	}
	return ""
}

// Rejudge asks judge about every commit again, in arrival order, and rebuilds what
// depends on those that count no longer, or count now. judge may call the
// replica's reading methods.
func (r *Replica) Rejudge(judge func(*Commit) Validity) []Change {
	verdicts := make([]Validity, len(r.order))
	for i, h := range r.order {
		verdicts[i] = judge(&h.Commit)
	}
	for i, h := range r.order {
		h.validity = verdicts[i]
	}
	var flipped []*held
	for _, log := range r.logs {
		flipped = append(flipped, r.judgeLog(log, 1)...)
	}
	if len(flipped) == 0 {
		return nil
	}
	return r.rebuild(flipped, nil)
}

// Digest returns the hash of the state: equal digests are equal states.
func (r *Replica) Digest() [32]byte { return r.acc.digest() }

// VoidHash names the set of void commits: SHA-256("toft void" ‖ sorted IDs), zero
// if there are none. States compare only between replicas that agree on it.
func (r *Replica) VoidHash() [32]byte {
	if h := r.voidHash.Load(); h != nil {
		return *h
	}
	h := HashVoids(slices.Collect(maps.Keys(r.voids)))
	r.voidHash.Store(&h)
	return h
}

// HashVoids returns the void hash of a set of commits, which it sorts.
func HashVoids(ids []block.ID) [32]byte {
	if len(ids) == 0 {
		return [32]byte{}
	}
	slices.SortFunc(ids, func(a, b block.ID) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	h.Write([]byte("toft void"))
	for i := range ids {
		h.Write(ids[i][:])
	}
	return [32]byte(h.Sum(nil))
}
