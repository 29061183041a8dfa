// Package ledger is what a device holds: the chains of its teams and the replicas
// of their databases, in memory and on disk, and the one path by which either
// changes.
//
//	  links ──▶ Chain.Receive ──▶ verify, open, reduce ──▶ store ──▶ state ──▶ Changed
//	                                                                   │
//	commits ──▶ Database.Commit ─▶ verify, open, judge ◀───────────────┘
//	                                     │
//	 writes ──▶ Database.Write ──▶ draft, sign, seal
//	                                     └──▶ one durable batch ──▶ replica ──▶ mailboxes
//
// It puts the pure rooms (team, crdt) together with the secrets (vault) and the
// disk (store). It knows no network: what comes from a peer is handed to it as
// bytes, and what a peer should hear of leaves through the two callbacks of
// [Options]. A node that is offline is a ledger and a door.
package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/internal/wire"
)

// Errors callers branch on.
var (
	// ErrClosed: the ledger is closing; the write did not happen.
	ErrClosed = errors.New("closing")
	// ErrForbidden: this device's role does not allow the write.
	ErrForbidden = errors.New("this device may not write")
	// ErrNoKey: the key to write under has not arrived.
	ErrNoKey = errors.New("no key to write under has arrived yet")
)

// Options of a ledger. All but the callbacks are required.
type Options struct {
	Store    *store.Store
	Identity *vault.Identity
	Place    string // names this machine and directory, so that a copy is noticed
	User     string // the names this device gives itself in a team it founds
	Device   string
	Clock    func() time.Time
	Rand     io.Reader
	Log      *slog.Logger
	// FlushAt says when checkpoints are written; the zero value is right for a daemon.
	FlushAt FlushAt
	// CacheBytes bounds the decoded tree nodes of a database; 0: 40 MiB, so that the
	// inner nodes of a million documents stay.
	CacheBytes int
	// Changed is called after a chain has a new state and its databases are open.
	Changed func(*Chain)
	// Committed is called after a commit of this device became durable and visible.
	Committed func(*Database, *block.Block)
	// Damaged is called when a read found a block on disk that is not what it was:
	// time for [Ledger.Heal]. It must not block. Nil: nobody heals.
	Damaged func()
}

// Ledger is the open chains and databases of one device. It is safe for concurrent
// use.
//
// Locks, outermost first: followMu, Database.writing, Database.mu, Chain.mu; mu
// guards only the maps and is never held while another is taken.
type Ledger struct {
	o    Options
	keys *vault.Keyring

	followMu sync.Mutex
	mu       sync.RWMutex
	teams    map[block.TeamID]*Chain
	dbs      map[block.DBID]*Database

	past   pastStates // opened states of the past, over all databases
	rotten rotten

	// Refused counts links and commits that were refused since the start.
	Refused atomic.Int64

	done chan struct{} // closed by Close
	wg   sync.WaitGroup
}

