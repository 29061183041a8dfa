package peering

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/bitswap"
	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/gossip"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/team"
)

// probe is a device that has thrown our code away and kept its key: it asks for
// everything it can, on every protocol, and keeps every byte that it gets.
type probe struct {
	*device
	c        *ledger.Chain
	exchange *bitswap.Exchange
	tape     *hosttest.Recorder

	mu    sync.Mutex
	heard []message.Announcement
}

// probe turns a device into one: it stays on the topics it knows the keys of.
func (d *device) probe(c *ledger.Chain) *probe {
	d.t.Helper()
	require.NoError(d.t, d.Network.Close())
	p := &probe{device: d, c: c}
	h, tape := hosttest.Record(d.host)
	p.tape = tape
	var err error
	p.exchange, err = bitswap.Open(bitswap.Options{Host: h, Blocks: blockSource{d.store}, Allow: func(peer.ID, block.ID) bool { return true }})
	require.NoError(d.t, err)
	d.t.Cleanup(func() { _ = p.exchange.Close() })
	g, err := gossip.Open(gossip.Options{Host: h, Known: func(peer.ID) bool { return true }})
	require.NoError(d.t, err)
	d.t.Cleanup(func() { _ = g.Close() })
	for _, e := range c.Log() {
		gen := block.Generation(e.ID)
		if !d.ledger.Keys().HasRoute(c.ID(), gen) {
			continue
		}
		name, err := d.ledger.Keys().Topic(c.ID(), gen)
		require.NoError(d.t, err)
		_, err = g.Join(name, func(peer.ID) bool { return true },
			func(_ peer.ID, data []byte) (gossip.Verdict, func()) {
				return gossip.Accept, func() { p.hear(gen, data) }
			})
		require.NoError(d.t, err)
	}
	return p
}

func (p *probe) hear(gen block.Generation, data []byte) {
	_, sealed, err := message.UnwrapAnnouncement(data)
	if err != nil {
		return
	}
	plain, err := p.ledger.Keys().OpenMessage(p.c.ID(), gen, sealed)
	if err != nil {
		return
	}
	u, err := message.ParseAnnouncement(plain)
	if err != nil {
		return
	}
	said, err := u.Verify(p.c.ID(), gen)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, said)
}

// names reports whether an announcement that was heard names one of some blocks.
func (p *probe) names(ids map[block.ID][]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, said := range p.heard {
		all := slices.Clone(said.Chain)
		for _, db := range said.DBs {
			all = append(all, db.Heads...)
		}
		for _, data := range said.Commits {
			all = append(all, block.Sum(data))
		}
		if slices.ContainsFunc(all, func(id block.ID) bool { return ids[id] != nil }) {
			return true
		}
	}
	return false
}

// get asks one peer for a block.
func (p *probe) get(from *device, id block.ID) error {
	ctx, cancel := context.WithTimeout(p.t.Context(), hosttest.Deadline)
	defer cancel()
	_, err := p.exchange.Get(ctx, id, []peer.ID{from.host.ID()})
	return err
}

// claims says to a device that the probe is its user's: not a byte comes back.
func (p *probe) claims(at *device) {
	p.t.Helper()
	for _, id := range []block.TeamID{p.c.ID(), {5}} {
		s := knock(p.t, p.host, at, message.DeviceProtocol)
		me, ok := p.c.State().Device(p.id.Device())
		require.True(p.t, ok)
		data, err := message.Claim{Team: id, Member: me.Member, Device: p.id.Device(), BoxKey: p.id.BoxKey(), Name: "again"}.Encode()
		require.NoError(p.t, err)
		_ = message.Write(s, data) // may fail already
		got, _ := io.ReadAll(s)
		require.Empty(p.t, got)
	}
}

// reach connects to a device, again if need be.
func (p *probe) reach(to *device) {
	p.t.Helper()
	hosttest.Wait(p.t, "a connection", func() bool {
		return p.host.Connect(within(p.t), peer.AddrInfo{ID: to.host.ID(), Addrs: to.host.Addrs()}) == nil
	})
}

// questions are all ways to ask what somebody has of a team, and of a database.
func (p *probe) questions(db block.DBID) []message.TeamRequest {
	id := p.c.ID()
	in := func(q message.DBRequest) message.TeamRequest {
		q.DB = db
		return message.TeamRequest{Team: id, ChainHeads: p.c.Heads(), DBs: []message.DBRequest{q}}
	}
	return []message.TeamRequest{
		{Team: id, Summary: nothingYet()},
		{Team: id, Summary: p.c.Summary()},
		{Team: id, ChainHeads: []block.ID{{1}}},
		{Team: id, ChainHeads: p.c.Heads()},
		p.c.Request(),
		in(message.DBRequest{Adopts: true}),
		in(message.DBRequest{Rows: &message.RowsRequest{Checkpoint: block.ID{1}}}),
		in(message.DBRequest{Frontier: crdt.Frontier{{Seq: 1}}.Encode()}),
	}
}

