package peering

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	libp2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/team"
)

// device is a ledger on a real host: what package node puts together, without door
// and disk. Its clock can be set apart from the others'.
type device struct {
	*Network
	t     testing.TB
	host  host.Host
	id    *vault.Identity
	store *store.Store
	tape  *hosttest.Recorder
	log   *logged
	skew  atomic.Int64 // the clock against the real one, in ms
}

// newDevice opens a device with nothing in it, on a host of its own.
func newDevice(t testing.TB, name string) *device {
	t.Helper()
	return newDeviceOn(t, name, hosttest.New(t, hosttest.TCP))
}

func newDeviceOn(t testing.TB, name string, h host.Host) *device {
	t.Helper()
	d := &device{t: t, host: h, log: &logged{}}
	raw, err := libp2pcrypto.PrivKeyToStdKey(d.host.Peerstore().PrivKey(d.host.ID()))
	require.NoError(t, err)
	d.id, err = vault.NewIdentityOf(*raw.(*ed25519.PrivateKey), rand.Reader)
	require.NoError(t, err)
	d.store, err = store.Open("store", store.Options{FS: store.NewMem()})
	require.NoError(t, err)
	clock := func() time.Time { return time.Now().Add(time.Duration(d.skew.Load()) * time.Millisecond) }
	log := slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	var net atomic.Pointer[Network]
	led, err := ledger.Open(ledger.Options{
		Store: d.store, Identity: d.id, Place: name, User: name, Device: name + "-laptop",
		Clock: clock, Rand: rand.Reader, Log: log,
		Changed: func(c *ledger.Chain) {
			if n := net.Load(); n != nil {
				n.Follow(c)
			}
		},
		Committed: func(db *ledger.Database, b *block.Block) {
			if n := net.Load(); n != nil {
				n.Announce(db, b)
			}
		},
		Damaged: func() {
			if n := net.Load(); n != nil {
				n.Heal()
			}
		},
	})
	require.NoError(t, err)
	recorded, tape := hosttest.Record(d.host)
	d.tape = tape
	d.Network, err = Start(Options{
		Ledger: led, Store: d.store, Identity: d.id, Gate: NewGate(clock), Host: recorded,
		User: name, Device: name + "-laptop", Clock: clock, Rand: rand.Reader, Log: log,
	})
	require.NoError(t, err)
	net.Store(d.Network)
	t.Cleanup(func() {
		require.NoError(t, d.Network.Close())
		led.Close()
		require.NoError(t, d.store.Close())
	})
	return d
}

// logged counts the lines that a user would see.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(bytes.TrimSpace(p)))
	return len(p), nil
}

func (l *logged) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.lines
	l.lines = nil
	return out
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), hosttest.Deadline)
	t.Cleanup(cancel)
	return ctx
}

// found makes a team with one database.
func (d *device) found(name string) (*ledger.Chain, *ledger.Database) {
	d.t.Helper()
	c, err := d.ledger.Found(d.t.Context(), name, false)
	require.NoError(d.t, err)
	return c, d.database(c, "notes")
}

func (d *device) database(c *ledger.Chain, name string) *ledger.Database {
	d.t.Helper()
	id, secret, err := vault.NewDatabase(rand.Reader)
	require.NoError(d.t, err)
	_, err = c.Link(d.t.Context(), team.AddDB{DB: id, Name: name, Secret: secret}, nil)
	require.NoError(d.t, err)
	db := d.ledger.Database(id)
	require.NotNil(d.t, db)
	return db
}

// invite writes an invitation and returns its code; the zero value of inv is one
// for a member, without bounds.
func (d *device) invite(c *ledger.Chain, inv team.Invite) team.Code {
	d.t.Helper()
	id := c.ID()
	code := team.Code{Team: [20]byte(id[:20]), Device: d.id.Device()}
	_, _ = rand.Read(code.Seed[:])
	_, _ = rand.Read(code.Invite[:])
	for _, a := range d.host.Addrs()[:1] {
		code.Addrs = append(code.Addrs, a.Bytes())
	}
	signer, err := vault.InviteKey(code.Team, code.Invite, code.Seed[:])
	require.NoError(d.t, err)
	if inv.Kind == 0 {
		inv.Kind, inv.Role = team.InviteMember, team.RoleMember
	}
	inv.ID, inv.Key = code.Invite, signer.Public()
	_, err = c.Link(d.t.Context(), inv, nil)
	require.NoError(d.t, err)
	return code
}

