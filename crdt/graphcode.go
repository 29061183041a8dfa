package crdt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt/tree"
)

// The graph as bytes: chunks of commits in the order of arrival, [commit …], each
//
//	[ID, actor, seq, time, prev, [parent …], seal, actor 40 bytes?, (generation, seat, [team head …])?]
//
// prev and parents say how many places earlier the commit stands (prev 0: none).
// Actors and seals (what a commit was made under) are numbered as they first appear,
// and spelled out there. This is not a format that travels: it can be made from the
// commits, and is thrown away when its version changes.
const commitFields = 7

// GraphChunk is how many commits one chunk of the graph tells of at most.
const GraphChunk = 2048

// seal is what a commit was made under; many commits share one.
type seal struct {
	generation block.Generation
	seat       block.ID
	team       []block.ID
	first      int // place of the first commit under it
}

func (s *seal) of(c *Commit) bool {
	return s.generation == c.Generation && s.seat == c.Seat && slices.Equal(s.team, c.TeamHeads)
}

// share numbers what a commit was made under, and lets the commit share it.
func (g *graph) share(h *held) {
	h.seal = g.sealOf(h)
	if h.prev != nil && h.prev.seal == h.seal {
		h.origin = h.prev.origin
		return
	}
	own := *h.origin
	own.TeamHeads = g.seals[h.seal].team
	h.origin = &own
}

// sealOf returns the number of what a commit was made under.
func (g *graph) sealOf(h *held) int {
	n := len(g.seals) - 1
	if len(h.Parents) > 0 {
		if p := g.commits[h.Parents[0]]; g.seals[p.seal].of(&h.Commit) {
			n = p.seal
		}
	}
	for n >= 0 && !g.seals[n].of(&h.Commit) {
		n--
	}
	if n < 0 {
		n = len(g.seals)
		g.seals = append(g.seals, seal{h.Generation, h.Seat, slices.Clone(h.TeamHeads), h.index})
	}
	return n
}

// Graph writes down the rows of the commits between two places, in chunks.
func (g *graph) Graph(from, to int) (chunks [][]byte) {
	for list := range slices.Chunk(g.order[from:to], GraphChunk) {
		b := appendHead(make([]byte, 0, 64*len(list)), majorArray, uint64(len(list)))
		for _, h := range list {
			b = g.appendCommit(b, h)
		}
		chunks = append(chunks, b)
	}
	return chunks
}

func (g *graph) appendCommit(b []byte, h *held) []byte {
	newActor := g.logs[h.actor].commits[0] == h
	s := &g.seals[h.seal]
	b = appendHead(b, majorArray, commitFields+uint64(one(newActor))+3*uint64(one(s.first == h.index)))
	b = appendUint(appendUint(appendUint(appendBytes(b, h.ID[:]), uint64(h.actor)), h.Seq), uint64(h.Time))
	prev := 0
	if h.prev != nil {
		prev = h.index - h.prev.index
	}
	b = appendHead(appendUint(b, uint64(prev)), majorArray, uint64(len(h.Parents)))
	for _, id := range h.Parents {
		b = appendUint(b, uint64(h.index-g.commits[id].index))
	}
	b = appendUint(b, uint64(h.seal))
	if newActor {
		b = appendBytes(b, append(append([]byte(nil), h.Actor.Device[:]...), h.Actor.Incarnation[:]...))
	}
	if s.first == h.index {
		b = appendIDs(appendBytes(appendBytes(b, s.generation[:]), s.seat[:]), s.team)
	}
	return b
}

// rest is what a checkpoint and the graph do not tell: [commits, position of the
// feed, feed in doubt 0 or 1, [place, what the team says, what is malformed … of
// every void commit]].
func (r *Replica) rest() []byte {
	b := appendUint(appendUint(appendHead(nil, majorArray, 4), uint64(len(r.order))), r.feed.pos)
	b = appendHead(appendUint(b, uint64(one(r.feed.doubt))), majorArray, 3*uint64(len(r.voids)))
	voids := slices.SortedFunc(maps.Values(r.voids), func(a, b *held) int { return cmp.Compare(a.index, b.index) })
	for _, h := range voids {
		b = appendText(appendText(appendUint(b, uint64(h.index)), cut(h.validity.why)), cut(h.bad))
	}
	return b
}

const maxReason = 1024

// cut bounds a reason.
func cut(s string) string { return s[:min(len(s), maxReason)] }

