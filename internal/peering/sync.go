package peering

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/replicate"
)

// Sync is pull only. The asker says how far it is, the other answers with what is
// lacking; whoever notices in passing that it is itself behind plans a pull of its
// own. One direction means one code path, for a live edit that was lost as for a
// device that was away for a year.

const (
	roundTime = 15 * time.Second // one question and its answer
	fetchTime = 60 * time.Second // one window of blocks
	maxRounds = 10_000           // answers to one pull; each brought something
	moveEvery = 64               // blocks between two signs of progress
)

// pull asks one peer for everything it has that we lack, in all teams we share.
func (n *Network) pull(ctx context.Context, dev block.Device, why replicate.Reason) replicate.Outcome {
	p := PeerOf(dev)
	news, moot := n.takeCue(p)
	if moot && why == replicate.OnAnnounce {
		return replicate.Moot
	}
	s, err := n.open(ctx, p, message.SyncProtocol)
	if err != nil {
		n.o.Log.Debug("sync not opened", "peer", p, "err", err)
		return replicate.Failed
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	progressed, err := n.pullTeams(ctx, p, s, news)
	if err != nil {
		_ = s.Reset()
		n.o.Log.Debug("sync broke off", "peer", p, "err", err)
	}
	switch {
	case ctx.Err() != nil:
		return replicate.Stalled
	case err != nil:
		return replicate.Failed
	case progressed:
		return replicate.Progressed
	}
	return replicate.Equal
}

// open opens a stream that also works over a relayed, limited connection.
func (n *Network) open(ctx context.Context, p peer.ID, proto string) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(network.WithAllowLimitedConn(ctx, "toft"), roundTime)
	defer cancel()
	return n.host.NewStream(ctx, p, protocol.ID(proto))
}

