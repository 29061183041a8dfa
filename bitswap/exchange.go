package bitswap

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap/server"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
)

// Errors callers branch on.
var (
	ErrClosed = errors.New("bitswap is closed")
	// ErrNotFound: no peer that was asked has the block, lets us have it, or
	// answers. It comes as a [MissingError].
	ErrNotFound = errors.New("block not found at any peer")
	errGarbage  = errors.New("bitswap: peer sends what nobody asked for")
)

// MissingError ends a fetch that could not be completed. It wraps ErrNotFound, or
// the error of the context that ended first.
type MissingError struct {
	IDs []block.ID // what is missing, in the order it was asked for
	Err error
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%d blocks missing, the first is %s: %v", len(e.IDs), e.IDs[0], e.Err)
}

func (e *MissingError) Unwrap() error { return e.Err }

// Fetched is a block as it came: its bytes hash to ID and are at most [MaxBlock].
// Nothing else is known of them.
type Fetched struct {
	ID   block.ID
	Data []byte
}

// Options of Open.
type Options struct {
	// Host is borrowed: Close leaves it open.
	Host host.Host
	// Blocks are served to those that are allowed to have them.
	Blocks Source
	// Allow reports whether p may have the block. It is asked when a want arrives
	// and again when the answer leaves, from several goroutines, also for blocks
	// we do not have; it must not call back into Exchange.
	Allow func(p peer.ID, id block.ID) bool
	// Known reports whether p may have any block at all; others are heard out in small
	// messages only. It is asked for every message. Nil: everybody.
	Known func(p peer.ID) bool
	// Patience is how long a fetch goes on when nobody has anything for it; zero:
	// DefaultPatience.
	Patience time.Duration
	// Log takes at most one line per peer that misbehaves and stream; nil: none.
	Log *slog.Logger
}

// Exchange fetches blocks from peers and serves ours. It is safe for concurrent
// use. Goroutines: boxo's server, one reader per inbound stream, one writer per
// peer while there are wants to send, one watch while anything is being fetched;
// all end with Close.
type Exchange struct {
	patience time.Duration
	log      *slog.Logger
	shelf    shelf
	wires    *wires
	server   *server.Server
	cancel   context.CancelFunc
	done     chan struct{}
	wait     sync.WaitGroup // writers and watch

	// mu guards all that follows, and everything reachable from it. It is held for
	// bookkeeping only, never while hashing, reading or writing.
	mu       sync.Mutex
	closed   bool
	watching bool
	fetches  map[*fetch]struct{}
	wanted   map[block.ID][]*want
	remotes  map[peer.ID]*remote
	waiting  map[block.ID]struct{} // asked of us in vain
	garbage  map[peer.ID]int       // bytes beyond what was asked for
}

