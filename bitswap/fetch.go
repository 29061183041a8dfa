package bitswap

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
)

// fetch is one GetMany. Every want of it is in exactly one place:
//
//	fresh ──▶ asked at one lane ──block──▶ ready ──▶ consumer
//	  ▲          │ DONT_HAVE, stall, gone
//	  │          ▼
//	  │       queue of another lane, if one is left that was not asked
//	  └─────── idle: nobody has it (re-ask, then give up)
//
// All fields are guarded by Exchange.mu.
type fetch struct {
	e     *Exchange
	lanes []*lane
	wants map[block.ID]*want // not come yet
	fresh []*want            // to be asked of whoever has room, in order
	idle  []*want            // refused by all

	ready     []Fetched
	readySize int // bytes in ready and with the consumer
	meanSize  int
	wake      chan struct{} // has room for one
	err       error

	progress time.Time // when something came last
	reask    time.Duration
	reaskAt  time.Time
}

// lane is one peer as a fetch sees it.
type lane struct {
	f       *fetch
	r       *remote
	out     int     // asked and not answered
	queue   []*want // to be asked here, before fresh ones
	down    bool    // not connected
	strikes int     // stalls in a row; at maxStrikes the peer is left
	since   time.Time
	got     int64 // bytes read from the peer when since was set
}

func (l *lane) alive() bool { return !l.down && l.strikes < maxStrikes }

// want is one block of one fetch.
type want struct {
	f    *fetch
	id   block.ID
	seq  int
	asks []ask
}

// ask is a want as one peer knows it.
type ask struct {
	l       *lane
	at      time.Time
	refused bool
}

func (w *want) ask(l *lane) *ask {
	for i := range w.asks {
		if w.asks[i].l == l {
			return &w.asks[i]
		}
	}
	return nil
}

// open reports whether some peer owes an answer.
func (w *want) open() bool {
	return slices.ContainsFunc(w.asks, func(a ask) bool { return !a.refused })
}

// begin starts a fetch.
func (e *Exchange) begin(ids []block.ID, from []peer.ID) (*fetch, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	now := time.Now()
	f := &fetch{
		e: e, wants: make(map[block.ID]*want, len(ids)), wake: make(chan struct{}, 1),
		progress: now, reask: minReask, meanSize: readyBudget / firstWindow,
	}
	for _, id := range ids {
		if f.wants[id] == nil {
			w := &want{f: f, id: id, seq: len(f.fresh)}
			f.wants[id] = w
			f.fresh = append(f.fresh, w)
			e.wanted[id] = append(e.wanted[id], w)
		}
	}
	seen := make(map[peer.ID]bool)
	for _, p := range from {
		if !seen[p] && p != e.wires.host.ID() {
			seen[p] = true
			f.lanes = append(f.lanes, &lane{f: f, r: e.remote(p), since: now, down: !e.wires.connected(p)})
		}
	}
	e.fetches[f] = struct{}{}
	if len(f.lanes) == 0 {
		f.fail(ErrNotFound)
	}
	// Split what there is among the peers, so that the first does not take all.
	share := max(minWindow, (len(f.fresh)+len(f.lanes)-1)/max(1, len(f.lanes)))
	for _, l := range f.lanes {
		l.fill(share, now)
	}
	e.watch()
	return f, nil
}

// end forgets a fetch and cancels what it has not got.
func (e *Exchange) end(f *fetch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range f.wants {
		for _, a := range w.asks {
			a.l.r.release(w.id, "")
		}
		e.unwant(w)
	}
	delete(e.fetches, f)
	for _, l := range f.lanes {
		l.r.lanes--
		e.drop(l.r)
	}
}

func (e *Exchange) unwant(w *want) {
	list := slices.DeleteFunc(e.wanted[w.id], func(o *want) bool { return o == w })
	if len(list) == 0 {
		delete(e.wanted, w.id)
	} else {
		e.wanted[w.id] = list
	}
}

// take hands what is ready to the consumer, and tells how much is still to come.
func (e *Exchange) take(f *fetch) (batch []Fetched, left int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	batch, f.ready = f.ready, nil
	return batch, len(f.wants), f.err
}

// consumed makes room for more.
func (e *Exchange) consumed(f *fetch, batch []Fetched) {
	if len(batch) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range batch {
		f.readySize -= len(b.Data)
	}
	f.fillAll(time.Now())
}

// missing is the error of a fetch that ends before its time.
func (e *Exchange) missing(f *fetch, cause error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return f.missing(cause)
}

func (f *fetch) missing(cause error) error {
	if errors.Is(cause, ErrClosed) {
		return cause
	}
	left := make([]*want, 0, len(f.wants))
	for _, w := range f.wants {
		left = append(left, w)
	}
	slices.SortFunc(left, func(a, b *want) int { return cmp.Compare(a.seq, b.seq) })
	ids := make([]block.ID, len(left))
	for i, w := range left {
		ids[i] = w.id
	}
	return &MissingError{IDs: ids, Err: cause}
}

func (f *fetch) fail(cause error) {
	if f.err == nil {
		f.err = f.missing(cause)
		f.signal()
	}
}

func (f *fetch) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// window is how many wants the lane may have out: what fits the fetch's budget,
// shared between its lanes, and a share of what the peer takes from us, of which
// one share stays free for the next fetch.
func (l *lane) window() int {
	n := readyBudget / max(1, l.f.meanSize) / len(l.f.lanes)
	return max(minWindow, min(n, maxWants/(l.r.lanes+1)))
}

func (f *fetch) fillAll(now time.Time) {
	for _, l := range f.lanes {
		l.fill(maxWants, now)
	}
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
		l.mark(now)
	}
	w.asks = append(w.asks, ask{l: l, at: now})
	l.out++
	l.r.hold(w.id)
}

// mark notes that the peer has shown life.
func (l *lane) mark(now time.Time) { l.since, l.got = now, l.r.got() }

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
			a.l.strikes = 0
			a.l.mark(now)
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
			a.l.strikes = 0
			a.l.mark(now)
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
		l.down, l.strikes = !f.e.wires.connected(p), 0
		l.mark(now)
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
