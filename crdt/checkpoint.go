package crdt

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// Checkpoint names a state and what it comes from, so that a replica can start
// from the state's tree instead of from the first commit. Everything in it can be
// checked: the frontier's commits are fetched, the digest is recomputed from the
// entries.
type Checkpoint struct {
	Secret   uint64
	Frontier []Pin      // sorted by actor; not empty
	Heads    []block.ID // sorted, 1–64; parents in the header
	Voids    []block.ID // sorted: commits at or below the frontier that do not count
	Forked   bool       // an actor at or below the frontier wrote twice under one seq
	// Lanes of the digest's accumulator, little-endian uint16.
	Accumulator [2048]byte
	Root        block.ID // of the tree; zero if there are no entries
	RootHash    [32]byte // keyed hash of the tree; zero if there are no entries
	Entries     uint64   // documents of which something is kept
	Documents   uint64   // documents that are there
	TeamHeads   []block.ID
	Time        wire.Time

	parts  []block.ID
	filled [][]byte
	void   [32]byte // claimed; checked when all parts are there
}

// Pin is an actor's newest commit with its full ID.
type Pin struct {
	Actor block.Actor
	Seq   uint64
	ID    block.ID
}

// Digest is the SHA-256 of the accumulator.
func (c *Checkpoint) Digest() [32]byte { return sha256.Sum256(c.Accumulator[:]) }

const (
	checkpointVersion = 1
	// maxInlineLists is how much frontier and void list a checkpoint carries itself;
	// more of them stand in linked parts.
	maxInlineLists = 256 << 10
	maxParts       = 32
)

// A checkpoint as plaintext, a map of
//
//	 1 version      1
//	 2 secret       number of the database secret; absent: 0
//	 3 frontier     [[actor 40 bytes, seq, ID] …] sorted; absent if in parts
//	 4 voids        [ID …] sorted; absent if none or in parts
//	 5 parts        number of linked value blocks {1: frontier rows, 2: voids} that
//	                hold both lists, one after another; absent: 0
//	 6 void         hash of the voids; absent if none
//	 7 forked       true; absent: false
//	 8 accumulator  2,048 bytes
//	 9 digest       SHA-256 of it
//	10 root hash    32 bytes; absent if there are no entries
//	11 entries      absent: 0
//	12 documents    absent: 0
//	13 team         [ID …] team heads, sorted, 1–64
//	14 time         ms
//
// The header's parents are the heads; links behind them: the root of the tree if
// there are entries, then the parts.

// Encode returns the plaintext and the plaintexts of the parts, to be sealed as
// [block.KindValue] and linked behind the root.
func (c *Checkpoint) Encode() (plain []byte, parts [][]byte, err error) {
	if err := c.check(); err != nil {
		return nil, nil, err
	}
	if c.long() {
		parts = c.encodeParts()
	}
	n := uint64(5)
	voids, inline := HashVoids(slices.Clone(c.Voids)), len(parts) == 0
	for _, present := range []bool{
		c.Secret != 0, inline, inline && len(c.Voids) > 0, !inline, len(c.Voids) > 0, c.Forked,
		c.Entries > 0, c.Entries > 0, c.Documents > 0,
	} {
		if present {
			n++
		}
	}
	b := appendUint(append(appendHead(nil, majorMap, n), 1), checkpointVersion)
	if c.Secret != 0 {
		b = appendUint(append(b, 2), c.Secret)
	}
	if inline {
		b = appendPins(append(b, 3), c.Frontier)
		if len(c.Voids) > 0 {
			b = appendIDs(append(b, 4), c.Voids)
		}
	} else {
		b = appendUint(append(b, 5), uint64(len(parts)))
	}
	if len(c.Voids) > 0 {
		b = appendBytes(append(b, 6), voids[:])
	}
	if c.Forked {
		b = append(b, 7, cborTrue)
	}
	digest := c.Digest()
	b = appendBytes(append(appendBytes(append(b, 8), c.Accumulator[:]), 9), digest[:])
	if c.Entries > 0 {
		b = appendUint(append(appendBytes(append(b, 10), c.RootHash[:]), 11), c.Entries)
	}
	if c.Documents > 0 {
		b = appendUint(append(b, 12), c.Documents)
	}
	return appendUint(append(appendIDs(append(b, 13), c.TeamHeads), 14), uint64(c.Time)), parts, nil
}

// long reports that the lists are too long to stand in the checkpoint itself.
func (c *Checkpoint) long() bool { return 85*len(c.Frontier)+34*len(c.Voids) > maxInlineLists }

