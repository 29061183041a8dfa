package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/store"
)

// The commits below an adopted checkpoint come after it, window by window, and each is
// held against the row that told of it. When all are here they are played:
//
//	same digest, same frontier ─▶ audited: the floor goes, the history is whole
//	another                    ─▶ a Lie, its signer named; the state is made anew
//	                              from the commits
//	a row that its commit belies ─▶ a Lie too; nothing of the checkpoint stays, and the
//	                              commits come as if there had been none
//
// Until then, and for ever if nobody has them, the database is unaudited: what its
// documents say is the word of one device.

// auditWindow is how many commits are fetched and checked at once.
const auditWindow = 256

// Unaudited tells whose word it is that the documents are what the commits lead to.
func (d *Database) Unaudited() (by block.Device, ok bool) {
	_ = d.View(func(*crdt.Replica) error {
		if d.floor != nil && d.floor.By != nil {
			by, ok = *d.floor.By, true
		}
		return nil
	})
	return by, ok
}

// FetchHistory brings commits below an adopted checkpoint here and, once all are, audits
// it. It goes on where it was broken off. An error that says that blocks did not come
// leaves it unaudited; a [*Lie] has been told and acted upon.
func (d *Database) FetchHistory(ctx context.Context, fetch Fetch) error {
	d.auditing.Lock()
	defer d.auditing.Unlock()
	for {
		if _, ok := d.Unaudited(); !ok {
			return nil
		}
		window := d.window()
		if len(window) == 0 {
			return d.audit(ctx)
		}
		if err := d.fetchWindow(ctx, window, fetch); err != nil {
			return err
		}
		d.fetched += len(window)
	}
}

// window returns the next commits below the floor that were not looked at since the
// start.
func (d *Database) window() (ids []block.ID) {
	_ = d.View(func(r *crdt.Replica) error {
		if d.floor == nil {
			return nil
		}
		if d.floor.Checkpoint != d.fetchedOf {
			d.fetched, d.fetchedOf = 0, d.floor.Checkpoint
		}
		ids = r.Order(d.fetched, min(d.fetched+auditWindow, r.Floor()))
		return nil
	})
	return ids
}

// fetchWindow brings commits and what they link, and holds them against their rows.
func (d *Database) fetchWindow(ctx context.Context, ids []block.ID, fetch Fetch) error {
	got, err := d.bring(ctx, ids, fetch)
	if err != nil {
		return err
	}
	units := make([]*block.Unverified, len(ids))
	var links []block.ID
	for i, id := range ids {
		if units[i], err = block.Parse(got[id]); err != nil || units[i].Kind != block.KindCommit || units[i].DB != d.id {
			return d.expose(ctx, fmt.Errorf("%w: block %s is no commit of it", crdt.ErrLie, id))
		}
		links = append(links, units[i].Links[units[i].Parents:]...)
	}
	for len(links) > 0 {
		n := min(len(links), maxBrought)
		if _, err := d.bring(ctx, links[:n], fetch); err != nil {
			return err
		}
		links = links[n:]
	}
	for _, u := range units {
		err := d.witness(u)
		switch {
		case errors.Is(err, block.ErrMalformed), errors.Is(err, block.ErrSignature), errors.Is(err, crdt.ErrMalformed):
			return d.expose(ctx, fmt.Errorf("%w: commit %s: %w", crdt.ErrLie, u.ID, err))
		case err != nil:
			return err
		}
	}
	return nil
}

// witness holds a commit that is on disk against what the graph says of it.
func (d *Database) witness(u *block.Unverified) error {
	linked, err := d.storedLinks(u)
	if err != nil {
		return err
	}
	j, err := d.unseal(u, linked, true)
	if err != nil || planted.Bug("ledger-rows-not-witnessed") {
		return err
	}
	return d.View(func(r *crdt.Replica) error { return r.Witness(j.commit) })
}

// audit plays the history, all of which is here, and holds the ground against it.
func (d *Database) audit(ctx context.Context) error {
	var f *floor
	var order []block.ID
	var voids map[block.ID]string
	if err := d.View(func(r *crdt.Replica) error {
		f, order, voids = d.floor, r.Order(0, r.Floor()), r.Voids()
		return nil
	}); err != nil || f == nil || f.By == nil {
		return err
	}
	keys := d.functions
	r, err := crdt.New(crdt.Config{DB: d.id, Keys: crdt.Keys{Expand: keys.Expand, ValueHash: keys.ValueHash}, Source: d.disk})
	if err != nil {
		return err
	}
	if err := d.play(ctx, r, order, voids); errors.Is(err, crdt.ErrMalformed) {
		return d.expose(ctx, fmt.Errorf("%w: %w", crdt.ErrLie, err))
	} else if err != nil {
		return err
	}
	lied := r.Digest() != f.ground.Digest() && !planted.Bug("ledger-audit-believes")
	d.lockQuiet()
	defer d.writing.Unlock()
	if d.floor != f || d.left {
		return nil // another one since: looked at again
	}
	if err := d.wholeHistory(ctx); err != nil || !lied {
		return err
	}
	busy := errRebuilding
	d.damage.Store(&busy)
	if err := d.begin(); err != nil {
		d.damage.Store(&err)
		return err
	}
	d.damage.Store(nil)
	lie := &Lie{f.Checkpoint, *f.By}
	d.alarm(lie) // the last word: digests of commits made on top of it are wrong too
	d.watchers.readAgain()
	return lie
}

