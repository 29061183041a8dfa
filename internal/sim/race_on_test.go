//go:build race

package sim

// What a run does that says nothing else: the race detector makes worlds many
// times slower.
const (
	defaultSeeds = 60
	replays      = 8
)
