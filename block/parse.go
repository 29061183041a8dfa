package block

import (
	"fmt"

	"github.com/toftdb/toft/internal/wire"
)

// clearHeader is the encoding of a header: the hint form in a block, the full
// form (32-byte team and generation) in what is sealed and signed.
type clearHeader struct {
	Version    uint64       `cbor:"1,keyasint"`
	Suite      uint64       `cbor:"2,keyasint"`
	Kind       Kind         `cbor:"3,keyasint"`
	Team       []byte       `cbor:"4,keyasint,omitempty"`  // 8 | 32 bytes; absent in share
	DB         []byte       `cbor:"5,keyasint,omitempty"`  // 16 bytes
	Generation []byte       `cbor:"6,keyasint,omitempty"`  // 8 | 32 bytes
	Parents    uint64       `cbor:"7,keyasint,omitempty"`  // how many of Links are parents
	Links      []ID         `cbor:"8,keyasint,omitempty"`  // 32 bytes each
	Author     []byte       `cbor:"9,keyasint,omitempty"`  // 32 bytes
	Seat       []byte       `cbor:"10,keyasint,omitempty"` // 32 bytes
	Critical   bool         `cbor:"11,keyasint,omitempty"`
	Boxes      []clearGroup `cbor:"12,keyasint,omitempty"`
}

// clear returns the encoding form of h, with full ids or with hints.
func (h Header) clear(full bool) clearHeader {
	c := clearHeader{Version: Version, Suite: Suite, Kind: h.Kind, Parents: uint64(h.Parents), Links: h.Links, Critical: h.Critical}
	n := 8
	if full {
		n = 32
	}
	if h.Kind != KindShare {
		c.Team = h.Team[:n]
	}
	if !h.Generation.IsZero() {
		c.Generation = h.Generation[:n]
	}
	if !h.DB.IsZero() {
		c.DB = h.DB[:]
	}
	if !h.Author.IsZero() {
		c.Author = h.Author[:]
	}
	if !h.Seat.IsZero() {
		c.Seat = h.Seat[:]
	}
	c.Boxes = clearGroups(h.Boxes)
	return c
}

// append writes what wire.Encode(h.clear(full)) does, by hand: every block is made
// with three of these, and most have no boxes.
func (h *Header) append(b []byte, full bool) []byte {
	if len(h.Boxes) > 0 {
		return append(b, wire.Must(h.clear(full))...)
	}
	n := 8
	if full {
		n = 32
	}
	fields := []struct {
		key   byte
		bytes []byte
		there bool
	}{
		{4, h.Team[:n], h.Kind != KindShare}, {5, h.DB[:], !h.DB.IsZero()}, {6, h.Generation[:n], !h.Generation.IsZero()},
		{9, h.Author[:], !h.Author.IsZero()}, {10, h.Seat[:], !h.Seat.IsZero()},
	}
	count := uint64(3)
	for _, there := range []bool{
		fields[0].there, fields[1].there, fields[2].there, fields[3].there, fields[4].there,
		h.Parents > 0, len(h.Links) > 0, h.Critical,
	} {
		if there {
			count++
		}
	}
	b = wire.AppendHead(b, cborMap, count)
	b = wire.AppendHead(append(b, 1, Version, 2, Suite, 3), cborUint, uint64(h.Kind))
	for i := range fields {
		if i == 3 {
			b = h.appendLinks(b)
		}
		if f := &fields[i]; f.there {
			b = append(wire.AppendHead(append(b, f.key), cborBytes, uint64(len(f.bytes))), f.bytes...)
		}
	}
	if h.Critical {
		b = append(b, 11, 0xf5)
	}
	return b
}

// Major types of CBOR.
const (
	cborUint  = 0
	cborBytes = 2
	cborArray = 4
	cborMap   = 5
)

func (h *Header) appendLinks(b []byte) []byte {
	if h.Parents > 0 {
		b = wire.AppendHead(append(b, 7), cborUint, uint64(h.Parents))
	}
	if len(h.Links) == 0 {
		return b
	}
	b = wire.AppendHead(append(b, 8), cborArray, uint64(len(h.Links)))
	for i := range h.Links {
		b = append(wire.AppendHead(b, cborBytes, 32), h.Links[i][:]...)
	}
	return b
}

// size is about what a header takes as bytes, without boxes, from above.
func (h *Header) size() int { return 192 + 34*len(h.Links) }

// Unverified is a block whose shape is good and of which nothing else is known:
// hints are not resolved, the signature is not checked, the body is not opened.
type Unverified struct {
	ID             ID
	Kind           Kind
	TeamHint       Hint // zero in genesis and share
	DB             DBID
	GenerationHint Hint
	Parents        int
	Links          []ID
	Author         Device
	Seat           ID
	header         Header // Team and Generation zero
	body           []byte
	sig            Signature
	data           []byte
}

// maxHeader is the longest header: that of a block with the most links. The decoder
// makes room for each item of a list, and one of a byte may be a lockbox, so it is shown
// no more than that.
const maxHeader = 34*MaxLinks + 512