// pullTeams first compares summaries; only for teams that differ it asks on. Of one
// team of which there is news it asks at once for what is lacking.
func (n *Network) pullTeams(ctx context.Context, p peer.ID, s network.Stream, news []block.TeamID) (progressed bool, err error) {
	var req message.Request
	var lead block.TeamID
	if len(news) > 0 && n.brief(news[0]) {
		lead = news[0]
	}
	room := maxRiders
	teams := slices.Clone(n.gate.teams(p))
	slices.SortFunc(teams, func(a, b block.TeamID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range teams {
		if c := n.ledger.Chain(id); c != nil {
			q := message.TeamRequest{Team: id}
			if id == lead {
				q = n.request(s, c)
			}
			q.Summary, q.Receipts = c.Summary(), n.riders(c, p, &room)
			req.Teams = append(req.Teams, q)
		}
	}
	defer n.leaveGround(s)
	resp, err := ask(s, req)
	if err != nil {
		return false, err
	}
	for _, t := range resp.Teams {
		c := n.ledger.Chain(t.Team)
		switch {
		case c == nil || !slices.Contains(teams, t.Team):
			continue // to ask on would tell what we hold of a team that p is not in
		case len(t.Removed) > 0:
			n.dismissed(ctx, p, c, t.Removed)
			continue
		case t.Equal:
			n.believed(c)
			n.agreed(c, p)
			continue
		}
		n.receive(c, p, t.Receipts)
		first := &t
		if t.Team != lead {
			first = nil // it was only asked to compare
		}
		got, err := n.pullTeam(ctx, p, s, c, first)
		progressed = progressed || got
		if err != nil {
			return progressed, err
		}
	}
	return progressed, nil
}

// pullTeam takes what an answer brings, or asks first if there is none, and asks on
// until there is no more. The chain comes before the data: whether a commit counts
// depends on it.
func (n *Network) pullTeam(ctx context.Context, p peer.ID, s network.Stream, c *ledger.Chain, t *message.TeamResponse) (progressed bool, err error) {
	n.count(c.ID(), 1)
	defer func() {
		n.count(c.ID(), -1)
		if progressed {
			n.announceAll(c)
		}
	}()
	progressed = n.takeReady(ctx, s, c)
	for range maxRounds {
		if t == nil {
			if t, err = n.askTeam(ctx, p, s, c); t == nil {
				return progressed, err
			}
		}
		links, err := n.takeLinks(ctx, p, c, t.Links)
		if err != nil {
			return progressed || links > 0, err
		}
		commits, all, again := 0, links == 0 && !t.MoreLinks, false
		for _, db := range t.DBs {
			d := n.ledger.Database(db.DB)
			if d == nil || d.Team() != c {
				all = false
				continue // of links that come with the next answer
			}
			if d.Damage() != nil {
				continue // takes nothing; the other databases go on
			}
			if ours, asked := n.taking(d, s); !asked {
				all, again = false, again || ours // it came to be after the question
				continue
			}
			ground, err := n.takeGround(ctx, s, d, db)
			if commits += ground; err != nil {
				return progressed || links+commits > 0, err
			}
			all = all && ground == 0 // what came since is to be asked for
			got, err := n.take(ctx, p, d, db)
			err = n.beyondReach(ctx, p, d, db, got, err)
			commits += got
			if err != nil {
				return progressed || links+commits > 0, err
			}
			all = all && !db.More && !slices.ContainsFunc(db.Lacking, func(id block.ID) bool { return !d.Has(id) })
		}
		n.believed(c)
		n.meet(c, t.Peers)
		progressed = progressed || links+commits > 0
		if !again && (all || links+commits == 0) {
			n.compared(c, p, *t)
			return progressed, nil
		}
		n.moving(p)
		t = nil
	}
	return progressed, fmt.Errorf("%s answered %d times and was not done", p, maxRounds)
}

// askTeam asks for everything of a team that is lacking; nil if there is no answer.
func (n *Network) askTeam(ctx context.Context, p peer.ID, s network.Stream, c *ledger.Chain) (*message.TeamResponse, error) {
	resp, err := ask(s, message.Request{Teams: []message.TeamRequest{n.request(s, c)}})
	if err != nil || len(resp.Teams) != 1 || resp.Teams[0].Team != c.ID() {
		return nil, err
	}
	t := &resp.Teams[0]
	if len(t.Removed) > 0 {
		n.dismissed(ctx, p, c, t.Removed) // since the question before
		return nil, nil
	}
	n.receive(c, p, t.Receipts)
	return t, nil
}

// take applies what a peer says we lack of one database: inline commits first, the
// rest over Bitswap, window by window in causal order.
func (n *Network) take(ctx context.Context, p peer.ID, d *ledger.Database, r message.DBResponse) (applied int, err error) {
	intake := replicate.NewIntake(r, d.Has)
	n.expect(d, len(r.Lacking))
	for {
		want, ok := intake.Next()
		if !ok {
			return applied, nil
		}
		if err := n.fetch(ctx, p, d.Team(), want, intake); err != nil {
			return applied, err
		}
		window, err := intake.Ready()
		if err != nil {
			return applied, err
		}
		in := make([]ledger.Candidate, len(window))
		for i, id := range window {
			in[i] = ledger.Candidate{Data: intake.Given()[id], Linked: intake.Given()}
		}
		out, err := n.fill(ctx, p, d, in, intake)
		applied += out.Applied
		if err != nil {
			return applied, err
		}
		if out.Rejected != nil {
			n.blame(p, out.Rejected)
		}
		n.exchange.Added(window...)
		n.came(d, in)
		intake.Done()
		n.moving(p)
	}
}

// fetch gives blocks to an intake, from the peer that told of them and from any
// other member, until it has enough.
func (n *Network) fetch(ctx context.Context, p peer.ID, c *ledger.Chain, want []block.ID, into *replicate.Intake) error {
	if len(want) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	for f, err := range n.exchange.GetMany(ctx, want, n.holders(c, p)) {
		if err != nil {
			return fmt.Errorf("fetch %d blocks of %s: %w", len(want), c.ID(), err)
		}
		if !into.Give(f.ID, f.Data) {
			return nil
		}
		if len(into.Given())%moveEvery == 0 {
			n.moving(p)
		}
	}
	return nil
}

// blame tells once of a peer that sends what is refused; how much of it came is
// counted by the ledger.
func (n *Network) blame(p peer.ID, err error) {
	if n.firstBlame(p) {
		n.o.Log.Warn("commit refused; more from this peer is only counted", "from", p, "err", err)
	}
}

// firstBlame reports whether nothing was told on a peer yet.
func (n *Network) firstBlame(p peer.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	again := n.blamed[p]
	n.blamed[p] = true
	return !again
}

// holders lists the connected members of the team, p first.
func (n *Network) holders(c *ledger.Chain, p peer.ID) []peer.ID {
	from := []peer.ID{p}
	for _, q := range n.host.Network().Peers() {
		if q != p && n.gate.Shares(q, c.ID()) {
			from = append(from, q)
		}
	}
	return from
}

// ask sends one request and reads its response.
func ask(s network.Stream, req message.Request) (message.Response, error) {
	if len(req.Teams) == 0 {
		return message.Response{}, nil
	}
	data, err := req.Encode()
	if err != nil {
		return message.Response{}, err
	}
	if err := s.SetDeadline(time.Now().Add(roundTime)); err != nil {
		return message.Response{}, err
	}
	if err := message.Write(s, data); err != nil {
		return message.Response{}, err
	}
	if data, err = message.Read(s, message.MaxFrame); err != nil {
		return message.Response{}, err
	}
	return message.ParseResponse(data)
}

// maxServed is how many sync streams of one member are answered at once. An honest
// one asks on one; each may make us hold a frame that never comes to its end.
const maxServed = 8

// seat makes room for a stream of a member; false if it has enough.
func (n *Network) seat(p peer.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.served[p] == maxServed {
		return false
	}
	n.served[p]++
	return true
}

func (n *Network) unseat(p peer.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.served[p]--; n.served[p] == 0 {
		delete(n.served, p)
	}
}

// serveSync answers requests on one stream until the asker is done.
func (n *Network) serveSync(s network.Stream) {
	defer s.Close()
	p := s.Conn().RemotePeer()
	if !n.seat(p) {
		_ = s.Reset()
		return
	}
	defer n.unseat(p)
	for {
		if err := s.SetDeadline(time.Now().Add(fetchTime + roundTime)); err != nil {
			return
		}
		data, err := message.Read(s, message.MaxFrame)
		if err != nil {
			return // the asker is done, or gone
		}
		req, err := message.ParseRequest(data)
		if err != nil {
			_ = s.Reset()
			return
		}
		data, err = n.answer(p, req, roomOn(s)).Encode()
		if err == nil {
			err = message.Write(s, data)
		}
		if err != nil {
			n.o.Log.Debug("sync not answered", "peer", p, "err", err)
			_ = s.Reset()
			return
		}
	}
}

// roomOn is the room of an answer on a stream.
func roomOn(s network.Stream) replicate.Room {
	if s.Conn().Stat().Limited && !planted.Bug("sync-wide-over-a-relay") {
		return replicate.NarrowRoom()
	}
	return replicate.NewRoom()
}

// answer tells a peer what it lacks. Of a team it is not in any more it gets the link
// that says so; other teams are left out: unknown and forbidden look the same.
func (n *Network) answer(p peer.ID, req message.Request, room replicate.Room) message.Response {
	var resp message.Response
	riders := maxRiders
	for _, q := range req.Teams {
		c := n.ledger.Chain(q.Team)
		if c == nil {
			continue
		}
		shares := n.gate.Shares(p, q.Team)
		if !shares && !planted.Bug("gate-answers-other-teams") {
			if r, ok := n.notice(c, p, q); ok {
				resp.Teams = append(resp.Teams, r)
			}
			continue
		}
		n.receive(c, p, q.Receipts)
		r, err := replicate.Answer(teamView{c, n.ledger}, q, &room)
		if err != nil {
			n.o.Log.Error("own chain cannot be served", "team", c.ID(), "err", err)
		}
		if shares && !n.gate.Shares(p, q.Team) {
			continue // put out meanwhile: what was gathered may be newer than that
		}
		if !r.Equal && !replicate.Compares(q) {
			r.Peers = n.records(c, p)
		}
		if !r.Equal {
			r.Receipts = n.riders(c, p, &riders)
		}
		switch {
		case r.Equal:
			n.agreed(c, p)
		case !replicate.Compares(q):
			n.shown(c, p, q, r)
			if replicate.Behind(teamView{c, n.ledger}, q) {
				n.ahead(p)
			}
		}
		resp.Teams = append(resp.Teams, r)
	}
	return resp
}

// nothingYet is the summary of a device that holds nothing of a team: what a
// joiner says, who has no chain heads to name.
func nothingYet() [32]byte { return message.Summary(nil, nil) }
