package tree

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/toftdb/toft/block"
)

// Memory is a Store that keeps nodes in memory, for tests and for trees that need
// not last. The ID of a node is the hash of its plaintext and its links. It is safe
// for concurrent use; the zero Memory is ready.
type Memory struct {
	mu    sync.Mutex
	nodes map[block.ID]Node
}

// Load implements Store; it goes by the ID.
func (m *Memory) Load(_ context.Context, ref Ref) ([]byte, []block.ID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.nodes[ref.ID]
	if !ok {
		return nil, nil, ErrMissing
	}
	return n.Plain, n.Links, nil
}

// Save implements Store.
func (m *Memory) Save(_ context.Context, n Node) (block.ID, error) {
	b := bytes.Clone(n.Plain)
	for _, id := range n.Links {
		b = append(b, id[:]...)
	}
	id := block.Sum(b)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nodes == nil {
		m.nodes = map[block.ID]Node{}
	}
	m.nodes[id] = Node{n.Hash, b[:len(n.Plain):len(n.Plain)], slices.Clone(n.Links)}
	return id, nil
}

// Len is the number of nodes held.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.nodes)
}
