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
	now := time.Now()
	f.progress = now
	f.fillAll(now)
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

func (f *fetch) fillAll(now time.Time) {
	for _, l := range f.lanes {
		l.fill(maxWants, now)
	}
}
