package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/replicate"
	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/team"
)

// disk is what a device finds when it starts: blocks, and links and commits in the
// order in which they were stored.
type disk struct {
	blocks  map[block.ID][]byte
	links   []block.ID
	commits []block.ID
	actor   block.Incarnation
}

func (k *disk) clone() *disk {
	c := &disk{blocks: make(map[block.ID][]byte, len(k.blocks)), links: slices.Clone(k.links), commits: slices.Clone(k.commits), actor: k.actor}
	for id, b := range k.blocks {
		c.blocks[id] = b
	}
	return c
}

// device is one device of the team. rep is nil while it is down.
type device struct {
	w    *world
	n    int
	name string
	id   block.Device
	disk *disk
	skew time.Duration
	lie  lie

	saved      *disk
	rolledBack bool
	cutOff     bool
	written    int

	// What a crash takes.
	life     int
	chain    *team.Chain
	rep      *crdt.Replica
	last     wire.Time
	awaited  map[block.ID]bool
	parked   []*block.Unverified
	busy     bool     // the one that makes things durable is at work
	waiting  []func() // for it
	unsynced func(*disk)
	planner  *replicate.Planner
	pulls    map[block.Device]*pull
	wake     time.Time // the next tick that is planned
	herald
}

func newDevice(w *world, n int) *device {
	d := &device{w: w, n: n, name: string(rune('A' + n)), id: w.tmpl.devices[n]}
	d.disk = &disk{blocks: map[block.ID][]byte{}}
	binary.BigEndian.PutUint64(d.disk.actor[:], w.rng.Uint64()|1)
	for _, b := range w.tmpl.links {
		d.disk.blocks[b.ID] = b.Data
		d.disk.links = append(d.disk.links, b.ID)
	}
	d.skew = time.Duration(w.rng.IntN(3)-1) * 10 * 365 * 24 * time.Hour
	return d
}

// start replays the disk.
func (d *device) start() {
	if d.rep != nil {
		return
	}
	d.w.log("%s starts with %d commits", d.name, len(d.disk.commits))
	d.life++
	d.busy, d.waiting, d.unsynced, d.parked, d.last = false, nil, nil, nil, 0
	d.pulls, d.awaited, d.wake = map[block.Device]*pull{}, map[block.ID]bool{}, time.Time{}
	d.herald = herald{tips: map[block.Device][32]byte{}, links: map[block.Device][32]byte{}, counted: map[block.Device]uint64{}, counter: uint64(d.w.now) + 1}
	d.planner = replicate.New(replicate.Options{Rand: d.w.rng.Uint64})
	d.rep = crdt.NewReplica(d.w.tmpl.db, keys)
	for i, id := range d.disk.links {
		u := must(block.Parse(d.disk.blocks[id]))
		l := must(d.w.tmpl.parseLink(u))
		if i == 0 {
			d.chain = must(team.NewChain(l))
		} else if err := d.chain.Add(l); err != nil {
			d.w.broken("%s cannot read its chain: %v", d.name, err)
		}
	}
	again := false
	for _, id := range d.disk.commits {
		data, ok := d.disk.blocks[id]
		if !ok {
			d.w.broken("%s has no block %s of its own index", d.name, id)
			return
		}
		j, err := d.judge(must(block.Parse(data)), d.disk.blocks, nil)
		if err != nil {
			d.w.broken("%s cannot read commit %s from its disk: %v", d.name, id, err)
			return
		}
		d.show([]judged{j})
		again = d.awaitedCame(j.commit.ID) || again
		if j.commit.Actor == d.actor() {
			d.last = max(d.last, j.commit.Time)
		}
	}
	if again {
		d.judgeAll()
	}
	life := d.life
	d.w.after(0, func() { d.dialLoop(life, dialPause) })
}

// crash takes everything that is not on the disk; a batch that is being synced may
// have reached it or not.
func (d *device) crash() {
	if d.rep == nil || !d.w.faulty {
		return
	}
	if d.unsynced != nil && d.w.chance(0.5) {
		d.unsynced(d.disk)
	}
	d.life++
	d.rep = nil
	d.w.log("%s crashes with %d commits on disk", d.name, len(d.disk.commits))
	for _, o := range d.w.devices {
		if o != d {
			d.w.drop(d, o)
		}
	}
}

// backup and restore roll a disk back, in place: the device does not notice.
func (d *device) backup() { d.saved = d.disk.clone(); d.w.log("%s is backed up", d.name) }