// blocks is everything in a device's store, by id.
func (d *device) blocksHeld() map[block.ID][]byte {
	d.t.Helper()
	out := map[block.ID][]byte{}
	for e, err := range d.store.Scan(store.Blocks()) {
		require.NoError(d.t, err)
		id, err := store.BlockID(e.Key)
		require.NoError(d.t, err)
		out[block.ID(id)] = bytes.Clone(e.Value)
	}
	return out
}

func without(all, some map[block.ID][]byte) map[block.ID][]byte {
	out := map[block.ID][]byte{}
	for id, data := range all {
		if some[id] == nil {
			out[id] = data
		}
	}
	return out
}

// G3, C5, C67, C73; issue 5, acceptance 5. Bob is connected to ann and carol, on every
// protocol, when ann removes him. Whatever he asks from then on, on connections that
// were open and on new ones, of whom he likes: he gets the link that put him out, and
// nothing that is newer.
func TestExMemberGetsTheLinkThatPutHimOutAndNoMore(t *testing.T) {
	t.Parallel()
	a, b, c := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol")
	fam, db := a.found("fam")
	onB, dbB := b.join(a, fam)
	onC, dbC := c.join(a, fam)
	confirmed(t, onB)
	confirmed(t, onC)
	// Carol has published what she publishes by herself: a link of hers that she wrote
	// before she heard of the removal would be no leak.
	for _, c := range []*ledger.Chain{fam, onB, onC} {
		hosttest.Wait(t, "the words on paper of all", func() bool { return len(c.State().Devices()) == 6 })
	}
	known := put(t, db, "known to all", nil)
	same(t, db, dbB, dbC)
	agree(t, fam, onB, onC)

	bob := b.probe(onB)
	bob.reach(a)
	bob.reach(c)
	last := put(t, db, "the probe works", nil)
	hosttest.Wait(t, "gossip to reach the probe", func() bool { return bob.names(map[block.ID][]byte{last: {1}}) })
	require.NoError(t, bob.get(a, last), "Bitswap does")
	streams := map[*device]network.Stream{a: knock(t, b.host, a, message.SyncProtocol), c: knock(t, b.host, c, message.SyncProtocol)}
	for _, s := range streams {
		require.NotEmpty(t, request(t, s, message.Request{Teams: bob.questions(db.ID())[:1]}).Teams[0].Links)
	}

	_, err := fam.Remove(t.Context(), b.id.Device(), ledger.RemoveOptions{})
	require.NoError(t, err)
	removal, ok := ending(fam, b.id.Device())
	require.True(t, ok)
	old := a.blocksHeld()
	for i := range 5 {
		put(t, db, string(rune('a'+i)), crdt.Doc{"n": int64(i)})
	}
	a.database(fam, "new")
	_, err = fam.Rotate(t.Context())
	require.NoError(t, err)
	late := put(t, db, "late", nil)
	agree(t, fam, onC)
	same(t, db, dbC)
	put(t, dbC, "by carol", nil)
	same(t, db, dbC)
	news := without(a.blocksHeld(), old)
	require.Greater(t, len(news), 8)
	delete(news, removal.Link)

	data, err := a.ledger.Stored(removal.Link)
	require.NoError(t, err)
	want := message.TeamResponse{Team: fam.ID(), Removed: data.Data()}
	for d, s := range streams {
		// The stream is dead, or gives the notice.
		if resp, err := ask(s, message.Request{Teams: bob.questions(db.ID())[:1]}); err == nil {
			require.Equal(t, []message.TeamResponse{want}, resp.Teams, d.o.User)
		}
	}
	for _, d := range []*device{a, c} {
		for _, q := range bob.questions(db.ID()) {
			bob.reach(d)
			s := knock(t, b.host, d, message.SyncProtocol)
			require.Equal(t, message.Response{Teams: []message.TeamResponse{want}}, request(t, s, message.Request{Teams: []message.TeamRequest{q}}))
			require.NoError(t, s.Reset())
		}
		bob.reach(d)
		s := knock(t, b.host, d, message.SyncProtocol)
		require.Empty(t, request(t, s, message.Request{Teams: []message.TeamRequest{{Team: block.TeamID{5}, Summary: nothingYet()}}}).Teams)
		bob.reach(d)
		bob.claims(d)
		for _, id := range []block.ID{late, known, block.ID(fam.ID()), removal.Link} {
			bob.reach(d)
			require.ErrorIs(t, bob.get(d, id), bitswap.ErrNotFound)
		}
		for _, r := range d.announcer(d.ledger.Chain(fam.ID())).all() {
			require.NotContains(t, r.topic.Peers(), b.host.ID())
		}
	}
	require.False(t, bob.names(news), "gossip told of something newer")
	for id, data := range news {
		require.False(t, bob.tape.Contains(data), "block %s reached the probe", id)
		if _, asked := map[block.ID]bool{late: true, known: true}[id]; !asked {
			require.False(t, bob.tape.Contains(id[:]), "the name of %s reached the probe", id)
		}
	}
}

