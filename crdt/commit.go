package crdt

import (
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/wire"
)

// Commit is one signed batch of operations by one actor, with links to what its
// author had seen. Its fields must not be changed.
type Commit struct {
	ID block.ID
	*origin
	Seq     uint64   // 1, 2, 3 … per actor
	Prev    block.ID // the actor's commit before this one; zero at seq 1
	Parents []block.ID
	Time    wire.Time // the author's clock, increasing per actor
	*content
}

// origin is what the commits of an actor have in common, until a link of the chain is
// made: those in a graph share it.
type origin struct {
	DB         block.DBID
	Generation block.Generation
	Actor      block.Actor
	Seat       block.ID   // the team link that admitted the author
	TeamHeads  []block.ID // of the chain as the author had applied it
}

// content is the rest, which leaves memory when the commit was applied and can be read
// again: see [Replica.Load].
type content struct {
	// Digest of the state the commit leads to, valid if HasDigest. It is absent only
	// in a merge of the lowest 64 of more heads.
	Digest    [32]byte
	HasDigest bool
	Void      [32]byte // hash of the void commits in its past; zero: none

	secret   uint64
	parents  []Dot // of Parents
	ctx      opContext
	links    []block.ID // behind the parents: operation, value and file blocks
	opBlocks int
	values   int
	inline   []byte   // the operation list, if it stands in the commit
	blocks   [][]byte // else: operation blocks; filled in
	cells    [][]byte // value blocks; filled in
	ops      []op     // decoded; a replica drops them once applied
}

// ParseCommit reads the plaintext of a verified commit block, which it keeps. An
// error wraps [ErrMalformed]: no replica takes such a commit, so nothing honest is
// built on it.
func ParseCommit(b *block.Block, plain []byte) (*Commit, error) {
	body, err := decodeBody(plain)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", b.ID, err)
	}
	c, err := newCommit(b, body)
	if err == nil && c.opBlocks == 0 { // else when the blocks are filled in
		err = c.decode()
	}
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", b.ID, err)
	}
	return c, nil
}

// Commit returns what [ParseCommit] reads from the block that a draft was sealed
// into, without reading it: of what was just made nothing has to be checked.
func (d *Draft) Commit(b *block.Block) (*Commit, error) {
	c, err := newCommit(b, d.body)
	if err != nil {
		return nil, fmt.Errorf("own commit %s: %w", b.ID, err)
	}
	if planted.Bug("crdt-own-commit-reads-otherwise") {
		c.Prev = block.ID{}
	}
	return c, nil
}

// newCommit puts a commit together, its operations not yet decoded, and holds the
// body against the header.
func newCommit(b *block.Block, body *body) (*Commit, error) {
	h := &b.Header
	if h.Kind != block.KindCommit {
		return nil, malformed("block %s is no commit", b.ID)
	}
	c := &Commit{
		ID: b.ID, Seq: body.seq, Prev: body.prev, Parents: h.Links[:h.Parents], Time: body.time,
		origin: &origin{
			DB: h.DB, Generation: h.Generation, Seat: h.Seat, TeamHeads: body.team,
			Actor: block.Actor{Device: h.Author, Incarnation: body.incarnation},
		},
		content: &content{
			Digest: body.digest, HasDigest: body.hasDigest, Void: body.void, secret: body.secret,
			links: h.Links[h.Parents:], opBlocks: body.opBlocks, values: body.values, inline: body.ops,
		},
	}
	c.ctx = opContext{dot: Dot{c.Actor, c.Seq}, time: c.Time, actors: append([]block.Actor{c.Actor}, body.actors...), links: c.links}
	return c, c.check(body)
}

// check holds the body against the header.
func (c *Commit) check(body *body) error {
	if slices.Contains(c.ctx.actors[1:], c.Actor) {
		return malformed("author in the actor table")
	}
	if err := c.checkParents(body); err != nil {
		return err
	}
	if c.opBlocks+c.values > len(c.links) {
		return malformed("%d links, %d operation and %d value blocks", len(c.links), c.opBlocks, c.values)
	}
	if !unique(c.links) {
		return malformed("a linked block is named twice")
	}
	c.blocks, c.cells = make([][]byte, c.opBlocks), make([][]byte, c.values)
	return nil
}

