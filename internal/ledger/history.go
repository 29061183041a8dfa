package ledger

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/wire"
)

// The past of a database is read by playing a part of its commits into an empty
// replica: exactly those that the point in question builds on. Nothing is kept for
// it beyond the commits; the last few states that were opened stay in memory, and
// one that lies below the next that is asked for is played on instead of begun
// again.

// Point is a place in the history of a database: a set of commits that is closed
// under parents.
type Point struct {
	Heads []block.ID // commits of it that none of the others builds on, sorted
	Time  wire.Time  // the latest among its commits; 0 if it is before the first

	set   []block.ID // in order of arrival; nil: the present
	state block.ID   // of a label whose commits were compacted away: its checkpoint
}

// Len returns how many commits lie at or before the point, and whether it is the
// moving present.
func (p *Point) Len() (n int, present bool) { return len(p.set), p.set == nil }

// ErrPoint: no commit, label or time fits the text.
var ErrPoint = errors.New("no such point in the history")

// revision is what a document's revision looks like.
var revision = regexp.MustCompile(`^[0-9]+-[0-9a-f]{16}$`)

const (
	commitPrefix = "bafkrei" // of every commit's text
	minPrefix    = 12        // characters of a commit that name it, if they fit only one
)

// Point finds a place in the history: now (or nothing), a commit or a unique prefix
// of one, a time (RFC 3339, or as in 2h ago), or a label. The state of a commit is
// that of the commit and all it builds on. The state of a time is that of every
// commit whose own time is not later, and all those build on. An error wraps
// [ErrPoint].
func (d *Database) Point(text string) (p Point, err error) {
	text = strings.TrimSpace(text)
	if text == "" || text == "now" {
		err = d.View(func(r *crdt.Replica) error { p.Heads = r.Heads(); return nil })
		return p, err
	}
	t, isTime, err := parseTime(text, d.n.Now())
	if err != nil {
		return p, err
	}
	var heads []block.ID
	if !isTime && !strings.HasPrefix(text, commitPrefix) {
		l, err := d.Label(text)
		if err != nil {
			return p, err
		}
		heads, p.state = l.Heads, l.State
	}
	err = d.View(func(r *crdt.Replica) error {
		var err error
		switch {
		case isTime:
			p.set = r.Until(t)
		case heads == nil:
			var id block.ID
			if id, err = findCommit(r, text); err == nil {
				p.set, err = r.Past([]block.ID{id})
			}
		default:
			p.set, err = r.Past(heads)
		}
		if errors.Is(err, crdt.ErrNotFound) {
			return fmt.Errorf("%w: %q names a commit that is not here: it was compacted away, or has not arrived", ErrPoint, text)
		}
		if err != nil {
			return err
		}
		if p.set == nil {
			p.set = []block.ID{} // before the first commit; not the present
		}
		p.Heads = r.Tops(p.set)
		for _, id := range p.set {
			c, _ := r.Commit(id)
			p.Time = max(p.Time, c.Time)
		}
		return nil
	})
	return p, err
}

// findCommit finds a commit by its text or a unique prefix of it.
func findCommit(r *crdt.Replica, text string) (found block.ID, err error) {
	if id, err := block.ParseID(text); err == nil {
		if !r.Has(id) {
			return found, crdt.ErrNotFound
		}
		return id, nil
	}
	if len(text) < minPrefix {
		return found, fmt.Errorf("%w: %q is too short for a commit, %d characters name one", ErrPoint, text, minPrefix)
	}
	for c := range r.Commits() {
		if !strings.HasPrefix(c.ID.String(), text) {
			continue
		}
		if !found.IsZero() {
			return found, fmt.Errorf("%w: several commits begin with %q", ErrPoint, text)
		}
		found = c.ID
	}
	if found.IsZero() {
		return found, fmt.Errorf("%w: no commit begins with %q", ErrPoint, text)
	}
	return found, nil
}

// parseTime reads RFC 3339, or a span with "ago".
func parseTime(text string, now wire.Time) (t wire.Time, ok bool, err error) {
	if span, ago := strings.CutSuffix(text, " ago"); ago {
		ms, err := parseSpan(span)
		if err != nil {
			return 0, false, fmt.Errorf("%w: %q: %w", ErrPoint, text, err)
		}
		return now - ms, true, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, false, nil
	}
	return wire.Time(at.UnixMilli()), true, nil
}

// ErrSpan: a text is no span of time.
var ErrSpan = errors.New("no span of time")