// A device that was removed says by whom, whether it was connected or away, and whether
// or not it knows what came before; then it leaves the others alone.
func TestARemovedDeviceKnowsByWhom(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		away   bool
		before func(t *testing.T, a *device, c *ledger.Chain)
		by     bool
	}{
		"connected": {false, func(*testing.T, *device, *ledger.Chain) {}, true},
		"away":      {true, func(*testing.T, *device, *ledger.Chain) {}, true},
		"behind":    {true, func(t *testing.T, a *device, c *ledger.Chain) { require.NoError(t, c.Rename(t.Context(), "kin")) }, true},
		"behind the key": {true, func(t *testing.T, a *device, c *ledger.Chain) {
			_, err := c.Rotate(t.Context())
			require.NoError(t, err)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, fam, onB, _, _ := pair(t)
			if c.away {
				apart(t, a, b)
			}
			c.before(t, a, fam)
			_, err := fam.Remove(t.Context(), b.id.Device(), ledger.RemoveOptions{})
			require.NoError(t, err)
			if c.away {
				together(t, a, b)
			}
			hosttest.Wait(t, "bob to know", func() bool { _, ok := b.RemovedBy(onB); return ok })
			got, _ := b.RemovedBy(onB)
			link, _ := ending(fam, b.id.Device())
			require.Equal(t, link.Link, got.Link)
			require.Equal(t, c.by, got.By == a.id.Device())
			hosttest.Wait(t, "bob to leave ann alone", func() bool {
				return !b.worthDialling(a.host.ID()) || onB.Seated()
			})
		})
	}
}

// Issue 5, acceptance 5: an outsider who is let in, because somebody is invited, finds
// nothing on any protocol.
func TestOutsiderFindsNothing(t *testing.T) {
	t.Parallel()
	a, e := newDevice(t, "ann"), newDevice(t, "eve")
	fam, db := a.found("fam")
	a.open(fam, team.Invite{})
	id := put(t, db, "secret", nil)
	own, _ := e.found("own")
	eve := e.probe(own)
	eve.reach(a)
	for _, id := range []block.ID{id, block.ID(fam.ID()), {9}} {
		require.ErrorIs(t, eve.get(a, id), bitswap.ErrNotFound)
	}
	s := knock(t, e.host, a, message.SyncProtocol)
	_, err := ask(s, message.Request{Teams: []message.TeamRequest{{Team: fam.ID(), Summary: nothingYet()}}})
	require.Error(t, err)
	eve.reach(a)
	eve.claims(a)
	for id, data := range a.blocksHeld() {
		require.False(t, eve.tape.Contains(data), id)
	}
	require.Empty(t, eve.heard)
}

// A replica is given what it may keep and not one key to read it; what it, or a reader,
// writes changes nothing anywhere. Issue 5, acceptance 5 and 6.
func TestReplicaAsksForKeysAndReaderWrites(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	fam, db := a.found("fam")
	onB, dbB := b.join(a, fam)
	confirmed(t, onB)
	put(t, db, "d", crdt.Doc{"n": int64(1)})
	same(t, db, dbB)
	inv, key := a.open(fam, team.Invite{Kind: team.InviteReplica, Role: team.RoleReplica})
	r := newDevice(t, "box")
	seat := r.admittedBy(a, fam, inv, key)
	link, err := a.ledger.Stored(seat)
	require.NoError(t, err)
	for _, g := range link.Boxes() {
		require.Equal(t, block.BoxRoute, g.Purpose, "a replica gets no key to read")
	}
	require.True(t, a.gate.Shares(r.host.ID(), fam.ID()))
	hosttest.Connect(t, r.host, a.host)
	s := knock(t, r.host, a, message.SyncProtocol)
	resp := request(t, s, message.Request{Teams: []message.TeamRequest{{Team: fam.ID(), Summary: nothingYet()}}})
	require.NotEmpty(t, resp.Teams[0].Links, "it is served")
	opened := 0
	for _, data := range resp.Teams[0].Links {
		u, err := block.Parse(data)
		require.NoError(t, err)
		n, _ := r.ledger.Keys().OpenBoxes(fam.ID(), u.ID, u.Author, u.Boxes())
		opened += n
	}
	for _, g := range fam.State().Generations() {
		require.False(t, r.ledger.Keys().Has(fam.ID(), g.ID))
		require.True(t, r.ledger.Keys().HasRoute(fam.ID(), g.ID), "%d boxes opened", opened)
	}

	// Bob is made a reader while he is away, and writes.
	apart(t, a, b)
	me, _ := fam.State().Device(b.id.Device())
	require.NoError(t, fam.SetRole(t.Context(), me.Member, team.RoleReader))
	put(t, dbB, "too late", nil)
	together(t, a, b)
	agree(t, fam, onB)
	put(t, db, "after", nil)
	same(t, db, dbB)
	require.Equal(t, 2, count(db), "his commit counts nowhere")
	require.Equal(t, 2, count(dbB))
	_, err = dbB.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: "again", Body: crdt.Doc{}}})
	require.ErrorIs(t, err, ledger.ErrForbidden)
}
