package store

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Key layout, format 1. Ids are fixed-length raw bytes, numbers are 8 bytes
// big-endian so that byte order is number order, and no prefix is the start of
// another. docs/format.md repeats this table and a golden test pins it.
//
//	b/ id(32)                    block bytes, as they travel
//	t/ team(32) i                this device's own record of the team
//	t/ team(32) h                heads of the chain
//	t/ team(32) l n(8)           id of the n-th link in order of arrival
//	t/ team(32) p id(32)         a link that waits for a parent or a key
//	t/ team(32) s                own verified snapshot of the chain
//	d/ db(16) i                  this device's own record of the database
//	d/ db(16) a                  this device's actor and its last seq
//	d/ db(16) b n(8)             n-th piece of the record of where the history begins
//	d/ db(16) c n(8)             id of the n-th commit in order of arrival
//	d/ db(16) f                  frontier
//	d/ db(16) g n(8)             rows of the graph below that, from the n-th commit on
//	d/ db(16) h                  heads
//	d/ db(16) k n(8)             id of a checkpoint, newest last
//	d/ db(16) l name             a label that pins a state
//	d/ db(16) p id(32)           a commit that waits for a parent
//	p/ peer                      address book: what is known of a peer
//	m/ name                      settings of this store
//	x/ key                       the go-datastore view
//	derived/ ...                 whatever can be rebuilt; any version may drop it
//
// Commits and links are numbered as they arrive, and are only numbered once
// everything they build on is: replay at open is one ordered scan.
//
// Nothing secret may stand in a key: names of documents, databases or people
// appear only inside sealed values (a label name is hashed by its owner).
const (
	prefixBlock     = "b/"
	prefixTeam      = "t/"
	prefixDatabase  = "d/"
	prefixPeer      = "p/"
	prefixMeta      = "m/"
	prefixDatastore = "x/"
	prefixDerived   = "derived/"
)

// ID32 is any 32-byte identity: a block, a team.
type ID32 interface{ ~[32]byte }

// ID16 is any 16-byte identity: a database.
type ID16 interface{ ~[16]byte }

// Block is the key of a block's bytes.
func Block[I ID32](id I) []byte { return key32(prefixBlock, id, 0) }

// Blocks is the prefix of all blocks, in order of id.
func Blocks() []byte { return []byte(prefixBlock) }

// BlockID reads the id back from a key made by Block.
func BlockID(key []byte) (id [32]byte, err error) {
	if len(key) != len(prefixBlock)+32 || string(key[:len(prefixBlock)]) != prefixBlock {
		return id, fmt.Errorf("store: %q is not the key of a block", printable(key))
	}
	copy(id[:], key[len(prefixBlock):])
	return id, nil
}

// Teams is the prefix of everything known of all teams.
func Teams() []byte { return []byte(prefixTeam) }

// Team is the prefix of everything known of one team.
func Team[I ID32](team I) []byte { return key32(prefixTeam, team, 0) }

// TeamID reads the team back from any key below Team.
func TeamID(key []byte) (id [32]byte, err error) {
	if len(key) < len(prefixTeam)+32 || string(key[:len(prefixTeam)]) != prefixTeam {
		return id, fmt.Errorf("store: %q is not a key of a team", printable(key))
	}
	copy(id[:], key[len(prefixTeam):])
	return id, nil
}

// TeamInfo is the key of this device's own record of the team.
func TeamInfo[I ID32](team I) []byte { return append(key32(prefixTeam, team, 1), 'i') }

// TeamHeads is the key of the heads of the chain.
func TeamHeads[I ID32](team I) []byte { return append(key32(prefixTeam, team, 1), 'h') }

// TeamSnapshot is the key of this device's own verified snapshot of the chain.
func TeamSnapshot[I ID32](team I) []byte { return append(key32(prefixTeam, team, 1), 's') }

// LinkIndex is the key that holds the id of the n-th link in order of arrival.
func LinkIndex[I ID32](team I, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(key32(prefixTeam, team, 9), 'l'), n)
}

// Links is the prefix of all LinkIndex keys of a team, in order of arrival.
func Links[I ID32](team I) []byte { return append(key32(prefixTeam, team, 1), 'l') }

// ParkedLink is the key of a link that waits for a parent or a key.
func ParkedLink[I, J ID32](team I, link J) []byte {
	return appendID(append(key32(prefixTeam, team, 33), 'p'), link)
}

// ParkedLinks is the prefix of all ParkedLink keys of a team.
func ParkedLinks[I ID32](team I) []byte { return append(key32(prefixTeam, team, 1), 'p') }

// Databases is the prefix of everything known of all databases.
func Databases() []byte { return []byte(prefixDatabase) }

// Database is the prefix of everything known of one database.
func Database[D ID16](db D) []byte { return key16(prefixDatabase, db, 0) }

// DatabaseID reads the database back from any key below Database.
func DatabaseID(key []byte) (id [16]byte, err error) {
	if len(key) < len(prefixDatabase)+16 || string(key[:len(prefixDatabase)]) != prefixDatabase {
		return id, fmt.Errorf("store: %q is not a key of a database", printable(key))
	}
	copy(id[:], key[len(prefixDatabase):])
	return id, nil
}

