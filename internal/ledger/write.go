package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/vault"
)

// request is one caller's atomic set of writes, waiting for the group commit.
type request struct {
	writes  []crdt.Write
	size    int           // estimated
	done    chan struct{} // nil: its caller writes it itself
	written Written
	err     error
}

// Bounds of one group commit: enough to share the fsync among many writers, small
// enough that the first of them does not wait for megabytes.
const (
	maxGroup      = 512
	maxGroupBytes = 128 << 10
	// maxWriteBytes bounds one atomic set of writes: who takes in its commit has to hold
	// all of it at once, and takes no more than replicate.LinkedBytes.
	maxWriteBytes = 40 << 20
)

// ErrBatch: one atomic set of writes is larger than anybody would take in.
var ErrBatch = errors.New("too much in one batch")

// Written is the outcome of a set of writes.
type Written struct {
	Results []crdt.Result // one per write, in order
	Commit  block.ID      // that holds them; zero where nothing changed
}

// keyPatience is how long a write waits for a key that is on its way.
const keyPatience = 5 * time.Second

// Write makes an atomic set of writes durable. Once it is in a group it will happen
// even if ctx ends first.
//
// In a team of many the lockboxes of a new key follow its link by a moment. A write
// in this moment waits for them.
func (d *Database) Write(ctx context.Context, writes []crdt.Write) (Written, error) {
	w, err := d.hand(ctx, writes)
	if !errors.Is(err, ErrNoKey) {
		return w, err
	}
	patience, stop := context.WithTimeout(ctx, keyPatience)
	defer stop()
	for {
		news, coming := d.team.coming() // asked first, so that nothing is missed
		if w, err = d.hand(ctx, writes); !errors.Is(err, ErrNoKey) || !coming {
			return w, err
		}
		select {
		case <-news:
		case <-patience.Done():
			return w, err
		case <-d.gone:
			return w, ErrClosed
		}
	}
}

// hand is Write without patience. Who comes when nobody writes, writes: itself first,
// and those who came meanwhile. So a lone writer waits for no other goroutine, and
// concurrent ones share a commit and an fsync: while one group is being synced the
// next gathers before the inbox.
func (d *Database) hand(ctx context.Context, writes []crdt.Write) (Written, error) {
	if err := d.Damage(); err != nil {
		return Written{}, err
	}
	r := &request{writes: writes, size: size(writes)}
	if r.size > maxWriteBytes {
		return Written{}, fmt.Errorf("%w: %d bytes, at most %d", ErrBatch, r.size, maxWriteBytes)
	}
	select {
	case d.turn <- struct{}{}:
		return d.lead(ctx, r)
	default:
	}
	r.done = make(chan struct{})
	select {
	case d.turn <- struct{}{}:
		return d.lead(ctx, r)
	case d.inbox <- r: // somebody else writes it
	case <-ctx.Done():
		return Written{}, ctx.Err()
	case <-d.gone:
		return Written{}, ErrClosed
	}
	return r.wait(ctx)
}

// wait returns what became of a request, or gives up waiting.
func (r *request) wait(ctx context.Context) (Written, error) {
	select {
	case <-r.done:
		return r.written, r.err
	case <-ctx.Done():
		return Written{}, ctx.Err()
	}
}

// lead writes a group; the caller has the turn, and gives it up here. While something
// else writes, say a merge, the group waits for it in a goroutine, so that the caller may
// give up; Close waits for it, because keepTurns ends with the turn.
func (d *Database) lead(ctx context.Context, r *request) (Written, error) {
	if d.writing.TryLock() {
		d.writing.Unlock()
		d.writeTurn(r)
		return r.written, r.err
	}
	if r.done == nil {
		r.done = make(chan struct{})
	}
	d.n.wg.Go(func() { d.writeTurn(r) })
	return r.wait(ctx)
}

func (d *Database) writeTurn(r *request) {
	defer func() { <-d.turn }()
	d.writeGroup(d.gather(r))
	d.settle()
}

// keepTurns is the goroutine of a database that says when writing begins and ends:
// with the node, after the group in hand. Who waits then sees d.gone, and a checkpoint
// is written if it is worth it.
func (d *Database) keepTurns() {
	d.reissue()
	<-d.turn
	select {
	case <-d.n.done:
	case <-d.stop:
	}
	d.turn <- struct{}{}
	close(d.gone)
	d.lastFlush()
}

// gather takes those who wait, up to the bounds of a group.
func (d *Database) gather(first *request) []*request {
	return d.gatherInto([]*request{first})
}

func (d *Database) gatherInto(group []*request) []*request {
	size := 0
	for _, r := range group {
		size += r.size
	}
	for len(group) < maxGroup && size < maxGroupBytes {
		select {
		case r := <-d.inbox:
			group, size = append(group, r), size+r.size
		default:
			return group
		}
	}
	return group
}

// size estimates the bytes that writes bring to a commit.
func size(writes []crdt.Write) (n int) {
	for _, w := range writes {
		n += 64 + len(w.ID) + weigh(map[string]any(w.Body))
	}
	return n
}

// weigh estimates the encoded size of a document value.
func weigh(v any) int {
	switch v := v.(type) {
	case string:
		return len(v) + 2
	case []any:
		n := 2
		for _, x := range v {
			n += weigh(x)
		}
		return n
	case map[string]any:
		n := 2
		for k, x := range v {
			n += len(k) + 2 + weigh(x)
		}
		return n
	}
	return 9
}

