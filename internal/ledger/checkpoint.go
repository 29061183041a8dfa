package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/internal/wire"
)

// A checkpoint is where opening goes on from. It is written when enough work has
// piled up, when the ledger closes, and at once when a verdict has changed what
// readers see, because then the order of arrival no longer tells the feed.
//
//	commits ─▶ replica: live │ frozen ─▶ nodes, sealed ─▶ batches of 4 MiB
//	                                      graph, rows, rest, checkpoint ─▶ one batch
//
// Nodes come first and count for nothing by themselves: a crash before the last
// batch leaves the checkpoint before, and some blocks that the next collection
// takes away. Writers go on meanwhile, in a fresh layer.

// FlushAt says how much may pile up before a checkpoint is written: replaying it is
// what opening after a crash costs, and it is what stays in memory.
type FlushAt struct {
	Documents int // 0: 16,384, or a sixteenth of the database if that is more
	Bytes     int // 0: 24 MiB
	Commits   int // 0: 16,384
	Close     int // documents and commits that are worth a checkpoint at close; 0: 256
	// Garbage is how many nodes that no checkpoint needs may stay on disk, beside twice
	// what the present tree has; 0: 4,096.
	Garbage int
}

const maxDirtyDocuments = 65_536

func (a FlushAt) withDefaults() FlushAt {
	def := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	def(&a.Bytes, 24<<20)
	def(&a.Commits, 16_384)
	def(&a.Close, 256)
	def(&a.Garbage, 4096)
	return a
}

// reached reports that so much has piled up, in a database of so many documents.
func (a FlushAt) reached(d crdt.Dirty, documents int) bool {
	n := a.Documents
	if n == 0 {
		n = min(max(16_384, documents/16), maxDirtyDocuments)
	}
	return d.Documents >= n || d.Bytes >= a.Bytes || d.Commits >= a.Commits
}

// lastFlush writes a checkpoint when the ledger closes, if opening gains by it.
func (d *Database) lastFlush() {
	if d.Damage() != nil {
		return
	}
	d.await()
	d.mu.RLock()
	dirty, _ := d.replica.Dirty()
	d.mu.RUnlock()
	if dirty.Documents+dirty.Commits < d.n.o.FlushAt.Close {
		return
	}
	if err := d.Flush(context.Background()); err != nil {
		d.n.o.Log.Warn("closed without a checkpoint", "db", d.id, "err", err)
	}
}

// flushing is the flush of a database that is under way; done is closed at its end.
type flushing struct {
	f        *crdt.Flush
	position position
	done     chan struct{}
	err      error
}

// position is what a device knows of its own checkpoint beside what the replica does.
type position struct {
	Checkpoint block.ID   `cbor:"1,keyasint"`
	Arrival    uint64     `cbor:"2,keyasint"` // number of the next commit on disk
	Bytes      int64      `cbor:"3,keyasint"`
	Awaited    []block.ID `cbor:"4,keyasint,omitempty"`
	Written    uint64     `cbor:"5,keyasint"`           // nodes since the last collection
	Live       uint64     `cbor:"6,keyasint"`           // that it left
	Again      bool       `cbor:"7,keyasint,omitempty"` // commits are to be judged again
}

// dueLocked begins a flush if enough has piled up.
func (d *Database) dueLocked() *flushing {
	dirty, busy := d.replica.Dirty()
	if busy || !d.n.o.FlushAt.reached(dirty, d.replica.Count()) {
		return nil
	}
	return d.freezeLocked()
}

// settle flushes if enough has piled up. The caller holds neither lock.
func (d *Database) settle() {
	d.mu.RLock()
	dirty, busy := d.replica.Dirty()
	due := d.n.o.FlushAt.reached(dirty, d.replica.Count())
	d.mu.RUnlock()
	if !due || d.Damage() != nil || d.n.closing() {
		return
	}
	if busy { // writers are faster than the disk: they wait, or memory would grow
		d.await()
		return
	}
	d.writing.Lock()
	p := d.freeze()
	d.writing.Unlock()
	if p != nil {
		d.n.wg.Go(func() { d.finish(context.Background(), p) })
	}
}

// await waits for the flush under way, if there is one.
func (d *Database) await() {
	if p := d.flushing.Load(); p != nil {
		<-p.done
	}
}

// Flush writes a checkpoint of the present state, if anything happened since the
// last one. What a device may not seal or sign stays in memory.
func (d *Database) Flush(ctx context.Context) error {
	if err := d.Damage(); err != nil {
		return err
	}
	d.await()
	d.writing.Lock()
	p := d.freeze()
	d.writing.Unlock()
	if p == nil {
		return nil
	}
	d.finish(ctx, p)
	return p.err
}

