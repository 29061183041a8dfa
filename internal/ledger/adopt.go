package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/store"
)

// A device that has nothing of a database begins at somebody else's checkpoint: the
// documents are there, and can be written, after fetching the live data once.
//
//	offer ─▶ may its author write? ─▶ rows of the graph, chunk by chunk
//	     ─▶ newest commits fetched and judged ─▶ tree fetched
//	     ─▶ all of it read and held against each other ─▶ floor, unaudited
//	history comes in the background (audit.go) ─▶ played, held against it ─▶ audited
//
// Until the end nothing of it is shown. What came stays on disk, so an adoption that
// was broken off, by a crash too, goes on where it was:
//
//	derived a 0      the checkpoint that is being taken
//	derived a 1 …    chunks of its rows, sealed
//	blocks           nodes, values, commits
//
// A replica that holds commits of others takes no checkpoint: one that lies could take
// away what they say. The way there is [Database.Surrender], a person's decision.

// ErrAdopt: the checkpoint is not one to adopt.
var ErrAdopt = errors.New("checkpoint not adopted")

// adoption is a checkpoint that is being taken.
type adoption struct {
	id     block.ID
	by     block.Device
	gen    block.Generation // it is sealed under
	c      *crdt.Checkpoint
	r      *crdt.Replica // of its rows so far
	total  int           // rows
	chunks uint64        // of rows on disk

	checked bool // all of it
}

// maxRows bounds the rows that a checkpoint may claim: the graph is in memory.
const maxRows = 4_000_000

// Adopting tells how far an adoption is.
type Adopting struct {
	Checkpoint block.ID // zero: none has begun
	Have, Rows int
}

// Ready reports that only the tree is lacking.
func (a Adopting) Ready() bool { return !a.Checkpoint.IsZero() && a.Have == a.Rows }

// Lie is the proof that a device signed a checkpoint of a state that its commits do
// not lead to.
type Lie struct {
	Checkpoint block.ID
	Device     block.Device
}

func (e *Lie) Error() string {
	return fmt.Sprintf("checkpoint %s signed by %s is not what the commits lead to", e.Checkpoint, e.Device)
}

// MayAdopt reports whether this device takes a checkpoint of the database: it holds
// nothing of it. A device whose checkpoint was refused is not asked again.
func (d *Database) MayAdopt(from block.Device) bool {
	return d.Damage() == nil && d.memory.trusts(from) && (d.empty() || d.surrendered.Load())
}

// refusals is how many of a device's checkpoints are refused before its commits are
// asked for instead. One may only be older than the chain is here.
const refusals = 2

// empty reports that nothing is here but what this device wrote itself, which no
// checkpoint of others can claim to know.
func (d *Database) empty() (empty bool) {
	_ = d.View(func(r *crdt.Replica) error {
		own, _ := r.Seq(d.actor)
		empty = uint64(r.Len()) == own
		return nil
	})
	return empty
}

// Adopting tells how far the adoption under way is.
func (d *Database) Adopting(ctx context.Context) Adopting {
	d.adopting.Lock()
	defer d.adopting.Unlock()
	err := d.resume(ctx)
	if err == nil && d.taking != nil && !d.empty() && !d.surrendered.Load() {
		err = d.abandon(ctx) // commits came in the plain way
	}
	if err != nil {
		d.n.o.Log.Warn("an adoption begins anew", "db", d.id, "err", err)
	}
	if a := d.taking; a != nil {
		return Adopting{a.id, a.r.Len(), a.total}
	}
	return Adopting{}
}

