package vault

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// label names one use of one secret. Two uses of one label would be two uses of
// one key; a test reads this file and the rest of the package and fails when a
// text stands twice or a label is used in two places.
type label string

// Every label of the format. Salt is the full team id where nothing else is said.
const (
	// From a generation.
	labelCommit     label = "commit" // salt: 32 zero bytes (genesis has no team id yet)
	labelRoute      label = "route"
	labelPrivateMAC label = "private-mac"
	labelPrivateEnc label = "private-enc"
	labelHistoryMAC label = "history-mac"
	labelHistoryEnc label = "history-enc"
	labelDBMAC      label = "db-mac" // field: database id
	labelDBEnc      label = "db-enc" // field: database id

	// From the route key of a generation.
	labelRouteCommit     label = "route-commit" // salt: 32 zero bytes
	labelRosterMAC       label = "roster-mac"
	labelRosterEnc       label = "roster-enc"
	labelAnnounceMAC     label = "announce-mac"
	labelAnnounceEnc     label = "announce-enc"
	labelRouteHistoryMAC label = "route-history-mac"
	labelRouteHistoryEnc label = "route-history-enc"
	labelTopic           label = "topic"
	labelRendezvous      label = "rendezvous" // reserved: DHT discovery
	labelMDNS            label = "mdns"       // reserved: mDNS discovery

	// From the secret of a database; salt: the database id.
	labelID        label = "id" // salt: 32 zero bytes
	labelTreeShape label = "tree-shape"
	labelNodeHash  label = "node-hash"
	labelValueHash label = "value-hash"
	labelDigest    label = "digest"

	// From a recovery seed; salt: 32 zero bytes.
	labelRecoverySign label = "recovery-sign"
	labelRecoveryHPKE label = "recovery-hpke"

	// From the Argon2id output of an invitation seed; salt: team id[:20].
	labelInvite label = "invite"

	// From the key of a keystore, and from the Argon2id output of a passphrase;
	// salt: the salt of the keystore.
	labelKeystoreMAC   label = "keystore-mac"
	labelKeystoreEnc   label = "keystore-enc"
	labelPassphraseMAC label = "passphrase-mac"
	labelPassphraseEnc label = "passphrase-enc"

	// Not an HKDF label but built by the same rule: the info of HPKE.
	labelBox    label = "toft/v1/box"
	labelShare  label = "toft/v1/share"
	labelAnswer label = "toft/v1/answer"
)

// Reserved labels: nothing derives them yet, nothing else may take their names.
var _ = [...]label{labelRendezvous, labelMDNS}

// noSalt is the salt of what must be derivable before a team id is known.
func noSalt() []byte { return make([]byte, 32) }

// info is label ‖ 0x00 ‖ (le64(len(field)) ‖ field)…: no two lists of fields give
// the same bytes.
func info(l label, fields ...[]byte) []byte {
	out := append([]byte(l), 0)
	for _, f := range fields {
		out = binary.LittleEndian.AppendUint64(out, uint64(len(f)))
		out = append(out, f...)
	}
	return out
}

// derive is HKDF-SHA-256 (RFC 5869) to 32 bytes.
func derive(secret, salt []byte, l label, fields ...[]byte) [32]byte {
	out, err := hkdf.Key(sha256.New, secret, salt, string(info(l, fields...)), 32)
	if err != nil {
		panic(fmt.Sprintf("vault: hkdf of 32 bytes: %v", err)) // only lengths > 255·32 fail
	}
	return [32]byte(out)
}