// wholeHistory takes the floor away: all commits below it are here. The caller holds
// writing.
func (d *Database) wholeHistory(ctx context.Context) error {
	bytes := int64(0)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range d.replica.Order(0, d.replica.Floor()) {
		n, err := d.n.o.Store.Size(store.Block(id))
		if err != nil {
			return err
		}
		bytes += int64(n)
	}
	if err := d.replica.SetFloor(ctx, 0, nil); err != nil {
		return err
	}
	d.bytes.Add(bytes)
	return d.lowered(ctx)
}

// expose acts upon rows that commits belie: whatever builds on the checkpoint goes, and
// the commits are asked for one by one. What was written here on top of it is kept and
// taken in again once what it builds on has come.
func (d *Database) expose(ctx context.Context, why error) error {
	d.lockQuiet()
	defer d.writing.Unlock()
	f := d.floor
	if f == nil || f.By == nil {
		return nil
	}
	lie := &Lie{f.Checkpoint, *f.By}
	d.n.o.Log.Error("rows below an adopted checkpoint are not what its commits say", "db", d.id, "by", f.By, "err", why)
	busy := errRebuilding
	d.damage.Store(&busy)
	err := d.loseGround(ctx, f)
	if err == nil {
		d.putFloor(nil)
		err = d.begin()
	}
	if err != nil {
		d.damage.Store(&err)
		return err
	}
	d.damage.Store(nil)
	d.alarm(lie)
	d.watchers.readAgain()
	return lie
}

// loseGround takes off the disk what an adopted checkpoint brought. The commits in the
// index build on what is not here any more: they wait beside it, and a new actor writes
// on, because the seqs of the old one are not known any more.
func (d *Database) loseGround(ctx context.Context, f *floor) error {
	batch := d.n.o.Store.NewBatch()
	var behind []block.ID
	for e, err := range d.n.o.Store.Scan(store.Commits(d.id)) {
		if err != nil {
			return err
		}
		id, err := store.ID[block.ID](e.Value)
		if err != nil {
			return err
		}
		batch.Set(store.ParkedCommit(d.id, id), nil)
		batch.Delete(e.Key)
		behind = append(behind, id)
	}
	if err := d.deleteInto(batch, store.Floors(d.id), nil); err != nil {
		return err
	}
	batch.Set(append(d.derivedAll('l'), f.By[:]...), []byte{1})
	if err := d.n.durable(ctx, batch); err != nil {
		return err
	}
	d.memory.wait(behind...)
	d.memory.blame(*f.By, refusals)
	if err := d.deleteAll(store.Graphs(d.id), nil); err != nil {
		return err
	}
	var err error
	d.actor, err = d.n.newActor(d.id)
	return err
}

// recall reads which commits wait for what they build on, and whose checkpoints lied.
func (d *Database) recall() error {
	prefix := store.ParkedCommits(d.id)
	for e, err := range d.n.o.Store.Scan(prefix) {
		if err != nil {
			return err
		}
		id, err := store.ID[block.ID](e.Key[len(prefix):])
		if err != nil {
			return err
		}
		d.memory.wait(id)
	}
	for e, err := range d.n.o.Store.Scan(d.derivedAll('l')) {
		if err != nil {
			return err
		}
		if n := len(d.derivedAll('l')); len(e.Key) == n+len(block.Device{}) {
			d.memory.blame(block.Device(e.Key[n:]), refusals)
		}
	}
	return nil
}

// takeUp takes in again what waits for what it builds on, as far as that has come.
func (d *Database) takeUp(ctx context.Context) error {
	for again := true; again; {
		again = false
		for _, id := range d.memory.parked() {
			u, err := d.n.Stored(id)
			if err != nil {
				return err
			}
			if len(absent(u.Links[:u.Parents], d.Has)) > 0 {
				continue
			}
			linked, err := d.storedLinks(u)
			if err != nil {
				return err
			}
			out, err := d.commit(ctx, []Candidate{{Data: u.Data(), Linked: linked}})
			if err != nil || len(out.Missing) > 0 || out.Chain {
				return err
			}
			batch := d.n.o.Store.NewBatch()
			batch.Delete(store.ParkedCommit(d.id, id))
			if err := d.n.durable(ctx, batch); err != nil {
				return err
			}
			d.memory.taken(id)
			again = true
		}
	}
	return nil
}

// memory is what a lie leaves: who told it, and the commits that were built on it. Its
// lock is the innermost of all.
type memory struct {
	mu     sync.Mutex
	behind []block.ID // wait for what they build on
	liars  map[block.Device]int
}

func (m *memory) parked() []block.ID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.behind)
}

func (m *memory) taken(id block.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.behind = slices.DeleteFunc(m.behind, func(x block.ID) bool { return x == id })
}

func (m *memory) wait(ids ...block.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.behind = append(m.behind, ids...)
}

// blame counts against a device whose checkpoint was refused.
func (m *memory) blame(by block.Device, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.liars == nil {
		m.liars = map[block.Device]int{}
	}
	m.liars[by] += n
}

func (m *memory) trusts(by block.Device) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.liars[by] < refusals
}