func appendPins(b []byte, pins []Pin) []byte {
	b = appendHead(b, majorArray, uint64(len(pins)))
	for i := range pins {
		p := &pins[i]
		b = appendHead(append(b, majorArray<<5|3), majorBytes, 40)
		b = append(append(b, p.Actor.Device[:]...), p.Actor.Incarnation[:]...)
		b = appendBytes(appendUint(b, p.Seq), p.ID[:])
	}
	return b
}

// encodeParts cuts the lists into parts of about 512 KiB.
func (c *Checkpoint) encodeParts() (parts [][]byte) {
	const perPin, perVoid = opBlockSize / 85, opBlockSize / 34
	for rows := range slices.Chunk(c.Frontier, perPin) {
		parts = append(parts, appendPins([]byte{majorMap<<5 | 1, 1}, rows))
	}
	for ids := range slices.Chunk(c.Voids, perVoid) {
		parts = append(parts, appendIDs([]byte{majorMap<<5 | 1, 2}, ids))
	}
	return parts
}

// check holds the fields against each other.
func (c *Checkpoint) check() error {
	switch {
	case len(c.Frontier) == 0 || len(c.Frontier) > MaxActors || len(c.Voids) > MaxVoids:
		return malformed("checkpoint of %d actors and %d void commits", len(c.Frontier), len(c.Voids))
	case len(c.Heads) == 0 || len(c.Heads) > block.MaxParents:
		return malformed("checkpoint of %d heads", len(c.Heads))
	case len(c.TeamHeads) == 0 || len(c.TeamHeads) > MaxTeamHeads || !c.Time.Valid():
		return malformed("checkpoint with %d team heads, or without a time", len(c.TeamHeads))
	case c.Documents > c.Entries || c.Entries > maxSeq:
		return malformed("checkpoint of %d documents in %d entries", c.Documents, c.Entries)
	case (c.Entries > 0) != !c.Root.IsZero() || (c.Entries > 0) != (c.RootHash != [32]byte{}):
		return malformed("checkpoint of %d entries and its tree", c.Entries)
	}
	if !ascending(c.Frontier, func(a, b Pin) int { return compareActors(&a.Actor, &b.Actor) }) ||
		!ascending(c.Heads, compareIDs) || !ascending(c.Voids, compareIDs) || !ascending(c.TeamHeads, compareIDs) {
		return malformed("lists of a checkpoint are not sorted")
	}
	return nil
}

// ascending reports that a list is sorted and has no duplicates.
func ascending[T any](list []T, compare func(a, b T) int) bool {
	for i := 1; i < len(list); i++ {
		if compare(list[i-1], list[i]) >= 0 {
			return false
		}
	}
	return true
}

// ParseCheckpoint reads the plaintext of a verified checkpoint block. Its parts
// must be filled in before Frontier and Voids are complete.
func ParseCheckpoint(b *block.Block, plain []byte) (*Checkpoint, error) {
	h := b.Header
	if h.Kind != block.KindCheckpoint {
		return nil, malformed("block %s is no checkpoint", b.ID)
	}
	if len(plain) > maxPlain {
		return nil, malformed("checkpoint of %d bytes", len(plain))
	}
	c := &Checkpoint{Heads: h.Links[:h.Parents]}
	r := reader{b: plain}
	n, last, seen := r.pairs(14), uint64(0), uint64(0)
	for range n {
		k := r.key(&last)
		if seen |= 1 << min(k, 63); r.err != nil {
			break
		}
		c.field(&r, k)
	}
	const must = 1<<1 | 1<<8 | 1<<9 | 1<<13 | 1<<14
	if r.err == nil && (seen&must != must || (seen>>3&1 == 1) == (seen>>5&1 == 1) || seen>>5&1 == 1 && seen>>4&1 == 1) {
		r.fail("fields of the checkpoint")
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", b.ID, err)
	}
	if err := c.resolve(h.Links[h.Parents:]); err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", b.ID, err)
	}
	return c, nil
}

func (c *Checkpoint) field(r *reader, k uint64) {
	switch k {
	case 1:
		if r.uint(255) != checkpointVersion {
			r.fail("checkpoint of a newer version: upgrade toft")
		}
	case 2:
		c.Secret = r.positive(1 << 16)
	case 3:
		c.Frontier = r.pins()
	case 4:
		if c.Voids = r.ids(MaxVoids); r.err == nil && len(c.Voids) == 0 {
			r.fail("empty list")
		}
	case 5:
		c.parts = make([]block.ID, r.positive(maxParts))
	case 6:
		c.void = r.hash()
	case 7:
		if c.Forked = true; string(r.take(1)) != "\xf5" {
			r.fail("forked is true or absent")
		}
	case 8:
		copy(c.Accumulator[:], r.bytes(2048))
	case 9:
		if d := r.hash(); r.err == nil && d != c.Digest() {
			r.fail("digest is not that of the accumulator")
		}
	case 10:
		c.RootHash = r.hash()
	case 11:
		c.Entries = r.positive(maxSeq)
	case 12:
		c.Documents = r.positive(maxSeq)
	case 13:
		c.TeamHeads = r.ids(MaxTeamHeads)
	case 14:
		c.Time = r.time()
	default:
		r.fail("unknown field %d of a checkpoint", k)
	}
}

