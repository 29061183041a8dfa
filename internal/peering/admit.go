package peering

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/internal/words"
	"github.com/toftdb/toft/team"
)

// The admitter's side of a join: what a stranger may ask, and what it is told.

const (
	// maxJoins bounds the joins in progress: each costs the check of a proof and a
	// link, and strangers may start them.
	maxJoins = 4
	// maxJoinsOfOne is how many of them one peer may hold: one that it lost sight of,
	// and one more.
	maxJoinsOfOne = 2
	// triesAtOnce is how often one peer may knock in a row, triesEvery how long it
	// waits for each further time: an honest joiner knocks twice.
	triesAtOnce = 12
	triesEvery  = 5 * time.Second
	// maxKnockers bounds the peers we count the tries of.
	maxKnockers = 1024
)

// door bounds what joiners cost: few at once, fewer of one peer, and of nobody too
// many in a row. Who is many peers still shares the few places.
type door struct {
	mu     sync.Mutex
	inside map[peer.ID]int
	taken  int // the sum of inside
	tries  map[peer.ID]tries
}

// tries is what is left to one peer, as of a time.
type tries struct {
	left float64
	at   time.Time
}

func (t tries) refilled(now time.Time) tries {
	return tries{min(triesAtOnce, t.left+float64(max(0, now.Sub(t.at)))/float64(triesEvery)), now}
}

// knock counts one try and reports whether it may go on.
func (d *door) knock(p peer.ID, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, known := d.tries[p]
	if !known {
		if len(d.tries) >= maxKnockers {
			clear(d.tries) // a crowd of strangers: the few places are the bound
		}
		t = tries{triesAtOnce, now}
	}
	t = t.refilled(now)
	ok := t.left >= 1
	if ok {
		t.left--
	}
	d.tries[p] = t
	return ok
}

// enter takes one of the places; leave gives it back.
func (d *door) enter(p peer.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inside[p] == maxJoinsOfOne || d.taken == maxJoins {
		return false
	}
	d.inside[p]++
	d.taken++
	return true
}

func (d *door) leave(p peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.taken--
	if d.inside[p]--; d.inside[p] == 0 {
		delete(d.inside, p)
	}
}

// holds reports whether a peer has a place.
func (d *door) holds(p peer.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inside[p] > 0
}

// held is how many places are taken.
func (d *door) held() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.taken
}

// serveJoin is the admitter's side: the only stream a stranger gets an answer on.
func (n *Network) serveJoin(s network.Stream) {
	defer s.Close()
	if err := s.SetDeadline(time.Now().Add(joinTime)); err != nil {
		return
	}
	data, err := message.Read(s, message.MaxJoinFrame)
	if err != nil {
		return
	}
	offer, err := message.ParseOffer(data)
	if err != nil {
		_ = s.Reset()
		return
	}
	p := s.Conn().RemotePeer()
	if !n.door.knock(p, n.o.Clock()) {
		reply(s, message.Challenge{Error: message.JoinBusy}.Encode)
		return
	}
	c, inv, ok := n.invitation(offer.Tag)
	if !ok {
		reply(s, message.Challenge{Error: message.JoinNotFound}.Encode)
		return
	}
	// Only who knows an invitation takes a place: silent strangers keep nobody out.
	if !n.door.enter(p) {
		reply(s, message.Challenge{Error: message.JoinBusy}.Encode)
		return
	}
	defer n.door.leave(p)
	ch := message.Challenge{Admitter: n.ledger.Me(), Kind: uint8(inv.Kind), Role: uint8(inv.Role)}
	if _, err := n.o.Rand.Read(ch.Nonce[:]); err != nil {
		return
	}
	reply(s, ch.Encode)
	if data, err = message.Read(s, message.MaxJoinFrame); err != nil {
		return
	}
	answer, err := n.unseal(data, ch)
	if err != nil || PeerOf(answer.Device) != s.Conn().RemotePeer() {
		_ = s.Reset()
		return
	}
	result := n.admit(n.ctx, c, inv, team.Proof{
		Team: code20(c.ID()), Invite: inv.ID, Kind: inv.Kind, Role: inv.Role,
		Device: answer.Device, BoxKey: answer.BoxKey, Name: answer.Name, DeviceName: answer.DeviceName,
		R: answer.R, Commit: offer.Commit, Nonce: ch.Nonce, Admitter: ch.Admitter,
		InviteSig: answer.InviteSig, DeviceSig: answer.DeviceSig,
	})
	reply(s, result.Encode)
}

