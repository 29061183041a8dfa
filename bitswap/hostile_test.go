package bitswap

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/hosttest"
)

// liar is a peer that speaks Bitswap by hand. answer is called for every want and
// may send what it likes over the stream.
type liar struct {
	host.Host
	wants   atomic.Int64
	stopped atomic.Bool
}

func newLiar(t *testing.T, h host.Host, answer func(send func(bsmsg.BitSwapMessage), w bsmsg.Entry)) *liar {
	l := &liar{Host: h}
	t.Cleanup(func() {
		l.stopped.Store(true)
		time.Sleep(time.Second) // of the bubble
	})
	l.SetStreamHandler(Protocol, func(s network.Stream) {
		var back network.Stream
		send := func(m bsmsg.BitSwapMessage) {
			var err error
			if back == nil {
				if back, err = l.NewStream(context.Background(), s.Conn().RemotePeer(), Protocol); err != nil {
					return
				}
			}
			if m.ToNetV1(back) != nil {
				back = nil
			}
		}
		r := msgio.NewVarintReaderSize(s, maxMessage)
		for {
			m, _, err := bsmsg.FromMsgReader(r)
			if err != nil {
				return
			}
			for _, w := range m.Wantlist() {
				if !w.Cancel && !l.stopped.Load() {
					l.wants.Add(1)
					answer(send, w)
				}
			}
		}
	})
	return l
}

func silent(func(bsmsg.BitSwapMessage), bsmsg.Entry) {}

// collect runs a fetch to its end and returns what came and the error.
func (n *node) collect(ctx context.Context, ids []block.ID, from ...peer.ID) (map[block.ID][]byte, error) {
	got := make(map[block.ID][]byte)
	for f, err := range n.GetMany(ctx, ids, from) {
		if err != nil {
			return got, err
		}
		got[f.ID] = f.Data
	}
	return got, nil
}

// Peers that never answer, lie, or send rubbish cost an honest fetch less than a
// second, and their blocks never pass for the ones that were wanted.
func TestHonestPeerMakesUpForLiars(t *testing.T) {
	rubbish := func(size int) func(func(bsmsg.BitSwapMessage), bsmsg.Entry) {
		return func(send func(bsmsg.BitSwapMessage), w bsmsg.Entry) {
			m := bsmsg.New(false)
			b, _ := blocks.NewBlockWithCid(make([]byte, size), w.Cid) // does not hash to it
			m.AddBlock(b)
			send(m)
		}
	}
	for name, answer := range map[string]func(func(bsmsg.BitSwapMessage), bsmsg.Entry){
		"silent": silent,
		"says have and sends nothing": func(send func(bsmsg.BitSwapMessage), w bsmsg.Entry) {
			m := bsmsg.New(false)
			m.AddHave(w.Cid)
			send(m)
		},
		"says it has nothing": func(send func(bsmsg.BitSwapMessage), w bsmsg.Entry) {
			m := bsmsg.New(false)
			m.AddDontHave(w.Cid)
			send(m)
		},
		"sends other bytes":     rubbish(300),
		"sends megabytes of it": rubbish(MaxBlock),
		"trickles": func(send func(bsmsg.BitSwapMessage), _ bsmsg.Entry) {
			time.Sleep(300 * time.Millisecond)
			m := bsmsg.New(false)
			m.AddBlock(blocks.NewBlock([]byte("something else")))
			send(m)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, func(t *testing.T, hosts []host.Host) {
				a, b, l := open(t, hosts[0]), open(t, hosts[1]), newLiar(t, hosts[2], answer)
				ids := b.disk.fill(1, 500, 300)
				ctx, cancel := context.WithTimeout(context.Background(), hosttest.Deadline)
				defer cancel()
				within(t, time.Second, func() {
					got, err := a.collect(ctx, ids, l.ID(), b.ID())
					if err != nil || len(got) != len(ids) {
						t.Fatalf("%d of %d: %v", len(got), len(ids), err)
					}
					for id, data := range got {
						if block.Sum(data) != id {
							t.Fatal("a block that does not hash to its ID")
						}
					}
				})
				if l.wants.Load() == 0 {
					t.Error("the liar was not asked: the test shows nothing")
				}
			})
		})
	}
}

