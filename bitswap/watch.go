package bitswap

import (
	"cmp"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// watch makes sure that somebody looks after running fetches. The caller holds mu.
func (e *Exchange) watch() {
	if e.watching {
		return
	}
	e.watching = true
	e.wait.Add(1)
	go func() {
		defer e.wait.Done()
		t := time.NewTicker(tick)
		defer t.Stop()
		for e.look() {
			select {
			case <-t.C:
			case <-e.done:
				return
			}
		}
	}()
}

// look takes one turn over all fetches; false when there are none.
func (e *Exchange) look() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	for f := range e.fetches {
		f.look(now)
	}
	e.watching = len(e.fetches) > 0 && !e.closed
	return e.watching
}

// look is the watchdog of one fetch.
func (f *fetch) look(now time.Time) {
	for _, l := range f.lanes {
		if got := l.r.got(); got != l.got { // a large block may be on its way
			l.got, l.since = got, now
		}
		switch silent := now.Sub(l.since); {
		case l.down:
		case l.strikes >= maxStrikes && silent >= rest:
			l.strikes = maxStrikes - 1
		case l.alive() && l.out > 0 && silent >= stall:
			l.strikes++
			l.since = now
			// What was lost may have been lost with its stream.
			l.r.renew()
			f.strike(l, now)
		}
	}
	if !f.reaskAt.IsZero() && !now.Before(f.reaskAt) {
		f.reask = min(maxReask, 2*f.reask)
		f.retry(now)
	}
	f.fillAll(now)
	f.double(now)
	f.giveUp(now)
}

// strike takes away from a silent peer what it owes, for others to be asked; if
// there are no others, it is asked anew itself.
func (f *fetch) strike(l *lane, now time.Time) {
	alone := l.alive() && !slices.ContainsFunc(f.lanes, func(o *lane) bool { return o != l && o.alive() })
	if alone {
		var owed []*want
		for _, w := range f.wants {
			if a := w.ask(l); a != nil && !a.refused {
				owed = append(owed, w)
			}
		}
		for _, w := range owed {
			l.forget(w)
		}
		slices.SortFunc(owed, func(a, b *want) int { return cmp.Compare(a.seq, b.seq) })
		l.queue = append(owed, l.queue...) // filled on the next turn
		return
	}
	f.abandon(l, now)
}

// double asks idle peers for what others are slow to send. It is what ends a
// fetch in time when one peer trickles.
func (f *fetch) double(now time.Time) {
	if len(f.fresh) > 0 || f.readySize > readyBudget {
		return
	}
	var late []*want
	for _, l := range f.lanes {
		if !l.alive() || l.out > 0 || len(l.queue) > 0 {
			continue
		}
		if late == nil {
			late = f.late(now)
		}
		lot := max(minWindow/4, min(l.window(), doubleBytes/max(1, f.meanSize)))
		for _, w := range late {
			if l.out == lot || len(l.r.held) >= maxWants {
				break
			}
			if w.ask(l) == nil {
				l.ask(w, now)
			}
		}
	}
}

// late returns the wants that one peer alone has owed us for a while.
func (f *fetch) late(now time.Time) []*want {
	out := []*want{}
	for _, w := range f.wants {
		open := 0
		for _, a := range w.asks {
			if !a.refused {
				open++
			}
			if !a.refused && now.Sub(a.at) < doubleAfter {
				open = 2
			}
		}
		if open == 1 {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b *want) int { return cmp.Compare(a.seq, b.seq) })
	return out
}

// giveUp ends a fetch for which nobody has had anything for too long.
func (f *fetch) giveUp(now time.Time) {
	if now.Sub(f.progress) < f.e.patience || len(f.wants) == 0 || f.readySize > 0 {
		return // or it is the consumer that takes its time
	}
	for _, l := range f.lanes {
		if l.alive() && l.out > 0 {
			return
		}
	}
	f.fail(ErrNotFound)
}

// unreachable is called when wants could not be sent to p.
func (e *Exchange) unreachable(p peer.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	for f := range e.fetches {
		for _, l := range f.lanes {
			if l.r.p == p && l.out > 0 {
				l.strikes++
				f.strike(l, now)
			}
		}
	}
}
