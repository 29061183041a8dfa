package e2e_test

import (
	"context"
	"crypto/ed25519"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	libp2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/node"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

var (
	simSeeds = flag.Int("sim.seeds", 2, "how many seeds TestSimulatedTeam runs")
	simSeed  = flag.Uint64("sim.seed", 0, "run only this seed")
)

// world is a simulated network under fake time. Links can be cut; a cut link
// delivers nothing, as a cable that was pulled.
type world struct {
	t   *testing.T
	net *simnet.Simnet
	mu  sync.Mutex
	cut map[[2]string]bool

	quiet bool // gossip is off
}

const (
	oneWay = 25 * time.Millisecond
	never  = 1000 * time.Hour
)

func newWorld(t *testing.T) *world {
	w := &world{t: t, cut: map[[2]string]bool{}}
	w.net = &simnet.Simnet{LatencyFunc: func(p *simnet.Packet) time.Duration {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.cut[[2]string{ipOf(p.From), ipOf(p.To)}] {
			return never
		}
		return oneWay
	}}
	return w
}

func ipOf(a net.Addr) string {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.IP.String()
	}
	return a.String()
}

// link cuts or mends the link between two machines.
func (w *world) link(a, b *machine, up bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]string{a.ip, b.ip}] = !up
	w.cut[[2]string{b.ip, a.ip}] = !up
}

// machine is one simulated device: its disk and its key outlive the node.
type machine struct {
	w    *world
	ip   string
	name string
	key  ed25519.PrivateKey
	disk store.FS
	dir  string
	host host.Host
	*node.Node
}

func (w *world) machine(i int, name string) *machine {
	seed := make([]byte, 32)
	seed[0] = byte(i + 1)
	m := &machine{
		w: w, ip: fmt.Sprintf("1.0.0.%d", i+1), name: name, key: ed25519.NewKeyFromSeed(seed),
		disk: store.NewMem(), dir: w.t.TempDir(),
	}
	return m
}

func (m *machine) start() {
	t := m.w.t
	t.Helper()
	key, err := libp2pcrypto.UnmarshalEd25519PrivateKey(m.key)
	require.NoError(t, err)
	link := simnet.LinkSettings{BitsPerSecond: 50 * simlibp2p.OneMbps}
	m.host, err = libp2p.New(
		libp2p.Identity(key),
		libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/%s/udp/8000/quic-v1", m.ip)),
		simlibp2p.QUICSimnet(m.w.net, simnet.NodeBiDiLinkSettings{Downlink: link, Uplink: link}),
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableMetrics(),
		libp2p.DisableRelay(),
	)
	require.NoError(t, err)
	if m.w.quiet {
		m.host = mute{m.host}
	}
	cfg := nodetest.Config(t)
	cfg.Dir, cfg.FS, cfg.Host, cfg.User, cfg.Device = m.dir, m.disk, m.host, m.name, m.name+"-laptop"
	m.Node, err = node.Open(t.Context(), cfg)
	require.NoError(t, err)
}

func (m *machine) stop() {
	require.NoError(m.w.t, m.Node.Close())
	require.NoError(m.w.t, m.host.Close())
}

// TestSimulatedTeam runs whole nodes on a simulated network: random writes by all,
// links cut and mended, nodes stopped and started. Within 30 simulated seconds
// after the last fault all show the same state.
func TestSimulatedTeam(t *testing.T) {
	seeds := make([]uint64, *simSeeds)
	for i := range seeds {
		seeds[i] = uint64(i + 1)
	}
	if *simSeed != 0 {
		seeds = []uint64{*simSeed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
		})
	}
}

func simulate(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t)
	w.net.Start()
	defer w.net.Close()
	var all []*machine
	for i, name := range []string{"ann", "bob", "carol", "dave"} {
		m := w.machine(i, name)
		m.start()
		all = append(all, m)
	}
	running := map[*machine]bool{}
	defer func() {
		for m := range running {
			m.stop()
		}
	}()
	for _, m := range all {
		running[m] = true
	}
	ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
	defer cancel()
	_, err := all[0].CreateTeam(ctx, nodetest.Team)
	require.NoError(t, err)
	nodetest.DB(t, all[0], "notes")
	for _, m := range all[1:] {
		nodetest.Join(t, m, nodetest.Invite(t, all[0], nodetest.Team), "")
	}
	start, writes := time.Now(), 0
	for step := range 60 {
		m := all[rng.IntN(len(all))]
		switch x := rng.IntN(10); {
		case x == 0:
			w.link(m, all[rng.IntN(len(all))], false)
		case x == 1:
			w.link(m, all[rng.IntN(len(all))], true)
		case x == 2 && running[m]:
			m.stop()
			delete(running, m)
		case x == 3 && !running[m]:
			m.start()
			running[m] = true
		case running[m]:
			db, err := m.DB(ctx, "notes")
			require.NoError(t, err)
			doc := api.Doc{"by": m.name, "step": step, "n": api.Doc{"$inc": 1}}
			_, err = db.Patch(ctx, fmt.Sprintf("doc-%d", rng.IntN(8)), doc)
			require.NoError(t, err)
			writes++
		}
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
	}
	for i, a := range all {
		for _, b := range all[:i] {
			w.link(a, b, true)
		}
		if !running[a] {
			a.start()
			running[a] = true
		}
	}
	healed := time.Now()
	soon, cancelSoon := context.WithTimeout(ctx, 30*time.Second)
	defer cancelSoon()
	nodetest.Equal(soon, t, "notes", all[0], all[1], all[2], all[3])
	for _, m := range all {
		s, err := m.Status(ctx)
		require.NoError(t, err)
		for _, c := range s.Warnings {
			require.NotEqual(t, api.Alarm, c.Severity, "%s: %s", m.name, c.Detail)
		}
	}
	t.Logf("seed %d: %d writes, %s simulated, equal after %s", seed, writes, healed.Sub(start).Round(time.Second), time.Since(healed))
}
