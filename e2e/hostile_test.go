package e2e_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/gossip"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/node/nodetest"
)

// A member that floods with junk, 50,000 frames on gossip and sync streams, costs
// bounded memory, and the honest go on meanwhile.
func TestMemberFloodsWithJunk(t *testing.T) {
	const frames = 50_000
	ctx := within(t)
	h := hosttest.New(t, hosttest.TCP)
	a, b := nodetest.Open(t, nodetest.Named("ann")), nodetest.Open(t, nodetest.Named("bob"))
	mallory := nodetest.Open(t, nodetest.Named("mallory"), nodetest.OnHost(h))
	_, err := a.CreateTeam(ctx, nodetest.Team)
	require.NoError(t, err)
	onA := nodetest.DB(t, a, "notes")
	nodetest.Join(t, b, nodetest.Invite(t, a, nodetest.Team), "")
	nodetest.Join(t, mallory, nodetest.Invite(t, a, nodetest.Team), "")
	st, err := a.Status(ctx)
	require.NoError(t, err)
	victim, err := peer.AddrInfoFromString(st.Network.Addrs[0])
	require.NoError(t, err)
	honest := func(prefix string) time.Duration {
		begun := time.Now()
		puts(t, onA, prefix, 200)
		nodetest.Equal(ctx, t, "notes", a, b)
		return time.Since(begun)
	}
	honest("warm")
	alone, before := honest("alone"), heapNow()

	var sent int
	var broken error
	begun := time.Now()
	var took time.Duration
	done := make(chan struct{})
	go func() {
		defer close(done)
		var onGossip, onSync int
		var errs [2]error
		onGossip, errs[0] = floodGossip(ctx, h, victim.ID, frames/2)
		onSync, errs[1] = floodSync(ctx, h, victim.ID, frames/2)
		sent, broken, took = onGossip+onSync, errors.Join(errs[:]...), time.Since(begun)
	}()
	during := honest("during")
	<-done
	require.NoError(t, broken)
	grew := heapNow() - before
	honest("after")
	t.Logf("%d frames sent in %s, heap grew by %d KiB; 200 puts until equal: %s alone, %s meanwhile, ratio %.2f (2 allowed; the flooder shares the machine)",
		sent, took.Round(time.Millisecond), grew>>10, alone.Round(time.Millisecond), during.Round(time.Millisecond), during.Seconds()/alone.Seconds())
	require.GreaterOrEqual(t, sent, frames)
	require.Less(t, grew, int64(64<<20))
}

// floodGossip writes frames as GossipSub delimits them, on a new stream whenever the
// victim ends the old one.
func floodGossip(ctx context.Context, h host.Host, to peer.ID, n int) (sent int, err error) {
	for sent < n {
		s, err := h.NewStream(ctx, to, gossip.Protocol)
		if err != nil {
			return sent, fmt.Errorf("after %d frames: %w", sent, err)
		}
		_ = s.SetDeadline(time.Now().Add(hosttest.Deadline))
		for ; sent < n; sent++ {
			junk := binary.BigEndian.AppendUint32(make([]byte, 60), uint32(sent))
			if sent%2 == 0 { // an RPC with a message on a topic that is none
				junk = append([]byte{0x12, byte(len(junk) + 5), 0x12, byte(len(junk))}, junk...)
				junk = append(junk, 0x22, 1, 'x')
			}
			if _, err := s.Write(append([]byte{byte(len(junk))}, junk...)); err != nil {
				break
			}
		}
		sent++ // the frame that did not go through
		_ = s.CloseWrite()
	}
	return sent, nil
}

// floodSync asks about teams that do not exist, and every fiftieth time in no known
// language, which ends the stream.
func floodSync(ctx context.Context, h host.Host, to peer.ID, n int) (sent int, err error) {
	for sent < n {
		s, err := h.NewStream(ctx, to, protocol.ID(message.SyncProtocol))
		if err != nil {
			return sent, fmt.Errorf("after %d frames: %w", sent, err)
		}
		if err := askInVain(s, sent); err != nil {
			return sent, err
		}
		sent += 50
		_ = s.Reset()
	}
	return sent, nil
}

// askInVain asks 49 questions in order, then one that is none.
func askInVain(s network.Stream, from int) error {
	_ = s.SetDeadline(time.Now().Add(hosttest.Deadline))
	for i := range 49 {
		team := block.TeamID(binary.BigEndian.AppendUint64(make([]byte, 24), uint64(from+i+1)))
		data, err := message.Request{Teams: []message.TeamRequest{{Team: team, Summary: [32]byte{1}}}}.Encode()
		if err == nil {
			err = message.Write(s, data)
		}
		if err != nil {
			return err
		}
	}
	for range 49 {
		if _, err := message.Read(s, message.MaxFrame); err != nil {
			return fmt.Errorf("asked in vain, but in order: %w", err)
		}
	}
	if err := message.Write(s, []byte("\x01 junk")); err != nil {
		return err
	}
	if got, _ := io.ReadAll(s); len(got) > 0 { // the stream ends
		return fmt.Errorf("%d bytes for junk", len(got))
	}
	return nil
}

// A member that opens streams without end and lets each promise a frame that never
// comes holds a bounded number of them, and the honest go on.
func TestSlowLorisHoldsFewStreams(t *testing.T) {
	const streams, allowed = 100, 8
	ctx := within(t)
	victimHost, h := hosttest.New(t, hosttest.TCP), hosttest.New(t, hosttest.TCP)
	a, b := nodetest.Open(t, nodetest.Named("ann"), nodetest.OnHost(victimHost)), nodetest.Open(t, nodetest.Named("bob"))
	mallory := nodetest.Open(t, nodetest.Named("mallory"), nodetest.OnHost(h))
	_, err := a.CreateTeam(ctx, nodetest.Team)
	require.NoError(t, err)
	onA := nodetest.DB(t, a, "notes")
	nodetest.Join(t, b, nodetest.Invite(t, a, nodetest.Team), "")
	nodetest.Join(t, mallory, nodetest.Invite(t, a, nodetest.Team), "")
	nodetest.Equal(ctx, t, "notes", a, b, mallory)

	held := func() (n int) {
		for _, c := range victimHost.Network().ConnsToPeer(h.ID()) {
			for _, s := range c.GetStreams() {
				if s.Protocol() == message.SyncProtocol && s.Stat().Direction == network.DirInbound {
					n++
				}
			}
		}
		return n
	}
	opened, refused := 0, 0
	part := append(binary.BigEndian.AppendUint32(nil, message.MaxFrame), make([]byte, 64<<10)...)
	for range streams {
		s, err := h.NewStream(ctx, victimHost.ID(), message.SyncProtocol)
		if err != nil {
			refused++
			continue
		}
		opened++
		_ = s.SetDeadline(time.Now().Add(hosttest.Deadline))
		_, _ = s.Write(part)
	}
	require.Greater(t, opened, allowed, "the attack did not take place")
	nodetest.Until(ctx, t, "the rest to be reset", func() bool { return held() <= allowed })
	puts(t, onA, "honest", 20)
	nodetest.Equal(ctx, t, "notes", a, b)
	require.LessOrEqual(t, held(), allowed)
	t.Logf("%d streams opened, %d refused, %d held", opened, refused, held())
}

func heapNow() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