func (d *device) restore() {
	d.crash()
	d.disk, d.rolledBack = d.saved.clone(), true
	d.w.log("%s is rolled back to %d commits", d.name, len(d.disk.commits))
	d.start()
}

func (d *device) actor() block.Actor { return block.Actor{Device: d.id, Incarnation: d.disk.actor} }

// exclusive runs op when nothing else makes things durable; op calls done in the end.
func (d *device) exclusive(op func()) {
	if d.busy {
		d.waiting = append(d.waiting, op)
		return
	}
	d.busy = true
	op()
}

func (d *device) done() {
	d.busy = false
	if len(d.waiting) > 0 {
		op := d.waiting[0]
		d.waiting = d.waiting[1:]
		d.exclusive(op)
	}
}

// durable syncs one batch, which takes a while, and goes on.
func (d *device) durable(stage func(*disk), then func()) {
	life := d.life
	d.unsynced = stage
	d.w.after(d.w.between(100*time.Microsecond, 8*time.Millisecond), func() {
		if d.life != life {
			return
		}
		d.unsynced = nil
		stage(d.disk)
		then()
	})
}

// judged is a commit that may be applied.
type judged struct {
	commit   *crdt.Commit
	validity crdt.Validity
	data     []byte
	linked   [][]byte
}

var (
	errHeads = errors.New("made under links not known here")
	errNeeds = errors.New("linked blocks are missing")
)

// judge is ledger's: verify, parse, fill in, ask the chain.
func (d *device) judge(u *block.Unverified, linked map[block.ID][]byte, before map[block.ID]*crdt.Commit) (judged, error) {
	b, err := d.w.tmpl.verify(u)
	if err != nil {
		return judged{}, err
	}
	c, err := crdt.ParseCommit(b, b.Body)
	if err != nil {
		return judged{}, err
	}
	j := judged{commit: c, data: b.Data}
	for _, id := range c.Linked() {
		data, ok := linked[id]
		if !ok {
			return judged{commit: c}, errNeeds
		}
		lu, err := block.Parse(data)
		if err != nil || lu.ID != id {
			return judged{}, fmt.Errorf("linked block %s: %w", id, err)
		}
		if err := c.Fill(id, must(d.w.tmpl.verify(lu)).Body); err != nil {
			return judged{}, err
		}
		j.linked = append(j.linked, data)
	}
	j.validity, err = d.verdict(c, before)
	return j, err
}

func (d *device) verdict(c *crdt.Commit, before map[block.ID]*crdt.Commit) (crdt.Validity, error) {
	var parentHeads []block.ID
	for _, p := range c.Parents {
		pc, ok := before[p]
		if !ok {
			pc, ok = d.rep.Commit(p)
		}
		if ok {
			parentHeads = append(parentHeads, pc.TeamHeads...)
		}
	}
	v := d.chain.Judge(team.CommitFacts{
		DB: c.DB, Device: c.Actor.Device, Seat: c.Seat, Generation: c.Generation,
		TeamHeads: c.TeamHeads, ParentTeamHeads: parentHeads,
		Inside: func(heads []block.ID) bool {
			for _, id := range heads {
				if !d.rep.Has(id) {
					d.awaited[id] = true
				}
			}
			return d.rep.Inside(heads, c.ID)
		},
	})
	switch {
	case len(v.Missing) > 0:
		return crdt.Validity{}, errHeads
	case v.Valid:
		return crdt.Valid, nil
	}
	return crdt.Void(v.Why), nil
}

// candidates goes through commits in causal order and says which may be applied.
func (d *device) candidates(in [][]byte, linked map[block.ID][]byte) (ready []judged, needs []block.ID) {
	before := map[block.ID]*crdt.Commit{}
	for _, data := range in {
		u, err := block.Parse(data)
		if err != nil || u.Kind != block.KindCommit || before[u.ID] != nil || d.rep.Has(u.ID) {
			continue
		}
		if slices.ContainsFunc(u.Links[:u.Parents], func(p block.ID) bool { return before[p] == nil && !d.rep.Has(p) }) {
			continue
		}
		j, err := d.judge(u, linked, before)
		if errors.Is(err, errNeeds) {
			needs = append(needs, j.commit.Linked()...)
		}
		if err == nil {
			ready, before[u.ID] = append(ready, j), j.commit
		}
	}
	return ready, needs
}

