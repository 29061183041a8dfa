package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

func localScenarios() []scenario {
	return []scenario{
		{"put", func(b *bench, ctx context.Context) error { return b.puts(ctx, "put", 1) }},
		{"put-batch", func(b *bench, ctx context.Context) error { return b.puts(ctx, "put-batch", batch) }},
		{"put-64", (*bench).concurrent64},
		{"update", (*bench).updates},
		{"get", (*bench).gets},
		{"disk", (*bench).disk},
		{"large", (*bench).largeOnes},
	}
}

// concurrent64 lets 64 writers put at once: what a group commit is for.
func (b *bench) concurrent64(ctx context.Context) error { return b.concurrent(ctx, 64) }

// eachSystem runs f on a fresh replica of every system.
func (b *bench) eachSystem(ctx context.Context, sync bool, f func(s system, dir string, r replica) error) error {
	for _, s := range b.systems {
		dir := b.fresh()
		r, err := s.Open(ctx, dir, sync)
		if err == nil {
			err = errors.Join(f(s, dir, r), r.Close())
		}
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			return fmt.Errorf("%s: %w", s.Name(), err)
		}
	}
	return nil
}

// puts writes docs documents, size at a time, with and without fsync; a tenth of
// them first, for the growth.
func (b *bench) puts(ctx context.Context, name string, size int) error {
	for _, sync := range []bool{true, false} {
		label := name + "-nosync"
		if sync {
			label = name + "-fsync"
		}
		for _, n := range []int{b.docs / 10, b.docs} {
			err := b.eachSystem(ctx, sync, func(s system, _ string, r replica) error {
				docs := documents(0, n)
				m := start()
				if err := fill(ctx, r, docs, size); err != nil {
					return err
				}
				b.say(m.stop(row{Scenario: label, System: s.Name(), Docs: n}, n))
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) concurrent(ctx context.Context, writers int) error {
	return b.eachSystem(ctx, true, func(s system, _ string, r replica) error {
		docs := documents(0, b.docs)
		errs := make([]error, writers)
		m := start()
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := w; i < len(docs) && errs[w] == nil; i += writers {
					errs[w] = r.Put(ctx, docs[i:i+1])
				}
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		b.say(m.stop(row{Scenario: "put-64-writers-fsync", System: s.Name(), Docs: b.docs}, b.docs))
		return nil
	})
}

// updates changes the same 100 documents 100 times.
func (b *bench) updates(ctx context.Context) error {
	const rounds = 100
	return b.eachSystem(ctx, true, func(s system, _ string, r replica) error {
		if err := fill(ctx, r, documents(0, b.docs), batch); err != nil {
			return err
		}
		m := start()
		for rev := range rounds {
			docs := make([]document, batch)
			for i := range docs {
				docs[i] = documentAt(i, rev+1)
			}
			if err := r.Put(ctx, docs); err != nil {
				return err
			}
		}
		b.say(m.stop(row{Scenario: "update-100x100-fsync", System: s.Name(), Docs: b.docs}, rounds*batch))
		return nil
	})
}

func (b *bench) gets(ctx context.Context) error {
	return b.eachSystem(ctx, false, func(s system, _ string, r replica) error {
		if err := fill(ctx, r, documents(0, 1000), batch); err != nil {
			return err
		}
		return b.get(ctx, row{Scenario: "get-cached", System: s.Name()}, r, 1000, 20_000)
	})
}

// get reads n times one of the first docs documents, at random.
func (b *bench) get(ctx context.Context, label row, r replica, docs, n int) error {
	random := rand.New(rand.NewPCG(1, 2))
	took := make([]time.Duration, n)
	m := start()
	for i := range took {
		begun := time.Now()
		if err := r.Get(ctx, key(random.IntN(docs))); err != nil {
			return err
		}
		took[i] = time.Since(begun)
	}
	b.say(percentiles(m.stop(label, n), took))
	return nil
}

// disk says what documents take that were put one at a time, history included.
func (b *bench) disk(ctx context.Context) error {
	return b.eachSystem(ctx, false, func(s system, dir string, r replica) error {
		if err := fill(ctx, r, documents(0, b.docs), 1); err != nil {
			return err
		}
		err := b.saySize(ctx, row{Scenario: "disk-idle-single-puts", System: s.Name(), Docs: b.docs}, dir)
		c, ok := r.(compacter)
		if err != nil || !ok {
			return err
		}
		m := start()
		if err := c.Compact(ctx); err != nil {
			return err
		}
		b.say(m.stop(row{Scenario: "compact-single-puts", System: s.Name(), Docs: b.docs}, 1))
		// Opened again, because a running engine keeps some old logs to write over: a
		// fixed 30 MB or so.
		if err := r.Close(); err != nil {
			return err
		}
		again, err := s.Open(ctx, dir, false)
		if err != nil {
			return err
		}
		err = b.saySize(ctx, row{Scenario: "disk-compacted-single-puts", System: s.Name(), Docs: b.docs}, dir)
		return errors.Join(err, again.Close())
	})
}

// compacter is a replica that can let go of its history.
type compacter interface {
	Compact(ctx context.Context) error
}

// saySize waits until the store is idle and says how large it is.
func (b *bench) saySize(ctx context.Context, r row, dir string) error {
	size, err := idleSize(ctx, dir, b.settle)
	if err != nil {
		return err
	}
	r.Bytes, r.BytesPerDoc = size, round(float64(size)/float64(r.Docs))
	r.Note = fmt.Sprintf("%.2f times the documents", float64(size)/float64(r.Docs*docSize))
	b.say(r)
	return nil
}

// largeOnes loads many documents, then reads at random, waits for the store to be
// idle, and opens it again in a process of its own.
func (b *bench) largeOnes(ctx context.Context) error {
	for _, s := range b.systems {
		dir := b.fresh()
		if err := b.large1(ctx, s, dir); err != nil {
			return fmt.Errorf("%s: %w", s.Name(), err)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) large1(ctx context.Context, s system, dir string) error {
	r, err := s.Open(ctx, dir, false)
	if err != nil {
		return err
	}
	const part = 10_000 // documents made at once
	m := start()
	for first := 0; first < b.large; first += part {
		if err := fill(ctx, r, documents(first, min(part, b.large-first)), batch); err != nil {
			return errors.Join(err, r.Close())
		}
	}
	b.say(m.stop(row{Scenario: "load-batches-nosync", System: s.Name(), Docs: b.large}, b.large))
	err = b.get(ctx, row{Scenario: "get-random", System: s.Name(), Docs: b.large}, r, b.large, 20_000)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	err = b.saySize(ctx, row{Scenario: "disk-idle-batches", System: s.Name(), Docs: b.large}, dir)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	return b.reopen(ctx, s, dir)
}

// idleSize waits until a store has nothing more to compact and returns its size.
func idleSize(ctx context.Context, dir string, settle time.Duration) (int64, error) {
	tick := time.NewTicker(settle)
	defer tick.Stop()
	last, same := int64(-1), 0
	for range 60 {
		size, err := dirSize(dir)
		if err != nil {
			return 0, err
		}
		if size == last {
			if same++; same == 3 {
				return size, nil
			}
		} else {
			last, same = size, 0
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
	}
	return last, nil
}

func dirSize(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // compacted away while we look
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// opened is what the child says.
type opened struct {
	Seconds float64 `json:"seconds"` // until the first document was read
	RSS     int64   `json:"rss"`     // after a thousand random reads
}

// reopen opens the directory in a process of its own, whose memory is that of
// nothing else.
func (b *bench) reopen(ctx context.Context, s system, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "measure-open", s.Name(), dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	var o opened
	if err := json.Unmarshal(out, &o); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	b.say(row{Scenario: "reopen", System: s.Name(), Docs: b.large, Seconds: round(o.Seconds)})
	b.say(row{Scenario: "rss", System: s.Name(), Docs: b.large, Bytes: o.RSS, BytesPerDoc: round(float64(o.RSS) / float64(b.large))})
	return nil
}

// measureOpen is the child of reopen.
func measureOpen(ctx context.Context, name, dir string) error {
	s, err := systemOf(name)
	if err != nil {
		return err
	}
	var o opened
	begun := time.Now()
	r, err := s.Open(ctx, dir, true)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Get(ctx, key(0)); err != nil {
		return err
	}
	o.Seconds = time.Since(begun).Seconds()
	for i := range 1000 {
		if err := r.Get(ctx, key(i)); err != nil {
			break // a smaller store than that
		}
	}
	if o.RSS, err = rss(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(o)
}

// rss is the resident memory of this process in bytes.
func rss() (int64, error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, errors.New("no VmRSS in /proc/self/status")
}
