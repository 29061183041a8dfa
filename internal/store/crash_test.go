package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// The power goes at every operation that changes the disk; every time, what
// was acknowledged is there and what is there is whole.
//
//	go test ./internal/store -run Crash -crash.rounds 300   # the long run
var crashRounds = flag.Int("crash.rounds", 2, "workloads that lose power at each of their operations")

// ledger is what the parent of a crash remembers. Writer w commits batches
// 0, 1, 2… in order; acked[w] of them were acknowledged.
type ledger struct {
	writers [][16]byte
	acked   []atomic.Int64
}

func newLedger(writers int) *ledger {
	l := &ledger{writers: make([][16]byte, writers), acked: make([]atomic.Int64, writers)}
	for w := range l.writers {
		l.writers[w][0] = byte(w)
	}
	return l
}

// floor is the ledger as it is now.
func (l *ledger) floor() []int64 {
	floor := make([]int64, len(l.acked))
	for w := range l.acked {
		floor[w] = l.acked[w].Load()
	}
	return floor
}

func blockOf(w, n int) (id [32]byte, body []byte) {
	rng := rand.New(rand.NewPCG(uint64(w), uint64(n)))
	binary.BigEndian.PutUint64(id[:], rng.Uint64())
	binary.BigEndian.PutUint64(id[8:], rng.Uint64())
	body = make([]byte, rng.IntN(1500))
	for i := range body {
		body[i] = byte(rng.Uint32())
	}
	return id, body
}

// batch n of a writer: a new block, its place in the index, a head that
// replaces the one before, a parked commit that comes while another goes.
func (l *ledger) batch(w, n int) *Batch {
	db := l.writers[w]
	id, body := blockOf(w, n)
	b := new(Batch)
	b.Set(Block(id), body)
	b.Set(CommitIndex(db, uint64(n)), id[:])
	b.Set(DatabaseHeads(db), binary.BigEndian.AppendUint64(nil, uint64(n)))
	b.Set(ParkedCommit(db, id), nil)
	if n > 0 {
		before, _ := blockOf(w, n-1)
		b.Delete(ParkedCommit(db, before))
	}
	return b
}

