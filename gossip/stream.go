package gossip

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// stream is one of pubsub's streams; it leaves its host's list when it ends.
type stream struct {
	network.Stream
	h *gated
}

func (s *stream) Close() error { s.h.forget(s); return s.Stream.Close() }
func (s *stream) Reset() error { s.h.forget(s); return s.Stream.Reset() }

// inbound is a stream that pubsub reads RPCs from. It can make pubsub look at the
// peer once more although the peer is silent, by slipping an empty RPC in between
// two of its own: the gate rewrites every RPC, so claims that have become right
// since they were made take effect.
//
//	wire   ──[len][RPC]──────────────[len][RPC]──▶
//	pubsub ──[len][RPC]──[2][empty]──[len][RPC]──▶
//	                       nudge
type inbound struct {
	*stream
	frame  frame
	nudged atomic.Bool
	inject []byte
}

// emptyRPC is a frame with an RPC that carries an empty control message; one of
// no bytes at all would be skipped before the gate.
func emptyRPC() []byte { return []byte{2, 0x1a, 0} }

// nudge makes the reader look up: a deadline in the past ends a Read that waits.
func (s *inbound) nudge() {
	s.nudged.Store(true)
	_ = s.SetReadDeadline(time.Unix(1, 0))
}

func (s *inbound) Read(p []byte) (int, error) {
	for {
		if len(s.inject) == 0 && s.frame.boundary() && s.nudged.Swap(false) {
			s.inject = emptyRPC()
		}
		if len(s.inject) > 0 {
			n := copy(p, s.inject)
			s.inject = s.inject[n:]
			return n, nil
		}
		n, err := s.Stream.Read(p)
		s.frame.advance(p[:n])
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			// Only nudge sets a deadline. Clear it first and look at the flag after,
			// so that a nudge in between is not lost.
			if err := s.SetReadDeadline(time.Time{}); err != nil {
				return 0, err
			}
			continue
		}
		return n, err
	}
}

// frame follows the varint length prefixes of a stream, to know where one RPC
// ends and the next begins.
type frame struct {
	size  uint64 // the length read so far
	shift uint
	body  uint64 // bytes of the body still to come
}

func (f *frame) boundary() bool { return f.body == 0 && f.shift == 0 }

func (f *frame) advance(p []byte) {
	for len(p) > 0 {
		if f.body > 0 {
			n := min(f.body, uint64(len(p)))
			f.body -= n
			p = p[n:]
			continue
		}
		f.size |= uint64(p[0]&0x7f) << f.shift
		if p[0]&0x80 != 0 {
			f.shift += 7 // an endless varint is pubsub's to refuse
		} else {
			f.body, f.size, f.shift = f.size, 0, 0
		}
		p = p[1:]
	}
}
