package vault

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestChest(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "identity"), filepath.Join(dir, "passphrase")
	fresh := ChestOptions{New: func() (*Identity, error) { return NewIdentity(rand.Reader) }}
	if _, _, err := OpenChest(path, ChestOptions{}); !errors.Is(err, ErrNoKeystore) {
		t.Fatal(err)
	}
	chest, id, err := OpenChest(path, fresh)
	if err != nil {
		t.Fatal(err)
	}
	opens := func(want bool, o ChestOptions) {
		t.Helper()
		_, got, err := OpenChest(path, o)
		if want != (err == nil && sameIdentity(got, id)) {
			t.Fatal(err)
		}
	}
	opens(true, ChestOptions{PassphraseFile: file}) // what locks it is its own to say
	if err := chest.Unlock([]byte("horse")); !errors.Is(err, ErrLock) {
		t.Fatal(err)
	}
	if err := chest.Lock([]byte("horse")); err != nil {
		t.Fatal(err)
	}
	opens(false, ChestOptions{})
	opens(false, ChestOptions{PassphraseFile: file})
	opens(true, ChestOptions{Ask: func() ([]byte, error) { return []byte("horse"), nil }})
	opens(false, ChestOptions{Ask: func() ([]byte, error) { return nil, errors.New("no terminal") }})
	if err := os.WriteFile(file, []byte("horse\r\nmore"), 0o600); err != nil {
		t.Fatal(err)
	}
	opens(true, ChestOptions{PassphraseFile: file})
	id = id.WithoutRecoverySeed()
	if err := chest.Replace(id); err != nil {
		t.Fatal(err)
	}
	opens(true, ChestOptions{PassphraseFile: file})
	if err := chest.Unlock([]byte("house")); !errors.Is(err, ErrPassphrase) {
		t.Fatal(err)
	}
	if err := chest.Unlock([]byte("horse")); err != nil {
		t.Fatal(err)
	}
	opens(true, ChestOptions{})
}
