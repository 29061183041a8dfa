package bitswap

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Protocol is the only protocol id this package speaks.
const Protocol protocol.ID = "/toft/ipfs/bitswap/1.2.0"

// pipe is one long-lived stream to a peer, opened when first written to and again
// after it broke. Bitswap as boxo speaks it opens a stream per message, and runs
// into the 75 inbound streams per protocol and peer that libp2p allows; what does
// not get one is lost silently.
type pipe struct {
	host host.Host
	to   peer.ID

	turn chan struct{} // holds the one that writes; no mutex: it waits for the network

	mu    sync.Mutex
	s     network.Stream
	shut  bool
	stuck time.Time // until when nothing is written
}

func newPipe(h host.Host, to peer.ID) *pipe {
	return &pipe{host: h, to: to, turn: make(chan struct{}, 1)}
}

var errStuck = errors.New("bitswap: peer does not read")

// send writes one message. It waits while another one is being written. An error
// means that the message may be lost and the stream is gone.
func (p *pipe) send(ctx context.Context, m bsmsg.BitSwapMessage) error {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.turn }()
	s, fresh, err := p.stream(ctx)
	if err != nil {
		return err
	}
	if err = m.ToNetV1(chunked{s}); err == nil {
		return nil
	}
	p.drop(s, err)
	if fresh || errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
		return err
	}
	// The stream may have been reset long ago, by a peer that restarted gossip or
	// by a connection that was replaced. A new one tells whether the peer is there.
	if s, _, err = p.stream(ctx); err != nil {
		return err
	}
	if err = m.ToNetV1(chunked{s}); err != nil {
		p.drop(s, err)
	}
	return err
}

// stream returns the open stream, or a fresh one.
func (p *pipe) stream(ctx context.Context) (s network.Stream, fresh bool, err error) {
	p.mu.Lock()
	s, stuck := p.s, time.Now().Before(p.stuck)
	p.mu.Unlock()
	switch {
	case stuck:
		return nil, false, errStuck
	case s != nil:
		return s, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	// Node decides whom to dial; a relayed connection is as good as any.
	ctx = network.WithAllowLimitedConn(network.WithNoDial(ctx, "bitswap"), "bitswap")
	if s, err = p.host.NewStream(ctx, p.to, Protocol); err != nil {
		return nil, false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut {
		_ = s.Reset()
		return nil, false, ErrClosed
	}
	p.s = s
	return s, true, nil
}

// drop ends the stream after a failed write.
func (p *pipe) drop(s network.Stream, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = s.Reset()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		p.stuck = time.Now().Add(stuckTime)
	}
	if p.s == s {
		p.s = nil
	}
}

// reset ends the stream, also under a send that is stuck in it.
func (p *pipe) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.s != nil {
		_ = p.s.Reset()
		p.s = nil
	}
}

// close resets the stream and refuses new ones.
func (p *pipe) close() {
	p.mu.Lock()
	p.shut = true
	p.mu.Unlock()
	p.reset()
}

// chunked writes with a deadline for each chunk: a slow link may take its time
// for a large message, one that takes nothing at all may not.
type chunked struct{ s network.Stream }

func (c chunked) Write(b []byte) (n int, err error) {
	for err == nil && n < len(b) {
		if err = c.s.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			break
		}
		var k int
		k, err = c.s.Write(b[n:min(len(b), n+writeChunk)])
		n += k
	}
	return n, err
}
