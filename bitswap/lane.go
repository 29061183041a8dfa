package bitswap

import (
	"cmp"
	"slices"
	"time"
)

// lane is one peer as a fetch sees it.
type lane struct {
	f       *fetch
	r       *remote
	out     int       // asked and not answered
	queue   []*want   // to be asked here, before fresh ones
	down    bool      // not connected
	strikes int       // stalls in a row; at maxStrikes the peer is left
	since   time.Time // the last sign of life
	got     int64     // bytes read from the peer when it was last looked at
}

func (l *lane) alive() bool { return !l.down && l.strikes < maxStrikes }

// window is how many wants the lane may have out: what fits the fetch's budget,
// shared between its lanes, and a share of what the peer takes from us, of which
// one share stays free for the next fetch.
func (l *lane) window() int {
	n := readyBudget / max(1, l.f.meanSize) / len(l.f.lanes)
	return max(minWindow, min(n, maxWants/(l.r.lanes+1)))
}

// fill asks the lane's peer for up to most more wants. It waits until half of the
// window is free, so that wants travel in few messages.
func (l *lane) fill(most int, now time.Time) {
	f := l.f
	window := l.window()
	if !l.alive() || l.out > window/2 || f.readySize > readyBudget {
		return
	}
	room := min(most, window-l.out, maxWants-len(l.r.held))
	for room > 0 {
		w := l.next()
		if w == nil {
			return
		}
		l.ask(w, now)
		room--
	}
	if len(l.r.held) >= maxWants {
		l.r.hungry = append(l.r.hungry, l)
	}
}

// next is the next want to ask here, nil if there is none.
func (l *lane) next() *want {
	for len(l.queue) > 0 {
		w := l.queue[0]
		l.queue = l.queue[1:]
		if l.f.wants[w.id] == w && w.ask(l) == nil {
			return w
		}
	}
	for f := l.f; len(f.fresh) > 0; {
		w := f.fresh[0]
		f.fresh = f.fresh[1:]
		if f.wants[w.id] == w && w.ask(l) == nil {
			return w
		}
	}
	return nil
}

func (l *lane) ask(w *want, now time.Time) {
	if l.out == 0 {
		l.since = now
	}
	w.asks = append(w.asks, ask{l: l, at: now})
	l.out++
	l.r.hold(w.id)
}

// shrink takes wants back when blocks turn out much larger than was thought.
func (l *lane) shrink(now time.Time) {
	window := l.window()
	if l.out <= 2*window {
		return
	}
	var out []*want
	for _, w := range l.f.wants {
		if a := w.ask(l); a != nil && !a.refused {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b *want) int { return cmp.Compare(a.seq, b.seq) })
	out = out[min(window, len(out)):]
	var first []*want
	for _, w := range out {
		l.forget(w)
		if len(w.asks) == 0 {
			first = append(first, w)
		} else {
			l.f.reroute(w, now) // fresh is for wants that nobody was asked
		}
	}
	l.f.fresh = append(first, l.f.fresh...)
}

// forget takes back that the want was asked here.
func (l *lane) forget(w *want) {
	for i, a := range w.asks {
		if a.l == l {
			if !a.refused {
				l.out--
			}
			l.r.release(w.id, "")
			w.asks = slices.Delete(w.asks, i, i+1)
			return
		}
	}
}
