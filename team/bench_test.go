package team

import (
	"fmt"
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

// BenchmarkLine: 1,000 links ≤ 50 ms, 100,000 ≤ 5 s and ≤ 256 MiB.
func BenchmarkLine(b *testing.B) {
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
		})
	}
}

// BenchmarkFork: n links on one head, merged when the state is asked for.
func BenchmarkFork(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		for _, kind := range []string{"names", "cuts"} {
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
			})
		}
	}
}

// BenchmarkDiamonds: 1,000 links with 14 merges ≤ 100 ms.
func BenchmarkDiamonds(b *testing.B) {
	w := newWorld(b, "a")
	w.chain = nil
	tip := []string{"G"}
	for i := 0; len(w.all) < 1000; i++ {
		left, right := fmt.Sprint("l", i), fmt.Sprint("r", i)
		if i%36 == 0 {
			w.bare(left, by("a", rename(NameTeam, nil, left)), tip...)
			for j := range 17 {
				next := fmt.Sprint(left, ".", j)
				w.bare(next, by("a", rename(NameTeam, nil, next)), left)
				left = next
			}
			w.bare(right, by("a", add(fmt.Sprint("p", i), RoleAdmin)), tip...)
			for j := range 17 {
				next := fmt.Sprint(right, ".", j)
				w.bare(next, by("a", rename(NameTeam, nil, next)), right)
				right = next
			}
			tip = []string{left, right}
			if string(w.named[left].ID[:]) > string(w.named[right].ID[:]) {
				tip = []string{right, left}
			}
			continue
		}
		w.bare(left, by("a", rename(NameTeam, nil, left)), tip...)
		tip = []string{left}
	}
	for b.Loop() {
		load(b, w.all)
	}
}

// BenchmarkRemove: removing one of 500 devices ≤ 150 ms (sealing not included).
func BenchmarkRemove(b *testing.B) {
	w := newWorld(b, "a")
	w.chain = nil
	prev := "G"
	for i := range 500 {
		w.bare(fmt.Sprint("m", i), by("a", add(fmt.Sprint("p", i), RoleMember)), prev)
		prev = fmt.Sprint("m", i)
	}
	all := w.all
	gone := w.bare("x", by("a", remove("p250")), prev)
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
		c.State()
	}
}
