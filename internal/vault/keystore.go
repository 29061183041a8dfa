package vault

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// The keystore is one file:
//
//	"toft keystore\n" ‖ header ‖ sealed identity ‖ SHA-256 of all before
//
// The identity is sealed under a random key (KEK). Who has the KEK is the lock:
// a passphrase (the KEK is wrapped in the header), the keyring of the operating
// system, or a file beside it. Header and parameters are authenticated by both
// seals. The sum at the end tells damage from a wrong passphrase; it, the magic
// and the place of the version stay the same in every later version.

// Errors of the keystore; callers branch on them.
var (
	// ErrKeystoreExists: there is one already. It is never overwritten.
	ErrKeystoreExists = errors.New("a keystore exists already")
	// ErrNoKeystore: no file at the path.
	ErrNoKeystore = errors.New("no keystore")
	// ErrKeystoreDamaged: truncated, changed, or no keystore at all. Restore a copy
	// or use the recovery kit.
	ErrKeystoreDamaged = errors.New("keystore is damaged")
	// ErrKeystoreNewer: written by a later version. Upgrade; nothing was changed.
	ErrKeystoreNewer = errors.New("keystore of a newer version: upgrade toft")
	// ErrPassphrase: the file is whole and the passphrase is not its own.
	ErrPassphrase = errors.New("wrong passphrase")
	// ErrLock: the keystore is locked in another way than was tried, or what locks
	// it (key file, OS keyring entry) is missing, readable by others, or another's.
	ErrLock = errors.New("keystore cannot be unlocked")
)

const (
	keystoreMagic   = "toft keystore\n"
	keystoreVersion = 1
	maxKeystore     = 64 << 10
	saltSize        = 16
	sumSize         = sha256.Size
)

// keystoreHeader is the clear part. Passphrase locks have fields 4 to 7.
type keystoreHeader struct {
	Version uint64   `cbor:"1,keyasint"`
	Lock    LockKind `cbor:"2,keyasint"`
	Salt    []byte   `cbor:"3,keyasint"`           // 16 bytes
	Time    uint32   `cbor:"4,keyasint,omitempty"` // Argon2id passes
	Memory  uint32   `cbor:"5,keyasint,omitempty"` // Argon2id KiB
	Threads uint8    `cbor:"6,keyasint,omitempty"` // Argon2id lanes
	Wrapped []byte   `cbor:"7,keyasint,omitempty"` // the KEK sealed under the passphrase
}

// storedIdentity is what is sealed.
type storedIdentity struct {
	Sign        []byte        `cbor:"1,keyasint"`           // 32 bytes, Ed25519 seed
	Box         [][]byte      `cbor:"2,keyasint"`           // 1–16 × 32 bytes, HPKE seeds, oldest first
	Seed        []byte        `cbor:"3,keyasint,omitempty"` // 16 bytes, absent once exported
	RecoveryKey []byte        `cbor:"4,keyasint,omitempty"` // 32 bytes; 4 and 5 are both there or both absent
	RecoveryBox *block.BoxKey `cbor:"5,keyasint,omitempty"`
}

// authenticated is the associated data of both seals.
func (h keystoreHeader) authenticated() []byte {
	return append([]byte(keystoreMagic), wire.Must(h)...)
}

// keystorePair is the pair that seals the identity under a KEK.
func (h keystoreHeader) keystorePair(kek []byte) *pair {
	return newPair(derive(kek, h.Salt, labelKeystoreMAC), derive(kek, h.Salt, labelKeystoreEnc))
}

// CreateKeystore writes the identity to a new file at path, mode 0600, and the
// key to where the lock keeps it. It makes the directory (0700) if there is none.
// If anything stands at path it fails with ErrKeystoreExists and changes nothing.
func CreateKeystore(path string, id *Identity, lock Lock) error {
	return createKeystore(path, id, lock, rand.Reader)
}

func createKeystore(path string, id *Identity, lock Lock, rand io.Reader) error {
	if err := checkAbsent(path); err != nil {
		return err
	}
	data, err := newKeystore(path, id, lock, rand)
	if err != nil {
		return fmt.Errorf("create keystore: %w", err)
	}
	return writeNew(path, data)
}

