package bitswap

import (
	"cmp"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
)

// arrived hands a block to all fetches that want it.
func (e *Exchange) arrived(p peer.ID, id block.ID, data []byte, now time.Time) bool {
	wants := e.wanted[id]
	for _, w := range slices.Clone(wants) {
		w.f.arrived(p, w, data, now)
	}
	return len(wants) > 0
}

func (f *fetch) arrived(p peer.ID, w *want, data []byte, now time.Time) {
	for _, a := range w.asks {
		if !a.refused {
			a.l.out--
		}
		a.l.r.release(w.id, p)
		if a.l.r.p == p {
			a.l.strikes, a.l.since = 0, now
		}
	}
	w.asks = nil
	f.progress, f.reask = now, minReask
	f.meanSize = (7*f.meanSize + len(data)) / 8
	if f.readySize > 2*readyBudget {
		// The consumer is slower than the network. Holding it would let a peer fill
		// our memory; it is asked for again when there is room.
		f.fresh = append(f.fresh, w)
		return
	}
	delete(f.wants, w.id)
	f.e.unwant(w)
	f.ready = append(f.ready, Fetched{w.id, data})
	f.readySize += len(data)
	f.signal()
	for _, l := range f.lanes {
		if l.r.p == p {
			l.shrink(now)
			l.fill(maxWants, now)
		}
	}
}

// refused takes a DONT_HAVE.
func (e *Exchange) refused(p peer.ID, id block.ID, now time.Time) {
	for _, w := range slices.Clone(e.wanted[id]) {
		for i := range w.asks {
			a := &w.asks[i]
			if a.l.r.p != p || a.refused {
				continue
			}
			a.refused = true
			a.l.out--
			a.l.strikes, a.l.since = 0, now
			a.l.r.stand(id)
			w.f.reroute(w, now)
			a.l.fill(maxWants, now)
			break
		}
	}
}

// reroute finds another peer for a want that one has refused or not answered.
func (f *fetch) reroute(w *want, now time.Time) {
	var best *lane
	for _, l := range f.lanes {
		if l.alive() && w.ask(l) == nil && (best == nil || l.out+len(l.queue) < best.out+len(best.queue)) {
			best = l
		}
	}
	switch {
	case best != nil:
		best.queue = append(best.queue, w)
		best.fill(maxWants, now)
	case !w.open():
		f.idle = append(f.idle, w)
		if f.reaskAt.IsZero() {
			f.reaskAt = now.Add(f.reask)
		}
	}
}

// abandon moves everything a lane's peer owes us elsewhere.
func (f *fetch) abandon(l *lane, now time.Time) {
	var owed []*want
	for _, w := range f.wants {
		if w.ask(l) != nil {
			owed = append(owed, w)
		}
	}
	slices.SortFunc(owed, func(a, b *want) int { return cmp.Compare(a.seq, b.seq) })
	queue := l.queue
	l.queue = nil
	for _, w := range owed {
		open := !w.ask(l).refused
		l.forget(w)
		if open {
			queue = append(queue, w)
		}
	}
	for _, w := range queue {
		if f.wants[w.id] == w {
			f.reroute(w, now)
		}
	}
}

// revive asks p again for what it has refused, and gives it another chance.
func (f *fetch) revive(p peer.ID, now time.Time) {
	for _, l := range f.lanes {
		if l.r.p != p {
			continue
		}
		l.down, l.strikes, l.since = !f.e.wires.connected(p), 0, now
		for _, w := range f.wants {
			if a := w.ask(l); a != nil && a.refused {
				l.forget(w)
			}
		}
		f.retry(now)
	}
}

// retry asks for what is idle once more, of everybody.
func (f *fetch) retry(now time.Time) {
	idle := f.idle
	f.idle, f.reaskAt = nil, time.Time{}
	for _, w := range idle {
		if f.wants[w.id] != w {
			continue
		}
		for _, l := range f.lanes {
			if l.alive() {
				l.forget(w)
			}
		}
		f.fresh = append(f.fresh, w)
	}
	f.fillAll(now)
}
