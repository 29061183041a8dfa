package peering

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/replicate"
	"github.com/toftdb/toft/team"
)

// announcer tells a team what this node has, and takes in what the others tell.
// Commits travel inline while the team on the topic is small; convergence never
// depends on it: whatever is lost here, a pull finds.
type announcer struct {
	n     *Network
	c     *ledger.Chain
	bell  chan struct{} // capacity 1: there is something to say
	heard chan heard

	// last is the counter of the newest announcement of each device: an old one that
	// is replayed must not say where its author stands. Used by hearLoop alone.
	last map[block.Device]uint64

	mu      sync.Mutex
	routes  map[block.Generation]*route
	main    *route      // where everything is said; nil: nowhere now
	steered *team.State // what the routes, and all that gossip holds, are in line with
	dbs     map[*ledger.Database]bool
	commits [][]byte
	size    int
	counter uint64
	spoke   time.Time // when something was last said
}

// heard is an announcement that passed validation, waiting to be applied.
type heard struct {
	from peer.ID
	said message.Announcement
}

const (
	// maxInlinePeers: every peer of a mesh forwards every message, so commits
	// inline cost their bytes 4 to 8 times; beyond this many peers each pulls once.
	maxInlinePeers = 4
	// maxInlineBytes leaves room for heads and envelope in 64 KiB.
	maxInlineBytes = 48 << 10
	// againTime is how long the others have to say that they hold what was announced,
	// before it is announced again; doubled each time, up to maxAgain.
	againTime = time.Second
	maxAgain  = 8 * time.Second
	// answerTime is how long we are silent before heads that bring no news are
	// answered; less than the second round of being told again.
	answerTime = 1500 * time.Millisecond
	// echoTime is how long it must be quiet before we say what we have now.
	echoTime = 250 * time.Millisecond
	// maxHeard bounds what waits to be applied; more is dropped, and pulled.
	maxHeard = 256
)

// announceOn has the team's topics follow a state of the chain; see [route].
func (n *Network) announceOn(c *ledger.Chain, st *team.State) (time.Duration, error) {
	n.mu.Lock()
	a := n.announcers[c.ID()]
	if a == nil {
		a = &announcer{
			n: n, c: c, bell: make(chan struct{}, 1), heard: make(chan heard, maxHeard), dbs: map[*ledger.Database]bool{},
			last: map[block.Device]uint64{}, routes: map[block.Generation]*route{},
			// A counter that starts at the clock rises across restarts without a write.
			counter: uint64(n.ledger.Now()) << 10,
		}
		n.announcers[c.ID()] = a
		n.run("say", a.sayLoop)
		n.run("hear", a.hearLoop)
	}
	n.mu.Unlock()
	return a.steer(st)
}

// Announce tells a database's team of a new commit of this device.
func (n *Network) Announce(d *ledger.Database, b *block.Block) {
	n.exchange.Added(b.ID)
	n.announce(d.Team(), d, b)
}

// announceAll tells the team where this node stands in everything, after links or
// commits of others were merged.
func (n *Network) announceAll(c *ledger.Chain) {
	n.announce(c, nil, nil)
	for _, d := range c.Databases() {
		n.announce(c, d, nil)
	}
}

// announce tells a team that the chain, or one of its databases, has new heads; b
// is the commit that made them, if it is our own.
func (n *Network) announce(c *ledger.Chain, d *ledger.Database, b *block.Block) {
	n.mu.Lock()
	a := n.announcers[c.ID()]
	n.mu.Unlock()
	if a == nil || c.Provisional() {
		return
	}
	a.mu.Lock()
	if d != nil {
		a.dbs[d] = true
	}
	if b != nil && a.size+len(b.Data) <= maxInlineBytes {
		a.commits, a.size = append(a.commits, b.Data), a.size+len(b.Data)
	}
	a.mu.Unlock()
	select {
	case a.bell <- struct{}{}:
	default:
	}
}

// sayLoop publishes what gathered since the last time: a burst of puts becomes a
// few announcements. Gossip may lose any of them, and after the last one nothing
// would show it until a timer asks; so a small team, whose members echo what they
// took in, is told again until all that are here have said that they hold the same.
func (a *announcer) sayLoop() {
	n := a.n
	again := time.NewTimer(againTime)
	again.Stop()
	defer again.Stop()
	pause := againTime
	for {
		select {
		case <-n.ctx.Done():
			a.leaveAll()
			return
		case <-a.bell:
			pause = againTime
			a.gather()
		case <-again.C:
			if a.allAgree() && a.reachesAll() {
				continue
			}
			pause *= 2
			a.mu.Lock()
			for _, d := range a.c.Databases() {
				a.dbs[d] = true
			}
			a.mu.Unlock()
		}
		if err := a.say(); err != nil {
			n.o.Log.Debug("announcement not sent", "team", a.c.ID(), "err", err)
		}
		if !a.reachesAll() {
			n.plan(replicate.News{})
		}
		if pause <= maxAgain {
			again.Reset(pause)
		}
	}
}

// gatherTime is how long news gather before a crowd is told: every announcement
// makes each of them pull once.
const gatherTime = 20 * time.Millisecond

// gather waits for more to say, if many would listen.
func (a *announcer) gather() {
	if len(a.peers()) <= maxInlinePeers {
		return
	}
	wait := time.NewTimer(gatherTime)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-a.n.ctx.Done():
	}
	select {
	case <-a.bell: // said with the others
	default:
	}
}

// allAgree reports whether everybody on the topic is known to hold what we hold. Of
// a large team that is not known, and not asked for.
func (a *announcer) allAgree() bool {
	peers := a.peers()
	if len(peers) > maxInlinePeers || a.c.Provisional() {
		return true
	}
	for _, p := range peers {
		if !a.n.sameChain(a.c, p) && !planted.Bug("sync-lost-link-not-told-again") {
			return false
		}
		for _, d := range a.c.Databases() {
			if !a.n.Agrees(d, p) {
				return false
			}
		}
	}
	return true
}

