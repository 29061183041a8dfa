package main

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// proxy passes TCP connections on and delays every byte by the same time, in both
// directions, without bounding how many are under way: a long line, not a thin one.
type proxy struct {
	addr   multiaddr.Multiaddr
	listen net.Listener
	to     string
	delay  time.Duration

	mu    sync.Mutex
	conns []net.Conn
	wg    sync.WaitGroup
}

func newProxy(to multiaddr.Multiaddr, delay time.Duration) (*proxy, error) {
	target, err := manet.ToNetAddr(to)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listen: l, to: target.String(), delay: delay}
	if p.addr, err = manet.FromNetAddr(l.Addr()); err != nil {
		_ = l.Close() // the first error counts
		return nil, err
	}
	p.wg.Go(p.serve)
	return p, nil
}

func (p *proxy) serve() {
	for {
		in, err := p.listen.Accept()
		if err != nil {
			return // closed
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = in.Close() // the dialler sees it
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, in, out)
		p.mu.Unlock()
		p.wg.Go(func() { p.pass(in, out) })
		p.wg.Go(func() { p.pass(out, in) })
	}
}

// late is bytes and when they are due at the other end.
type late struct {
	data []byte
	due  time.Time
}

// pass copies one direction. The queue is long enough for 64 MiB of full reads.
func (p *proxy) pass(from, to net.Conn) {
	queue := make(chan late, 2048)
	p.wg.Go(func() {
		for l := range queue {
			time.Sleep(time.Until(l.due))
			if _, err := to.Write(l.data); err != nil {
				break
			}
		}
		_ = to.Close() // ends the other direction too
		for range queue {
		}
	})
	for {
		buf := make([]byte, 32<<10)
		n, err := from.Read(buf)
		if n > 0 {
			queue <- late{buf[:n], time.Now().Add(p.delay)}
		}
		if err != nil {
			if err != io.EOF {
				_ = from.Close() // broken already
			}
			close(queue)
			return
		}
	}
}

func (p *proxy) close() {
	_ = p.listen.Close() // serve ends
	p.mu.Lock()
	for _, c := range p.conns {
		_ = c.Close() // both directions end
	}
	p.mu.Unlock()
	p.wg.Wait()
}
