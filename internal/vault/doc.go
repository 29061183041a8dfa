// Package vault holds all secrets of a device. It alone signs, seals, opens and
// unwraps; every other room gets bytes, public keys, or keyed functions.
//
// What comes from what:
//
//	identity   Ed25519 seed ──────────► Device (PeerID): signs, one context per purpose
//	  │                     └─────────► X25519: boxes sealed to a bare did:key
//	  └─ HPKE seeds ──────────────────► MLKEM768X25519: receives lockboxes
//
//	generation (32 random bytes, one per rotation, reaches a device in a lockbox)
//	  ├─ commit ──────────► public commitment: which key a box must open to
//	  ├─ private, history ► (mac, enc) pairs: names, secrets; older generations
//	  ├─ db(id) ──────────► (mac, enc) pair per database: commits, nodes, values, files
//	  └─ route ───────────► route key, all that a blind replica gets
//	       ├─ roster, announce, route-history ► (mac, enc) pairs
//	       └─ topic
//
//	database secret (32 random bytes, made with the database, survives rotations)
//	  └─ tree-shape, node-hash, value-hash, digest: keyed functions; id: its name
//
// Every arrow is HKDF-SHA-256 with a label of its own (labels.go). Sealing is
// deterministic and commits to the key (seal.go), so there is no nonce to repeat:
// a restored snapshot or a second writer can do no harm, and equal content has
// one CID on every device.
//
// A worked example, two devices of one team:
//
//	alice, _ := vault.NewIdentity(rand.Reader)
//	ring := vault.NewKeyring(alice)
//	_ = ring.Add(team, gen, secret)                      // alice made the generation
//	body, _ := ring.Seal(vault.Data, header, plaintext)  // nonce ‖ ciphertext
//	box, commitment, _ := ring.Box(team, gen, block.BoxGeneration, bob)
//	// … bob: ring.OpenBoxes(team, link, author, groups); ring.Open(vault.Data, header, body)
//
// At rest the identity is sealed in a keystore (keystore.go). The keyring is not
// stored: it is opened again from the lockboxes and history layers of the chain.
//
// The package knows no link action, role, document or operation; it does not say
// who may read, only who can. Secrets print as REDACTED in every form. Memory is
// not wiped: Go's collector may have copied it, and a promise would be false.
package vault