// A lone peer that is silent is asked anew, and left within 5 s.
func TestSilentPeerIsLeft(t *testing.T) {
	bubble(t, 2, func(t *testing.T, hosts []host.Host) {
		a, l := open(t, hosts[0]), newLiar(t, hosts[1], silent)
		ids := newStore().fill(1, 3, 300)
		within(t, 5*time.Second, func() {
			got, err := a.collect(context.Background(), ids, l.ID())
			var missing *MissingError
			if len(got) != 0 || !errors.As(err, &missing) || !errors.Is(err, ErrNotFound) || len(missing.IDs) != 3 || missing.IDs[0] != ids[0] {
				t.Fatalf("%d blocks, %v", len(got), err)
			}
		})
		if n := l.wants.Load(); n < 9 {
			t.Errorf("%d wants: it was not asked anew", n)
		}
	})
}

// Blocks that nobody asked for end the stream they come on, before long.
func TestGarbageEndsTheStream(t *testing.T) {
	a := open(t, hosttest.New(t))
	h := hosttest.New(t)
	hosttest.Connect(t, h, a.Host)
	s, err := h.NewStream(context.Background(), a.ID(), Protocol)
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for i := 0; sent < 4*maxGarbage; i++ {
		m := bsmsg.New(false)
		data := make([]byte, MaxBlock)
		data[0], data[1] = byte(i), byte(i>>8)
		b, _ := blocks.NewBlockWithCid(data, cidOf(block.Sum(data)))
		m.AddBlock(b)
		if err := m.ToNetV1(s); err != nil {
			return // cut off
		}
		sent += len(data)
	}
	t.Fatalf("%d bytes of rubbish were taken", sent)
}

// A peer that floods us with wants gets a bounded list, and others are served.
func TestFloodOfWantsIsBounded(t *testing.T) {
	a, b := pair(t)
	h := hosttest.New(t)
	hosttest.Connect(t, h, b.Host)
	s, err := h.NewStream(context.Background(), b.ID(), Protocol)
	if err != nil {
		t.Fatal(err)
	}
	all := newStore().fill(7, 30000, 8)
	for at := 0; at < len(all); at += 10000 {
		m := bsmsg.New(false)
		for i, id := range all[at : at+10000] {
			m.AddEntry(cidOf(id), math.MaxInt32-int32(i), pb.Message_Wantlist_Block, true)
		}
		if err := m.ToNetV1(s); err != nil {
			t.Fatal(err)
		}
	}
	hosttest.Wait(t, "the wants", func() bool { return len(b.server.WantlistForPeer(h.ID())) > 0 })
	defer func() {
		if n := len(b.server.WantlistForPeer(h.ID())); n > maxLedger {
			t.Errorf("%d wants of one peer are kept, at most %d", n, maxLedger)
		}
	}()
	a.fetch(t, b.disk.fill(1, 1000, 300), b)
	if n := len(b.server.WantlistForPeer(h.ID())); n > maxLedger {
		t.Errorf("%d wants kept, at most %d", n, maxLedger)
	}
	b.Exchange.mu.Lock()
	n := len(b.waiting)
	b.Exchange.mu.Unlock()
	if n > maxWaiting {
		t.Errorf("%d blocks remembered, at most %d", n, maxWaiting)
	}
	// When the peer goes, so does what was kept for it.
	hosttest.Disconnect(t, h, b.Host)
	hosttest.Wait(t, "its list to go", func() bool { return len(b.server.WantlistForPeer(h.ID())) == 0 })
}

// A peer that wants without end is read from at a bounded rate, over all of its streams.
func TestFloodOfWantsIsHeldOff(t *testing.T) {
	bubble(t, 2, func(t *testing.T, hosts []host.Host) {
		const streams, messages, wants = 2, 8, 20_000
		b, h := open(t, hosts[0]), hosts[1]
		m := bsmsg.New(false)
		for i := range wants {
			m.AddEntry(cidOf(block.Sum(binary.BigEndian.AppendUint32(nil, uint32(i)))), int32(i), pb.Message_Wantlist_Block, false)
		}
		size := int64(0)
		begun := time.Now()
		for range streams {
			s, err := h.NewStream(context.Background(), b.ID(), Protocol)
			if err != nil {
				t.Fatal(err)
			}
			var w bytes.Buffer
			if err := m.ToNetV1(&w); err != nil {
				t.Fatal(err)
			}
			size += messages * int64(w.Len())
			go func() {
				for range messages {
					_, _ = s.Write(w.Bytes())
				}
			}()
		}
		for b.wires.got(h.ID()) < size {
			time.Sleep(time.Millisecond)
		}
		const total = streams * messages * wants
		// The last message of each stream is read before it is counted.
		least := (total-wantRate-streams*wants)*time.Second/wantRate - 10*time.Millisecond
		if took := time.Since(begun); took < least {
			t.Errorf("%d wants were taken in %v, at least %v expected", total, took, least)
		}
	})
}