// BeginAdopting takes an offer: a checkpoint and the first of its rows. Given are blocks
// that came with it. What it says is checked as far as it can be now.
func (d *Database) BeginAdopting(ctx context.Context, from block.Device, offer []byte, given [][]byte, rows []byte, fetch Fetch) error {
	d.adopting.Lock()
	defer d.adopting.Unlock()
	if err := d.resume(ctx); err != nil {
		return err
	}
	if !d.empty() && !d.surrendered.Load() {
		return fmt.Errorf("%w: commits of the database are here already", ErrAdopt)
	}
	var had block.ID
	if d.taking != nil {
		had = d.taking.id
		if err := d.abandon(ctx); err != nil {
			return err
		}
	}
	a, err := d.checkOffer(ctx, offer, fetch)
	if err == nil && had == a.id {
		err = fmt.Errorf("%w: offered again, and its rows were not told", ErrAdopt)
	}
	if err != nil {
		if errors.Is(err, ErrAdopt) {
			d.memory.blame(from, 1)
		}
		return err
	}
	batch := d.n.o.Store.NewBatch()
	batch.Set(store.Block(a.id), offer)
	for _, data := range given {
		if id := block.Sum(data); slices.ContainsFunc(a.c.Frontier, func(p crdt.Pin) bool { return p.ID == id }) {
			batch.Set(store.Block(id), data)
		}
	}
	batch.Set(d.derived('a', 0), a.id[:])
	if err := d.n.durable(ctx, batch); err != nil {
		return err
	}
	d.taking = a
	if len(rows) == 0 {
		return nil
	}
	return d.addRows(ctx, rows)
}

// AddRows takes the next rows of the adoption under way.
func (d *Database) AddRows(ctx context.Context, rows []byte) error {
	d.adopting.Lock()
	defer d.adopting.Unlock()
	if d.taking == nil {
		return nil // it ended meanwhile
	}
	return d.addRows(ctx, rows)
}

func (d *Database) addRows(ctx context.Context, rows []byte) error {
	a := d.taking
	if _, err := a.r.ReadRows(rows, a.total-a.r.Len()); err != nil {
		return d.refuse(ctx, a, fmt.Errorf("%w: %w", ErrAdopt, err))
	}
	b, err := d.sealed(a.gen, block.KindValue, rows, nil)
	if err != nil {
		return err
	}
	batch := d.n.o.Store.NewBatch()
	batch.Set(d.derived('a', a.chunks+1), b.Data)
	if err := d.n.durable(ctx, batch); err != nil {
		return errors.Join(err, d.abandon(ctx)) // what was read and is not stored
	}
	a.chunks++
	return nil
}

// resume takes up an adoption that was broken off by a restart. The caller holds
// adopting.
func (d *Database) resume(ctx context.Context) error {
	if d.resumed {
		return nil
	}
	d.resumed = true
	raw, err := d.n.o.Store.Get(d.derived('a', 0))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = d.resumeFrom(ctx, raw)
	}
	if err != nil {
		return errors.Join(err, d.abandon(ctx))
	}
	return nil
}

func (d *Database) resumeFrom(ctx context.Context, raw []byte) error {
	id, err := store.ID[block.ID](raw)
	if err != nil {
		return err
	}
	u, err := d.n.Stored(id)
	if err != nil {
		return err
	}
	a, err := d.checkOffer(ctx, u.Data(), nil)
	if err != nil {
		return err
	}
	for a.r.Len() < a.total {
		rows, err := d.getDerived(d.derived('a', a.chunks+1))
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if err == nil {
			_, err = a.r.ReadRows(rows, a.total-a.r.Len())
		}
		if err != nil {
			return err
		}
		a.chunks++
	}
	d.taking = a
	return nil
}

// Abandon gives up the adoption under way. Blocks that came stay for the next.
func (d *Database) Abandon(ctx context.Context) error {
	d.adopting.Lock()
	defer d.adopting.Unlock()
	return d.abandon(ctx)
}

func (d *Database) abandon(ctx context.Context) error {
	d.taking = nil
	batch := d.n.o.Store.NewBatch()
	if err := d.deleteInto(batch, d.derivedAll('a'), nil); err != nil {
		return err
	}
	return d.n.durable(ctx, batch)
}

// refuse gives up an adoption for what is wrong with it.
func (d *Database) refuse(ctx context.Context, a *adoption, why error) error {
	n := 1
	if errors.Is(why, crdt.ErrLie) || errors.Is(why, ErrAdopt) {
		n = refusals
	}
	d.memory.blame(a.by, n)
	return errors.Join(why, d.abandon(ctx))
}

