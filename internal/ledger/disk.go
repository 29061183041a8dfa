package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/crdt/tree"
	"github.com/toftdb/toft/internal/store"
)

// disk is the store as a replica sees it: commits and values it has let go of, the
// nodes of its tree, old rows of its feed.
type disk struct {
	d    *Database
	sink atomic.Pointer[sink] // of the flush under way
}

// Commit implements [crdt.Source].
func (k *disk) Commit(id block.ID) (*crdt.Commit, error) { return k.d.read(id) }

// Value implements [crdt.Source].
func (k *disk) Value(id block.ID) ([]byte, error) {
	b, plain, err := k.open(id)
	if err == nil && b.Header.Kind != block.KindValue {
		err = fmt.Errorf("%w: block %s is no value", block.ErrMalformed, id)
	}
	return plain, err
}

// open opens a block of this database that nobody signed.
func (k *disk) open(id block.ID) (*block.Block, []byte, error) {
	if data := k.sink.Load().get(id); data != nil {
		return k.d.openLinked(id, data)
	}
	u, err := k.d.n.Stored(id)
	if err != nil {
		return nil, nil, err
	}
	return k.d.openLinked(id, u.Data())
}

// Load implements [tree.Store].
func (k *disk) Load(_ context.Context, ref tree.Ref) ([]byte, []block.ID, error) {
	b, plain, err := k.open(ref.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil, fmt.Errorf("%w: %w", tree.ErrMissing, err)
	case err != nil:
		return nil, nil, err
	case b.Header.Kind != block.KindNode:
		return nil, nil, fmt.Errorf("%w: block %s is no node", block.ErrMalformed, ref.ID)
	}
	return plain, b.Header.Links, nil
}

// errNoFlush: a node is to be saved while nothing is flushed.
var errNoFlush = errors.New("no flush is under way")

// Save implements [tree.Store].
func (k *disk) Save(_ context.Context, n tree.Node) (block.ID, error) {
	s := k.sink.Load()
	if s == nil {
		return block.ID{}, errNoFlush
	}
	return s.add(block.KindNode, n.Plain, n.Links)
}

// SaveValue implements [crdt.Nodes].
func (k *disk) SaveValue(_ context.Context, plain []byte) (block.ID, error) {
	s := k.sink.Load()
	if s == nil {
		return block.ID{}, errNoFlush
	}
	return s.add(block.KindValue, plain, nil)
}

// Chunks implements [crdt.Rows].
func (k *disk) Chunks(pos uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		span := store.Span{Prefix: k.d.derivedAll('f'), From: k.d.derived('f', pos+1)}
		for e, err := range k.d.n.o.Store.ScanSpan(span) {
			var plain []byte
			if err == nil {
				plain, err = k.d.openDerived(e.Value)
			}
			if !yield(plain, err) || err != nil {
				return
			}
		}
	}
}

// Last implements [crdt.Rows].
func (k *disk) Last(id string) (uint64, error) {
	v, err := k.d.n.o.Store.Get(k.d.rowKey(id))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return 0, nil
	case err == nil && len(v) != 8:
		err = errors.New("position of a row has another length")
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// Derived keys of a database, below derived/ledger/1/ ‖ database ‖ kind:
//
//	a number       an adoption under way: 0 the ID of its checkpoint, then chunks of its rows, sealed
//	e              epoch of the feed, 8 bytes
//	f position     rows of the feed, sealed; by the last of them
//	g place        commits of the graph, sealed; in order
//	l device       its checkpoints lied
//	n number       IDs of tree nodes on disk
//	p hash         position of a document's newest stored row, 8 bytes; by keyed hash of the id
//	r number       what belongs to a checkpoint, sealed (see position)
//	s number piece the replica's own part of that, sealed
//	v arrival      why a commit did not count when it came, sealed
const derivedPrefix = "ledger/1/"

func (d *Database) derivedAll(kinds ...byte) []byte {
	name := append([]byte(derivedPrefix), d.id[:]...)
	return store.Derived(append(name, kinds...))
}

func (d *Database) derived(kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(d.derivedAll(kind), n)
}

// rowKey keeps ids of documents off the disk. The prefix keeps the hash apart from
// those of nodes, which are CBOR.
func (d *Database) rowKey(id string) []byte {
	hash := d.functions.NodeHash(append([]byte("toft row\x00"), id...))
	return append(d.derivedAll('p'), hash[:16]...)
}

func wire8(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// number reads the number at the end of a derived key.
func number(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// openDerived opens what was sealed to stand under a derived key.
func (d *Database) openDerived(data []byte) ([]byte, error) {
	u, err := block.Parse(slices.Clone(data))
	if err != nil {
		return nil, err
	}
	_, plain, err := d.openLinked(u.ID, u.Data())
	return plain, err
}
