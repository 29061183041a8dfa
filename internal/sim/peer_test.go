package sim

import (
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/replicate"
)

// view is what replicate sees of a device.
type view struct{ d *device }

func (v view) Heads() []block.ID                 { return v.d.chain.Heads() }
func (v view) Since(heads []block.ID) []block.ID { return v.d.chain.Since(heads) }
func (v view) Provisional() bool                 { return false }
func (v view) Has(id block.ID) bool              { return v.d.chain.Has(id) }
func (v view) Stored(id block.ID) ([]byte, error) {
	return v.d.disk.blocks[id], nil
}
func (v view) Summary() [32]byte {
	return message.Summary(v.Heads(), []message.DBHeads{v.d.heads()})
}
func (v view) Replicas() []replicate.Replica { return []replicate.Replica{replica(v)} }
func (v view) Replica(id block.DBID) (replicate.Replica, bool) {
	return replica(v), id == v.d.w.tmpl.db
}

type replica struct{ d *device }

func (r replica) Has(id block.ID) bool      { return r.d.rep.Has(id) }
func (r replica) Standing() message.DBHeads { return r.d.heads() }
func (r replica) Since(frontier []byte) ([]byte, []block.ID, error) {
	f, err := crdt.ParseFrontier(frontier)
	if err != nil {
		return nil, nil, err
	}
	return r.d.rep.Frontier().Encode(), r.d.rep.Since(f), nil
}
func (r replica) Covers(frontier []byte) bool {
	f, err := crdt.ParseFrontier(frontier)
	return err != nil || r.d.rep.Covers(f)
}

func (r replica) Below(block.ID) bool              { return false }
func (r replica) Weight() replicate.Weight         { return replicate.Weight{} }
func (r replica) Ground() (replicate.Ground, bool) { return replicate.Ground{}, false }
func (r replica) Rows(block.ID, uint64) []byte     { return nil }

// plan hands an event to the planner and carries out what it says.
func (d *device) plan(e replicate.Event) {
	if d.rep == nil {
		return
	}
	for _, a := range d.planner.Step(d.w.clock(), e) {
		switch a := a.(type) {
		case replicate.Pull:
			d.pull(d.byID(a.Peer), a.Why)
		case replicate.Leave:
			if p := d.pulls[a.Peer]; p != nil {
				p.next(0, func() { p.end(replicate.Stalled) })
			}
		}
	}
	if n := d.planner.InFlight(); n > 4 || n != len(d.pulls) {
		d.w.broken("%s: %d pulls in flight, the planner says %d", d.name, len(d.pulls), n)
	}
	if n := len(d.planner.Peers()); n >= len(d.w.devices)+1 {
		d.w.broken("%s remembers %d peers", d.name, n)
	}
	at, ok := d.planner.Wake()
	if !ok || !d.wake.IsZero() && !at.Before(d.wake) {
		return
	}
	d.wake = at
	life := d.life
	d.w.after(max(at.Sub(d.w.clock()), time.Millisecond), func() {
		if d.life == life && d.wake.Equal(at) {
			d.wake = time.Time{}
			d.plan(replicate.Tick{})
		}
	})
}

func (d *device) byID(id block.Device) *device {
	for _, o := range d.w.devices {
		if o.id == id {
			return o
		}
	}
	return nil
}

// pull is one conversation, step for step as in peering.
type pull struct {
	d, from    *device
	over       bool
	progressed bool
	rounds     int
}

func (d *device) pull(from *device, why replicate.Reason) {
	p := &pull{d: d, from: from}
	d.pulls[from.id] = p
	d.w.log("%s pulls %s: %s", d.name, from.name, why)
	// The planner must have returned before a pull can end.
	p.next(0, func() {
		p.ask(message.TeamRequest{Team: d.w.tmpl.team, Summary: view{d}.Summary()}, func(t message.TeamResponse) {
			if t.Equal {
				d.stands(from.id, d.heads())
				d.chained(from.id, d.chain.Heads())
				p.end(replicate.Equal)
				return
			}
			p.round()
		})
	})
}

// next goes on with the pull after a moment, unless it is over.
func (p *pull) next(after time.Duration, do func()) {
	life := p.d.life
	p.d.w.after(after, func() {
		if p.d.life == life && !p.over {
			do()
		}
	})
}

func (p *pull) end(o replicate.Outcome) {
	if p.over {
		return
	}
	p.over = true
	delete(p.d.pulls, p.from.id)
	p.d.w.log("%s pulled %s: outcome %d", p.d.name, p.from.name, o)
	if p.progressed {
		p.d.say(nil)
	}
	p.d.plan(replicate.PullDone{Peer: p.from.id, Outcome: o})
}

// broke ends the pull from a peer whose connection is gone.
func (d *device) broke(o *device) {
	if p := d.pulls[o.id]; p != nil {
		p.next(0, func() { p.end(replicate.Failed) })
	}
}

// ask sends one request and hands on the team's answer.
func (p *pull) ask(q message.TeamRequest, then func(message.TeamResponse)) {
	data := must(message.Request{Teams: []message.TeamRequest{q}}.Encode())
	p.d.call(p.from, roundTime, func() []byte { return p.from.serve(p.d, data) }, func(data []byte, ok bool) {
		if p.over {
			return
		}
		r, err := message.ParseResponse(data)
		if !ok || err != nil {
			p.end(replicate.Failed)
			return
		}
		if len(r.Teams) != 1 {
			p.end(p.outcome())
			return
		}
		then(r.Teams[0])
	})
}

