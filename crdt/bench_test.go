package crdt

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/toftdb/toft/block"
)

// benchDoc is document i of the workload in issue 3: JSON of 256 bytes, nine
// fields beside the id.
func benchDoc(i, rev int) Doc {
	rng := rand.New(rand.NewPCG(uint64(i), uint64(rev)))
	letters := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = 'a' + byte(rng.IntN(26))
		}
		return string(b)
	}
	d := Doc{
		"_id": fmt.Sprintf("doc-%08d", i), "type": "note", "author": fmt.Sprintf("author-%d", i%10), "rev": int64(rev),
		"ts": int64(1_700_000_000_000 + i), "done": i%2 == 0, "prio": int64(i % 5), "tags": []any{"red", "blue"}, "body": "",
	}
	d["body"] = letters(256 - len(d.JSON()))
	return d
}

// benchSite writes without sealing, the cost that is not ours.
func (s *site) commitDraft(b *testing.B, writes [][]Write) *Commit {
	a := s.author()
	d, _, errs := s.Draft(a, writes)
	if d == nil || errs[0] != nil {
		b.Fatal(errs)
	}
	c, err := ParseCommit(&block.Block{ID: block.Sum(d.Plain), Header: block.Header{
		Kind: block.KindCommit, DB: testDB, Author: a.Actor.Device, Seat: a.Seat, Links: d.Parents, Parents: len(d.Parents),
	}}, d.Plain)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func filled(b *testing.B, n int) *site {
	s := newSite(b, "a")
	for i := 0; i < n; i += 100 {
		var writes [][]Write
		for j := i; j < i+100; j++ {
			writes = append(writes, []Write{{Verb: Put, Body: benchDoc(j, 0)}})
		}
		if _, err := s.Add(s.commitDraft(b, writes), Valid); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// BenchmarkPut is one put of a 256-byte document into a database of n, new or
// over a document that is there: Draft, ParseCommit, Add.
func BenchmarkPut(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		for _, over := range []bool{false, true} {
			b.Run(fmt.Sprintf("docs=%d/over=%v", n, over), func(b *testing.B) {
				s := filled(b, n)
				docs := make([]Doc, 1024)
				for i := range docs {
					if docs[i] = benchDoc(i, 1); !over {
						docs[i] = benchDoc(n+i, 1)
					}
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					d := docs[i%len(docs)]
					d["rev"] = int64(i)
					i++
					c := s.commitDraft(b, [][]Write{{{Verb: Put, Body: d}}})
					if _, err := s.Add(c, Valid); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkApply replays n commits of one document each into an empty replica, as
// at open; the figure is per commit.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("commits=%d", n), func(b *testing.B) {
			s := newSite(b, "a")
			var blocks []*block.Block
			var plains [][]byte
			for i := range n {
				c := s.commitDraft(b, [][]Write{{{Verb: Put, Body: benchDoc(i%(n/2), i)}}})
				if _, err := s.Add(c, Valid); err != nil {
					b.Fatal(err)
				}
				h := block.Header{Kind: block.KindCommit, DB: testDB, Author: s.actor.Device, Seat: c.Seat, Links: c.Parents, Parents: len(c.Parents)}
				held := s.commits[c.ID]
				plain := (&body{incarnation: c.Actor.Incarnation, seq: c.Seq, team: c.TeamHeads, time: c.Time, ops: held.inline, digest: c.Digest, hasDigest: true}).encode()
				blocks, plains = append(blocks, &block.Block{ID: c.ID, Header: h}), append(plains, plain)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				r := NewReplica(testDB, testKeys())
				for i := range blocks {
					c, err := ParseCommit(blocks[i], plains[i])
					if err != nil {
						b.Fatal(err)
					}
					if _, err := r.Add(c, Valid); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/commit")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := filled(b, 10_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, _, err := s.Get(fmt.Sprintf("doc-%08d", i*7919%10_000)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCrypto(b *testing.B) {
	k := testKeys()
	e := make([]byte, 330)
	b.Run("expand", func(b *testing.B) {
		for b.Loop() {
			k.Expand(e)
		}
	})
	b.Run("digest", func(b *testing.B) {
		var a accumulator
		for b.Loop() {
			a.digest()
		}
	})
}

// BenchmarkCommitMemory tells what a commit keeps in memory once it was applied and
// flushed, whatever it wrote.
func BenchmarkCommitMemory(b *testing.B) {
	const n = 50_000
	for b.Loop() {
		s := newCellar().site(b, "a")
		heap := func() uint64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := heap()
		for i := range n {
			if _, err := s.Add(s.commitDraft(b, [][]Write{{{Verb: Put, Body: benchDoc(i%100, i)}}}), Valid); err != nil {
				b.Fatal(err)
			}
		}
		s.flush()
		s.disk.chunks, s.disk.graph = nil, nil // a disk's
		b.ReportMetric(float64(heap()-before)/n, "B/commit")
		runtime.KeepAlive(s)
	}
}
