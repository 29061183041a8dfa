package sim

import (
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/replicate"
)

// The times of announcing, as in peering.
const (
	maxInlinePeers = 4
	againTime      = time.Second
	maxAgain       = 8 * time.Second
	answerTime     = 1500 * time.Millisecond
	echoTime       = 250 * time.Millisecond
)

// herald announces: what peering's announcer keeps.
type herald struct {
	commits [][]byte
	ringing bool
	pause   time.Duration
	again   int // the timer that counts
	echo    int
	spoke   time.Duration
	counter uint64
	tips    map[block.Device][32]byte
	links   map[block.Device][32]byte
	counted map[block.Device]uint64
}

// say announces where the device stands, with a commit of its own if there is one.
func (d *device) say(own []byte) {
	if d.rep == nil || d.lie != honest {
		return
	}
	if d.w.o.noGossip {
		d.later(time.Millisecond, func() { d.plan(replicate.News{}) }) // nobody is on the topic
		return
	}
	if own != nil {
		d.commits = append(d.commits, own)
	}
	d.pause = againTime
	if d.ringing {
		return
	}
	d.ringing = true
	d.later(time.Millisecond, func() {
		d.ringing = false
		d.publish()
	})
}

// later is a timer that a crash stops.
func (d *device) later(after time.Duration, do func()) {
	life := d.life
	d.w.after(after, func() {
		if d.life == life {
			do()
		}
	})
}

func (d *device) neighbours() (out []*device) {
	for _, o := range d.w.devices {
		if o != d && d.w.line(d, o).alive {
			out = append(out, o)
		}
	}
	return out
}

// publish sends what gathered to everybody on the topic, and again later until all
// of a small team have said that they hold the same.
func (d *device) publish() {
	to := d.neighbours()
	d.counter++
	d.spoke = d.w.now
	said := message.Announcement{Device: d.id, Counter: d.counter, Time: 1, DBs: []message.DBHeads{d.heads()}, Chain: d.chain.Heads()}
	if len(to) <= maxInlinePeers {
		said.Commits = d.commits
	}
	d.commits = nil
	for _, o := range to {
		for n := 1; n > 0; n-- {
			switch {
			case d.w.faulty && d.w.chance(d.w.o.drops):
				continue
			case d.w.faulty && d.w.chance(d.w.o.drops/4):
				n++ // twice
			}
			d.tell(o, said)
		}
	}
	d.again++
	if this := d.again; d.pause <= maxAgain {
		d.later(d.pause, func() {
			if d.again != this || d.allAgree() {
				return
			}
			d.pause *= 2
			d.publish()
		})
	}
}

// tell hands an announcement to one device, now or late, if the link is up then.
func (d *device) tell(o *device, said message.Announcement) {
	l, life := d.w.line(d, o), o.life
	d.w.after(d.w.between(latencyMin, 4*latencyMax), func() {
		if l.alive && !l.cut && o.life == life && o.rep != nil {
			o.hear(d, said)
		}
	})
}

func (d *device) allAgree() bool {
	to := d.neighbours()
	if len(to) > maxInlinePeers {
		return true
	}
	mine, links := tip(d.heads()), message.Summary(d.chain.Heads(), nil)
	for _, o := range to {
		if d.tips[o.id] != mine || d.links[o.id] != links {
			return false
		}
	}
	return true
}

func tip(h message.DBHeads) [32]byte { return message.Summary(nil, []message.DBHeads{h}) }

func (d *device) chained(who block.Device, heads []block.ID) {
	d.links[who] = message.Summary(heads, nil)
}

func (d *device) stands(who block.Device, h message.DBHeads) { d.tips[who] = tip(h) }

// hear applies an announcement.
func (d *device) hear(from *device, said message.Announcement) {
	d.commit(said.Commits, nil, func(applied int, _ []block.ID) {
		if said.Counter > d.counted[said.Device] {
			d.counted[said.Device] = said.Counter
			d.chained(said.Device, said.Chain)
			for _, db := range said.DBs {
				d.stands(said.Device, db)
			}
		}
		if !replicate.Holds(view{d}, said) {
			d.plan(replicate.Announced{Peer: from.id})
		}
		if (applied > 0 || d.w.now-d.spoke > answerTime) && len(d.neighbours()) <= maxInlinePeers {
			d.echo++
			this := d.echo
			d.later(echoTime, func() {
				if d.echo == this {
					d.say(nil)
				}
			})
		}
	})
}
