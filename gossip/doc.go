// Package gossip says "these are my heads": it carries small opaque messages
// between the devices that share a topic, over a GossipSub of its own.
//
//	     Join(topic, allow, judge)
//	                    │
//	┌───────────────────┴────────────────────┐
//	│ gossip: gate · claims · replay          │   ── our rules
//	├─────────────────────────────────────────┤
//	│ go-libp2p-pubsub under                  │   ── mesh, copies, IHAVE
//	│ /toft/meshsub/1.2.0                     │
//	└───────────────────┬────────────────────┘
//	    host.Host (ours or an embedder's)
//
// Two GossipSubs with default protocol ids on one host deliver nothing; this one
// has an id of its own, offers no floodsub, signs nothing and names no author:
// a message is its bytes, and its ID their SHA-256.
//
// # The gate
//
// A peer that is a member of none of our teams ([Options].Known) is a stranger.
// It is sent nothing, not even the greeting that lists topics, and every RPC of
// it is dropped before GossipSub looks inside. A member is seen on a topic only
// while allow(peer) holds for that topic: what a peer says about its topics is
// kept aside as a claim and handed to GossipSub filtered, on every RPC anew.
//
//	RPC ─▶ known? ─▶ muted? ─▶ rate ─▶ claims ∩ allow ─▶ messages ∩ allow ─▶ GossipSub
//	        no: drop, remember the claims (bounded)
//
// Messages of a peer that may not speak on a topic are dropped there and not in
// the validator: GossipSub marks a message as seen before it asks validators,
// so an outsider could otherwise silence a message by repeating it first.
//
// # Traps of go-libp2p-pubsub v0.16 handled here
//
//   - After admission nothing resumes on the open connection until the peer is
//     identified again: [Gossip.Admitted] hands our GossipSub, and nobody else on
//     the host, such an event.
//   - WithPeerFilter does not stop a denied peer's incoming messages, nor IHAVE
//     towards it, nor messages to one that is in the mesh already: the gate does,
//     and [Gossip.Removed] drops all state.
//   - Publish drops what is too large or comes in bursts, and says nothing: sizes
//     are checked, queues raised, drops counted ([Gossip.Stats]).
//   - A message said or passed on after a peer is seen on the topic and before a
//     heartbeat takes it into the mesh is lost to it: it is replayed on GRAFT.
//   - Inbound streams outlive the context: they are tracked and reset at Close.
//   - UnsubscribeBackoff below one second is encoded as 0, read as one minute.
//
// Delivery is best effort. Whoever uses this package must converge without it. The
// clock is used for rates and backoffs only, never for what is true.
//
// The package knows no team, key, document or message format; it is told who may
// hear and speak on which topic, and whether a message is acceptable.
package gossip
