package sim

import (
	"container/heap"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/toftdb/toft/block"
)

// epoch is when every world begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// event is something that will happen. Events of one moment happen in the order in
// which they were planned.
type event struct {
	at time.Duration
	n  uint64
	do func()
}

type queue []event

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at < q[j].at || q[i].at == q[j].at && q[i].n < q[j].n }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	old := *q
	x := old[len(old)-1]
	old[len(old)-1].do = nil
	*q = old[:len(old)-1]
	return x
}

// options say what may happen in a world.
type options struct {
	devices  int
	writes   int           // by all together
	during   time.Duration // while faults happen
	drops    float64       // of announcements
	cuts     bool          // links
	crashes  bool
	rollback bool // a disk comes back from a backup, in place
	cutOff   bool // a member loses the right to write while it writes
	noGossip bool
	lie      lie // what the last device does; honest if zero
}

// world is one run.
type world struct {
	o       options
	rng     *rand.Rand
	now     time.Duration
	queue   queue
	planned uint64
	tmpl    *template
	devices []*device
	lines   map[[2]int]*line
	faulty  bool // faults may happen
	acked   []ack
	out     io.Writer // transcript; nil: none
	failed  error     // the first invariant that was broken
	events  int
	took    time.Duration // from the last fault until all were equal
}

// ack is a write that a device was told is durable.
type ack struct {
	by     *device
	commit block.ID
	doc    string
}

func newWorld(seed uint64, o options, out io.Writer) *world {
	w := &world{o: o, rng: rand.New(rand.NewPCG(seed, 7)), tmpl: templateOf(o.devices), lines: map[[2]int]*line{}, out: out}
	for i := range o.devices {
		w.devices = append(w.devices, newDevice(w, i))
	}
	if o.lie != honest {
		w.devices[o.devices-1].lie = o.lie
	}
	for i := range w.devices {
		for j := range i {
			w.lines[[2]int{j, i}] = &line{}
		}
	}
	return w
}

// after plans an event.
func (w *world) after(d time.Duration, do func()) {
	w.planned++
	heap.Push(&w.queue, event{w.now + d, w.planned, do})
}

// log adds a line to the transcript.
func (w *world) log(format string, args ...any) {
	if w.out != nil {
		fmt.Fprintf(w.out, "%9.3f ", w.now.Seconds())
		fmt.Fprintf(w.out, format+"\n", args...)
	}
}

// broken notes the first broken invariant; the world then stops.
func (w *world) broken(format string, args ...any) {
	if w.failed == nil {
		w.failed = fmt.Errorf("%.3f s: "+format, append([]any{w.now.Seconds()}, args...)...)
		w.log("BROKEN %v", w.failed)
	}
}

// clock is the simulated time as the rooms see it.
func (w *world) clock() time.Time { return epoch.Add(w.now) }

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

// between draws a duration.
func (w *world) between(from, to time.Duration) time.Duration {
	return from + time.Duration(w.rng.Int64N(int64(to-from)+1))
}

// maxEvents stops a world in which something runs in circles.
const maxEvents = 300_000

// run lets events happen until a moment, or until done says so.
func (w *world) run(until time.Duration, done func() bool) {
	for w.failed == nil && len(w.queue) > 0 && w.queue[0].at <= until {
		if done != nil && done() {
			return
		}
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
		if w.events++; w.events > maxEvents {
			w.broken("%d events, and no end", w.events)
		}
	}
	if done == nil {
		w.now = until
	}
}

// honest devices are held to the invariants.
func (w *world) honest() []*device {
	if w.o.lie == honest {
		return w.devices
	}
	return w.devices[:len(w.devices)-1]
}

// healTime is how long after the last fault all must be equal.
const healTime = 30 * time.Second

