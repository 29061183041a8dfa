package block

import (
	"errors"
	"fmt"
)

// Kind says what a block is.
type Kind uint8

// The kinds of version 1. Numbers are frozen.
const (
	KindLink       Kind = 1  // a link of a team chain; signed
	KindCommit     Kind = 2  // a commit of a database; signed
	KindCheckpoint Kind = 3  // a materialized state; signed
	KindNode       Kind = 4  // a node of the state tree
	KindValue      Kind = 5  // a field value or entry kept out of line
	KindOps        Kind = 6  // operations of a commit too large to stand in it
	KindChunk      Kind = 7  // a piece of a file
	KindManifest   Kind = 8  // the list of a file's chunks
	KindShare      Kind = 9  // an invite block of the share-token flow
	KindBoxes      Kind = 10 // lockboxes of a link that has too many
)

// Version and suite of every block this package writes and reads.
const (
	Version = 1
	// Suite 1: SHA-256, HKDF-SHA-256, HMAC-SHA-256, XChaCha20-Poly1305,
	// Ed25519ctx, HPKE with HKDF-SHA-256 and ChaCha20-Poly1305.
	Suite = 1
)

// Bounds of an envelope. A larger one is refused before anything is allocated.
const (
	// MaxSize is the largest block: what Bitswap peers everywhere accept.
	MaxSize = 1 << 20
	// MaxLinks bounds the links of one block: a tree node has ≤ 1,024 children, a
	// manifest node ≤ 1,024 chunks, a commit ≤ 64 parents and its values.
	MaxLinks = 4096
	// MaxParents bounds the heads a link or a commit may merge at once.
	MaxParents = 64
	// MaxLinkSize is the largest KindLink block: every device replays every link.
	MaxLinkSize = 64 << 10
	// MaxInlineBoxes is the most bytes of lockboxes (encapsulated keys and sealed
	// text) a header carries; beyond, they go into linked KindBoxes blocks, of which
	// a device fetches only its own.
	MaxInlineBoxes = 16 << 10
)

// Errors of Parse and Verify; callers branch on them.
var (
	ErrMalformed = errors.New("malformed block")
	ErrVersion   = errors.New("block of a newer version: upgrade toft")
	ErrOtherTeam = errors.New("block of another team or generation")
)

// Header is the clear part of a block with its hints resolved.
//
//	field       link  commit/checkpoint  node value ops chunk manifest  boxes  share
//	Team         ✓(0 in genesis)  ✓              ✓                        ✓      –
//	DB           –        ✓                      ✓                        –      –
//	Generation   ✓(– in genesis)  ✓              ✓                        –      –
//	Author       ✓        ✓                      –                        –      –
//	Seat         ✓(– in genesis)  ✓              –                        –      –
//	Critical, Boxes  link only
//	Links        ✓(– in genesis)  ✓       ✓ (– chunk)                 –      –
type Header struct {
	Kind       Kind
	Team       TeamID     // full; zero in genesis and share
	DB         DBID       // zero: absent
	Generation Generation // the key the body is sealed under; zero: absent
	Parents    int        // the first Parents of Links are the parents in the DAG
	Links      []ID
	Author     Device
	Seat       ID // the link that admitted the author
	Critical   bool
	Boxes      []BoxGroup
}

// Block is a verified envelope: hints resolved, signature (if any) good. Its
// fields share memory with Data and must not be changed.
type Block struct {
	ID        ID
	Header    Header
	Body      []byte
	Signature Signature // zero for unsigned kinds
	Data      []byte    // the whole envelope
}

// rule says which fields a kind has.
type rule struct {
	db, generation, author bool
	team, links            bool
	purpose                Purpose // "": unsigned
}

// ruleOf returns the field rule of a kind; ok is false for kinds not known.
func ruleOf(k Kind) (r rule, ok bool) {
	switch k {
	case KindLink:
		return rule{team: true, links: true, generation: true, author: true, purpose: ForLink}, true
	case KindCommit:
		return rule{team: true, links: true, db: true, generation: true, author: true, purpose: ForCommit}, true
	case KindCheckpoint:
		return rule{team: true, links: true, db: true, generation: true, author: true, purpose: ForCheckpoint}, true
	case KindNode, KindValue, KindOps, KindManifest:
		return rule{team: true, links: true, db: true, generation: true}, true
	case KindChunk:
		return rule{team: true, db: true, generation: true}, true
	case KindBoxes:
		return rule{team: true}, true
	case KindShare:
		return rule{}, true
	}
	return rule{}, false
}

