package vault

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/zalando/go-keyring"
	"golang.org/x/crypto/argon2"
)

// LockKind says what keeps the key of a keystore.
type LockKind uint8

const (
	LockPassphrase LockKind = 1 // in somebody's head
	LockKeyring    LockKind = 2 // in the keyring of the operating system
	LockFile       LockKind = 3 // in a 0600 file beside the keystore
)

// String names the lock as it is told to a user.
func (k LockKind) String() string {
	switch k {
	case LockPassphrase:
		return "a passphrase"
	case LockKeyring:
		return "the OS keyring"
	case LockFile:
		return "a key file"
	}
	return fmt.Sprintf("lock %d", uint8(k))
}

// Lock is one way to lock a keystore. Make it with Passphrase, OSKeyring or
// KeyFile.
type Lock struct {
	hidden
	kind       LockKind
	passphrase kept[[]byte]
	ring       ring
}

// ring is what the vault needs of an OS keyring: text by account, within one
// service.
type ring interface {
	Get(account string) (string, error)
	Set(account, secret string) error
}

// maxPassphrase bounds a passphrase, in bytes.
const maxPassphrase = 1024

// Passphrase locks with a passphrase of 1 to 1,024 bytes; the caller normalizes
// its text and never takes it from argv.
func Passphrase(p []byte) Lock { return Lock{kind: LockPassphrase, passphrase: keep(bytes.Clone(p))} }

// OSKeyring locks with a random key in the keyring of the operating system. Where
// there is none, creating the keystore fails with ErrLock.
func OSKeyring() Lock { return Lock{kind: LockKeyring, ring: osRing{}} }

// KeyFile locks with a random key in a file of mode 0600 beside the keystore,
// named like it with ".key" at the end. It needs no question and no keyring, and
// it protects a copy of the keystore alone (a backup, a synced folder). It does
// NOT protect against theft of the disk or whoever can read both files.
func KeyFile() Lock { return Lock{kind: LockFile} }

// newKey makes the KEK of a new keystore and puts it where the lock keeps it.
func (l Lock) newKey(path string, h *keystoreHeader, rand io.Reader) ([]byte, error) {
	kek := make([]byte, 32)
	if _, err := io.ReadFull(rand, kek); err != nil {
		return nil, err
	}
	switch l.kind {
	case LockPassphrase:
		if n := len(l.passphrase()); n == 0 || n > maxPassphrase {
			return nil, fmt.Errorf("passphrase of %d bytes, want 1 to %d", n, maxPassphrase)
		}
		h.Time, h.Memory, h.Threads = argonTime, argonMemory, argonThreads
		wrapped, err := l.passphrasePair(*h).seal(h.authenticated(), kek)
		h.Wrapped = wrapped
		return kek, err
	case LockKeyring:
		return kek, l.intoRing(h.account(), kek)
	case LockFile:
		return newKeyFile(path+keyFileSuffix, kek)
	}
	return nil, fmt.Errorf("%w: no lock given", ErrLock)
}

// key gets the KEK of an existing keystore whose header was checked.
func (l Lock) key(path string, h keystoreHeader) ([]byte, error) {
	switch l.kind {
	case LockPassphrase:
		if len(l.passphrase()) > maxPassphrase {
			return nil, ErrPassphrase
		}
		wrapped := h.Wrapped
		h.Wrapped = nil
		kek, err := l.passphrasePair(h).open(h.authenticated(), wrapped)
		if err != nil || len(kek) != 32 {
			return nil, ErrPassphrase
		}
		return kek, nil
	case LockKeyring:
		return l.fromRing(h.account())
	case LockFile:
		return readKeyFile(path + keyFileSuffix)
	}
	return nil, fmt.Errorf("%w: no lock given", ErrLock)
}

// passphrasePair stretches the passphrase and returns the pair that wraps the KEK.
func (l Lock) passphrasePair(h keystoreHeader) *pair {
	stretched := argon2.IDKey(l.passphrase(), h.Salt, h.Time, h.Memory, h.Threads, 32)
	return newPair(derive(stretched, h.Salt, labelPassphraseMAC), derive(stretched, h.Salt, labelPassphraseEnc))
}

// account names the keystore's entry in an OS keyring.
func (h keystoreHeader) account() string { return "keystore-" + hex.EncodeToString(h.Salt) }

func (l Lock) intoRing(account string, kek []byte) error {
	if err := l.ring.Set(account, hex.EncodeToString(kek)); err != nil {
		return fmt.Errorf("%w: OS keyring: %w", ErrLock, err)
	}
	// Some keyrings accept and forget; better to learn it before the identity
	// depends on it.
	back, err := l.fromRing(account)
	if err != nil {
		return err
	}
	if !bytes.Equal(back, kek) {
		return fmt.Errorf("%w: OS keyring does not keep what it is given", ErrLock)
	}
	return nil
}

func (l Lock) fromRing(account string) ([]byte, error) {
	text, err := l.ring.Get(account)
	if err != nil {
		return nil, fmt.Errorf("%w: OS keyring has no entry %s of toft: %w", ErrLock, account, err)
	}
	kek, err := hex.DecodeString(text)
	if err != nil || len(kek) != 32 {
		return nil, fmt.Errorf("%w: OS keyring entry %s is not a key", ErrLock, account)
	}
	return kek, nil
}

// osRing is the keyring of the operating system.
type osRing struct{}

const ringService = "toft"

func (osRing) Get(account string) (string, error) { return keyring.Get(ringService, account) }
func (osRing) Set(account, secret string) error   { return keyring.Set(ringService, account, secret) }

const (
	keyFileSuffix = ".key"
	keyFileMagic  = "toft key\n"
	keyFileSize   = len(keyFileMagic) + 32 + 4
)

// newKeyFile writes kek, or takes the key of a file that is there already: a crash
// between the key file and the keystore must not stop the next start, and a key
// that opens something is never overwritten.
func newKeyFile(path string, kek []byte) ([]byte, error) {
	data := append([]byte(keyFileMagic), kek...)
	sum := sha256.Sum256(data)
	err := writeNew(path, append(data, sum[:4]...))
	if errors.Is(err, ErrKeystoreExists) {
		return readKeyFile(path)
	}
	return kek, err
}

func readKeyFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: key file %s is missing", ErrLock, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLock, err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: key file %s can be read by others (mode %04o): chmod 600 it", ErrLock, path, info.Mode().Perm())
	}
	data, err := readBounded(path, keyFileSize)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLock, err)
	}
	body := data[:max(len(data)-4, 0)]
	sum := sha256.Sum256(body)
	if len(data) != keyFileSize || !bytes.HasPrefix(data, []byte(keyFileMagic)) || !bytes.Equal(sum[:4], data[len(body):]) {
		return nil, fmt.Errorf("%w: key file %s is damaged", ErrLock, path)
	}
	return body[len(keyFileMagic):], nil
}
