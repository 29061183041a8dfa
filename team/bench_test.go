package team

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/toftdb/toft/block"
)

// line returns a chain of n links one above the other: a team of ten that admits,
// renames, promotes, rotates and removes, as teams do.
func line(b testing.TB, n int) []*UnverifiedLink {
	w := newWorld(b, "a")
	w.chain = nil
	prev := "G"
	put := func(s step) {
		name := fmt.Sprint("n", len(w.all))
		w.bare(name, s, prev)
		prev = name
	}
	now := map[string]Role{}
	for i := 0; len(w.all) < n; i++ {
		who := fmt.Sprint("p", i%10)
		r := RoleReader + (now[who]-1)%3
		switch {
		case i < 10:
			put(by("a", add(who, RoleReader)))
			now[who] = RoleReader
		case i%97 == 0:
			put(by("a", rotate()))
		case i%89 == 0:
			put(by("a", remove(who)))
			put(by("a", add(who, RoleReader)))
			now[who] = RoleReader
		case i%2 == 0:
			put(by("a", role(who, r)))
			now[who] = r
		default:
			k := dev("a").dev
			put(by("a", rename(NameMember, k[:], fmt.Sprint("alice ", i))))
		}
	}
	return w.all
}

// bare makes a link by the founder without asking anybody whether it is allowed.
func (w *world) bare(name string, s step, parents ...string) *UnverifiedLink {
	h := block.Header{Kind: block.KindLink, Team: block.TeamID(w.genID), Generation: block.Generation(w.genID), Author: dev(s.by).dev, Seat: w.genID}
	for _, p := range parents {
		h.Links = append(h.Links, w.named[p].ID)
	}
	h.Parents = len(h.Links)
	u := &UnverifiedLink{Header: h, Content: s.content(w, nil), Time: 1, complete: true}
	w.seal(u, name)
	return u
}

func load(b testing.TB, all []*UnverifiedLink) *Chain {
	c, err := NewChain(all[0])
	if err != nil {
		b.Fatal(err)
	}
	for _, u := range all[1:] {
		if err := c.Add(u); err != nil {
			b.Fatal(err)
		}
	}
	c.State()
	return c
}

// growth remembers what the size before cost, and reports the exponent e of the
// cost c·n^e between the two: 1 is linear.
type growth struct{ n, cost float64 }

func (g *growth) report(b *testing.B, n int) {
	cost := float64(b.Elapsed()) / float64(b.N)
	b.ReportMetric(cost/1e6, "ms/op")
	if g.n > 0 {
		b.ReportMetric(math.Log(cost/g.cost)/math.Log(float64(n)/g.n), "exponent")
	}
	g.n, g.cost = float64(n), cost
}

// BenchmarkLine: 1,000 links ≤ 50 ms, 100,000 ≤ 5 s and ≤ 256 MiB.
func BenchmarkLine(b *testing.B) {
	var g growth
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			all := line(b, n)
			var before, after runtime.MemStats
			for b.Loop() {
				runtime.GC()
				runtime.ReadMemStats(&before)
				c := load(b, all)
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
				b.ReportMetric(float64(len(c.g.links)), "links")
				runtime.KeepAlive(c)
				b.StartTimer()
			}
			g.report(b, n)
		})
	}
}

// BenchmarkFork: n links on one head, merged when the state is asked for; 10,000 ≤ 10 s.
func BenchmarkFork(b *testing.B) {
	for _, kind := range []string{"names", "cuts"} {
		var g growth
		for _, n := range []int{1_000, 10_000} {
			b.Run(fmt.Sprint(kind, n), func(b *testing.B) {
				w := newWorld(b, "a")
				w.chain = nil
				prev := "G"
				for i := range 20 {
					w.bare(fmt.Sprint("m", i), by("a", add(fmt.Sprint("p", i), RoleAdmin)), prev)
					prev = fmt.Sprint("m", i)
				}
				for i := range n {
					s := by("a", rename(NameTeam, nil, fmt.Sprint(i)))
					if kind == "cuts" {
						s = by("a", remove(fmt.Sprint("p", i%20)))
					}
					w.bare(fmt.Sprint("f", i), s, prev)
				}
				for b.Loop() {
					load(b, w.all)
				}
				g.report(b, n)
			})
		}
	}
}

// BenchmarkDiamonds: 1,000 links with 14 merges ≤ 100 ms; and twice and four times
// as many merges.
func BenchmarkDiamonds(b *testing.B) {
	var g growth
	for _, merges := range []int{14, 28, 56} {
		b.Run(fmt.Sprint(merges), func(b *testing.B) {
			all := diamondLine(b, merges)
			for b.Loop() {
				load(b, all)
			}
			g.report(b, len(all))
		})
	}
}

func diamondLine(b *testing.B, merges int) []*UnverifiedLink {
	w := newWorld(b, "a")
	w.chain = nil
	tip := []string{"G"}
	put := func(name string, s step, parents ...string) string {
		w.bare(name, s, parents...)
		return name
	}
	name := func(n string) step { return by("a", rename(NameTeam, nil, n)) }
	for i := range merges {
		left := put(fmt.Sprint("l", i), name("l"), tip...)
		right := put(fmt.Sprint("r", i), by("a", add(fmt.Sprint("p", i), RoleAdmin)), tip...)
		for j := range 17 {
			left = put(fmt.Sprint("l", i, ".", j), name("l"), left)
			right = put(fmt.Sprint("r", i, ".", j), name("r"), right)
		}
		tip = []string{left, right}
		if string(w.named[left].ID[:]) > string(w.named[right].ID[:]) {
			tip = []string{right, left}
		}
		for j := range 36 {
			tip = []string{put(fmt.Sprint("s", i, ".", j), name("s"), tip...)}
		}
	}
	return w.all
}

// crowd is a team of n members, one above the other.
func crowd(b *testing.B, n int) (w *world, last string) {
	w = newWorld(b, "a")
	w.chain = nil
	last = "G"
	for i := range n - 1 {
		next := fmt.Sprint("m", i)
		w.bare(next, by("a", add(fmt.Sprint("p", i), RoleMember)), last)
		last = next
	}
	return w, last
}

// BenchmarkRemove: removing one of 500 devices ≤ 150 ms (sealing not included).
func BenchmarkRemove(b *testing.B) {
	var g growth
	for _, n := range []int{500, 2_000, MaxDevices} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w, last := crowd(b, n)
			all := w.all
			gone := w.bare("x", by("a", remove(fmt.Sprint("p", n/2))), last)
			for b.Loop() {
				b.StopTimer()
				c := load(b, all)
				b.StartTimer()
				if err := c.Check(dev("a").dev, gone.Content); err != nil {
					b.Fatal(err)
				}
				if err := c.Add(gone); err != nil {
					b.Fatal(err)
				}
				if left := c.State().Remaining(gone.Content); len(left) != n-1 {
					b.Fatal(len(left))
				}
			}
			g.report(b, n)
		})
	}
}

// BenchmarkDevices: loading a team of as many devices as there may be.
func BenchmarkDevices(b *testing.B) {
	var g growth
	for _, n := range []int{512, MaxDevices} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w, _ := crowd(b, n)
			for b.Loop() {
				load(b, w.all)
			}
			g.report(b, n)
		})
	}
}