// live runs the whole life of a world and returns the invariant that broke, if one did.
func (w *world) live() error {
	for _, d := range w.devices {
		d.start()
	}
	w.faulty = true
	for range w.o.writes {
		w.after(w.between(0, w.o.during), func() { w.devices[w.rng.IntN(len(w.devices))].write() })
	}
	w.planFaults()
	w.run(w.o.during, nil)
	w.heal()
	healed := w.now
	w.run(healed+healTime, func() bool { return w.differs() == "" })
	if why := w.differs(); why != "" {
		w.broken("not equal %s after the last fault: %s", healTime, why)
	}
	w.took = w.now - healed
	w.log("equal %.3f s after the last fault, %d events", w.took.Seconds(), w.events)
	w.check()
	return w.failed
}

// planFaults draws what will go wrong, and when.
func (w *world) planFaults() {
	each := func(n int, do func(d *device)) {
		for range n {
			w.after(w.between(0, w.o.during), func() { do(w.devices[w.rng.IntN(len(w.devices))]) })
		}
	}
	if w.o.cuts {
		each(4, func(d *device) { w.cut(d, w.devices[w.rng.IntN(len(w.devices))]) })
		each(3, func(d *device) { w.mend(d, w.devices[w.rng.IntN(len(w.devices))]) })
		each(3, func(d *device) { w.resets(d, w.devices[w.rng.IntN(len(w.devices))]) })
	}
	if w.o.crashes {
		each(4, func(d *device) { d.crash() })
		each(3, func(d *device) { d.start() })
	}
	if w.o.rollback {
		d := w.honest()[w.rng.IntN(len(w.honest()))]
		w.after(w.between(0, w.o.during/3), d.backup)
		w.after(w.between(w.o.during/2, w.o.during), d.restore)
		for range 4 { // what it writes after the backup, and writes again
			w.after(w.between(w.o.during/3, w.o.during/2), d.write)
			w.after(w.o.during-w.between(0, w.o.during/4), d.write)
		}
	}
	if w.o.cutOff {
		victim := w.devices[1+w.rng.IntN(len(w.devices)-1)]
		w.after(w.between(0, w.o.during), func() { w.devices[0].demote(victim) })
	}
}

// heal ends all faults: links are mended, devices run, nothing is lost any more.
func (w *world) heal() {
	w.log("heal")
	w.faulty = false
	for i, a := range w.devices {
		for _, b := range w.devices[:i] {
			w.mend(a, b)
		}
	}
	for _, d := range w.devices {
		d.start()
	}
}

// differs says how honest devices differ, "" if they hold the same.
func (w *world) differs() string {
	all := w.honest()
	first := all[0]
	if first.rep == nil {
		return first.name + " is down"
	}
	for _, d := range all[1:] {
		switch a, b := first.heads(), d.heads(); {
		case d.rep == nil:
			return d.name + " is down"
		case !equalIDs(first.chain.Heads(), d.chain.Heads()):
			return fmt.Sprintf("chains of %s and %s", first.name, d.name)
		case !equalIDs(a.Heads, b.Heads):
			return fmt.Sprintf("heads of %s (%d commits, %d heads) and %s (%d commits, %d heads)", first.name, first.rep.Len(), len(a.Heads), d.name, d.rep.Len(), len(b.Heads))
		case a.Void != b.Void:
			return fmt.Sprintf("void commits of %s and %s", first.name, d.name)
		case a.Digest != b.Digest:
			w.broken("divergence: %s and %s have the same heads and another digest", first.name, d.name)
		}
	}
	return ""
}

// check holds the end of a world against what was promised.
func (w *world) check() {
	for _, d := range w.honest() {
		for _, a := range w.acked {
			if a.by.lie != honest || a.by.rolledBack {
				continue
			}
			if !d.rep.Has(a.commit) {
				w.broken("%s was told that %s is durable, and %s has no commit %s", a.by.name, a.doc, d.name, a.commit)
				return
			}
			if _, _, err := d.rep.Get(a.doc); err != nil && !a.by.cutOff {
				w.broken("%s was told that %s is durable, and %s says %v", a.by.name, a.doc, d.name, err)
				return
			}
		}
	}
}

func equalIDs(a, b []block.ID) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
