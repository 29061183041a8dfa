// Package message holds the bytes that peers of a team say to each other: the
// announcement on a gossip topic, the frames of the sync and join streams, and
// the receipt.
//
// Every message starts with a version byte, then follows canonical CBOR. On a
// stream it travels in a frame:
//
//	┌──────── uint32, big endian ────────┬── 0x01 ──┬── canonical CBOR map ──┐
//	│ length of what follows, ≤ 4 MiB    │ version  │                        │
//	└────────────────────────────────────┴──────────┴────────────────────────┘
//
// On a topic the map is signed, sealed under the route key and named by the
// generation it was sealed in:
//
//	0x01 ‖ generation[:8] ‖ seal( CBOR map ‖ signature 64 )         ≤ 64 KiB
//
// An example, the shortest conversation there is, two peers that hold the same:
//
//	A → B   Request{Teams: [{Team, Summary}]}          0x01 a1 01 81 a2 01 58 20 …
//	B → A   Response{Teams: [{Team, Equal: true}]}
//
// Reading is strict. A message is bounded in bytes before it is read, in items
// before it is decoded ([MaxItems]: a one-byte item must not become a struct of
// hundreds), and in every count after; lists that are sets must be sorted and
// without duplicates, so each message has one encoding. A version byte other
// than 0x01 is [ErrVersion]: a change of a message is a new version and, on
// streams, a new protocol id.
//
// The package does no input or output but frames, holds no key (signing is a
// function handed in, verifying is block's), and knows neither documents nor the
// rules of a team: commits, links and frontiers are bytes to it.
package message
