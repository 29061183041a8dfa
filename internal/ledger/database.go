package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/team"
)

// Database is this node's replica of one database.
//
// Two locks, always in this order: writing serializes everything that makes a
// commit durable (one goroutine at a time drafts, syncs, applies); mu guards the
// replica and is held for moments: reads wait for no sync, but the tree nodes they
// need may have to come from the disk.
type Database struct {
	n    *Ledger
	team *Chain
	id   block.DBID

	writing  sync.Mutex
	arrival  uint64 // number of the next commit on disk; changed under mu too
	lastTime wire.Time
	batch    store.Batch // of our own commits, used again and again
	actor    block.Actor
	awaited  map[block.ID]struct{} // data heads of cuts that are not here yet

	floor     *floor        // where the history begins; nil: all of it is here. Changed under mu too
	loose     uint64        // behind the last arrival that a failed batch may have left on disk
	behind    bool          // commits are to be judged again, and were not yet
	stood     [32]byte      // what verdicts hung on when they last were
	chainThen []block.ID    // heads of the chain when the checkpoint was written
	noFlush   bool          // the disk took no writes when it was opened
	garbage   garbage       // of the flush under way
	voided    uint64        // behind the last arrival that was noted as void since the start
	lists     atomic.Uint64 // number of the next list of nodes

	mu        sync.RWMutex
	replica   *crdt.Replica
	functions *vault.Database
	disk      *disk
	flushing  atomic.Pointer[flushing] // nil: none under way

	adopting    sync.Mutex                   // held while a checkpoint is taken; before writing
	taking      *adoption                    // nil: none is being taken
	resumed     bool                         // what a restart left was looked at
	cutOff      atomic.Pointer[block.Device] // has compacted away what is lacking here
	surrendered atomic.Bool                  // a person decided to take one over what is here

	auditing  sync.Mutex // held while the history below a checkpoint is fetched; before writing
	fetched   int        // commits below it that were looked at since the start
	fetchedOf block.ID   // that checkpoint
	memory    memory     // of checkpoints that lied

	offering  sync.Mutex // held while a checkpoint is made for others; before writing
	offers    []Offer
	offeredAt time.Time

	collecting sync.Mutex   // one collection at a time
	labelling  sync.Mutex   // labels are written, or looked through by a compaction
	building   atomic.Int64 // trees that no checkpoint on disk names yet

	base  *team.Base // not nil: it was moved here, see move.go
	added block.ID   // the link that brought it
	left  bool       // it is open in another team now; guarded by writing
	held  bool       // it is being moved; guarded by writing

	turn     chan struct{} // holds one while somebody writes
	inbox    chan *request // to whoever has the turn; not buffered
	stop     chan struct{} // closed when it opens in another team
	gone     chan struct{} // closed when nobody writes any more
	watchers *watchers
	bytes    atomic.Int64 // of commits held

	needs  atomic.Pointer[needs] // what a verdict waits for; nil: none does
	damage atomic.Pointer[error] // why it cannot be read, if so
	alarms atomic.Pointer[error] // the last digest that did not agree
}

// openDatabase replays a database from disk and opens it to writers.
func (n *Ledger) openDatabase(c *Chain, id block.DBID) (*Database, error) {
	keys, err := n.keys.Database(id)
	if err != nil {
		return nil, err
	}
	d := &Database{
		n: n, team: c, id: id, turn: make(chan struct{}, 1), inbox: make(chan *request), stop: make(chan struct{}), gone: make(chan struct{}), watchers: newWatchers(), awaited: map[block.ID]struct{}{},
		functions: keys,
	}
	d.disk = &disk{d: d}
	d.replica = crdt.NewReplica(id, crdt.Keys{Expand: keys.Expand, ValueHash: keys.ValueHash}) // shown if nothing can be opened
	d.takeBase()
	if d.actor, err = n.actorOf(id); err != nil {
		return nil, err
	}
	if err := d.load(); err != nil {
		d.damage.Store(&err)
		n.o.Log.Error("database cannot be read", "db", id, "err", err)
	}
	d.turn <- struct{}{}
	n.wg.Go(d.keepTurns)
	return d, nil
}

