package crdt

import (
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// A file stands in blocks of its own: chunks of one size, and above them, when there
// is more than one, a tree of manifests. The field `_files` names the root.
//
//	              manifest, level 2
//	        ┌───────────┴──────────┐
//	  manifest, level 1      manifest, level 1
//	  ┌──────┼──────┐          ┌───┴──┐
//	chunk  chunk … chunk     chunk  chunk      ≤ 1,024 below each
//
// All chunks but the last are full, and so is every subtree but the last, so the
// place of a byte follows from its offset. Sizes are fixed, not cut by content: cut
// points would tell what the content is. The blocks below stand in the header's
// links, in order; the plaintext names each by the keyed hash of its plaintext, which
// stays the same when the block is sealed again under another key.
const (
	// ChunkSize is how many bytes of a file one chunk holds: with the pad marker
	// 1,032,192, which is a fixpoint of the padding.
	ChunkSize = 1_032_191
	// MaxFanout is how many blocks one manifest lists.
	MaxFanout = 1024
	// MaxManifestLevel bounds the tree: 1,024³ chunks are a petabyte.
	MaxManifestLevel = 3
)

// Manifest lists what a part of a file, or all of it, is made of. Its encoding is
// the canonical map {1 level, 2 size, 3 hashes}.
type Manifest struct {
	Level  uint64     `cbor:"1,keyasint"` // 1: of chunks; n: of manifests of level n-1
	Size   uint64     `cbor:"2,keyasint"` // bytes of the file below
	Hashes [][32]byte `cbor:"3,keyasint"` // keyed value hashes, in the order of the links
}

// under is how many bytes a full block below the manifest stands for.
func (m Manifest) under() uint64 {
	n := uint64(ChunkSize)
	for range m.Level - 1 {
		n *= MaxFanout
	}
	return n
}

// check requires exactly the blocks that Size asks for.
func (m Manifest) check() error {
	if m.Level < 1 || m.Level > MaxManifestLevel {
		return malformed("manifest of level %d", m.Level)
	}
	if m.Size == 0 || m.Size > m.under()*MaxFanout {
		return malformed("manifest of level %d for %d bytes", m.Level, m.Size)
	}
	if want := (m.Size + m.under() - 1) / m.under(); uint64(len(m.Hashes)) != want {
		return malformed("manifest lists %d blocks for %d bytes, want %d", len(m.Hashes), m.Size, want)
	}
	return nil
}

// Encode returns the plaintext of the manifest's block.
func (m Manifest) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	return wire.Encode(m)
}

// ParseManifest reads the plaintext of a manifest block with that many links. An
// error wraps [ErrMalformed].
func ParseManifest(plain []byte, links int) (Manifest, error) {
	m, err := wire.Decode[Manifest](plain, block.MaxSize)
	if err != nil {
		return Manifest{}, fmt.Errorf("%w: manifest: %w", ErrMalformed, err)
	}
	if err := m.check(); err != nil {
		return Manifest{}, err
	}
	if links != len(m.Hashes) {
		return Manifest{}, malformed("manifest lists %d blocks and links %d", len(m.Hashes), links)
	}
	return m, nil
}
