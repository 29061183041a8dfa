package vault

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestRelock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity")
	id, err := NewIdentity(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := CreateKeystore(path, id, KeyFile()); err != nil {
		t.Fatal(err)
	}
	old, key := content(t, filepath.Dir(path)), path+keyFileSuffix
	word, other := Passphrase([]byte("correct horse")), Passphrase([]byte("battery staple"))
	if err := RelockKeystore(path, word, other); !errors.Is(err, ErrLock) {
		t.Fatalf("relocked with another lock than it has: %v", err)
	}
	for i, step := range []struct{ from, to Lock }{{KeyFile(), word}, {word, other}, {other, KeyFile()}} {
		if err := RelockKeystore(path, step.from, step.to); err != nil {
			t.Fatal(i, err)
		}
		if got, err := OpenKeystore(path, step.to); err != nil || !sameIdentity(got, id) {
			t.Fatal(i, err)
		}
		if _, err := os.Stat(key); errors.Is(err, fs.ErrNotExist) == (step.to.kind == LockFile) {
			t.Fatal(i, "key file", err)
		}
		if step.from.kind != step.to.kind || step.from.kind == LockPassphrase {
			if _, err := OpenKeystore(path, step.from); err == nil {
				t.Fatal(i, "the old lock still opens it")
			}
		}
	}
	if content(t, filepath.Dir(path))[filepath.Base(key)] == old[filepath.Base(key)] {
		t.Fatal("the new key file opens old copies of the keystore")
	}
	if err := RelockKeystore(path, word, other); err == nil {
		t.Fatal("relocked with a passphrase it does not have")
	}
	if err := RelockKeystore(path, KeyFile(), Passphrase(nil)); err == nil {
		t.Fatal("locked by nothing")
	}
	if _, err := OpenKeystore(path, KeyFile()); err != nil {
		t.Fatal("a refusal changed something", err)
	}
}