// checkOffer does what can be done with a checkpoint alone. fetch may be nil: then all
// of its parts are here.
func (d *Database) checkOffer(ctx context.Context, data []byte, fetch Fetch) (*adoption, error) {
	u, err := block.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAdopt, err)
	}
	b, c, err := d.parseCheckpoint(u, func(part block.ID) ([]byte, error) {
		got, err := d.bring(ctx, []block.ID{part}, fetch)
		return got[part], err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAdopt, err)
	}
	st, by := d.team.State(), b.Header.Author
	self, ok := st.Device(by)
	total := uint64(0)
	for _, p := range c.Frontier {
		total += min(p.Seq, maxRows+1)
	}
	switch {
	case !ok || self.Seat != b.Header.Seat || !st.CanWrite(by):
		return nil, fmt.Errorf("%w: %s may not write", ErrAdopt, by)
	case c.Forked:
		return nil, fmt.Errorf("%w: an actor forked below it", ErrAdopt)
	case total > maxRows:
		return nil, fmt.Errorf("%w: of more than %d commits", ErrAdopt, maxRows)
	case len(absent(c.TeamHeads, d.team.Has)) > 0:
		return nil, fmt.Errorf("%w: %w", ErrAdopt, errTeamHeads)
	}
	r, err := d.newReplica(0)
	if err != nil {
		return nil, err
	}
	gen, _ := d.team.Generation(u.GenerationHint)
	return &adoption{id: b.ID, by: by, gen: gen, c: c, r: r, total: int(total)}, nil
}

// Adopt brings the tree of a checkpoint whose rows are here, checks everything, and
// lets the database begin there. moved is called whenever something came. An error that
// wraps [ErrAdopt], [crdt.ErrLie] or [crdt.ErrJudged] has refused the checkpoint; any
// other says that something could not be brought or stored, and the adoption goes on
// with the next call.
func (d *Database) Adopt(ctx context.Context, fetch Fetch, moved func()) error {
	d.adopting.Lock()
	defer d.adopting.Unlock()
	a := d.taking
	if a == nil || a.r.Len() < a.total {
		return fmt.Errorf("%w: its rows are not here", ErrAdopt)
	}
	err := d.checkTips(ctx, a.c, fetch)
	if err == nil {
		err = d.fetchTree(ctx, a, fetch, moved)
	}
	if err == nil {
		err = d.checkAll(ctx, a, fetch, moved)
	}
	if err == nil {
		err = d.install(ctx, a)
	}
	if errors.Is(err, crdt.ErrLie) || errors.Is(err, crdt.ErrJudged) || errors.Is(err, ErrAdopt) {
		err = d.refuse(ctx, a, err)
	}
	return err
}

// checkAll reads all of a checkpoint and holds its parts against each other. What is
// brought on the way is kept by the store.
func (d *Database) checkAll(ctx context.Context, a *adoption, fetch Fetch, moved func()) error {
	if a.checked {
		return nil
	}
	awaited := map[block.ID]struct{}{}
	judged := 0
	err := a.r.Adopt(ctx, a.c, crdt.Adopting{
		Bring: func(ids []block.ID) error {
			_, err := d.bring(ctx, ids, fetch)
			moved()
			return err
		},
		BringVoid: func(id block.ID) error { return d.bringCommit(ctx, id, fetch) },
		Judge: func(c *crdt.Commit) crdt.Validity {
			if judged++; judged%8192 == 0 {
				moved()
			}
			v, err := d.verdictIn(a.r, c, nil, awaited)
			if err != nil {
				return crdt.Void(err.Error())
			}
			return v
		},
	})
	a.checked = err == nil
	return err
}

// bringCommit brings a commit and what it links, and checks them.
func (d *Database) bringCommit(ctx context.Context, id block.ID, fetch Fetch) error {
	got, err := d.bring(ctx, []block.ID{id}, fetch)
	if err != nil {
		return err
	}
	u, err := block.Parse(got[id])
	if err != nil || u.Kind != block.KindCommit {
		return fmt.Errorf("%w: commit %s: %w", crdt.ErrLie, id, err)
	}
	linked, err := d.bring(ctx, u.Links[u.Parents:], fetch)
	if err != nil {
		return err
	}
	_, err = d.unseal(u, linked, true)
	return lying(err)
}

