package api

import (
	"context"
	"fmt"
	"io"
	"log/slog"
)

// Keys is the secrets of the device and of its user.
type Keys interface {
	// RecoveryKit returns the words that bring the user back into his teams when all
	// devices are lost. They stay on the device until ForgetRecovery; afterwards, and
	// on a device that never had any, it is [ErrNotFound].
	RecoveryKit(ctx context.Context) (RecoveryKit, error)
	// ForgetRecovery takes the words off this device: call it once they are on paper.
	ForgetRecovery(ctx context.Context) error
	// Recover takes this device into the team of a recovery kit, as a device of the
	// member the kit belongs to. It needs a member or a replica that answers.
	// [ErrUsage] for words that are no kit, [ErrForbidden] if the team does not know
	// them, [ErrUnreachable].
	Recover(ctx context.Context, r RecoverRequest) (Joined, error)
	// LockKeys locks the device's key with a passphrase from the next start on.
	LockKeys(ctx context.Context, passphrase Secret) error
	// UnlockKeys ends that: a file of mode 0600 beside the key locks it again.
	// [ErrKeyLocked] if the passphrase is another.
	UnlockKeys(ctx context.Context, passphrase Secret) error
}

// RecoveryKit is what a person writes down. Only Words are secret.
type RecoveryKit struct {
	User  string    `json:"user"`
	Words []Secret  `json:"words"` // 16
	Teams []KitTeam `json:"teams"` // that know the words, as of now
}

// KitTeam says where to find a team again.
type KitTeam struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`
	Addrs []string `json:"addrs"` // of its other devices, ending in /p2p/PEERID
}

// RecoverRequest redeems a recovery kit.
type RecoverRequest struct {
	Words []Secret `json:"words"`
	Team  string   `json:"team"`  // its full id
	Addrs []string `json:"addrs"` // where to ask, ending in /p2p/PEERID
}

// Secret is text that must not be shown: it prints as REDACTED, and only JSON that
// crosses the door has it.
type Secret string

// String shows nothing, as do the methods below.
func (Secret) String() string { return redacted }

// GoString is what %#v prints.
func (Secret) GoString() string { return redacted }

// Format answers every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) } // as fmt itself does

// LogValue is what slog writes.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Reveal returns the text.
func (s Secret) Reveal() string { return string(s) }

const redacted = "REDACTED"
