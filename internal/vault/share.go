package vault

import (
	"crypto/hpke"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// Share is what an invite block of the share-token flow says to the device whose
// did:key it is sealed to: which team it was added to, by whom, where to find it,
// and one lockbox, so that it can start before anybody is online.
//
// The block's ID may be published: body = HPKE enc 32 ‖ ciphertext, under the
// X25519 key that the recipient's did:key derives; the plaintext is padded like
// any other and is canonical CBOR ‖ signature of the inviter under
// "toft/v1/share".
type Share struct {
	Team      block.TeamID
	Inviter   block.Device
	Recipient block.Device
	Addrs     [][]byte         // packed multiaddrs of the inviter, ≤ 8, each ≤ 256 bytes
	Heads     []block.ID       // chain heads, 1 to 64, sorted
	Boxes     []block.BoxGroup // the lockbox, with its generation named
}

const (
	maxShareAddrs = 8
	maxShareAddr  = 256
	maxShare      = 64 << 10
)

// storedShare is its encoding.
type storedShare struct {
	Team      []byte     `cbor:"1,keyasint"`
	Inviter   []byte     `cbor:"2,keyasint"`
	Recipient []byte     `cbor:"3,keyasint"`
	Addrs     [][]byte   `cbor:"4,keyasint,omitempty"`
	Heads     []block.ID `cbor:"5,keyasint"`
	Boxes     []byte     `cbor:"6,keyasint"` // as the body of a KindBoxes block
}

// shareInfo is the HPKE info: suite (le64), recipient.
func shareInfo(to block.Device) []byte {
	return info(labelShare, binary.LittleEndian.AppendUint64(nil, block.Suite), to[:])
}

// SealShare signs s as its inviter and seals it to its recipient.
func (id *Identity) SealShare(s Share) (*block.Block, error) {
	if s.Inviter != id.device {
		return nil, fmt.Errorf("seal share: inviter %s is not this device", s.Inviter)
	}
	boxes, err := block.EncodeBoxes(s.Boxes)
	if err != nil {
		return nil, fmt.Errorf("seal share: %w", err)
	}
	text := wire.Must(storedShare{s.Team[:], s.Inviter[:], s.Recipient[:], s.Addrs, s.Heads, boxes})
	sig := id.Sign(block.ForShare, text)
	if _, err := parseShare(append(text, sig[:]...), s.Recipient); err != nil {
		return nil, fmt.Errorf("seal share: %w", err)
	}
	to, err := s.Recipient.BoxKey()
	if err != nil {
		return nil, fmt.Errorf("seal share: %w", err)
	}
	public, err := to.Parse()
	if err != nil {
		return nil, fmt.Errorf("seal share: %w", err)
	}
	body, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), shareInfo(s.Recipient), pad(append(text, sig[:]...)))
	if err != nil {
		return nil, fmt.Errorf("seal share: %w", err)
	}
	return block.New(block.Header{Kind: block.KindShare}, body, nil)
}

// OpenShare opens the body of a KindShare block sealed to this device and checks
// the inviter's signature. Whether the inviter may invite only the chain can say.
func (id *Identity) OpenShare(body []byte) (Share, error) {
	did := id.openers[len(id.openers)-1]
	if len(body) > maxShare {
		return Share{}, fmt.Errorf("open share: %w: %d bytes, at most %d", ErrSealed, len(body), maxShare)
	}
	padded, err := hpke.Open(did.private(), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), shareInfo(id.device), body)
	if err != nil {
		return Share{}, fmt.Errorf("open share: %w: it is sealed to another device, or damaged", ErrSealed)
	}
	signed, ok := unpad(padded)
	if !ok {
		return Share{}, fmt.Errorf("open share: %w: padding", ErrSealed)
	}
	s, err := parseShare(signed, id.device)
	if err != nil {
		return Share{}, fmt.Errorf("open share: %w", err)
	}
	return s, nil
}

// parseShare reads text ‖ signature and checks every bound and the signature.
func parseShare(signed []byte, recipient block.Device) (Share, error) {
	malformed := block.ErrMalformed
	if len(signed) < 64 || len(signed) > maxShare {
		return Share{}, fmt.Errorf("%w: %d bytes", malformed, len(signed))
	}
	text, sig := signed[:len(signed)-64], block.Signature(signed[len(signed)-64:])
	in, err := wire.Decode[storedShare](text, maxShare)
	if err != nil {
		return Share{}, fmt.Errorf("%w: %w", malformed, err)
	}
	if len(in.Team) != 32 || len(in.Inviter) != 32 || len(in.Recipient) != 32 {
		return Share{}, fmt.Errorf("%w: size of an identity", malformed)
	}
	s := Share{
		Team: block.TeamID(in.Team), Inviter: block.Device(in.Inviter), Recipient: block.Device(in.Recipient),
		Addrs: in.Addrs, Heads: in.Heads,
	}
	tooLong := func(a []byte) bool { return len(a) == 0 || len(a) > maxShareAddr }
	sorted := slices.IsSortedFunc(s.Heads, func(a, b block.ID) int { return slices.Compare(a[:], b[:]) })
	switch {
	case s.Team.IsZero() || s.Recipient != recipient:
		return Share{}, fmt.Errorf("%w: for another device", malformed)
	case len(s.Addrs) > maxShareAddrs || slices.ContainsFunc(s.Addrs, tooLong):
		return Share{}, fmt.Errorf("%w: addresses", malformed)
	case len(s.Heads) == 0 || len(s.Heads) > block.MaxParents || !sorted || len(slices.Compact(slices.Clone(s.Heads))) != len(s.Heads):
		return Share{}, fmt.Errorf("%w: chain heads", malformed)
	}
	if s.Boxes, err = block.ParseBoxes(in.Boxes); err != nil {
		return Share{}, fmt.Errorf("%w: %w", malformed, err)
	}
	if len(s.Boxes) != 1 || len(s.Boxes[0].Boxes) != 1 || s.Boxes[0].Generation.IsZero() {
		return Share{}, fmt.Errorf("%w: one lockbox of a named generation is wanted", malformed)
	}
	if err := s.Inviter.Check(); err != nil {
		return Share{}, err
	}
	if err := s.Inviter.Verify(block.ForShare, text, sig); err != nil {
		return Share{}, err
	}
	return s, nil
}