// Parse checks the shape and the bounds of an envelope. It keeps data.
func Parse(data []byte) (*Unverified, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(data), MaxSize)
	}
	if v, s, ok := peekVersion(data); ok && (v > Version || s > Suite) {
		return nil, fmt.Errorf("%w: version %d suite %d", ErrVersion, v, s)
	}
	c, rest, err := wire.DecodeFirst[clearHeader](data[:min(len(data), maxHeader)])
	if err != nil {
		return nil, fmt.Errorf("%w: header: %v", ErrMalformed, err)
	}
	body := data[min(len(data), maxHeader)-len(rest):]
	if c.Version != Version || c.Suite != Suite {
		return nil, fmt.Errorf("%w: version %d suite %d", ErrMalformed, c.Version, c.Suite)
	}
	h, err := c.header()
	if err != nil {
		return nil, err
	}
	if most := h.Kind.maxSize(); len(data) > most {
		return nil, fmt.Errorf("%w: kind %d: %d bytes, at most %d", ErrMalformed, h.Kind, len(data), most)
	}
	u := &Unverified{
		ID: Sum(data), Kind: h.Kind, DB: h.DB, Parents: h.Parents, Links: h.Links,
		Author: h.Author, Seat: h.Seat, header: h, body: body, data: data,
	}
	copy(u.TeamHint[:], c.Team)
	copy(u.GenerationHint[:], c.Generation)
	if h.Kind.Signed() {
		if len(body) < 64 {
			return nil, fmt.Errorf("%w: no room for a signature", ErrMalformed)
		}
		u.body, u.sig = body[:len(body)-64], Signature(body[len(body)-64:])
	}
	if err := u.checkHinted(c); err != nil {
		return nil, err
	}
	return u, nil
}

// peekVersion reads version and suite, which every version of the envelope has at
// the same place, before anything else is looked at: a newer header may have
// fields this decoder would call malformed. Numbers above 23 are not small CBOR
// integers and fall through to the decoder.
func peekVersion(data []byte) (version, suite byte, ok bool) {
	// aN 01 vv 02 ss …
	if len(data) < 5 || data[0]&0xf0 != 0xa0 || data[1] != 1 || data[3] != 2 || data[2] > 23 || data[4] > 23 {
		return 0, 0, false
	}
	return data[2], data[4], true
}

// header returns c without team and generation, sizes checked.
func (c clearHeader) header() (Header, error) {
	sized := func(b []byte, n int) bool { return len(b) == 0 || len(b) == n }
	if !sized(c.Team, 8) || !sized(c.Generation, 8) || !sized(c.DB, 16) || !sized(c.Author, 32) || !sized(c.Seat, 32) {
		return Header{}, fmt.Errorf("%w: size of a header field", ErrMalformed)
	}
	if len(c.Links) > MaxLinks || c.Parents > MaxParents {
		return Header{}, fmt.Errorf("%w: %d links, %d parents", ErrMalformed, len(c.Links), c.Parents)
	}
	h := Header{Kind: c.Kind, Parents: int(c.Parents), Links: c.Links, Critical: c.Critical}
	copy(h.DB[:], c.DB)
	copy(h.Author[:], c.Author)
	copy(h.Seat[:], c.Seat)
	var err error
	h.Boxes, err = groupsOf(c.Boxes)
	return h, err
}

// checkHinted runs Header.Check with hints standing in for the full ids.
func (u *Unverified) checkHinted(c clearHeader) error {
	h := u.header
	copy(h.Team[:], u.TeamHint[:])
	copy(h.Generation[:], u.GenerationHint[:])
	if (len(c.Team) == 0) != (h.Kind == KindShare) {
		return fmt.Errorf("%w: kind %d: team", ErrMalformed, h.Kind)
	}
	for _, f := range [][]byte{c.DB, c.Generation, c.Author, c.Seat} {
		if len(f) > 0 && zero(f) {
			return fmt.Errorf("%w: kind %d: zero field", ErrMalformed, h.Kind)
		}
	}
	return h.Check()
}

func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// Genesis reports whether this claims to be the first link of a team.
func (u *Unverified) Genesis() bool { return u.Kind == KindLink && u.TeamHint == Hint{} }

// Data returns the bytes that were parsed.
func (u *Unverified) Data() []byte { return u.data }

// Boxes returns the lockbox groups of the header.
func (u *Unverified) Boxes() []BoxGroup { return u.header.Boxes }

// Resolve fills in the full ids behind the hints, without checking the
// signature: for blocks read back from a store that only keeps verified ones, and
// for the step before [Unverified.Verify]. Genesis resolves with a zero team and
// generation, KindBoxes with a zero generation, KindShare with both zero.
func (u *Unverified) Resolve(team TeamID, gen Generation) (*Block, error) {
	if team.Hint() != u.TeamHint || gen.Hint() != u.GenerationHint {
		return nil, fmt.Errorf("%w: block %s", ErrOtherTeam, u.ID)
	}
	h := u.header
	h.Team, h.Generation = team, gen
	if err := h.Check(); err != nil {
		return nil, err
	}
	return &Block{ID: u.ID, Header: h, Body: u.body, Signature: u.sig, Data: u.data}, nil
}

// Verify is Resolve and a check of the signature, for the kinds that have one.
func (u *Unverified) Verify(team TeamID, gen Generation) (*Block, error) {
	b, err := u.Resolve(team, gen)
	if err != nil {
		return nil, err
	}
	if p := u.Kind.Purpose(); p != "" {
		if err := u.Author.Verify(p, b.Header.SignedBytes(b.Body), u.sig); err != nil {
			return nil, fmt.Errorf("block %s: %w", u.ID, err)
		}
	}
	return b, nil
}

// PeekTeam reads the team hint of a stored block without decoding it: a canonical
// header has it at a fixed place. A genesis link shows zeros; its team is its own
// ID. ok is false for share blocks, which belong to no team, and for other bytes.
func PeekTeam(data []byte) (hint Hint, ok bool) {
	// aN 01 01 02 01 03 kk 04 48 <8 bytes>
	if len(data) < 17 || data[0]&0xf0 != 0xa0 || string(data[1:6]) != "\x01\x01\x02\x01\x03" || string(data[7:9]) != "\x04\x48" {
		return Hint{}, false
	}
	return Hint(data[9:17]), true
}
