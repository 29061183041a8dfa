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

// maxParkedLinks and maxParkedBytes bound the links of one team that wait for a parent
// or a key: nothing of them is verified yet, and somebody who is out may send them.
const (
	maxParkedLinks = 4096
	maxParkedBytes = 32 << 20
)

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
	arrival uint64                            // number of the next link on disk
	parked  map[block.ID]*block.Unverified    // waiting for a parent or a key
	queue   []block.ID                        // the parked ones as they came
	pace    pace                              // of links on old heads
	unsaved []*block.Block                    // in log, but the disk failed: go first next time
	made    map[block.Generation][]block.ID   // links in log that made one → their parents
	closed  map[block.Generation]*block.Block // those whose history layer was not opened yet
	wanted  map[block.ID]*block.Block         // blocks that a link names and that are not here
	forgers []block.Device                    // whose links hold forged admissions; see forged.go
	news    chan struct{}                     // closed at the next change
	info    info
	waits   waiting
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

// standingNow returns what verdicts hang on now.
func (c *Chain) standingNow() [32]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stood
}

// settled lets everything follow a state that was published.
func (c *Chain) settled() {
	c.n.follow(c)
	c.mu.Lock()
	close(c.news)
	c.news = make(chan struct{})
	moved := c.moved
	c.moved = false
	c.mu.Unlock()
	if moved {
		for _, d := range c.Databases() {
			d.rejudge()
		}
	}
}

// Receive takes links from a peer (or from disk), in any order. What cannot be
// judged yet waits; what is not allowed is dropped. It returns how many are new.
func (c *Chain) Receive(ctx context.Context, raw [][]byte) (added int, err error) {
	forgers := c.forging()
	added, err = c.take(ctx, raw)
	if added > 0 || c.forging() > forgers {
		c.settled()
	}
	return added, err
}

func (c *Chain) take(ctx context.Context, raw [][]byte) (added int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var fresh []*block.Block
	size := c.parkedBytes()
	full := func(more int) bool { return len(c.parked) == maxParkedLinks || size+more > maxParkedBytes }
	for _, data := range raw {
		var u *block.Unverified
		if u, err = block.Parse(data); err != nil {
			break
		}
		if u.Kind != block.KindLink || c.log.Has(u.ID) || c.parked[u.ID] != nil {
			continue
		}
		if full(len(data)) {
			fresh = append(fresh, c.settle(c.newBatch(true))...)
			size = c.parkedBytes()
		}
		if full(len(data)) {
			// Anybody can send links that wait for ever. Those of honest members are
			// asked for again.
			clear(c.parked)
			clear(c.pace.held)
			c.queue = nil
			err = fmt.Errorf("team %s: more than %d links, or %d bytes of them, waited for their parents and were dropped", c.id, maxParkedLinks, maxParkedBytes)
			break
		}
		c.parked[u.ID] = u
		c.queue = append(c.queue, u.ID)
		size += len(data)
	}
	added, failed := c.absorb(ctx, fresh...)
	return added, errors.Join(failed, err)
}

// parkedBytes is how many bytes the links take that wait.
func (c *Chain) parkedBytes() (size int) {
	for _, u := range c.parked {
		size += len(u.Data())
	}
	return size
}

// absorb adds what can be added of the parked links and makes it durable, behind
// those that were added before.
func (c *Chain) absorb(ctx context.Context, fresh ...*block.Block) (added int, err error) {
	fresh = append(fresh, c.settle(c.newBatch(false))...)
	if c.crowded() {
		fresh = append(fresh, c.settle(c.newBatch(true))...)
	}
	added = len(c.unsaved) + len(fresh)
	if added == 0 {
		return 0, nil
	}
	if err := c.persist(ctx, nil, fresh...); err != nil {
		c.unsaved = append(c.unsaved, fresh...)
		return 0, err
	}
	c.publish()
	return added, nil
}

