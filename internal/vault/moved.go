package vault

import (
	"fmt"

	"github.com/toftdb/toft/block"
)

// A database that moves to another team takes the keys of its past along: for every
// old generation its own pair, never the generation, which opens the whole old team.

// baseName names the pair of one database in a generation.
type baseName struct {
	name
	db block.DBID
}

// basePair is a pair that came with a moved database, with the bytes it is made of.
type basePair struct {
	mac, enc block.Secret
	pair     *pair
}

// BaseKey returns the pair of a database in a generation that this device holds, or
// that came with the database: for a link that gives it to another team.
func (k *Keyring) BaseKey(team block.TeamID, gen block.Generation, db block.DBID) (mac, enc block.Secret, err error) {
	n := name{team, gen}
	if g, err := k.find(n, true); err == nil {
		m, e := g.dbKeys(db)
		return secretOf(m), secretOf(e), nil
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	if b := k.bases[baseName{n, db}]; b != nil {
		return b.mac, b.enc, nil
	}
	return mac, enc, fmt.Errorf("%w: %s of %s for %s", ErrNoKey, gen, team, db)
}

// dbKeys derives the two keys of a database. The generation is held in full.
func (g *generation) dbKeys(db block.DBID) (mac, enc [32]byte) {
	s := g.secret.Reveal()
	return derive(s, g.team[:], labelDBMAC, db[:]), derive(s, g.team[:], labelDBEnc, db[:])
}

// AddBase stores the pair of a moved database, as it came in a link.
func (k *Keyring) AddBase(team block.TeamID, gen block.Generation, db block.DBID, mac, enc block.Secret) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := baseName{name{team, gen}, db}
	if k.bases[n] == nil {
		k.bases[n] = &basePair{mac, enc, newPair([32]byte(mac.Reveal()), [32]byte(enc.Reveal()))}
	}
}

// based returns a pair that came with a moved database, nil if there is none.
func (k *Keyring) based(h block.Header) *pair {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if b := k.bases[baseName{name{h.Team, h.Generation}, h.DB}]; b != nil {
		return b.pair
	}
	return nil
}