// open writes an invitation whose key is not stretched from a seed: that takes half
// a second, and nothing but the join stream needs it.
func (d *device) open(c *ledger.Chain, inv team.Invite) (team.Invitation, *vault.Identity) {
	d.t.Helper()
	key, err := vault.NewIdentity(rand.Reader)
	require.NoError(d.t, err)
	if inv.Kind == 0 {
		inv.Kind, inv.Role = team.InviteMember, team.RoleMember
	}
	_, _ = rand.Read(inv.ID[:])
	inv.Key = key.Device()
	_, err = c.Link(d.t.Context(), inv, nil)
	require.NoError(d.t, err)
	made, ok := c.State().Invitation(inv.ID)
	require.True(d.t, ok)
	return made, key
}

// join lets d into the team and returns d's copies: a join without its stream.
func (d *device) join(by *device, c *ledger.Chain) (*ledger.Chain, *ledger.Database) {
	d.t.Helper()
	inv, key := by.open(c, team.Invite{})
	return d.use(by, c, inv, key)
}

// admittedBy has d admitted and returns the link that seats it; it pulls nothing.
func (d *device) admittedBy(by *device, c *ledger.Chain, inv team.Invitation, key *vault.Identity) block.ID {
	return d.admission(by, c, inv, key).Admit
}

func (d *device) admission(by *device, c *ledger.Chain, inv team.Invitation, key *vault.Identity) message.Result {
	d.t.Helper()
	p := team.Proof{
		Team: code20(c.ID()), Invite: inv.ID, Kind: inv.Kind, Role: inv.Role, Device: d.id.Device(), BoxKey: d.id.BoxKey(),
		Name: d.o.User, DeviceName: d.o.Device, R: [32]byte{1}, Nonce: [32]byte{1}, Admitter: by.id.Device(),
	}
	if inv.Kind != team.InviteMember {
		p.Name = "" // of a member only
	}
	p.Commit = team.Commit(p.Device, p.BoxKey, p.Name, p.DeviceName, p.R)
	p.InviteSig, p.DeviceSig = key.Sign(block.ForJoin, p.Signed()), d.id.Sign(block.ForJoin, p.Signed())
	r := by.admit(d.t.Context(), c, inv, p)
	require.Zero(d.t, r.Error)
	return r
}

func (d *device) use(by *device, c *ledger.Chain, inv team.Invitation, key *vault.Identity) (*ledger.Chain, *ledger.Database) {
	d.t.Helper()
	r := d.admission(by, c, inv, key)
	hosttest.Connect(d.t, d.host, by.host)
	mine, err := d.enter(within(d.t), by.host.ID(), r.Team, promised(d.t.Context(), d.ledger, r.Admit))
	require.NoError(d.t, err)
	d.hears(within(d.t), mine, by.host.ID())
	if dbs := mine.Databases(); len(dbs) > 0 {
		return mine, dbs[0]
	}
	return mine, nil
}

func (d *device) redeem(code team.Code) (*ledger.Chain, *ledger.Database) {
	d.t.Helper()
	c, _, err := d.Join(within(d.t), code, Joiner{Device: true})
	require.NoError(d.t, err)
	if dbs := c.Databases(); len(dbs) > 0 {
		return c, dbs[0]
	}
	return c, nil
}

// put writes one document.
func put(t testing.TB, db *ledger.Database, id string, body crdt.Doc) block.ID {
	t.Helper()
	if body == nil {
		body = crdt.Doc{}
	}
	w, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: id, Body: body}})
	require.NoError(t, err)
	return w.Commit
}

func puts(t testing.TB, db *ledger.Database, prefix string, n int) {
	t.Helper()
	for i := range n {
		put(t, db, fmt.Sprintf("%s-%04d", prefix, i), crdt.Doc{"n": int64(i)})
	}
}

