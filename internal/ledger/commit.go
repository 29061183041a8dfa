package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// This file is the single path by which a change, ours or a peer's, becomes
// durable and visible:
//
//	verified blocks ─▶ open, parse, judge ─▶ one durable batch ─▶ replica ─▶ watchers
//	                                            (fsync)          (memory)
//
// The invariants, in the order they hold:
//
//  1. what a reader sees is on disk: the replica learns of a commit only after the
//     batch with its blocks was synced;
//  2. the commit index on disk is in causal order without gaps: a commit is stored
//     only after its parents, so replay at open is one ordered scan;
//  3. arrival numbers are never reused: they are the cursors of the changes feed.

// Candidate is a commit on its way in: the block as it travels, and the blocks
// (operations, values) its links name; more of those than needed do no harm.
type Candidate struct {
	Data   []byte
	Linked map[block.ID][]byte
}

// Outcome says what became of a set of candidates.
type Outcome struct {
	Applied  int
	Missing  []block.ID // parents that are neither here nor among the candidates
	Chain    bool       // a commit names team heads we do not know: sync the chain
	Needs    []block.ID // linked blocks that were not given
	First    int        // how many of Needs are of the first commit that lacks some
	Rejected error      // the last commit that was refused, for the log
}

// Commit takes commits from a peer or from disk, in causal order, and applies what
// it can in one durable batch. A commit whose parents, team heads or linked blocks
// are missing is left out, and named in the Outcome; nothing is kept of it.
func (d *Database) Commit(ctx context.Context, in []Candidate) (Outcome, error) {
	out, err := d.commit(ctx, in)
	if out.Applied > 0 {
		d.settle()
		if err := d.takeUp(ctx); err != nil {
			d.n.o.Log.Warn("commits still wait for what they build on", "db", d.id, "err", err)
		}
	}
	return out, err
}

func (d *Database) commit(ctx context.Context, in []Candidate) (Outcome, error) {
	ahead := d.unsealAhead(in)
	d.writing.Lock()
	defer d.writing.Unlock()
	var out Outcome
	if d.left {
		return out, ErrClosed
	}
	if err := d.Damage(); err != nil {
		return out, err // its index was not read to the end: nothing may be put behind it
	}
	batch := d.n.o.Store.NewBatch()
	var ready []judged
	inBatch := map[block.ID]*crdt.Commit{}
	known := func(id block.ID) bool { return inBatch[id] != nil || d.Has(id) }
	for i, c := range in {
		u, err := block.Parse(c.Data)
		if err == nil && (u.Kind != block.KindCommit || u.DB != d.id) {
			err = fmt.Errorf("%w: not a commit of this database", block.ErrMalformed)
		}
		if err != nil {
			out.Rejected = err
			continue
		}
		if known(u.ID) {
			continue
		}
		if lacking := absent(u.Links[:u.Parents], known); len(lacking) > 0 {
			out.Missing = append(out.Missing, lacking...)
			out.needs(ahead[i].err) // for the parent may be one that needs something too
			continue
		}
		j, err := d.judgeAhead(ahead[i], u, c.Linked, inBatch)
		switch {
		case out.needs(err):
			continue
		case errors.Is(err, errTeamHeads):
			out.Chain = true
			continue
		case err != nil:
			out.Rejected = fmt.Errorf("commit %s by %s: %w", u.ID, u.Author, err)
			d.n.Refused.Add(1)
			continue
		}
		j.arrival = d.arrival + uint64(len(ready))
		d.stage(batch, j)
		ready = append(ready, j)
		inBatch[u.ID] = j.commit
	}
	if len(ready) == 0 {
		return out, nil
	}
	if err := d.store(ctx, batch, d.arrival+uint64(len(ready))); err != nil && !planted.Bug("pipeline-shown-though-not-stored") {
		return out, fmt.Errorf("store commits of %s: %w", d.id, err)
	}
	refused, why := d.show(ready)
	if err := d.broken(); err != nil {
		return out, errors.Join(err, d.forget(ctx, refused))
	}
	if len(refused) > 0 {
		out.Rejected = why
		d.n.Refused.Add(int64(len(refused)))
	}
	out.Applied = len(ready) - len(refused)
	if d.awaitedCame(ready) && !planted.Bug("pipeline-no-second-judgement") {
		d.judgeAll()
	}
	return out, d.forget(ctx, refused)
}