// settle adds parked links, in the order they came, until nothing moves any more.
func (c *Chain) settle(s *batch) (fresh []*block.Block) {
	c.bootstrap()
	for progress := true; progress; {
		progress = false
		var waiting []block.ID
		for _, id := range c.queue {
			b, err := s.try(c.parked[id])
			var missing *team.MissingError
			if errors.As(err, &missing) || errors.Is(err, vault.ErrNoKey) || errors.Is(err, errNoGeneration) || errors.Is(err, errHeld) {
				waiting = append(waiting, id)
				continue
			}
			delete(c.parked, id)
			if err != nil {
				c.n.Refused.Add(1)
				c.n.o.Log.Debug("link refused", "team", c.id, "link", id, "err", err)
				c.noteForged(err)
				continue
			}
			fresh, progress = append(fresh, b), true
		}
		c.queue = waiting
		progress = progress || len(c.pace.held) > 0 && s.release(waiting)
	}
	return fresh
}

// bootstrap opens boxes in links that wait, for they may wait for what is in them.
// It lets a joiner in: the ADMIT it was told of has its box, and from that key the
// history layers open every older one. And it takes the box that mends a missing
// one: of a generation whose link was added, so that its commitment is known and no
// other key can be slipped under its name.
func (c *Chain) bootstrap() {
	for _, u := range c.parked {
		if b := c.mending(u); b != nil {
			c.unbox(b, b.Header.Boxes)
			c.unfold()
		}
	}
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
				progress = c.history(b) > 0 || progress
			}
		}
	}
}

// mending returns a parked link, verified, that boxes a key we lack of a generation
// that was added; else nil.
func (c *Chain) mending(u *block.Unverified) *block.Block {
	if !slices.ContainsFunc(u.Boxes(), func(g block.BoxGroup) bool {
		_, made := c.made[g.Generation]
		return made && !c.n.keys.Has(c.id, g.Generation)
	}) {
		return nil
	}
	under, ok := c.sealedUnder(u.GenerationHint)
	if !ok {
		return nil
	}
	b, err := u.Verify(c.id, under)
	if err != nil {
		return nil
	}
	return b
}

// errNoGeneration: the link is sealed under a generation whose link we lack.
var errNoGeneration = errors.New("sealed under a generation not known yet")

// replay adds a link of our own store, which was verified when it came, and whose bytes
// were hashed again.
func (c *Chain) replay(u *block.Unverified) (*block.Block, error) { return c.accept(u, u.Resolve, nil) }

// accept verifies, opens and adds one link. That its parents are here is asked first:
// it costs nothing, a signature does.
// The gate, if any, may have it wait behind that.
func (c *Chain) accept(u *block.Unverified, verify func(block.TeamID, block.Generation) (*block.Block, error), gate func(*block.Unverified) error) (*block.Block, error) {
	if lacking := absent(u.Links[:u.Parents], c.log.Has); len(lacking) > 0 {
		return nil, &team.MissingError{IDs: lacking}
	}
	gen, ok := c.sealedUnder(u.GenerationHint)
	if !ok {
		return nil, errNoGeneration
	}
	b, err := verify(c.id, gen)
	if err != nil {
		return nil, err
	}
	l, err := c.open(b)
	if err != nil {
		return nil, err
	}
	if gate != nil {
		if err := gate(u); err != nil {
			return nil, err
		}
	}
	if err := c.log.Add(l); err != nil {
		return nil, err
	}
	c.joined(b, l)
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
	if err := c.reopen(); err != nil {
		return nil, fmt.Errorf("chain of %s: %w", id, err)
	}
	c.bootstrap()
	for _, u := range links {
		_, err := c.replay(u)
		if errors.Is(err, vault.ErrNoKey) {
			c.bootstrap() // the box that mended it stands above it
			_, err = c.replay(u)
		}
		if err != nil {
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
	c := &Chain{
		n: n, id: block.TeamID(b.ID), log: log, parked: map[block.ID]*block.Unverified{}, pace: newPace(),
		made:   map[block.Generation][]block.ID{block.Generation(b.ID): nil},
		closed: map[block.Generation]*block.Block{}, wanted: map[block.ID]*block.Block{}, news: make(chan struct{}),
	}
	c.state.Store(log.State())
	c.gens.Store(b.ID.Hint(), block.Generation(b.ID))
	if _, err := n.keys.OpenBoxes(block.TeamID{}, b.ID, b.Header.Author, b.Header.Boxes); err != nil {
		n.o.Log.Warn("lockbox refused", "team", c.id, "err", err)
	}
	return c, nil
}
