package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/gossip"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

var (
	simClusters = flag.Int("sim.clusters", 1, "how many seeds TestSimulatedCluster runs")
	simHours    = flag.Int("sim.hours", clusterHours, "how many hours TestSimulatedHours simulates")
	simNodes    = flag.Int("sim.nodes", clusterNodes, "how many nodes TestSimulatedCluster has")
	simTime     = flag.Duration("sim.time", clusterTime, "how long each of its clusters runs, simulated")
)

// mute is a host on which nobody hears or says anything by gossip.
type mute struct{ host.Host }

var errMute = errors.New("gossip is off")

func (h mute) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	for _, id := range ids {
		if id == gossip.Protocol {
			return nil, errMute
		}
	}
	return h.Host.NewStream(ctx, p, ids...)
}

func (h mute) SetStreamHandler(id protocol.ID, f network.StreamHandler) {
	if id != gossip.Protocol {
		h.Host.SetStreamHandler(id, f)
	}
}

func (h mute) SetStreamHandlerMatch(id protocol.ID, m func(protocol.ID) bool, f network.StreamHandler) {
	if id != gossip.Protocol {
		h.Host.SetStreamHandlerMatch(id, m, f)
	}
}

// cluster is many machines in one team, each connected to a few others, and what was
// promised to them.
type cluster struct {
	*world
	seed    uint64
	rng     *rand.Rand
	all     []*machine
	running map[*machine]bool
	acked   []string
	begun   time.Time
	story   strings.Builder
}

func (c *cluster) say(format string, args ...any) {
	fmt.Fprintf(&c.story, "%10s ", time.Since(c.begun).Round(time.Millisecond))
	fmt.Fprintf(&c.story, format+"\n", args...)
}

// TestSimulatedCluster runs many whole nodes on a simulated network: writes,
// partitions into two halves, nodes that stop and start; first with gossip, then
// without, because convergence must not depend on it. Within 30 simulated seconds
// after the last fault all show the same, every acknowledged write among it.
func TestSimulatedCluster(t *testing.T) {
	seeds := []uint64{1}
	if *simSeed != 0 {
		seeds[0] = *simSeed
	}
	for len(seeds) < *simClusters {
		seeds = append(seeds, seeds[len(seeds)-1]+1)
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { simulateCluster(t, seed, *simNodes, *simTime) })
		})
	}
}

// TestSimulatedHours runs small clusters for long: four nodes, an hour each, by default
// five of them.
func TestSimulatedHours(t *testing.T) {
	for i := range *simHours {
		seed := uint64(1000 + i)
		if *simSeed != 0 {
			seed = *simSeed + uint64(i)
		}
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { simulateCluster(t, seed, 4, hour) })
		})
	}
}

func simulateCluster(t *testing.T, seed uint64, nodes int, during time.Duration) {
	c := &cluster{world: newWorld(t), seed: seed, rng: rand.New(rand.NewPCG(seed, 20)), running: map[*machine]bool{}, begun: time.Now()}
	c.net.Start()
	defer c.net.Close()
	defer func() {
		c.stopAll()
		c.keep(t)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Hour)
	defer cancel()
	c.gather(ctx, nodes)
	c.phase(ctx, "with gossip", during*2/3)
	c.stopAll()
	c.quiet = true
	c.phase(ctx, "without gossip", during/3)
	c.check(ctx)
}

// phase lets faults happen for a while, and then holds all to the same state.
func (c *cluster) phase(ctx context.Context, name string, during time.Duration) {
	c.say("%s", name)
	c.heal()
	start := time.Now()
	for time.Since(start) < during {
		c.happen(ctx)
		time.Sleep(time.Duration(1+c.rng.IntN(40)) * time.Second / 2)
	}
	c.heal()
	healed := time.Now()
	for why := c.differs(ctx); why != ""; why = c.differs(ctx) {
		require.Less(c.t, time.Since(healed), 30*time.Second, "seed %d, %s: %s", c.seed, name, why)
		time.Sleep(200 * time.Millisecond)
	}
	c.t.Logf("seed %d, %s: %d nodes, %d writes so far, %s simulated, equal %s after the last fault",
		c.seed, name, len(c.all), len(c.acked), healed.Sub(start).Round(time.Second), time.Since(healed))
}

func (c *cluster) stopAll() {
	for _, m := range c.all {
		if c.running[m] {
			m.stop()
			delete(c.running, m)
		}
	}
}