// needs notes the linked blocks that a commit lacks, if that is what is wrong with it.
func (o *Outcome) needs(err error) bool {
	var need *needError
	if !errors.As(err, &need) {
		return false
	}
	if len(o.Needs) == 0 {
		o.First = len(need.ids)
	}
	o.Needs = append(o.Needs, need.ids...)
	return true
}

// judged is a commit that may be applied, with the blocks it came in.
type judged struct {
	commit   *crdt.Commit
	validity crdt.Validity
	block    *block.Block
	linked   []*block.Block
	arrival  uint64
}

// stage adds a commit and its blocks to a batch.
func (d *Database) stage(batch *store.Batch, j judged) {
	for _, b := range j.linked {
		if !planted.Bug("pipeline-linked-not-stored") {
			batch.Set(store.Block(b.ID), b.Data)
		}
	}
	batch.Set(store.Block(j.block.ID), j.block.Data)
	batch.Set(store.CommitIndex(d.id, j.arrival), j.block.ID[:])
	if j.validity != crdt.Valid {
		d.note(batch, j)
	} else if d.voided > j.arrival { // a batch that failed used the number
		batch.Delete(d.derived('v', j.arrival))
	}
}

// store makes a batch durable whose commits end in front of an arrival number. One that
// failed may be on the disk all the same: what it left behind the commits of this one
// would stand there without its parents.
func (d *Database) store(ctx context.Context, batch *store.Batch, next uint64) error {
	for n := next; n < d.loose && !planted.Bug("ledger-leaves-what-failed"); n++ {
		batch.Delete(store.CommitIndex(d.id, n))
	}
	if err := d.n.durable(ctx, batch); err != nil {
		d.loose = max(d.loose, next)
		return err
	}
	d.loose = 0
	return nil
}

// broken reports and remembers that the replica takes nothing more, because something
// that was stored cannot be read: it is made anew as soon as somebody heals.
func (d *Database) broken() error {
	d.mu.RLock()
	err := d.replica.Failed()
	d.mu.RUnlock()
	if err != nil {
		d.damage.Store(&err)
		d.n.o.Damaged()
	}
	return err
}

// note adds to a batch how a commit was judged that does not count: see replay.
func (d *Database) note(batch *store.Batch, j judged) {
	d.voided = max(d.voided, j.arrival+1)
	b, err := d.sealed(j.commit.Generation, block.KindValue, []byte(j.validity.Reason()), nil)
	if err != nil { // it was opened under that key
		d.n.o.Log.Warn("verdict not kept", "db", d.id, "commit", j.block.ID, "err", err)
		return
	}
	batch.Set(d.derived('v', j.arrival), b.Data)
}

// show makes stored commits visible: the replica, then whoever watches. It returns
// those that the replica does not take, and why. What a commit says of its parents
// only the replica can check, and the parents may be part of the same batch, so
// this shows after the commit was stored: forget takes it off the disk, and
// replay, after a crash in between, passes over it.
func (d *Database) show(ready []judged) (refused []judged, why error) {
	var changes []crdt.Change
	var alarm error
	d.mu.Lock()
	for _, j := range ready {
		if !planted.Bug("ledger-arrival-used-twice") {
			d.arrival = j.arrival + 1
		}
		if len(absent(j.commit.Parents, d.replica.Has)) > 0 {
			refused = append(refused, j) // built on one that was refused
			continue
		}
		added, err := d.replica.Add(j.commit, j.validity)
		var differs *crdt.DigestError
		if err != nil && !errors.As(err, &differs) {
			refused, why = append(refused, j), fmt.Errorf("commit %s by %s: %w", j.block.ID, j.block.Header.Author, err)
			continue
		}
		if err != nil {
			alarm = err
		}
		d.bytes.Add(int64(len(j.block.Data)))
		changes = append(changes, added.Changes...)
	}
	if err := d.lowered(context.Background()); err != nil {
		d.damage.Store(&err)
	}
	d.mu.Unlock()
	if why != nil {
		d.lacks(why)
	}
	if alarm != nil {
		d.alarm(alarm)
	}
	d.watchers.tell(changes)
	return refused, why
}

