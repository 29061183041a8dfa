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

// Finding is one thing that verification found wrong.
type Finding struct {
	Block  block.ID // zero if it is about the database as a whole
	Kind   string   // see below
	Detail string
}

// The kinds of a [Finding].
const (
	FoundMissing   = "missing"   // a block that is needed is not on disk
	FoundDisk      = "disk"      // the disk gives other bytes back than were written
	FoundHash      = "hash"      // the bytes are not those of the block's name
	FoundSignature = "signature" // the author did not sign this
	FoundSealed    = "sealed"    // the body does not open with the keys there are
	FoundMalformed = "malformed" // the content breaks a rule of the format
	FoundOrder     = "order"     // a commit stands before its parents
	FoundIndex     = "index"     // the list of commits itself cannot be read
	FoundDigest    = "digest"    // a commit leads to another state than its author signed
	FoundState     = "state"     // what is shown is not what the commits lead to
)

// Report is what verification found.
type Report struct {
	Checked int // blocks: commits and what they link
	Digests int // states confirmed, one a commit; of a deep run
	// Compacted is how many commits lie below the floor: of them only rows of the graph
	// are kept, and void ones.
	Compacted int
	Bad       []Finding
}

// maxFindings bounds a report: a disk that lost everything is told by less.
const maxFindings = 1000

func (r *Report) add(id block.ID, kind, detail string) {
	same := func(f Finding) bool { return f.Block == id && f.Kind == kind }
	if len(r.Bad) < maxFindings && !slices.ContainsFunc(r.Bad, same) {
		r.Bad = append(r.Bad, Finding{id, kind, detail})
	}
}

// damaged returns the blocks that another copy would heal.
func (r *Report) damaged() (ids []block.ID) {
	for _, f := range r.Bad {
		if f.Kind == FoundMissing || f.Kind == FoundDisk || f.Kind == FoundHash {
			ids = append(ids, f.Block)
		}
	}
	return ids
}

// Verify reads every commit of the database and every block it needs from the disk
// again and checks names, signatures, seals, form and order. A deep run also plays
// the whole history and confirms every digest that was ever signed, and that what is
// shown is where the commits lead. Of a history with a floor it reads the ground whole
// and plays on from there. Nothing is changed. It works on a database that
// is too damaged to be opened.
func (d *Database) Verify(ctx context.Context, deep bool) (Report, error) {
	var rep Report
	order, seen, from := d.verifyBelow(&rep)
	for e, err := range d.n.o.Store.ScanSpan(store.Span{Prefix: store.Commits(d.id), From: store.CommitIndex(d.id, from)}) {
		var id block.ID
		if err == nil {
			id, err = store.ID[block.ID](e.Value)
		}
		if err != nil {
			rep.add(block.ID{}, FoundIndex, fmt.Sprintf("after %d commits: %v", len(order), err))
			break
		}
		if err := ctx.Err(); err != nil {
			return rep, err
		}
		if _, twice := seen[id]; twice || !d.Has(id) && d.Damage() == nil {
			continue // arrived since, or refused: it is not part of the state
		}
		d.check(id, seen, &rep)
		seen[id] = len(order)
		order = append(order, id)
	}
	if !deep || len(rep.Bad) > 0 {
		return rep, nil // what cannot be read cannot be played
	}
	if err := d.auditGround(ctx, &rep); err != nil || len(rep.Bad) > 0 {
		return rep, err
	}
	return rep, d.confirm(ctx, order, seen, &rep)
}

// verifyBelow begins with what lies below the floor: void commits are kept, the others
// are counted.
func (d *Database) verifyBelow(rep *Report) (order []block.ID, seen map[block.ID]int, from uint64) {
	seen = map[block.ID]int{}
	d.mu.RLock()
	f := d.floor
	var voids []block.ID
	if f != nil {
		for c, void := range d.replica.Commits() {
			if len(order) >= int(f.Place) {
				break
			}
			seen[c.ID] = len(order)
			if order = append(order, c.ID); void != "" && f.By == nil {
				voids = append(voids, c.ID)
			}
		}
	}
	d.mu.RUnlock()
	if f == nil {
		return nil, seen, 0
	}
	if rep.Compacted = int(f.Place); len(order) < rep.Compacted { // it is shut
		order = order[:0]
	}
	for _, id := range voids {
		d.check(id, seen, rep)
	}
	return order, seen, f.Arrival
}

