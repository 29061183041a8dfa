package crdt

import (
	"slices"

	"github.com/toftdb/toft/block"
)

// The graph as it travels to a device that takes a checkpoint: one row a commit, in
// the order of arrival of whoever tells it, in chunks
//
//	[IDs 32 bytes each, one byte string; of each commit: actor, time, parent(s), seal … flat]
//
// An actor is its number in the order of first appearance, the next free one stands in
// front of 40 bytes. Time is what the actor's clock moved since its commit before (the
// first: the time itself). Parents are the places earlier at which they stand: one
// number if there is one, else 0 and the list. A seal is 0 if it is that of the first
// parent, else 1 + its number, the next free one in front of generation, seat and team
// heads. Seqs and previous commits follow: an actor's seqs have no gaps, and a graph
// in which an actor forked does not travel.
//
// Everything a row claims beyond its name is the teller's word until the commit's own
// block has come; see [Replica.Witness].

// MaxRowBytes bounds a chunk of rows.
const MaxRowBytes = 512 << 10

// maxRowCost is the most one ordinary row takes; team heads make it longer.
const maxRowCost = 32 + 3 + 40 + 9 + 3 + 5*block.MaxParents + 3 + 34*3 + 34*MaxTeamHeads

// Rows writes down the rows of commits from a place on, as many as fit a chunk and
// stand in front of another place.
func (r *Replica) Rows(from, to int) (chunk []byte) {
	var ids, body []byte
	items := 0
	for i := from; i < min(to, len(r.order)); i++ {
		h := r.order[i]
		if len(ids)+len(body)+maxRowCost > MaxRowBytes {
			break
		}
		ids = append(ids, h.ID[:]...)
		var n int
		body, n = r.appendRow(body, h)
		items += n
	}
	if items == 0 {
		return nil
	}
	return append(appendBytes(appendHead(nil, majorArray, uint64(items)+1), ids), body...)
}

// appendRow adds what stands in a row beside the ID, and returns how many items it is.
func (r *Replica) appendRow(b []byte, h *held) (_ []byte, items int) {
	items = 4
	if r.logs[h.actor].commits[0] == h {
		b, items = append(appendBytesHead(appendUint(b, uint64(h.actor)), 40), h.Actor.Device[:]...), items+1
		b = append(b, h.Actor.Incarnation[:]...)
	} else {
		b = appendUint(b, uint64(h.actor))
	}
	t := h.Time
	if h.prev != nil {
		t -= h.prev.Time
	}
	b = appendUint(b, uint64(t))
	if len(h.Parents) == 1 {
		b = appendUint(b, uint64(h.index-r.commits[h.Parents[0]].index))
	} else {
		b, items = appendHead(appendUint(b, 0), majorArray, uint64(len(h.Parents))), items+1
		for _, id := range h.Parents {
			b = appendUint(b, uint64(h.index-r.commits[id].index))
		}
	}
	if len(h.Parents) > 0 && r.commits[h.Parents[0]].seal == h.seal {
		return appendUint(b, 0), items
	}
	b = appendUint(b, uint64(h.seal)+1)
	if s := &r.seals[h.seal]; s.first == h.index {
		b, items = appendIDs(appendBytes(appendBytes(b, s.generation[:]), s.seat[:]), s.team), items+3
	}
	return b, items
}

func appendBytesHead(b []byte, n uint64) []byte { return appendHead(b, majorBytes, n) }

// ReadRows puts the commits of a chunk behind those that were read before, as commits
// without operations, and returns how many they were; most bounds how many there may
// be. After an error the replica is of no use.
func (r *Replica) ReadRows(chunk []byte, most int) (n int, err error) {
	if len(chunk) > MaxRowBytes {
		return 0, malformed("chunk of %d bytes", len(chunk))
	}
	in := reader{b: chunk}
	items := in.array(len(chunk)) - 1
	ids := in.take(in.want(majorBytes, "names of commits"))
	if n = len(ids) / 32; in.err == nil && (n == 0 || len(ids)%32 != 0 || n > most) {
		in.fail("rows of %d bytes of names, %d commits are left", len(ids), most)
	}
	for i := range n {
		if in.err != nil {
			break
		}
		if h := r.readRow(&in, block.ID(ids[32*i:32*i+32]), &items); in.err == nil {
			r.insert(h)
		}
	}
	if in.err == nil && items != 0 {
		in.fail("%d items left over", items)
	}
	return n, in.end()
}

