package peering

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/gossip"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/replicate"
)

// announcer tells a team what this node has, and takes in what the others tell.
// Commits travel inline while the team on the topic is small; convergence never
// depends on it: whatever is lost here, a pull finds.
type announcer struct {
	n     *Network
	c     *ledger.Chain
	gen   block.Generation
	topic *gossip.Topic
	bell  chan struct{} // capacity 1: there is something to say
	heard chan heard

	// last is the counter of the newest announcement of each device: an old one that
	// is replayed must not say where its author stands. Used by hearLoop alone.
	last map[block.Device]uint64

	mu      sync.Mutex
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

// announceOn joins the team's topic, which follows from the route key of the
// generation that is written under. Without that key there is nothing to join yet;
// it is called again when the chain changes.
func (n *Network) announceOn(c *ledger.Chain) error {
	gen, ok := c.State().WriteGeneration()
	if !ok || !n.ledger.Keys().Has(c.ID(), gen) {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.announcers[c.ID()] != nil {
		return nil
	}
	name, err := n.ledger.Keys().Topic(c.ID(), gen)
	if err != nil {
		return err
	}
	a := &announcer{
		n: n, c: c, gen: gen, bell: make(chan struct{}, 1), heard: make(chan heard, maxHeard), dbs: map[*ledger.Database]bool{},
		last: map[block.Device]uint64{},
		// A counter that starts at the clock rises across restarts without a write.
		counter: uint64(n.ledger.Now()) << 10,
	}
	allow := func(p peer.ID) bool { return n.gate.Shares(p, c.ID()) }
	if a.topic, err = n.gossip.Join(name, allow, a.validate, a.deliver); err != nil {
		return err
	}
	n.announcers[c.ID()] = a
	n.run("say", a.sayLoop)
	n.run("hear", a.hearLoop)
	return nil
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
			a.topic.Close()
			return
		case <-a.bell:
			pause = againTime
		case <-again.C:
			if a.allAgree() {
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

// allAgree reports whether everybody on the topic is known to hold what we hold. Of
// a large team that is not known, and not asked for.
func (a *announcer) allAgree() bool {
	peers := a.topic.Peers()
	if len(peers) > maxInlinePeers || a.c.Provisional() {
		return true
	}
	for _, d := range a.c.Databases() {
		for _, p := range peers {
			if !a.n.Agrees(d, p) {
				return false
			}
		}
	}
	return true
}

// reachesAll reports whether every connected member is on the topic, as far as we see.
func (a *announcer) reachesAll() bool {
	on := a.topic.Peers()
	for _, p := range a.n.host.Network().Peers() {
		if a.n.gate.Shares(p, a.c.ID()) && !slices.Contains(on, p) {
			return false
		}
	}
	return true
}

func (a *announcer) say() error {
	n := a.n
	a.mu.Lock()
	dbs, commits := a.dbs, a.commits
	a.dbs, a.commits, a.size = map[*ledger.Database]bool{}, nil, 0
	a.counter++
	a.spoke = n.o.Clock()
	said := message.Announcement{Device: n.ledger.Me(), Counter: a.counter, Time: n.ledger.Now(), Chain: a.c.Heads()}
	a.mu.Unlock()
	for d := range dbs {
		said.DBs = append(said.DBs, d.Heads())
	}
	slices.SortFunc(said.DBs, func(x, y message.DBHeads) int { return bytes.Compare(x.DB[:], y.DB[:]) })
	if len(a.topic.Peers()) <= maxInlinePeers {
		said.Commits = commits
	}
	plain, err := said.Sign(a.c.ID(), a.gen, a.sign)
	if errors.Is(err, message.ErrTooLarge) {
		said.Commits = nil
		plain, err = said.Sign(a.c.ID(), a.gen, a.sign)
	}
	if err != nil {
		return err
	}
	sealed, err := n.ledger.Keys().SealMessage(a.c.ID(), a.gen, plain)
	if err != nil {
		return err
	}
	data, err := message.WrapAnnouncement(a.gen, sealed)
	if err != nil {
		return err
	}
	return a.topic.Publish(n.ctx, data)
}

func (a *announcer) sign(msg []byte) block.Signature {
	return a.n.o.Identity.Sign(block.ForAnnounce, msg)
}

// open unseals an announcement and checks the signature.
func (a *announcer) open(data []byte) (message.Announcement, gossip.Verdict) {
	hint, sealed, err := message.UnwrapAnnouncement(data)
	if err != nil {
		return message.Announcement{}, gossip.Reject // malformed in every view
	}
	if hint != a.gen.Hint() {
		return message.Announcement{}, gossip.Ignore // a generation we may not know yet
	}
	plain, err := a.n.ledger.Keys().OpenMessage(a.c.ID(), a.gen, sealed)
	if err != nil {
		return message.Announcement{}, gossip.Reject
	}
	u, err := message.ParseAnnouncement(plain)
	if err != nil {
		return message.Announcement{}, gossip.Reject
	}
	if !a.c.State().Active(u.Device) {
		return message.Announcement{}, gossip.Ignore // perhaps admitted in links we lack
	}
	said, err := u.Verify(a.c.ID(), a.gen)
	if err != nil {
		return message.Announcement{}, gossip.Reject
	}
	return said, gossip.Accept
}

// validate runs in gossip before a message is handed on.
func (a *announcer) validate(from peer.ID, data []byte) gossip.Verdict {
	_, v := a.open(data)
	if v == gossip.Ignore {
		a.n.ahead(from)
	}
	return v
}

// deliver runs once for each new valid message. It must not block gossip: when the
// queue is full the message is dropped, and a pull makes up for it.
func (a *announcer) deliver(from peer.ID, data []byte) {
	said, v := a.open(data)
	if v != gossip.Accept || said.Device == a.n.ledger.Me() {
		return
	}
	select {
	case a.heard <- heard{from, said}:
	default:
		a.n.ahead(from)
	}
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
			if (a.apply(batch) || a.silent() > answerTime) && len(a.topic.Peers()) <= maxInlinePeers {
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
			news = news || out.Applied > 0
		}
	}
	for _, h := range batch {
		if newer := h.said.Counter > a.last[h.said.Device]; newer {
			a.last[h.said.Device] = h.said.Counter
			for _, db := range h.said.DBs {
				n.stands(h.said.Device, db)
			}
		}
		if !replicate.Holds(teamView{a.c, n.ledger}, h.said) {
			n.ahead(h.from)
		}
	}
	return news
}