// Open starts serving, and fetching on demand.
func Open(o Options) (*Exchange, error) {
	if o.Host == nil || o.Blocks == nil || o.Allow == nil {
		return nil, errors.New("bitswap: host, blocks and allow are required")
	}
	e := &Exchange{
		patience: o.Patience, log: o.Log, shelf: shelf{o.Blocks}, wires: newWires(o.Host),
		done: make(chan struct{}), fetches: make(map[*fetch]struct{}), wanted: make(map[block.ID][]*want),
		remotes: make(map[peer.ID]*remote), waiting: make(map[block.ID]struct{}), garbage: make(map[peer.ID]int),
	}
	if e.patience <= 0 {
		e.patience = DefaultPatience
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	allow := func(p peer.ID, c cid.Cid) bool {
		id, ok := idOf(c)
		return ok && o.Allow(p, id)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	e.server = server.New(ctx, &counter{wires: e.wires, allow: allow, vain: e.vain}, e.shelf,
		server.WithPeerBlockRequestFilter(allow),
		// A want-have is never answered with a block: what waits in a queue could
		// reach a peer that was removed in between.
		server.WithWantHaveReplaceSize(0),
		server.WithTargetMessageSize(targetMessage),
		server.MaxOutstandingBytesPerPeer(maxOutstanding),
		server.MaxQueuedWantlistEntriesPerPeer(maxLedger),
		server.MaxCidSize(uint(len(prefix)+len(block.ID{}))),
		server.TaskWorkerCount(senders),
		server.EngineTaskWorkerCount(4),
		server.EngineBlockstoreWorkerCount(8),
		server.WithScoreLedger(noScore{}),
	)
	e.wires.receive, e.wires.up, e.wires.down, e.wires.known = e.receive, e.up, e.down, o.Known
	if o.Known == nil {
		e.wires.known = func(peer.ID) bool { return true }
	}
	e.wires.start()
	return e, nil
}

// noScore keeps no score: boxo's ledger tags connections of the host by it.
type noScore struct{}

func (noScore) GetReceipt(peer.ID) *server.Receipt { return &server.Receipt{} }
func (noScore) AddToSentBytes(peer.ID, int)        {}
func (noScore) AddToReceivedBytes(peer.ID, int)    {}
func (noScore) PeerConnected(peer.ID)              {}
func (noScore) PeerDisconnected(peer.ID)           {}
func (noScore) Start(server.ScorePeerFunc)         {}
func (noScore) Stop()                              {}

// Get fetches one block from the given peers, in the order of preference.
func (e *Exchange) Get(ctx context.Context, id block.ID, from []peer.ID) ([]byte, error) {
	for f, err := range e.GetMany(ctx, []block.ID{id}, from) {
		return f.Data, err
	}
	return nil, ErrClosed
}

// GetMany fetches blocks from the given peers and no others, each once, in any
// order, as they come; the earlier in ids, the earlier it is asked for. The
// sequence ends when all have come, or with one error: a [MissingError] when
// nobody had anything for the rest within the patience of the exchange, or the
// context ended, or ErrClosed. Ending the loop early cancels the rest.
//
// Peers that are not connected are waited for, not dialled. Blocks we have are
// not looked up in Blocks, nor stored there when they come.
func (e *Exchange) GetMany(ctx context.Context, ids []block.ID, from []peer.ID) iter.Seq2[Fetched, error] {
	return func(yield func(Fetched, error) bool) {
		if len(ids) == 0 {
			return
		}
		f, err := e.begin(ids, from)
		if err != nil {
			yield(Fetched{}, err)
			return
		}
		defer e.end(f)
		for {
			batch, left, err := e.take(f)
			for _, b := range batch {
				if !yield(b, nil) {
					return
				}
			}
			e.consumed(f, batch)
			if left == 0 {
				return
			}
			if err == nil && len(batch) > 0 {
				continue
			}
			if err == nil {
				select {
				case <-f.wake:
					continue
				case <-ctx.Done():
					err = e.missing(f, ctx.Err())
				}
			}
			yield(Fetched{}, err)
			return
		}
	}
}

// Added tells that blocks have become available: peers that asked for them and
// were told that we have them not get them now, if they may.
func (e *Exchange) Added(ids ...block.ID) {
	e.mu.Lock()
	var hit []block.ID
	for _, id := range ids {
		if _, ok := e.waiting[id]; ok {
			hit = append(hit, id)
			delete(e.waiting, id)
		}
	}
	closed := e.closed
	e.mu.Unlock()
	if closed {
		return
	}
	for _, id := range hit {
		if b, err := e.shelf.Get(context.Background(), cidOf(id)); err == nil {
			_ = e.server.NotifyNewBlocks(context.Background(), []blocks.Block{b}...)
		}
	}
}

// vain remembers what a peer was told we do not have, for Added.
func (e *Exchange) vain(c cid.Cid) {
	id, ok := idOf(c)
	if !ok {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) == maxWaiting {
		clear(e.waiting) // who asked long ago asks again
	}
	e.waiting[id] = struct{}{}
}

// Admitted tells that p lets us have blocks from now on: what it has refused in
// fetches that run is asked for again at once. Left alone, such a want would be
// asked for again only after a while.
func (e *Exchange) Admitted(p peer.ID) { e.up(p) }

// Close ends all fetches with ErrClosed, stops serving and leaves the host open.
func (e *Exchange) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	for f := range e.fetches {
		f.fail(ErrClosed)
	}
	e.mu.Unlock()
	close(e.done)
	e.cancel()
	e.wires.close()
	e.server.Close()
	e.wait.Wait()
	return nil
}
