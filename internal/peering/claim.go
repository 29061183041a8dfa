package peering

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
)

// A device that came into the personal team of its user comes into his other teams by
// itself: it says to another of his devices that it is his, and that one adds it.
//
//	phone ── Claim: "I am ann's, in fam" ──▶ laptop: ADD_DEVICE
//	phone ◀── Result: the link ───────────── laptop
//	phone ◀── sync: the chain, then data ─── laptop

// claimSoon asks one's other devices for what this one lacks. It does nothing while
// the last time is still under way, and returns whether there is anything to ask for.
func (n *Network) claimSoon() bool {
	if len(n.ledger.Claims()) == 0 {
		return false
	}
	if n.claiming.CompareAndSwap(false, true) {
		n.run("claim", func() {
			defer n.claiming.Store(false)
			n.claimAll()
		})
	}
	return true
}

func (n *Network) claimAll() {
	for _, s := range n.ledger.Claims() {
		for _, p := range n.ownPeers() {
			err := n.claim(p, s)
			if err == nil {
				break
			}
			n.o.Log.Debug("not added by one's own device", "team", s.Team, "peer", p, "err", err)
		}
	}
}

// ownPeers lists one's other devices that are connected.
func (n *Network) ownPeers() (out []peer.ID) {
	c := n.ledger.Personal()
	if c == nil {
		return nil
	}
	for _, d := range c.State().Devices() {
		if d.Recovery || d.Key == n.ledger.Me() || !c.State().Active(d.Key) {
			continue
		}
		if p := PeerOf(d.Key); n.reaches(p) {
			out = append(out, p)
		}
	}
	return out
}

// claim asks one device, and enters the team it was added to.
func (n *Network) claim(p peer.ID, st ledger.Statement) error {
	ctx, cancel := context.WithTimeout(n.ctx, roundTime)
	defer cancel()
	s, err := n.open(ctx, p, message.DeviceProtocol)
	if err != nil {
		return err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	data, err := message.Claim{
		Team: st.Team, Member: st.Member, Device: st.Device, BoxKey: st.BoxKey, Statement: st.Signature, Name: st.Name,
	}.Encode()
	if err != nil {
		return err
	}
	if err := message.Write(s, data); err != nil {
		return err
	}
	if data, err = message.Read(s, message.MaxJoinFrame); err != nil {
		return err
	}
	r, err := message.ParseResult(data)
	switch {
	case err != nil:
		return err
	case r.Error != 0:
		return errors.New(r.Detail)
	case r.Team != st.Team:
		return fmt.Errorf("answered for team %s", r.Team)
	}
	c, err := n.enter(ctx, p, r.Team, promised(ctx, n.ledger, r.Admit))
	if err == nil {
		n.o.Log.Info("in a team of one's own devices", "team", c.ID())
	}
	return err
}

// serveClaim adds a device of this user to a team it names. Who asks, the handshake
// has proved; that it is this user's, the personal team says.
func (n *Network) serveClaim(s network.Stream) {
	defer s.Close()
	if p := s.Conn().RemotePeer(); n.seat(p) {
		defer n.unseat(p)
	} else {
		_ = s.Reset()
		return
	}
	if err := s.SetDeadline(time.Now().Add(roundTime)); err != nil {
		return
	}
	data, err := message.Read(s, message.MaxJoinFrame)
	if err != nil {
		return
	}
	m, err := message.ParseClaim(data)
	if err != nil || PeerOf(m.Device) != s.Conn().RemotePeer() {
		_ = s.Reset()
		return
	}
	seat, err := n.ledger.Grant(n.ctx, ledger.Statement{
		Team: m.Team, Member: m.Member, Device: m.Device, BoxKey: m.BoxKey, Signature: m.Statement, Name: m.Name,
	})
	if err != nil {
		n.o.Log.Debug("claim refused", "peer", s.Conn().RemotePeer(), "err", err)
		// What is here and what is not is nobody's business but one's own devices'.
		reply(s, message.Result{Error: message.JoinRefused, Detail: "not added"}.Encode)
		return
	}
	reply(s, message.Result{Team: m.Team, Admit: seat}.Encode)
}