// newKeystore returns the bytes of a keystore under a new key, which it puts where the
// lock keeps it.
func newKeystore(path string, id *Identity, lock Lock, rand io.Reader) ([]byte, error) {
	h := keystoreHeader{Version: keystoreVersion, Lock: lock.kind, Salt: make([]byte, saltSize)}
	if _, err := io.ReadFull(rand, h.Salt); err != nil {
		return nil, err
	}
	kek, err := lock.newKey(path, &h, rand)
	if err != nil {
		return nil, err
	}
	return sealKeystore(h, kek, id)
}

// ReplaceKeystore writes a changed identity (WithoutRecoverySeed) of the same
// device over an existing keystore, in one atomic step, under the key it has.
func ReplaceKeystore(path string, id *Identity, lock Lock) error {
	h, kek, old, err := openKeystore(path, lock)
	if err != nil {
		return err
	}
	if old.device != id.device {
		return fmt.Errorf("replace keystore: %w: it holds %s, not %s", ErrKeystoreExists, old.device, id.device)
	}
	data, err := sealKeystore(h, kek, id)
	if err != nil {
		return fmt.Errorf("replace keystore: %w", err)
	}
	return replace(path, data)
}

// OpenKeystore reads and unlocks the identity at path. It changes nothing,
// whatever it finds.
func OpenKeystore(path string, lock Lock) (*Identity, error) {
	_, _, id, err := openKeystore(path, lock)
	return id, err
}

// KeystoreLock tells how the keystore at path is locked, so that a caller knows
// whether to ask for a passphrase.
func KeystoreLock(path string) (LockKind, error) {
	h, _, err := readKeystore(path)
	return h.Lock, err
}

func openKeystore(path string, lock Lock) (keystoreHeader, []byte, *Identity, error) {
	fail := func(err error) (keystoreHeader, []byte, *Identity, error) {
		return keystoreHeader{}, nil, nil, fmt.Errorf("open keystore %s: %w", path, err)
	}
	h, sealed, err := readKeystore(path)
	if err != nil {
		return keystoreHeader{}, nil, nil, err
	}
	if h.Lock != lock.kind {
		return fail(fmt.Errorf("%w: it is locked by %s, not by %s", ErrLock, h.Lock, lock.kind))
	}
	kek, err := lock.key(path, h)
	if err != nil {
		return fail(err)
	}
	plain, err := h.keystorePair(kek).open(h.authenticated(), sealed)
	if err != nil {
		return fail(fmt.Errorf("%w: the key is that of another keystore", ErrLock))
	}
	id, err := parseIdentity(plain)
	if err != nil {
		return fail(err)
	}
	return h, kek, id, nil
}

func readKeystore(path string) (keystoreHeader, []byte, error) {
	data, err := readBounded(path, maxKeystore)
	if err != nil {
		return keystoreHeader{}, nil, err
	}
	h, sealed, err := parseKeystore(data)
	if err != nil {
		return keystoreHeader{}, nil, fmt.Errorf("open keystore %s: %w", path, err)
	}
	return h, sealed, nil
}

// parseKeystore checks the frame and bounds the header. Order matters: damage
// first, then version, then what this version knows.
func parseKeystore(data []byte) (keystoreHeader, []byte, error) {
	var zero keystoreHeader
	if len(data) < len(keystoreMagic)+3+sumSize || string(data[:len(keystoreMagic)]) != keystoreMagic {
		return zero, nil, fmt.Errorf("%w: it is truncated or no keystore", ErrKeystoreDamaged)
	}
	body := data[:len(data)-sumSize]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], data[len(body):]) {
		return zero, nil, fmt.Errorf("%w: its checksum does not match", ErrKeystoreDamaged)
	}
	body = body[len(keystoreMagic):]
	if body[0]&0xe0 != 0xa0 || body[1] != 1 {
		return zero, nil, fmt.Errorf("%w: no header", ErrKeystoreDamaged)
	}
	if body[2] > keystoreVersion {
		return zero, nil, fmt.Errorf("%w: version %d", ErrKeystoreNewer, body[2])
	}
	h, sealed, err := wire.DecodeFirst[keystoreHeader](body)
	if err != nil {
		return zero, nil, fmt.Errorf("%w: header: %w", ErrKeystoreDamaged, err)
	}
	if err := h.check(); err != nil {
		return zero, nil, err
	}
	return h, sealed, nil
}

