// Package node is one running Toft peer, to be embedded or run as a daemon: it puts
// together the store, the keys, what the device holds (internal/ledger) and how it
// exchanges it (internal/peering), owns their lifetime, and is the door.
//
//	n, err := node.Open(ctx, node.Config{Config: config.Config{Dir: "data"}})
//	defer n.Close()
//	fam, err := n.CreateTeam(ctx, "fam")
//	db, err := fam.CreateDB(ctx, "todos")
//	res, err := db.Put(ctx, api.Doc{"title": "milk"})
//
// [Node] implements [api.API]; a program that talks to a daemon's socket gets the
// same interface from api.Dial. Nothing here decides anything: what may be written
// is team's to say, how it merges crdt's, what is durable the ledger's.
package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/peering"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/node/api"
)

// Config is what a node is opened with: plain values, and live objects that an
// embedding program may bring.
type Config struct {
	config.Config
	// Host is a libp2p host of the embedding program: borrowed, never closed. Its
	// key, which must be Ed25519 and in its peerstore, becomes the device's on first
	// use and must stay it. Nil: the node makes its own host.
	Host host.Host
	// Log receives what the node has to say. Nil: silence.
	Log *slog.Logger
	// Clock tells the time. Nil: the system's.
	Clock func() time.Time
	// Passphrase asks for the passphrase of a locked key where no PassphraseFile is
	// named. Nil: such a node does not open.
	Passphrase func() (api.Secret, error)
	// Command is what the store's lock tells a second process about this one. Empty:
	// the name of the program.
	Command string
	// FS is where the store lies. Nil: the disk. For tests.
	FS store.FS
}

// Node is one running Toft peer. It is safe for concurrent use.
type Node struct {
	cfg     Config
	log     *slog.Logger
	clock   func() time.Time
	rand    io.Reader
	store   *store.Store
	chest   *vault.Chest
	id      *vault.Identity
	forgot  atomic.Bool // the recovery words are no longer here
	gate    *peering.Gate
	ledger  *ledger.Ledger
	host    host.Host                       // nil while offline
	live    atomic.Pointer[peering.Network] // nil while offline
	traffic *metrics.BandwidthCounter       // of our own host
	started time.Time

	once   sync.Once
	closed error
}

var _ api.API = (*Node)(nil)

// Open opens or creates the node in cfg.Dir: the first time it makes the device's
// keys, the store, and the personal team, without a question. It returns when
// everything on disk is loaded and, unless the network is off, the host listens.
// Errors: [api.ErrStoreLocked], [api.ErrFormat], [api.ErrKeyLocked], [api.ErrVerify].
func Open(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.Check(); err != nil {
		return nil, api.ErrUsage.Wrap(err, "")
	}
	n := &Node{cfg: cfg, log: cfg.Log, clock: cfg.Clock, rand: rand.Reader, traffic: metrics.NewBandwidthCounter()}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if n.clock == nil {
		n.clock = time.Now
	}
	n.started, n.gate = n.clock(), peering.NewGate(n.clock)
	if err := n.load(ctx); err != nil {
		return nil, errors.Join(doorError(err), n.Close())
	}
	if cfg.Network != "" && cfg.Network != config.Offline {
		if err := n.goLive(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("network: %w", err), n.Close())
		}
	}
	return n, nil
}

// load opens the store, the identity and everything below them.
func (n *Node) load(ctx context.Context) error {
	paths := n.cfg.Paths()
	if err := os.MkdirAll(n.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	var err error
	n.store, err = store.Open(paths.Store, store.Options{FS: n.cfg.FS, Holder: store.Holder{Command: n.cfg.Command}, Logger: n.log, Rotten: func() {
		time.AfterFunc(0, n.damaged) // not from inside the store
	}})
	if err != nil {
		return err
	}
	teams, err := ledger.Teams(n.store)
	if err != nil {
		return err
	}
	if err := n.openIdentity(paths.Keystore, len(teams) == 0); err != nil {
		return err
	}
	place, err := placeOf(paths.Store)
	if err != nil {
		return err
	}
	n.ledger, err = ledger.Open(ledger.Options{
		Store: n.store, Identity: n.id, Place: place, User: n.cfg.User, Device: n.cfg.Device,
		Clock: n.clock, Rand: n.rand, Log: n.log, Changed: n.changed, Committed: n.committed, Damaged: n.damaged,
	})
	if err != nil {
		return err
	}
	if n.personal() == nil {
		if _, err := n.ledger.Found(ctx, api.Personal, true); err != nil {
			return fmt.Errorf("make the personal team: %w", err)
		}
	}
	return nil
}

// changed, committed and damaged carry what happens in the ledger to the network,
// once there is one.
func (n *Node) changed(c *ledger.Chain) {
	if net := n.live.Load(); net != nil {
		net.Follow(c)
	}
}

func (n *Node) committed(d *ledger.Database, b *block.Block) {
	if net := n.live.Load(); net != nil {
		net.Announce(d, b)
	}
}

func (n *Node) damaged() {
	if net := n.live.Load(); net != nil {
		net.Heal()
	}
}

// goLive starts the network on our own host, or on the borrowed one.
func (n *Node) goLive(ctx context.Context) error {
	n.gate.Refresh(n.ledger)
	if n.host = n.cfg.Host; n.host == nil {
		h, err := n.listen(ctx)
		if err != nil {
			return err
		}
		n.host = h
	} else if err := sameKey(n.host, n.id); err != nil {
		return err
	}
	net, err := peering.Start(peering.Options{
		Ledger: n.ledger, Store: n.store, Identity: n.id, Gate: n.gate, Host: n.host,
		User: n.cfg.User, Device: n.cfg.Device, Clock: n.clock, Rand: n.rand, Log: n.log,
		NoHistory: n.cfg.History == "none",
	})
	if err != nil {
		return err
	}
	n.live.Store(net)
	for _, c := range n.ledger.Chains() {
		net.Follow(c) // what changed before the ledger could say so
	}
	return nil
}

// personal returns the chain of the personal team, nil before it is made.
func (n *Node) personal() *ledger.Chain {
	for _, c := range n.ledger.Chains() {
		if c.Personal() {
			return c
		}
	}
	return nil
}

// Close stops everything the node started and waits for it: handlers, loops, the
// writers of the databases (what they acknowledged is on disk), the host if it is
// our own, the store. It is safe to call twice.
func (n *Node) Close() error {
	n.once.Do(func() {
		var errs []error
		if net := n.live.Load(); net != nil {
			errs = append(errs, net.Close())
		}
		if n.host != nil && n.host != n.cfg.Host {
			errs = append(errs, n.host.Close())
		}
		if n.ledger != nil {
			n.ledger.Close()
		}
		if n.store != nil {
			errs = append(errs, n.store.Close())
		}
		n.closed = errors.Join(errs...)
	})
	return n.closed
}
