package e2e_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/bitswap"
	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/node"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

// nobodys returns ids that no block has.
func nobodys(from uint64, n int) []block.ID {
	ids := make([]block.ID, n)
	for i := range ids {
		ids[i] = sha256.Sum256(binary.BigEndian.AppendUint64(nil, from+uint64(i)))
	}
	return ids
}

// lie answers one question; nil ends the stream.
type lie func(s network.Stream, q message.TeamRequest, n uint64) *message.TeamResponse

// lies are what the node of a member does that wants to harm the others.
var lies = map[string]lie{
	"have and silence": func(_ network.Stream, q message.TeamRequest, _ uint64) *message.TeamResponse {
		return &message.TeamResponse{Team: q.Team, Summary: [32]byte{1}, DBs: claims(q, nobodys(1, 5), false)}
	},
	"endless parents": func(_ network.Stream, q message.TeamRequest, n uint64) *message.TeamResponse {
		return &message.TeamResponse{Team: q.Team, Summary: [32]byte{byte(n)}, DBs: claims(q, nobodys(n<<20, 20_000), true)}
	},
	"a false frontier": func(_ network.Stream, q message.TeamRequest, n uint64) *message.TeamResponse {
		far := crdt.Frontier{{Actor: block.Actor{Device: block.Device(nobodys(n, 1)[0])}, Seq: 1 << 40}}.Encode()
		r := &message.TeamResponse{Team: q.Team, Summary: [32]byte{2}, DBs: claims(q, nobodys(n<<20, 3), false)}
		for i := range r.DBs {
			r.DBs[i].Frontier = far
		}
		return r
	},
	"wrong blocks": func(_ network.Stream, q message.TeamRequest, n uint64) *message.TeamResponse {
		junk := binary.BigEndian.AppendUint64(make([]byte, 4096), n)
		r := &message.TeamResponse{Team: q.Team, Summary: [32]byte{3}, DBs: claims(q, []block.ID{sha256.Sum256(junk)}, true)}
		for i := range r.DBs {
			r.DBs[i].Inline = [][]byte{junk}
		}
		return r
	},
	"silence": func(s network.Stream, _ message.TeamRequest, _ uint64) *message.TeamResponse {
		_, _ = io.Copy(io.Discard, s)
		return nil
	},
}

// among is two honest members without gossip, who must ask, and a third.
type among struct {
	t     testing.TB
	a, b  *node.Node
	onA   api.DB
	third host.Host
	asked atomic.Uint64
	turns int
}

func newAmong(t testing.TB) *among {
	ctx := within(t)
	quiet := func() nodetest.Option { return nodetest.OnHost(mute{hosttest.New(t, hosttest.TCP)}) }
	w := &among{t: t, third: hosttest.New(t, hosttest.TCP)}
	w.a, w.b = nodetest.Open(t, nodetest.Named("ann"), quiet()), nodetest.Open(t, nodetest.Named("bob"), quiet())
	mallory := nodetest.Open(t, nodetest.Named("mallory"), nodetest.OnHost(w.third))
	_, err := w.a.CreateTeam(ctx, nodetest.Team)
	require.NoError(t, err)
	w.onA = nodetest.DB(t, w.a, "notes")
	code := nodetest.Invite(t, w.a, nodetest.Team)
	nodetest.Join(t, w.b, code, "")
	nodetest.Join(t, mallory, code, "")
	nodetest.Equal(ctx, t, "notes", w.a, w.b, mallory)
	return w
}

// lies has the third lie from now on.
func (w *among) lies(l lie) {
	w.third.SetStreamHandler(bitswap.Protocol, func(s network.Stream) { _, _ = io.Copy(io.Discard, s) })
	w.third.SetStreamHandler(message.SyncProtocol, func(s network.Stream) {
		defer s.Reset()
		for {
			data, err := message.Read(s, message.MaxFrame)
			if err != nil {
				return
			}
			req, err := message.ParseRequest(data)
			if err != nil {
				return
			}
			r := l(s, req.Teams[0], w.asked.Add(1))
			if r == nil {
				return
			}
			data, err = message.Response{Teams: []message.TeamResponse{*r}}.Encode()
			if err != nil || message.Write(s, data) != nil {
				return
			}
		}
	})
}

// turn writes some documents and returns how long it takes the honest to be equal.
func (w *among) turn() time.Duration {
	w.turns++
	begun := time.Now()
	puts(w.t, w.onA, fmt.Sprint("turn-", w.turns), 20)
	nodetest.Equal(within(w.t), w.t, "notes", w.a, w.b)
	return time.Since(begun)
}

// A member whose node lies: about what it has, without end, or by saying nothing. Its
// victims have no gossip and must ask; they become equal all the same, and turn to the
// liar a bounded number of times. BenchmarkHonestAmongLiars says how fast.
func TestHonestPeersFinishAmongLiars(t *testing.T) {
	w := newAmong(t)
	for name, l := range lies {
		w.lies(l)
		before, heap, begun := w.asked.Load(), heapNow(), time.Now()
		took := w.turn()
		nodetest.Until(within(t), t, "the liar is asked", func() bool { return w.asked.Load() > before })
		// A question is two requests, two ask, and each waits twice as long after every
		// failure: 1, 2, 4 … s.
		most := 12 + 4*uint64(time.Since(begun)/time.Second)
		n, grew := w.asked.Load()-before, heapNow()-heap
		t.Logf("%s: equal after %s, the liar was asked %d times, heap grew by %d KiB", name, took.Round(time.Millisecond), n, grew>>10)
		require.LessOrEqual(t, n, most, name)
		require.Less(t, grew, int64(64<<20), name)
	}
}

// BenchmarkHonestAmongLiars compares how long the honest take with a third who lies and
// with one who is honest, in one run. Without gossip they ask at random times of two
// seconds' mean: the figure is the mean of some turns.
func BenchmarkHonestAmongLiars(b *testing.B) {
	const turns = 15
	mean := func(w *among) (sum time.Duration) {
		for range turns {
			sum += w.turn()
		}
		return sum / turns
	}
	for b.Loop() {
		alone := mean(newAmong(b))
		b.ReportMetric(alone.Seconds(), "s-honest")
		for name, l := range lies {
			w := newAmong(b)
			w.lies(l)
			b.ReportMetric(mean(w).Seconds()/alone.Seconds(), "×-"+strings.ReplaceAll(name, " ", "-"))
		}
	}
}

// claims is what a liar says of every database it is asked about.
func claims(q message.TeamRequest, lacking []block.ID, more bool) (out []message.DBResponse) {
	for _, db := range q.DBs {
		out = append(out, message.DBResponse{
			DBHeads: message.DBHeads{DB: db.DB, Heads: nobodys(9, 1), Digest: [32]byte{1}}, Lacking: lacking, More: more,
		})
	}
	return out
}
