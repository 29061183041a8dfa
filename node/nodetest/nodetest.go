// Package nodetest gives tests whole nodes without a disk: the store lies in
// memory, the host listens on loopback, and everything is closed with the test.
//
//	mesh := nodetest.Mesh(t, 3)            // three nodes, one team, all connected
//	db := nodetest.DB(t, mesh[0], "notes") // a database that reaches the others
//
// The nodes are real: real libp2p hosts, real sealing, real sync. Only the disk is
// not. It knows nothing that a user of package node could not do.
package nodetest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/node"
	"github.com/toftdb/toft/node/api"
)

// Team is the name of the team that [Mesh] makes.
const Team = "fam"

// Option changes the configuration of a node before it is opened.
type Option func(*node.Config)

// OnHost lets the node borrow a host.
func OnHost(h host.Host) Option { return func(c *node.Config) { c.Host = h } }

// Named sets the names of the user and the device.
func Named(name string) Option {
	return func(c *node.Config) { c.User, c.Device = name, name+"-laptop" }
}

// On keeps the store on a file system that outlives the node, for restarts.
func On(fs store.FS) Option { return func(c *node.Config) { c.FS = fs } }

// Offline opens the node without a network.
func Offline() Option { return func(c *node.Config) { c.Network = config.Offline } }

// Config returns the configuration a test node starts from.
func Config(tb testing.TB) node.Config {
	tb.Helper()
	return node.Config{
		Config: config.Config{
			Dir: tb.TempDir(), User: "ann", Device: "laptop", Network: config.LAN,
			Listen: []string{"/ip4/127.0.0.1/tcp/0"},
		},
		FS:  store.NewMem(),
		Log: slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// Open opens a node that is closed with the test.
func Open(tb testing.TB, options ...Option) *node.Node {
	tb.Helper()
	cfg := Config(tb)
	for _, o := range options {
		o(&cfg)
	}
	n, err := node.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatalf("open node: %v", err)
	}
	tb.Cleanup(func() {
		if err := n.Close(); err != nil {
			tb.Errorf("close node: %v", err)
		}
	})
	return n
}

// Invite returns a code for the team of that name.
func Invite(tb testing.TB, a api.API, team string) string {
	tb.Helper()
	t, err := a.Team(tb.Context(), team)
	if err != nil {
		tb.Fatal(err)
	}
	inv, err := t.InviteMember(tb.Context(), api.MemberInvite{})
	if err != nil {
		tb.Fatalf("invite: %v", err)
	}
	return inv.Code
}

// Join redeems a code.
func Join(tb testing.TB, a api.API, code, name string) api.Joined {
	tb.Helper()
	j, err := a.Join(tb.Context(), api.JoinRequest{Code: code, Name: name})
	if err != nil {
		tb.Fatalf("join: %v", err)
	}
	return j
}

// Mesh opens n nodes in one team, founded by the first.
func Mesh(tb testing.TB, n int, options ...Option) []*node.Node {
	tb.Helper()
	nodes := []*node.Node{Open(tb, append([]Option{Named("ann")}, options...)...)}
	if _, err := nodes[0].CreateTeam(tb.Context(), Team); err != nil {
		tb.Fatalf("create team: %v", err)
	}
	names := []string{"ann", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy"}
	for i := 1; i < n; i++ {
		b := Open(tb, append([]Option{Named(names[i%len(names)])}, options...)...)
		Join(tb, b, Invite(tb, nodes[0], Team), "")
		nodes = append(nodes, b)
	}
	return nodes
}

// DB makes a database in the mesh's team.
func DB(tb testing.TB, a api.API, name string) api.DB {
	tb.Helper()
	t, err := a.Team(tb.Context(), Team)
	if err != nil {
		tb.Fatal(err)
	}
	db, err := t.CreateDB(tb.Context(), name)
	if err != nil {
		tb.Fatalf("create database: %v", err)
	}
	return db
}

// Until waits for cond, which asks a node that may be in another process or on the
// other side of a network, so there is no channel to wait on. It fails the test
// when ctx ends first.
func Until(ctx context.Context, tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			tb.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

// Arrived waits until a database of that name has reached a.
func Arrived(ctx context.Context, tb testing.TB, a api.API, name string) (db api.DB) {
	tb.Helper()
	Until(ctx, tb, "database "+name+" arrives", func() bool {
		var err error
		db, err = a.DB(ctx, name)
		return err == nil
	})
	return db
}

// Digest returns the digest of a database as status shows it, "" if there is none.
func Digest(ctx context.Context, tb testing.TB, a api.API, name string) string {
	tb.Helper()
	s, err := a.Status(ctx)
	if err != nil {
		tb.Fatalf("status: %v", err)
	}
	for _, db := range s.DBs {
		if db.Name == name {
			return db.Digest
		}
	}
	return ""
}

// Equal waits until all nodes show the same digest of a database.
func Equal(ctx context.Context, tb testing.TB, name string, nodes ...api.API) {
	tb.Helper()
	Until(ctx, tb, "equal digests of "+name, func() bool {
		first := Digest(ctx, tb, nodes[0], name)
		for _, a := range nodes[1:] {
			if first == "" || Digest(ctx, tb, a, name) != first {
				return false
			}
		}
		return true
	})
}
