// Package block is the one envelope in which everything of Toft is stored and
// travels, the identities it names, and the verification of signatures.
//
// A block is a clear header, a body and, for three kinds, a signature:
//
//	┌────────────────────────── header: canonical CBOR map ─────────────────────────┐
//	│ version · suite · kind · team hint · db · generation hint · parents · links    │
//	│ · author · seat · critical · boxes                                             │
//	├──────────────── body: nonce ‖ ciphertext (clear only in genesis) ──────────────┤
//	├─────────────── signature: 64 bytes Ed25519ctx (link, commit, checkpoint) ──────┤
//	└────────────────────────────────────────────────────────────────────────────────┘
//	ID = SHA-256 of all of it; as text a CIDv1 (raw, sha2-256): bafkrei…
//
// Links stand in clear so that a blind replica, which can read nothing else, is
// able to walk the graph, notice what is missing and collect garbage. The header
// shows only 8-byte hints of the team and the generation; what is sealed and what
// is signed covers the full 32 bytes of both ([Header.Authenticated]), so a block
// cannot be moved to another team or key.
//
// Reading is three steps, and names say how far one got:
//
//	u, err := block.Parse(data)            // *Unverified: shape and bounds only
//	b, err := u.Verify(team, generation)   // *Block: hints resolved, signature good
//	… vault opens b.Body, team says whether the author might write …
//
// The package holds no secret, seals nothing, and knows neither documents nor
// the rules of a team.
package block