// forget takes commits that the replica refused off the disk. The blocks they link
// may be linked by others too and stay.
func (d *Database) forget(ctx context.Context, refused []judged) error {
	if len(refused) == 0 {
		return nil
	}
	batch := d.n.o.Store.NewBatch()
	for _, j := range refused {
		batch.Delete(store.CommitIndex(d.id, j.arrival))
		batch.Delete(store.Block(j.block.ID))
	}
	if err := d.n.durable(ctx, batch); err != nil {
		return fmt.Errorf("forget refused commits of %s: %w", d.id, err)
	}
	return nil
}

// needError names linked blocks that must be fetched before a commit can be judged.
type needError struct{ ids []block.ID }

func (e *needError) Error() string { return fmt.Sprintf("%d linked blocks are missing", len(e.ids)) }

// errTeamHeads: the commit was made under links of the chain we do not have.
var errTeamHeads = errors.New("made under team links not known here")

// judge opens a commit, fills in its linked blocks, and asks the team chain whether
// it counts. Before are commits that come in the same batch and are not in the
// replica yet; nil for a commit from our own store, which was verified when it was
// stored.
func (d *Database) judge(u *block.Unverified, linked map[block.ID][]byte, before map[block.ID]*crdt.Commit) (judged, error) {
	j, err := d.unseal(u, linked, before != nil)
	if err != nil {
		return judged{}, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	j.validity, err = d.verdict(j.commit, before)
	return j, err
}

// unseal opens and parses a commit and fills in its linked blocks; with verify its
// signature is checked too.
func (d *Database) unseal(u *block.Unverified, linked map[block.ID][]byte, verify bool) (judged, error) {
	home, gen, ok := d.origin(u)
	if !ok {
		return judged{}, errTeamHeads
	}
	resolve := u.Resolve
	if verify && !planted.Bug("pipeline-signature-not-checked") {
		resolve = u.Verify
	}
	b, err := resolve(home, gen)
	if err != nil {
		return judged{}, err
	}
	plain, err := d.n.keys.Open(vault.Data, b.Header, b.Body)
	if err != nil {
		return judged{}, err
	}
	c, err := crdt.ParseCommit(b, plain)
	if err != nil {
		return judged{}, err
	}
	j := judged{commit: c, block: b}
	var need needError
	for _, id := range c.Linked() {
		data, ok := linked[id]
		if !ok {
			need.ids = append(need.ids, id)
			continue
		}
		lb, plain, err := d.openLinked(id, data)
		if err != nil {
			return judged{}, err
		}
		if err := c.Fill(id, plain); err != nil {
			return judged{}, err
		}
		j.linked = append(j.linked, lb)
	}
	if len(need.ids) > 0 {
		return judged{}, &need
	}
	return j, nil
}

// openLinked opens an operation or value block of this database.
func (d *Database) openLinked(id block.ID, data []byte) (*block.Block, []byte, error) {
	u, err := block.Parse(data)
	if err != nil {
		return nil, nil, err
	}
	home, gen, ok := d.origin(u)
	if u.ID != id || u.DB != d.id || !ok {
		return nil, nil, fmt.Errorf("%w: linked block %s", block.ErrMalformed, id)
	}
	b, err := u.Resolve(home, gen)
	if err != nil {
		return nil, nil, err
	}
	plain, err := d.n.keys.Open(vault.Data, b.Header, b.Body)
	return b, plain, err
}

// verdict asks the chain whether the author might write at that point. The caller
// holds writing and mu.
func (d *Database) verdict(c *crdt.Commit, before map[block.ID]*crdt.Commit) (crdt.Validity, error) {
	return d.verdictIn(d.replica, c, before, d.awaited)
}

// verdictIn is verdict in the light of another replica; awaited takes the heads that it
// asked for in vain.
func (d *Database) verdictIn(r *crdt.Replica, c *crdt.Commit, before map[block.ID]*crdt.Commit, awaited map[block.ID]struct{}) (crdt.Validity, error) {
	if d.old(c) {
		return d.movedIn(r, c, awaited), nil
	}
	var parentHeads []block.ID
	for _, p := range c.Parents {
		pc, ok := before[p]
		if !ok {
			pc, ok = r.Commit(p)
		}
		if ok && !d.old(pc) {
			parentHeads = append(parentHeads, pc.TeamHeads...)
		}
	}
	v := d.team.judge(team.CommitFacts{
		DB: d.id, Device: c.Actor.Device, Seat: c.Seat, Generation: c.Generation,
		TeamHeads: c.TeamHeads, ParentTeamHeads: parentHeads,
		Inside: func(heads []block.ID) bool {
			for _, id := range absent(heads, r.Has) {
				awaited[id] = struct{}{} // tells nothing until it is here
			}
			return r.Inside(heads, c.ID)
		},
	})
	switch {
	case len(v.Missing) > 0:
		return crdt.Validity{}, errTeamHeads
	case v.Valid:
		return crdt.Valid, nil
	}
	return crdt.Void(v.Why), nil
}

// rejudge asks the chain about every commit again, after a link arrived that takes
// something away: work of a removed device may fall, or come back.
func (d *Database) rejudge() {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.judgeAll()
}

// awaitedCame reports whether one of the commits is a data head that a verdict
// asked for in vain: what lies below it can be told to be inside only now.
func (d *Database) awaitedCame(ready []judged) (came bool) {
	for _, j := range ready {
		if _, ok := d.awaited[j.block.ID]; ok {
			delete(d.awaited, j.block.ID)
			came = !planted.Bug("ledger-late-heads-change-nothing")
		}
	}
	return came
}

// judgeAll judges every commit again. The caller holds writing.
func (d *Database) judgeAll() {
	d.await() // it needs mu to end
	d.mu.Lock()
	stood := d.team.standingNow()
	changes, err := d.replica.Rejudge(func(c *crdt.Commit) crdt.Validity {
		v, err := d.verdict(c, nil)
		if err != nil {
			return crdt.Void(err.Error())
		}
		return v
	})
	if err == nil {
		err = d.lowered(context.Background()) // before a checkpoint tells of it
	}
	if d.behind = err != nil; err == nil {
		d.stood = stood
	}
	if len(changes) > 0 && err == nil {
		d.fixRows()
	}
	d.mu.Unlock()
	switch {
	case err == nil:
		d.needs.Store(nil)
	case !d.lacks(err):
		d.damage.Store(&err)
	}
	d.watchers.tell(changes)
}

// fixRows writes a checkpoint: rows of a new verdict stand behind no commit, so only it
// tells where, and it must be there before anybody reads them. Where there can be none,
// cursors from here on are good until the next start only. The caller holds mu.
func (d *Database) fixRows() {
	p := d.freezeLocked()
	if p != nil {
		d.finishLocked(context.Background(), p)
	}
	if p != nil && p.err == nil || planted.Bug("ledger-cursor-without-a-checkpoint") {
		return
	}
	if epoch, err := d.newEpoch(); err == nil {
		d.replica.SetEpoch(epoch)
	}
}

// absent returns the ids that known does not know.
func absent(ids []block.ID, known func(block.ID) bool) (lacking []block.ID) {
	for _, id := range ids {
		if !known(id) {
			lacking = append(lacking, id)
		}
	}
	return lacking
}
