package bitswap

import (
	"context"
	"errors"
	"testing"
	"time"

	boxo "github.com/ipfs/boxo/bitswap"
	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/hosttest"
)

// A host that knows a CID and is not allowed gets no byte of the block until it
// is admitted, and then it gets it at once, in the fetch that was running.
func TestDeniedUntilAdmitted(t *testing.T) {
	bubble(t, 2, func(t *testing.T, hosts []host.Host) {
		b, raw := open(t, hosts[0]), hosts[1]
		out, tape := hosttest.Record(raw)
		c := openPatient(t, out, time.Minute)
		b.deny(raw.ID(), true)
		id := b.disk.add([]byte("canary: not for strangers"))

		got := make(chan error, 1)
		go func() {
			data, err := c.Get(context.Background(), id, []peer.ID{b.ID()})
			if err == nil && block.Sum(data) != id {
				err = errors.New("damaged")
			}
			got <- err
		}()
		select {
		case err := <-got:
			t.Fatalf("ended while denied: %v", err)
		case <-time.After(10 * time.Second):
		}
		if tape.Contains([]byte("canary")) {
			t.Fatal("the block reached the stranger")
		}
		b.deny(raw.ID(), false)
		within(t, 10*time.Millisecond, func() {
			c.Admitted(b.ID())
			if err := <-got; err != nil {
				t.Fatal(err)
			}
		})
		if !tape.Contains([]byte("canary")) {
			t.Error("the recorder hears nothing: the test shows nothing")
		}

		// Without anybody telling, it is asked for again before long.
		b.deny(raw.ID(), true)
		id = b.disk.add([]byte("another"))
		go func() {
			_, err := c.Get(context.Background(), id, []peer.ID{b.ID()})
			got <- err
		}()
		select {
		case err := <-got:
			t.Fatalf("ended while denied: %v", err)
		case <-time.After(10 * time.Second):
		}
		b.deny(raw.ID(), false)
		within(t, maxReask+tick, func() {
			if err := <-got; err != nil {
				t.Fatal(err)
			}
		})
	})
}

