package block

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"sort"

	"github.com/toftdb/toft/internal/wire"
)

// BoxPurpose says what a lockbox unlocks.
type BoxPurpose uint8

const (
	BoxGeneration BoxPurpose = 1 // the 32 bytes of a generation
	BoxRoute      BoxPurpose = 2 // the 32 bytes of its route key, all a replica gets
)

// BoxGroup is the lockboxes of one key. The commitment stands beside them in
// clear: a joiner must find and check its box before it can open anything else.
type BoxGroup struct {
	// Generation of the key; zero (absent) for the one this very link makes, whose
	// name is the hash of the link.
	Generation Generation
	Purpose    BoxPurpose
	Commitment [32]byte
	// Boxes, sorted by hint. Empty only in the header of a link that links
	// KindBoxes blocks: the boxes are all there, the commitment is needed to find
	// one's own.
	Boxes []Box
}

// Box is one HPKE lockbox.
type Box struct {
	_    struct{} `cbor:",toarray"`
	Hint Hint     // BoxHint(commitment, recipient's HPKE key)
	KEM  KEM
	Enc  []byte // HPKE encapsulated key: 1,120 bytes (KEMHybrid) or 32 (KEMX25519)
	Text []byte // 32 bytes sealed, and the tag of 16
}

// BoxHint returns SHA-256(commitment ‖ recipient's HPKE key)[:8], by which a
// device finds its own box among others before it can open anything.
func BoxHint(commitment [32]byte, to BoxKey) Hint {
	sum := sha256.Sum256(append(commitment[:], to.Public...))
	return Hint(sum[:8])
}

// size is what MaxInlineBoxes counts.
func (b Box) size() int { return len(b.Enc) + len(b.Text) }

func (b Box) check() error {
	enc := 0
	switch b.KEM {
	case KEMHybrid:
		enc = 1120
	case KEMX25519:
		enc = 32
	}
	if enc == 0 || len(b.Enc) != enc || len(b.Text) != 48 {
		return fmt.Errorf("%w: lockbox of kem %#04x with %d + %d bytes", ErrMalformed, uint16(b.KEM), len(b.Enc), len(b.Text))
	}
	return nil
}

// Find yields the boxes of the group with this hint. Honestly there is at most
// one; an author may write several, and they must not hide the good one.
func (g BoxGroup) Find(hint Hint) iter.Seq[Box] {
	return func(yield func(Box) bool) {
		i := sort.Search(len(g.Boxes), func(i int) bool { return bytes.Compare(g.Boxes[i].Hint[:], hint[:]) >= 0 })
		for ; i < len(g.Boxes) && g.Boxes[i].Hint == hint; i++ {
			if !yield(g.Boxes[i]) {
				return
			}
		}
	}
}

// order is the canonical order of groups: by generation, then purpose. Two groups
// of one key would leave open which commitment counts.
func (g BoxGroup) order(o BoxGroup) int {
	if c := bytes.Compare(g.Generation[:], o.Generation[:]); c != 0 {
		return c
	}
	return int(g.Purpose) - int(o.Purpose)
}

// SortBoxes puts groups and the boxes in them into the order that headers and
// KindBoxes blocks must have. It sorts in place.
func SortBoxes(groups []BoxGroup) {
	slices.SortStableFunc(groups, BoxGroup.order)
	for _, g := range groups {
		slices.SortStableFunc(g.Boxes, func(a, b Box) int { return bytes.Compare(a.Hint[:], b.Hint[:]) })
	}
}