// Saved is what flushes have written.
type Saved struct {
	Checkpoint *Checkpoint
	Graph      iter.Seq2[[]byte, error] // at least what was written up to the checkpoint, in order
	Rest       []byte                   // that of the checkpoint's flush
	// Later flushes were lost: what the feed's rows say of their newest is in doubt.
	Doubt bool
	// Floor is the place where the history begins, Ground the checkpoint of the state
	// there; 0 and nil: all of it is here. See [Replica.SetFloor].
	Floor  int
	Ground *Checkpoint
	// Vouched: the ground is somebody's word, not what commits led to here.
	Vouched bool
	// Fresh begins a new feed, with one row for every document.
	Fresh bool
}

// Restore takes up an empty replica where a flush has left it. What is restored is
// held against the checkpoint; after an error the replica is of no use.
func (r *Replica) Restore(ctx context.Context, s Saved) error {
	if len(r.order) > 0 || r.grove == nil {
		return errors.New("restore: the replica is not empty, or has no nodes")
	}
	err := r.restore(ctx, s)
	if err != nil {
		err = fmt.Errorf("restore: %w", err)
		r.failed = err
	}
	return err
}

func (r *Replica) restore(ctx context.Context, s Saved) error {
	in := reader{b: s.Rest}
	if in.array(4) != 4 {
		in.fail("rest of a checkpoint")
	}
	commits, pos, doubt := int(in.uint(1<<40)), in.uint(maxSeq), in.uint(1) == 1
	if in.err != nil {
		return in.err
	}
	for chunk, err := range s.Graph {
		if err == nil {
			err = r.readGraph(chunk, commits)
		}
		if err != nil {
			return err
		}
		if len(r.order) == commits {
			break
		}
	}
	if len(r.order) != commits {
		return fmt.Errorf("%d commits of %d are written down", len(r.order), commits)
	}
	if err := r.readVoids(&in); err != nil {
		return err
	}
	r.written, r.feed.pos, r.feed.cold, r.feed.doubt = commits, pos, pos, doubt || s.Doubt
	if r.feed.store == nil {
		r.feed.cold = 0
	}
	if s.Fresh {
		r.feed.pos, r.feed.cold, r.feed.doubt = 0, 0, false
	}
	if err := r.openState(ctx, s.Checkpoint); err != nil {
		return err
	}
	r.sound = true
	if s.Floor > 0 {
		var err error
		if r.floor, err = r.openGround(ctx, s.Floor, s.Ground); err != nil {
			return err
		}
		r.floor.vouched = s.Vouched
	}
	if s.Fresh {
		return r.freshFeed()
	}
	return nil
}

// readGraph reads a chunk, as far as there are so many commits.
func (r *Replica) readGraph(chunk []byte, commits int) error {
	in := reader{b: chunk}
	n := in.array(GraphChunk)
	for range n {
		if len(r.order) == commits {
			return in.err
		}
		if r.passRow(&in) {
			continue
		}
		if h := r.readCommit(&in); in.err == nil {
			r.insert(h)
		}
		if in.err != nil {
			return in.err
		}
	}
	return in.end()
}

// passRow passes over a row that was read before: those below a floor are kept twice,
// where a chunk stands on both sides of it.
func (r *Replica) passRow(in *reader) bool {
	row := *in
	fields := row.array(commitFields + 4)
	if _, known := r.commits[block.ID(row.hash())]; row.err != nil || !known {
		return false
	}
	row.uint(MaxActors)
	row.positive(maxSeq)
	row.time()
	row.uint(maxSeq)
	for range row.array(block.MaxParents) {
		row.uint(maxSeq)
	}
	row.uint(maxSeq)
	if fields == commitFields+1 || fields == commitFields+4 {
		row.bytes(40)
	}
	if fields >= commitFields+3 {
		row.hash()
		row.hash()
		row.ids(MaxTeamHeads)
	}
	*in = row
	return true
}

// ChunkEnd returns the place behind the last commit of a chunk of the graph, 0 if that
// cannot be told.
func (r *Replica) ChunkEnd(chunk []byte) int {
	in := reader{b: chunk}
	n := in.array(GraphChunk)
	in.array(commitFields + 4)
	h, ok := r.commits[block.ID(in.hash())]
	if in.err != nil || !ok {
		return 0
	}
	return h.index + n
}

// earlier reads a commit that stands some places in front of the next one.
func (r *Replica) earlier(in *reader) *held {
	n := in.uint(uint64(len(r.order)))
	if in.err != nil || n == 0 {
		return nil
	}
	return r.order[len(r.order)-int(n)]
}