// auditGround reads the tree of the ground, and holds it against its checkpoint.
func (d *Database) auditGround(ctx context.Context, rep *Report) error {
	d.mu.RLock()
	f := d.floor
	d.mu.RUnlock()
	if f == nil {
		return nil
	}
	r, err := d.newReplica(0)
	if err != nil {
		return err
	}
	err = r.AuditState(ctx, f.ground, func(ids []block.ID) error {
		for _, id := range ids {
			if _, err := d.n.Stored(id); err != nil {
				return err
			}
			rep.Checked++
		}
		return nil
	})
	var damage *DamageError
	switch {
	case err == nil:
	case errors.As(err, &damage):
		rep.add(damage.Block, FoundHash, fmt.Sprintf("of the ground of the history: %v", err))
	case errors.Is(err, crdt.ErrLie):
		rep.add(f.Checkpoint, FoundState, fmt.Sprintf("the ground of the history: %v", err))
	default:
		return err
	}
	return nil
}

// check reads one commit and what it links.
func (d *Database) check(id block.ID, before map[block.ID]int, rep *Report) {
	u, kind, err := d.inspect(id)
	rep.Checked++
	if err != nil {
		rep.add(id, kind, err.Error())
		return
	}
	for _, p := range u.Links[:u.Parents] {
		if _, ok := before[p]; !ok && (d.floor == nil || d.Damage() == nil) { // of one that is shut the rows are not read
			rep.add(id, FoundOrder, fmt.Sprintf("its parent %s does not stand before it", p))
		}
	}
	linked, wrong := map[block.ID][]byte{}, map[block.ID]Finding{}
	for _, l := range u.Links[u.Parents:] {
		x, kind, err := d.inspect(l)
		if err != nil {
			wrong[l] = Finding{l, kind, fmt.Sprintf("linked by commit %s: %v", id, err)}
			continue
		}
		rep.Checked++
		linked[l] = x.Data()
	}
	_, err = d.unseal(u, linked, true)
	if need, ok := errors.AsType[*needError](err); ok {
		for _, l := range need.ids {
			rep.add(wrong[l].Block, wrong[l].Kind, wrong[l].Detail)
		}
		return
	}
	if err != nil {
		rep.add(id, kindOf(err), err.Error())
	}
	for _, f := range wrong { // of files: they may be elsewhere, but not rotten
		if f.Kind != FoundMissing {
			rep.add(f.Block, f.Kind, f.Detail)
		}
	}
}

// inspect reads a block and checks its name.
func (d *Database) inspect(id block.ID) (*block.Unverified, string, error) {
	u, err := d.n.Stored(id)
	var corrupt *store.CorruptError
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, FoundMissing, err
	case errors.As(err, &corrupt):
		return nil, FoundDisk, err
	case errors.As(err, new(*DamageError)):
		return nil, FoundHash, err
	}
	return u, FoundMalformed, err
}

func kindOf(err error) string {
	switch {
	case errors.Is(err, block.ErrSignature):
		return FoundSignature
	case errors.Is(err, block.ErrMalformed), errors.Is(err, crdt.ErrMalformed):
		return FoundMalformed
	}
	return FoundSealed
}

// maxVerifyLines bounds the replicas that play concurrent lines of the history
// during a deep run. More lines than that are played again from where one that lies
// below them stands, or from the start.
const maxVerifyLines = 3

// lines are replicas on which commits are confirmed. A digest is that of the state
// which a commit's parents lead to, and nothing else; a history with concurrent
// lines passes through each of them on a replica of its own.
type lines struct {
	d     *Database
	voids map[block.ID]string
	at    map[block.ID]int // place in the order of arrival
	open  []*crdt.Replica  // most recently used last
}

