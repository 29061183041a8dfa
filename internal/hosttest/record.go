package hosttest

import (
	"bytes"
	"context"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Recorder keeps every byte that passed through the streams of a host, above
// transport encryption. It is safe for concurrent use.
type Recorder struct {
	mu    sync.Mutex
	tapes []*tape
}

// tape is one direction of one stream. Directions are kept apart so that a
// needle cut in two by a write boundary is still found.
type tape struct {
	protocol protocol.ID
	data     []byte
}

// Record returns h with all streams opened or accepted through the returned host
// recorded. Streams opened on h itself (identify, ping) are not.
func Record(h host.Host) (host.Host, *Recorder) {
	r := &Recorder{}
	return &recorded{Host: h, r: r}, r
}

// Contains reports whether needle passed through any stream, in either direction.
func (r *Recorder) Contains(needle []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tapes {
		if bytes.Contains(t.data, needle) {
			return true
		}
	}
	return false
}

// Bytes returns how many bytes passed under each protocol, both directions.
func (r *Recorder) Bytes() map[protocol.ID]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := make(map[protocol.ID]int)
	for _, t := range r.tapes {
		n[t.protocol] += len(t.data)
	}
	return n
}

func (r *Recorder) tap(s network.Stream) network.Stream {
	in, out := &tape{protocol: s.Protocol()}, &tape{protocol: s.Protocol()}
	r.mu.Lock()
	r.tapes = append(r.tapes, in, out)
	r.mu.Unlock()
	return &tapped{Stream: s, r: r, in: in, out: out}
}

func (r *Recorder) keep(t *tape, p []byte) {
	r.mu.Lock()
	t.data = append(t.data, p...)
	r.mu.Unlock()
}

type recorded struct {
	host.Host
	r *Recorder
}

func (h *recorded) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	s, err := h.Host.NewStream(ctx, p, ids...)
	if err != nil {
		return nil, err
	}
	return h.r.tap(s), nil
}

func (h *recorded) SetStreamHandler(id protocol.ID, f network.StreamHandler) {
	h.Host.SetStreamHandler(id, func(s network.Stream) { f(h.r.tap(s)) })
}

func (h *recorded) SetStreamHandlerMatch(id protocol.ID, m func(protocol.ID) bool, f network.StreamHandler) {
	h.Host.SetStreamHandlerMatch(id, m, func(s network.Stream) { f(h.r.tap(s)) })
}

type tapped struct {
	network.Stream
	r       *Recorder
	in, out *tape
}

func (s *tapped) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	s.r.keep(s.in, p[:n])
	return n, err
}

func (s *tapped) Write(p []byte) (int, error) {
	n, err := s.Stream.Write(p)
	s.r.keep(s.out, p[:n])
	return n, err
}
