//go:build !race

package sim

// defaultSeeds is what a run does that says nothing else.
const defaultSeeds = 2000
