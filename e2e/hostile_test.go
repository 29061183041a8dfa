package e2e_test

import (
	"encoding/binary"
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
// bounded memory, and the honest go on.
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

	before := heapNow()
	start := time.Now()
	sent := floodGossip(t, h, victim.ID, frames/2)
	sent += floodSync(t, h, victim.ID, frames/2)
	took, grew := time.Since(start), heapNow()-before
	puts(t, onA, "honest", 20)
	nodetest.Equal(ctx, t, "notes", a, b)
	t.Logf("%d frames sent in %s, heap grew by %d KiB", sent, took.Round(time.Millisecond), grew>>10)
	require.GreaterOrEqual(t, sent, frames)
	require.Less(t, grew, int64(64<<20))
}

// floodGossip writes frames as GossipSub delimits them, on a new stream whenever the
// victim ends the old one.
func floodGossip(t testing.TB, h host.Host, to peer.ID, n int) (sent int) {
	t.Helper()
	for sent < n {
		s, err := h.NewStream(t.Context(), to, gossip.Protocol)
		require.NoError(t, err, "after %d frames", sent)
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
	return sent
}

// floodSync asks about teams that do not exist, and every fiftieth time in no known
// language, which ends the stream.
func floodSync(t testing.TB, h host.Host, to peer.ID, n int) (sent int) {
	t.Helper()
	for sent < n {
		s, err := h.NewStream(t.Context(), to, protocol.ID(message.SyncProtocol))
		require.NoError(t, err, "after %d frames", sent)
		_ = s.SetDeadline(time.Now().Add(hosttest.Deadline))
		for range 49 {
			req := message.Request{Teams: []message.TeamRequest{{Team: block.TeamID(binary.BigEndian.AppendUint64(make([]byte, 24), uint64(sent+1))), Summary: [32]byte{1}}}}
			data, err := req.Encode()
			require.NoError(t, err)
			require.NoError(t, message.Write(s, data))
			sent++
		}
		for range 49 {
			_, err := message.Read(s, message.MaxFrame)
			require.NoError(t, err, "asked in vain, but in order")
		}
		require.NoError(t, message.Write(s, []byte("\x01 junk")))
		sent++
		got, _ := io.ReadAll(s)
		require.Empty(t, got)
		_ = s.Reset()
	}
	return sent
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
