package tree_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/toftdb/toft/crdt/tree"
)

// keyed is HMAC-SHA-256 under a key that all replicas know and nobody else.
func keyed(key string) func([]byte) [32]byte {
	return func(b []byte) [32]byte {
		h := hmac.New(sha256.New, []byte(key))
		h.Write(b)
		return [32]byte(h.Sum(nil))
	}
}

// Two replicas get the same entries in different orders. Their roots are equal; when
// one goes on writing, the difference is found without reading the rest.
func Example() {
	ctx := context.Background()
	grove, err := tree.New(tree.Config{Shape: keyed("shape"), NodeHash: keyed("nodes"), Store: &tree.Memory{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	var edits []tree.Edit
	for i := range 1000 {
		edits = append(edits, tree.Put(fmt.Appendf(nil, "doc-%03d", i), []byte("milk")))
	}
	ours, _ := grove.Empty().Apply(ctx, edits)
	theirs, _ := grove.Empty().Apply(ctx, edits[500:])
	theirs, _ = theirs.Apply(ctx, edits[:500])

	ours, _ = ours.Flush(ctx)
	theirs, _ = theirs.Flush(ctx)
	a, _ := ours.Root()
	b, _ := theirs.Root()
	fmt.Println("equal:", a.Hash == b.Hash)

	theirs, _ = theirs.Apply(ctx, []tree.Edit{
		tree.Put([]byte("doc-042"), []byte("bread")),
		tree.Delete([]byte("doc-777")),
	})
	for c, err := range tree.Diff(ctx, ours, theirs) {
		switch {
		case err != nil:
			fmt.Println(err)
		case c.New == nil:
			fmt.Printf("%s: %s, gone\n", c.Key, c.Old.Value)
		default:
			fmt.Printf("%s: %s, now %s\n", c.Key, c.Old.Value, c.New.Value)
		}
	}
	for e := range theirs.Range(ctx, tree.Span{From: []byte("doc-776"), To: []byte("doc-778"), Through: true}) {
		fmt.Printf("%s ", e.Key)
	}
	fmt.Println(theirs.Count())

	// Output:
	// equal: true
	// doc-042: milk, now bread
	// doc-777: milk, gone
	// doc-776 doc-778 999
}
