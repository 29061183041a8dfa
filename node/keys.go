package node

import (
	"bytes"
	"context"
	"errors"
	"os"

	"github.com/toftdb/toft/internal/peering"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/node/api"
)

// openIdentity opens the keystore, or makes one on the first run. A store that has
// teams and no keystore is not a first run: a new key could open nothing of it.
func (n *Node) openIdentity(path string, fresh bool) (*vault.Identity, error) {
	kind, err := vault.KeystoreLock(path)
	first := errors.Is(err, vault.ErrNoKeystore)
	if err != nil && !(first && fresh) {
		return nil, keyError(err)
	}
	if n.lock, err = n.lockFor(kind, first); err != nil {
		return nil, err
	}
	if !first {
		id, err := vault.OpenKeystore(path, n.lock)
		return id, keyError(err)
	}
	id, err := n.newIdentity()
	if err != nil {
		return nil, err
	}
	return id, keyError(vault.CreateKeystore(path, id, n.lock))
}

// newIdentity makes the secrets of this device, around the key of a borrowed host.
func (n *Node) newIdentity() (*vault.Identity, error) {
	if n.cfg.Host == nil {
		return vault.NewIdentity(n.rand)
	}
	key, err := hostKey(n.cfg.Host)
	if err != nil {
		return nil, err
	}
	return vault.NewIdentityOf(key, n.rand)
}

// lockFor says what keeps the keystore's key: a passphrase, which is the first line
// of a file or asked for, or, without any question, a file beside it.
func (n *Node) lockFor(kind vault.LockKind, first bool) (vault.Lock, error) {
	switch {
	case kind == vault.LockKeyring:
		return vault.OSKeyring(), nil
	case kind == vault.LockFile, first && n.cfg.PassphraseFile == "":
		return vault.KeyFile(), nil
	case n.cfg.PassphraseFile == "" && n.cfg.Passphrase != nil:
		text, err := n.cfg.Passphrase()
		if err != nil {
			return vault.Lock{}, api.ErrKeyLocked.Wrap(err, "name a file with the passphrase: TOFT_PASSPHRASE_FILE=FILE")
		}
		return vault.Passphrase([]byte(text.Reveal())), nil
	case n.cfg.PassphraseFile == "":
		return vault.Lock{}, api.ErrKeyLocked.With("the key of this device is locked by a passphrase", "name a file with the passphrase: TOFT_PASSPHRASE_FILE=FILE")
	}
	text, err := os.ReadFile(n.cfg.PassphraseFile)
	if err != nil {
		return vault.Lock{}, api.ErrKeyLocked.Wrap(err, "name a readable file with --passphrase-file")
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return vault.Passphrase(bytes.TrimSuffix(line, []byte("\r"))), nil
}

// LockKeys locks the keystore with a passphrase from the next start on.
func (n *Node) LockKeys(_ context.Context, passphrase api.Secret) error {
	if passphrase == "" {
		return api.ErrUsage.With("the passphrase is empty", "think of one, or keep the key file")
	}
	return n.relock(vault.Passphrase([]byte(passphrase.Reveal())))
}

// UnlockKeys lets a file beside the keystore lock it again.
func (n *Node) UnlockKeys(_ context.Context, passphrase api.Secret) error {
	path := n.cfg.Paths().Keystore
	if kind, err := vault.KeystoreLock(path); err != nil || kind != vault.LockPassphrase {
		return errors.Join(keyError(err), api.ErrUsage.With("the key of this device is locked by "+kind.String()+", not by a passphrase", ""))
	}
	if _, err := vault.OpenKeystore(path, vault.Passphrase([]byte(passphrase.Reveal()))); err != nil {
		return keyError(err)
	}
	return n.relock(vault.KeyFile())
}

func (n *Node) relock(to vault.Lock) error {
	n.lockMu.Lock()
	defer n.lockMu.Unlock()
	if err := vault.RelockKeystore(n.cfg.Paths().Keystore, n.lock, to); err != nil {
		return keyError(err)
	}
	n.lock = to
	return nil
}

// RecoveryKit returns the words of the user's recovery kit while they are here.
func (n *Node) RecoveryKit(context.Context) (api.RecoveryKit, error) {
	words, _, seed := n.id.Recovery()
	if seed.IsZero() || n.forgot.Load() {
		return api.RecoveryKit{}, api.ErrNotFound.With("the recovery kit is no longer on this device", "look for the paper; if it is lost, another device of yours may still have its own")
	}
	kit := api.RecoveryKit{User: n.cfg.User, Teams: []api.KitTeam{}}
	for _, w := range seed.Words() {
		kit.Words = append(kit.Words, api.Secret(w))
	}
	for _, c := range n.ledger.Chains() {
		st := c.State()
		if !st.Active(words) {
			continue
		}
		t := api.KitTeam{ID: c.ID().String(), Name: st.Name(), Addrs: []string{}}
		for _, d := range st.Devices() {
			if d.Key != n.id.Device() && !d.Recovery && n.live.Load() != nil {
				t.Addrs = append(t.Addrs, n.addrsOf(peering.PeerOf(d.Key))...)
			}
		}
		kit.Teams = append(kit.Teams, t)
	}
	return kit, nil
}

// ForgetRecovery takes the words off this device.
func (n *Node) ForgetRecovery(context.Context) error {
	n.lockMu.Lock()
	defer n.lockMu.Unlock()
	if err := vault.ReplaceKeystore(n.cfg.Paths().Keystore, n.id.WithoutRecoverySeed(), n.lock); err != nil {
		return keyError(err)
	}
	n.forgot.Store(true)
	return nil
}

// Recover takes this device into a team by the words of a recovery kit.
func (n *Node) Recover(_ context.Context, r api.RecoverRequest) (api.Joined, error) {
	var list []string
	for _, w := range r.Words {
		list = append(list, w.Reveal())
	}
	if _, err := vault.ParseRecovery(list); err != nil {
		return api.Joined{}, api.ErrUsage.Wrap(err, "16 words, in their order")
	}
	return api.Joined{}, api.ErrFailed.With("recovery is being built", "")
}