// replay applies the commits on disk in the order they arrived, those from a place
// on. After a restart (restored) they are taken as they were judged when they came,
// so that the feed tells its rows where it told them before; then all are judged
// anew if anything may have changed.
func (d *Database) replay(from uint64, restored bool) error {
	d.stood = d.team.standingNow()
	r := replaying{d: d, restored: restored, passed: map[block.ID]bool{}, notes: d.n.o.Store.NewBatch()}
	d.behind = d.behind || restored && !slices.Equal(d.chainThen, d.team.State().Heads()) || !restored && d.floor != nil
	if err := d.countLists(); err != nil {
		return err
	}
	for {
		part, err := d.indexed(from)
		if err != nil {
			return fmt.Errorf("read commits: %w", err)
		}
		for _, x := range part {
			if err := r.commit(x.arrival, x.id); err != nil {
				return err
			}
		}
		if len(part) < maxIndexed {
			break
		}
		from = part[len(part)-1].arrival + 1
	}
	if err := d.readOnly(d.n.durable(context.Background(), r.notes)); err != nil {
		return err
	}
	if d.behind {
		d.judgeAll()
	}
	if err := d.forget(context.Background(), r.forget); err != nil {
		d.n.o.Log.Warn("refused commits stay on disk", "db", d.id, "err", err)
	}
	return nil
}

// indexed is a row of the index of commits.
type indexed struct {
	arrival uint64
	id      block.ID
}

// maxIndexed is how many rows are read at once.
const maxIndexed = 1024

// indexed reads rows of the index, those from a number on. Nothing is done inside the
// scan: a store that must recover waits for scans to end.
func (d *Database) indexed(from uint64) (part []indexed, err error) {
	span := store.Span{Prefix: store.Commits(d.id), From: store.CommitIndex(d.id, from)}
	for e, err := range d.n.o.Store.ScanSpan(span) {
		if err != nil {
			return nil, err
		}
		var x indexed
		if x.id, err = store.ID[block.ID](e.Value); err != nil {
			return nil, err
		}
		if x.arrival, err = store.Arrival(e.Key); err != nil {
			return nil, err
		}
		if part = append(part, x); len(part) == maxIndexed {
			break
		}
	}
	return part, nil
}

// replaying is a replay under way.
type replaying struct {
	d        *Database
	restored bool
	passed   map[block.ID]bool // refused when they came; a crash kept forget from them
	forget   []judged
	notes    *store.Batch
}

// commit takes one commit from the disk.
func (r *replaying) commit(arrival uint64, id block.ID) error {
	d := r.d
	u, err := d.n.Stored(id)
	if err != nil {
		return err
	}
	linked, err := d.storedLinks(u)
	if err != nil {
		return err
	}
	j, err := d.judge(u, linked, nil)
	if err != nil {
		return fmt.Errorf("commit %s: %w", id, err)
	}
	j.arrival = arrival
	if r.restored {
		then, err := d.judgedThen(j.arrival)
		if err != nil {
			return err
		}
		d.behind = d.behind || then != j.validity
		j.validity = then
	} else if j.validity != crdt.Valid {
		d.note(r.notes, j)
	}
	if refused, why := d.show([]judged{j}); len(refused) > 0 {
		switch failed := d.replica.Failed(); {
		case failed != nil && !planted.Bug("ledger-forgets-what-it-cannot-play"):
			return failed // not the commit's fault: it stays
		case why == nil && !slices.ContainsFunc(j.commit.Parents, func(p block.ID) bool { return r.passed[p] }):
			return fmt.Errorf("commit %s: its parents are not before it on disk", id)
		}
		if r.passed[id] = true; !errors.Is(why, crdt.ErrHistory) {
			r.forget = append(r.forget, refused...)
		}
		return nil
	}
	d.behind = d.awaitedCame([]judged{j}) || d.behind
	if j.commit.Actor == d.actor {
		d.lastTime = max(d.lastTime, j.commit.Time)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.dueLocked(); p != nil { // nobody else is here yet
		d.finishLocked(context.Background(), p)
	}
	return nil
}

// judgedThen returns how a commit was judged when it came.
func (d *Database) judgedThen(arrival uint64) (crdt.Validity, error) {
	why, err := d.getDerived(d.derived('v', arrival))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return crdt.Valid, nil
	case err != nil:
		return crdt.Validity{}, err
	}
	return crdt.Void(string(why)), nil
}

