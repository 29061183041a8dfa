package peering

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/gossip"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/team"
)

// A topic's name follows from a route key, so it changes with the key: who is removed
// does not know where the team talks now. A team is on a route for each generation
// that matters:
//
//	           g1 ────────────────── chain heads ──────────────▶ left 10 minutes later
//	rotation ───┬─ g2 ── everything ─────────────── chain heads ──────▶ …
//	another ────┴─ g3 ── chain heads, and listening (unmerged) ─ chain heads ──▶ …
//	merged ───────────── g4 ── everything ───────────────────────────────────▶
//
// Everything is said on the route of the generation that is written under; where none
// is good, nowhere. On the others go chain heads alone, on an old one those that made
// it old: a member who missed a rotation learns that there is news, and somebody who is
// out, and hears it from a member who is behind, learns the name of his removal.
type route struct {
	a     *announcer
	gen   block.Generation
	topic *gossip.Topic
	until time.Time  // when it is left; zero: its generation is current
	ended []block.ID // the chain heads when another generation followed; nil while current
	told  []block.ID // the chain heads last said here
}

const (
	// lingerTime is how long a route is kept after its generation was followed by
	// another: members who are connected hear of that within it.
	lingerTime = 10 * time.Minute
	// maxRoutes bounds the routes of one team: rotations made apart are few, unless
	// somebody makes them for sport.
	maxRoutes = 16
)

// steer brings the routes in line with a state of the chain, and returns when it has to
// be called again; zero: when the chain changes.
func (a *announcer) steer(st *team.State) (time.Duration, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.turn(st)
}

// steerAgain does what has become due since.
func (a *announcer) steerAgain() (time.Duration, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.steered == nil {
		return 0, nil
	}
	return a.turn(a.steered)
}

// turn is steer with mu held.
func (a *announcer) turn(st *team.State) (time.Duration, error) {
	current := a.current(st)
	now := a.n.o.Clock()
	var errs []error
	for _, gen := range current {
		if r := a.routes[gen]; r != nil {
			r.until, r.ended = time.Time{}, nil
		} else if len(a.routes) < maxRoutes || a.drop() {
			errs = append(errs, a.join(gen))
		}
	}
	var next time.Duration
	for gen, r := range a.routes {
		if slices.Contains(current, gen) {
			continue
		}
		if r.until.IsZero() {
			r.until, r.ended = now.Add(lingerTime), st.Heads()
		}
		left := r.until.Sub(now)
		if left <= 0 {
			a.leave(r)
		} else if next == 0 || left < next {
			next = left
		}
	}
	a.main = nil
	if len(current) > 0 {
		if gen, ok := st.WriteGeneration(); ok && gen == current[0] {
			a.main = a.routes[gen]
		}
	}
	a.steered = st
	return next, errors.Join(errs...)
}

// current lists the generations whose routes matter and whose keys are here, the one
// that is written under first. Of a team we are not on any more it is none; who leaves
// says so on the route it was on.
func (a *announcer) current(st *team.State) []block.Generation {
	if out(st, a.n.ledger.Me()) {
		return nil
	}
	var gens []block.Generation
	if gen, ok := st.WriteGeneration(); ok {
		gens = append(gens, gen)
	}
	for _, g := range st.Generations() {
		if !slices.Contains(gens, g.ID) {
			gens = append(gens, g.ID)
		}
	}
	keys := a.n.ledger.Keys()
	gens = slices.DeleteFunc(gens, func(g block.Generation) bool { return !keys.HasRoute(a.c.ID(), g) })
	return gens[:min(len(gens), maxRoutes)]
}

// join enters the topic of a generation. The caller holds mu.
func (a *announcer) join(gen block.Generation) error {
	name, err := a.n.ledger.Keys().Topic(a.c.ID(), gen)
	if err != nil {
		return err
	}
	r := &route{a: a, gen: gen}
	allow := func(p peer.ID) bool { return a.n.gate.Shares(p, a.c.ID()) }
	if r.topic, err = a.n.gossip.Join(name, allow, r.judge); err != nil {
		return fmt.Errorf("topic of generation %s: %w", gen.Hint(), err)
	}
	a.routes[gen] = r
	return nil
}

// drop makes room by leaving the old route that has been old for the longest.
func (a *announcer) drop() bool {
	var oldest *route
	for _, r := range a.routes {
		if !r.until.IsZero() && (oldest == nil || r.until.Before(oldest.until)) {
			oldest = r
		}
	}
	if oldest == nil {
		return false
	}
	a.leave(oldest)
	return true
}

func (a *announcer) leave(r *route) {
	r.topic.Close()
	delete(a.routes, r.gen)
}

// leaveAll leaves every topic.
func (a *announcer) leaveAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.routes {
		a.leave(r)
	}
	a.main = nil
}

// at returns the route that everything is said on, nil if there is none now.
func (a *announcer) at() *route {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.main
}

// all returns the routes, in the order of their generations.
func (a *announcer) all() []*route {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.SortedFunc(maps.Values(a.routes), func(x, y *route) int { return bytes.Compare(x.gen[:], y.gen[:]) })
}

// peers returns who is on the route that everything is said on.
func (a *announcer) peers() []peer.ID {
	if r := a.at(); r != nil {
		return r.topic.Peers()
	}
	return nil
}

// send signs, seals and publishes an announcement, unless the chain has moved since it
// was made for a state: what was said to a roster must not reach another.
func (r *route) send(said message.Announcement, st *team.State) error {
	a := r.a
	plain, err := said.Sign(a.c.ID(), r.gen, a.sign)
	if err != nil {
		return err
	}
	sealed, err := a.n.ledger.Keys().SealMessage(a.c.ID(), r.gen, plain)
	if err != nil {
		return err
	}
	data, err := message.WrapAnnouncement(r.gen, sealed)
	if err != nil {
		return err
	}
	if a.c.State() != st {
		return errMoved
	}
	return r.topic.Publish(a.n.ctx, data)
}

// errMoved: the chain has changed meanwhile. Whoever follows the change says it all
// again.
var errMoved = errors.New("the chain has moved")

// open reads a message of the topic and judges it. Reject is only for what is wrong in
// every view: not sealed under this topic's key, or a wrong signature.
func (r *route) open(data []byte) (message.Announcement, gossip.Verdict) {
	a := r.a
	hint, sealed, err := message.UnwrapAnnouncement(data)
	if err != nil {
		return message.Announcement{}, gossip.Reject // malformed in every view
	}
	if hint != r.gen.Hint() {
		return message.Announcement{}, gossip.Ignore // not of this topic
	}
	plain, err := a.n.ledger.Keys().OpenMessage(a.c.ID(), r.gen, sealed)
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
	said, err := u.Verify(a.c.ID(), r.gen)
	if err != nil {
		return message.Announcement{}, gossip.Reject
	}
	return said, gossip.Accept
}

// judge runs in gossip before a message is handed on.
func (r *route) judge(from peer.ID, data []byte) (gossip.Verdict, func()) {
	said, v := r.open(data)
	switch {
	case v == gossip.Ignore:
		r.a.n.ahead(from)
	case v == gossip.Accept && said.Device != r.a.n.ledger.Me():
		return v, func() { r.deliver(from, said) }
	}
	return v, nil
}

// deliver runs once for each new valid message. It must not block gossip: when the
// queue is full the message is dropped, and a pull makes up for it.
func (r *route) deliver(from peer.ID, said message.Announcement) {
	if !r.a.c.State().Active(said.Device) {
		return // removed since it was judged
	}
	select {
	case r.a.heard <- heard{from, said}:
	default:
		r.a.n.ahead(from)
	}
}