// A peer may open as many streams as libp2p lets it: the newest few are read.
func TestInboundStreamsAreBounded(t *testing.T) {
	b := open(t, hosttest.New(t))
	h := hosttest.New(t)
	hosttest.Connect(t, h, b.Host)
	for range 20 {
		s, err := h.NewStream(context.Background(), b.ID(), Protocol)
		if err != nil {
			t.Fatal(err)
		}
		m := bsmsg.New(false)
		m.AddEntry(cidOf(block.ID{1}), 1, pb.Message_Wantlist_Block, true)
		_ = m.ToNetV1(s)
	}
	inbound := func() int {
		l := b.wires.link(h.ID())
		b.wires.mu.Lock()
		defer b.wires.mu.Unlock()
		return len(l.inbound)
	}
	hosttest.Wait(t, "the streams", func() bool { return inbound() == maxInbound })
	hosttest.Wait(t, "the rest to be reset", func() bool {
		n := 0
		for _, c := range b.Network().ConnsToPeer(h.ID()) {
			for _, s := range c.GetStreams() {
				if s.Protocol() == Protocol && s.Stat().Direction == network.DirInbound {
					n++
				}
			}
		}
		return n <= maxInbound
	})
}

// Peers that ask for much and read nothing do not keep us from serving others.
func TestPeersThatDoNotRead(t *testing.T) {
	a, b := pair(t)
	ids := b.disk.fill(1, 1000, 16<<10)
	for range 6 {
		h := hosttest.New(t)
		h.SetStreamHandler(Protocol, func(network.Stream) {}) // open, and never read
		hosttest.Connect(t, h, b.Host)
		s, err := h.NewStream(context.Background(), b.ID(), Protocol)
		if err != nil {
			t.Fatal(err)
		}
		m := bsmsg.New(false)
		for i, id := range ids {
			m.AddEntry(cidOf(id), math.MaxInt32-int32(i), pb.Message_Wantlist_Block, true)
		}
		if err := m.ToNetV1(s); err != nil {
			t.Fatal(err)
		}
	}
	a.fetch(t, ids, b) // starved, it would end with ErrNotFound
}

// A length alone costs its reader nothing; what is longer than it may be is refused by it.
func TestALengthMakesNoRoom(t *testing.T) {
	long := binary.AppendUvarint(nil, maxMessage)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 64 {
		m := &messages{r: bufio.NewReader(bytes.NewReader(long)), limit: func() int { return maxMessage }}
		if _, err := m.ReadMsg(); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 4<<20 {
		t.Errorf("%d bytes for 64 lengths", spent)
	}
	m := &messages{r: bufio.NewReader(bytes.NewReader(append(long, make([]byte, maxMessage)...))), limit: func() int { return maxMessage - 1 }}
	if _, err := m.ReadMsg(); err == nil {
		t.Error("a message that is too long is read")
	}
	m = &messages{r: bufio.NewReader(bytes.NewReader([]byte{3, 'a', 'b', 'c', 1, 'd'})), limit: func() int { return 3 }}
	for _, want := range []string{"abc", "d"} {
		got, err := m.ReadMsg()
		if string(got) != want || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		m.ReleaseMsg(got)
	}
	if _, err := m.ReadMsg(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// Who is on no roster is heard out in small messages only.
func TestAStrangerSendsSmallMessages(t *testing.T) {
	a, h := hosttest.New(t), hosttest.New(t)
	var known atomic.Bool
	disk := newStore()
	e, err := Open(Options{Host: a, Blocks: disk, Allow: func(peer.ID, block.ID) bool { return true }, Known: func(peer.ID) bool { return known.Load() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	hosttest.Connect(t, a, h)
	send := func(size int) error {
		s, err := h.NewStream(context.Background(), a.ID(), Protocol)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Reset()
		if _, err := s.Write(append(binary.AppendUvarint(nil, uint64(size)), make([]byte, size/2)...)); err != nil {
			return err
		}
		_ = s.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, err = s.Read(make([]byte, 1)) // a reset, or nothing at all
		return err
	}
	if err := send(strangerMessage + 1); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a large message of a stranger is waited for")
	}
	if err := send(strangerMessage); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a small one: %v", err)
	}
	known.Store(true)
	if err := send(maxMessage); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a large one of a member: %v", err)
	}
}