func (r *Replica) readRow(in *reader, id block.ID, items *int) *held {
	h := &held{Commit: Commit{origin: &origin{}, content: r.none}, index: len(r.order), gone: true}
	h.ID, h.DB = id, r.db
	*items -= 4
	if _, twice := r.commits[id]; twice {
		in.fail("commit %s twice", id)
		return nil
	}
	r.readAuthor(in, h, items)
	parents := r.readParents(in, items)
	if in.err != nil {
		return nil
	}
	h.Parents = make([]block.ID, len(parents))
	for i, p := range parents {
		h.Parents[i] = p.ID
		h.follow(p, i == 0)
	}
	if !ascending(h.Parents, compareIDs) {
		in.fail("parents of %s are not sorted", id)
	}
	r.readSeal(in, h, parents, items)
	return h
}

// readAuthor reads who wrote a commit, and when.
func (r *Replica) readAuthor(in *reader, h *held, items *int) {
	h.actor, h.Seq = int(in.uint(uint64(min(len(r.logs), MaxActors-1)))), 1
	if h.actor == len(r.logs) {
		raw := in.bytes(40)
		*items--
		h.Actor = block.Actor{Device: block.Device(raw[:32]), Incarnation: block.Incarnation(raw[32:])}
		if _, twice := r.actors[h.Actor]; twice {
			in.fail("actor in two places")
		}
		h.actor = -1
		h.Time = in.time()
	} else {
		log := r.logs[h.actor]
		h.Actor, h.prev = log.actor, log.commits[len(log.commits)-1]
		h.Prev, h.Seq = h.prev.ID, h.prev.Seq+1
		if h.Time = h.prev.Time + in.time(); in.err == nil && (h.Time <= h.prev.Time || !h.Time.Valid()) {
			in.fail("time does not increase")
		}
	}
}

func (r *Replica) readParents(in *reader, items *int) (parents []*held) {
	if n := in.uint(uint64(len(r.order))); in.err != nil || n > 0 {
		if in.err == nil {
			parents = append(parents, r.order[len(r.order)-int(n)])
		}
		return parents
	}
	n := in.array(block.MaxParents)
	*items--
	if n == 1 {
		in.fail("one parent stands alone")
	}
	for range n {
		back := in.positive(uint64(len(r.order)))
		if in.err != nil {
			return nil
		}
		parents = append(parents, r.order[len(r.order)-int(back)])
	}
	return parents
}

func (r *Replica) readSeal(in *reader, h *held, parents []*held, items *int) {
	n := int(in.uint(uint64(len(r.seals)) + 1))
	if in.err != nil {
		return
	}
	var s seal
	switch {
	case n == 0 && len(parents) > 0:
		s = r.seals[parents[0].seal]
	case n > len(r.seals):
		s = seal{generation: block.Generation(in.hash()), seat: block.ID(in.hash()), team: in.ids(MaxTeamHeads)}
		*items -= 3
	case n > 0:
		s = r.seals[n-1]
	default:
		in.fail("seal of no parent")
	}
	h.Generation, h.Seat, h.TeamHeads = s.generation, s.seat, s.team
	switch {
	case in.err != nil:
	case n > maxSeals:
		in.fail("more than %d seals", maxSeals)
	case n > 0 && len(parents) > 0 && r.seals[parents[0].seal].of(&h.Commit),
		n > len(r.seals) && slices.ContainsFunc(r.seals, func(k seal) bool { return k.of(&h.Commit) }):
		in.fail("seal is written down elsewhere")
	}
}

// maxSeals bounds what rows may name of generations, seats and team heads: each new
// one is compared with all others.
const maxSeals = 1 << 15

// Witness holds a commit, opened and its linked blocks filled in, against what the
// graph says of it. An error wraps [ErrMalformed]: whoever told the row, told it wrong.
func (r *Replica) Witness(c *Commit) error {
	h, ok := r.commits[c.ID]
	if !ok {
		return malformed("commit %s is not in the graph", c.ID)
	}
	same := h.Actor == c.Actor && h.Seq == c.Seq && h.Time == c.Time && h.Prev == c.Prev && slices.Equal(h.Parents, c.Parents) &&
		h.Generation == c.Generation && h.Seat == c.Seat && slices.Equal(h.TeamHeads, c.TeamHeads)
	for i, p := range c.parents {
		same = same && r.commits[c.Parents[i]].dot() == p
	}
	if !same {
		return malformed("commit %s is not what its row says", c.ID)
	}
	return nil
}
