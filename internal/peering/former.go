package peering

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/team"
)

// This file is about devices that are out. Such a one gets nothing newer than the link
// that put it out, on connections that were open at the time as well; but it may ask,
// and is given that link, so that its own status can say who it was. It can open it: a
// removal is sealed under a key from before.
//
//	ex-member ── Request team ──▶ ◀── Response Removed ── and not a byte more

const (
	// maxFormerFrame bounds the question of a device that is out: all of its teams.
	maxFormerFrame = 64 << 10
	// formerTime is how long a device that is out may stay connected to ask.
	formerTime = 10 * time.Second
)

// Removal says which link put a device off a team, and who wrote it.
type Removal struct {
	Link block.ID
	By   block.Device // zero: a member says so, and we missed too much to check it
}

// ending finds the link that put a device off the team: the removal of it or its
// member, of whoever admitted it, or of the invitation it came by; for a suspended one
// the admission that took its place. False for who is on the team, or never was.
func ending(c *ledger.Chain, dev block.Device) (Removal, bool) {
	st := c.State()
	if !out(st, dev) {
		return Removal{}, false
	}
	log := c.Log()
	for range len(log) { // an admitter was admitted before: this ends
		d, ok := st.Device(dev)
		if !ok {
			return Removal{}, false
		}
		invite, inviter := cameBy(log, st, d.Seat)
		for _, e := range slices.Backward(log) {
			if e.Valid && ends(e, d, invite, inviter) {
				return Removal{e.ID, e.By}, true
			}
		}
		dev, _ = st.AdmittedBy(d.Seat)
		if !out(st, dev) {
			return Removal{}, false
		}
	}
	return Removal{}, false
}

// cameBy returns the invitation behind a seat, zero if there is none, and, if the
// invitation does not count, the member who wrote it.
func cameBy(log []team.Entry, st *team.State, seat block.ID) (invite block.ID, inviter block.Device) {
	for _, e := range slices.Backward(log) {
		a, ok := e.Content.(team.Admit)
		switch {
		case ok && e.ID == seat:
			invite = a.Invite
		case e.ID == invite && !e.Valid:
			d, _ := st.Device(e.By)
			inviter = d.Member
		}
	}
	return invite, inviter
}

// ends reports whether a link that counts is one that put d out.
func ends(e team.Entry, d team.Device, invite block.ID, inviter block.Device) bool {
	by := func(r team.Removal) bool { return !invite.IsZero() && slices.Contains(r.Revokes, invite) }
	switch x := e.Content.(type) {
	case team.RemoveMember:
		return x.Target == d.Member || by(x.Removal)
	case team.RemoveDevice:
		return x.Target == d.Key || by(x.Removal)
	case team.RemoveReplica:
		return x.Device == d.Key
	case team.SetRole:
		return !inviter.IsZero() && x.Member == inviter
	case team.Revoke:
		return x.Invite == invite
	case team.Admit:
		return d.Status == team.StatusSuspended && x.Invite == invite && x.Device != d.Key
	}
	return false
}

// serveFormer answers one question of a device that is in no team of ours any more.
func (n *Network) serveFormer(s network.Stream) {
	defer s.Close()
	if err := s.SetDeadline(time.Now().Add(formerTime)); err != nil {
		return
	}
	data, err := message.Read(s, maxFormerFrame)
	if err != nil {
		_ = s.Reset()
		return
	}
	req, err := message.ParseRequest(data)
	if err != nil {
		_ = s.Reset()
		return
	}
	reply(s, n.answer(s.Conn().RemotePeer(), req, roomOn(s)).Encode)
}

// notice is the answer to a device that was in a team and is out; false for all
// others, who learn nothing.
func (n *Network) notice(c *ledger.Chain, p peer.ID, q message.TeamRequest) (message.TeamResponse, bool) {
	dev, ok := DeviceOf(p)
	if !ok {
		return message.TeamResponse{}, false
	}
	r, ok := ending(c, dev)
	if !ok {
		return message.TeamResponse{}, false
	}
	u, err := n.ledger.Stored(r.Link)
	if err != nil {
		n.o.Log.Error("own chain cannot be served", "team", c.ID(), "err", err)
		return message.TeamResponse{}, false
	}
	if slices.ContainsFunc(q.ChainHeads, func(id block.ID) bool { return !c.Has(id) }) {
		n.hearOut(c, p, n.below(u))
	}
	return message.TeamResponse{Team: c.ID(), Removed: u.Data()}, true
}

// Somebody who is out here may be on the team by links that we lack: who is senior
// stays, however late his link arrives. He appeals by naming them; we pull his links,
// and his links only, from below the one that put him out, so that even the question
// tells nothing newer.
//
//	senior ── appeal: heads ──▶ us ── notice ──▶ senior
//	senior ◀── since below the removal? ── us;  links ──▶ judged like any
//
// He may lack some of what is below it too: then he cannot judge the removal that he is
// told of, appeals all the same, and is asked from further down as well.

// maxBelow bounds the links that are walked to find what he has in common with us.
const maxBelow = 512

