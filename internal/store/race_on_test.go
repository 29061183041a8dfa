//go:build race

package store

// stride thins the sweeps: with the race detector the engine also checks its
// own invariants and every point costs ten times as much.
const stride = 6