// write commits batches from..to of every writer side by side and stops a
// writer at its first error.
func (l *ledger) write(s *Store, to int) error {
	var wg sync.WaitGroup
	errs := make([]error, len(l.writers))
	for w := range l.writers {
		wg.Go(func() {
			for n := int(l.acked[w].Load()); n < to && errs[w] == nil; n++ {
				if errs[w] = s.Commit(context.Background(), l.batch(w, n)); errs[w] == nil {
					l.acked[w].Add(1)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// check compares a store with the ledger: at least floor batches of every
// writer, and exactly the effect of some number of whole batches.
func (l *ledger) check(s *Store, floor []int64) error {
	for w, db := range l.writers {
		have := 0
		head, err := s.Get(DatabaseHeads(db))
		switch {
		case err == nil:
			have = int(binary.BigEndian.Uint64(head)) + 1
		case !errors.Is(err, ErrNotFound):
			return err
		}
		if int64(have) < floor[w] {
			return fmt.Errorf("writer %d: %d batches acknowledged, %d there", w, floor[w], have)
		}
		if err := l.checkBatches(s, w, have); err != nil {
			return fmt.Errorf("writer %d with %d batches: %w", w, have, err)
		}
	}
	return nil
}

func (l *ledger) checkBatches(s *Store, w, have int) error {
	db := l.writers[w]
	n := 0
	for e, err := range s.Scan(Commits(db)) {
		if err != nil {
			return err
		}
		id, body := blockOf(w, n)
		if at, err := Arrival(e.Key); err != nil || at != uint64(n) || !bytes.Equal(e.Value, id[:]) {
			return fmt.Errorf("entry %d of the index is %x=%x (%v)", n, e.Key, e.Value, err)
		}
		stored, err := s.Get(Block(id))
		if err != nil || !bytes.Equal(stored, body) {
			return fmt.Errorf("block %d: %w", n, errors.Join(err, errors.New("not as written")))
		}
		n++
	}
	if n != have {
		return fmt.Errorf("half a batch: %d in the index", n)
	}
	parked := 0
	for e, err := range s.Scan(ParkedCommits(db)) {
		if err != nil {
			return err
		}
		if last, _ := blockOf(w, have-1); !bytes.Equal(e.Key, ParkedCommit(db, last)) {
			return fmt.Errorf("half a batch: parked %x", e.Key)
		}
		parked++
	}
	if parked != min(have, 1) {
		return fmt.Errorf("half a batch: %d parked", parked)
	}
	return nil
}

// small makes the engine rotate logs, flush and compact within a few dozen
// batches.
func small(o *pebble.Options) {
	o.MemTableSize = 32 << 10
	o.L0CompactionThreshold = 2
	o.LBaseMaxBytes = 64 << 10
	o.TargetFileSizes[0] = 16 << 10
	o.MaxManifestFileSize = 4 << 10
}

// everyChange is a file system that asks before every operation that changes
// it; operations are numbered from 1. An error makes the operation fail.
func everyChange(disk vfs.FS, before func(n int64, op errorfs.Op) error) vfs.FS {
	var n atomic.Int64
	return errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead || op.Kind == errorfs.OpFileClose {
			return nil
		}
		return before(n.Add(1), op)
	}))
}

// powerLoss runs one workload and crashes it at every operation, keeping each
// byte that was not synced with a chance of 0, 1/2 or 1. deep crashes the
// recovery of every so many crashes as well. It returns how often it crashed
// and what went wrong.
func powerLoss(seed uint64, writers, batches, deep int, opt Options) (points int64, problems []string) {
	l := newLedger(writers)
	var mu sync.Mutex
	report := func(where string, err error) {
		mu.Lock()
		defer mu.Unlock()
		problems = append(problems, where+": "+err.Error())
	}
	var count atomic.Int64
	disk := vfs.NewCrashableMem()
	opt.tune = small
	run := opt
	run.FS = everyChange(disk, func(n int64, op errorfs.Op) error {
		if n%stride != 0 {
			return nil
		}
		floor := l.floor()
		where := fmt.Sprintf("seed %d, operation %d (%v)", seed, n, op)
		after := crash(disk, seed+uint64(n))
		count.Add(1)
		if deep > 0 && n%int64(deep) == 0 {
			count.Add(crashRecovery(l, floor, where, seed+uint64(n), after, report))
			return nil
		}
		if err := reopen(l, floor, after); err != nil {
			report(where, err)
		}
		return nil
	})
	s, err := Open("/db", run)
	if err == nil {
		err = errors.Join(l.write(s, batches/2), s.Close())
	}
	if err == nil {
		s, err = Open("/db", run)
	}
	if err == nil {
		err = errors.Join(l.write(s, batches), s.Close())
	}
	if err != nil {
		report("workload", err)
	}
	return count.Load(), problems
}

func crash(disk *vfs.MemFS, seed uint64) *vfs.MemFS {
	return disk.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: int(seed%3) * 50,
		RNG:                 rand.New(rand.NewPCG(seed, 1)),
	})
}

// reopen opens what a crash left, compares, writes on, and compares again.
func reopen(l *ledger, floor []int64, disk vfs.FS) error {
	s, err := Open("/db", Options{FS: disk, tune: small})
	if err != nil {
		return err
	}
	return errors.Join(l.check(s, floor), s.Close())
}

// crashRecovery opens what a crash left and loses power again at every
// operation of that.
func crashRecovery(l *ledger, floor []int64, where string, seed uint64, disk *vfs.MemFS, report func(string, error)) int64 {
	var count atomic.Int64
	again := everyChange(disk, func(n int64, op errorfs.Op) error {
		count.Add(1)
		if err := reopen(l, floor, crash(disk, seed+uint64(n))); err != nil {
			report(fmt.Sprintf("%s, then operation %d (%v)", where, n, op), err)
		}
		return nil
	})
	if err := reopen(l, floor, again); err != nil {
		report(where, err)
	}
	return count.Load()
}

func TestCrashAtEveryOperationLosesNothingAcknowledged(t *testing.T) {
	var points int64
	for round := range uint64(*crashRounds) {
		n, problems := powerLoss(round*1_000_003, 1+int(round%3), 60, 20, Options{})
		points += n
		for _, p := range problems {
			t.Error(p)
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("%d crash points", points)
	require.Greater(t, points, int64(250)*int64(*crashRounds)/stride)
}

// A store that forgets to sync is what the test above exists for; if this
// fails, it sees nothing.
func TestCrashTestCatchesAForgottenSync(t *testing.T) {
	_, problems := powerLoss(1, 1, 20, 0, Options{NoSync: true})
	require.NotEmpty(t, problems)
	require.Contains(t, problems[0], "acknowledged")
}