// DatabaseInfo is the key of this device's own record of the database.
func DatabaseInfo[D ID16](db D) []byte { return append(key16(prefixDatabase, db, 1), 'i') }

// DatabaseActor is the key of this device's actor in the database.
func DatabaseActor[D ID16](db D) []byte { return append(key16(prefixDatabase, db, 1), 'a') }

// DatabaseHome is the key of the id of the team the database is open in.
func DatabaseHome[D ID16](db D) []byte { return append(key16(prefixDatabase, db, 1), 't') }

// DatabaseFrontier is the key of the frontier: the last commit of each actor.
func DatabaseFrontier[D ID16](db D) []byte { return append(key16(prefixDatabase, db, 1), 'f') }

// DatabaseHeads is the key of the heads.
func DatabaseHeads[D ID16](db D) []byte { return append(key16(prefixDatabase, db, 1), 'h') }

// CommitIndex is the key that holds the id of the n-th commit in order of
// arrival.
func CommitIndex[D ID16](db D, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(key16(prefixDatabase, db, 9), 'c'), n)
}

// Commits is the prefix of all CommitIndex keys of a database, in order of
// arrival.
func Commits[D ID16](db D) []byte { return append(key16(prefixDatabase, db, 1), 'c') }

// Checkpoint is the key that holds the id of the n-th checkpoint.
func Checkpoint[D ID16](db D, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(key16(prefixDatabase, db, 9), 'k'), n)
}

// Checkpoints is the prefix of all Checkpoint keys of a database, newest last.
func Checkpoints[D ID16](db D) []byte { return append(key16(prefixDatabase, db, 1), 'k') }

// Floor is the key of the n-th piece of the record of where the history begins.
func Floor[D ID16](db D, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(key16(prefixDatabase, db, 9), 'b'), n)
}

// Floors is the prefix of all Floor keys of a database.
func Floors[D ID16](db D) []byte { return append(key16(prefixDatabase, db, 1), 'b') }

// Graph is the key of the rows of the graph from the n-th commit on.
func Graph[D ID16](db D, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(key16(prefixDatabase, db, 9), 'g'), n)
}

// Graphs is the prefix of all Graph keys of a database, in order.
func Graphs[D ID16](db D) []byte { return append(key16(prefixDatabase, db, 1), 'g') }

// Label is the key of a label that pins a state. The name is opaque bytes: its
// owner hashes or seals it first.
func Label[D ID16](db D, name []byte) []byte {
	return append(append(key16(prefixDatabase, db, 1+len(name)), 'l'), name...)
}

// Labels is the prefix of all Label keys of a database.
func Labels[D ID16](db D) []byte { return append(key16(prefixDatabase, db, 1), 'l') }

// ParkedCommit is the key of a commit that waits for a parent.
func ParkedCommit[D ID16, I ID32](db D, commit I) []byte {
	return appendID(append(key16(prefixDatabase, db, 33), 'p'), commit)
}

// ParkedCommits is the prefix of all ParkedCommit keys of a database.
func ParkedCommits[D ID16](db D) []byte { return append(key16(prefixDatabase, db, 1), 'p') }

// Peer is the key of what is known of one peer; peer is its raw libp2p id.
func Peer(peer []byte) []byte { return append([]byte(prefixPeer), peer...) }

// Peers is the prefix of the address book.
func Peers() []byte { return []byte(prefixPeer) }

// Meta is the key of one setting of this store.
func Meta(name string) []byte { return []byte(prefixMeta + name) }

// Derived is a key in the space that any version may drop and rebuild; see
// Store.DropDerived. Begin name with the room and the format of what it holds,
// for example "index/1/".
func Derived(name []byte) []byte { return append([]byte(prefixDerived), name...) }

// Arrival reads the number from the end of a key made by LinkIndex,
// CommitIndex or Checkpoint.
func Arrival(key []byte) (uint64, error) {
	numbered := len(key) == len(prefixTeam)+32+9 && string(key[:len(prefixTeam)]) == prefixTeam ||
		len(key) == len(prefixDatabase)+16+9 && string(key[:len(prefixDatabase)]) == prefixDatabase
	if !numbered {
		return 0, fmt.Errorf("store: %q is not a numbered key", printable(key))
	}
	return binary.BigEndian.Uint64(key[len(key)-8:]), nil
}

var errBadID = errors.New("store: a stored id has the wrong length")

// ID reads an id stored as a value, as under CommitIndex and LinkIndex.
func ID[I ID32](value []byte) (id I, err error) {
	if len(value) != 32 {
		return id, errBadID
	}
	return I(value), nil
}

// key32 and key16 leave room for more so that a key is one allocation.
func key32[I ID32](prefix string, id I, more int) []byte {
	return appendID(append(make([]byte, 0, len(prefix)+32+more), prefix...), id)
}

func key16[D ID16](prefix string, id D, more int) []byte {
	raw := [16]byte(id)
	return append(append(make([]byte, 0, len(prefix)+16+more), prefix...), raw[:]...)
}

func appendID[I ID32](key []byte, id I) []byte {
	raw := [32]byte(id)
	return append(key, raw[:]...)
}
