package replicate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/toftdb/toft/block"
)

// A story is a list of moments: time, event, expected actions. Peers are letters.
//
//	0s     connected B      -> pull B connected
type moment struct{ at, event, want string }

func named(letter string) block.Device { return block.Device{letter[0]} }

func letter(d block.Device) string { return string(rune(d[0])) }

func event(t *testing.T, s string) Event {
	t.Helper()
	words := strings.Fields(s + " ? ?")
	peer := named(words[1])
	switch words[0] {
	case "connected":
		return Connected{peer}
	case "disconnected":
		return Disconnected{peer}
	case "announced":
		return Announced{peer}
	case "progress":
		return Progress{peer}
	case "tick":
		return Tick{}
	case "done":
		return PullDone{peer, map[string]Outcome{"equal": Equal, "progressed": Progressed, "failed": Failed, "stalled": Stalled, "moot": Moot}[words[2]]}
	}
	t.Fatalf("no event %q", s)
	return nil
}

func told(actions []Action) string {
	var out []string
	for _, a := range actions {
		switch a := a.(type) {
		case Pull:
			out = append(out, fmt.Sprintf("pull %s %s", letter(a.Peer), a.Why))
		case Leave:
			out = append(out, "leave "+letter(a.Peer))
		}
	}
	return strings.Join(out, ", ")
}

var start = time.UnixMilli(1_700_000_000_000)

func seeded(seed uint64) func() uint64 { return rand.New(rand.NewPCG(seed, 0)).Uint64 }

