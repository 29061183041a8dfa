// Package tree is a map from keys to values that two replicas can compare, send and
// merge at the cost of their difference: a search tree whose shape depends on nothing
// but its entries.
//
//	level 2                [ g … ┃ … z ]                 root: 8 entries
//	                        ╱         ╲
//	level 1        [ b ┃ d ┃ g ]    [ m ┃ z ]            children by last key, hash, count
//	                ╱    │    ╲        │   ╲
//	level 0     [a b]  [c d]  [g]   [k m]  [z]           leaves: entries
//
// # Shape
//
// A keyed pseudo-random function of the key alone decides where nodes end: one key in
// 32 ends a leaf, one in 64 the node above, and so on, each level by hash bytes of its
// own. A run that is still too heavy is split after the key with the least hash, and
// so are the parts. One child alone needs no node: it moves up a level as it is.
// Nothing of this looks at the order in which entries came, so
//
//	same entries  ⇔  same nodes  ⇔  same root hash.
//
// A change moves cuts only within the weight of one node around it, so an edit makes
// new nodes on its own path and seldom a neighbour. That holds for keys chosen by
// somebody who knows the secret too: the attack suite in attack_test.go grinds them.
//
// # Use
//
// A [Grove] is what trees have in common: two keyed functions, a [Store], a cache. A
// [Tree] never changes; [Tree.Apply] returns another one that shares all nodes that are
// equal, so an old tree is a snapshot that costs nothing to keep. New nodes are dirty,
// in memory only, until [Tree.Flush] hashes and stores each of them once:
//
//	t, err = t.Apply(ctx, []tree.Edit{tree.Put(k, v), tree.Delete(old)})
//	t, err = t.Flush(ctx)
//	root, _ := t.Root()                          // Hash to compare, ID to fetch
//	for c, err := range tree.Diff(ctx, then, t)  // opens no subtree that is equal
//
// A tree of somebody else is brought here by [Grove.Fetch], whole levels at a time, and
// counts only after [Tree.Audit] has read all of it and found it to be the tree of its
// entries.
//
// # Names
//
// A parent names a child twice: by hash in its plaintext, by block ID in the links of
// its envelope. The hash says what the child holds and is the same for everybody; the
// ID says which sealed bytes, and changes with the key they are sealed under. Compare
// by hash, fetch by ID.
//
// The package knows no documents, no keys and no disk: values are bytes, and hashing,
// sealing and storing are handed in. Memory follows the cache and what is dirty, never
// the size of the tree.
package tree
