// Package store keeps bytes through crashes. It is the bottom of the house:
// ordered keys, opaque values, and one promise:
//
//	when Commit returns nil, the whole batch is on the disk; if it does not
//	return nil, the batch is there whole or not at all.
//
// Everything Toft must not lose passes through one call. A put, for example,
// is one batch:
//
//	b := st.NewBatch()
//	b.Set(store.Block(id), sealed)                // b/<id>            the signed commit
//	b.Set(store.CommitIndex(db, 41), id[:])       // d/<db>c<41>       its place in the order of arrival
//	b.Set(store.DatabaseHeads(db), heads)         // d/<db>h           what is new on top
//	err := st.Commit(ctx, b)                      // atomic, fsynced
//
// A crash at any instant shows all three or none, and after a nil error, all.
//
// # On disk
//
//	DIR/format      the format version, as text: read before anything is written
//	DIR/lock        held while the store is open; names the holder for whoever comes second
//	DIR/pebble/     tables and manifest of the engine (Pebble)
//	DIR/pebble/wal/ its write-ahead log
//
// keys.go is the only place that knows how keys are spelled.
//
// # When the disk fails
//
//	Commit ──▶ engine ──▶ fence ──▶ file system
//	   ▲                    │
//	   └── "has it failed?" ┘
//
// Between the engine and the file system stands a fence. The first write,
// sync, create or rename that fails shuts it: from then on not one more byte
// reaches the disk, Commit answers ErrReadOnly with the reason, and reads go
// on. That rule is stricter than what the engine asks for, on purpose. After a
// failed fsync the kernel may have dropped the pages and a second fsync may
// lie, so nothing may build on it; and Pebble itself ends the process when its
// log fails (see fence.go), while a peer with a full disk should still answer
// questions. Recover tries the disk and opens the fence again.
//
// # When bytes rot
//
// Tables have a checksum for every block: Get and Scan answer a *CorruptError for what
// is rotten and go on around it. Mend takes the rotten table away and remembers what
// could not be read; that stays an error, never an absence, until it is set again or
// deleted as a whole with Batch.DeleteSpan.
//
// # What it refuses to know
//
// Documents, teams, commits, keys of any cipher: values are sealed before they
// come here. It does not retry, it has no clock, it starts no goroutine that
// outlives its call, but before a shut fence (that one, and the engine's flushes and
// compactions, end in Close).
package store