// commit takes commits in one durable batch and tells how many were applied and what
// linked blocks it lacks.
func (d *device) commit(in [][]byte, linked map[block.ID][]byte, then func(applied int, needs []block.ID)) {
	d.exclusive(func() {
		ready, needs := d.candidates(in, linked)
		if len(ready) == 0 {
			d.done()
			then(0, needs)
			return
		}
		d.store(ready, func(applied int) {
			d.done()
			then(applied, needs)
		})
	})
}

// store makes commits durable, then visible; what the replica refuses is forgotten.
func (d *device) store(ready []judged, then func(applied int)) {
	d.durable(func(k *disk) {
		for _, j := range ready {
			for _, b := range j.linked {
				k.blocks[block.Sum(b)] = b
			}
			k.blocks[j.commit.ID] = j.data
			k.commits = append(k.commits, j.commit.ID)
		}
	}, func() {
		refused := d.show(ready)
		for _, id := range refused {
			d.disk.commits = slices.DeleteFunc(d.disk.commits, func(x block.ID) bool { return x == id })
			delete(d.disk.blocks, id)
		}
		came := false
		for _, j := range ready {
			came = d.awaitedCame(j.commit.ID) || came
		}
		if came {
			d.judgeAll()
		}
		then(len(ready) - len(refused))
	})
}

// show makes stored commits visible and returns those the replica does not take.
func (d *device) show(ready []judged) (refused []block.ID) {
	for _, j := range ready {
		if slices.ContainsFunc(j.commit.Parents, func(p block.ID) bool { return !d.rep.Has(p) }) {
			refused = append(refused, j.commit.ID)
			continue
		}
		_, err := d.rep.Add(j.commit, j.validity)
		var differs *crdt.DigestError
		switch {
		case errors.As(err, &differs):
			d.w.broken("alarm on %s: %v", d.name, err)
		case err != nil:
			refused = append(refused, j.commit.ID)
		}
	}
	return refused
}

func (d *device) awaitedCame(id block.ID) bool {
	came := d.awaited[id]
	delete(d.awaited, id)
	return came
}

func (d *device) judgeAll() {
	d.rep.Rejudge(func(c *crdt.Commit) crdt.Validity {
		v, err := d.verdict(c, nil)
		if err != nil {
			return crdt.Void(err.Error())
		}
		return v
	})
}

// write puts a document of its own and touches one that all share.
func (d *device) write() {
	if d.rep == nil {
		return
	}
	d.written++
	doc := fmt.Sprint(d.name, "-", d.written)
	body := crdt.Doc{"by": d.name}
	if d.w.chance(0.04) {
		body["text"] = strings.Repeat(d.name, crdt.MaxInline+1) // a block of its own
	}
	writes := []crdt.Write{{Verb: crdt.Put, ID: doc, Body: body}}
	shared := fmt.Sprint("shared-", d.w.rng.IntN(3))
	switch d.w.rng.IntN(4) {
	case 0:
		writes = append(writes, crdt.Write{Verb: crdt.Put, ID: shared, Body: crdt.Doc{"title": doc}})
	case 1:
		writes = append(writes, crdt.Write{Verb: crdt.Patch, ID: shared, Body: crdt.Doc{"n": map[string]any{"$inc": int64(d.written)}}})
	case 2:
		if _, _, err := d.rep.Get(shared); err == nil {
			writes = append(writes, crdt.Write{Verb: crdt.Delete, ID: shared})
		}
	}
	d.exclusive(func() { d.draft(doc, writes) })
}

func (d *device) draft(doc string, writes []crdt.Write) {
	st := d.chain.State()
	if !st.CanWrite(d.id) {
		d.w.log("%s may not write", d.name)
		d.done()
		return
	}
	now := wire.Time(d.w.clock().Add(d.skew).UnixMilli())
	a := crdt.Author{Actor: d.actor(), Seat: d.w.tmpl.seats[d.n], TeamHeads: st.Heads(), Time: max(now, d.last+1)}
	draft, _, errs := d.rep.Draft(a, [][]crdt.Write{writes})
	if errors.Is(errs[0], crdt.ErrActor) {
		fresh := block.Incarnation{}
		binary.BigEndian.PutUint64(fresh[:], d.w.rng.Uint64()|1)
		d.w.log("%s takes a new actor", d.name)
		d.durable(func(k *disk) { k.actor = fresh }, func() { d.draft(doc, writes) })
		return
	}
	if errors.Is(errs[0], crdt.ErrNotFound) {
		d.done() // deleted by somebody else while it waited
		return
	}
	if errs[0] != nil {
		d.w.broken("%s cannot write: %v", d.name, errs[0])
		d.done()
		return
	}
	j := d.seal(draft, a)
	d.store([]judged{j}, func(applied int) {
		if applied != 1 {
			d.w.broken("%s does not take its own commit", d.name)
		}
		d.last = max(d.last, draft.Time)
		d.w.acked = append(d.w.acked, ack{d, j.commit.ID, doc})
		d.w.log("%s wrote %s in %s", d.name, doc, short(j.commit.ID))
		d.done()
		d.say(j.data)
	})
}

