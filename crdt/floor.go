package crdt

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt/tree"
	"github.com/toftdb/toft/internal/planted"
)

// A history may begin at a floor: a place in the order of arrival, so a set of
// commits that is closed under parents.
//
//	order   0 ─────────────── floor ──────────── now
//	        rows of the graph │ commits
//	                          └ the ground: the state here, a checkpoint and its tree
//
// Of a commit below the floor the graph keeps what it knows of every commit, so
// whatever a later commit is held against (dots, clocks, parents, frontiers) stays
// exact. Its operations may be gone for good. What needs operations again, because
// other commits count now, begins at the ground; see [Replica.rebuild].

// ErrHistory: the operations of a commit of the graph are not here: it lies below the
// floor.
var ErrHistory = errors.New("the commit lies below the floor of the history")

// HistoryError says that other commits are to count than did, and that it cannot be
// told what follows: commits below the floor are needed again. Nothing was changed.
// Once [Source] gives them the same call goes through, and lowers the floor to 0.
type HistoryError struct {
	Commits []block.ID // that are needed; at most maxNeeded at a time
}

func (e *HistoryError) Error() string {
	return fmt.Sprintf("%v: %d or more are needed to judge again", ErrHistory, len(e.Commits))
}

// Unwrap makes it an [ErrHistory].
func (e *HistoryError) Unwrap() error { return ErrHistory }

// maxNeeded bounds what one error names.
const maxNeeded = 2048

// ground is a state whose tree is at hand: that of the commits in front of a place.
type ground struct {
	place int
	heads []block.ID
	base  *tree.Tree

	vouched bool // it is somebody's word
}

// Floor returns the place in the order of arrival below which commits are known by
// their rows of the graph alone: 0 if the whole history is here.
func (r *Replica) Floor() int { return r.floor.place }

// FloorHeads returns the heads of the commits below the floor.
func (r *Replica) FloorHeads() []block.ID { return r.floor.heads }

// Place returns where a commit stands in the order of arrival.
func (r *Replica) Place(id block.ID) (int, bool) {
	h, ok := r.commits[id]
	if !ok {
		return 0, false
	}
	return h.index, true
}

// Below reports whether a commit lies below the floor.
func (r *Replica) Below(id block.ID) bool {
	h, ok := r.commits[id]
	return ok && h.index < r.floor.place
}

// OverFloor reports whether a set of commits in the order of arrival, closed under
// parents, holds all that lie below the floor: only then its state can be told.
func (r *Replica) OverFloor(set []block.ID) bool {
	k := r.floor.place
	return k == 0 || len(set) >= k && r.commits[set[k-1]].index == k-1
}

// Holds returns up to which place in the order of arrival everything is among heads or
// in their past. Heads that are not here tell nothing.
func (r *Replica) Holds(heads []block.ID) (place int, err error) {
	set, err := r.Past(slices.DeleteFunc(slices.Clone(heads), func(id block.ID) bool { return !r.Has(id) }))
	for ; place < len(set) && r.commits[set[place]].index == place; place++ {
	}
	return place, err
}

// SetFloor lets the history begin at a place. c is the checkpoint of the state there;
// its tree is at hand, and stays so. At 0 all of the history is here, and c is nil.
func (r *Replica) SetFloor(ctx context.Context, place int, c *Checkpoint) error {
	switch {
	case r.failed != nil:
		return r.failed
	case place == 0:
		r.floor = ground{}
		return nil
	}
	g, err := r.openGround(ctx, place, c)
	if err != nil {
		return err
	}
	was := r.floor
	g.vouched = was.vouched
	if r.floor = g; r.forks == 0 {
		return nil
	}
	r.raising = true
	err = r.clear(r.order[place:])
	if r.raising = false; err != nil {
		r.floor = was
		return fmt.Errorf("floor at %d: a clear above hangs on a fork below: %w", place, err)
	}
	return nil
}