// pins reads rows of a frontier with full IDs.
func (r *reader) pins() []Pin {
	n := r.array(MaxActors)
	if r.err == nil && n == 0 {
		r.fail("empty list")
	}
	list := make([]Pin, 0, min(n, len(r.b)/77+1))
	for range n {
		if r.array(3) != 3 {
			r.fail("row of a frontier")
		}
		raw := r.bytes(40)
		p := Pin{
			Actor: block.Actor{Device: block.Device(raw[:32]), Incarnation: block.Incarnation(raw[32:])},
			Seq:   r.positive(maxSeq), ID: block.ID(r.hash()),
		}
		if k := len(list); k > 0 && r.err == nil && compareActors(&list[k-1].Actor, &p.Actor) >= 0 {
			r.fail("frontier is not sorted")
		}
		if r.err != nil {
			return nil
		}
		list = append(list, p)
	}
	return list
}

// resolve gives the links their meaning and checks what can be checked.
func (c *Checkpoint) resolve(links []block.ID) error {
	if c.Entries > 0 {
		if len(links) == 0 {
			return malformed("no link to the tree")
		}
		c.Root, links = links[0], links[1:]
	}
	if len(links) != len(c.parts) || !unique(links) {
		return malformed("%d links for %d parts", len(links), len(c.parts))
	}
	copy(c.parts, links)
	c.filled = make([][]byte, len(links))
	if len(c.parts) > 0 {
		probe := *c
		probe.Frontier = make([]Pin, 1) // comes with the parts
		return probe.check()
	}
	return c.complete()
}

func (c *Checkpoint) complete() error {
	if HashVoids(slices.Clone(c.Voids)) != c.void {
		return malformed("void hash is not that of the void commits")
	}
	if c.long() != (len(c.parts) > 0) {
		return malformed("lists are where they do not belong")
	}
	return c.check()
}

// Parts returns the linked blocks that hold the lists, in order.
func (c *Checkpoint) Parts() []block.ID { return c.parts }

// Fill hands in the plaintext of a part.
func (c *Checkpoint) Fill(id block.ID, plain []byte) error {
	i := slices.Index(c.parts, id)
	if i < 0 || len(plain) == 0 || len(plain) > maxPlain {
		return malformed("block %s is no part of the checkpoint", id)
	}
	if c.filled[i] = plain; slices.ContainsFunc(c.filled, func(b []byte) bool { return b == nil }) {
		return nil
	}
	var pins []Pin
	var voids []block.ID
	for _, b := range c.filled {
		r := reader{b: b}
		if r.pairs(1) != 1 {
			r.fail("part of a checkpoint")
		}
		switch k := r.uint(2); {
		case k == 1 && len(voids) == 0:
			pins = append(pins, r.pins()...)
		case k == 2:
			voids = append(voids, r.ids(MaxVoids)...)
		default:
			r.fail("part of a checkpoint")
		}
		if err := r.end(); err != nil {
			return err
		}
	}
	c.Frontier, c.Voids = pins, voids
	if err := c.complete(); err != nil {
		return err
	}
	if want := c.encodeParts(); !slices.EqualFunc(want, c.filled, func(a, b []byte) bool { return string(a) == string(b) }) {
		return malformed("parts are not cut where they should be")
	}
	return nil
}

// Checkpoint describes the present state; the caller adds the tree, the team heads
// and the time.
func (r *Replica) Checkpoint() *Checkpoint {
	c := &Checkpoint{
		Heads: r.heads, Forked: r.forks > 0, Accumulator: r.acc.bytes(),
		Entries: uint64(r.docs.entries), Documents: uint64(r.docs.visible),
	}
	for _, log := range r.logs {
		h := log.commits[len(log.commits)-1]
		c.Frontier = append(c.Frontier, Pin{log.actor, h.Seq, h.ID})
	}
	slices.SortFunc(c.Frontier, func(a, b Pin) int { return compareActors(&a.Actor, &b.Actor) })
	for id := range r.voids {
		c.Voids = append(c.Voids, id)
	}
	slices.SortFunc(c.Voids, compareIDs)
	return c
}