func (d *device) seal(draft *crdt.Draft, a crdt.Author) judged {
	m := d.w.tmpl
	links := slices.Clone(draft.Parents)
	var j judged
	fill := map[block.ID][]byte{}
	for _, l := range draft.Links {
		b := seal(block.Header{Kind: l.Kind, Team: m.team, DB: m.db, Generation: m.gen}, l.Plain)
		links, fill[b.ID] = append(links, b.ID), l.Plain
		j.linked = append(j.linked, b.Data)
	}
	b := seal(block.Header{
		Kind: block.KindCommit, Team: m.team, DB: m.db, Generation: m.gen, Parents: len(draft.Parents), Links: links,
		Author: a.Actor.Device, Seat: a.Seat,
	}, draft.Plain)
	j.commit, j.data, j.validity = must(crdt.ParseCommit(b, draft.Plain)), b.Data, crdt.Valid
	for id, plain := range fill {
		if err := j.commit.Fill(id, plain); err != nil {
			panic(err)
		}
	}
	return j
}

// demote takes a member's right to write; what this device has seen of it stays.
func (d *device) demote(victim *device) {
	if d.rep == nil {
		return
	}
	d.exclusive(func() {
		content := team.SetRole{Member: victim.id, Role: team.RoleReader}
		if heads := d.rep.Heads(); len(heads) > 0 {
			content.Heads = []team.DBHeads{{DB: d.w.tmpl.db, Heads: slices.Clone(heads)}}
		}
		if d.chain.Check(d.id, content) != nil {
			d.done()
			return
		}
		b, _ := d.w.tmpl.compose(d.chain.Parents(), d.n, content)
		victim.cutOff = true
		d.w.log("%s demotes %s", d.name, victim.name)
		d.addLinks([]*block.Block{b}, func() { d.done(); d.say(nil) })
	})
}

// receive takes links in any order; what lacks a parent waits.
func (d *device) receive(raw [][]byte, then func(added int)) {
	d.exclusive(func() {
		for _, data := range raw {
			if u, err := block.Parse(data); err == nil && u.Kind == block.KindLink && !d.chain.Has(u.ID) && len(d.parked) < 4096 {
				d.parked = append(d.parked, u)
			}
		}
		var fresh []*block.Block
		here := func(id block.ID) bool {
			return d.chain.Has(id) || slices.ContainsFunc(fresh, func(b *block.Block) bool { return b.ID == id })
		}
		for moved := true; moved; {
			moved = false
			d.parked = slices.DeleteFunc(d.parked, func(u *block.Unverified) bool {
				if here(u.ID) {
					return true
				}
				if slices.ContainsFunc(u.Links[:u.Parents], func(p block.ID) bool { return !here(p) }) {
					return false
				}
				if b, err := d.w.tmpl.verify(u); err == nil {
					fresh, moved = append(fresh, b), true
				}
				return true
			})
		}
		if len(fresh) == 0 {
			d.done()
			then(0)
			return
		}
		d.addLinks(fresh, func() { d.done(); then(len(fresh)) })
	})
}

// addLinks makes links durable and lets what was written follow them.
func (d *device) addLinks(fresh []*block.Block, then func()) {
	d.durable(func(k *disk) {
		for _, b := range fresh {
			k.blocks[b.ID] = b.Data
			k.links = append(k.links, b.ID)
		}
	}, func() {
		for _, b := range fresh {
			if err := d.chain.Add(must(d.w.tmpl.parseLink(must(block.Parse(b.Data))))); err != nil {
				d.w.broken("%s refuses link %s: %v", d.name, b.ID, err)
			}
		}
		d.judgeAll()
		then()
	})
}

// heads says where the replica stands.
func (d *device) heads() message.DBHeads {
	if d.rep == nil {
		return message.DBHeads{DB: d.w.tmpl.db}
	}
	return message.DBHeads{DB: d.w.tmpl.db, Heads: d.rep.Heads(), Digest: d.rep.Digest(), Void: d.rep.VoidHash()}
}

func short(id block.ID) string { return id.String()[8:16] }