// Genesis reports whether the header is that of the first link of a team.
func (h Header) Genesis() bool { return h.Kind == KindLink && h.Team.IsZero() }

// Check reports whether the header has exactly the fields of its kind, in bounds.
func (h Header) Check() error {
	r, ok := ruleOf(h.Kind)
	if !ok {
		return fmt.Errorf("%w: unknown kind %d", ErrVersion, h.Kind)
	}
	g := h.Genesis()
	bad := func(what string) error { return fmt.Errorf("%w: kind %d: %s", ErrMalformed, h.Kind, what) }
	switch {
	case h.Team.IsZero() == r.team && !g:
		return bad("team")
	case h.DB.IsZero() == r.db:
		return bad("db")
	case h.Generation.IsZero() == (r.generation && !g):
		return bad("generation")
	case h.Author.IsZero() == r.author:
		return bad("author")
	case h.Seat.IsZero() == (r.author && !g):
		return bad("seat")
	case h.Critical && (h.Kind != KindLink || g):
		return bad("critical")
	case len(h.Boxes) > 0 && h.Kind != KindLink:
		return bad("boxes")
	case h.Parents < 0 || h.Parents > MaxParents || h.Parents > len(h.Links):
		return bad("parents")
	case h.Parents > 0 && r.purpose == "":
		return bad("parents of an unsigned kind")
	case g && len(h.Links) > 0 || h.Kind == KindLink && !g && h.Parents == 0:
		return bad("parents of a link")
	case len(h.Links) > MaxLinks:
		return bad("too many links")
	case len(h.Links) > 0 && !r.links:
		return bad("links of a leaf")
	}
	for i := 1; i < h.Parents; i++ {
		if string(h.Links[i-1][:]) >= string(h.Links[i][:]) {
			return bad("parents not sorted")
		}
	}
	return h.checkBoxes()
}

// Purpose returns the signature context of the kind, "" if it is unsigned.
func (k Kind) Purpose() Purpose { r, _ := ruleOf(k); return r.purpose }

// Signed reports whether blocks of this kind carry a signature.
func (k Kind) Signed() bool { return k.Purpose() != "" }

// maxSize is the most bytes a block of this kind may have.
func (k Kind) maxSize() int {
	if k == KindLink {
		return MaxLinkSize
	}
	return MaxSize
}

// Authenticated returns A, the canonical header with the full team and generation
// ids: the associated data of the sealing, and the front of what is signed.
func (h Header) Authenticated() []byte { return h.append(nil, true) }

// SignedBytes returns A ‖ body, what a block's signature covers. A is one CBOR
// value, so the border between the two is not open to choice.
func (h Header) SignedBytes(body []byte) []byte {
	return append(h.append(make([]byte, 0, h.size()+len(body)), true), body...)
}

// New puts a block together. sig must be given exactly for signed kinds.
func New(h Header, body []byte, sig *Signature) (*Block, error) {
	if err := h.Check(); err != nil {
		return nil, err
	}
	if (sig != nil) != h.Kind.Signed() {
		return nil, fmt.Errorf("%w: kind %d and signature do not fit", ErrMalformed, h.Kind)
	}
	data := h.append(make([]byte, 0, h.size()+len(body)+64), false)
	head := len(data)
	data = append(data, body...)
	b := &Block{Header: h, Body: data[head:len(data):len(data)]}
	if sig != nil {
		b.Signature = *sig
		data = append(data, sig[:]...)
	}
	if most := h.Kind.maxSize(); len(data) > most {
		return nil, fmt.Errorf("%w: kind %d: %d bytes, at most %d", ErrMalformed, h.Kind, len(data), most)
	}
	b.Data, b.ID = data, Sum(data)
	return b, nil
}
