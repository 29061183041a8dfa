//go:build !race

package sim

// What a run does that says nothing else: two thousand short worlds take seconds.
const (
	defaultSeeds = 2000
	replays      = 40
)
