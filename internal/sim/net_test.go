package sim

import (
	"time"

	"github.com/toftdb/toft/internal/replicate"
)

// line is what is between two devices: a link that may be cut, and the connection
// over it, which outlives short cuts.
type line struct {
	cut   bool
	alive bool   // connected, as both sides see it
	epoch uint64 // of the connection
}

func (w *world) line(a, b *device) *line {
	return w.lines[[2]int{min(a.n, b.n), max(a.n, b.n)}]
}

// The times of the network. idle is when a silent connection is given up.
const (
	latencyMin = 1 * time.Millisecond
	latencyMax = 80 * time.Millisecond
	idle       = 10 * time.Second
	dialPause  = time.Second
	dialMax    = 20 * time.Second
	dialTime   = 5 * time.Second
	roundTime  = 15 * time.Second
	resend     = 300 * time.Millisecond
)

func (w *world) cut(a, b *device) {
	if a == b || !w.faulty {
		return
	}
	l := w.line(a, b)
	if l.cut {
		return
	}
	l.cut = true
	w.log("cut %s-%s", a.name, b.name)
	epoch := l.epoch
	w.after(idle, func() {
		if l.cut && l.epoch == epoch {
			w.drop(a, b)
		}
	})
}

func (w *world) mend(a, b *device) {
	if a == b || !w.line(a, b).cut {
		return
	}
	w.line(a, b).cut = false
	w.log("mend %s-%s", a.name, b.name)
}

// resets breaks a connection; the devices will dial again.
func (w *world) resets(a, b *device) {
	if a != b && w.faulty {
		w.drop(a, b)
	}
}

// drop ends a connection on both sides.
func (w *world) drop(a, b *device) {
	l := w.line(a, b)
	if !l.alive {
		return
	}
	l.alive = false
	l.epoch++
	w.log("drop %s-%s", a.name, b.name)
	for _, x := range [][2]*device{{a, b}, {b, a}} {
		if x[0].rep != nil {
			x[0].broke(x[1])
			x[0].plan(replicate.Disconnected{Peer: x[1].id})
		}
	}
}

// dialLoop tries every member that is not connected, with growing pauses.
func (d *device) dialLoop(life int, pause time.Duration) {
	if d.life != life {
		return
	}
	var tried time.Duration
	for _, o := range d.w.devices {
		if o == d || d.w.line(d, o).alive || o.rep == nil {
			continue
		}
		l := d.w.line(d, o)
		if l.cut {
			tried = dialTime // all are dialled at once, and the slowest is waited for
			continue
		}
		l.alive = true
		l.epoch++
		d.w.log("connect %s-%s", d.name, o.name)
		d.met(o)
		o.met(d)
	}
	d.w.after(tried+d.w.between(pause/2, pause), func() { d.dialLoop(life, min(pause*3/2, dialMax)) })
}

func (d *device) met(o *device) {
	d.plan(replicate.Connected{Peer: o.id})
	d.say(nil)
}

// stream carries bytes in order over one connection: they come late while the link
// is cut, and never when the connection has ended.
func (w *world) stream(from, to *device, arrive func()) {
	l := w.line(from, to)
	epoch, life := l.epoch, to.life
	var try func()
	try = func() {
		switch {
		case !l.alive || l.epoch != epoch || to.life != life:
		case l.cut:
			w.after(resend, try)
		default:
			arrive()
		}
	}
	if l.alive {
		w.after(w.between(latencyMin, latencyMax), try)
	}
}

// call is a question on a stream and its answer; done is called exactly once, with
// false if none came in time.
func (d *device) call(to *device, limit time.Duration, serve func() []byte, done func([]byte, bool)) {
	life, over := d.life, false
	end := func(b []byte, ok bool) {
		if !over && d.life == life {
			over = true
			done(b, ok)
		}
	}
	d.w.stream(d, to, func() {
		if data := serve(); data != nil {
			d.w.stream(to, d, func() { end(data, true) })
		}
	})
	d.w.after(limit, func() { end(nil, false) })
}