func (r *Replica) readCommit(in *reader) *held {
	fields := in.array(commitFields + 4)
	h := &held{Commit: Commit{origin: &origin{}, content: r.none}, index: len(r.order), gone: true}
	h.ID, h.DB, h.actor = block.ID(in.hash()), r.db, int(in.uint(uint64(len(r.logs))))
	h.Seq, h.Time = in.positive(maxSeq), in.time()
	if h.prev = r.earlier(in); h.prev != nil {
		h.Prev = h.prev.ID
	}
	parents := make([]*held, in.array(block.MaxParents))
	h.Parents = make([]block.ID, len(parents))
	for i := range parents {
		if parents[i] = r.earlier(in); parents[i] == nil {
			in.fail("parent of a commit")
			return nil
		}
		h.Parents[i] = parents[i].ID
	}
	s := int(in.uint(uint64(len(r.seals))))
	if in.err != nil {
		return nil
	}
	if known := h.actor < len(r.logs); known {
		h.Actor = r.logs[h.actor].actor
	} else {
		raw := in.bytes(40)
		if in.err != nil {
			return nil
		}
		h.Actor = block.Actor{Device: block.Device(raw[:32]), Incarnation: block.Incarnation(raw[32:])}
		if _, twice := r.actors[h.Actor]; twice {
			in.fail("actor in two places")
		}
		h.actor, fields = -1, fields-1
	}
	if s < len(r.seals) {
		h.Generation, h.Seat, h.TeamHeads = r.seals[s].generation, r.seals[s].seat, r.seals[s].team
	} else {
		h.Generation, h.Seat, h.TeamHeads = block.Generation(in.hash()), block.ID(in.hash()), in.ids(MaxTeamHeads)
		fields -= 3
	}
	if in.err == nil && (fields != commitFields || !r.follows(h)) {
		in.fail("commit of the graph")
	}
	for i, p := range parents {
		h.follow(p, i == 0)
	}
	return h
}

// follows reports whether a commit may stand where it does in its actor's log.
func (r *Replica) follows(h *held) bool {
	if _, known := r.commits[h.ID]; known || (h.prev == nil) != (h.Seq == 1) {
		return false
	}
	return h.prev == nil || h.prev.Actor == h.Actor && h.prev.Seq == h.Seq-1
}

// readVoids reads which commits do not count, and judges all.
func (r *Replica) readVoids(in *reader) error {
	n := in.array(3 * (MaxVoids + 1))
	for range n / 3 {
		i := in.uint(uint64(len(r.order)))
		why, bad := in.text(maxReason), in.text(maxReason)
		if in.err == nil && i >= uint64(len(r.order)) {
			in.fail("void commit %d of %d", i, len(r.order))
		}
		if in.err != nil {
			return in.err
		}
		r.order[i].validity.why, r.order[i].bad = why, bad
	}
	if err := in.end(); err != nil {
		return err
	}
	if n == 0 && r.forks == 0 {
		return nil
	}
	for _, log := range r.logs {
		r.judgeLog(log, 1)
	}
	for _, h := range r.order {
		if h.void == "" {
			continue
		}
		if err := r.skip(h, nil); err != nil {
			return err
		}
	}
	return nil
}

// openState opens the tree of a checkpoint, and holds the checkpoint against the graph.
func (r *Replica) openState(ctx context.Context, c *Checkpoint) error {
	mine := r.Checkpoint()
	switch {
	case !slices.Equal(mine.Heads, c.Heads), !slices.Equal(mine.Frontier, c.Frontier):
		return errors.New("the checkpoint is of other commits")
	case !slices.Equal(mine.Voids, c.Voids), mine.Forked != c.Forked:
		return errors.New("the checkpoint is of other void commits")
	}
	return r.openTree(ctx, c)
}

// openTree shows the documents of a checkpoint.
func (r *Replica) openTree(ctx context.Context, c *Checkpoint) error {
	r.acc.load(&c.Accumulator)
	r.docs.entries, r.docs.visible = int(c.Entries), int(c.Documents)
	if c.Entries == 0 {
		return nil
	}
	t, err := r.grove.Open(ctx, tree.Ref{Hash: c.RootHash, ID: c.Root})
	if err != nil {
		return err
	}
	if uint64(t.Count()) != c.Entries {
		return fmt.Errorf("the tree has %d entries, the checkpoint says %d", t.Count(), c.Entries)
	}
	r.docs.base = t
	return nil
}
