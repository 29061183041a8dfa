// Package hosttest gives tests real libp2p hosts on loopback, and a wrapper that
// records what a host says.
//
//	                 ┌───────── Record(h) ─────────┐
//	gossip, bitswap ─┤ NewStream, SetStreamHandler ├─ h ── TLS/Noise ── wire
//	sync, join       └── every byte kept ──────────┘
//	                     above transport encryption
//
// The recorder sits where an attacker inside the transport would: what it sees
// is what any libp2p peer on the other end of a stream sees. A canary that is
// found there was not sealed.
//
// The package knows no protocol of Toft and must be imported by tests only.
package hosttest
