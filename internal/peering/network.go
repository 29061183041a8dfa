// Package peering is how a device exchanges what it holds: it puts a ledger on a
// libp2p host. Heads are announced over GossipSub, what is missing is pulled over
// sync streams and Bitswap, joiners prove their invitation, and a gate stands
// before all of it.
//
//	                  ┌──────────────── gate: who is on which roster ───────────────┐
//	announce ─ gossip │  commits inline, or heads ──▶ "behind?" ──┐                 │
//	planner ──────────│──────────────▶ pull: summary, links, then frontier, commits │
//	serveSync ────────│◀── the same questions, asked by others     └─ Bitswap       │
//	serveJoin ────────│◀── the one door a stranger may knock at                     │
//	                  └─────────────────────────────────────────────────────────────┘
//	                                    ledger
//
// There is one way data comes in: a pull. An announcement with commits inline is a
// pull whose answer arrived before the question; when one is lost, a timer asks.
//
// Goroutines, all ended and awaited by Close: the sync loop (owns the planner), one
// per pull in flight, the dial loop, the loop that tends chains, the peer events, one
// per device that is out and connected, for seconds, and per team one that speaks and
// one that listens.
//
// It decides nothing about what is valid: that is the ledger's. It knows neither
// documents nor rules of a team, and constructs no host.
package peering

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/toftdb/toft/bitswap"
	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/gossip"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/replicate"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
)

// Options of a Network. All are required.
type Options struct {
	Ledger   *ledger.Ledger
	Store    *store.Store // address book and served blocks
	Identity *vault.Identity
	Gate     *Gate
	Host     host.Host // borrowed: Close leaves it open
	User     string    // how this device introduces itself when it joins
	Device   string
	// NoHistory: what lies below an adopted checkpoint is not fetched.
	NoHistory bool
	Clock     func() time.Time
	Rand      io.Reader
	Log       *slog.Logger
}

// Network is a ledger on a host. It is safe for concurrent use.
type Network struct {
	o        Options
	ledger   *ledger.Ledger
	gate     *Gate
	host     host.Host
	gossip   *gossip.Gossip
	exchange *bitswap.Exchange
	events   chan replicate.Event // to the sync loop, which owns the planner
	follows  chan *ledger.Chain   // to the tend loop: this one changed
	door     door                 // at which joiners knock
	owners   owners               // of the blocks that were asked for

	dials    chan struct{} // rings when somebody new may be reached; capacity 1
	bookMu   sync.Mutex    // one change of the address book at a time
	followMu sync.Mutex    // one change of a chain is followed at a time
	receipts *receipts
	doubts   *doubts

	claiming atomic.Bool // one's own devices are being asked

	mu         sync.Mutex
	missed     bool // the tend loop was too busy to be told which chain changed
	announcers map[block.TeamID]*announcer
	pulls      map[block.TeamID]int                       // in flight
	links      map[block.TeamID]map[block.Device][32]byte // the chain heads a device last said it has
	tips       map[block.DBID]map[block.Device][32]byte   // where a device last said it stands
	blamed     map[peer.ID]bool                           // sent what was refused, and was told on once
	served     map[peer.ID]int                            // sync streams being answered
	told       map[block.TeamID]Removal                   // what a peer said of our own removal
	over       map[block.TeamID]bool                      // a member holds us for out, and says why
	pleas      map[pairing]time.Time                      // when a device that is out was heard
	showed     map[acquaintance]block.ID                  // which record a connected peer was given
	wanted     map[pairing]time.Time                      // when a peer was asked for blocks of keys
	cues       map[peer.ID]*cue                           // why connected peers are about to be pulled

	takers   map[block.DBID]*taker           // which pull takes a checkpoint of a database; guarded by mu
	entering map[block.TeamID]network.Stream // the pull by which we enter a team; guarded by mu
	past     atomic.Bool                     // history below a checkpoint is being fetched
	healing  atomic.Bool                     // damaged blocks are being fetched

	ctx    context.Context // the network's lifetime: ends when Close is called
	cancel context.CancelFunc
	wg     sync.WaitGroup
	lifeMu sync.Mutex // orders begin against Close
}

