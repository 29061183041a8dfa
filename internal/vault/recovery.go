package vault

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/words"
)

// RecoverySeed is 128 random bits from which a recovery device is derived: on
// paper, it lets a user who lost every device back into his teams.
//
// As text it is 16 words of the EFF short list: the 20 bytes seed ‖
// SHA-256("toft recovery" ‖ seed)[:4] as one big-endian number in base 1296.
type RecoverySeed struct {
	hidden
	bytes kept[[]byte] // nil: unset
}

// ErrRecoveryWords is returned for words that are no recovery kit: unknown or
// mistyped, too few, or with a wrong check.
var ErrRecoveryWords = errors.New("not the words of a recovery kit")

const (
	recoverySize  = 16
	recoveryCheck = 4
	// RecoveryWords is how many words a recovery kit has.
	RecoveryWords = 16
)

// IsZero reports whether there is no seed (any more).
func (s RecoverySeed) IsZero() bool { return s.bytes == nil }

func (s RecoverySeed) reveal() []byte {
	if s.bytes == nil {
		return nil
	}
	return s.bytes()
}

// Words returns the sixteen words to write down. The seed must be set.
func (s RecoverySeed) Words() []string {
	seed := s.reveal()
	return words.Words(slices.Concat(seed, recoverySum(seed)), RecoveryWords)
}

func recoverySum(seed []byte) []byte {
	sum := sha256.Sum256(append([]byte("toft recovery"), seed...))
	return sum[:recoveryCheck]
}

// ParseRecovery reads the words back; case does not matter. The error
// names the position of a wrong word, never the word.
func ParseRecovery(list []string) (RecoverySeed, error) {
	if len(list) != RecoveryWords {
		return RecoverySeed{}, fmt.Errorf("%w: %d words, want %d", ErrRecoveryWords, len(list), RecoveryWords)
	}
	b, err := words.Bytes(list, recoverySize+recoveryCheck)
	if err != nil {
		return RecoverySeed{}, fmt.Errorf("%w: %w", ErrRecoveryWords, err)
	}
	seed := b[:recoverySize]
	if subtle.ConstantTimeCompare(b[recoverySize:], recoverySum(seed)) != 1 {
		return RecoverySeed{}, fmt.Errorf("%w: the check does not match; two words may be swapped", ErrRecoveryWords)
	}
	return RecoverySeed{bytes: keep(seed)}, nil
}

// Identity derives the recovery device: an identity like any other, whose seat is
// the team's genesis. It signs ADD_DEVICE for a new device and opens the box
// sealed to it.
func (s RecoverySeed) Identity() (*Identity, error) {
	seed := s.reveal()
	if len(seed) != recoverySize {
		return nil, fmt.Errorf("%w: seed of %d bytes", ErrRecoveryWords, len(seed))
	}
	signSeed := derive(seed, noSalt(), labelRecoverySign)
	boxSeed := derive(seed, noSalt(), labelRecoveryHPKE)
	return newIdentity(signSeed[:], [][]byte{boxSeed[:]})
}

// Recovery returns the public half of the user's recovery kit, which stands in
// CREATE, and the seed while it has not been exported (zero afterwards). An
// identity that is itself a recovery device has neither: a zero device.
func (id *Identity) Recovery() (device block.Device, key block.BoxKey, seed RecoverySeed) {
	return id.recovery.device, id.recovery.boxKey, id.recovery.seed
}

// WithoutRecoverySeed returns the identity as it is after `keys export`: the seed
// is gone, the public half stays. Store it with ReplaceKeystore.
func (id *Identity) WithoutRecoverySeed() *Identity {
	out := *id
	out.recovery.seed = RecoverySeed{}
	return &out
}
