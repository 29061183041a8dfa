package crdt_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
)

// keys are the keyed functions that the vault hands out for a database.
func keys() crdt.Keys {
	mac := func(use string, b []byte) []byte {
		m := hmac.New(sha256.New, []byte("key for "+use))
		m.Write(b)
		return m.Sum(nil)
	}
	return crdt.Keys{
		Expand: func(entry []byte) (out [2048]byte) {
			c, err := aes.NewCipher(mac("digest", entry))
			if err != nil {
				panic(err)
			}
			cipher.NewCTR(c, make([]byte, 16)).XORKeyStream(out[:], out[:])
			return out
		},
		ValueHash: func(b []byte) [32]byte { return [32]byte(mac("values", b)) },
	}
}

// device is a replica and who writes on it.
type device struct {
	*crdt.Replica
	author crdt.Author
}

func newDevice(name byte) *device {
	return &device{crdt.NewReplica(block.DBID{1}, keys()), crdt.Author{
		Actor: block.Actor{Device: block.Device{name}}, Seat: block.ID{1}, Time: 1, TeamHeads: []block.ID{{1}},
	}}
}

// write does what the node does, without sealing, signing and storing.
func (d *device) write(w crdt.Write) *crdt.Commit {
	d.author.Time++
	draft, _, errs := d.Draft(d.author, [][]crdt.Write{{w}})
	if errs[0] != nil {
		panic(errs[0])
	}
	b := &block.Block{ID: block.Sum(draft.Plain), Header: block.Header{
		Kind: block.KindCommit, DB: block.DBID{1}, Author: d.author.Actor.Device,
		Parents: len(draft.Parents), Links: draft.Parents,
	}}
	c, err := crdt.ParseCommit(b, draft.Plain)
	if err != nil {
		panic(err)
	}
	d.add(c)
	return c
}

func (d *device) add(c *crdt.Commit) {
	if _, err := d.Add(c, crdt.Valid); err != nil {
		panic(err)
	}
}

func (d *device) show(id string) {
	doc, _, err := d.Get(id)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("title:", doc["title"], "· n:", doc["n"])
}

// Two devices edit one document while they cannot hear each other, and meet.
func Example() {
	alice, bob := newDevice('a'), newDevice('b')
	first := alice.write(crdt.Write{Verb: crdt.Put, ID: "milk", Body: crdt.Doc{"title": "milk", "n": int64(1)}})
	bob.add(first)

	// Apart: both change the title, bob counts.
	fromAlice := alice.write(crdt.Write{Verb: crdt.Patch, ID: "milk", Body: crdt.Doc{"title": "oat milk"}})
	fromBob := bob.write(crdt.Write{Verb: crdt.Patch, ID: "milk", Body: crdt.Doc{
		"title": "rice milk", "n": map[string]any{"$inc": int64(2)},
	}})

	// They meet, in whatever order.
	alice.add(fromBob)
	bob.add(fromAlice)
	alice.show("milk")
	bob.show("milk")
	fmt.Println("same state:", alice.Digest() == bob.Digest())
	conflicts, _ := alice.Conflicts("milk")
	for _, c := range conflicts {
		fmt.Println("kept beside it at", c.Path, "is", c.Others[0].Value)
	}

	// Whoever decides, settles it for all.
	bob.add(alice.write(crdt.Write{Verb: crdt.Patch, ID: "milk", Body: crdt.Doc{"title": "rice milk"}}))
	conflicts, _ = bob.Conflicts("milk")
	bob.show("milk")
	fmt.Println("conflicts:", len(conflicts))

	// A delete hides what it saw; an edit that did not see it brings it back.
	gone := alice.write(crdt.Write{Verb: crdt.Delete, ID: "milk"})
	edit := bob.write(crdt.Write{Verb: crdt.Patch, ID: "milk", Body: crdt.Doc{"n": map[string]any{"$inc": int64(1)}}})
	alice.show("milk")
	alice.add(edit)
	bob.add(gone)
	alice.show("milk")

	// Output:
	// title: oat milk · n: 3
	// title: oat milk · n: 3
	// same state: true
	// kept beside it at [title] is rice milk
	// title: rice milk · n: 3
	// conflicts: 0
	// document not found: "milk"
	// title: rice milk · n: 4
}
