package crdt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt/tree"
)

// Keys are the keyed functions of a database; a replica never sees the keys.
type Keys struct {
	// Expand returns the 2,048-byte expansion of an entry: the AES-256-CTR keystream
	// (IV 0) under HMAC-SHA-256(K_digest, entry).
	Expand func(entry []byte) [2048]byte
	// ValueHash returns the keyed hash of a value kept out of line.
	ValueHash func(value []byte) [32]byte
	// Shape and NodeHash are those of [tree.Config]; needed with [Config.Nodes] only.
	Shape    func(key []byte) [32]byte
	NodeHash func(plain []byte) [32]byte
}

// Source gives back what a replica has let go of: whatever was handed in by
// [Replica.Add] and can be read again. It may be called by several readers at once.
type Source interface {
	// Commit returns a commit of the graph, its linked blocks filled in.
	Commit(id block.ID) (*Commit, error)
	// Value returns the plaintext of a linked value block.
	Value(id block.ID) ([]byte, error)
}

// Nodes is where a replica keeps its tree and what is too large for it.
type Nodes interface {
	tree.Store
	// SaveValue stores bytes of an entry that does not fit a node, as [block.KindValue].
	SaveValue(ctx context.Context, plain []byte) (block.ID, error)
}

// Config says what a replica is of, and where it keeps what it need not have in
// memory.
type Config struct {
	DB   block.DBID
	Keys Keys
	// Source: nil keeps all operations and values in memory.
	Source Source
	// Nodes: nil keeps all documents in memory. It wants a Source too.
	Nodes Nodes
	// CacheBytes bounds the decoded nodes kept, see [tree.Config].
	CacheBytes int
	// Rows are the rows of the feed that left memory; nil: none ever does.
	Rows Rows
	// Epoch names the feed; cursors of another epoch are refused. It changes whenever
	// rows that were given out might come at other positions.
	Epoch uint64
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
	source   Source
	nodes    Nodes
	grove    *tree.Grove // nil: no Nodes
	docs     documents
	acc      accumulator
	feed     feed
	parked   parking
	values   map[block.ID][]byte // values out of line, without a Source
	voids    map[block.ID]*held
	voidHash atomic.Pointer[[32]byte] // nil: to be computed
	pending  *staged                  // what the last draft leads to
	written  int                      // commits of order that a flush has written down
	sound    bool                     // the tree is the state of those, as they are judged now
	flush    *Flush                   // that is under way
	floor    ground                   // where the history begins
	raising  bool                     // it is asked whether it may begin there
	failed   error                    // why the state cannot be trusted; nothing more is added
}

// NewReplica returns an empty replica that keeps everything in memory.
func NewReplica(db block.DBID, k Keys) *Replica {
	r, err := New(Config{DB: db, Keys: k})
	if err != nil {
		panic("crdt: " + err.Error()) // nothing can fail without nodes
	}
	return r
}

// New returns an empty replica.
func New(c Config) (*Replica, error) {
	r := &Replica{
		db: c.DB, keys: c.Keys, graph: newGraph(), source: c.Source, nodes: c.Nodes, docs: newDocuments(),
		feed: newFeed(c.Rows, c.Epoch), parked: newParking(), values: map[block.ID][]byte{}, voids: map[block.ID]*held{},
	}
	if c.Nodes == nil {
		return r, nil
	}
	if c.Source == nil {
		return nil, errors.New("crdt: a replica with nodes wants a source of large values")
	}
	var err error
	r.grove, err = tree.New(tree.Config{Shape: c.Keys.Shape, NodeHash: c.Keys.NodeHash, Store: c.Nodes, CacheBytes: c.CacheBytes})
	if err != nil {
		return nil, err
	}
	r.docs.base, r.docs.unpack = r.grove.Empty(), r.unpack
	return r, nil
}

// errNoValue: a value kept out of line is not at hand.
var errNoValue = errors.New("a value kept out of line is not at hand")

func (r *Replica) value(f ref, link *block.ID) ([]byte, error) {
	if link == nil {
		return nil, errNoValue
	}
	b, ok := r.values[*link]
	if !ok && r.source != nil {
		var err error
		if b, err = r.source.Value(*link); err != nil {
			return nil, fmt.Errorf("%w: %w", errNoValue, err)
		}
		ok = uint64(len(b)) == f.size && r.keys.ValueHash(b) == f.hash
	}
	if !ok {
		return nil, errNoValue
	}
	return b, nil
}

func (r *Replica) root(_ ref, link *block.ID) (block.ID, bool) {
	if link == nil {
		return block.ID{}, false
	}
	return *link, true
}

