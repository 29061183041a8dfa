// Package bitswap moves blocks by their ID between the devices of a team: it
// fetches from the peers it is told, and serves those it is told to allow.
//
//	GetMany(ids, from)                                     Source
//	      │                                                  ▲
//	 ┌────┴─────┐   wants, cancels (one stream)      ┌───────┴───────┐
//	 │  fetch   ├───────────────────────────────────▶│ boxo's server │
//	 │ (client, │   /toft/ipfs/bitswap/1.2.0         │ ledger, queue │
//	 │   ours)  │◀───────────────────────────────────┤               │
//	 └──────────┘   blocks, DONT_HAVE (one stream)   └───────┬───────┘
//	   every block hashed by its reader             Allow(peer, id), asked when
//	   before anybody sees it                       a want comes and when a block goes
//
// The wire is Bitswap 1.2 as boxo encodes it, under a prefix of our own, and the
// server is boxo's. A fetch is ours: boxo's client cannot be told whom to ask, and
// tells every connected peer what it wants.
//
// # A fetch
//
// The wants of a fetch stand in a row. Every peer given has a lane, and takes wants
// from the row as fast as it delivers: no more than a window, so that a slow
// consumer bounds memory and a server never drops a want. A peer that says it has
// not, goes away or is silent for 1.5 s loses its wants to the others; an idle lane
// takes over what another is slow with. When nobody has anything the rest is asked
// for again until patience ends: then the fetch does too, and names what is
// missing.
//
//	want: fresh ─▶ asked ─block─▶ ready ─▶ consumer
//	        ▲        └─ DONT_HAVE, stall, gone ─▶ asked elsewhere ─▶ idle ─┐
//	        └──────────────────── after a while, or on Admitted ──────────┘
//
// # Traps of boxo v0.43 handled here
//
//   - Its client waits 20 ms between two messages to one peer (minSendMessageDelay,
//     inside its queue, out of reach of options and of a wrapped network) and
//     learns who has a block by a broadcast before asking for it: 15–20 ms for
//     every lone block. Here: none (about 0.15 ms on loopback).
//   - Its network opens a stream per message and loses blocks silently at the 75
//     inbound streams per protocol and peer that libp2p allows. Here: two streams
//     each way, for good.
//   - Its server drops wants above 1,024 in silence. Here: a client has at most
//     2,048 standing at a peer, for all fetches together, and a server keeps 4,096.
//   - A want left pending while denied is repeated after 30 s. Here: at once on
//     [Exchange.Admitted], after 0.2 to 2 s otherwise.
//   - It asks the request filter when a want arrives only, and what is queued goes
//     out although the peer was removed since. Here: asked again when it goes.
//   - A late cancel of one fetch hits the same want of the next one, which hangs.
//     Here: wants are counted over all fetches, and of several entries about one
//     block in one message the last counts.
//   - Its server takes a want off the queue some time after the answer has gone,
//     and until then forgets a second one for the same block that tells it nothing
//     new. Here: who hears nothing for 1.5 s asks once more, and what was asked for
//     twice is cancelled when it has come, or it would stay on the list for good.
//   - Simulated DONT_HAVEs after 50 ms call healthy peers dead. Here: a peer is
//     silent only when no byte of it came for 1.5 s.
//   - A peer that does not read holds senders for minutes. Here: two of 128, for
//     5 s, then nothing is written to it for 10 s.
//
// Round trips are what a sync costs, not blocks: ask for all that is known to be
// missing in one GetMany, never for one after the other.
//
// The clock decides when to ask again or elsewhere, never what is true. The
// package knows no block format, team, key or document; go-cid stops here.
package bitswap
