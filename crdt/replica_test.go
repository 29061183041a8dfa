package crdt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// testKeys are the keyed functions as vault makes them, under fixed keys.
func testKeys() Keys {
	mac := func(key string, b []byte) []byte {
		m := hmac.New(sha256.New, []byte(key))
		m.Write(b)
		return m.Sum(nil)
	}
	return Keys{
		Expand: func(entry []byte) (out [2048]byte) {
			c, err := aes.NewCipher(mac("digest", entry))
			if err != nil {
				panic(err)
			}
			cipher.NewCTR(c, make([]byte, 16)).XORKeyStream(out[:], out[:])
			return out
		},
		ValueHash: func(b []byte) [32]byte { return [32]byte(mac("value", b)) },
	}
}

var testDB = block.DBID{1, 2, 3} //nolint:gochecknoglobals // never written

// site is a replica with an actor that writes on it, as node is.
type site struct {
	*Replica
	t     testing.TB
	actor block.Actor
	time  wire.Time
	disk  *disk // nil: everything is in memory
}

func actorNamed(name string) block.Actor {
	return block.Actor{Device: block.Device(sha256.Sum256([]byte(name))), Incarnation: block.Incarnation{1}}
}

func newSite(t testing.TB, name string) *site {
	return &site{Replica: NewReplica(testDB, testKeys()), t: t, actor: actorNamed(name)}
}

func (s *site) author() Author {
	s.time++
	return Author{Actor: s.actor, Seat: block.ID{7}, Time: s.time, TeamHeads: []block.ID{{9}}}
}

// sealed turns a draft into a commit without sealing: bodies are plaintext.
func (s *site) sealed(d *Draft, a Author) *Commit {
	s.t.Helper()
	links := slices.Clone(d.Parents)
	fill := map[block.ID][]byte{}
	for _, l := range d.Links {
		id := l.ID
		if l.Plain != nil {
			id = block.Sum(append([]byte{byte(l.Kind)}, l.Plain...))
			fill[id] = l.Plain
		}
		links = append(links, id)
	}
	b := &block.Block{Header: block.Header{
		Kind: block.KindCommit, DB: testDB, Generation: block.Generation{3}, Author: a.Actor.Device, Seat: a.Seat,
		Parents: len(d.Parents), Links: links,
	}}
	b.ID = block.Sum(slices.Concat([]byte(fmt.Sprint(links)), a.Actor.Device[:], d.Plain))
	c, err := ParseCommit(b, d.Plain)
	if err != nil {
		s.t.Fatalf("own commit: %v", err)
	}
	s.sameUnread(c, d, b)
	for id, plain := range fill {
		if err := c.Fill(id, plain); err != nil {
			s.t.Fatalf("own commit: %v", err)
		}
	}
	if s.disk != nil {
		s.disk.commits[c.ID] = c
		for id, plain := range fill {
			s.disk.values[id] = plain
		}
	}
	return c
}

// sameUnread: a draft's own commit is what everybody else reads from the block.
func (s *site) sameUnread(read *Commit, d *Draft, b *block.Block) {
	if d.body == nil || string(d.body.encode()) != string(d.Plain) || d.body.opBlocks > 0 {
		return // made or changed by hand, or to be filled in first
	}
	own, err := d.Commit(b)
	if err != nil {
		s.t.Fatalf("own commit: %v", err)
	}
	parsed, content := *read, *read.content
	parsed.content = &content
	own.ops, parsed.ops = own.operations(), read.operations()
	own.inline, parsed.inline = slices.Clip(own.inline), slices.Clip(parsed.inline)
	if !reflect.DeepEqual(*own, parsed) {
		s.t.Fatalf("own commit differs from what is read:\n%+v\n%+v", *own, parsed)
	}
	own.ops = nil
	*read = *own // taken without having been decoded, as a node does
}

// try drafts one request and adds the commit, nil if nothing changes.
func (s *site) try(writes ...Write) (*Commit, error) {
	s.t.Helper()
	a := s.author()
	d, _, errs := s.Draft(a, [][]Write{writes})
	if errs[0] != nil || d == nil {
		return nil, errs[0]
	}
	s.time = d.Time
	c := s.sealed(d, a)
	s.add(c)
	return c, nil
}

