package peering

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/replicate"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/team"
)

// trio is a team of three: ann is honest, mallory lies, bob is the one lied to. Bob
// and mallory hold the same when it begins.
type trio struct {
	ann, mallory, bob *device
	c, onM, onB       *ledger.Chain
	dbA, dbM, dbB     *ledger.Database
}

func newTrio(t testing.TB) *trio {
	t.Helper()
	w := &trio{ann: newDevice(t, "ann"), mallory: newDevice(t, "mallory"), bob: newDevice(t, "bob")}
	w.c, w.dbA = w.ann.found("fam")
	w.onM, w.dbM = w.mallory.join(w.ann, w.c)
	w.onB, w.dbB = w.bob.join(w.ann, w.c)
	hosttest.Connect(t, w.bob.host, w.mallory.host)
	confirmed(t, w.onM)
	confirmed(t, w.onB)
	hosttest.Wait(t, "one chain", func() bool {
		return w.onM.Summary() == w.c.Summary() && w.onB.Summary() == w.c.Summary()
	})
	return w
}

// lies replaces what mallory answers on sync streams.
func (w *trio) lies(answer func(s network.Stream, req message.Request) bool) {
	w.mallory.host.SetStreamHandler(message.SyncProtocol, func(s network.Stream) {
		defer s.Reset()
		for {
			data, err := message.Read(s, message.MaxFrame)
			if err != nil {
				return
			}
			req, err := message.ParseRequest(data)
			if err != nil || !answer(s, req) {
				return
			}
		}
	})
}

// says sends one response.
func says(s network.Stream, teams ...message.TeamResponse) bool {
	data, err := message.Response{Teams: teams}.Encode()
	return err == nil && message.Write(s, data) == nil
}

