package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// maxParkedLinks bounds the links of one team that wait for a parent or a key.
const maxParkedLinks = 4096

// Chain is this device's copy of one team's chain: the pure reducer, the keys that
// open its layers, and its place on disk. Every change goes through mu, after which
// the ledger follows the new state; readers use the immutable state.
type Chain struct {
	n     *Ledger
	id    block.TeamID
	state atomic.Pointer[team.State]
	gens  sync.Map // block.Hint → block.Generation, of every link that made one

	mu      sync.Mutex
	log     *team.Chain
	arrival uint64                         // number of the next link on disk
	parked  map[block.ID]*block.Unverified // waiting for a parent or a key
	queue   []block.ID                     // the parked ones as they came
	unsaved []*block.Block                 // in log, but the disk failed: go first next time
	info    info
	cuts    bool     // there is a link that takes something away
	stood   [32]byte // standing when commits were last judged
	moved   bool     // it is another now: judge commits again
}

// takesAway reports whether a link can end somebody's right to write.
func takesAway(content team.Content) bool {
	switch content.Action() {
	case team.ActRevoke, team.ActSetRole, team.ActRemoveMember, team.ActRemoveDevice, team.ActRemoveDB:
		return true
	}
	return false
}

// standing names what verdicts on commits that are here already depend on: which
// cuts count, and which links do not. Any link can change it once there is a cut:
// an admin who arrives late may put one in force.
func (c *Chain) standing() [32]byte {
	if !c.cuts {
		return [32]byte{}
	}
	h := sha256.New()
	for _, e := range c.log.Log() {
		if !e.Valid || takesAway(e.Content) {
			h.Write(e.ID[:])
			h.Write([]byte(strconv.FormatBool(e.Valid)))
		}
	}
	return [32]byte(h.Sum(nil))
}

// publish shows readers the state of the log.
func (c *Chain) publish() {
	c.state.Store(c.log.State())
	if now := c.standing(); now != c.stood {
		c.stood, c.moved = now, true
	}
}

// settled lets everything follow a state that was published.
func (c *Chain) settled() {
	c.n.follow(c)
	c.mu.Lock()
	moved := c.moved
	c.moved = false
	c.mu.Unlock()
	if moved {
		for _, d := range c.Databases() {
			d.rejudge()
		}
	}
}

// Link composes, signs and stores one link of our own on top of the present heads.
// What the rules do not allow is refused before anything is written.
func (c *Chain) Link(ctx context.Context, content team.Content, boxes []block.BoxGroup) (block.ID, error) {
	id, err := c.add(ctx, content, boxes)
	if err == nil {
		c.settled()
	}
	return id, err
}

func (c *Chain) add(ctx context.Context, content team.Content, boxes []block.BoxGroup) (block.ID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	me := c.n.o.Identity.Device()
	if err := c.log.Check(me, content); err != nil {
		return block.ID{}, err
	}
	st := c.State()
	gen, ok := st.WriteGeneration()
	if !ok || !c.n.keys.Has(c.id, gen) {
		return block.ID{}, fmt.Errorf("team %q has no key this device may write under: wait for a member who can box it", st.Name())
	}
	self, ok := st.Device(me)
	if !ok {
		return block.ID{}, fmt.Errorf("this device is not in team %q", st.Name())
	}
	heads := c.log.Parents()
	h := block.Header{
		Kind: block.KindLink, Team: c.id, Generation: gen, Parents: len(heads), Links: heads,
		Author: me, Seat: self.Seat, Boxes: boxes,
	}
	b, l, err := c.compose(h, content)
	if err != nil {
		return block.ID{}, err
	}
	if err := c.persist(ctx, b); err != nil {
		return block.ID{}, err
	}
	if err := c.log.Add(l); err != nil {
		return block.ID{}, fmt.Errorf("own link: %w", err)
	}
	c.cuts = c.cuts || takesAway(content)
	c.opened(b)
	c.publish()
	return b.ID, nil
}

// compose encodes and seals the layers of a link and signs it.
func (c *Chain) compose(h block.Header, content team.Content) (*block.Block, *team.UnverifiedLink, error) {
	layers, err := team.Encode(content, c.n.Now())
	if err != nil {
		return nil, nil, err
	}
	var body team.Body
	if body.Roster, err = c.n.keys.Seal(vault.Roster, h, layers.Roster); err != nil {
		return nil, nil, err
	}
	if len(layers.Private) > 0 {
		if body.Private, err = c.n.keys.Seal(vault.Private, h, layers.Private); err != nil {
			return nil, nil, err
		}
	}
	b, err := c.n.o.Identity.SignBlock(h, body.Encode())
	if err != nil {
		return nil, nil, err
	}
	l, err := team.Parse(b, layers)
	return b, l, err
}