func (s *site) write(writes ...Write) *Commit {
	s.t.Helper()
	c, err := s.try(writes...)
	if err != nil {
		s.t.Fatalf("write: %v", err)
	}
	return c
}

func (s *site) add(c *Commit) Added {
	s.t.Helper()
	return s.addAs(c, Valid)
}

func (s *site) addAs(c *Commit, v Validity) Added {
	s.t.Helper()
	a, err := s.Add(c, v)
	if err != nil {
		s.t.Fatalf("add: %v", err)
	}
	if s.disk != nil && a.Status != Known {
		s.disk.arrived = append(s.disk.arrived, arrival{c, v})
	}
	return a
}

func put(id, json string) Write   { return Write{Verb: Put, ID: id, Body: doc(json)} }
func patch(id, json string) Write { return Write{Verb: Patch, ID: id, Body: doc(json)} }
func del(id string) Write         { return Write{Verb: Delete, ID: id} }
func restore(id string) Write     { return Write{Verb: Restore, ID: id} }
func purge(id string) Write       { return Write{Verb: Purge, ID: id} }

func doc(json string) Doc {
	d, err := ParseJSON([]byte(json))
	if err != nil {
		panic(err)
	}
	return d
}

// pull takes everything from another replica, as sync does: what the frontiers
// tell, then by ID what is missing below its heads (the twins of a fork).
func (s *site) pull(o *site) {
	s.t.Helper()
	for _, id := range o.Since(s.Frontier()) {
		s.add(o.commit(id))
	}
	for _, id := range o.Heads() {
		s.fetch(o, id)
	}
}

func (s *site) commit(id block.ID) *Commit {
	s.t.Helper()
	c, err := s.Load(id)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *site) fetch(o *site, id block.ID) {
	s.t.Helper()
	if s.Has(id) {
		return
	}
	c := o.commit(id)
	for _, p := range c.Parents {
		s.fetch(o, p)
	}
	s.add(c)
}

// read returns a document as JSON without _id and _rev, "-" if it is not there.
func (s *site) read(id string) string {
	s.t.Helper()
	d, _, err := s.Get(id)
	if errors.Is(err, ErrNotFound) {
		return "-"
	}
	if err != nil {
		s.t.Fatalf("get %s: %v", id, err)
	}
	delete(d, "_id")
	delete(d, "_rev")
	return string(d.JSON())
}

// A commit stays what it was with whoever hands it in: it may go to another replica too.
func TestAddLeavesTheCommitAlone(t *testing.T) {
	a := newSite(t, "a")
	for _, written := range []*Commit{a.write(put("d", `{"x":1}`)), a.write(patch("d", `{"x":2}`))} {
		for _, decoded := range []bool{false, true} {
			c, content := *written, *written.content
			if c.content = &content; decoded {
				c.ops = written.operations()
			}
			before, kept := c, content
			for name, s := range map[string]*site{"in memory": newSite(t, "b"), "on a disk": newCellar().site(t, "b")} {
				if c.Prev != (block.ID{}) {
					s.fetch(a, c.Prev)
				}
				s.add(&c)
				if c.content != &content || !reflect.DeepEqual(c, before) || !reflect.DeepEqual(content, kept) {
					t.Errorf("%s: the commit was changed", name)
				}
			}
		}
	}
}

func TestWriteAndSync(t *testing.T) {
	a, b := newSite(t, "a"), newSite(t, "b")
	a.write(put("d", `{"x":1,"y":{"z":[1,2.5,"s",null,true]}}`))
	b.pull(a)
	if got := b.read("d"); got != `{"x":1,"y":{"z":[1,2.5,"s",null,true]}}` {
		t.Fatal(got)
	}
	a.write(patch("d", `{"x":2}`))
	b.write(patch("d", `{"y":{"w":3}}`))
	a.pull(b)
	b.pull(a)
	if a.read("d") != b.read("d") || a.Digest() != b.Digest() {
		t.Fatal(a.read("d"), b.read("d"))
	}
	if got := b.read("d"); got != `{"x":2,"y":{"w":3,"z":[1,2.5,"s",null,true]}}` {
		t.Fatal(got)
	}
}
