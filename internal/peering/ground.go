package peering

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
)

// A database that is empty here begins at a member's checkpoint, see
// [replicate.Ground]. One pull at a time takes it; the others leave that database
// alone meanwhile, or they would bring the history that is to be spared.

// groundBytes bounds the blocks of a checkpoint in memory until they are written.
const groundBytes = 32 << 20

// request says how far this device is, and of which databases the pull on a stream
// takes a checkpoint.
func (n *Network) request(s network.Stream, c *ledger.Chain) message.TeamRequest {
	t := c.Request()
	dev, ok := DeviceOf(s.Conn().RemotePeer())
	for i := range t.DBs {
		q := &t.DBs[i]
		d := n.ledger.Database(q.DB)
		switch {
		case d == nil || !ok || !d.MayAdopt(dev):
		case !n.takes(d, s):
			q.Rows = &message.RowsRequest{Checkpoint: nobodys, From: 1}
		default:
			n.asksFor(d.ID())
			q.Adopts = true
			if a := d.Adopting(n.ctx); !a.Checkpoint.IsZero() {
				q.Rows = &message.RowsRequest{Checkpoint: a.Checkpoint, From: uint64(a.Have)}
			}
		}
	}
	return t
}

// nobodys is the name of no checkpoint: who asks for its rows wants nothing.
var nobodys = block.ID{1}

// taker is a pull that takes a database's checkpoint, known by its stream: two pulls
// from one peer are two.
type taker struct {
	pull   network.Stream
	turned map[peer.ID]bool // who was told meanwhile that nothing is wanted
	asked  bool             // for a checkpoint
	offers int
}

// maxOffers bounds the checkpoints one pull looks at: who wrote meanwhile, or was
// restarted, offers another, but not for ever.
const maxOffers = 4

// errOffers: a peer offers one checkpoint after the other.
var errOffers = errors.New("offers without end")

// takes lets one pull take a database's checkpoint; false: another one does, or will,
// because this device is entering the team by it.
func (n *Network) takes(d *ledger.Database, pull network.Stream) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	t, ok := n.takers[d.ID()]
	if !ok {
		t = &taker{pull: pull, turned: map[peer.ID]bool{}}
		if first := n.entering[d.Team().ID()]; first != nil {
			t.pull = first
		}
		n.takers[d.ID()] = t
	}
	if t.pull != pull {
		t.turned[pull.Conn().RemotePeer()] = true
	}
	return t.pull == pull
}

// asksFor notes that the pull that takes a database's checkpoint asks for one.
func (n *Network) asksFor(db block.DBID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.takers[db].asked = true
}

// taking reports whether what a pull was told of a database is an answer to what is
// asked today. Of one that may begin at a checkpoint it is not while another pull takes
// that, nor (ours) if the database was not known yet when this one asked.
func (n *Network) taking(d *ledger.Database, pull network.Stream) (ours, asked bool) {
	dev, ok := DeviceOf(pull.Conn().RemotePeer())
	if !ok || !d.MayAdopt(dev) {
		return true, true
	}
	if !n.takes(d, pull) {
		return false, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return true, n.takers[d.ID()].asked
}

// enterBy has one pull bring everything of a team that this device enters, until the
// function it returns is called: who entered has seen the first state.
func (n *Network) enterBy(team block.TeamID, pull network.Stream) (done func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.entering[team] = pull
	return func() {
		n.mu.Lock()
		if n.entering[team] == pull {
			delete(n.entering, team)
		}
		n.mu.Unlock()
		n.leaveGround(pull)
	}
}

// mayOffer counts an offer of the pull that takes a database's checkpoint.
func (n *Network) mayOffer(db block.DBID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.takers[db]
	t.offers++
	return t.offers <= maxOffers
}

// leaveGround ends what a pull was taking. Who was turned away may have more.
func (n *Network) leaveGround(pull network.Stream) {
	var again []peer.ID
	n.mu.Lock()
	for db, t := range n.takers {
		if t.pull == pull {
			delete(n.takers, db)
			again = slices.AppendSeq(again, maps.Keys(t.turned))
		}
	}
	n.mu.Unlock()
	for _, q := range again {
		n.ahead(q)
	}
}

// takeReady finishes adoptions whose rows were all here when the last pull broke off:
// the tree may come from anybody.
func (n *Network) takeReady(ctx context.Context, s network.Stream, c *ledger.Chain) (progressed bool) {
	p := s.Conn().RemotePeer()
	for _, d := range c.Databases() {
		dev, ok := DeviceOf(p)
		if !ok || !d.MayAdopt(dev) || !n.takes(d, s) || !d.Adopting(ctx).Ready() {
			continue
		}
		if err := n.adopt(ctx, p, d); err != nil {
			n.o.Log.Debug("a checkpoint is asked for anew", "db", d.ID(), "err", err)
			if ctx.Err() == nil {
				_ = d.Abandon(ctx) // nobody has its tree any more
			}
			continue
		}
		progressed = true
	}
	return progressed
}

// takeGround takes what an answer brings of a checkpoint; once its rows are here, the
// rest of it. It returns how much came.
func (n *Network) takeGround(ctx context.Context, s network.Stream, d *ledger.Database, r message.DBResponse) (got int, err error) {
	p := s.Conn().RemotePeer()
	dev, ok := DeviceOf(p)
	if len(r.Offer)+len(r.Rows) == 0 || !ok || !d.MayAdopt(dev) || !n.takes(d, s) {
		return 0, nil
	}
	if len(r.Offer) == 0 && d.Adopting(ctx).Checkpoint.IsZero() {
		return 0, nil // rows of nothing
	}
	if len(r.Offer) > 0 {
		if !n.mayOffer(d.ID()) {
			return 0, errOffers
		}
		err = d.BeginAdopting(ctx, dev, r.Offer, r.Inline, r.Rows, n.fetcher(p))
	} else {
		err = d.AddRows(ctx, r.Rows)
	}
	if err == nil && d.Adopting(ctx).Ready() {
		err = n.adopt(ctx, p, d)
	}
	if refused(err) {
		n.blame(p, err)
		err = nil // asked for another, or for the commits
	}
	return 1, err
}

// adopt brings the tree and lets the database begin there. Then the history follows.
func (n *Network) adopt(ctx context.Context, p peer.ID, d *ledger.Database) error {
	err := d.Adopt(ctx, n.fetcher(p), func() { n.moving(p) })
	if err == nil {
		n.History()
	}
	return err
}

// refused reports whether a checkpoint was looked at and is not to be had.
func refused(err error) bool {
	return errors.Is(err, ledger.ErrAdopt) || errors.Is(err, crdt.ErrLie) || errors.Is(err, crdt.ErrJudged)
}

// fetcher asks for blocks, a peer first.
func (n *Network) fetcher(p peer.ID) ledger.Fetch {
	return func(ctx context.Context, c *ledger.Chain, ids []block.ID) (map[block.ID][]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, fetchTime)
		defer cancel()
		have, size := make(map[block.ID][]byte, len(ids)), 0
		for f, err := range n.exchange.GetMany(ctx, ids, n.holders(c, p)) {
			if err != nil {
				return have, err
			}
			have[f.ID] = f.Data
			if size += len(f.Data); size >= groundBytes {
				break // the rest is asked for again
			}
			if len(have)%moveEvery == 0 {
				n.moving(p)
			}
		}
		return have, nil
	}
}

