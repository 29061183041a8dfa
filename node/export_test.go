package node

import "github.com/toftdb/toft/internal/store"

// StoreOf lets tests spoil what a running node has stored.
func StoreOf(n *Node) *store.Store { return n.store }
