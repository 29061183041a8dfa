package store

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
)

// Datastore shows a part of the store as a go-datastore, for libraries that
// want one (peerstore, DHT).
//
// Put and Delete are visible at once and durable after the next Sync, Commit
// of a batch, or Store.Commit that returns nil: the log is written in order,
// so one fsync covers all that came before. Commit of a batch is atomic and
// durable by itself. Toft's own rooms use Store.Commit and never this.
type Datastore struct {
	store  *Store
	prefix []byte
}

var (
	_ ds.Batching            = (*Datastore)(nil)
	_ ds.PersistentDatastore = (*Datastore)(nil)
)

// Datastore returns the view over the keys below "x/".
func (s *Store) Datastore() *Datastore {
	return &Datastore{store: s, prefix: []byte(prefixDatastore)}
}

// key spells a datastore key: its text has a leading slash of its own.
func (d *Datastore) key(k ds.Key) []byte {
	return append(append([]byte(nil), d.prefix...), k.String()[1:]...)
}

// Get returns a copy of the value, or ds.ErrNotFound.
func (d *Datastore) Get(_ context.Context, key ds.Key) ([]byte, error) {
	value, err := d.store.Get(d.key(key))
	return value, notFound(err)
}

// Has reports whether key has a value.
func (d *Datastore) Has(_ context.Context, key ds.Key) (bool, error) {
	return d.store.Has(d.key(key))
}

// GetSize returns the length of the value, or -1 and ds.ErrNotFound.
func (d *Datastore) GetSize(_ context.Context, key ds.Key) (int, error) {
	size, err := d.store.Size(d.key(key))
	if err != nil {
		return -1, notFound(err)
	}
	return size, nil
}

func notFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return ds.ErrNotFound
	}
	return err
}

// Put sets a value; Sync makes it durable.
func (d *Datastore) Put(ctx context.Context, key ds.Key, value []byte) error {
	var b Batch
	b.Set(d.key(key), value)
	return d.store.commit(ctx, &b, false)
}

// Delete removes a key, there or not; Sync makes it durable.
func (d *Datastore) Delete(ctx context.Context, key ds.Key) error {
	var b Batch
	b.Delete(d.key(key))
	return d.store.commit(ctx, &b, false)
}

// Sync makes every Put and Delete before it durable, below whatever prefix.
func (d *Datastore) Sync(ctx context.Context, _ ds.Key) error {
	return d.store.sync(ctx)
}

// sync makes all that was committed without waiting durable.
func (s *Store) sync(ctx context.Context) error {
	var b Batch
	b.add(pebble.InternalKeyKindLogData, nil, nil) // an empty record to wait for
	return s.Commit(ctx, &b)
}

// Batch collects changes that become durable together.
func (d *Datastore) Batch(context.Context) (ds.Batch, error) {
	return &datastoreBatch{view: d, batch: d.store.NewBatch()}, nil
}

// DiskUsage returns the bytes of the whole store on the disk.
func (d *Datastore) DiskUsage(context.Context) (uint64, error) { return d.store.DiskUsage() }

// DiskUsage returns the bytes the engine holds on the disk, garbage and old
// logs included, the log being written not.
func (s *Store) DiskUsage() (uint64, error) {
	eng, err := s.enter()
	if err != nil {
		return 0, err
	}
	defer s.leave()
	var used uint64 // waits for a manifest that may stand before the shut fence
	if err := eng.unlessShut(func() error { used = eng.db.Metrics().DiskSpaceUsage(); return nil }); err != nil {
		return 0, err
	}
	return used, nil
}

// Close does nothing: the store belongs to who opened it.
func (d *Datastore) Close() error { return nil }

type datastoreBatch struct {
	view  *Datastore
	batch *Batch
}

func (b *datastoreBatch) Put(_ context.Context, key ds.Key, value []byte) error {
	b.batch.Set(b.view.key(key), value)
	return b.batch.err
}

func (b *datastoreBatch) Delete(_ context.Context, key ds.Key) error {
	b.batch.Delete(b.view.key(key))
	return b.batch.err
}

func (b *datastoreBatch) Commit(ctx context.Context) error {
	return b.view.store.Commit(ctx, b.batch)
}

// Query scans below q.Prefix and leaves filters, orders and limits to the
// library. Results are read page by page, each page as the store is at that
// moment, so that a result set nobody closes holds nothing open.
func (d *Datastore) Query(_ context.Context, q query.Query) (query.Results, error) {
	prefix := ds.NewKey(q.Prefix)
	from := d.key(prefix)
	if prefix.String() != "/" {
		from = append(from, '/') // a query for /a shows what is below /a, not /a or /ab
	}
	pages := &pager{view: d, keysOnly: q.KeysOnly, span: Span{Prefix: from}}
	results := query.ResultsFromIterator(q, query.Iterator{Next: pages.next})
	rest := q
	rest.Prefix = "" // done here
	return query.NaiveQueryApply(rest, results), nil
}

const (
	pageEntries = 128
	pageBytes   = 1 << 20
)

// pager reads a span in pages.
type pager struct {
	view     *Datastore
	keysOnly bool
	span     Span // what is left
	page     []query.Result
	ended    bool
}

func (p *pager) next() (query.Result, bool) {
	if len(p.page) == 0 && !p.ended {
		p.fill()
	}
	if len(p.page) == 0 {
		return query.Result{}, false
	}
	r := p.page[0]
	p.page = p.page[1:]
	return r, true
}

func (p *pager) fill() {
	size := 0
	for e, err := range p.view.store.ScanSpan(p.span) {
		if err != nil {
			p.page = append(p.page, query.Result{Error: err})
			break
		}
		r := query.Result{Entry: query.Entry{Key: "/" + string(e.Key[len(p.view.prefix):]), Size: len(e.Value)}}
		if !p.keysOnly {
			r.Value = append([]byte{}, e.Value...)
			size += len(r.Value)
		}
		p.page = append(p.page, r)
		if len(p.page) == pageEntries || size >= pageBytes {
			p.span.From = append(append([]byte(nil), e.Key...), 0) // just after it
			return
		}
	}
	p.ended = true
}