// checkGroups checks what header and KindBoxes body have in common.
func checkGroups(groups []BoxGroup, mayBeEmpty bool) error {
	for i, g := range groups {
		switch {
		case g.Purpose != BoxGeneration && g.Purpose != BoxRoute:
			return fmt.Errorf("%w: lockbox purpose %d", ErrMalformed, g.Purpose)
		case i > 0 && groups[i-1].order(g) >= 0:
			return fmt.Errorf("%w: lockbox groups not sorted by generation and purpose", ErrMalformed)
		case len(g.Boxes) == 0 && !mayBeEmpty:
			return fmt.Errorf("%w: empty lockbox group", ErrMalformed)
		}
		for j, b := range g.Boxes {
			if j > 0 && bytes.Compare(g.Boxes[j-1].Hint[:], b.Hint[:]) > 0 {
				return fmt.Errorf("%w: lockboxes not sorted by hint", ErrMalformed)
			}
			if err := b.check(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h Header) checkBoxes() error {
	total := 0
	for _, g := range h.Boxes {
		if h.Genesis() && (g.Purpose != BoxGeneration || !g.Generation.IsZero()) {
			// The route key needs the team id, which is the hash of this very link.
			return fmt.Errorf("%w: genesis boxes another key than its own generation", ErrMalformed)
		}
		for _, b := range g.Boxes {
			total += b.size()
		}
	}
	if total > MaxInlineBoxes {
		return fmt.Errorf("%w: %d bytes of lockboxes, at most %d inline", ErrMalformed, total, MaxInlineBoxes)
	}
	return checkGroups(h.Boxes, len(h.Links) > h.Parents)
}

// boxesPerBlock keeps a KindBoxes block near 64 KiB: a device looks for the one
// that holds its hint by bisection and should not fetch a megabyte for a kilobyte.
const boxesPerBlock = 56 << 10

// PackBoxes divides lockboxes between the header of a link and KindBoxes blocks.
// Up to MaxInlineBoxes bytes all stand inline and bodies is empty. Beyond, the
// header keeps every group without its boxes, and bodies are the clear bodies of
// the KindBoxes blocks, in the order in which the link must name them: every hint
// in one is ≤ every hint in the next. It sorts groups.
func PackBoxes(groups []BoxGroup) (inline []BoxGroup, bodies [][]byte, err error) {
	SortBoxes(groups)
	if err := checkGroups(groups, false); err != nil {
		return nil, nil, err
	}
	type placed struct {
		group int
		box   Box
	}
	var all []placed
	total := 0
	for i, g := range groups {
		for _, b := range g.Boxes {
			all = append(all, placed{i, b})
			total += b.size()
		}
	}
	if total <= MaxInlineBoxes {
		return groups, nil, nil
	}
	slices.SortStableFunc(all, func(a, b placed) int { return bytes.Compare(a.box.Hint[:], b.box.Hint[:]) })
	for len(all) > 0 {
		n, size := 0, 0
		for n < len(all) && (n == 0 || size+all[n].box.size() <= boxesPerBlock) {
			size += all[n].box.size()
			n++
		}
		part := emptied(groups)
		for _, p := range all[:n] {
			part[p.group].Boxes = append(part[p.group].Boxes, p.box)
		}
		part = slices.DeleteFunc(part, func(g BoxGroup) bool { return len(g.Boxes) == 0 })
		body, err := EncodeBoxes(part)
		if err != nil {
			return nil, nil, err
		}
		bodies, all = append(bodies, body), all[n:]
	}
	return emptied(groups), bodies, nil
}

// emptied returns the groups without their boxes.
func emptied(groups []BoxGroup) []BoxGroup {
	out := slices.Clone(groups)
	for i := range out {
		out[i].Boxes = nil
	}
	return out
}

// EncodeBoxes returns the body of a KindBoxes block: the canonical CBOR array of
// the groups, in clear. Groups and boxes must be sorted (SortBoxes), none empty.
func EncodeBoxes(groups []BoxGroup) ([]byte, error) {
	if len(groups) == 0 {
		return nil, fmt.Errorf("%w: block of no lockboxes", ErrMalformed)
	}
	if err := checkGroups(groups, false); err != nil {
		return nil, err
	}
	return wire.Encode(clearGroups(groups))
}

// ParseBoxes reads the body of a KindBoxes block.
func ParseBoxes(body []byte) ([]BoxGroup, error) {
	in, err := wire.Decode[[]clearGroup](body, MaxSize)
	if err != nil {
		return nil, fmt.Errorf("%w: lockboxes: %v", ErrMalformed, err)
	}
	groups, err := groupsOf(in)
	if err != nil {
		return nil, err
	}
	if len(groups) == 0 {
		return nil, fmt.Errorf("%w: block of no lockboxes", ErrMalformed)
	}
	if err := checkGroups(groups, false); err != nil {
		return nil, err
	}
	return groups, nil
}

// clearGroup is the encoding of a BoxGroup.
type clearGroup struct {
	Generation []byte     `cbor:"1,keyasint,omitempty"` // 32 bytes; absent: the one this link makes
	Purpose    BoxPurpose `cbor:"2,keyasint"`
	Commitment []byte     `cbor:"3,keyasint"` // 32 bytes
	Boxes      []Box      `cbor:"4,keyasint,omitempty"`
}

func clearGroups(groups []BoxGroup) []clearGroup {
	var out []clearGroup
	for _, g := range groups {
		cg := clearGroup{Purpose: g.Purpose, Commitment: g.Commitment[:], Boxes: g.Boxes}
		if !g.Generation.IsZero() {
			cg.Generation = g.Generation[:]
		}
		out = append(out, cg)
	}
	return out
}

func groupsOf(in []clearGroup) ([]BoxGroup, error) {
	var out []BoxGroup
	for _, cg := range in {
		if len(cg.Commitment) != 32 || len(cg.Generation) != 0 && (len(cg.Generation) != 32 || zero(cg.Generation)) {
			return nil, fmt.Errorf("%w: lockbox group", ErrMalformed)
		}
		g := BoxGroup{Purpose: cg.Purpose, Commitment: [32]byte(cg.Commitment), Boxes: cg.Boxes}
		copy(g.Generation[:], cg.Generation)
		out = append(out, g)
	}
	return out, nil
}