// below names links that a removal is built on, its parents and ever fewer of those
// further down: some of them he knows, unless he missed very much before it.
func (n *Network) below(removal *block.Unverified) []block.ID {
	names := slices.Clone(removal.Links[:removal.Parents])
	queue, seen := slices.Clone(names), map[block.ID]bool{}
	for walked := 1; len(queue) > 0 && walked <= maxBelow; walked++ {
		id := queue[0]
		queue = queue[1:]
		u, err := n.ledger.Stored(id)
		if err != nil {
			return names // damaged: what we have got is true
		}
		if walked&(walked-1) == 0 && !slices.Contains(names, id) {
			names = append(names, id)
		}
		for _, p := range u.Links[:u.Parents] {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	return names
}

// hearEvery is how often one device that is out is heard.
const hearEvery = 5 * time.Second

// hearOut pulls the links of a device that is out, not often.
func (n *Network) hearOut(c *ledger.Chain, p peer.ID, since []block.ID) {
	n.mu.Lock()
	now, k := n.o.Clock(), pairing{c.ID(), p}
	tooSoon := now.Sub(n.pleas[k]).Abs() < hearEvery || len(n.pleas) > maxKnockers
	if !tooSoon {
		n.pleas[k] = now
	}
	n.mu.Unlock()
	if tooSoon {
		return
	}
	n.run("plea", func() {
		ctx, cancel := context.WithTimeout(n.ctx, roundTime)
		defer cancel()
		s, err := n.open(ctx, p, message.SyncProtocol)
		if err != nil {
			return
		}
		defer s.Close()
		defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
		heads := slices.Clone(since)
		slices.SortFunc(heads, func(a, b block.ID) int { return bytes.Compare(a[:], b[:]) })
		resp, err := ask(s, message.Request{Teams: []message.TeamRequest{{Team: c.ID(), ChainHeads: heads}}})
		if err != nil || len(resp.Teams) != 1 || resp.Teams[0].Team != c.ID() {
			return
		}
		if added, err := c.Receive(ctx, resp.Teams[0].Links); added > 0 || err != nil {
			n.o.Log.Debug("links of a device that was out", "team", c.ID(), "peer", p, "added", added, "err", err)
		}
	})
}

// appeal tells a peer that holds us for out which links it lacks.
func (n *Network) appeal(ctx context.Context, p peer.ID, c *ledger.Chain) error {
	s, err := n.open(ctx, p, message.SyncProtocol)
	if err != nil {
		return err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	_, err = ask(s, message.Request{Teams: []message.TeamRequest{{Team: c.ID(), ChainHeads: c.Heads()}}})
	return err
}

// dismissed takes the link that a peer says put us out. If it fits on our chain, the
// chain says so from now on. If not (we missed what came before), it counts for status
// only, and only as the word of somebody who is on the team as we know it.
func (n *Network) dismissed(ctx context.Context, p peer.ID, c *ledger.Chain, data []byte) {
	n.mu.Lock()
	n.over[c.ID()] = true
	n.mu.Unlock()
	if _, err := c.Receive(n.ctx, [][]byte{data}); err != nil {
		n.o.Log.Debug("removal not taken in", "team", c.ID(), "err", err)
	}
	u, err := block.Parse(data)
	if err != nil || !c.Seated() {
		return // the chain says so now
	}
	known := c.Has(u.ID) // it does not count, and they do not know it
	if !known && (planted.Bug("gate-only-the-sure-appeal") || u.Kind != block.KindLink || !c.State().Active(u.Author) && !out(c.State(), u.Author)) {
		return
	}
	// What we cannot place we cannot judge: perhaps we are out, perhaps senior.
	if err := n.appeal(ctx, p, c); err != nil {
		n.o.Log.Debug("appeal not heard", "team", c.ID(), "peer", p, "err", err)
	}
	if known || !c.Seated() || !c.State().Active(u.Author) {
		return
	}
	said := Removal{Link: u.ID}
	if gen, ok := c.Generation(u.GenerationHint); ok {
		if _, err := u.Verify(c.ID(), gen); err != nil {
			return
		}
		said.By = u.Author
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told[c.ID()] = said
}

// RemovedBy returns the link that put this device off a team, and who wrote it: as the
// chain has it, or else as a member has told.
func (n *Network) RemovedBy(c *ledger.Chain) (Removal, bool) {
	if r, ok := ending(c, n.ledger.Me()); ok {
		return r, true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r, ok := n.told[c.ID()]
	return r, ok
}

// believed forgets what was told of a removal when somebody on the team talks to us as
// one of it.
func (n *Network) believed(c *ledger.Chain) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.told, c.ID())
	delete(n.over, c.ID())
}

// worthDialling reports whether a peer is in a team with us, or in one that we left
// and that has not been heard to know it.
func (n *Network) worthDialling(p peer.ID) bool {
	for _, id := range n.gate.teams(p) {
		if c := n.ledger.Chain(id); c != nil {
			n.mu.Lock()
			over := n.over[id]
			n.mu.Unlock()
			if !over || !out(c.State(), n.ledger.Me()) {
				return true
			}
		}
	}
	return false
}

// usher closes the connection of a device that is out, after it had time to ask why.
func (n *Network) usher(p peer.ID) {
	n.run("usher", func() {
		wait := time.NewTimer(formerTime)
		defer wait.Stop()
		select {
		case <-n.ctx.Done():
		case <-wait.C:
			if !n.gate.known(p) && !n.gate.inviting() {
				_ = n.host.Network().ClosePeer(p)
			}
		}
	})
}
