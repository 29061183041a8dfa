package replicate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/toftdb/toft/block"
	"pgregory.net/rapid"
)

// world is a team around one planner: members make news, answer pulls late,
// fail, stall and come and go. Everything is drawn from one seed.
type world struct {
	t       *rapid.T
	p       *Planner
	rand    func() uint64
	now     time.Time
	max     int
	members []*member
	trace   strings.Builder
}

type member struct {
	id        block.Device
	connected bool
	lossy     bool // its announcements get lost
	mute      bool // accepts pulls and says nothing
	steady    bool // no pull from it fails
	news      int  // how much it has made
	taken     int  // how much of it we hold
	sinceNews time.Time

	pulling bool
	ends    time.Time
	outcome Outcome
	leaves  bool // told to leave, reports at the next step
}

func newWorld(t *rapid.T, seed uint64, members, limit int) *world {
	w := &world{t: t, rand: seeded(seed), now: start, max: limit}
	w.p = New(Options{Rand: seeded(seed + 1), Max: limit})
	for i := range members {
		w.members = append(w.members, &member{id: block.Device{byte('B' + i)}, lossy: w.chance(4), mute: w.chance(5)})
	}
	return w
}

func (w *world) chance(oneIn uint64) bool { return w.rand()%oneIn == 0 }

func (w *world) member(id block.Device) *member {
	i := slices.IndexFunc(w.members, func(m *member) bool { return m.id == id })
	return w.members[i]
}

// step hands one event to the planner and carries out what it says.
func (w *world) step(e Event) {
	for _, a := range w.p.Step(w.now, e) {
		fmt.Fprintf(&w.trace, "%d %T %+v\n", w.now.UnixMilli(), a, a)
		switch a := a.(type) {
		case Pull:
			m := w.member(a.Peer)
			if m.pulling {
				w.t.Fatalf("two pulls in flight to %s", letter(m.id))
			}
			if !m.connected {
				w.t.Fatalf("pull from %s, which is not connected", letter(m.id))
			}
			m.pulling = true
			m.ends = w.now.Add(time.Duration(1+w.rand()%2000) * time.Millisecond)
			m.outcome = Equal
			if m.news > m.taken {
				m.outcome = Progressed
			}
			if w.chance(6) && !m.steady {
				m.outcome = Failed
			}
			if m.mute {
				m.ends, m.outcome = w.now.Add(24*time.Hour), Stalled
			}
		case Leave:
			m := w.member(a.Peer)
			if !m.pulling || m.leaves {
				w.t.Fatalf("told to leave %s, which is not asked", letter(m.id))
			}
			if !m.mute {
				w.t.Fatalf("told to leave %s after less than a stall", letter(m.id))
			}
			m.leaves, m.ends, m.outcome = true, w.now, Stalled
		}
	}
	if n := w.inFlight(); n > w.max || n != w.p.InFlight() {
		w.t.Fatalf("%d pulls in flight, planner says %d, at most %d", n, w.p.InFlight(), w.max)
	}
}

func (w *world) inFlight() (n int) {
	for _, m := range w.members {
		if m.pulling {
			n++
		}
	}
	return n
}

// advance moves to the next moment at which something is due, at most d ahead.
func (w *world) advance(d time.Duration) {
	end := w.now.Add(d)
	for {
		next := end
		if at, ok := w.p.Wake(); ok && at.Before(next) {
			next = at
		}
		for _, m := range w.members {
			if m.pulling && m.ends.Before(next) {
				next = m.ends
			}
		}
		if next.After(w.now) {
			w.now = next
		}
		w.finish()
		w.step(Tick{})
		if !w.now.Before(end) {
			return
		}
	}
}

func (w *world) finish() {
	for _, m := range w.members {
		if m.pulling && !w.now.Before(m.ends) {
			m.pulling, m.leaves = false, false
			if m.outcome == Progressed || m.outcome == Equal {
				m.taken = m.news
			}
			w.step(PullDone{m.id, m.outcome})
		}
	}
}

// happen lets one random thing happen.
func (w *world) happen() {
	m := w.members[w.rand()%uint64(len(w.members))]
	switch w.rand() % 6 {
	case 0:
		m.connected = true
		w.step(Connected{m.id})
	case 1:
		m.connected = false
		w.step(Disconnected{m.id})
	case 2, 3:
		if m.news == m.taken {
			m.sinceNews = w.now
		}
		m.news++
		if m.connected && !m.lossy {
			w.step(Announced{m.id})
		}
	case 4:
		w.step(Progress{m.id})
	case 5:
		w.advance(time.Duration(w.rand()%10_000) * time.Millisecond)
	}
}

func (w *world) run(steps int) {
	for range steps {
		w.happen()
	}
}

// The laws: never two pulls to one peer, never more than Max, no pull from who is
// not there, nobody left who delivers (all checked in step); and once the network
// holds still, every connected member that is ahead has been pulled within
// hours, although announcements get lost, pulls fail and mute members stall.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		w := newWorld(t, seed, rapid.IntRange(1, 12).Draw(t, "members"), rapid.IntRange(1, 5).Draw(t, "max"))
		w.run(rapid.IntRange(1, 120).Draw(t, "steps"))
		w.advance(4 * time.Hour)
		for _, m := range w.members {
			if m.connected && !m.mute && m.news > m.taken {
				t.Fatalf("%s is ahead by %d since %s and was not pulled\n%s", letter(m.id), m.news-m.taken, w.now.Sub(m.sinceNews), w.trace.String())
			}
		}
	})
}

// An announced commit must not wait behind members that stall: with everybody
// else mute, it is pulled as soon as stalled pulls are left.
func TestStalledPeersDoNotBlock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 4).Draw(t, "max")
		w := newWorld(t, rapid.Uint64().Draw(t, "seed"), limit+1, limit)
		for _, m := range w.members {
			m.mute = true
			m.connected = true
			w.step(Connected{m.id})
		}
		honest := w.members[len(w.members)-1]
		honest.mute, honest.steady = false, true
		honest.news++
		w.step(Announced{honest.id})
		w.advance(30 * time.Second)
		if honest.taken == 0 {
			t.Fatalf("30 s behind %d mute members\n%s", limit, w.trace.String())
		}
	})
}

func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		run := func() string {
			w := newWorld(t, seed, 8, 3)
			w.run(80)
			return w.trace.String()
		}
		if a, b := run(), run(); a != b {
			t.Fatalf("one seed, two runs:\n%s\n----\n%s", a, b)
		}
	})
}

// Forgetting must be complete: a planner that met thousands keeps nothing of them.
func TestForgets(t *testing.T) {
	p := New(Options{Rand: seeded(1)})
	for i := range 5000 {
		id := block.Device{byte(i), byte(i >> 8), 1}
		p.Step(start, Connected{id})
		p.Step(start, PullDone{id, Failed})
		p.Step(start, Disconnected{id})
	}
	if n := len(p.Peers()) + len(p.tried); n > 1 {
		t.Fatalf("remembers %d of those who left", n)
	}
}