// confirm plays the commits and compares every digest.
func (d *Database) confirm(ctx context.Context, order []block.ID, at map[block.ID]int, rep *Report) error {
	l := lines{d: d, at: at}
	var want [32]byte
	var heads []block.ID
	if err := d.View(func(r *crdt.Replica) error {
		l.voids, want, heads = r.Voids(), r.Digest(), r.Heads()
		return nil
	}); err != nil {
		return err
	}
	for _, id := range order {
		if err := l.confirm(ctx, id, rep); err != nil {
			return err
		}
	}
	// Writes that came meanwhile are not in order: only the state that was looked at
	// can be compared.
	if slices.ContainsFunc(heads, func(id block.ID) bool { _, ok := at[id]; return !ok }) {
		return nil
	}
	r, err := l.below(ctx, heads)
	if err == nil && r.Digest() != want {
		rep.add(block.ID{}, FoundState, fmt.Sprintf("the commits lead to state %x, shown is %x", r.Digest(), want))
	}
	return err
}

// confirm adds one commit to a replica that stands exactly at its parents.
func (l *lines) confirm(ctx context.Context, id block.ID, rep *Report) error {
	if !l.playable(id) {
		return nil // below the floor, or its past is so in part
	}
	c, err := l.d.read(id)
	if err != nil {
		return err
	}
	r, err := l.below(ctx, c.Parents)
	if err != nil {
		return err
	}
	if r.Has(id) {
		return nil
	}
	why, void := l.voids[id]
	v := crdt.Valid
	if void {
		v = crdt.Void(why)
	}
	exact := c.HasDigest && !void && c.Void == r.VoidHash() && slices.Equal(r.Heads(), c.Parents)
	_, err = r.Add(c, v)
	if differs, ok := errors.AsType[*crdt.DigestError](err); ok {
		rep.add(id, FoundDigest, differs.Error())
		return nil
	}
	if exact && err == nil {
		rep.Digests++
	}
	return err
}

// playable reports whether the state of a commit can be told.
func (l *lines) playable(id block.ID) (ok bool) {
	_ = l.d.View(func(r *crdt.Replica) error { ok = r.OverGround(id); return nil })
	return ok
}

// below returns a replica that holds heads and their past, and nothing else.
func (l *lines) below(ctx context.Context, heads []block.ID) (*crdt.Replica, error) {
	best := -1
	if planted.Bug("ledger-verify-in-passing") && len(l.open) > 0 {
		return l.open[0], nil // whose heads are others': nothing compares
	}
	err := l.d.View(func(main *crdt.Replica) error {
		for i, r := range l.open {
			outside := func(id block.ID) bool { return !main.Inside(heads, id) }
			if !slices.ContainsFunc(r.Heads(), outside) && (best < 0 || r.Len() > l.open[best].Len()) {
				best = i
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var r *crdt.Replica
	if best >= 0 {
		r = l.open[best]
		l.open = slices.Delete(l.open, best, best+1)
	} else if r, err = l.d.bottom(heads); err != nil {
		return nil, err
	}
	if err := l.d.play(ctx, r, l.lacking(r, heads), l.voids); err != nil {
		return nil, err
	}
	if l.open = append(l.open, r); len(l.open) > maxVerifyLines {
		l.open = slices.Delete(l.open, 0, 1)
	}
	return r, nil
}

// lacking returns what r lacks of heads and their past, in the order of arrival.
func (l *lines) lacking(r *crdt.Replica, heads []block.ID) (ids []block.ID) {
	seen := map[block.ID]bool{}
	todo := slices.Clone(heads)
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[id] || r.Has(id) {
			continue
		}
		seen[id] = true
		ids = append(ids, id)
		_ = l.d.View(func(main *crdt.Replica) error {
			if c, ok := main.Commit(id); ok {
				todo = append(todo, c.Parents...)
			}
			return nil
		})
	}
	slices.SortFunc(ids, func(a, b block.ID) int { return l.at[a] - l.at[b] })
	return ids
}
