package block

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"github.com/mr-tron/base58"
)

// ID names a block: the SHA-256 of its bytes. Inside Toft's own bytes a CID is
// always these 32 bytes; the text form is the CIDv1 that IPFS tools print.
type ID [32]byte

// TeamID is the hash of a team's genesis link.
type TeamID [32]byte

// DBID names a database: SHA-256("toft db" ‖ HKDF(secret, "id"))[:16], so that an
// id fits exactly one secret.
type DBID [16]byte

// Generation names one team key: the ID of the link that made it.
type Generation [32]byte

// InviteID names an invitation within its team; random.
type InviteID [8]byte

// Incarnation tells the writing instances of one device apart; random.
type Incarnation [8]byte

// Hint is the first 8 bytes of a 32-byte identity: enough to look it up among
// those one knows, too little to be trusted.
type Hint [8]byte

// Actor is one writing instance of a device. Actors are ordered bytewise.
type Actor struct {
	Device      Device
	Incarnation Incarnation
}

// ErrIdentity is returned when text or bytes do not name what they should.
var ErrIdentity = errors.New("not a valid identity")

// Sum returns the ID of the block with these bytes.
func Sum(data []byte) ID { return sha256.Sum256(data) }

// cidPrefix is CIDv1, codec raw, multihash sha2-256 of 32 bytes.
var cidPrefix = string([]byte{0x01, 0x55, 0x12, 0x20})

// lower is the multibase "b" alphabet: RFC 4648 base32, lower case, unpadded.
func lower() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}

// String returns the CIDv1 text, as in bafkrei….
func (id ID) String() string { return "b" + lower().EncodeToString([]byte(cidPrefix+string(id[:]))) }

// IsZero reports whether the ID is unset.
func (id ID) IsZero() bool { return id == ID{} }

// Hint returns the first 8 bytes.
func (id ID) Hint() Hint { return Hint(id[:8]) }

// ParseID reads the CIDv1 text of a raw sha2-256 block.
func ParseID(s string) (ID, error) {
	if !strings.HasPrefix(s, "b") || len(s) > 100 {
		return ID{}, fmt.Errorf("%w: %.20q is no CID of a block (bafkrei…)", ErrIdentity, s)
	}
	raw, err := lower().DecodeString(s[1:])
	if err != nil || len(raw) != len(cidPrefix)+32 || string(raw[:len(cidPrefix)]) != cidPrefix {
		return ID{}, fmt.Errorf("%w: %.20q is no CIDv1 of a raw sha2-256 block (bafkrei…)", ErrIdentity, s)
	}
	id := ID(raw[len(cidPrefix):])
	if id.String() != s {
		return ID{}, fmt.Errorf("%w: %.20q is not the canonical text of its CID", ErrIdentity, s)
	}
	return id, nil
}

// named writes an identity as its role and base32, so that a team can never be
// taken for a database in a log or on a command line.
func named(role string, b []byte) string { return role + "-" + lower().EncodeToString(b) }

func parseNamed(role, s string, size int) ([]byte, error) {
	rest, ok := strings.CutPrefix(s, role+"-")
	if !ok || len(rest) > 60 {
		return nil, fmt.Errorf("%w: %.20q does not start with %s-", ErrIdentity, s, role)
	}
	raw, err := lower().DecodeString(rest)
	if err != nil || len(raw) != size || named(role, raw) != s {
		return nil, fmt.Errorf("%w: %.20q is no %s id", ErrIdentity, s, role)
	}
	return raw, nil
}

// String returns team-….
func (id TeamID) String() string { return named("team", id[:]) }

// IsZero reports whether the TeamID is unset, as in the genesis link.
func (id TeamID) IsZero() bool { return id == TeamID{} }

// Hint returns the first 8 bytes.
func (id TeamID) Hint() Hint { return Hint(id[:8]) }

// ParseTeamID reads team-….
func ParseTeamID(s string) (TeamID, error) {
	b, err := parseNamed("team", s, 32)
	if err != nil {
		return TeamID{}, err
	}
	return TeamID(b), nil
}

// String returns db-….
func (id DBID) String() string { return named("db", id[:]) }

// IsZero reports whether the DBID is unset.
func (id DBID) IsZero() bool { return id == DBID{} }

// ParseDBID reads db-….
func ParseDBID(s string) (DBID, error) {
	b, err := parseNamed("db", s, 16)
	if err != nil {
		return DBID{}, err
	}
	return DBID(b), nil
}

// String returns gen-….
func (g Generation) String() string { return named("gen", g[:]) }

// IsZero reports whether the Generation is unset.
func (g Generation) IsZero() bool { return g == Generation{} }

// Hint returns the first 8 bytes.
func (g Generation) Hint() Hint { return Hint(g[:8]) }

// String returns inv-….
func (id InviteID) String() string { return named("inv", id[:]) }

// ParseInviteID reads inv-….
func ParseInviteID(s string) (InviteID, error) {
	b, err := parseNamed("inv", s, 8)
	if err != nil {
		return InviteID{}, err
	}
	return InviteID(b), nil
}

// Bytes returns device key 32 ‖ incarnation 8.
func (a Actor) Bytes() [40]byte {
	var b [40]byte
	copy(b[:32], a.Device[:])
	copy(b[32:], a.Incarnation[:])
	return b
}

// ActorFrom is the inverse of [Actor.Bytes].
func ActorFrom(b [40]byte) Actor {
	return Actor{Device: Device(b[:32]), Incarnation: Incarnation(b[32:])}
}

// Compare orders actors bytewise: -1, 0 or 1.
func (a Actor) Compare(b Actor) int {
	x, y := a.Bytes(), b.Bytes()
	return strings.Compare(string(x[:]), string(y[:]))
}

// Text forms of an Ed25519 public key: the libp2p PeerID (identity multihash of
// its protobuf) and did:key (multicodec ed25519-pub, multibase base58btc).
var (
	peerPrefix = string([]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20})
	didPrefix  = string([]byte{0xed, 0x01})
)

// String returns the libp2p PeerID of the device, 12D3KooW….
func (d Device) String() string { return base58.Encode([]byte(peerPrefix + string(d[:]))) }

// DID returns did:key:z6Mk…, the device's public share token.
func (d Device) DID() string { return "did:key:z" + base58.Encode([]byte(didPrefix+string(d[:]))) }

// ParseDevice reads a PeerID or a did:key and checks the key it names.
func ParseDevice(s string) (Device, error) {
	text, prefix := s, peerPrefix
	if rest, ok := strings.CutPrefix(s, "did:key:z"); ok {
		text, prefix = rest, didPrefix
	}
	if len(text) > 64 { // both forms are shorter; base58 is quadratic in its input
		return Device{}, fmt.Errorf("%w: %.20q is no PeerID or did:key", ErrIdentity, s)
	}
	raw, err := base58.Decode(text)
	if err != nil || len(raw) != len(prefix)+32 || string(raw[:len(prefix)]) != prefix {
		return Device{}, fmt.Errorf("%w: %.20q is no Ed25519 PeerID (12D3KooW…) or did:key (did:key:z6Mk…)", ErrIdentity, s)
	}
	d := Device(raw[len(prefix):])
	if err := d.Check(); err != nil {
		return Device{}, fmt.Errorf("%.20q: %w", s, err)
	}
	return d, nil
}