// Show lets an empty replica show a checkpoint of this device whose nodes are here, to
// read from; it takes no commits.
func (r *Replica) Show(ctx context.Context, c *Checkpoint) error {
	if len(r.order) > 0 || r.docs.entries > 0 || r.grove == nil {
		return errors.New("show: the replica is not empty, or has no nodes")
	}
	r.failed = errors.New("only to read from: the commits are not here")
	return r.openTree(ctx, c)
}

// unaudited stands for the void hash in commits that are made on top of a ground that
// is somebody's word: SHA-256("toft unaudited"). Their digest is compared with nobody's,
// or a lie below would show as one of whoever built on it.
var unaudited = sha256.Sum256([]byte("toft unaudited"))

// draftVoid is the void hash a commit names that is made now.
func (r *Replica) draftVoid() [32]byte {
	if r.floor.vouched && !planted.Bug("crdt-signs-for-the-ground") {
		return unaudited
	}
	return r.VoidHash()
}

// openGround opens the state at a place, and holds it against the graph.
func (r *Replica) openGround(ctx context.Context, place int, c *Checkpoint) (g ground, err error) {
	if r.grove == nil || place <= 0 || place > len(r.order) {
		return g, fmt.Errorf("floor at %d of %d commits", place, len(r.order))
	}
	if pins := r.pinsAt(place); !slices.Equal(pins, c.Frontier) {
		return g, errors.New("the ground is of other commits")
	}
	if !slices.Equal(r.voidsAt(place), c.Voids) && !planted.Bug("crdt-ground-of-another-judgement") {
		return g, errors.New("the ground is of other void commits")
	}
	g = ground{place: place, heads: c.Heads, base: r.grove.Empty()}
	if c.Entries == 0 {
		return g, nil
	}
	if g.base, err = r.grove.Open(ctx, tree.Ref{Hash: c.RootHash, ID: c.Root}); err != nil {
		return g, err
	}
	if uint64(g.base.Count()) != c.Entries {
		return g, fmt.Errorf("the ground's tree has %d entries, the checkpoint says %d", g.base.Count(), c.Entries)
	}
	return g, nil
}

// pinsAt returns the frontier of the commits in front of a place.
func (r *Replica) pinsAt(place int) (pins []Pin) {
	for _, log := range r.logs {
		n, _ := slices.BinarySearchFunc(log.commits, place, func(h *held, place int) int { return cmp.Compare(h.index, place) })
		if n > 0 {
			pins = append(pins, Pin{log.actor, log.commits[n-1].Seq, log.commits[n-1].ID})
		}
	}
	slices.SortFunc(pins, func(a, b Pin) int { return compareActors(&a.Actor, &b.Actor) })
	return pins
}