// Load returns a commit of the graph with its operations and everything linked to
// them.
func (r *Replica) Load(id block.ID) (*Commit, error) {
	h, ok := r.commits[id]
	switch {
	case !ok:
		return nil, fmt.Errorf("commit %s is not in the graph", id)
	case !h.gone:
		return &h.Commit, nil
	}
	c, err := r.source.Commit(id)
	if err == nil && (c.ID != id || !c.complete()) {
		err = errors.New("it is another one, or incomplete")
	}
	if err != nil && h.index < r.floor.place {
		err = fmt.Errorf("%w: %w", ErrHistory, err)
	}
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", id, err)
	}
	return c, nil
}

// operations returns the decoded operations of a commit, and what they refer to.
func (r *Replica) operations(h *held) ([]op, *opContext, error) {
	if h.ops != nil {
		return h.ops, &h.ctx, nil
	}
	c, err := r.Load(h.ID)
	if err != nil {
		return nil, nil, err
	}
	return c.operations(), &c.ctx, nil
}

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
// An error that wraps [ErrMalformed], [ErrParked] or is a *[HistoryError] refuses the
// commit. A
// *[DigestError] is an alarm: the commit was applied and the state kept, but its
// author claims another one.
func (r *Replica) Add(c *Commit, v Validity) (Added, error) {
	if r.failed != nil {
		return Added{}, r.failed
	}
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
	before := r.heads
	exact := slices.Equal(before, h.Parents)
	r.insert(h)
	a := Added{Status: Applied, Forked: r.twins(h) > 1}
	var stands map[*held]map[string][]named
	if a.Forked {
		stands = r.standsOf(r.logs[h.actor])
	}
	flipped := r.judgeFrom(h)
	err = r.playable(flipped)
	if err == nil {
		err = r.clearable(flipped, h)
	}
	if err != nil {
		r.takeBack(h, before, stands)
		return Added{}, fmt.Errorf("commit %s: %w", c.ID, err)
	}
	r.parked.remove(c.ID)
	ours := r.pending.fits(r, h) // its digest was computed here
	if len(flipped) > 0 {
		a.Changes, err = r.rebuild(flipped, h)
	} else {
		a.Changes, err = r.play(h)
	}
	if err != nil {
		return Added{}, r.fail(err)
	}
	if h.void != "" {
		a.Status, a.Why = Voided, h.void
	}
	a.Unparked = r.parked.release(h.ID, func(id block.ID) bool { _, ok := r.commits[id]; return ok })
	r.letGo(h)
	if exact && !ours && c.HasDigest && h.void == "" && c.Void == r.VoidHash() {
		if have := r.Digest(); have != c.Digest {
			return a, &DigestError{Commit: h.ID, Author: h.Actor.Device, Want: c.Digest, Have: have}
		}
	}
	return a, nil
}

// fail remembers that the state is not what the graph leads to, because something
// that was stored cannot be read.
func (r *Replica) fail(err error) error {
	r.failed = fmt.Errorf("the database must be opened again: %w", err)
	return r.failed
}

// Failed returns why nothing more is added, nil if the replica is well.
func (r *Replica) Failed() error { return r.failed }

// letGo forgets what of an applied commit can be read or decoded again.
func (r *Replica) letGo(h *held) {
	if r.source == nil {
		h.ops = nil
		return
	}
	h.gone, h.content = true, r.none
	h.Parents = slices.Clone(h.Parents) // the block they came in may go
}

// hold checks a commit against its past and wraps it for the graph. One that was
// drafted here, on the same parents, names nothing that its author had not seen, and
// need not be decoded.
func (r *Replica) hold(c *Commit, v Validity) (*held, error) {
	h, err := r.place(c)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", c.ID, err)
	}
	if h.validity = v; r.pending.of(c) {
		return h, nil
	}
	h.ops = c.operations()
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
			continue
		}
		b := h.cells[s.link-h.opBlocks]
		if uint64(len(b)) != f.size || r.keys.ValueHash(b) != f.hash {
			return malformed("value of %.40q is not what the operation names", o.id)
		}
		if r.source == nil {
			r.values[h.links[s.link]] = b
		}
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
// replica's reading methods, and sees commits without their operations. A
// *[HistoryError] leaves everything as it was. After another error the replica takes
// nothing more: what it needs cannot be read.
func (r *Replica) Rejudge(judge func(*Commit) Validity) ([]Change, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	verdicts := make([]Validity, len(r.order))
	for i, h := range r.order {
		verdicts[i] = judge(&h.Commit)
	}
	was := r.judgement()
	for i, h := range r.order {
		h.validity = verdicts[i]
	}
	var flipped []*held
	for _, log := range r.logs {
		flipped = append(flipped, r.judgeLog(log, 1)...)
	}
	if len(flipped) == 0 {
		return nil, nil
	}
	err := r.playable(flipped)
	if err == nil {
		err = r.clearable(flipped, nil)
	}
	if err != nil {
		r.judgeBack(was)
		return nil, err
	}
	changes, err := r.rebuild(flipped, nil)
	if err != nil {
		return nil, r.fail(err)
	}
	return changes, nil
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
