package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/toftdb/toft/block"
)

// Database is the keyed functions of one database. `crdt` gets these, never keys.
// They are the same in every generation, and safe for concurrent use.
type Database struct {
	hidden
	secret                     block.Secret
	shape, node, value, digest *keyed
	scratch                    sync.Pool // of *scratch
}

// scratch is where Expand lets the cipher write: 2 KiB that escape to the heap
// would cost more than the cipher.
type scratch struct{ zeros, stream [2048]byte }

// keyed is HMAC-SHA-256 under one key.
type keyed struct{ pool sync.Pool } // of hash.Hash

func newKeyed(key [32]byte) *keyed {
	return &keyed{sync.Pool{New: func() any { return hmac.New(sha256.New, key[:]) }}}
}

func (k *keyed) sum(b []byte) (out [32]byte) {
	h := k.pool.Get().(hash.Hash)
	defer k.pool.Put(h)
	h.Reset()
	h.Write(b)
	h.Sum(out[:0])
	return out
}

// NewDatabase makes a database: its secret, and the id that fits only it.
func NewDatabase(rand io.Reader) (block.DBID, block.Secret, error) {
	s, err := NewSecret(rand)
	if err != nil {
		return block.DBID{}, block.Secret{}, fmt.Errorf("new database: %w", err)
	}
	return DatabaseID(s), s, nil
}

// DatabaseID is SHA-256("toft db" ‖ HKDF(secret, "id"))[:16].
func DatabaseID(s block.Secret) block.DBID {
	id := derive(s.Reveal(), noSalt(), labelID)
	sum := sha256.Sum256(append([]byte("toft db"), id[:]...))
	return block.DBID(sum[:16])
}

// AddDatabase stores the secret of a database, as it came in a link. It refuses a
// secret that is not the one the id was made from, and in this version every
// secret number but 0: a later one will need a link that vouches for it.
func (k *Keyring) AddDatabase(db block.DBID, number uint64, s block.Secret) error {
	if number != 0 {
		return fmt.Errorf("database %s: secret number %d: %w", db, number, block.ErrVersion)
	}
	if DatabaseID(s) != db {
		return fmt.Errorf("database %s: %w: the secret is that of another database", db, ErrOtherKey)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.databases[db] == nil {
		k.databases[db] = newDatabase(db, s)
	}
	return nil
}

func newDatabase(db block.DBID, s block.Secret) *Database {
	key := s.Reveal()
	return &Database{
		secret: s,
		shape:  newKeyed(derive(key, db[:], labelTreeShape)),
		node:   newKeyed(derive(key, db[:], labelNodeHash)),
		value:  newKeyed(derive(key, db[:], labelValueHash)),
		digest: newKeyed(derive(key, db[:], labelDigest)),

		scratch: sync.Pool{New: func() any { return new(scratch) }},
	}
}

// Database returns the keyed functions of a database, ErrNoKey if its secret did
// not come yet.
func (k *Keyring) Database(db block.DBID) (*Database, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if d := k.databases[db]; d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("%w: secret of %s", ErrNoKey, db)
}

// Secret returns the secret itself, for a link that gives it to another team.
func (d *Database) Secret() block.Secret { return d.secret }

// Expand is the expansion of an entry for the LtHash digest (Lewi et al. 2019):
// the AES-256-CTR keystream of 2,048 bytes with IV 0 under the key
// HMAC-SHA-256(K_digest, entry). Every entry has a key of its own, so the IV may
// repeat.
func (d *Database) Expand(entry []byte) [2048]byte {
	key := d.digest.sum(entry)
	c, err := aes.NewCipher(key[:])
	if err != nil {
		panic(fmt.Sprintf("vault: aes key: %v", err)) // 32 bytes never fail
	}
	s := d.scratch.Get().(*scratch)
	defer d.scratch.Put(s)
	var iv [aes.BlockSize]byte
	cipher.NewCTR(c, iv[:]).XORKeyStream(s.stream[:], s.zeros[:])
	return s.stream
}

// ValueHash names a value kept out of line: HMAC-SHA-256(K_value-hash, b).
func (d *Database) ValueHash(b []byte) [32]byte { return d.value.sum(b) }

// Shape is the PRF that shapes the tree: HMAC-SHA-256(K_tree-shape, key); level l
// reads bytes 4l…4l+3 as a big-endian number.
func (d *Database) Shape(key []byte) [32]byte { return d.shape.sum(key) }

// NodeHash names a node of the tree: HMAC-SHA-256(K_node-hash, b).
func (d *Database) NodeHash(b []byte) [32]byte { return d.node.sum(b) }