// voidsAt returns the void commits in front of a place, sorted.
func (r *Replica) voidsAt(place int) (ids []block.ID) {
	for id, h := range r.voids {
		if h.index < place {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}

// groundFor returns the latest state whose tree is at hand and in which none of some
// commits is. The zero ground is the empty state.
func (r *Replica) groundFor(flipped []*held) ground {
	first := firstOf(flipped)
	best := ground{}
	if r.floor.place <= first || planted.Bug("crdt-rebuild-on-what-flipped") {
		best = r.floor
	}
	if r.sound && r.written <= first && r.written > best.place && r.docs.base != nil {
		best = ground{place: r.written, base: r.docs.base}
	}
	return best
}

// firstOf returns the first place of some commits.
func firstOf(list []*held) int {
	first := list[0].index
	for _, h := range list {
		first = min(first, h.index)
	}
	return first
}

// entryAt returns a document as it is at a ground, to be played on.
func (r *Replica) entryAt(g ground, id string) (*entry, error) {
	if g.base == nil || g.base.Count() == 0 {
		return &entry{}, nil
	}
	e, ok, err := g.base.Get(context.Background(), []byte(id))
	if err != nil || !ok {
		return &entry{}, err
	}
	rec, err := r.unpack(e)
	if err != nil {
		return nil, err
	}
	return rec.decode()
}

// playable returns a [HistoryError] if some commits flip that lie below the floor, and
// what lies there is not all at hand.
func (r *Replica) playable(flipped []*held) error {
	if len(flipped) == 0 || firstOf(flipped) >= r.floor.place {
		return nil
	}
	var e HistoryError
	for _, h := range r.order[:r.floor.place] {
		if len(e.Commits) == maxNeeded {
			break
		}
		if _, _, err := r.operations(h); err != nil {
			e.Commits = append(e.Commits, h.ID)
		}
	}
	if len(e.Commits) == 0 {
		return nil
	}
	return &e
}

// flippedFrom notes that commits flipped: what trees say of a place behind the first
// of them is no longer so. If it lies below the floor, the commits there are at hand
// again, and the history begins with the first.
func (r *Replica) flippedFrom(first int) {
	if first < r.written {
		r.sound = false
	}
	if f := r.flush; f != nil && first < f.to {
		f.stale = true
	}
	if first < r.floor.place {
		r.floor = ground{}
	}
}

// judgement is how commits were judged, to be put back.
type judgement struct {
	validities []Validity
	stands     map[*held]map[string][]named
}

func (r *Replica) judgement() judgement {
	j := judgement{make([]Validity, len(r.order)), map[*held]map[string][]named{}}
	for i, h := range r.order {
		j.validities[i] = h.validity
	}
	for _, h := range r.voids {
		j.stands[h] = h.stands
	}
	return j
}

// judgeBack puts a judgement back.
func (r *Replica) judgeBack(j judgement) {
	for i, h := range r.order {
		h.validity = j.validities[i]
	}
	for _, log := range r.logs {
		r.judgeLog(log, 1)
	}
	for h, stands := range j.stands {
		h.stands = stands
	}
}

// takeBack takes a commit out that was inserted last, with all that followed from it.
func (r *Replica) takeBack(h *held, heads []block.ID, stands map[*held]map[string][]named) {
	log := r.logs[h.actor]
	switch twins := log.twins[h.Seq]; {
	case len(twins) > 2:
		log.twins[h.Seq] = twins[:len(twins)-1]
	case len(twins) == 2:
		delete(log.twins, h.Seq)
		r.forks--
	case h.Seq > 1:
		log.commits = log.commits[:h.Seq-1]
	default:
		log.commits, r.logs = nil, r.logs[:h.actor]
		delete(r.actors, h.Actor)
	}
	for _, l := range r.logs {
		if l.counts != nil && l.counts.upTo > h.index {
			l.counts = nil
		}
	}
	delete(r.commits, h.ID)
	delete(r.voids, h.ID)
	r.order, r.heads = r.order[:h.index], heads
	if n := len(r.seals) - 1; r.seals[n].first == h.index {
		r.seals = r.seals[:n]
	}
	r.voidHash.Store(nil)
	r.judgeLog(log, h.Seq)
	for h, s := range stands {
		h.stands = s
	}
}

// standsOf remembers what the void commits of an actor stand for.
func (r *Replica) standsOf(log *actorLog) map[*held]map[string][]named {
	out := map[*held]map[string][]named{}
	for _, h := range r.voids {
		if r.logs[h.actor] == log {
			out[h] = h.stands
		}
	}
	return out
}

// freshFeed begins a feed with one row for every document that is kept, in the order
// of the commits that wrote them last.
func (r *Replica) freshFeed() error {
	var rows []feedRow
	err := r.docs.each("", "", false, func(id string, rec record) (bool, error) {
		k, err := rec.open(id)
		if err != nil {
			return false, err
		}
		row := feedRow{id: id, rev: r.rev(id, &k), deleted: !k.alive}
		if g := k.e.newest(); g != nil {
			if h, ok := r.commits[r.standing(g.dot)]; ok {
				row.at = h.index + 1
			}
		}
		rows = append(rows, row)
		return true, nil
	})
	slices.SortStableFunc(rows, func(a, b feedRow) int { return cmp.Compare(a.at, b.at) })
	for _, row := range rows {
		r.feed.push(row)
	}
	r.feed.fresh = true
	return err
}