// Open loads everything on disk: chains first, then the databases they name. What
// is damaged is reported by its database; a damaged chain fails the whole.
func Open(o Options) (*Ledger, error) {
	if o.Changed == nil {
		o.Changed = func(*Chain) {}
	}
	if o.Committed == nil {
		o.Committed = func(*Database, *block.Block) {}
	}
	if o.Damaged == nil {
		o.Damaged = func() {}
	}
	o.FlushAt = o.FlushAt.withDefaults()
	if o.CacheBytes == 0 {
		o.CacheBytes = 40 << 20
	}
	l := &Ledger{
		o: o, keys: vault.NewKeyring(o.Identity), done: make(chan struct{}), past: newPastStates(),
		teams: map[block.TeamID]*Chain{}, dbs: map[block.DBID]*Database{},
	}
	ids, err := Teams(o.Store)
	for _, id := range ids {
		if err != nil {
			break
		}
		var c *Chain
		if c, err = l.openChain(id); err == nil {
			l.teams[id] = c
		}
	}
	if err == nil {
		for _, c := range l.Chains() { // with all of them here: one may have what another names
			l.follow(c)
		}
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Close stops the writers and waits for them: what they acknowledged is on disk.
// The store stays open; it is the caller's.
func (l *Ledger) Close() {
	close(l.done)
	l.wg.Wait()
}

// closing reports that Close has begun.
func (l *Ledger) closing() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// Teams lists the teams that a store holds, without opening them.
func Teams(s *store.Store) ([]block.TeamID, error) {
	var ids []block.TeamID
	for e, err := range s.Scan(store.Teams()) {
		if err != nil {
			return nil, err
		}
		id, err := store.TeamID(e.Key)
		if err != nil {
			return nil, err
		}
		if len(ids) == 0 || ids[len(ids)-1] != block.TeamID(id) {
			ids = append(ids, block.TeamID(id))
		}
	}
	return ids, nil
}

// Me returns this device.
func (l *Ledger) Me() block.Device { return l.o.Identity.Device() }

// Keys returns the keyring, for what the network seals: announcements, topics,
// boxes.
func (l *Ledger) Keys() *vault.Keyring { return l.keys }

// Now is the clock in the unit of signed messages.
func (l *Ledger) Now() wire.Time { return wire.Time(l.o.Clock().UnixMilli()) }

// Chain returns a team's chain, nil if there is none.
func (l *Ledger) Chain(id block.TeamID) *Chain {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.teams[id]
}

// Chains lists all chains in the order of their ids.
func (l *Ledger) Chains() []*Chain {
	l.mu.RLock()
	defer l.mu.RUnlock()
	out := make([]*Chain, 0, len(l.teams))
	for _, c := range l.teams {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *Chain) int { return bytes.Compare(a.id[:], b.id[:]) })
	return out
}

// Database returns a replica, nil if there is none.
func (l *Ledger) Database(id block.DBID) *Database {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dbs[id]
}

// durable commits a batch. A store that stopped writing because its disk failed, or
// was full, is asked to try again first: a person who freed some space need not
// restart anything. An earlier batch that failed may be on the disk all the same, see
// [Database.store].
func (l *Ledger) durable(ctx context.Context, b *store.Batch) error {
	err := l.o.Store.Commit(ctx, b)
	if !errors.Is(err, store.ErrReadOnly) {
		return err
	}
	if again := l.o.Store.Recover(ctx); again != nil {
		return err
	}
	l.o.Log.Info("the disk takes writes again")
	return l.o.Store.Commit(ctx, b)
}

// adopt puts a chain among the teams and lets everything follow its state.
func (l *Ledger) adopt(c *Chain) {
	l.mu.Lock()
	l.teams[c.id] = c
	l.mu.Unlock()
	l.follow(c)
}

// follow opens the databases that a chain's state names and tells whoever listens.
// It may be called at any time, again.
func (l *Ledger) follow(c *Chain) {
	l.followMu.Lock()
	defer l.followMu.Unlock()
	for _, info := range c.State().DBs() {
		l.house(info.ID)
	}
	for _, d := range c.Databases() {
		l.house(d.id) // one that left may be open elsewhere now
	}
	l.o.Changed(c)
}

// Begin starts the chain of a team this device has been admitted to: genesis is its
// first link, seat the ADMIT link that was promised. The join is provisional until
// somebody else vouches for it. A chain that is here already, of a team this device
// was in or of a join that broke off, waits for the new seat.
func (l *Ledger) Begin(ctx context.Context, genesis *block.Unverified, seat block.ID) (*Chain, error) {
	if c := l.Chain(block.TeamID(genesis.ID)); c != nil {
		return c, c.Expect(ctx, seat)
	}
	c, err := l.newChain(genesis)
	if err != nil {
		return nil, err
	}
	b, err := genesis.Resolve(block.TeamID{}, block.Generation{})
	if err != nil {
		return nil, err
	}
	if err := c.begin(ctx, b, info{Provisional: true, Seat: seat}); err != nil {
		return nil, err
	}
	l.adopt(c)
	return c, nil
}

// Found makes a new team with this device as its first admin.
func (l *Ledger) Found(ctx context.Context, name string, personal bool) (*Chain, error) {
	c, err := l.genesis(ctx, info{Personal: personal})
	if err != nil {
		return nil, err
	}
	l.adopt(c)
	if err := c.introduce(ctx, name); err != nil {
		return nil, fmt.Errorf("name team %q: %w", name, err)
	}
	return c, nil
}