// persist makes links durable, numbered as they arrived: first those that the disk
// did not take before, or the chain on disk would have a gap.
func (c *Chain) persist(ctx context.Context, blocks ...*block.Block) error {
	blocks = append(slices.Clip(c.unsaved), blocks...)
	batch := c.n.o.Store.NewBatch()
	c.stage(batch, blocks...)
	if err := c.n.durable(ctx, batch); err != nil {
		return fmt.Errorf("store chain of %s: %w", c.id, err)
	}
	c.arrival += uint64(len(blocks))
	c.unsaved = nil
	return nil
}

// stage adds links to a batch, in the order given.
func (c *Chain) stage(batch *store.Batch, blocks ...*block.Block) {
	for i, b := range blocks {
		batch.Set(store.Block(b.ID), b.Data)
		batch.Set(store.LinkIndex(c.id, c.arrival+uint64(i)), b.ID[:])
	}
}

// opened takes what a link that counts brings for us: keys in boxes, and the keys
// of older generations under a new one.
func (c *Chain) opened(b *block.Block) {
	if makes(b) {
		c.gens.Store(b.ID.Hint(), block.Generation(b.ID))
	}
	if _, err := c.n.keys.OpenBoxes(c.id, b.ID, b.Header.Author, b.Header.Boxes); err != nil {
		c.n.o.Log.Warn("lockbox refused", "team", c.id, "link", b.ID, "err", err)
	}
	c.history(b)
}

// makes reports whether a link makes a generation: genesis does, and whatever seals
// the history of keys under a new one.
func makes(b *block.Block) bool {
	body, err := team.ParseBody(b.Body)
	return b.Header.Genesis() || err == nil && len(body.History) > 0
}

// history opens the history layers of a link that makes a generation we hold.
func (c *Chain) history(b *block.Block) {
	body, err := team.ParseBody(b.Body)
	if err != nil || len(body.History) == 0 {
		return // genesis, or no generation made
	}
	gen := block.Generation(b.ID)
	if c.n.keys.Has(c.id, gen) || c.n.keys.HasRoute(c.id, gen) {
		if _, err := c.n.keys.OpenHistory(b.Header, gen, body.History, body.RouteHistory); err != nil {
			c.n.o.Log.Warn("history of keys refused", "team", c.id, "link", b.ID, "err", err)
		}
	}
}

// Receive takes links from a peer (or from disk), in any order. What cannot be
// judged yet waits; what is not allowed is dropped. It returns how many are new.
func (c *Chain) Receive(ctx context.Context, raw [][]byte) (added int, err error) {
	added, err = c.take(ctx, raw)
	if added > 0 {
		c.settled()
	}
	return added, err
}

func (c *Chain) take(ctx context.Context, raw [][]byte) (added int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var fresh []*block.Block
	for _, data := range raw {
		var u *block.Unverified
		if u, err = block.Parse(data); err != nil {
			break
		}
		if u.Kind != block.KindLink || c.log.Has(u.ID) || c.parked[u.ID] != nil {
			continue
		}
		if len(c.parked) == maxParkedLinks {
			fresh = append(fresh, c.settle()...)
		}
		if len(c.parked) == maxParkedLinks {
			// Anybody can send links that wait for ever. Those of honest members are
			// asked for again.
			clear(c.parked)
			c.queue = nil
			err = fmt.Errorf("team %s: more than %d links waited for their parents and were dropped", c.id, maxParkedLinks)
			break
		}
		c.parked[u.ID] = u
		c.queue = append(c.queue, u.ID)
	}
	fresh = append(fresh, c.settle()...)
	added = len(c.unsaved) + len(fresh)
	if added == 0 {
		return 0, err
	}
	if failed := c.persist(ctx, fresh...); failed != nil {
		c.unsaved = append(c.unsaved, fresh...)
		return 0, failed
	}
	c.publish()
	return added, err
}

// settle adds parked links, in the order they came, until nothing moves any more.
func (c *Chain) settle() (fresh []*block.Block) {
	c.bootstrap()
	for progress := true; progress; {
		progress = false
		var waiting []block.ID
		for _, id := range c.queue {
			b, err := c.try(c.parked[id])
			var missing *team.MissingError
			if errors.As(err, &missing) || errors.Is(err, vault.ErrNoKey) || errors.Is(err, errNoGeneration) {
				waiting = append(waiting, id)
				continue
			}
			delete(c.parked, id)
			if err != nil {
				c.n.Refused.Add(1)
				c.n.o.Log.Debug("link refused", "team", c.id, "link", id, "err", err)
				continue
			}
			fresh, progress = append(fresh, b), true
		}
		c.queue = waiting
	}
	return fresh
}

