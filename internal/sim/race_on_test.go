//go:build race

package sim

// defaultSeeds is what a run does that says nothing else: the race detector makes
// worlds many times slower.
const defaultSeeds = 100