// storedLinks reads the linked blocks of a stored commit.
func (d *Database) storedLinks(u *block.Unverified) (map[block.ID][]byte, error) {
	linked := map[block.ID][]byte{}
	for _, id := range u.Links[u.Parents:] {
		l, err := d.n.Stored(id)
		if err != nil {
			return nil, err
		}
		linked[id] = l.Data()
	}
	return linked, nil
}

// Stored reads a block from the store and checks that its bytes still hash to its
// name: a rotten block is found here, not believed.
func (n *Ledger) Stored(id block.ID) (*block.Unverified, error) {
	data, err := n.o.Store.Get(store.Block(id))
	if err != nil {
		if _, ok := errors.AsType[*store.CorruptError](err); ok {
			n.noteRot(id)
		}
		return nil, &DamageError{Block: id, Cause: err}
	}
	if block.Sum(data) != id {
		n.noteRot(id)
		return nil, &DamageError{Block: id, Cause: errors.New("its bytes hash to another name")}
	}
	return block.Parse(data)
}

// DamageError names a block of this device's own store that cannot be read or is
// not what it was. Nothing is changed because of it.
type DamageError struct {
	Block block.ID
	Cause error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("block %s is damaged on disk: %v", e.Block, e.Cause)
}

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Cause }

// Has reports whether the replica holds the commit.
func (d *Database) Has(id block.ID) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.replica.Has(id)
}

// ID returns the database's id.
func (d *Database) ID() block.DBID { return d.id }

// Team returns the chain the database belongs to.
func (d *Database) Team() *Chain { return d.team }

// Bytes returns how many bytes of commits are held.
func (d *Database) Bytes() int64 { return d.bytes.Load() }

// Gone is closed when the ledger has closed, or the database has moved to another
// team and is open there: no more writes, no more changes.
func (d *Database) Gone() <-chan struct{} { return d.gone }

// Damage returns why the database cannot be read, nil if it can.
func (d *Database) Damage() error { return deref(d.damage.Load()) }

// Alarm returns the last digest that did not agree with its author's, nil if none.
func (d *Database) Alarm() error { return deref(d.alarms.Load()) }

func deref(err *error) error {
	if err == nil {
		return nil
	}
	return *err
}

// View runs fn with the replica locked for reading.
func (d *Database) View(fn func(r *crdt.Replica) error) error {
	if err := d.damage.Load(); err != nil {
		return *err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return fn(d.replica)
}

// alarm remembers and reports that a replica computed another digest than a
// commit's author: proof that one of the two is wrong.
func (d *Database) alarm(err error) {
	d.alarms.Store(&err)
	d.n.o.Log.Error("digest mismatch", "db", d.id, "err", err)
}

// actorOf returns this store's writing instance in a database. The record names
// the machine and the directory it was made in: a copied directory or a restored
// backup does not match, and gets a new actor, because two writers must never
// share one.
func (n *Ledger) actorOf(id block.DBID) (block.Actor, error) {
	rec, err := n.o.Store.Get(store.DatabaseActor(id))
	place := n.place()
	switch {
	case err == nil && len(rec) == 40 && ([32]byte(rec[8:]) == place || planted.Bug("ledger-copy-writes-on")):
		return block.Actor{Device: n.Me(), Incarnation: block.Incarnation(rec[:8])}, nil
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return block.Actor{}, err
	}
	return n.newActor(id)
}

// place names the machine and the directory of this store.
func (n *Ledger) place() [32]byte { return sha256.Sum256([]byte("toft place" + n.o.Place)) }

// newActor starts a new writing instance: also when the old one may not write on,
// because a copy of it wrote elsewhere.
func (n *Ledger) newActor(id block.DBID) (block.Actor, error) {
	place := n.place()
	a := block.Actor{Device: n.o.Identity.Device()}
	if _, err := n.o.Rand.Read(a.Incarnation[:]); err != nil {
		return block.Actor{}, err
	}
	batch := n.o.Store.NewBatch()
	batch.Set(store.DatabaseActor(id), append(a.Incarnation[:], place[:]...))
	return a, n.durable(context.Background(), batch)
}