// bootstrap lets a joiner in: the ADMIT it was told of has its box, and from that
// key the history layers open every older one.
func (c *Chain) bootstrap() {
	if u := c.parked[c.info.Seat]; u != nil {
		if gen, ok := c.sealedUnder(u.GenerationHint); ok {
			if b, err := u.Verify(c.id, gen); err == nil {
				c.opened(b)
			}
		}
	}
	for progress := true; progress; {
		progress = false
		for id, u := range c.parked {
			gen := block.Generation(id)
			if u.Kind != block.KindLink || !c.n.keys.Has(c.id, gen) {
				continue
			}
			under, ok := c.sealedUnder(u.GenerationHint)
			if !ok || c.n.keys.Has(c.id, under) {
				continue
			}
			if b, err := u.Verify(c.id, under); err == nil {
				c.history(b)
				progress = c.n.keys.Has(c.id, under)
			}
		}
	}
}

// errNoGeneration: the link is sealed under a generation whose link we lack.
var errNoGeneration = errors.New("sealed under a generation not known yet")

// try verifies, opens and adds one link. That its parents are here is asked first:
// it costs nothing, a signature does.
func (c *Chain) try(u *block.Unverified) (*block.Block, error) {
	if lacking := absent(u.Links[:u.Parents], c.log.Has); len(lacking) > 0 {
		return nil, &team.MissingError{IDs: lacking}
	}
	gen, ok := c.sealedUnder(u.GenerationHint)
	if !ok {
		return nil, errNoGeneration
	}
	b, err := u.Verify(c.id, gen)
	if err != nil {
		return nil, err
	}
	l, err := c.open(b)
	if err != nil {
		return nil, err
	}
	if err := c.log.Add(l); err != nil {
		return nil, err
	}
	c.cuts = c.cuts || takesAway(l.Content)
	c.opened(b)
	return b, nil
}

// open opens the layers of a verified link.
func (c *Chain) open(b *block.Block) (*team.UnverifiedLink, error) {
	body, err := team.ParseBody(b.Body)
	if err != nil {
		return nil, err
	}
	var layers team.Layers
	if layers.Roster, err = c.n.keys.Open(vault.Roster, b.Header, body.Roster); err != nil {
		return nil, err
	}
	if len(body.Private) > 0 {
		if layers.Private, err = c.n.keys.Open(vault.Private, b.Header, body.Private); err != nil {
			return nil, err
		}
	}
	return team.Parse(b, layers)
}

// sealedUnder finds the full id behind a hint: a generation is named by a link, so
// it is one of those the chain has or one that waits.
func (c *Chain) sealedUnder(hint block.Hint) (block.Generation, bool) {
	if g, ok := c.Generation(hint); ok {
		return g, true
	}
	for id := range c.parked {
		if id.Hint() == hint {
			return block.Generation(id), true
		}
	}
	return block.Generation{}, false
}

// openChain replays a chain from disk. Its blocks were verified when they were
// stored; their hashes are checked again.
func (n *Ledger) openChain(id block.TeamID) (*Chain, error) {
	var c *Chain
	var links []*block.Unverified
	for e, err := range n.o.Store.Scan(store.Links(id)) {
		if err != nil {
			return nil, fmt.Errorf("read chain of %s: %w", id, err)
		}
		link, err := store.ID[block.ID](e.Value)
		if err != nil {
			return nil, err
		}
		u, err := n.Stored(link)
		if err != nil {
			return nil, fmt.Errorf("chain of %s: %w", id, err)
		}
		if c == nil {
			if c, err = n.newChain(u); err != nil {
				return nil, err
			}
			continue
		}
		links = append(links, u)
		c.parked[u.ID] = u
	}
	if c == nil || c.id != id {
		return nil, fmt.Errorf("chain of %s has no genesis on disk", id)
	}
	if err := c.readInfo(); err != nil {
		return nil, err
	}
	c.bootstrap()
	for _, u := range links {
		if _, err := c.try(u); err != nil {
			return nil, fmt.Errorf("chain of %s: link %s: %w", id, u.ID, err)
		}
		delete(c.parked, u.ID)
	}
	c.arrival = uint64(len(links)) + 1
	c.publish()
	c.moved = false // no commit has been judged yet
	return c, nil
}

// newChain starts a chain from its genesis block and opens our box in it, if any.
func (n *Ledger) newChain(u *block.Unverified) (*Chain, error) {
	if !u.Genesis() {
		return nil, fmt.Errorf("%s is no genesis link", u.ID)
	}
	b, err := u.Verify(block.TeamID{}, block.Generation{})
	if err != nil {
		return nil, err
	}
	l, err := team.Parse(b, team.Layers{Roster: b.Body})
	if err != nil {
		return nil, err
	}
	log, err := team.NewChain(l)
	if err != nil {
		return nil, err
	}
	c := &Chain{n: n, id: block.TeamID(b.ID), log: log, parked: map[block.ID]*block.Unverified{}}
	c.state.Store(log.State())
	c.gens.Store(b.ID.Hint(), block.Generation(b.ID))
	if _, err := n.keys.OpenBoxes(block.TeamID{}, b.ID, b.Header.Author, b.Header.Boxes); err != nil {
		n.o.Log.Warn("lockbox refused", "team", c.id, "err", err)
	}
	return c, nil
}
