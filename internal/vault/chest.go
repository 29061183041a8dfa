package vault

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
)

// Chest is the keystore of a device while it is in use: where it lies, and what opens
// it now. It is safe for concurrent use.
type Chest struct {
	path string
	mu   sync.Mutex // held while the keystore changes
	lock Lock
}

// ChestOptions say what opens a keystore, and what a new one holds.
type ChestOptions struct {
	// PassphraseFile names a file whose first line is the passphrase. Empty: none.
	PassphraseFile string
	// Ask asks for the passphrase where no file is named. Nil: nobody can.
	Ask func() ([]byte, error)
	// New makes the identity of a first run. Nil: a missing keystore is ErrNoKeystore.
	New func() (*Identity, error)
}

// OpenChest opens the keystore at path, or makes one: locked by the passphrase of
// PassphraseFile, or, without any question, by a file beside it. Afterwards the way it
// is locked is its own to say, not the options'.
func OpenChest(path string, o ChestOptions) (*Chest, *Identity, error) {
	kind, err := KeystoreLock(path)
	first := errors.Is(err, ErrNoKeystore) && o.New != nil
	switch {
	case first && o.PassphraseFile == "":
		kind = LockFile
	case first:
		kind = LockPassphrase
	case err != nil:
		return nil, nil, err
	}
	c := &Chest{path: path}
	if c.lock, err = o.lock(kind); err != nil {
		return nil, nil, err
	}
	if !first {
		id, err := OpenKeystore(path, c.lock)
		return c, id, err
	}
	id, err := o.New()
	if err != nil {
		return nil, nil, err
	}
	return c, id, CreateKeystore(path, id, c.lock)
}

// lock finds what opens a keystore that is locked in a way.
func (o ChestOptions) lock(kind LockKind) (Lock, error) {
	switch {
	case kind == LockKeyring:
		return OSKeyring(), nil
	case kind == LockFile:
		return KeyFile(), nil
	case o.PassphraseFile != "":
		text, err := os.ReadFile(o.PassphraseFile)
		if err != nil {
			return Lock{}, fmt.Errorf("%w: %w", ErrLock, err)
		}
		line, _, _ := bytes.Cut(text, []byte("\n"))
		return Passphrase(bytes.TrimSuffix(line, []byte("\r"))), nil
	case o.Ask != nil:
		p, err := o.Ask()
		if err != nil {
			return Lock{}, fmt.Errorf("%w: it is locked by a passphrase: %w", ErrLock, err)
		}
		return Passphrase(p), nil
	}
	return Lock{}, fmt.Errorf("%w: it is locked by a passphrase", ErrLock)
}

// Lock locks the keystore with a passphrase from now on.
func (c *Chest) Lock(passphrase []byte) error { return c.relock(Passphrase(passphrase)) }

// Unlock lets a file beside the keystore lock it again. ErrPassphrase if the passphrase
// is not its own, ErrLock if it has none.
func (c *Chest) Unlock(passphrase []byte) error {
	if _, err := OpenKeystore(c.path, Passphrase(passphrase)); err != nil {
		return err
	}
	return c.relock(KeyFile())
}

func (c *Chest) relock(to Lock) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := RelockKeystore(c.path, c.lock, to); err != nil {
		return err
	}
	c.lock = to
	return nil
}

// Replace stores a changed identity of the same device: [Identity.WithoutRecoverySeed].
func (c *Chest) Replace(id *Identity) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ReplaceKeystore(c.path, id, c.lock)
}
