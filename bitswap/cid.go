package bitswap

import (
	"context"
	"errors"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/toftdb/toft/block"
)

// prefix of every CID of Toft: version 1, codec raw, multihash sha2-256 of 32 bytes.
const prefix = "\x01\x55\x12\x20"

// cidOf returns the CID that names the block to Bitswap.
func cidOf(id block.ID) cid.Cid {
	c, err := cid.Cast(append([]byte(prefix), id[:]...))
	if err != nil {
		panic("bitswap: the CID of a block ID does not parse: " + err.Error())
	}
	return c
}

// idOf is the inverse of cidOf; ok is false for CIDs that name no block of Toft.
func idOf(c cid.Cid) (id block.ID, ok bool) {
	s := c.KeyString()
	if len(s) != len(prefix)+len(id) || s[:len(prefix)] != prefix {
		return block.ID{}, false
	}
	return block.ID([]byte(s[len(prefix):])), true
}

// Source is where the blocks we serve come from. Get must return bytes that hash
// to the ID, or an error; it may return bytes that are shared. Any error means
// that we have no such block.
type Source interface {
	Get(ctx context.Context, id block.ID) ([]byte, error)
	Has(ctx context.Context, id block.ID) (bool, error)
	Size(ctx context.Context, id block.ID) (int, error)
}

// shelf shows a Source to boxo as the read half of a blockstore.
type shelf struct{ blocks Source }

// absent is the one error boxo sees: for any other it would write a line per
// request to its own log.
type absent struct{}

func (absent) Error() string  { return "no such block" }
func (absent) NotFound() bool { return true }

// Is makes it equal to the error boxo looks for, of a module we do not import.
func (absent) Is(target error) bool {
	t, ok := target.(interface{ NotFound() bool })
	return ok && t.NotFound()
}

var errReadOnly = errors.New("bitswap serves blocks and stores none")

func (s shelf) Has(ctx context.Context, c cid.Cid) (bool, error) {
	id, ok := idOf(c)
	if !ok {
		return false, nil
	}
	has, err := s.blocks.Has(ctx, id)
	return has && err == nil, nil
}

func (s shelf) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	id, ok := idOf(c)
	if !ok {
		return nil, absent{}
	}
	data, err := s.blocks.Get(ctx, id)
	if err != nil || len(data) > MaxBlock {
		return nil, absent{}
	}
	return blocks.NewBlockWithCid(data, c)
}

func (s shelf) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	id, ok := idOf(c)
	if !ok {
		return 0, absent{}
	}
	n, err := s.blocks.Size(ctx, id)
	if err != nil || n > MaxBlock {
		return 0, absent{}
	}
	return n, nil
}

func (shelf) Put(context.Context, blocks.Block) error       { return errReadOnly }
func (shelf) PutMany(context.Context, []blocks.Block) error { return errReadOnly }
func (shelf) DeleteBlock(context.Context, cid.Cid) error    { return errReadOnly }
func (shelf) AllKeysChan(context.Context) (<-chan cid.Cid, error) {
	return nil, errReadOnly
}