// Start puts the ledger on the host.
func Start(o Options) (*Network, error) {
	n := &Network{
		o: o, ledger: o.Ledger, gate: o.Gate, host: o.Host,
		events:     make(chan replicate.Event, 256),
		door:       door{inside: map[peer.ID]int{}, tries: map[peer.ID]tries{}},
		receipts:   newReceipts(),
		doubts:     newDoubts(),
		announcers: map[block.TeamID]*announcer{}, pulls: map[block.TeamID]int{},
		links: map[block.TeamID]map[block.Device][32]byte{},
		tips:  map[block.DBID]map[block.Device][32]byte{}, blamed: map[peer.ID]bool{}, served: map[peer.ID]int{},
		follows: make(chan *ledger.Chain, 64), dials: make(chan struct{}, 1), wanted: map[pairing]time.Time{},
		told: map[block.TeamID]Removal{}, over: map[block.TeamID]bool{}, pleas: map[pairing]time.Time{},
		showed: map[acquaintance]block.ID{}, cues: map[peer.ID]*cue{}, takers: map[block.DBID]*taker{}, entering: map[block.TeamID]network.Stream{},
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.start(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Network) start() (err error) {
	if n.gossip, err = gossip.Open(gossip.Options{Host: n.host, Known: n.gate.known, Log: n.o.Log}); err != nil {
		return err
	}
	if n.exchange, err = bitswap.Open(bitswap.Options{Host: n.host, Blocks: blockSource{n.o.Store}, Allow: n.serves, Known: n.gate.known, Log: n.o.Log}); err != nil {
		return err
	}
	strangers := n.strangers
	n.gate.crowd.Store(&strangers)
	n.handle(message.SyncProtocol, n.members(n.serveSync))
	n.handle(message.JoinProtocol, n.serveJoin)
	n.handle(message.DeviceProtocol, n.members(n.serveClaim))
	if err := errors.Join(n.watchPeers(), n.loadReceipts()); err != nil {
		return err
	}
	n.run("sync", n.syncLoop)
	n.run("tend", n.tendLoop)
	n.run("receipts", n.receiptLoop)
	n.run("collect", n.collectLoop)
	for _, c := range n.ledger.Chains() {
		n.Follow(c)
	}
	n.run("dial", n.dialLoop)
	for _, p := range n.host.Network().Peers() {
		n.met(p) // a borrowed host may be connected already
	}
	return nil
}

// Close ends everything that Start began and waits for it. The host keeps running
// without our handlers.
func (n *Network) Close() error {
	n.lifeMu.Lock()
	n.cancel()
	n.lifeMu.Unlock()
	n.host.RemoveStreamHandler(message.SyncProtocol)
	n.host.RemoveStreamHandler(message.JoinProtocol)
	n.host.RemoveStreamHandler(message.DeviceProtocol)
	var errs []error
	if n.exchange != nil {
		errs = append(errs, n.exchange.Close())
	}
	if n.gossip != nil {
		errs = append(errs, n.gossip.Close())
	}
	n.wg.Wait()
	return errors.Join(errs...)
}

// begin registers work with the lifetime; false once Close has begun.
func (n *Network) begin() bool {
	n.lifeMu.Lock()
	defer n.lifeMu.Unlock()
	if n.ctx.Err() != nil {
		return false
	}
	n.wg.Add(1)
	return true
}

// run starts a goroutine that Close waits for, under a name that profiles show.
func (n *Network) run(name string, fn func()) {
	if n.begin() {
		go func() {
			defer n.wg.Done()
			pprof.Do(n.ctx, pprof.Labels("toft", name), func(context.Context) { fn() })
		}()
	}
}

// handle sets a stream handler whose streams end with the network.
func (n *Network) handle(proto protocol.ID, fn func(network.Stream)) {
	n.host.SetStreamHandler(proto, func(s network.Stream) {
		if !n.begin() {
			_ = s.Reset()
			return
		}
		defer n.wg.Done()
		stop := context.AfterFunc(n.ctx, func() { _ = s.Reset() })
		defer stop()
		fn(s)
	})
}

// Follow brings the network in line with a chain's new state: the gate knows the
// roster, gossip forgets who is out, the topics are those of the present keys, and the
// team hears of our new heads. In this order: nothing is said while somebody who is out
// could hear it.
func (n *Network) Follow(c *ledger.Chain) {
	n.followMu.Lock()
	defer n.followMu.Unlock()
	st := c.State()
	before, next := n.gate.Refresh(n.ledger)
	for p := range next.teams {
		if len(before.teams[p]) < len(next.teams[p]) {
			n.welcome(p)
		}
	}
	for p, teams := range before.teams {
		switch {
		case len(next.teams[p]) == 0:
			n.expel(p)
		case slices.ContainsFunc(teams, func(t block.TeamID) bool { return !slices.Contains(next.teams[p], t) }):
			n.gossip.Removed(p) // out of that topic's mesh; the others resume
		}
	}
	if _, err := n.announceOn(c, st); err != nil && n.ctx.Err() == nil {
		n.o.Log.Error("topic not joined", "team", c.ID(), "err", err)
	}
	n.announce(c, nil, nil)
	n.tendSoon(c)
}

// welcome opens up to a peer that has just been admitted, without a reconnect.
func (n *Network) welcome(p peer.ID) {
	n.gossip.Admitted(p)
	n.exchange.Admitted(p)
	if n.reaches(p) {
		n.met(p)
	}
}

// reaches reports whether a peer is connected, perhaps by a relay.
func (n *Network) reaches(p peer.ID) bool {
	c := n.host.Network().Connectedness(p)
	return c == network.Connected || c == network.Limited
}

// expel cuts a peer off that is in no team of ours any more, open connections too. Who
// is joining again just now is treated like one who came back to knock.
func (n *Network) expel(p peer.ID) {
	n.gossip.Removed(p)
	if n.door.holds(p) {
		n.usher(p)
		return
	}
	if planted.Bug("gate-keeps-connections") {
		return
	}
	_ = n.host.Network().ClosePeer(p)
}

// watchPeers follows who is connected.
func (n *Network) watchPeers() error {
	sub, err := n.host.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerConnectednessChanged),
	})
	if err != nil {
		return err
	}
	n.run("peers", func() {
		defer sub.Close()
		for {
			select {
			case <-n.ctx.Done():
				return
			case e := <-sub.Out():
				switch e := e.(type) {
				case event.EvtPeerIdentificationCompleted:
					n.met(e.Peer)
				case event.EvtPeerConnectednessChanged:
					if e.Connectedness == network.NotConnected {
						n.left(e.Peer)
					}
				}
			}
		}
	})
	return nil
}