// Without patience a denied fetch ends with ErrNotFound, as if there were no such
// block; and the context ends it too.
func TestDeniedLooksLikeAbsent(t *testing.T) {
	a, b := openPatient(t, hosttest.New(t), 100*time.Millisecond), open(t, hosttest.New(t))
	hosttest.Connect(t, a.Host, b.Host)
	b.deny(a.ID(), true)
	id := b.disk.add([]byte("here"))
	if _, err := a.Get(context.Background(), id, []peer.ID{b.ID()}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("denied: %v", err)
	}
	if _, err := a.Get(context.Background(), block.ID{9}, []peer.ID{b.ID()}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("absent: %v", err)
	}
	if _, err := a.Get(context.Background(), id, nil); !errors.Is(err, ErrNotFound) {
		t.Fatalf("nobody asked: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := a.Get(ctx, id, []peer.ID{b.ID()})
	var missing *MissingError
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &missing) || missing.IDs[0] != id {
		t.Fatalf("deadline: %v", err)
	}
}

// What a stranger is told about a block we have, and about one that does not
// exist, differs in the name it asked for and in nothing else.
func TestDeniedAndAbsentAreTheSameBytes(t *testing.T) {
	b := open(t, hosttest.New(t))
	h := hosttest.New(t)
	b.deny(h.ID(), true)
	answers := make(chan []byte, 4)
	h.SetStreamHandler(Protocol, func(s network.Stream) {
		r := msgio.NewVarintReaderSize(s, maxMessage)
		for {
			m, err := r.ReadMsg()
			if err != nil {
				return
			}
			answers <- m
		}
	})
	hosttest.Connect(t, h, b.Host)
	s, err := h.NewStream(context.Background(), b.ID(), Protocol)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(id block.ID, want pb.Message_Wantlist_WantType) string {
		m := bsmsg.New(false)
		m.AddEntry(cidOf(id), 1, want, true)
		if err := m.ToNetV1(s); err != nil {
			t.Fatal(err)
		}
		select {
		case a := <-answers:
			for at := 0; at+32 <= len(a); at++ {
				if block.ID(a[at:at+32]) == id {
					return string(a[:at]) + string(a[at+32:])
				}
			}
			t.Fatalf("answer %x does not name %s", a, id)
		case <-time.After(hosttest.Deadline):
			t.Fatal("no answer")
		}
		return ""
	}
	// Every want is about a block of its own. boxo takes a want off its list only
	// some time after the answer is on the wire, and until then forgets another one
	// for the same block that tells it nothing new: the asker has to ask once more,
	// as our client does.
	for i, want := range []pb.Message_Wantlist_WantType{pb.Message_Wantlist_Block, pb.Message_Wantlist_Have} {
		id := b.disk.add([]byte{byte(i), 'h', 'e', 'r', 'e'})
		if here, absent := ask(id, want), ask(block.ID{9, byte(i)}, want); here != absent {
			t.Errorf("want %v: %x for a block we have, %x for one that is not", want, here, absent)
		}
	}
}

// A peer that is removed while its wants are queued does not get the answers.
func TestRemovedBetweenWantAndAnswer(t *testing.T) {
	b := open(t, hosttest.New(t))
	raw := hosttest.New(t)
	out, tape := hosttest.Record(raw)
	a := open(t, out)
	hosttest.Connect(t, raw, b.Host)
	id := b.disk.add([]byte("canary"))
	c := &counter{wires: b.wires, vain: b.vain, allow: nil}
	m := bsmsg.New(false)
	blk, err := b.shelf.Get(context.Background(), cidOf(id))
	if err != nil {
		t.Fatal(err)
	}
	m.AddBlock(blk)
	m.AddHave(cidOf(block.ID{7}))
	c.allow = allowing(b)
	b.deny(raw.ID(), true)
	if p := c.permitted(raw.ID(), m); len(p.Blocks()) != 0 || len(p.Haves()) != 0 || len(p.DontHaves()) != 2 {
		t.Fatalf("%d blocks and %d haves leave for a removed peer", len(p.Blocks()), len(p.Haves()))
	}
	if err := c.SendMessage(context.Background(), raw.ID(), m); err != nil {
		t.Fatal(err)
	}
	hosttest.Wait(t, "the answer", func() bool { return tape.Bytes()[Protocol] > 0 })
	if tape.Contains([]byte("canary")) {
		t.Error("the block left")
	}
	b.deny(raw.ID(), false)
	a.fetch(t, []block.ID{id}, b)
}

// A block that a peer asked for in vain reaches it when it is added, in the fetch
// that was running.
func TestAddedServesWhoWaits(t *testing.T) {
	a, b := openPatient(t, hosttest.New(t), time.Minute), open(t, hosttest.New(t))
	hosttest.Connect(t, a.Host, b.Host)
	data := []byte("late")
	id := block.Sum(data)
	got := make(chan error, 1)
	go func() {
		_, err := a.Get(context.Background(), id, []peer.ID{b.ID()})
		got <- err
	}()
	hosttest.Wait(t, "the refusal", func() bool { b.Exchange.mu.Lock(); defer b.Exchange.mu.Unlock(); return len(b.waiting) == 1 })
	b.disk.add(data)
	b.Added(id, block.ID{1})
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

// The embedder's own Bitswap and ours share a host.
func TestBesideAnEmbeddersBitswap(t *testing.T) {
	a, b := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	theirs := newStore()
	tid := theirs.add([]byte("theirs"))
	ba := boxo.New(ctx, bsnet.NewFromIpfsHost(a.Host), nil, shelf{newStore()})
	defer ba.Close()
	bb := boxo.New(ctx, bsnet.NewFromIpfsHost(b.Host), nil, shelf{theirs})
	defer bb.Close()
	oid := b.disk.add([]byte("ours"))
	a.fetch(t, []block.ID{oid}, b)
	ctx, done := context.WithTimeout(ctx, hosttest.Deadline)
	defer done()
	if blk, err := ba.GetBlock(ctx, cidOf(tid)); err != nil || string(blk.RawData()) != "theirs" {
		t.Fatalf("the embedder got %v, %v", blk, err)
	}
	_ = a.Exchange.Close()
	tid = theirs.add([]byte("still theirs"))
	if _, err := ba.GetBlock(ctx, cidOf(tid)); err != nil {
		t.Fatalf("after our Close: %v", err)
	}
}