// install lets the database begin at a checkpoint that was checked. Commits that are
// held already, of this device in general, are played on top of it.
func (d *Database) install(ctx context.Context, a *adoption) error {
	d.lockQuiet()
	defer d.writing.Unlock()
	if d.left {
		return ErrClosed
	}
	if err := d.Damage(); err != nil {
		return err
	}
	f := &floor{
		Place: uint64(a.total), Arrival: uint64(a.total), Checkpoint: a.id, Set: d.n.Now(), Time: a.c.Time,
		Rest: a.r.Rest(), By: &a.by, ground: a.c, replaces: d.surrendered.Load(),
	}
	batch := d.n.o.Store.NewBatch()
	held, err := d.raiseIndex(batch, a, f.Arrival)
	if err != nil {
		return err
	}
	if err := d.deleteInto(batch, d.derivedAll('a'), nil); err != nil {
		return err
	}
	if f.replaces {
		if err := d.deleteInto(batch, store.Checkpoints(d.id), nil); err != nil {
			return err
		}
	}
	if held > 0 || f.replaces {
		busy := errRebuilding
		d.damage.Store(&busy)
	}
	was := d.floor
	if err := d.saveFloor(ctx, a.r, f, was, batch); err != nil {
		d.damage.Store(nil)
		return err
	}
	d.taking = nil
	d.surrendered.Store(false)
	d.cutOff.Store(nil)
	d.putFloor(f)
	if err := d.begin(); err != nil {
		d.damage.Store(&err)
		return err
	}
	d.damage.Store(nil)
	d.n.o.Log.Info("database begins at a checkpoint; its history is not here yet", "db", d.id, "by", a.by, "documents", a.c.Documents)
	d.watchers.readAgain()
	return d.n.past.use(ctx, func(s *pastStates) error { s.drop(d.id); return nil })
}

// raiseIndex moves the commits that are held behind those of the checkpoint in the
// index. Unless a person decided so, none of them may be one that the checkpoint
// claims to know: what it says of those was not asked for.
func (d *Database) raiseIndex(batch *store.Batch, a *adoption, by uint64) (held int, err error) {
	above := map[block.ID]bool{}
	for e, err := range d.n.o.Store.Scan(store.Commits(d.id)) {
		if err != nil {
			return 0, err
		}
		id, err := store.ID[block.ID](e.Value)
		if err != nil {
			return 0, err
		}
		n, err := store.Arrival(e.Key)
		if err != nil {
			return 0, err
		}
		if a.r.Has(id) && !d.surrendered.Load() && !planted.Bug("ledger-adopts-over-commits") {
			return 0, fmt.Errorf("%w: commits of others came meanwhile", ErrAdopt)
		}
		batch.Delete(e.Key)
		if !a.r.Has(id) {
			u, err := d.n.Stored(id)
			if err != nil {
				return 0, err
			}
			known := func(p block.ID) bool { return a.r.Has(p) || above[p] }
			if len(absent(u.Links[:u.Parents], known)) > 0 {
				return 0, fmt.Errorf("%w: commit %s builds on what would be gone", ErrAdopt, id)
			}
			held, above[id] = held+1, true
			batch.Set(store.CommitIndex(d.id, by+n), id[:])
		}
	}
	return held, nil
}

// Surrender lets the database begin at a member's checkpoint although commits of others
// are here: the way on for a device that was away so long that nobody has what it
// lacks. Commits outside the checkpoint's frontier, what this device wrote first of all,
// are played on top; what those inside say is the word of its author from then on. It is
// for a person to decide, and holds until it is done or the ledger closes.
func (d *Database) Surrender() { d.surrendered.Store(true) }

// Surrendered reports whether that has not been done yet.
func (d *Database) Surrendered() bool { return d.surrendered.Load() }

// NoteCutOff notes that a device has no blocks of what is lacking here, and nobody else
// who is connected; the zero device: it came after all.
func (d *Database) NoteCutOff(by block.Device) {
	if by == (block.Device{}) {
		d.cutOff.Store(nil)
		return
	}
	d.cutOff.Store(&by)
}

// CutOff returns the device that has compacted away what is lacking here.
func (d *Database) CutOff() (by block.Device, ok bool) {
	if p := d.cutOff.Load(); p != nil {
		return *p, true
	}
	return block.Device{}, false
}