// A member that lies on the sync stream costs a pull, bounded in time and memory,
// and makes neither noise nor alarm; what an honest member has still arrives.
func TestLyingResponders(t *testing.T) {
	unknown := func(n int) (ids []block.ID) {
		for i := range n {
			ids = append(ids, block.Sum(binary.BigEndian.AppendUint64(nil, uint64(i))))
		}
		return ids
	}
	for name, lie := range map[string]struct {
		says    func(w *trio) func(s network.Stream, req message.Request) bool
		want    replicate.Outcome
		refused bool
	}{
		"wrong blocks inline": {func(w *trio) func(network.Stream, message.Request) bool {
			junk := [][]byte{[]byte("no block at all")}
			ids := []block.ID{block.Sum(junk[0])}
			return func(s network.Stream, req message.Request) bool {
				return says(s, w.answer(req, message.DBResponse{Lacking: ids, Inline: junk}))
			}
		}, replicate.Equal, false},
		"a commit whose signature is broken": {func(w *trio) func(network.Stream, message.Request) bool {
			data, _ := w.mallory.store.Get(store.Block(w.dbM.Heads().Heads[0]))
			forged := append([]byte{}, data...)
			forged[len(forged)-1] ^= 1
			ids := []block.ID{block.Sum(forged)}
			return func(s network.Stream, req message.Request) bool {
				return says(s, w.answer(req, message.DBResponse{Lacking: ids, Inline: [][]byte{forged}}))
			}
		}, replicate.Equal, true},
		"commits of another database": {func(w *trio) func(network.Stream, message.Request) bool {
			other := w.mallory.database(must(w.mallory.ledger.Found(context.Background(), "own", false)), "other")
			id := put(w.mallory.t, other, "x", nil)
			data, _ := w.mallory.store.Get(store.Block(id))
			return func(s network.Stream, req message.Request) bool {
				return says(s, w.answer(req, message.DBResponse{Lacking: []block.ID{id}, Inline: [][]byte{data}}))
			}
		}, replicate.Equal, false},
		"more links for ever": {func(w *trio) func(network.Stream, message.Request) bool {
			return func(s network.Stream, req message.Request) bool {
				r := w.answer(req)
				r.MoreLinks = true
				return says(s, r)
			}
		}, replicate.Equal, false},
		"ids it never serves": {func(w *trio) func(network.Stream, message.Request) bool {
			ids := unknown(8 * replicate.Window)
			return func(s network.Stream, req message.Request) bool {
				return says(s, w.answer(req, message.DBResponse{Lacking: ids, More: true}))
			}
		}, replicate.Failed, false},
		"a frame of 4 GiB": {func(*trio) func(network.Stream, message.Request) bool {
			return func(s network.Stream, _ message.Request) bool {
				_, err := s.Write([]byte{0xff, 0xff, 0xff, 0xff, 1, 2, 3})
				return err == nil
			}
		}, replicate.Failed, false},
		"garbage": {func(*trio) func(network.Stream, message.Request) bool {
			return func(s network.Stream, _ message.Request) bool {
				return message.Write(s, []byte("\x01\xa1\x01\x9f")) == nil
			}
		}, replicate.Failed, false},
		"links that are none": {func(w *trio) func(network.Stream, message.Request) bool {
			return func(s network.Stream, req message.Request) bool {
				r := w.answer(req)
				r.Links = [][]byte{[]byte("link")}
				return says(s, r)
			}
		}, replicate.Failed, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTrio(t)
			put(t, w.dbA, "before", nil)
			same(t, w.dbA, w.dbM, w.dbB)
			w.lies(lie.says(w))
			w.bob.log.take()
			refused := w.bob.ledger.Refused.Load()
			before := heap()
			start := time.Now()
			for range 3 {
				require.Equal(t, lie.want, w.bob.Network.pull(within(t), w.mallory.id.Device(), replicate.OnTimer))
			}
			require.Less(t, time.Since(start), hosttest.Deadline)
			require.Less(t, heap()-before, int64(256<<20))
			require.Equal(t, lie.refused, w.bob.ledger.Refused.Load() > refused, "refused: %d", w.bob.ledger.Refused.Load())
			require.LessOrEqual(t, len(w.bob.log.take()), 1, "a line per peer, not per message")
			puts(t, w.dbA, "honest", 20)
			same(t, w.dbA, w.dbB)
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// answer is a response about the first team that was asked for, from somebody who
// stands elsewhere.
func (w *trio) answer(req message.Request, dbs ...message.DBResponse) message.TeamResponse {
	r := message.TeamResponse{Team: req.Teams[0].Team, Summary: [32]byte{1}}
	for _, db := range dbs {
		db.DBHeads = message.DBHeads{DB: w.dbA.ID(), Heads: []block.ID{{1}}, Digest: [32]byte{1}}
		r.DBs = append(r.DBs, db)
	}
	return r
}

// heap returns the bytes in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A peer that takes the question and says nothing is left, and the next one asked:
// what ann wrote while gossip was lost reaches bob all the same.
func TestSilentPeerIsLeft(t *testing.T) {
	t.Parallel()
	w := newTrio(t)
	var asked atomic.Int64
	w.lies(func(s network.Stream, _ message.Request) bool {
		asked.Add(1)
		_, _ = io.Copy(io.Discard, s)
		return false
	})
	start := time.Now()
	w.bob.plan(replicate.Announced{Peer: w.mallory.id.Device()})
	hosttest.Wait(t, "mallory to be asked", func() bool { return asked.Load() > 0 })
	hosttest.Wait(t, "mallory to be left", func() bool { return pulling(w.bob) == 0 })
	took := time.Since(start)
	require.Less(t, took, 6*time.Second)
	puts(t, w.dbA, "honest", 5)
	same(t, w.dbA, w.dbB)
	t.Logf("left after %s", took.Round(10*time.Millisecond))
}

// pulling counts the open sync streams that a device asked on.
func pulling(d *device) (n int) {
	for _, c := range d.host.Network().Conns() {
		for _, s := range c.GetStreams() {
			if s.Protocol() == message.SyncProtocol && s.Stat().Direction == network.DirOutbound {
				n++
			}
		}
	}
	return n
}

// Who has nothing more for us need not hold all that we hold.
func TestBehindIsNotEqual(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	c, dbA := a.found("fam")
	onB, dbB := b.join(a, c)
	confirmed(t, onB)
	hosttest.Wait(t, "ann to know where bob stands", func() bool { return a.Agrees(dbA, b.host.ID()) })
	// Bob hears no more: neither gossip nor a pull of his own.
	b.cancel()
	b.host.SetStreamHandler(message.SyncProtocol, b.serveSync)
	_ = b.gossip.Close()
	put(t, dbA, "only here", nil)
	require.False(t, a.Agrees(dbA, b.host.ID()))
	a.Network.pull(within(t), b.id.Device(), replicate.OnTimer)
	require.NotEqual(t, tip(dbA.Heads()), tip(dbB.Heads()))
	require.False(t, a.Agrees(dbA, b.host.ID()), "bob has answered, but lacks a commit")
}

// Peers that hold the same find out in one round trip of less than 200 bytes.
func TestEqualPeersCostLittle(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	c, dbA := a.found("fam")
	onB, dbB := b.join(a, c)
	confirmed(t, onB)
	puts(t, dbA, "doc", 10)
	same(t, dbA, dbB)
	quiet := func() bool {
		return a.Agrees(dbA, b.host.ID()) && b.Agrees(dbB, a.host.ID()) && pulling(a)+pulling(b) == 0
	}
	hosttest.Wait(t, "quiet", quiet)
	// Receipts on their way and a pull that begins meanwhile are counted too, so the least
	// counts.
	hosttest.Wait(t, "a pull of less than 200 bytes", func() bool {
		before := b.tape.Bytes()[message.SyncProtocol]
		require.Equal(t, replicate.Equal, b.Network.pull(within(t), a.id.Device(), replicate.OnTimer))
		return b.tape.Bytes()[message.SyncProtocol]-before < 200
	})
}

// A member that asks wrongly is cut off, one that asks much is answered much, and
// neither costs more than its own stream.
func TestLyingAskers(t *testing.T) {
	t.Parallel()
	a, m := newDevice(t, "ann"), newDevice(t, "mallory")
	c, dbA := a.found("fam")
	onM, _ := m.join(a, c)
	confirmed(t, onM)
	puts(t, dbA, "doc", 10)
	good := message.Request{Teams: []message.TeamRequest{{Team: c.ID(), Summary: nothingYet()}}}
	a.log.take()
	for name, frame := range map[string][]byte{
		"no message":           {0, 0, 0, 4, 1, 2, 3, 4},
		"a frame of 10 MiB":    binary.BigEndian.AppendUint32(nil, 10<<20),
		"an empty frame":       {0, 0, 0, 0},
		"another version":      {0, 0, 0, 2, 9, 0xa0},
		"an array without end": {0, 0, 0, 6, 1, 0xa1, 0x01, 0x9b, 0x7f, 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			s := knock(t, m.host, a, message.SyncProtocol)
			_, err := s.Write(frame)
			require.NoError(t, err)
			got, _ := io.ReadAll(s)
			require.Empty(t, got)
		})
	}
	t.Run("a frontier that is none", func(t *testing.T) {
		s := knock(t, m.host, a, message.SyncProtocol)
		req := message.Request{Teams: []message.TeamRequest{{Team: c.ID(), ChainHeads: c.Heads(), DBs: []message.DBRequest{{DB: dbA.ID(), Frontier: []byte("all")}}}}}
		require.Empty(t, request(t, s, req).Teams[0].DBs)
	})
	t.Run("frontiers that are false", func(t *testing.T) {
		s := knock(t, m.host, a, message.SyncProtocol)
		crowd := make(crdt.Frontier, 20_000)
		for i := range crowd {
			crowd[i].Actor.Device, crowd[i].Seq = block.Device(binary.BigEndian.AppendUint32(make([]byte, 28), uint32(i))), 1
		}
		before := heap()
		for name, lie := range map[string]struct {
			says crdt.Frontier
			want int
		}{
			"beyond everything":     {crdt.Frontier{{Actor: dbA.Actor(), Seq: 1 << 40}}, 0},
			"another line of ours":  {crdt.Frontier{{Actor: dbA.Actor(), Seq: 5, Hint: block.Hint{1}}}, 10},
			"actors that nobody is": {crowd, 10},
		} {
			q := message.TeamRequest{Team: c.ID(), ChainHeads: c.Heads(), DBs: []message.DBRequest{{DB: dbA.ID(), Frontier: lie.says.Encode()}}}
			for range 50 {
				resp := request(t, s, message.Request{Teams: []message.TeamRequest{q}})
				require.Len(t, resp.Teams[0].DBs[0].Lacking, lie.want, name)
			}
		}
		require.Less(t, heap()-before, int64(256<<20))
	})
	t.Run("1,000 requests on one stream", func(t *testing.T) {
		s := knock(t, m.host, a, message.SyncProtocol)
		before := heap()
		for range 1000 {
			require.NotEmpty(t, request(t, s, good).Teams)
		}
		require.Less(t, heap()-before, int64(256<<20))
	})
	t.Run("heads nobody has", func(t *testing.T) {
		s := knock(t, m.host, a, message.SyncProtocol)
		for i := range 200 {
			req := message.Request{Teams: []message.TeamRequest{{Team: c.ID(), ChainHeads: []block.ID{{byte(i)}}}}}
			require.NotEmpty(t, request(t, s, req).Teams)
		}
	})
	require.Empty(t, a.log.take(), "no line for any of it")
	newDevice(t, "bob").join(a, c)
}

// One response has room for a bounded number of ids, however many databases are
// behind: two large ones must not make a frame that cannot be sent.
func TestLackingIsBoundedOverAllDatabases(t *testing.T) {
	t.Parallel()
	a := newDevice(t, "ann")
	c, one := a.found("fam")
	two := a.database(c, "more")
	puts(t, one, "x", 6)
	puts(t, two, "x", 6)
	left := replicate.Room{Bytes: 0, IDs: 8}
	r, err := replicate.Answer(teamView{c, a.ledger}, message.TeamRequest{Team: c.ID(), ChainHeads: c.Heads()}, &left)
	require.NoError(t, err)
	require.Len(t, r.DBs, 2)
	require.Len(t, r.DBs[0].Lacking, 6)
	require.False(t, r.DBs[0].More)
	require.Len(t, r.DBs[1].Lacking, 2)
	require.True(t, r.DBs[1].More)
}

// More than one window of commits, large values among them, arrives whole.
func TestManyWindows(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	c, dbA := a.found("fam")
	puts(t, dbA, "doc", 2*replicate.Window+10)
	put(t, dbA, "large", crdt.Doc{"text": strings.Repeat("x", 200<<10)})
	_, dbB := b.join(a, c)
	same(t, dbA, dbB)
	require.Equal(t, 2*replicate.Window+11, count(dbB))
}

// Commits of A reach C through B, which is connected to both, live.
func TestCommitsTravelThroughTheMiddle(t *testing.T) {
	t.Parallel()
	a, b, c := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol")
	chain, dbA := a.found("fam")
	onB, dbB := b.join(a, chain)
	confirmed(t, onB)
	a.deaf()
	// Bob, no admin, lets carol in by ann's invitation.
	inv, key := a.open(chain, team.Invite{})
	hosttest.Wait(t, "the invitation at bob", func() bool { _, ok := onB.State().Invitation(inv.ID); return ok })
	onC, dbC := c.use(b, onB, inv, key)
	require.Equal(t, network.NotConnected, a.host.Network().Connectedness(c.host.ID()))
	c.deaf()
	hosttest.Wait(t, "carol on the roster", func() bool { return a.gate.known(c.host.ID()) })
	require.True(t, onC.Provisional(), "only bob, who admitted her, has shown these heads")
	for i := range 20 {
		put(t, dbA, fmt.Sprintf("doc-%d", i), crdt.Doc{"n": int64(i)})
	}
	same(t, dbA, dbB, dbC)
	require.Equal(t, network.NotConnected, a.host.Network().Connectedness(c.host.ID()), "and not by a shortcut")
}
