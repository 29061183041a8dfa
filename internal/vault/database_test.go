package vault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"

	"github.com/toftdb/toft/block"
)

func TestDatabaseIDFitsOneSecret(t *testing.T) {
	db, s, err := NewDatabase(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// The definition, written out.
	id := mac(mac(make([]byte, 32), s.Reveal()), append(info("id"), 1))
	if sum := sha256.Sum256(append([]byte("toft db"), id...)); db != block.DBID(sum[:16]) {
		t.Errorf("id %s", db)
	}
	k := NewKeyring(identity(t, "alice"))
	other := secret(t, "other")
	if err := k.AddDatabase(db, 0, other); !errors.Is(err, ErrOtherKey) {
		t.Errorf("another secret: %v", err)
	}
	if err := k.AddDatabase(db, 1, s); !errors.Is(err, block.ErrVersion) {
		t.Errorf("secret number 1: %v", err)
	}
	if err := k.AddDatabase(db, 0, block.Secret{}); !errors.Is(err, ErrOtherKey) {
		t.Errorf("no secret: %v", err)
	}
	if err := k.AddDatabase(db, 0, s); err != nil {
		t.Fatal(err)
	}
	first, err := k.Database(db)
	if err != nil || !first.Secret().Equal(s) {
		t.Fatal(err)
	}
	if err := k.AddDatabase(db, 0, s); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if again, _ := k.Database(db); again != first {
		t.Error("the same secret made a new Database")
	}
}

// The keyed functions are what the format says, each under a key of its own, and
// other databases have others.
func TestKeyedFunctions(t *testing.T) {
	s := secret(t, "database")
	db := DatabaseID(s)
	d := newDatabase(db, s)
	in := []byte("input")
	key := func(l string) []byte { return mac(mac(db[:], s.Reveal()), append(info(label(l)), 1)) }
	for name, c := range map[string]struct {
		got  [32]byte
		want []byte
	}{
		"shape": {d.Shape(in), mac(key("tree-shape"), in)},
		"node":  {d.NodeHash(in), mac(key("node-hash"), in)},
		"value": {d.ValueHash(in), mac(key("value-hash"), in)},
	} {
		if !bytes.Equal(c.got[:], c.want) {
			t.Errorf("%s = %x, want %x", name, c.got, c.want)
		}
	}
	c, err := aes.NewCipher(mac(key("digest"), in))
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 2048)
	cipher.NewCTR(c, make([]byte, 16)).XORKeyStream(want, want)
	for range 3 { // the scratch buffer is used again
		if got := d.Expand(in); !bytes.Equal(got[:], want) {
			t.Fatal("Expand is not the keystream")
		}
	}
	other := newDatabase(db1, secret(t, "another database"))
	if other.Shape(in) == d.Shape(in) || other.Expand(in) == d.Expand(in) {
		t.Error("two databases share a key")
	}
}

func TestKeyedFunctionsAreSafeForConcurrentUse(t *testing.T) {
	d := newDatabase(db1, secret(t, "database"))
	expand, shape := d.Expand([]byte("x")), d.Shape([]byte("x"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				d.Expand([]byte("y"))
				if d.Expand([]byte("x")) != expand || d.Shape([]byte("x")) != shape {
					t.Error("differs between goroutines")
				}
			}
		})
	}
	wg.Wait()
}