// met is called when a peer has identified itself, or was admitted while connected:
// a member's addresses are kept for the next start, and it is asked what it has.
func (n *Network) met(p peer.ID) {
	dev, ok := DeviceOf(p)
	switch {
	case ok && n.gate.known(p):
		n.keepAddrs(p)
		n.plan(replicate.Connected{Peer: dev})
		n.claimSoon()
		n.Heal()
		n.History()
	case n.gate.former(p):
		n.usher(p)
	}
}

// left is called when the last connection to a peer is gone.
func (n *Network) left(p peer.ID) {
	n.mu.Lock()
	maps.DeleteFunc(n.wanted, func(k pairing, _ time.Time) bool { return k.peer == p })
	maps.DeleteFunc(n.pleas, func(_ pairing, at time.Time) bool { return n.o.Clock().Sub(at).Abs() > hearEvery })
	maps.DeleteFunc(n.showed, func(k acquaintance, _ block.ID) bool { return k.to == p })
	delete(n.cues, p)
	n.mu.Unlock()
	if n.gate.known(p) {
		n.dialSoon()
	}
	n.parted(p)
	if dev, ok := DeviceOf(p); ok {
		n.plan(replicate.Disconnected{Peer: dev})
	}
}

// moving tells the planner that a pull brings something, so that it is not left as
// stalled.
func (n *Network) moving(p peer.ID) {
	if dev, ok := DeviceOf(p); ok {
		n.plan(replicate.Progress{Peer: dev})
	}
}

// plan hands an event to the sync loop.
func (n *Network) plan(e replicate.Event) {
	select {
	case n.events <- e:
	case <-n.ctx.Done():
	}
}

// syncLoop owns the planner, which decides whom to pull from: events in, pulls out.
func (n *Network) syncLoop() {
	planner := replicate.New(replicate.Options{Rand: rand.Uint64})
	pulls := map[block.Device]context.CancelFunc{}
	defer func() {
		for _, cancel := range pulls {
			cancel()
		}
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var e replicate.Event = replicate.Tick{}
		select {
		case <-n.ctx.Done():
			return
		case e = <-n.events:
		case <-timer.C:
		}
		if done, ok := e.(replicate.PullDone); ok {
			pulls[done.Peer]()
			delete(pulls, done.Peer)
		}
		for _, a := range planner.Step(n.o.Clock(), e) {
			switch a := a.(type) {
			case replicate.Pull:
				ctx, cancel := context.WithCancel(n.ctx)
				pulls[a.Peer] = cancel
				n.run("pull", func() {
					n.plan(replicate.PullDone{Peer: a.Peer, Outcome: n.pull(ctx, a.Peer, a.Why)})
				})
			case replicate.Leave:
				if cancel := pulls[a.Peer]; cancel != nil {
					cancel()
				}
			}
		}
		if at, ok := planner.Wake(); ok {
			timer.Reset(max(at.Sub(n.o.Clock()), time.Millisecond))
		}
	}
}

// blockSource serves Bitswap from the store.
type blockSource struct{ store *store.Store }

// Get returns a block's bytes; bitswap.ErrNotFound if we lack it.
func (b blockSource) Get(_ context.Context, id block.ID) ([]byte, error) {
	data, err := b.store.Get(store.Block(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", bitswap.ErrNotFound, id)
	}
	return data, err
}

// Has reports whether we hold a block.
func (b blockSource) Has(_ context.Context, id block.ID) (bool, error) {
	return b.store.Has(store.Block(id))
}

// Size returns a block's length in bytes.
func (b blockSource) Size(_ context.Context, id block.ID) (int, error) {
	n, err := b.store.Size(store.Block(id))
	if errors.Is(err, store.ErrNotFound) {
		return 0, fmt.Errorf("%w: %s", bitswap.ErrNotFound, id)
	}
	return n, err
}