// reachesAll reports whether every connected member is on the topic, as far as we see.
func (a *announcer) reachesAll() bool {
	on := a.peers()
	for _, p := range a.n.host.Network().Peers() {
		if a.n.gate.Shares(p, a.c.ID()) && !slices.Contains(on, p) {
			return false
		}
	}
	return true
}

// say publishes what gathered, and tells the chain heads where they are news. Nothing
// is said while somebody else still brings gossip in line with the chain: whoever does
// rings the bell afterwards.
func (a *announcer) say() error {
	st := a.c.State()
	a.mu.Lock()
	if a.steered != st {
		a.mu.Unlock()
		return nil
	}
	main := a.main
	dbs, commits := a.dbs, a.commits
	if main != nil {
		a.dbs, a.commits, a.size = map[*ledger.Database]bool{}, nil, 0
		a.spoke = a.n.o.Clock()
	}
	a.mu.Unlock()
	var errs []error
	if main != nil {
		errs = append(errs, a.sayAll(main, st, dbs, commits))
	}
	for _, r := range a.all() {
		if r != main {
			errs = append(errs, a.sayHeads(r, st))
		}
	}
	return errors.Join(errs...)
}

// draft begins an announcement with the chain heads.
func (a *announcer) draft() message.Announcement {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counter++
	return message.Announcement{Device: a.n.ledger.Me(), Counter: a.counter, Time: a.n.ledger.Now(), Chain: a.c.Heads()}
}

// sayAll announces databases, and commits while few are listening.
func (a *announcer) sayAll(r *route, st *team.State, dbs map[*ledger.Database]bool, commits [][]byte) error {
	said := a.draft()
	for d := range dbs {
		if d.Team() == a.c {
			said.DBs = append(said.DBs, d.Heads())
		}
	}
	slices.SortFunc(said.DBs, func(x, y message.DBHeads) int { return bytes.Compare(x.DB[:], y.DB[:]) })
	if len(r.topic.Peers()) <= maxInlinePeers {
		said.Commits = commits
	}
	err := r.send(said, st)
	if errors.Is(err, message.ErrTooLarge) {
		said.Commits = nil
		err = r.send(said, st)
	}
	return err
}

// sayHeads tells chain heads on a route that carries nothing else: once, and again
// while a connected member is not where the news is.
func (a *announcer) sayHeads(r *route, st *team.State) error {
	said := a.draft()
	a.mu.Lock()
	if r.ended != nil {
		said.Chain = r.ended
	}
	a.mu.Unlock()
	if len(r.topic.Peers()) == 0 || slices.Equal(r.told, said.Chain) && a.reachesAll() {
		return nil
	}
	err := r.send(said, st)
	if err == nil {
		r.told = said.Chain
	}
	return err
}

func (a *announcer) sign(msg []byte) block.Signature {
	return a.n.o.Identity.Sign(block.ForAnnounce, msg)
}

// hearLoop applies announcements, all that wait at once, so that a burst costs a
// few durable batches. When it has been quiet for a moment after commits came in,
// the team hears that we have them: that is how the writer's status learns it.
func (a *announcer) hearLoop() {
	echo := time.NewTimer(echoTime)
	echo.Stop()
	defer echo.Stop()
	for {
		select {
		case <-a.n.ctx.Done():
			return
		case <-echo.C:
			a.n.announceAll(a.c)
		case h := <-a.heard:
			batch := []heard{h}
			for len(batch) < maxHeard && len(a.heard) > 0 {
				batch = append(batch, <-a.heard)
			}
			// Who tells us heads without news asks whether we hold them; we answer,
			// unless we said so a moment ago: else two would echo each other for ever.
			if (a.apply(batch) || a.silent() > answerTime) && len(a.peers()) <= maxInlinePeers {
				echo.Reset(echoTime)
			}
		}
	}
}

// silent returns how long we have said nothing.
func (a *announcer) silent() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n.o.Clock().Sub(a.spoke)
}

// bearer is whom to ask for what was announced: who said it, if connected, for who
// handed it on may not have it yet.
func (a *announcer) bearer(h heard) peer.ID {
	if p := PeerOf(h.said.Device); a.n.reaches(p) {
		return p
	}
	return h.from
}

// apply takes in announcements and reports whether they brought commits.
func (a *announcer) apply(batch []heard) (news bool) {
	n := a.n
	perDB := map[block.DBID][]ledger.Candidate{}
	for _, h := range batch {
		for _, data := range h.said.Commits {
			if u, err := block.Parse(data); err == nil {
				perDB[u.DB] = append(perDB[u.DB], ledger.Candidate{Data: data})
			}
		}
	}
	for id, in := range perDB {
		if d := n.ledger.Database(id); d != nil && d.Team() == a.c {
			out, err := d.Commit(n.ctx, in)
			if err != nil {
				n.o.Log.Error("announced commits not stored", "db", id, "err", err)
			}
			if out.Applied > 0 {
				news = true
				n.took(d)
			}
		}
	}
	for _, h := range batch {
		if newer := h.said.Counter > a.last[h.said.Device]; newer {
			a.last[h.said.Device] = h.said.Counter
			n.chained(a.c, h.said.Device, h.said.Chain)
			for _, db := range h.said.DBs {
				n.stands(h.said.Device, db)
			}
		}
		if !replicate.Holds(teamView{a.c, n.ledger}, h.said) {
			n.announced(a.bearer(h), a.c.ID(), h.said)
		}
	}
	return news
}