func tell(t *testing.T, o Options, story []moment) *Planner {
	t.Helper()
	if o.Rand == nil {
		o.Rand = seeded(1)
	}
	p := New(o)
	for i, m := range story {
		at, err := time.ParseDuration(m.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := told(p.Step(start.Add(at), event(t, m.event))); got != m.want {
			t.Fatalf("%d: %s %s\n got %q\nwant %q", i, m.at, m.event, got, m.want)
		}
	}
	return p
}

func TestStories(t *testing.T) {
	for name, s := range map[string]struct {
		o     Options
		story []moment
	}{
		"a member that connects is asked once": {Options{}, []moment{
			{"0s", "connected B", "pull B connected"},
			{"0s", "connected B", ""},
			{"1s", "done B equal", "pull B connected"},
			{"2s", "done B equal", ""},
		}},
		"news during a pull lead to one more": {Options{}, []moment{
			{"0s", "connected B", "pull B connected"},
			{"10ms", "announced B", ""},
			{"20ms", "announced B", ""},
			{"30ms", "done B progressed", "pull B announced"},
			{"40ms", "done B progressed", ""},
		}},
		"a stranger's news are nobody's": {Options{}, []moment{
			{"0s", "announced B", ""},
			{"0s", "progress B", ""},
			{"0s", "done B equal", ""},
			{"0s", "disconnected B", ""},
		}},
		"no more than Max, who waits longest first": {Options{Max: 2, Beside: -1}, []moment{
			{"0ms", "connected E", "pull E connected"},
			{"1ms", "connected D", "pull D connected"},
			{"2ms", "connected C", ""},
			{"3ms", "connected B", ""},
			{"4ms", "done E equal", "pull C connected"},
			{"5ms", "announced E", ""},
			{"6ms", "done D equal", "pull B connected"},
			{"7ms", "done B equal", "pull E announced"},
		}},
		"a peer that stalls is left and the next one asked": {Options{Beside: -1}, []moment{
			{"0s", "connected B", "pull B connected"},
			{"0s", "connected C", "pull C connected"},
			{"0s", "done C equal", ""},
			{"3s", "progress B", ""},
			{"4s", "tick", ""},
			{"7s", "tick", "leave B"},
			{"7500ms", "tick", ""},
			{"7500ms", "done B stalled", "pull C instead"},
			{"7600ms", "done C progressed", ""},
			{"8600ms", "tick", "pull B retry"},
		}},
		"each other member is asked once instead": {Options{Beside: -1}, []moment{
			{"0s", "connected B", "pull B connected"},
			{"0s", "connected C", "pull C connected"},
			{"0s", "connected D", "pull D connected"},
			{"0s", "done C equal", ""},
			{"0s", "done D equal", ""},
			{"0s", "done B failed", "pull C instead"},
			{"0s", "done C equal", "pull D instead"},
			{"0s", "done D equal", ""},
		}},
		"one at a time, but nobody waits long for who is slow": {Options{Max: 2}, []moment{
			{"0s", "connected B", "pull B connected"},
			{"1ms", "connected C", ""},
			{"2ms", "connected D", ""},
			{"50ms", "done B progressed", "pull C connected"},
			{"249ms", "tick", ""},
			{"250ms", "tick", "pull D connected"},
			{"500ms", "announced B", ""},
			{"600ms", "done D equal", "pull B announced"},
		}},
		"what came from another way costs its announcer nothing": {Options{}, []moment{
			{"0s", "connected B", "pull B connected"},
			{"0s", "done B equal", ""},
			{"1s", "announced B", "pull B announced"},
			{"1s", "done B moot", ""},
			{"1s", "announced B", "pull B announced"},
			{"1s", "done B moot", ""},
			{"1s", "announced B", "pull B announced"},
			{"1s", "done B moot", ""},
			{"1s", "announced B", "pull B announced"},
			{"1s", "done B moot", ""},
			{"1s", "announced B", "pull B announced"},
		}},
		"who leaves during a pull is forgotten after it": {Options{Max: 1}, []moment{
			{"0s", "connected B", "pull B connected"},
			{"0s", "disconnected B", ""},
			{"0s", "connected C", ""},
			{"0s", "done B failed", "pull C connected"},
		}},
		"who comes back during a pull is asked after it": {Options{}, []moment{
			{"0s", "connected B", "pull B connected"},
			{"0s", "disconnected B", ""},
			{"0s", "connected B", ""},
			{"0s", "done B equal", "pull B connected"},
		}},
	} {
		t.Run(name, func(t *testing.T) { tell(t, s.o, s.story) })
	}
}

func TestBackoffGrowsAndEnds(t *testing.T) {
	p := tell(t, Options{}, []moment{{"0s", "connected B", "pull B connected"}})
	now, last := start, time.Duration(0)
	for i := range 12 {
		if got := told(p.Step(now, PullDone{named("B"), Failed})); got != "" {
			t.Fatalf("failure %d: at once %q", i, got)
		}
		at, ok := p.Wake()
		if !ok {
			t.Fatalf("failure %d: never asked again", i)
		}
		for !strings.Contains(told(p.Step(at, Tick{})), "pull B") {
			if at, ok = p.Wake(); !ok || at.Sub(now) > 2*time.Minute {
				t.Fatalf("failure %d: not asked within two minutes", i)
			}
		}
		wait := at.Sub(now)
		if i > 0 && i < 5 && wait < last {
			t.Errorf("failure %d waits %s, the one before %s", i, wait, last)
		}
		if wait > 72*time.Second {
			t.Errorf("failure %d waits %s, more than a minute and a fifth", i, wait)
		}
		now, last = at, wait
	}
	p.Step(now, PullDone{named("B"), Progressed})
	if w := p.Peers()[0]; w.Failures != 0 || !w.Next.IsZero() {
		t.Errorf("after success: %+v", w)
	}
}

// Who announces a thousand times and has nothing is slowed down, and still asked.
func TestEmptyAnnouncementsSlowDown(t *testing.T) {
	p := tell(t, Options{}, []moment{{"0s", "connected B", "pull B connected"}, {"0s", "done B equal", ""}})
	now, pulls := start, 0
	for range 1000 {
		now = now.Add(10 * time.Millisecond)
		if strings.Contains(told(p.Step(now, Announced{named("B")})), "pull B") {
			pulls++
			p.Step(now, PullDone{named("B"), Equal})
		}
	}
	if pulls < 5 || pulls > 20 {
		t.Fatalf("%d pulls for 1,000 empty announcements in 10 s", pulls)
	}
}

func TestRandomRound(t *testing.T) {
	p := New(Options{Rand: seeded(3)})
	peers := []string{"B", "C", "D", "E"}
	for _, s := range peers {
		p.Step(start, Connected{named(s)})
		p.Step(start, PullDone{named(s), Equal})
	}
	asked, now := map[string]int{}, start
	for range 200 {
		at, ok := p.Wake()
		if !ok || at.Sub(now) < 24*time.Second || at.Sub(now) > 36*time.Second {
			t.Fatalf("next round in %s, want 30 s ± 20 %%", at.Sub(now))
		}
		now = at
		for _, a := range p.Step(now, Tick{}) {
			asked[letter(a.(Pull).Peer)]++
			p.Step(now, PullDone{a.(Pull).Peer, Equal})
		}
	}
	for _, s := range peers {
		if asked[s] < 25 {
			t.Errorf("%s was asked %d times of 200", s, asked[s])
		}
	}
	for _, s := range peers {
		p.Step(now, Disconnected{named(s)})
	}
	if at, ok := p.Wake(); ok {
		t.Errorf("alone, and yet a round is due at %s", at)
	}
}

// News that announcements do not spread: within seconds members are asked one after
// another, each once before any twice, and then it is quiet again.
func TestNewsAreSpread(t *testing.T) {
	p := New(Options{Rand: seeded(3)})
	now := start
	for _, l := range []string{"B", "C", "D", "E"} {
		p.Step(now, Connected{named(l)})
		p.Step(now, PullDone{named(l), Equal})
	}
	p.Step(now, News{})
	var asked []string
	for {
		at, ok := p.Wake()
		if !ok || at.After(start.Add(time.Minute)) {
			break
		}
		now = at
		for _, a := range p.Step(now, Tick{}) {
			pull := a.(Pull)
			if len(asked) < 8 && now.Sub(start) > time.Duration(len(asked)+1)*2400*time.Millisecond {
				t.Errorf("asked for the %d. time after %s", len(asked)+1, now.Sub(start))
			}
			asked = append(asked, letter(pull.Peer))
			p.Step(now, PullDone{pull.Peer, Equal})
		}
	}
	first := slices.Clone(asked[:4])
	slices.Sort(first)
	if len(asked) < newsRounds || len(asked) > newsRounds+3 || strings.Join(first, "") != "BCDE" {
		t.Errorf("asked %v", asked)
	}
}
