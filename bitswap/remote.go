package bitswap

import (
	"context"
	"math"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
)

// remote is our wants as one peer has them, for all fetches together: a want is a
// pair of peer and block to Bitswap, and one fetch must not cancel another's.
// Guarded by Exchange.mu.
type remote struct {
	e       *Exchange
	p       peer.ID
	lanes   int // fetches that ask this peer
	held    map[block.ID]*held
	stood   int                   // how many of held were refused and left standing
	late    map[block.ID]struct{} // cancelled while an answer was due, which may come yet
	hungry  []*lane               // that found no room under maxWants
	outbox  []op                  // to be sent, in order
	writing bool
}

// held is one want at the peer.
type held struct {
	n        int  // fetches
	waiting  bool // an answer is due
	standing bool // refused, and left for the peer to serve later
	sent     bool // the peer has it on its list, for all we know
	// twice: it was asked for before an answer to an earlier want was ruled out. The
	// peer takes it off its list with the first answer, and puts it back with the
	// second want, which it then forgets.
	twice bool
}

// op is an entry of a wantlist.
type op struct {
	id     block.ID
	cancel bool
}

// remote returns the record of p and counts one more lane on it.
func (e *Exchange) remote(p peer.ID) *remote {
	r := e.remotes[p]
	if r == nil {
		r = &remote{e: e, p: p, held: make(map[block.ID]*held)}
		e.remotes[p] = r
	}
	r.lanes++
	return r
}

// drop forgets a record that nobody uses.
func (e *Exchange) drop(r *remote) {
	if r.lanes == 0 && !r.writing && e.remotes[r.p] == r {
		delete(e.remotes, r.p)
	}
}

// got is how many bytes were read from the peer.
func (r *remote) got() int64 { return r.e.wires.got(r.p) }

// renew has the next want sent over a new stream.
func (r *remote) renew() {
	if l := r.e.wires.link(r.p); l != nil {
		l.wants.reset()
	}
}

// hold asks for a block, unless an answer is due to another fetch anyway.
func (r *remote) hold(id block.ID) {
	h := r.held[id]
	if h == nil {
		h = &held{}
		r.held[id] = h
	}
	h.n++
	if h.waiting {
		return
	}
	if _, late := r.late[id]; late || h.sent {
		h.twice = true
		delete(r.late, id)
	}
	r.unstand(h)
	h.waiting, h.sent = true, true
	r.post(op{id: id})
}

// release gives up one fetch's interest. The last one cancels the want, save at
// the peer that has just sent the block and so dropped it itself.
func (r *remote) release(id block.ID, sender peer.ID) {
	h := r.held[id]
	if h == nil {
		return
	}
	if r.p == sender {
		h.sent, h.waiting = h.twice, false
	}
	if h.n--; h.n > 0 {
		return
	}
	r.unstand(h)
	delete(r.held, id)
	if !h.sent {
		return
	}
	if h.waiting {
		if len(r.late) >= maxWants {
			clear(r.late)
		}
		if r.late == nil {
			r.late = make(map[block.ID]struct{})
		}
		r.late[id] = struct{}{}
	}
	r.post(op{id: id, cancel: true})
}

// feed lets lanes ask that found no room before.
func (r *remote) feed(now time.Time) {
	hungry := r.hungry
	r.hungry = nil
	for _, l := range hungry {
		if _, runs := r.e.fetches[l.f]; runs {
			l.fill(maxWants, now)
		}
	}
}

// stand notes that the peer has answered without the block. The want stays on its
// list, to be served when the block comes, unless there are too many of them.
func (r *remote) stand(id block.ID) {
	h := r.held[id]
	if h == nil || !h.waiting {
		return
	}
	h.waiting = false
	if r.stood < maxStanding {
		h.standing = true
		r.stood++
		return
	}
	h.sent = false
	r.post(op{id: id, cancel: true})
}

func (r *remote) unstand(h *held) {
	if h.standing {
		h.standing = false
		r.stood--
	}
}

// post queues an entry and makes sure that somebody writes it.
func (r *remote) post(o op) {
	r.outbox = append(r.outbox, o)
	if r.writing || r.e.closed {
		return
	}
	r.writing = true
	r.e.wait.Add(1)
	go r.write()
}

// write sends the outbox until it is empty. While one message is on its way the
// next one gathers, so entries travel in few messages without any delay.
func (r *remote) write() {
	defer r.e.wait.Done()
	for {
		r.e.mu.Lock()
		ops := r.outbox
		r.outbox = nil
		if len(ops) == 0 || r.e.closed {
			r.writing = false
			r.e.drop(r)
			r.e.mu.Unlock()
			return
		}
		r.e.mu.Unlock()
		l := r.e.wires.link(r.p)
		if l == nil {
			continue // closed meanwhile
		}
		for _, m := range wantlists(ops) {
			if err := l.wants.send(context.Background(), m); err != nil {
				r.e.unreachable(r.p)
				break
			}
		}
	}
}

// wantlists makes messages of at most maxWants entries. Of several entries for
// one block the last one counts.
func wantlists(ops []op) []bsmsg.BitSwapMessage {
	last := make(map[block.ID]int, len(ops))
	for i, o := range ops {
		last[o.id] = i
	}
	var out []bsmsg.BitSwapMessage
	var m bsmsg.BitSwapMessage
	n := 0
	for i, o := range ops {
		if last[o.id] != i {
			continue
		}
		if n%maxWants == 0 {
			m = bsmsg.New(false)
			out = append(out, m)
		}
		n++
		if o.cancel {
			m.Cancel(cidOf(o.id))
		} else { // a server serves the highest priority first
			m.AddEntry(cidOf(o.id), math.MaxInt32-int32(n), pb.Message_Wantlist_Block, true)
		}
	}
	return out
}