// History starts fetching what lies below adopted checkpoints, unless that is under way,
// is not wanted, or nobody is connected: then the next member who connects starts it.
func (n *Network) History() {
	if n.o.NoHistory || !n.past.CompareAndSwap(false, true) {
		return
	}
	n.run("history", func() {
		defer n.past.Store(false)
		for _, c := range n.ledger.Chains() {
			for _, d := range c.Databases() {
				if _, ok := d.Unaudited(); !ok || !n.anybody(c) {
					continue
				}
				n.fetchHistory(c, d)
			}
		}
	})
}

func (n *Network) fetchHistory(c *ledger.Chain, d *ledger.Database) {
	err := d.FetchHistory(n.ctx, n.fetcher(n.host.ID()))
	var lie *ledger.Lie
	switch {
	case errors.As(err, &lie):
		n.announceAll(c)
		for _, q := range n.holders(c, n.host.ID())[1:] {
			n.ahead(q)
		}
	case err != nil && n.ctx.Err() == nil:
		n.o.Log.Debug("history not here yet", "db", d.ID(), "err", err)
	}
}

// anybody reports whether a member of a team is connected.
func (n *Network) anybody(c *ledger.Chain) bool {
	for _, q := range n.host.Network().Peers() {
		if n.gate.Shares(q, c.ID()) && n.host.Network().Connectedness(q) == network.Connected {
			return true
		}
	}
	return false
}

// beyondReach notes that what is lacking lies below a peer's floor and nobody who is
// connected has it. That ends nothing: other databases go on, and so does this one when
// somebody comes who has it.
func (n *Network) beyondReach(ctx context.Context, p peer.ID, d *ledger.Database, r message.DBResponse, got int, err error) error {
	dev, ok := DeviceOf(p)
	switch {
	case !ok || !r.Floor:
		return err
	case err == nil && got > 0:
		d.NoteCutOff(block.Device{})
	case err != nil && ctx.Err() == nil:
		d.NoteCutOff(dev)
		return nil
	}
	return err
}

// Repair is [ledger.Database.Repair] with the members who are connected; n may be nil:
// there is no network. A database that is cut off from its history begins at a member's
// checkpoint first.
func (n *Network) Repair(ctx context.Context, d *ledger.Database) (ledger.Repaired, error) {
	if n == nil {
		return d.Repair(ctx, nil)
	}
	if by, cut := d.CutOff(); cut {
		d.Surrender()
		for _, q := range n.holders(d.Team(), PeerOf(by)) {
			n.ahead(q)
		}
		if err := n.surrendered(ctx, d); err != nil {
			return ledger.Repaired{}, err
		}
	}
	return d.Repair(ctx, n.Fetch)
}

// surrenderTime is how long a repair waits for a checkpoint.
const surrenderTime = time.Minute

func (n *Network) surrendered(ctx context.Context, d *ledger.Database) error {
	ctx, cancel := context.WithTimeout(ctx, surrenderTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for d.Surrendered() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no member's checkpoint came: %w", ctx.Err())
		case <-n.ctx.Done():
			return ledger.ErrClosed
		case <-tick.C:
		}
	}
	return nil
}
