package replicate

import (
	"bytes"
	"slices"
	"time"

	"github.com/toftdb/toft/block"
)

// Options of a [Planner]. A zero field takes its default.
type Options struct {
	// Rand returns uniform random numbers. Required: it makes runs replayable.
	Rand func() uint64
	// Max is the most pulls in flight; default 4. More compete for the same
	// bandwidth and verification.
	Max int
	// Beside is how long one pull runs before another may start beside it; default
	// 200 ms, negative: none. Each pull brings all that its peer has, so two at once
	// bring the same twice; but a slow one keeps nobody waiting.
	Beside time.Duration
	// Every is the mean time between pulls from a random member; default 30 s.
	// Shorter finds lost announcements sooner, at < 200 B per round.
	Every time.Duration
	// Soon is the mean time between such pulls while there is news that announcements
	// do not spread; default 2 s, so that it doubles its holders every 2 s and reaches
	// some dozens well within half a minute.
	Soon time.Duration
	// Stall is how long a pull may bring nothing; default 4 s, so that with
	// cancelling it a peer is left within 5 s.
	Stall time.Duration
	// Backoff is the wait after the first failure, doubled by each further one up
	// to MaxBackoff; defaults 1 s and 1 min, both ± 20 %.
	Backoff, MaxBackoff time.Duration
}

// emptyAllowance is how many announcements in a row may turn out to bring nothing
// before the peer is slowed down: two routes to one commit make some.
const emptyAllowance = 3

// newsRounds is how many members are asked soon after the last news: who is asked
// notices that it is behind, and asks others in turn. Members that were not asked
// since come first.
const newsRounds = 8

// emptyBackoff is the first wait of a peer that announces nothing new, doubled by
// each further one up to Every.
const emptyBackoff = 50 * time.Millisecond

// peer is what the planner remembers of one member. It is forgotten when it is
// neither connected nor in flight.
type peer struct {
	id        block.Device
	connected bool

	wanted bool
	since  time.Time // wanted since, for order
	why    Reason
	after  time.Time // not before, while backing off

	flying   bool
	flewFor  Reason
	deadline time.Time // of the next Progress
	left     bool

	failures int // in a row
	empty    int // announcements in a row that brought nothing

	told bool // asked since the last news
}

// Planner decides what to pull from whom. It is not safe for concurrent use and
// starts no goroutine.
type Planner struct {
	o       Options
	peers   []*peer // sorted by id: map order would break replay
	flying  int
	begun   time.Time // when the last pull started
	next    time.Time // of the random pull; zero: nobody is connected
	news    int       // rounds that are to come soon
	missing bool      // a pull for something we know exists has failed
	tried   []block.Device
}

// New returns a planner that knows nobody.
func New(o Options) *Planner {
	if o.Rand == nil {
		panic("replicate: Options.Rand is required")
	}
	o.Max = orElse(o.Max, 4)
	o.Beside = orElse(o.Beside, 200*time.Millisecond)
	o.Every = orElse(o.Every, 30*time.Second)
	o.Soon = orElse(o.Soon, 2*time.Second)
	o.Stall = orElse(o.Stall, 4*time.Second)
	o.Backoff = orElse(o.Backoff, time.Second)
	o.MaxBackoff = orElse(o.MaxBackoff, time.Minute)
	return &Planner{o: o}
}

// free returns when another pull may start, as far as those in flight matter.
func (p *Planner) free() time.Time {
	if p.flying == 0 {
		return time.Time{}
	}
	return p.begun.Add(p.o.Beside)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func orElse[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// Step takes one event that happened at now and returns what to do, in order.
// Times must not go back.
func (p *Planner) Step(now time.Time, e Event) []Action {
	switch e := e.(type) {
	case Connected:
		q := p.add(e.Peer)
		q.connected = true
		p.want(q, now, OnConnect)
	case Disconnected:
		if q := p.find(e.Peer); q != nil {
			q.connected, q.wanted = false, false
			p.forget(q)
		}
	case Announced:
		if q := p.find(e.Peer); q != nil && q.connected {
			p.want(q, now, OnAnnounce)
		}
	case News:
		p.spread(now)
	case Progress:
		if q := p.find(e.Peer); q != nil && q.flying {
			q.deadline = now.Add(p.o.Stall)
		}
	case PullDone:
		if q := p.find(e.Peer); q != nil && q.flying {
			p.done(q, now, e.Outcome)
		}
	case Tick:
	}
	return p.act(now)
}

// Wake returns when a [Tick] is due next; false if only other events matter.
func (p *Planner) Wake() (time.Time, bool) {
	var at time.Time
	soonest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	soonest(p.next)
	for _, q := range p.peers {
		switch {
		case q.flying && !q.left:
			soonest(q.deadline)
		case q.wanted && !q.flying && p.flying < p.o.Max:
			soonest(later(q.after, p.free()))
		}
	}
	return at, !at.IsZero()
}

// InFlight returns how many pulls run.
func (p *Planner) InFlight() int { return p.flying }

func (p *Planner) search(id block.Device) (int, bool) {
	return slices.BinarySearchFunc(p.peers, id, func(q *peer, id block.Device) int { return bytes.Compare(q.id[:], id[:]) })
}

func (p *Planner) find(id block.Device) *peer {
	if i, ok := p.search(id); ok {
		return p.peers[i]
	}
	return nil
}

func (p *Planner) add(id block.Device) *peer {
	i, ok := p.search(id)
	if !ok {
		p.peers = slices.Insert(p.peers, i, &peer{id: id})
	}
	return p.peers[i]
}

func (p *Planner) forget(q *peer) {
	if i, ok := p.search(q.id); ok && !q.connected && !q.flying {
		p.peers = slices.Delete(p.peers, i, i+1)
		p.tried = slices.DeleteFunc(p.tried, func(id block.Device) bool { return id == q.id })
	}
}
