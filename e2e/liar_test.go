package e2e_test

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/bitswap"
	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/message"
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

// A member whose node lies: about what it has, without end, or by saying nothing. Its
// victims have no gossip and must ask; they become equal all the same, and turn to the
// liar a bounded number of times.
func TestHonestPeersFinishAmongLiars(t *testing.T) {
	ctx := within(t)
	h := hosttest.New(t, hosttest.TCP)
	quiet := func() nodetest.Option { return nodetest.OnHost(mute{hosttest.New(t, hosttest.TCP)}) }
	a, b := nodetest.Open(t, nodetest.Named("ann"), quiet()), nodetest.Open(t, nodetest.Named("bob"), quiet())
	mallory := nodetest.Open(t, nodetest.Named("mallory"), nodetest.OnHost(h))
	_, err := a.CreateTeam(ctx, nodetest.Team)
	require.NoError(t, err)
	onA := nodetest.DB(t, a, "notes")
	code := nodetest.Invite(t, a, nodetest.Team)
	nodetest.Join(t, b, code, "")
	nodetest.Join(t, mallory, code, "")
	nodetest.Equal(ctx, t, "notes", a, b, mallory)

	var asked atomic.Uint64
	var now atomic.Pointer[lie]
	h.SetStreamHandler(bitswap.Protocol, func(s network.Stream) { _, _ = io.Copy(io.Discard, s) })
	h.SetStreamHandler(message.SyncProtocol, func(s network.Stream) {
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
			r := (*now.Load())(s, req.Teams[0], asked.Add(1))
			if r == nil {
				return
			}
			data, err = message.Response{Teams: []message.TeamResponse{*r}}.Encode()
			if err != nil || message.Write(s, data) != nil {
				return
			}
		}
	})
	for name, l := range map[string]lie{
		"have and silence": func(_ network.Stream, q message.TeamRequest, _ uint64) *message.TeamResponse {
			return &message.TeamResponse{Team: q.Team, Summary: [32]byte{1}, DBs: claims(q, nobodys(1, 5), false)}
		},
		"endless parents": func(_ network.Stream, q message.TeamRequest, n uint64) *message.TeamResponse {
			return &message.TeamResponse{Team: q.Team, Summary: [32]byte{byte(n)}, DBs: claims(q, nobodys(n<<20, 20_000), true)}
		},
		"silence": func(s network.Stream, _ message.TeamRequest, _ uint64) *message.TeamResponse {
			_, _ = io.Copy(io.Discard, s)
			return nil
		},
	} {
		now.Store(&l)
		before, heap, begun := asked.Load(), heapNow(), time.Now()
		puts(t, onA, name, 20)
		nodetest.Equal(ctx, t, "notes", a, b)
		took := time.Since(begun)
		nodetest.Until(ctx, t, "the liar is asked", func() bool { return asked.Load() > before })
		// A question is two requests, two ask, and each waits twice as long after every
		// failure: 1, 2, 4 … s.
		most := 12 + 4*uint64(time.Since(begun)/time.Second)
		n, grew := asked.Load()-before, heapNow()-heap
		t.Logf("%s: equal after %s, the liar was asked %d times, heap grew by %d KiB", name, took.Round(time.Millisecond), n, grew>>10)
		require.LessOrEqual(t, n, most, name)
		require.Less(t, grew, int64(64<<20), name)
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