// SpanOf reads a span of time: as Go writes it, in days (30d) or weeks, or 0. An
// error is an [ErrSpan].
func SpanOf(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	ms, err := parseSpan(text)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrSpan, err)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// parseSpan reads a duration as Go writes it, or in days (7d) or weeks (2w), as
// milliseconds.
func parseSpan(s string) (wire.Time, error) {
	for unit, days := range map[string]float64{"d": 1, "w": 7} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			v, err := strconv.ParseFloat(n, 64)
			if err != nil || !(v >= 0 && v < 100_000) {
				return 0, fmt.Errorf("%q is no duration", s)
			}
			return wire.Time(v * days * 24 * float64(time.Hour/time.Millisecond)), nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return 0, fmt.Errorf("%q is no duration", s)
	}
	return wire.Time(v.Milliseconds()), nil
}

// ViewAt runs fn with the state of a point. fn must not keep the replica. States of
// the past are opened one at a time. An error may be an [ErrCompacted].
func (d *Database) ViewAt(ctx context.Context, p Point, fn func(r *crdt.Replica) error) error {
	if p.set == nil {
		return d.View(fn)
	}
	var voids map[block.ID]string
	var key [32]byte
	var gone error
	if err := d.View(func(r *crdt.Replica) error {
		voids, key = r.Voids(), r.VoidHash()
		gone = d.compacted(r, p)
		return nil
	}); err != nil {
		return err
	}
	if gone != nil && p.state.IsZero() {
		return gone
	}
	return d.n.past.use(ctx, func(s *pastStates) error {
		var r *crdt.Replica
		var err error
		if gone != nil {
			r, err = d.openState(ctx, p.state)
		} else {
			r, err = s.open(ctx, d, p, voids, key)
		}
		if err != nil {
			return err
		}
		return fn(r)
	})
}

// ErrCompacted: the point was compacted away.
var ErrCompacted = errors.New("compacted away")

// CompactedError is an [ErrCompacted].
type CompactedError struct {
	Since  wire.Time // when the floor was set
	Oldest wire.Time // of the oldest state that can still be opened; no label counted
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("%v on %s; the oldest kept point is %s", ErrCompacted, stamp(e.Since), stamp(e.Oldest))
}

// stamp writes a time as [Database.Point] reads it.
func stamp(t wire.Time) string {
	return time.UnixMilli(int64(t)).UTC().Format("2006-01-02T15:04:05.000Z")
}

// Unwrap makes it an [ErrCompacted].
func (e *CompactedError) Unwrap() error { return ErrCompacted }

// compacted returns why the state of a point cannot be told from commits, nil if it
// can: some of what lies below the floor is not part of it. The caller holds mu.
func (d *Database) compacted(r *crdt.Replica, p Point) error {
	if d.floor == nil || p.set == nil || r.OverFloor(p.set) || len(p.set) == 0 {
		return nil
	}
	return &CompactedError{Since: d.floor.Set, Oldest: d.floor.Time}
}

// openState opens the state of a checkpoint of this device, to read from.
func (d *Database) openState(ctx context.Context, id block.ID) (*crdt.Replica, error) {
	c, err := d.openCheckpoint(id)
	if err != nil {
		return nil, err
	}
	r, err := d.newReplica(0)
	if err != nil {
		return nil, err
	}
	return r, r.Show(ctx, c)
}

// maxPastStates bounds the states of the past that stay in memory. Two, so that the
// two sides of a comparison do not drive each other out.
const maxPastStates = 2

// pastStates is a small cache. gate holds one token: who has it may use the rest.
type pastStates struct {
	gate   chan struct{}
	states []pastState // most recently used last
}

type pastState struct {
	db    block.DBID
	voids [32]byte // the commits that did not count when it was opened
	r     *crdt.Replica
}

func newPastStates() pastStates { return pastStates{gate: make(chan struct{}, 1)} }

func (s *pastStates) use(ctx context.Context, fn func(*pastStates) error) error {
	select {
	case s.gate <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.gate }()
	return fn(s)
}

// drop forgets the states of a database.
func (s *pastStates) drop(db block.DBID) {
	s.states = slices.DeleteFunc(s.states, func(x pastState) bool { return x.db == db })
}

// open returns the state of a point: a kept one, one that lies below it and is
// played on, or a new one.
func (s *pastStates) open(ctx context.Context, d *Database, p Point, voids map[block.ID]string, key [32]byte) (*crdt.Replica, error) {
	in := make(map[block.ID]bool, len(p.set))
	for _, id := range p.set {
		in[id] = true
	}
	best := -1
	for i, x := range s.states {
		outside := func(id block.ID) bool { return !in[id] && !planted.Bug("ledger-past-of-another-point") }
		// Its past is inside if its heads are: the set is closed under parents.
		if x.db == d.id && x.voids == key && !slices.ContainsFunc(x.r.Heads(), outside) && (best < 0 || x.r.Len() > s.states[best].r.Len()) {
			best = i
		}
	}
	var x pastState
	if best >= 0 {
		x = s.states[best]
		s.states = slices.Delete(s.states, best, best+1) // until it is whole again
	} else {
		r, err := d.bottom(p.set)
		if err != nil {
			return nil, err
		}
		x = pastState{d.id, key, r}
	}
	if err := d.play(ctx, x.r, p.set, voids); err != nil {
		return nil, err
	}
	if s.states = append(s.states, x); len(s.states) > maxPastStates {
		s.states = slices.Delete(s.states, 0, 1)
	}
	return x.r, nil
}

