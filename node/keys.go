package node

import (
	"context"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/peering"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/node/api"
)

// openIdentity opens the keystore, or makes one on the first run. A store that has
// teams and no keystore is not a first run: a new key could open nothing of it.
func (n *Node) openIdentity(path string, fresh bool) (err error) {
	o := vault.ChestOptions{PassphraseFile: n.cfg.PassphraseFile}
	if n.cfg.Passphrase != nil {
		o.Ask = func() ([]byte, error) { p, err := n.cfg.Passphrase(); return []byte(p.Reveal()), err }
	}
	if fresh {
		o.New = func() (*vault.Identity, error) {
			if n.cfg.Host == nil {
				return vault.NewIdentity(n.rand)
			}
			key, err := hostKey(n.cfg.Host)
			if err != nil {
				return nil, err
			}
			return vault.NewIdentityOf(key, n.rand)
		}
	}
	n.chest, n.id, err = vault.OpenChest(path, o)
	return keyError(err)
}

// LockKeys locks the keystore with a passphrase from the next start on.
func (n *Node) LockKeys(_ context.Context, passphrase api.Secret) error {
	if passphrase == "" {
		return api.ErrUsage.With("the passphrase is empty", "think of one, or keep the key file")
	}
	return keyError(n.chest.Lock([]byte(passphrase.Reveal())))
}

// UnlockKeys lets a file beside the keystore lock it again.
func (n *Node) UnlockKeys(_ context.Context, passphrase api.Secret) error {
	return keyError(n.chest.Unlock([]byte(passphrase.Reveal())))
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
	if err := n.chest.Replace(n.id.WithoutRecoverySeed()); err != nil {
		return keyError(err)
	}
	n.forgot.Store(true)
	return nil
}

// Recover takes this device into a team by the words of a recovery kit.
func (n *Node) Recover(ctx context.Context, r api.RecoverRequest) (api.Joined, error) {
	var list []string
	for _, w := range r.Words {
		list = append(list, w.Reveal())
	}
	seed, err := vault.ParseRecovery(list)
	if err != nil {
		return api.Joined{}, api.ErrUsage.Wrap(err, "16 words, in their order")
	}
	id, err := block.ParseTeamID(r.Team)
	if err != nil {
		return api.Joined{}, api.ErrUsage.Wrap(err, "the whole id of the team: another member sees it with toft team show")
	}
	var at []peer.AddrInfo
	for _, a := range r.Addrs {
		info, err := peer.AddrInfoFromString(a)
		if err != nil {
			return api.Joined{}, api.ErrUsage.Wrap(err, "an address looks like /ip4/192.168.1.7/tcp/4001/p2p/12D3KooW…")
		}
		at = append(at, *info)
	}
	if n.live.Load() == nil {
		return api.Joined{}, api.ErrNoDaemon.Wrap(errOffline, "start it: toft daemon")
	}
	c, err := n.live.Load().Recover(ctx, seed, id, at, func(id *vault.Identity, gate *peering.Gate) (host.Host, error) {
		return n.newHost(id, gate, nil) // nobody needs to reach the words
	})
	if err != nil {
		return api.Joined{}, doorError(err)
	}
	return n.joined(c, n.id.Device(), []string{}), nil
}
