package sim

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

var (
	simSeeds = flag.Int("sim.seeds", defaultSeeds, "how many seeds TestWorlds runs")
	simFrom  = flag.Uint64("sim.from", 1, "the first of them")
	simSeed  = flag.Uint64("sim.seed", 0, "run only this seed")
)

// drawn returns what may happen in the world of a seed.
func drawn(seed uint64) options {
	r := rand.New(rand.NewPCG(seed, 1))
	o := options{
		devices: 2 + r.IntN(4), writes: 4 + r.IntN(16), during: time.Duration(5+r.IntN(40)) * time.Second,
		cuts: r.IntN(4) > 0, crashes: r.IntN(3) > 0,
	}
	if r.IntN(3) > 0 {
		o.drops = float64(r.IntN(10)) / 10
	}
	o.noGossip = r.IntN(8) == 0
	switch r.IntN(8) {
	case 0:
		o.rollback = true
	case 1, 2:
		o.cutOff = true
	case 3, 4:
		o.devices = max(o.devices, 3)
		o.lie = lie(1 + r.IntN(int(lies)-1))
	}
	return o
}

// explain runs a seed again with its transcript and keeps that.
func explain(t *testing.T, seed uint64, o options, why error) {
	var out bytes.Buffer
	_ = newWorld(seed, o, &out).live()
	path := filepath.Join(t.ArtifactDir(), fmt.Sprintf("seed-%d.txt", seed))
	if dir, err := os.MkdirTemp("", "toft-sim-"); err == nil {
		path = filepath.Join(dir, fmt.Sprintf("seed-%d.txt", seed))
	}
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Log(err)
	}
	t.Errorf("seed %d: %v\n%+v\ntranscript: %s\nagain: go test ./internal/sim -run %s -sim.seed=%d", seed, why, o, path, t.Name(), seed)
}

// TestWorlds runs many short worlds in which everything goes wrong that is drawn
// for their seed, and holds each against the promises of the package comment.
func TestWorlds(t *testing.T) {
	from, n := *simFrom, *simSeeds
	if *simSeed != 0 {
		from, n = *simSeed, 1
	}
	var mu sync.Mutex
	failed, events, writes := 0, 0, 0
	var simulated, slowest time.Duration
	t.Cleanup(func() {
		t.Logf("%d seeds, %d failed; %d writes acknowledged, %d events, %s simulated, slowest heal %s",
			n, failed, writes, events, simulated.Round(time.Second), slowest.Round(time.Millisecond))
	})
	const lanes = 2
	for lane := range lanes {
		t.Run(fmt.Sprint("lane ", lane), func(t *testing.T) {
			t.Parallel()
			for seed := from + uint64(lane); seed < from+uint64(n); seed += lanes {
				o := drawn(seed)
				w := newWorld(seed, o, nil)
				err := w.live()
				mu.Lock()
				events, writes, simulated, slowest = events+w.events, writes+len(w.acked), simulated+w.now, max(slowest, w.took)
				mu.Unlock()
				if err != nil {
					explain(t, seed, o, err)
					mu.Lock()
					failed++
					stop := failed >= 3
					mu.Unlock()
					if stop {
						return
					}
				}
			}
		})
	}
}

// One seed, two runs, the same bytes.
func TestTheSameSeedIsTheSameWorld(t *testing.T) {
	for seed := uint64(1); seed <= replays; seed++ {
		run := func() ([]byte, error) {
			var out bytes.Buffer
			err := newWorld(seed, drawn(seed), &out).live()
			return out.Bytes(), err
		}
		a, errA := run()
		b, errB := run()
		if !bytes.Equal(a, b) || !errors.Is(errB, errA) && fmt.Sprint(errA) != fmt.Sprint(errB) {
			t.Fatalf("seed %d: two runs differ at byte %d", seed, firstDifference(a, b))
		}
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
