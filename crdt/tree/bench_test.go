package tree

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/toftdb/toft/block"
)

// Benchmarks at three sizes; 1M only without -short. Entries are 250 bytes under
// keys of 12, in a store in memory: what is measured is the tree, not a disk.
// Growth matters more than constants: each operation but the open-ended ones should
// cost nearly the same in all sizes.

func sizes(b *testing.B, run func(b *testing.B, n int)) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		if n > 100_000 && testing.Short() {
			continue
		}
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) { run(b, n) })
	}
}

// plant stores a tree of n documents in batches, as an import would, and opens it
// anew with an empty cache of 16 MiB.
func plant(b *testing.B, n int) *field {
	b.Helper()
	store := &Memory{}
	g := newGrove(b, store, 0)
	tr := g.Empty()
	for from := 0; from < n; from += 10_000 {
		var edits []Edit
		for i := from; i < min(from+10_000, n); i++ {
			edits = append(edits, Put(fmt.Appendf(nil, "doc-%08d", i), fmt.Appendf(nil, "%0250d", i)))
		}
		tr = flush(b, apply(b, tr, edits...))
	}
	ref, _ := tr.Root()
	g = newGrove(b, disk{store}, 0)
	f := &field{b, g, must[*Tree](b)(g.Open(context.Background(), ref)), n, rand.New(rand.NewPCG(7, uint64(n)))}
	runtime.GC()
	return f
}

// disk hands out copies, as a store does that reads and opens: what the tree keeps of
// them is the tree's memory.
type disk struct{ *Memory }

func (d disk) Load(ctx context.Context, ref Ref) ([]byte, []block.ID, error) {
	plain, links, err := d.Memory.Load(ctx, ref)
	return bytes.Clone(plain), slices.Clone(links), err
}

// report adds nodes per operation.
func (f *field) report(b *testing.B, before Stats) {
	s, n := f.g.Stats().Sub(before), float64(b.N)
	b.ReportMetric(float64(s.Visited)/n, "visited/op")
	b.ReportMetric(float64(s.Loaded)/n, "loaded/op")
	b.ReportMetric(float64(s.Saved)/n, "saved/op")
}

func (f *field) key() []byte { return fmt.Appendf(nil, "doc-%08d", f.rnd.IntN(f.n)) }

func BenchmarkGet(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		f := plant(b, n)
		keys := make([][]byte, 1<<16)
		for i := range keys {
			keys[i] = f.key()
		}
		b.Run("random", func(b *testing.B) {
			before := f.g.Stats()
			for i := range b.N {
				if _, ok, err := f.tree.Get(b.Context(), keys[i%len(keys)]); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
			f.report(b, before)
		})
		b.Run("cached", func(b *testing.B) {
			for i := range b.N {
				if _, ok, err := f.tree.Get(b.Context(), keys[i%100]); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	})
}

// One put per Apply; flushed every 1,000, which is counted in.
func BenchmarkApplyOne(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		f := plant(b, n)
		before := f.g.Stats()
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			f.tree = apply(b, f.tree, Put(f.key(), fmt.Appendf(nil, "%0250d", i)))
			if i%1000 == 999 {
				f.tree = flush(b, f.tree)
			}
		}
		f.report(b, before)
	})
}

// A hundred puts per Apply, half of them new keys. One op is one put.
func BenchmarkApplyHundred(b *testing.B) {
	hundreds(b, func(f *field, i int) []byte {
		key := f.key()
		if i%2 == 0 {
			key = fmt.Appendf(key, "-%d", i)
		}
		return key
	})
}

// Appends in key order, as time-ordered ids come; a hundred per Apply. One op is one put.
func BenchmarkAppend(b *testing.B) {
	hundreds(b, func(_ *field, i int) []byte { return fmt.Appendf(nil, "e-%010d", i) })
}

// hundreds puts under keys, a hundred per Apply, flushed every 10.
func hundreds(b *testing.B, key func(f *field, i int) []byte) {
	sizes(b, func(b *testing.B, n int) {
		f := plant(b, n)
		before := f.g.Stats()
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i += 100 {
			edits := make([]Edit, 100)
			for j := range edits {
				edits[j] = Put(key(f, i+j), fmt.Appendf(nil, "%0250d", i))
			}
			f.tree = apply(b, f.tree, edits...)
			if i%1000 == 0 {
				f.tree = flush(b, f.tree)
			}
		}
		f.report(b, before)
	})
}

func BenchmarkDiffThousand(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		f := plant(b, n)
		other := flush(b, apply(b, f.tree, f.puts(1000)...))
		before := f.g.Stats()
		b.ResetTimer()
		for range b.N {
			if d := len(diff(b, f.tree, other)); d != 1000 {
				b.Fatal(d)
			}
		}
		f.report(b, before)
	})
}

// Flush of a thousand changed documents. The store in memory hashes, but seals nothing.
func BenchmarkFlushThousand(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		f := plant(b, n)
		other := apply(b, f.tree, f.puts(1000)...)
		before := f.g.Stats()
		b.ResetTimer()
		for range b.N {
			flush(b, other)
		}
		f.report(b, before)
	})
}

// Everything in order: one op is one entry.
func BenchmarkRange(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		f := plant(b, n)
		b.ResetTimer()
		for done := 0; done < b.N; {
			for _, err := range f.tree.Range(b.Context(), Span{}) {
				if done++; err != nil || done >= b.N {
					break
				}
			}
		}
	})
}

// What the tree itself holds in memory after everything has been read: the store is
// counted apart.
func BenchmarkMemory(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		f := plant(b, n)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range f.tree.Range(b.Context(), Span{}) {
			continue
		}
		for range 10_000 {
			if _, _, err := f.tree.Get(b.Context(), f.key()); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		for range b.N {
			continue
		}
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		b.ReportMetric(float64(f.g.store.(disk).Len()), "nodes")
		b.ReportMetric(float64(f.levels()), "levels")
		runtime.KeepAlive(f)
	})
}
