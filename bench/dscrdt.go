package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/namespace"
	crdt "github.com/ipfs/go-ds-crdt"
	ipld "github.com/ipfs/go-ipld-format"
	logging "github.com/ipfs/go-log/v2"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"

	"github.com/toftdb/toft/internal/store"
)

// dsCRDT is github.com/ipfs/go-ds-crdt, on our store, with boxo's Bitswap and
// GossipSub as they come. It has neither encryption nor membership.
type dsCRDT struct{}

func (dsCRDT) Name() string { return "go-ds-crdt" }

// rebroadcast is how often it tells its heads again. Its default of a minute would
// be most of what a cold sync takes; this favours it.
const rebroadcast = time.Second

type dsReplica struct {
	store *store.Store
	crdt  *crdt.Datastore
	sync  bool
	end   []func() error

	mu    sync.Mutex
	keys  map[string]bool
	waits []*wait
}

// wait is somebody who waits for some keys.
type wait struct {
	missing map[string]bool
	done    chan struct{}
}

// dag is a DAG service with sessions, as the library asks for.
type dag struct{ ipld.DAGService }

func (d dag) Session(ctx context.Context) ipld.NodeGetter {
	return merkledag.NewSession(ctx, d.DAGService)
}

// mute is the end of announcements of a replica that is alone.
type mute struct{}

func (mute) Broadcast(context.Context, []byte) error { return nil }

func (mute) Next(ctx context.Context) ([]byte, error) {
	<-ctx.Done()
	return nil, crdt.ErrNoMoreBroadcast
}

func (dsCRDT) Open(ctx context.Context, dir string, sync bool) (replica, error) {
	return openDS(ctx, dir, sync, nil)
}

func openDS(ctx context.Context, dir string, sync bool, h host.Host) (_ *dsReplica, err error) {
	r := &dsReplica{sync: sync, keys: map[string]bool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.store, err = store.Open(dir, store.Options{FS: diskFS(sync)}); err != nil {
		return r, err
	}
	r.end = append(r.end, r.store.Close)
	data := r.store.Datastore()
	blocks := blockstore.NewBlockstore(namespace.Wrap(data, ds.NewKey("/b")))
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.end = append(r.end, func() error { cancel(); return nil })
	var ex exchange.Interface = offline.Exchange(blocks)
	var told crdt.Broadcaster = mute{}
	if h != nil {
		ex = bitswap.New(ctx, bsnet.NewFromIpfsHost(h), nil, blocks)
		r.end = append(r.end, ex.Close)
		ps, err := pubsub.NewGossipSub(ctx, h)
		if err != nil {
			return r, err
		}
		if told, err = crdt.NewPubSubBroadcaster(ctx, ps, "bench"); err != nil {
			return r, err
		}
	}
	o := crdt.DefaultOptions()
	o.RebroadcastInterval = rebroadcast
	o.PutHook = func(k ds.Key, _ []byte) { r.saw(k.Name()) }
	_ = logging.SetLogLevel("crdt", "fatal") // the name is known to it
	o.Logger = logging.Logger("crdt")
	r.crdt, err = crdt.New(data, ds.NewKey("/c"), dag{merkledag.NewDAGService(blockservice.New(blocks, ex))}, told, o)
	if err != nil {
		return r, err
	}
	r.end = append(r.end, r.crdt.Close)
	return r, nil
}

func (dsCRDT) Join(ctx context.Context, dir string, w *network) (all []replica, err error) {
	for i, h := range w.hosts {
		r, err := openDS(ctx, fmt.Sprintf("%s-%d", dir, i), true, h)
		if err != nil {
			for _, r := range all {
				_ = r.Close() // the first error counts
			}
			return nil, err
		}
		all = append(all, r)
	}
	return all, w.connectAll(ctx)
}

// saw is the library's hook: an element became what readers see.
func (r *dsReplica) saw(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[key] = true
	left := r.waits[:0]
	for _, w := range r.waits {
		if delete(w.missing, key); len(w.missing) == 0 {
			close(w.done)
			continue
		}
		left = append(left, w)
	}
	r.waits = left
}

func (r *dsReplica) Put(ctx context.Context, docs []document) error {
	if len(docs) == 1 {
		if err := r.crdt.Put(ctx, ds.NewKey(docs[0].key), docs[0].json); err != nil {
			return err
		}
		return r.flush(ctx)
	}
	b, err := r.crdt.Batch(ctx)
	if err != nil {
		return err
	}
	for _, d := range docs {
		if err := b.Put(ctx, ds.NewKey(d.key), d.json); err != nil {
			return err
		}
	}
	if err := b.Commit(ctx); err != nil {
		return err
	}
	return r.flush(ctx)
}

// flush makes what was put durable, as the library's user must ask for.
func (r *dsReplica) flush(ctx context.Context) error {
	if !r.sync {
		return nil
	}
	// One Sync of the store covers all that was written before; the library's own
	// would call it several times.
	return r.store.Datastore().Sync(ctx, ds.NewKey("/"))
}

func (r *dsReplica) Get(ctx context.Context, key string) error {
	_, err := r.crdt.Get(ctx, ds.NewKey(key))
	return err
}

func (r *dsReplica) Count(context.Context) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keys), nil
}

func (r *dsReplica) Seen(_ context.Context, keys []string) (<-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &wait{missing: map[string]bool{}, done: make(chan struct{})}
	for _, k := range keys {
		if !r.keys[k] {
			w.missing[k] = true
		}
	}
	if len(w.missing) == 0 {
		close(w.done)
	} else {
		r.waits = append(r.waits, w)
	}
	return w.done, nil
}

func (r *dsReplica) Close() error {
	var errs []error
	for i := len(r.end) - 1; i >= 0; i-- {
		errs = append(errs, r.end[i]())
	}
	return errors.Join(errs...)
}