// unseal is the admitter's side of seal.
func (n *Network) unseal(data []byte, ch message.Challenge) (message.Answer, error) {
	if len(data) == 0 || data[0] != message.Version {
		return message.Answer{}, message.ErrVersion
	}
	plain, err := n.o.Identity.OpenAnswer(ch.Nonce, data[1:])
	if err != nil {
		return message.Answer{}, err
	}
	return message.ParseAnswer(plain)
}

func reply(s network.Stream, encode func() ([]byte, error)) {
	data, err := encode()
	if err == nil {
		err = message.Write(s, data)
	}
	if err != nil {
		_ = s.Reset()
	}
}

// admit checks a proof and, if all is well, writes the ADMIT link. Why an
// invitation cannot be used any more is told only to who proved its seed.
func (n *Network) admit(ctx context.Context, c *ledger.Chain, inv team.Invitation, proof team.Proof) message.Result {
	refuse := func(e message.JoinError, detail string) message.Result {
		return message.Result{Error: e, Detail: detail}
	}
	if proof.Verify(inv.Key) != nil {
		return refuse(message.JoinWrongSeed, "")
	}
	if c.State().Active(proof.Device) && !planted.Bug("join-knows-best") {
		n.catchUp(ctx, c, PeerOf(proof.Device))
	}
	if again, ok := n.settled(c, inv.ID, proof.Device); ok {
		return again
	}
	id, err := c.Link(ctx, team.Admit{Invite: inv.Link, Device: proof.Device, BoxKey: proof.BoxKey, Proof: proof}, nil)
	if again, ok := n.settled(c, inv.ID, proof.Device); err != nil && ok {
		return again // another stream was faster
	}
	if errors.Is(err, ledger.ErrNoKey) {
		return refuse(message.JoinRefused, "this member holds no key to give yet; ask another")
	}
	if err != nil {
		n.o.Log.Warn("join refused", "team", c.ID(), "device", proof.Device, "err", err)
		return refuse(message.JoinRefused, "the team's rules do not allow it")
	}
	n.o.Log.Info("admitted", "team", c.ID(), "device", proof.Device, "words", words.Transcript(proof.Hash()))
	return message.Result{Team: c.ID(), Admit: id}
}

// catchUp takes the links of somebody who asks to be let in although he is on the team.
// Either the answer to his first join was lost, and he has no chain to tell of; or he
// knows of links that we lack, by which he is out: he left just now.
func (n *Network) catchUp(ctx context.Context, c *ledger.Chain, p peer.ID) {
	ctx, cancel := context.WithTimeout(network.WithNoDial(ctx, "toft"), roundTime)
	defer cancel()
	s, err := n.open(ctx, p, message.SyncProtocol)
	if err != nil {
		return
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	for {
		t, err := n.askTeam(ctx, p, s, c)
		if t == nil || err != nil {
			return
		}
		if added, err := n.takeLinks(ctx, p, c, t.Links); added == 0 || err != nil || !t.MoreLinks {
			return
		}
	}
}

// settled answers a joiner where no link is to be written: it is in already (it came
// before and lost the answer), or the invitation has ended.
func (n *Network) settled(c *ledger.Chain, id block.InviteID, joiner block.Device) (r message.Result, ok bool) {
	st := c.State()
	if dev, ok := st.Device(joiner); ok && st.Active(joiner) {
		return message.Result{Team: c.ID(), Admit: dev.Seat}, true
	}
	inv, ok := st.Invitation(id)
	switch {
	case !ok:
		r.Error = message.JoinNotFound
	case inv.Status == team.StatusRevoked:
		r.Error = message.JoinRevoked
	case inv.Expires != 0 && n.ledger.Now() > inv.Expires+clockSkew:
		r.Error = message.JoinExpired
	case inv.Status == team.StatusUsed:
		r.Error = message.JoinUsed
	}
	return r, r.Error != 0
}

// invitation finds the invitation that a join tag of today, or of the day before or
// after, stands for: also one that has ended, whose holder is told so.
func (n *Network) invitation(tag [32]byte) (*ledger.Chain, team.Invitation, bool) {
	today := day(n.o.Clock())
	for _, c := range n.ledger.Chains() {
		for _, inv := range c.State().Invites() {
			for d := today - 1; d <= today+1; d++ {
				if vault.JoinTag(inv.ID, code20(c.ID()), d) == tag {
					return c, inv, true
				}
			}
		}
	}
	return nil, team.Invitation{}, false
}