func (p *pull) outcome() replicate.Outcome {
	if p.progressed {
		return replicate.Progressed
	}
	return replicate.Equal
}

// serve answers a question, or lies.
func (d *device) serve(asker *device, data []byte) []byte {
	req, err := message.ParseRequest(data)
	if err != nil || d.rep == nil || d.lie == silence {
		return nil
	}
	q, left := req.Teams[0], replicate.NewRoom()
	r, _ := replicate.Answer(view{d}, q, &left)
	switch {
	case d.lie != honest:
		r = d.twist(q, r)
	case r.Equal:
		d.stands(asker.id, d.heads())
		d.chained(asker.id, d.chain.Heads())
	case !replicate.Compares(q) && replicate.Behind(view{d}, q):
		d.plan(replicate.Announced{Peer: asker.id})
	}
	return must(message.Response{Teams: []message.TeamResponse{r}}.Encode())
}

// round asks for what is lacking until an answer brings nothing.
func (p *pull) round() {
	d := p.d
	if p.rounds++; p.rounds > 10_000 {
		p.end(replicate.Failed)
		return
	}
	q := message.TeamRequest{
		Team: d.w.tmpl.team, ChainHeads: d.chain.Heads(),
		DBs: []message.DBRequest{{DB: d.w.tmpl.db, Frontier: d.rep.Frontier().Encode()}},
	}
	p.ask(q, func(t message.TeamResponse) {
		d.receive(t.Links, func(links int) {
			taken := func(commits int) {
				if p.over {
					return
				}
				if links+commits == 0 {
					d.chained(p.from.id, t.ChainHeads)
					for _, db := range t.DBs {
						d.stands(p.from.id, db.DBHeads)
					}
					p.end(p.outcome())
					return
				}
				p.progressed = true
				d.plan(replicate.Progress{Peer: p.from.id})
				p.round()
			}
			if p.over {
				return
			}
			if len(t.DBs) == 0 || t.DBs[0].DB != d.w.tmpl.db {
				taken(0)
				return
			}
			p.take(replicate.NewIntake(t.DBs[0], d.rep.Has), 0, taken)
		})
	})
}

// take walks through an answer, window by window.
func (p *pull) take(in *replicate.Intake, applied int, then func(int)) {
	want, ok := in.Next()
	if p.over || !ok {
		then(applied)
		return
	}
	if len(in.Given()) > replicate.Window+message.MaxInlineCommits {
		p.d.w.broken("%s keeps %d blocks of one answer", p.d.name, len(in.Given()))
	}
	p.fetch(want, in, func() {
		window, err := in.Ready()
		if err != nil {
			p.end(replicate.Failed)
			return
		}
		var data [][]byte
		for _, id := range window {
			data = append(data, in.Given()[id])
		}
		finish := func(n int) {
			in.Done()
			if !p.over {
				p.d.plan(replicate.Progress{Peer: p.from.id})
				p.take(in, applied+n, then)
			}
		}
		p.d.commit(data, in.Given(), func(n int, needs []block.ID) {
			if p.over {
				return
			}
			if len(needs) == 0 {
				finish(n)
				return
			}
			p.fetch(in.Absent(needs), in, func() {
				p.d.commit(data, in.Given(), func(m int, _ []block.ID) { finish(n + m) })
			})
		})
	})
}

// watchdog is how long a fetch waits for one holder before it asks the next.
const watchdog = time.Second

// fetch gets blocks by name, from the peer that told of them and then from others.
func (p *pull) fetch(want []block.ID, in *replicate.Intake, then func()) {
	if len(want) == 0 {
		then()
		return
	}
	d := p.d
	from := []*device{p.from}
	for _, o := range d.w.devices {
		if o != d && o != p.from && d.w.line(d, o).alive {
			from = append(from, o)
		}
	}
	var try func(n int)
	try = func(n int) {
		if p.over {
			return
		}
		left := in.Absent(want)
		if len(left) == 0 {
			then()
			return
		}
		d.call(from[n%len(from)], watchdog, func() []byte { return from[n%len(from)].blocks(left) }, func(data []byte, ok bool) {
			for _, b := range unpack(data) {
				if id := block.Sum(b); in.Given()[id] == nil && contains(left, id) {
					in.Give(id, b)
				}
			}
			if len(in.Absent(want)) == 0 {
				if !p.over {
					then()
				}
				return
			}
			p.next(100*time.Millisecond, func() { try(n + 1) })
		})
	}
	try(0)
}

func contains(ids []block.ID, id block.ID) bool {
	for i := range ids {
		if ids[i] == id {
			return true
		}
	}
	return false
}

// blocks serves blocks by name: length, bytes; nil says nothing at all.
func (d *device) blocks(ids []block.ID) []byte {
	out := []byte{}
	for _, id := range ids {
		b, ok := d.disk.blocks[id]
		if d.rep == nil || d.lie == haveAndSilence || d.lie == silence {
			return nil
		}
		if !ok {
			continue
		}
		if d.lie == wrongBlocks {
			b = append([]byte{0}, b...)
		}
		out = append(append(out, byte(len(b)>>16), byte(len(b)>>8), byte(len(b))), b...)
	}
	return out
}

func unpack(data []byte) (out [][]byte) {
	for len(data) >= 3 {
		n := int(data[0])<<16 | int(data[1])<<8 | int(data[2])
		out, data = append(out, data[3:3+n]), data[3+n:]
	}
	return out
}