// gather founds the team and lets everybody in; then each knows a few others.
func (c *cluster) gather(ctx context.Context, n int) {
	for i := range n {
		m := c.machine(i, fmt.Sprintf("m%02d", i))
		m.start()
		c.all, c.running[m] = append(c.all, m), true
	}
	_, err := c.all[0].CreateTeam(ctx, nodetest.Team)
	require.NoError(c.t, err)
	nodetest.DB(c.t, c.all[0], "notes")
	code := nodetest.Invite(c.t, c.all[0], nodetest.Team)
	for _, m := range c.all[1:] {
		nodetest.Join(c.t, m, code, m.name)
	}
	for i, m := range c.all {
		for _, o := range []*machine{c.all[(i+1)%n], c.all[(i+1+c.rng.IntN(n-1))%n]} { // a ring, and chords
			_ = m.host.Connect(ctx, peer.AddrInfo{ID: o.host.ID(), Addrs: o.host.Addrs()})
		}
	}
}

// happen lets one thing happen.
func (c *cluster) happen(ctx context.Context) {
	m := c.all[c.rng.IntN(len(c.all))]
	switch x := c.rng.IntN(20); {
	case x == 0:
		half := c.rng.Perm(len(c.all))[:len(c.all)/2]
		c.say("partition %v", half)
		for _, i := range half {
			for j := range c.all {
				if !contains(half, j) {
					c.link(c.all[i], c.all[j], false)
				}
			}
		}
	case x == 1:
		c.say("mend")
		c.mendAll()
	case x == 2 && c.running[m]:
		c.say("%s stops", m.name)
		m.stop()
		delete(c.running, m)
	case x <= 4 && !c.running[m]:
		c.say("%s starts", m.name)
		m.start()
		c.running[m] = true
	case c.running[m]:
		db, err := m.DB(ctx, "notes")
		require.NoError(c.t, err)
		id := fmt.Sprintf("%s-%04d", m.name, len(c.acked))
		_, err = db.Put(ctx, api.Doc{"_id": id, "by": m.name})
		require.NoError(c.t, err)
		_, err = db.Patch(ctx, fmt.Sprintf("shared-%d", c.rng.IntN(5)), api.Doc{"by": m.name, "n": api.Doc{"$inc": 1}})
		require.NoError(c.t, err)
		c.acked = append(c.acked, id)
		c.say("%s put %s", m.name, id)
	}
}

func contains(list []int, x int) bool {
	for _, y := range list {
		if x == y {
			return true
		}
	}
	return false
}

func (c *cluster) mendAll() {
	for i, a := range c.all {
		for _, b := range c.all[:i] {
			c.link(a, b, true)
		}
	}
}

func (c *cluster) heal() {
	c.say("heal")
	c.mendAll()
	for _, m := range c.all {
		if !c.running[m] {
			m.start()
			c.running[m] = true
		}
	}
}

// differs says who does not hold what the first one holds, "" if all do.
func (c *cluster) differs(ctx context.Context) string { return differ(ctx, c.t, c.all) }

func differ(ctx context.Context, t testing.TB, some []*machine) string {
	first := nodetest.Digest(ctx, t, some[0], "notes")
	for _, m := range some[1:] {
		if d := nodetest.Digest(ctx, t, m, "notes"); d != first || d == "" {
			return fmt.Sprintf("%s differs from %s", m.name, some[0].name)
		}
	}
	return ""
}

// check holds every node against what was acknowledged anywhere.
func (c *cluster) check(ctx context.Context) {
	for _, m := range c.all {
		db, err := m.DB(ctx, "notes")
		require.NoError(c.t, err)
		have := map[string]bool{}
		for _, d := range rows(c.t, db) {
			have[d.ID()] = true
		}
		for _, id := range c.acked {
			require.True(c.t, have[id], "seed %d: %s has lost %s", c.seed, m.name, id)
		}
		s, err := m.Status(ctx)
		require.NoError(c.t, err)
		for _, w := range s.Warnings {
			require.NotEqual(c.t, api.Alarm, w.Severity, "seed %d: %s: %s", c.seed, m.name, w.Detail)
		}
	}
}

// keep writes the story down when the test has failed.
func (c *cluster) keep(t *testing.T) {
	if !t.Failed() {
		return
	}
	dir, err := os.MkdirTemp("", "toft-sim-")
	if err != nil {
		t.Log(err)
		return
	}
	path := filepath.Join(dir, fmt.Sprintf("cluster-%d.txt", c.seed))
	if err := os.WriteFile(path, []byte(c.story.String()), 0o600); err != nil {
		t.Log(err)
	}
	t.Logf("seed %d failed; its story is in %s; again: -run '%s' -sim.seed=%d", c.seed, path, strings.Split(t.Name(), "/")[0], c.seed)
}