// writeGroup makes one commit of a group, and answers each of its requests. One
// that failed beside others is tried again alone: maybe only together they were
// too large for a commit.
func (d *Database) writeGroup(group []*request) {
	err := d.draftAndCommit(group)
	for _, r := range group {
		failed := err
		if failed == nil && r.err != nil && len(group) > 1 {
			failed = d.draftAndCommit([]*request{r})
		}
		if failed != nil && r.err == nil {
			r.err = failed
		}
		if r.done != nil {
			close(r.done)
		}
	}
}

func (d *Database) draftAndCommit(group []*request) error {
	if err := d.team.Ready(context.Background()); err != nil {
		return err
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	st := d.team.State()
	if _, in := st.DB(d.id); d.left || d.held || !in {
		return fmt.Errorf("%w from team %q: look for it in the other team, and write again", ErrMoved, st.Name())
	}
	me := d.n.o.Identity.Device()
	self, ok := st.Device(me)
	if !ok || !st.CanWrite(me) {
		return fmt.Errorf("%w in team %q: its role is %s", ErrForbidden, st.Name(), st.Role(me))
	}
	gen, ok := d.team.writable()
	if !ok {
		return fmt.Errorf("%w in team %q", ErrNoKey, st.Name())
	}
	author := crdt.Author{
		Actor: d.actor, Seat: self.Seat, TeamHeads: st.Heads(),
		Time: max(d.n.Now(), d.lastTime+1),
	}
	requests := make([][]crdt.Write, len(group))
	for i, r := range group {
		requests[i] = r.writes
	}
	draft, results, errs, err := d.draft(&author, gen, requests)
	if err != nil {
		return err
	}
	for i, r := range group {
		r.written.Results, r.err = results[i], errs[i]
	}
	if draft == nil {
		return nil
	}
	j, err := d.write(draft, author, gen)
	if err != nil {
		return err
	}
	for _, r := range group {
		if r.err == nil {
			r.written.Commit = j.block.ID
		}
	}
	d.n.o.Committed(d, j.block)
	return nil
}

// draft drafts a commit of the requests. Where that needs a step before, it takes
// it: a new actor if this one may not write on, a merge if there are more heads
// than a commit has parents.
func (d *Database) draft(a *crdt.Author, gen block.Generation, requests [][]crdt.Write) (*crdt.Draft, [][]crdt.Result, []error, error) {
	for range maxPrepare {
		d.mu.RLock()
		draft, results, errs := d.replica.Draft(*a, requests)
		d.mu.RUnlock()
		var err error
		switch {
		case errors.Is(errs[0], crdt.ErrActor):
			d.actor, err = d.n.newActor(d.id)
			a.Actor = d.actor
		case errors.Is(errs[0], crdt.ErrHeads):
			d.mu.RLock()
			draft, err = d.replica.Merge(*a)
			d.mu.RUnlock()
			if err == nil && draft != nil {
				_, err = d.write(draft, *a, gen)
			}
		default:
			return draft, results, errs, nil
		}
		if err != nil {
			return nil, nil, nil, err
		}
		a.Time = max(a.Time, d.lastTime+1)
	}
	return nil, nil, nil, errors.New("too many concurrent heads to merge at once: write again")
}

// maxPrepare bounds the steps before a draft: each merges 64 heads.
const maxPrepare = 64

// write makes a draft durable, then visible.
func (d *Database) write(draft *crdt.Draft, a crdt.Author, gen block.Generation) (judged, error) {
	j, err := d.seal(draft, a, gen)
	if err != nil {
		return judged{}, err
	}
	j.arrival = d.arrival
	d.batch.Reset()
	d.stage(&d.batch, j)
	if err := d.store(context.Background(), &d.batch, j.arrival+1); err != nil && !planted.Bug("ledger-acknowledges-what-failed") {
		return judged{}, err
	}
	d.lastTime = max(draft.Time, d.lastTime)
	if refused, why := d.show([]judged{j}); len(refused) > 0 {
		_ = d.broken() // why says it
		return j, errors.Join(fmt.Errorf("own commit: %w", why), d.forget(context.Background(), refused))
	}
	return j, nil
}

// seal turns a draft into blocks: linked ones first, so that the commit can name
// them.
func (d *Database) seal(draft *crdt.Draft, a crdt.Author, gen block.Generation) (judged, error) {
	links := append([]block.ID(nil), draft.Parents...)
	var j judged
	fill := map[block.ID][]byte{}
	for _, l := range draft.Links {
		h := block.Header{Kind: l.Kind, Team: d.team.id, DB: d.id, Generation: gen}
		body, err := d.n.keys.Seal(vault.Data, h, l.Plain)
		if err != nil {
			return judged{}, err
		}
		b, err := block.New(h, body, nil)
		if err != nil {
			return judged{}, err
		}
		j.linked = append(j.linked, b)
		links, fill[b.ID] = append(links, b.ID), l.Plain
	}
	h := block.Header{
		Kind: block.KindCommit, Team: d.team.id, DB: d.id, Generation: gen,
		Parents: len(draft.Parents), Links: links, Author: a.Actor.Device, Seat: a.Seat,
	}
	body, err := d.n.keys.Seal(vault.Data, h, draft.Plain)
	if err != nil {
		return judged{}, err
	}
	if j.block, err = d.n.o.Identity.SignBlock(h, body); err != nil {
		return judged{}, err
	}
	if j.commit, err = draft.Commit(j.block); err != nil {
		return judged{}, err
	}
	for id, plain := range fill {
		if err := j.commit.Fill(id, plain); err != nil {
			return judged{}, fmt.Errorf("own commit: %w", err)
		}
	}
	j.validity = crdt.Valid
	return j, nil
}