// checkParents resolves the actors of the parents and finds prev among them.
func (c *Commit) checkParents(body *body) error {
	pairs := body.parents
	before := parent{0, c.Seq - 1}
	if pairs == nil && len(c.Parents) == 1 {
		pairs = []parent{before}
	} else if len(pairs) == 1 && pairs[0] == before {
		return malformed("parent is spelled out")
	}
	if len(pairs) != len(c.Parents) {
		return malformed("%d parents in the header, %d inside", len(c.Parents), len(pairs))
	}
	var own []block.ID
	for i, p := range pairs {
		if p.actor >= len(c.ctx.actors) || p.seq == 0 || p.actor == 0 && p.seq >= c.Seq {
			return malformed("parent %d", i)
		}
		if p == before {
			own = append(own, c.Parents[i])
		}
		c.parents = append(c.parents, c.ctx.at(p.actor, p.seq))
	}
	if len(own) == 1 && body.prev.IsZero() {
		c.Prev = own[0]
	} else if len(own) == 1 && body.prev == own[0] {
		return malformed("previous commit is spelled out")
	}
	if (c.Seq > 1) != !c.Prev.IsZero() {
		return malformed("previous commit")
	}
	return nil
}

func unique(ids []block.ID) bool {
	if len(ids) < 2 {
		return true
	}
	seen := make(map[block.ID]struct{}, len(ids))
	for _, id := range ids {
		seen[id] = struct{}{}
	}
	return len(seen) == len(ids)
}

// decode reads the operations and checks that actors and links are used.
func (c *Commit) decode() error {
	r := opReader{ctx: &c.ctx, used: make([]bool, len(c.ctx.actors))}
	end := c.opBlocks + c.values
	r.values = linkUse{c.opBlocks, c.opBlocks, end}
	r.files = linkUse{end, end, len(c.links)}
	for _, d := range c.parents {
		r.used[slices.Index(c.ctx.actors, d.Actor)] = true
	}
	lists := c.blocks
	if c.opBlocks == 0 && c.inline != nil {
		lists = [][]byte{c.inline}
	}
	var ops []op
	for _, b := range lists {
		r.b = b
		n := r.array(MaxOps - len(ops))
		if r.err == nil && n == 0 {
			r.fail("empty operation list")
		}
		ops = slices.Grow(ops, n)
		for range n {
			ops = append(ops, r.op())
			if r.err != nil {
				return r.err
			}
		}
		if err := r.end(); err != nil {
			return err
		}
	}
	if r.values.next != r.values.end || r.files.next != r.files.end {
		return malformed("a linked block is not used")
	}
	if i := slices.Index(r.used[1:], false); i >= 0 {
		return malformed("actor %d is not used", i+1)
	}
	if !distinct(ops) {
		return malformed("two operations on one document")
	}
	c.ops = ops
	return nil
}

func distinct(ops []op) bool {
	if len(ops) < 2 {
		return true
	}
	seen := make(map[string]struct{}, len(ops))
	for i := range ops {
		seen[ops[i].id] = struct{}{}
	}
	return len(seen) == len(ops)
}

// Linked returns the blocks that must be filled in before the commit can be added:
// its operation and value blocks. Files are fetched when they are read.
func (c *Commit) Linked() []block.ID { return c.links[:c.opBlocks+c.values] }

// Fill hands in the plaintext of a linked block, which the commit keeps. Blocks
// may come in any order.
func (c *Commit) Fill(id block.ID, plain []byte) error {
	i := slices.Index(c.Linked(), id)
	switch {
	case i < 0:
		return malformed("commit %s does not link block %s", c.ID, id)
	case len(plain) == 0 || len(plain) > maxPlain:
		return malformed("block %s of %d bytes", id, len(plain))
	case i >= c.opBlocks:
		if _, err := DecodeValue(plain); err != nil {
			return fmt.Errorf("value %s of commit %s: %w", id, c.ID, err)
		}
		c.cells[i-c.opBlocks] = plain
		return nil
	}
	if c.blocks[i] = plain; slices.ContainsFunc(c.blocks, func(b []byte) bool { return b == nil }) {
		return nil
	}
	if err := c.decode(); err != nil {
		return fmt.Errorf("commit %s: %w", c.ID, err)
	}
	return nil
}

// complete reports that every linked block was filled in.
func (c *Commit) complete() bool {
	empty := func(b []byte) bool { return b == nil }
	return !slices.ContainsFunc(c.blocks, empty) && !slices.ContainsFunc(c.cells, empty)
}

// operations returns the decoded operations; those of a commit that was applied
// are decoded anew.
func (c *Commit) operations() []op {
	if c.ops != nil || c.opBlocks == 0 && c.inline == nil {
		return c.ops
	}
	again, read := *c, *c.content
	again.content = &read
	if err := again.decode(); err != nil {
		panic(fmt.Sprintf("crdt: commit %s no longer decodes: %v", c.ID, err))
	}
	return again.ops
}

// Docs returns the ids of the documents the commit changes, in its order. Those of a
// commit that a replica holds may have left memory: ask [Replica.Load] for it.
func (c *Commit) Docs() []string {
	ids := make([]string, 0, 1)
	for _, o := range c.operations() {
		ids = append(ids, o.id)
	}
	return ids
}
