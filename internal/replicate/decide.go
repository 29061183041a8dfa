package replicate

import (
	"slices"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/planted"
)

// want marks a peer to be pulled. The first reason and the first moment stay: who
// waits longest goes first, however often it shouts.
func (p *Planner) want(q *peer, now time.Time, why Reason) {
	if q.wanted {
		return
	}
	q.wanted, q.since, q.why = true, now, why
}

// done books the end of a pull.
func (p *Planner) done(q *peer, now time.Time, o Outcome) {
	why := q.flewFor
	q.flying, q.left = false, false
	p.flying--
	switch o {
	case Moot:
	case Equal, Progressed:
		p.delivered(q, now, why, o)
	default:
		p.failed(q, now, why)
	}
	p.forget(q)
}

func (p *Planner) delivered(q *peer, now time.Time, why Reason, o Outcome) {
	q.failures, q.after = 0, time.Time{}
	if o == Progressed {
		q.empty = 0
		p.found()
		return
	}
	if why == OnAnnounce {
		q.empty++
	}
	if n := q.empty - emptyAllowance; n >= 0 {
		q.after = now.Add(doubled(emptyBackoff, n, p.o.Every))
	}
	if p.missing && why == Instead {
		p.askAnother(now)
	}
}

func (p *Planner) failed(q *peer, now time.Time, why Reason) {
	q.after = now.Add(p.jitter(doubled(p.o.Backoff, q.failures, p.o.MaxBackoff)))
	q.failures++
	if !q.connected {
		return
	}
	if !planted.Bug("sync-failure-forgotten") {
		p.want(q, now, OnRetry)
	}
	if why != OnTimer { // a random round that fails is worth nobody else's time
		p.missing = true
		p.tried = append(p.tried, q.id)
		p.askAnother(now)
	}
}

// askAnother turns to a member that has not been tried since something went
// missing. When all have been, the retries of those that failed go on.
func (p *Planner) askAnother(now time.Time) {
	q := p.pick(func(q *peer) bool {
		return !q.flying && !q.wanted && !slices.Contains(p.tried, q.id)
	})
	if q == nil {
		p.found()
		return
	}
	p.tried = append(p.tried, q.id)
	p.want(q, now, Instead)
}

// found ends the search for what a failed peer did not deliver.
func (p *Planner) found() { p.missing, p.tried = false, nil }

// act returns the actions that are due.
func (p *Planner) act(now time.Time) []Action {
	p.round(now)
	var out []Action
	for _, q := range p.peers {
		if q.flying && !q.left && !now.Before(q.deadline) && !planted.Bug("sync-stalled-is-kept") {
			q.left = true
			out = append(out, Leave{q.id})
		}
	}
	for p.flying < p.o.Max && !now.Before(p.free()) {
		q := p.due(now)
		if q == nil {
			break
		}
		q.wanted, q.flying, q.flewFor = false, true, q.why
		q.deadline = now.Add(p.o.Stall)
		p.flying++
		p.begun = now
		out = append(out, Pull{q.id, q.why})
	}
	return out
}

// due returns the peer that waits longest and may be pulled now.
func (p *Planner) due(now time.Time) *peer {
	var best *peer
	for _, q := range p.peers {
		if q.wanted && !q.flying && !now.Before(q.after) && (best == nil || q.since.Before(best.since)) {
			best = q
		}
	}
	return best
}

// round wants a random member when its time has come.
func (p *Planner) round(now time.Time) {
	if !slices.ContainsFunc(p.peers, func(q *peer) bool { return q.connected }) {
		p.next = time.Time{}
		return
	}
	if p.next.IsZero() {
		p.next = now.Add(p.jitter(p.o.Every))
		return
	}
	if now.Before(p.next) {
		return
	}
	every := p.o.Every
	if p.news > 0 {
		p.news--
		every = p.o.Soon
	}
	p.next = now.Add(p.jitter(every))
	idle := func(q *peer) bool { return !q.flying && !q.wanted }
	q := p.pick(func(q *peer) bool { return idle(q) && !q.told })
	if q == nil {
		q = p.pick(idle)
	}
	if q != nil {
		q.told = true
		p.want(q, now, OnTimer)
	}
}

// spread makes the next rounds come soon: whoever is asked learns that we have news.
func (p *Planner) spread(now time.Time) {
	p.news = newsRounds
	for _, q := range p.peers {
		q.told = false
	}
	if soon := now.Add(p.jitter(p.o.Soon)); !p.next.IsZero() && soon.Before(p.next) {
		p.next = soon
	}
}

// pick returns a random connected peer that fits, nil if none does.
func (p *Planner) pick(fits func(*peer) bool) *peer {
	var from []*peer
	for _, q := range p.peers {
		if q.connected && fits(q) {
			from = append(from, q)
		}
	}
	if len(from) == 0 {
		return nil
	}
	return from[p.o.Rand()%uint64(len(from))]
}

// jitter returns d ± 20 %, so that a team that lost its network at one moment
// does not come back at one moment.
func (p *Planner) jitter(d time.Duration) time.Duration {
	fifth := uint64(d / 5)
	return d - time.Duration(fifth) + time.Duration(p.o.Rand()%(2*fifth+1))
}

// doubled returns d · 2^n, at most limit.
func doubled(d time.Duration, n int, limit time.Duration) time.Duration {
	for ; n > 0 && d < limit; n-- {
		d *= 2
	}
	return min(d, limit)
}

// Waiting describes one peer for status.
type Waiting struct {
	Peer     block.Device
	InFlight bool
	Failures int       // pulls in a row that failed or stalled
	Next     time.Time // not before; zero: at once, or nothing to ask
}

// Peers returns what the planner knows of every peer, sorted by device.
func (p *Planner) Peers() []Waiting {
	out := make([]Waiting, 0, len(p.peers))
	for _, q := range p.peers {
		out = append(out, Waiting{Peer: q.id, InFlight: q.flying, Failures: q.failures, Next: q.after})
	}
	return out
}
