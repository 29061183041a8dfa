// Package sim holds worlds in which the pure rooms of Toft run together, replayed
// exactly from a seed: real [crdt.Replica]s under real [team.Chain]s, with the
// decisions of [replicate] on top, and nothing else that is real.
//
//	seed ─▶ ┌───────────────────────────── world ─────────────────────────────┐
//	        │ one clock, one queue of events, one source of randomness        │
//	        │                                                                 │
//	        │  device ── Planner, Answer, Intake ◀─┐     ┌─▶ device           │
//	        │    │ Replica, Chain                  ├ net ┤     …              │
//	        │    └ disk: what outlives a crash ────┘     └─▶ liar             │
//	        └───────────────▶ transcript: the same seed, the same bytes ──────┘
//
// The network loses, doubles, delays and reorders announcements, breaks streams,
// cuts links and comes back; devices write, crash with whatever was not synced, start
// again, are rolled back to an old disk, lose the right to write; a liar answers with
// wrong blocks, frontiers of nobody, parents without end, or not at all. Then the
// faults end, and within 30 simulated seconds every honest device must hold the same:
//
//   - every write that was acknowledged is there (unless its author was cut off, or
//     its disk was rolled back);
//   - heads, digest, void hash and chain are equal; no digest alarm was raised;
//   - nothing grew beyond its bound: pulls, planners, windows, parked links.
//
// What is modelled and not run: the disk is a list, signatures are ideal (a hash
// with a secret that liars lack), sealing is left out, and the conversation of a pull
// and the timers of announcing are written again here, step for step. Whole nodes
// with the real ones run in package e2e.
//
// There is no code here, only tests.
package sim
