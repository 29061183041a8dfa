package vault

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// RelockKeystore locks the keystore at path in another way: the identity stays, the
// key it is sealed under is a new one, in one atomic step. A key file that is not
// needed any more is removed, so that it cannot open an old copy of the keystore. A
// crash leaves a keystore that opens in the old way or in the new one.
func RelockKeystore(path string, from, to Lock) error {
	return relockKeystore(path, from, to, rand.Reader)
}

func relockKeystore(path string, from, to Lock, rand io.Reader) error {
	_, _, id, err := openKeystore(path, from)
	if err != nil {
		return err
	}
	data, err := newKeystore(path, id, to, rand)
	if err != nil {
		return fmt.Errorf("relock keystore: %w", err)
	}
	if err := replace(path, data); err != nil {
		return err
	}
	if to.kind == LockFile {
		return nil
	}
	if err := os.Remove(path + keyFileSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("relock keystore: the passphrase locks it now, but the old key file is still there: %w", err)
	}
	return nil
}