func (h keystoreHeader) check() error {
	hasParams := h.Time != 0 || h.Memory != 0 || h.Threads != 0 || len(h.Wrapped) != 0
	switch {
	case h.Version != keystoreVersion:
		return fmt.Errorf("%w: version %d", ErrKeystoreDamaged, h.Version)
	case len(h.Salt) != saltSize:
		return fmt.Errorf("%w: salt of %d bytes", ErrKeystoreDamaged, len(h.Salt))
	case h.Lock == LockPassphrase:
		return h.checkParams()
	case h.Lock != LockKeyring && h.Lock != LockFile:
		return fmt.Errorf("%w: lock %d", ErrKeystoreDamaged, h.Lock)
	case hasParams:
		return fmt.Errorf("%w: passphrase parameters without a passphrase", ErrKeystoreDamaged)
	}
	return nil
}

// checkParams bounds what a file may make us spend on a passphrase, before it is
// spent, and refuses less than we would ever have written.
func (h keystoreHeader) checkParams() error {
	ok := h.Time >= argonTime && h.Time <= 16 &&
		h.Memory >= argonMemory && h.Memory <= 1<<20 &&
		h.Threads >= 1 && h.Threads <= 16 &&
		len(h.Wrapped) > 0 && len(h.Wrapped) <= 256
	if !ok {
		return fmt.Errorf("%w: Argon2id with %d passes, %d KiB, %d lanes is out of bounds", ErrKeystoreDamaged, h.Time, h.Memory, h.Threads)
	}
	return nil
}

func sealKeystore(h keystoreHeader, kek []byte, id *Identity) ([]byte, error) {
	stored := storedIdentity{Sign: id.sign().Seed(), Box: id.boxSeeds(), Seed: id.recovery.seed.reveal()}
	if !id.recovery.device.IsZero() {
		stored.RecoveryKey, stored.RecoveryBox = id.recovery.device[:], &id.recovery.boxKey
	}
	a := h.authenticated()
	sealed, err := h.keystorePair(kek).seal(a, wire.Must(stored))
	if err != nil {
		return nil, err
	}
	data := append(a, sealed...)
	sum := sha256.Sum256(data)
	return append(data, sum[:]...), nil
}

// parseIdentity reads the sealed part. It was authenticated; what is wrong in it
// was written by a broken or a newer toft.
func parseIdentity(plain []byte) (*Identity, error) {
	stored, err := wire.Decode[storedIdentity](plain, maxKeystore)
	if err != nil {
		return nil, fmt.Errorf("%w: identity: %w", ErrKeystoreDamaged, err)
	}
	id, err := newIdentity(stored.Sign, stored.Box)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeystoreDamaged, err)
	}
	if (len(stored.RecoveryKey) == 0) != (stored.RecoveryBox == nil) || len(stored.RecoveryKey) == 0 && len(stored.Seed) != 0 {
		return nil, fmt.Errorf("%w: half a recovery kit", ErrKeystoreDamaged)
	}
	if stored.RecoveryBox == nil {
		return id, nil
	}
	if len(stored.RecoveryKey) != 32 {
		return nil, fmt.Errorf("%w: recovery key of %d bytes", ErrKeystoreDamaged, len(stored.RecoveryKey))
	}
	id.recovery = recovery{device: block.Device(stored.RecoveryKey), boxKey: *stored.RecoveryBox}
	if len(stored.Seed) == 0 {
		return id, nil
	}
	seed := RecoverySeed{bytes: keep(stored.Seed)}
	half, err := seed.Identity()
	if err != nil || half.device != id.recovery.device || !half.BoxKey().Equal(id.recovery.boxKey) {
		return nil, fmt.Errorf("%w: recovery seed and recovery key do not belong together", ErrKeystoreDamaged)
	}
	id.recovery.seed = seed
	return id, nil
}