func count(db *ledger.Database) (n int) {
	_ = db.View(func(r *crdt.Replica) error { n = r.Count(); return nil })
	return n
}

// same waits until the databases stand at the same heads and digest.
func same(t testing.TB, dbs ...*ledger.Database) {
	t.Helper()
	hosttest.Wait(t, "equal databases", func() bool {
		for _, d := range dbs[1:] {
			if tip(d.Heads()) != tip(dbs[0].Heads()) {
				return false
			}
		}
		return true
	})
}

// confirmed waits until a join is no longer provisional.
func confirmed(t testing.TB, c *ledger.Chain) {
	t.Helper()
	hosttest.Wait(t, "the join to be confirmed", func() bool { return !c.Provisional() })
}

// knock opens a raw stream from any host.
func knock(t testing.TB, from host.Host, to *device, proto string) network.Stream {
	t.Helper()
	require.NoError(t, from.Connect(within(t), peer.AddrInfo{ID: to.host.ID(), Addrs: to.host.Addrs()}))
	s, err := from.NewStream(within(t), to.host.ID(), protocol.ID(proto))
	require.NoError(t, err)
	require.NoError(t, s.SetDeadline(time.Now().Add(hosttest.Deadline)))
	t.Cleanup(func() { _ = s.Reset() })
	return s
}

// request asks on a raw sync stream.
func request(t testing.TB, s network.Stream, req message.Request) message.Response {
	t.Helper()
	resp, err := ask(s, req)
	require.NoError(t, err)
	return resp
}

// deaf makes a device accept no new connection: whoever learns its address cannot use
// it. Connections that are open stay.
func (d *device) deaf() {
	direct := slices.DeleteFunc(d.host.Network().ListenAddresses(), func(a multiaddr.Multiaddr) bool {
		_, err := a.ValueForProtocol(multiaddr.P_CIRCUIT)
		return err == nil // a relay reaches it all the same
	})
	d.host.Network().(*swarm.Swarm).ListenClose(direct...)
}

// apart cuts devices off from each other, for as long as nobody listens.
func apart(t testing.TB, ds ...*device) {
	t.Helper()
	for _, d := range ds {
		d.deaf()
	}
	for i, d := range ds {
		for _, x := range ds[:i] {
			_ = d.host.Network().ClosePeer(x.host.ID())
		}
	}
	hosttest.Wait(t, "nobody to be connected", func() bool {
		for i, d := range ds {
			for _, x := range ds[:i] {
				// A dial that was under way may still have come through.
				_ = d.host.Network().ClosePeer(x.host.ID())
				if d.host.Network().Connectedness(x.host.ID()) == network.Connected {
					return false
				}
			}
		}
		return true
	})
}

// together has devices listen again and connects them all.
func together(t testing.TB, ds ...*device) {
	t.Helper()
	for _, d := range ds {
		at, err := multiaddr.NewMultiaddr(hosttest.TCP)
		require.NoError(t, err)
		require.NoError(t, d.host.Network().Listen(at))
	}
	for i, d := range ds {
		for _, x := range ds[:i] {
			// Who is out is cut off again, at once.
			_ = d.host.Connect(within(t), peer.AddrInfo{ID: x.host.ID(), Addrs: x.host.Addrs()})
		}
	}
}

// agree waits until all hold the same chain, and returns it as the first sees it.
func agree(t testing.TB, chains ...*ledger.Chain) *team.State {
	t.Helper()
	hosttest.Wait(t, "one chain", func() bool {
		for _, c := range chains[1:] {
			if !slices.Equal(c.Heads(), chains[0].Heads()) {
				return false
			}
		}
		return true
	})
	return chains[0].State()
}

// hour is one hour as messages count time.
const hour = wire.Time(time.Hour / time.Millisecond)

func connect(t testing.TB, a, b *device) { t.Helper(); hosttest.Connect(t, a.host, b.host) }

func addrInfo(d *device) peer.AddrInfo { return peer.AddrInfo{ID: d.host.ID(), Addrs: d.host.Addrs()} }