// freeze begins a flush, nil if there is nothing to write or one is under way. The
// caller holds writing.
func (d *Database) freeze() *flushing {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.freezeLocked()
}

func (d *Database) freezeLocked() *flushing {
	if dirty, busy := d.replica.Dirty(); busy || dirty == (crdt.Dirty{}) {
		return nil
	}
	return d.freezeAny()
}

// freezeAny is freezeLocked even if nothing happened since the last flush.
func (d *Database) freezeAny() *flushing {
	if _, ok := d.team.writable(); !ok || d.noFlush || d.left {
		return nil
	}
	f, err := d.replica.Freeze()
	if err != nil {
		if !errors.Is(err, crdt.ErrHeads) {
			d.n.o.Log.Warn("no checkpoint", "db", d.id, "err", err)
		}
		return nil
	}
	p := &flushing{f: f, done: make(chan struct{})}
	p.position.Arrival, p.position.Bytes = d.arrival, d.bytes.Load()
	p.position.Again = d.behind || d.stood != d.team.standingNow()
	for id := range d.awaited {
		p.position.Awaited = append(p.position.Awaited, id)
	}
	slices.SortFunc(p.position.Awaited, func(a, b block.ID) int { return bytes.Compare(a[:], b[:]) })
	f.Checkpoint.TeamHeads, f.Checkpoint.Time = d.team.State().Heads(), d.n.Now()
	d.flushing.Store(p)
	return p
}

// finish writes a flush down and lets the replica go of it.
func (d *Database) finish(ctx context.Context, p *flushing) {
	defer close(p.done)
	p.err = d.writeDown(ctx, p)
	d.mu.Lock()
	d.replica.Thaw(p.f, p.err == nil)
	d.flushing.Store(nil)
	d.mu.Unlock()
	if p.err != nil {
		d.n.o.Log.Warn("no checkpoint: it will be tried again", "db", d.id, "err", p.err)
	}
}

// finishLocked is finish for whoever holds mu.
func (d *Database) finishLocked(ctx context.Context, p *flushing) {
	defer close(p.done)
	p.err = d.writeDown(ctx, p)
	d.replica.Thaw(p.f, p.err == nil)
	d.flushing.Store(nil)
	if p.err != nil {
		d.n.o.Log.Warn("no checkpoint: it will be tried again", "db", d.id, "err", p.err)
	}
}

// writeDown stores everything a flush tells; only the last batch makes it count.
func (d *Database) writeDown(ctx context.Context, p *flushing) error {
	gen, ok := d.team.writable()
	if !ok {
		return ErrNoKey
	}
	sink := &sink{d: d, gen: gen, batch: d.n.o.Store.NewBatch(), waiting: map[block.ID][]byte{}}
	d.disk.sink.Store(sink)
	defer d.disk.sink.Store(nil)
	if err := p.f.Run(ctx); err != nil {
		return err
	}
	b, err := d.signCheckpoint(p.f.Checkpoint, sink)
	if err != nil {
		return err
	}
	n, err := d.nextCheckpoint()
	if err != nil {
		return err
	}
	p.position.Checkpoint = b.ID
	p.position.Written, p.position.Live = d.garbage.written+uint64(len(sink.nodes)), d.garbage.live
	rest, err := wire.Encode(p.position)
	if err != nil {
		return err
	}
	if err := sink.index(p.f, n, rest); err != nil {
		return err
	}
	sink.batch.Set(store.Checkpoint(d.id, n), b.ID[:])
	if err := sink.flush(ctx); err != nil {
		return err
	}
	d.garbage.written = p.position.Written
	if err := d.collect(ctx); err != nil { // the checkpoint is there all the same
		d.n.o.Log.Warn("old nodes stay on disk", "db", d.id, "err", err)
	}
	return nil
}

// signCheckpoint seals and signs a checkpoint and puts it among what is to be stored.
func (d *Database) signCheckpoint(c *crdt.Checkpoint, s *sink) (*block.Block, error) {
	self, _ := d.team.State().Device(d.n.Me()) // without a seat it counts for nobody else
	plain, parts, err := c.Encode()
	if err != nil {
		return nil, err
	}
	links := slices.Clone(c.Heads)
	if !c.Root.IsZero() {
		links = append(links, c.Root)
	}
	for _, part := range parts {
		id, err := s.add(block.KindValue, part, nil)
		if err != nil {
			return nil, err
		}
		links = append(links, id)
	}
	h := block.Header{
		Kind: block.KindCheckpoint, Team: d.team.id, DB: d.id, Generation: s.gen,
		Parents: len(c.Heads), Links: links, Author: d.n.Me(), Seat: self.Seat,
	}
	body, err := d.n.keys.Seal(vault.Data, h, plain)
	if err != nil {
		return nil, err
	}
	b, err := d.n.o.Identity.SignBlock(h, body)
	if err == nil {
		s.batch.Set(store.Block(b.ID), b.Data)
	}
	return b, err
}

