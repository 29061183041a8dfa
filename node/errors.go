package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

// fixDamage is the way out of a damaged block.
const fixDamage = "nothing was changed; toft repair fetches what is damaged from the other devices of the team, and the daemon tries by itself"

func errClosing() error { return api.ErrClosed.With("the node is closing", "start it again") }

// doorError turns errors of the rooms below into the door's.
func doorError(err error) error {
	var conflict *crdt.ConflictError
	var bad *crdt.BadDocError
	var refused *team.RefusedError
	var damage *ledger.DamageError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return api.ErrorOf(err)
	case errors.As(err, &conflict):
		return api.ErrConflict.Wrap(err, "read the document again and repeat the change")
	case errors.Is(err, crdt.ErrExists):
		return api.ErrExists.Wrap(err, "leave out --if-absent to overwrite")
	case errors.Is(err, ledger.ErrPoint):
		return api.ErrNotFound.Wrap(err, "toft log and toft snapshot list show what there is")
	case errors.Is(err, ledger.ErrCompacted), errors.Is(err, crdt.ErrHistory):
		return api.ErrCompacted.Wrap(err, "toft snapshot list shows the states that were kept; toft log what is known")
	case errors.Is(err, ledger.ErrSpan):
		return api.ErrUsage.Wrap(err, "as in 30d, 2w or 12h")
	case errors.Is(err, ledger.ErrLabel):
		return api.ErrExists.Wrap(err, "take another label, or delete it first")
	case errors.Is(err, ledger.ErrLabelName):
		return api.ErrUsage.Wrap(err, "")
	case errors.Is(err, crdt.ErrNotFound):
		return api.ErrNotFound.Wrap(err, "")
	case errors.Is(err, ledger.ErrBatch):
		return api.ErrTooLarge.Wrap(err, "send several batches")
	case errors.As(err, &bad):
		return api.ErrBadDocument.Wrap(err, "nothing was written")
	case errors.As(err, &refused):
		return api.ErrForbidden.Wrap(err, "ask an admin of the team")
	case errors.Is(err, block.ErrMalformed):
		return api.ErrVerify.Wrap(err, "")
	case errors.Is(err, ledger.ErrClosed):
		return errClosing()
	case errors.Is(err, ledger.ErrForbidden):
		return api.ErrForbidden.Wrap(err, "ask an admin of the team")
	case errors.Is(err, team.ErrSeed):
		return api.ErrUsage.Wrap(err, seedRules)
	case errors.Is(err, ledger.ErrBehind):
		return api.ErrUnreachable.Wrap(err, "a removal keeps what this device has seen: connect to another member, wait until toft status says in sync, then again")
	case errors.Is(err, ledger.ErrNoKey):
		return api.ErrKeyLocked.Wrap(err, "wait until another member is online")
	case errors.As(err, &damage):
		return api.ErrVerify.Wrap(err, fixDamage)
	}
	return storeError(err)
}

// storeError turns what the store says into the door's errors.
func storeError(err error) error {
	var locked *store.LockedError
	var version *store.VersionError
	var corrupt *store.CorruptError
	var full *store.DiskFullError
	switch {
	case errors.As(err, &locked):
		return api.ErrStoreLocked.Wrap(err, "stop the other process, or give this one a directory of its own with --dir")
	case errors.As(err, &version):
		return api.ErrFormat.Wrap(err, "upgrade toft; nothing was changed")
	case errors.As(err, &corrupt):
		return api.ErrVerify.Wrap(err, fixDamage)
	case errors.As(err, &full):
		return api.ErrDiskFull.Wrap(err, "free some space; nothing that was acknowledged is lost")
	}
	return err
}

// keyError turns what the keystore says into the door's errors.
func keyError(err error) error {
	if err == nil {
		return nil
	}
	hint := "nothing was changed; restore the keystore files of this directory"
	if errors.Is(err, vault.ErrPassphrase) || errors.Is(err, vault.ErrLock) {
		hint = "nothing was changed; name a readable file with the passphrase: TOFT_PASSPHRASE_FILE=FILE"
	}
	return api.ErrKeyLocked.Wrap(fmt.Errorf("keystore: %w", err), hint)
}