// bottom returns where a state that is not empty is played from: the ground, or
// nothing.
func (d *Database) bottom(set []block.ID) (*crdt.Replica, error) {
	d.mu.RLock()
	f := d.floor
	d.mu.RUnlock()
	if f == nil || len(set) == 0 {
		return d.emptyReplica()
	}
	r, err := d.newReplica(0)
	if err != nil {
		return nil, err
	}
	return r, d.standOn(r, f, false)
}

func (d *Database) emptyReplica() (*crdt.Replica, error) {
	keys, err := d.n.keys.Database(d.id)
	if err != nil {
		return nil, err
	}
	return crdt.NewReplica(d.id, crdt.Keys{Expand: keys.Expand, ValueHash: keys.ValueHash}), nil
}

// play adds those of a set of commits that a replica lacks. What does not count now
// does not count there.
func (d *Database) play(ctx context.Context, r *crdt.Replica, set []block.ID, voids map[block.ID]string) error {
	for _, id := range set {
		if r.Has(id) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		c, err := d.read(id)
		if err != nil {
			return err
		}
		v := crdt.Valid
		if why, void := voids[id]; void {
			v = crdt.Void(why)
		}
		var differs *crdt.DigestError // told when it came; the state is what it is
		if _, err := r.Add(c, v); err != nil && !errors.As(err, &differs) {
			return fmt.Errorf("play commit %s again: %w", id, err)
		}
	}
	return nil
}

// read returns a stored commit, its linked blocks filled in.
func (d *Database) read(id block.ID) (*crdt.Commit, error) {
	u, err := d.n.Stored(id)
	if err != nil {
		return nil, err
	}
	linked, err := d.storedLinks(u)
	if err != nil {
		return nil, err
	}
	j, err := d.unseal(u, linked, false)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", id, err)
	}
	return j.commit, nil
}

// DocAt returns a document as it was at a point of the history, or at one of its
// revisions; nil if it was not there. An error wraps [ErrPoint].
func (d *Database) DocAt(ctx context.Context, id, text string) (doc crdt.Doc, err error) {
	if revision.MatchString(text) {
		return d.docOf(id, text)
	}
	p, err := d.Point(text)
	if err != nil {
		return nil, err
	}
	err = d.ViewAt(ctx, p, func(r *crdt.Replica) error {
		doc, _, err = r.Get(id)
		if errors.Is(err, crdt.ErrNotFound) {
			doc, err = nil, nil
		}
		return err
	})
	return doc, err
}

// docOf returns a document as a revision of it reads.
func (d *Database) docOf(id, rev string) (doc crdt.Doc, err error) {
	found := false
	err = d.View(func(r *crdt.Replica) error {
		now, _, err := r.Get(id)
		if err == nil && now[revKey] == rev {
			doc, found = now, true
			return nil
		}
		for v, err := range r.Revisions(id) {
			if err != nil {
				return err
			}
			if v.Rev != rev {
				continue
			}
			if found = true; !v.Alive {
				return nil
			}
			doc, err = v.Doc()
			return err
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: no commit left %q at revision %s", ErrPoint, id, rev)
	}
	return doc, err
}

// revKey is the field of a document that holds its revision.
const revKey = "_rev"

// Revert makes a document read as it did at a point of the history, or at one of
// its revisions, by one new commit; where it was not there it is deleted. Nothing of
// what was written since is lost: it is history too. Files stay as they are.
func (d *Database) Revert(ctx context.Context, id, text string) (Written, error) {
	doc, err := d.DocAt(ctx, id, text)
	if err != nil {
		return Written{}, err
	}
	if doc != nil {
		body := crdt.Doc{}
		for k, v := range doc {
			if !strings.HasPrefix(k, "_") {
				body[k] = v
			}
		}
		return d.Write(ctx, []crdt.Write{{Verb: crdt.Put, ID: id, Body: body}})
	}
	var there bool
	err = d.View(func(r *crdt.Replica) error {
		_, meta, err := r.Get(id)
		there = err == nil
		if errors.Is(err, crdt.ErrNotFound) && (meta.Deleted || meta.Rev != "") {
			err = nil
		}
		return err
	})
	if err != nil || !there {
		return Written{Results: []crdt.Result{{ID: id}}}, err
	}
	return d.Write(ctx, []crdt.Write{{Verb: crdt.Delete, ID: id}})
}