// nextCheckpoint returns the number of the next checkpoint.
func (d *Database) nextCheckpoint() (uint64, error) {
	for e, err := range d.n.o.Store.ScanSpan(store.Span{Prefix: store.Checkpoints(d.id), Reverse: true}) {
		if err != nil {
			return 0, err
		}
		n, err := store.Arrival(e.Key)
		return n + 1, err
	}
	return 0, nil
}

// sink takes what a flush writes, in batches.
type sink struct {
	d     *Database
	gen   block.Generation
	batch *store.Batch
	nodes []block.ID // written since the flush began

	mu      sync.Mutex
	waiting map[block.ID][]byte // in batch
	listed  int                 // of nodes, on disk
}

// maxSinkBatch is where a batch of nodes goes to the disk, before all are there.
const maxSinkBatch = 4 << 20

// add seals a block and puts it into the batch.
func (s *sink) add(kind block.Kind, plain []byte, links []block.ID) (block.ID, error) {
	b, err := s.d.sealed(s.gen, kind, plain, links)
	if err != nil {
		return block.ID{}, err
	}
	if kind == block.KindNode {
		s.nodes = append(s.nodes, b.ID)
	}
	s.batch.Set(store.Block(b.ID), b.Data)
	s.mu.Lock()
	s.waiting[b.ID] = b.Data
	s.mu.Unlock()
	if s.batch.Bytes() < maxSinkBatch {
		return b.ID, nil
	}
	return b.ID, s.flush(context.Background())
}

// flush makes what was added durable, and notes which nodes they are.
func (s *sink) flush(ctx context.Context) error {
	if s.listed < len(s.nodes) {
		s.d.listNodes(s.batch, s.nodes[s.listed:])
	}
	if err := s.d.n.durable(ctx, s.batch); err != nil {
		return fmt.Errorf("store checkpoint of %s: %w", s.d.id, err)
	}
	s.listed = len(s.nodes)
	s.batch.Reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.waiting)
	return nil
}

// get returns a block that waits in the batch.
func (s *sink) get(id block.ID) []byte {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting[id]
}

// index puts what makes the checkpoint quick to open into the batch: it can all be
// made from commits again.
func (s *sink) index(f *crdt.Flush, n uint64, position []byte) error {
	d := s.d
	from := uint64(f.From)
	for _, chunk := range f.Graph {
		if err := s.derived(d.derived('g', from), chunk); err != nil {
			return err
		}
		from++ // chunks are in order; the next flush begins behind all of them
	}
	// Of a flush that failed its last batch may be there all the same.
	if err := d.deleteInto(s.batch, d.derivedAll('f'), d.derived('f', f.Behind+1)); err != nil {
		return err
	}
	for _, rows := range f.Rows {
		if err := s.derived(d.derived('f', rows.Last), rows.Plain); err != nil {
			return err
		}
		for i, id := range rows.IDs {
			s.batch.Set(d.rowKey(id), wire8(rows.At[i]))
		}
	}
	if err := s.derived(d.derived('r', n), position); err != nil {
		return err
	}
	pieces := slices.Collect(slices.Chunk(f.Rest, derivedPiece))
	if len(pieces) > maxPieces {
		return fmt.Errorf("%d bytes beside a checkpoint", len(f.Rest))
	}
	for i, piece := range pieces {
		if err := s.derived(append(d.derived('s', n), wire8(uint64(i))...), piece); err != nil {
			return err
		}
	}
	return nil
}

const (
	derivedPiece = 512 << 10 // a sealed piece stays below the largest block
	maxPieces    = 64
)

func (s *sink) derived(key, plain []byte) error {
	b, err := s.d.sealed(s.gen, block.KindValue, plain, nil)
	if err == nil {
		s.batch.Set(key, b.Data)
	}
	return err
}

// sealed makes a block of this database that nobody signs.
func (d *Database) sealed(gen block.Generation, kind block.Kind, plain []byte, links []block.ID) (*block.Block, error) {
	h := block.Header{Kind: kind, Team: d.team.id, DB: d.id, Generation: gen, Links: links}
	body, err := d.n.keys.Seal(vault.Data, h, plain)
	if err != nil {
		return nil, err
	}
	return block.New(h, body, nil)
}
