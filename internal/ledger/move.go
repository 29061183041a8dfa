package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/team"
)

// A database lives in one team at a time and may move to another:
//
//	old chain   ... ──────────────── REMOVE_DB
//	new chain   ... ── ADD_DB(base) ──┘ (then this is its home)
//	commits     o──o──o──o │ o──o            before the bar: vouched for by the base
//	                     base  └ new ones, under the new chain
//
// The base names the heads that move, and has the keys of this database alone for
// every old generation: nothing else of the old team opens with them. Who is in the
// new team judges what is old by one question: is it inside the base? Work of the old
// home that comes later is outside, and does not count; the device that wrote it
// writes its effect again in the new home.

// ErrMoved: the database is no longer in the team it is open in, or is on its way.
var ErrMoved = errors.New("the database has moved")

// whyOutside is why a commit of the old home does not count.
const whyOutside = "it was written in the team the database came from, and not moved with it"

// home returns the team a database lives in, as far as is known here; nil if none.
// Where it is open it stays until that team lets it go: nobody can draw a database
// over by naming it. Where it was never open, and two have it, the one it came from is
// home.
func (l *Ledger) home(db block.DBID) *Chain {
	var found *Chain
	var base *team.Base
	open := l.openIn(db)
	for _, c := range l.Chains() {
		info, ok := c.State().DB(db)
		if !ok || info.Secret.IsZero() {
			continue
		}
		if err := l.keys.AddDatabase(db, info.Number, info.Secret); err != nil {
			l.o.Log.Debug("database refused", "team", c.id, "db", db, "err", err)
			continue // who knows no more than the ID has nothing
		}
		if c.id == open {
			return c
		}
		if found == nil || base != nil && base.Team == c.id {
			found, base = c, info.Base
		}
	}
	return found
}

// openIn returns the team a database was opened in last, zero if it never was.
func (l *Ledger) openIn(db block.DBID) block.TeamID {
	data, err := l.o.Store.Get(store.DatabaseHome(db))
	if err == nil {
		var id block.TeamID
		if id, err = store.ID[block.TeamID](data); err == nil {
			return id
		}
	}
	if !errors.Is(err, store.ErrNotFound) {
		l.o.Log.Error("where a database is open is not known", "db", db, "err", err)
	}
	return block.TeamID{}
}

// keepHome remembers where a database is open.
func (l *Ledger) keepHome(db block.DBID, home block.TeamID) error {
	if l.openIn(db) == home {
		return nil
	}
	batch := l.o.Store.NewBatch()
	batch.Set(store.DatabaseHome(db), home[:])
	return l.durable(context.Background(), batch)
}

// house opens a database in the team that is its home now.
func (l *Ledger) house(id block.DBID) {
	c, was := l.home(id), l.Database(id)
	if c == nil {
		return
	}
	info, _ := c.State().DB(id)
	if was != nil && was.team == c && was.added == info.Added {
		return // a database that went away and came back has another base
	}
	if err := l.keepHome(id, c.id); err != nil {
		l.o.Log.Warn("where a database is open is not kept", "db", id, "err", err)
	}
	if was != nil {
		was.leave()
	}
	d, err := l.openDatabase(c, id)
	if err != nil {
		l.o.Log.Error("database not opened", "db", id, "err", err)
		return
	}
	l.mu.Lock()
	l.dbs[id] = d
	l.mu.Unlock()
}

// leave ends a database in its old home: nothing is written through it any more.
func (d *Database) leave() {
	d.writing.Lock()
	if !d.left {
		d.left = true
		close(d.stop)
	}
	d.writing.Unlock()
	d.await()
}

// takeBase takes what a moved database brought along.
func (d *Database) takeBase() {
	info, _ := d.team.State().DB(d.id)
	d.added = info.Added
	if info.Base == nil {
		return
	}
	d.base = info.Base
	for _, k := range info.Base.Keys {
		d.n.keys.AddBase(info.Base.Team, k.Generation, d.id, k.MAC, k.Enc)
	}
}

// origin resolves the hints of a block of this database: to its team, or to the one
// it came from.
func (d *Database) origin(u *block.Unverified) (block.TeamID, block.Generation, bool) {
	if d.base == nil || u.TeamHint == d.team.id.Hint() {
		gen, ok := d.team.Generation(u.GenerationHint)
		return d.team.id, gen, ok
	}
	if u.TeamHint == d.base.Team.Hint() {
		for _, k := range d.base.Keys {
			if k.Generation.Hint() == u.GenerationHint {
				return d.base.Team, k.Generation, true
			}
		}
	}
	return block.TeamID{}, block.Generation{}, false
}

// old reports whether a commit was made in the team the database came from.
func (d *Database) old(c *crdt.Commit) bool {
	if d.base == nil {
		return false
	}
	_, ours := d.team.Generation(c.Generation.Hint())
	return !ours
}

// movedIn judges a commit of the old home: it counts if it is inside the base. The
// caller holds writing and mu.
func (d *Database) movedIn(r *crdt.Replica, c *crdt.Commit, awaited map[block.ID]struct{}) crdt.Validity {
	for _, id := range absent(d.base.Heads, r.Has) {
		awaited[id] = struct{}{}
	}
	if r.Inside(d.base.Heads, c.ID) {
		return crdt.Valid
	}
	return crdt.Void(whyOutside)
}

// Move takes a database, with all of its history, to another team. It needs an admin
// of the old team who may write in the new one. A database that came from a third
// team moves only back there.
func (l *Ledger) Move(ctx context.Context, db block.DBID, to block.TeamID) error {
	d, t := l.Database(db), l.Chain(to)
	if d == nil || t == nil {
		return fmt.Errorf("%s or %s is not on this device", db, to)
	}
	from := d.team
	info, in := from.State().DB(db)
	switch {
	case from == t:
		return fmt.Errorf("%q is in team %q already", info.Name, t.State().Name())
	case !in:
		return fmt.Errorf("%w from team %q", ErrMoved, from.State().Name())
	case d.base != nil && d.base.Team != to:
		return fmt.Errorf("%q came to team %q from a third team: it can only move back there", info.Name, from.State().Name())
	}
	for _, c := range []*Chain{from, t} {
		if err := c.Ready(ctx); err != nil {
			return err
		}
	}
	if err := from.check(team.RemoveDB{DB: db}); err != nil {
		return err
	}
	if _, err := d.vouch(ctx, false); err != nil {
		return err // told before anybody's write is held up
	}
	// Between these heads and the new home nothing may be acknowledged: it would be
	// outside the base.
	d.hold(true)
	defer d.hold(false)
	heads, err := d.vouch(ctx, false)
	if err != nil {
		return err
	}
	base := &team.Base{Team: from.id, Heads: heads}
	if base.Keys, err = d.baseKeys(); err != nil {
		return err
	}
	add := team.AddDB{DB: db, Base: base, Name: info.Name, Number: info.Number, Secret: info.Secret}
	if _, in := t.State().DB(db); !in {
		if _, err := t.Link(ctx, add, nil); err != nil {
			return err
		}
	}
	if _, err := from.Link(ctx, team.RemoveDB{DB: db, Heads: heads}, nil); err != nil {
		return err
	}
	return nil
}

// check reports whether this device may write a link with this content.
func (c *Chain) check(content team.Content) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Check(c.n.Me(), content)
}

// hold keeps writers out, or lets them in again.
func (d *Database) hold(on bool) {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.held = on
}

// baseKeys collects the pairs of this database for every generation of its team, and
// those it came with.
func (d *Database) baseKeys() ([]team.BaseKey, error) {
	var out []team.BaseKey
	d.team.mu.Lock()
	for gen := range d.team.made {
		if mac, enc, err := d.n.keys.BaseKey(d.team.id, gen, d.id); err == nil {
			out = append(out, team.BaseKey{Generation: gen, MAC: mac, Enc: enc})
		}
	}
	d.team.mu.Unlock()
	if len(out) > team.MaxBaseKeys {
		return nil, fmt.Errorf("%s was written under %d keys, at most %d can move", d.id, len(out), team.MaxBaseKeys)
	}
	slices.SortFunc(out, func(a, b team.BaseKey) int { return bytes.Compare(a.Generation[:], b.Generation[:]) })
	return out, nil
}

// moveRecord is this device's own record of a database that moved here: the commits
// of its own outside the base whose effect it wrote again.
type moveRecord struct {
	Again []block.ID `cbor:"1,keyasint,omitempty"`
}

const maxMoveRecord = 1 << 20

// reissue writes the effect of this device's own commits that are outside the base
// again: they were acknowledged, and would be lost. It is done before anybody
// writes.
func (d *Database) reissue() {
	if d.base == nil || d.Damage() != nil {
		return
	}
	ids, writes, err := d.outside()
	if err == nil && len(writes) > 0 {
		r := &request{writes: writes, done: make(chan struct{})}
		if err = d.draftAndCommit([]*request{r}); err == nil {
			err = r.err
		}
	}
	if err == nil && len(ids) > 0 {
		err = d.noteAgain(ids)
	}
	if err != nil {
		d.n.o.Log.Warn("own writes of the old team are not in the new one yet", "db", d.id, "err", err)
	}
}

// again reads the record.
func (d *Database) again() (moveRecord, error) {
	data, err := d.n.o.Store.Get(store.DatabaseInfo(d.id))
	if errors.Is(err, store.ErrNotFound) {
		return moveRecord{}, nil
	}
	if err != nil {
		return moveRecord{}, err
	}
	return wire.Decode[moveRecord](data, maxMoveRecord)
}

func (d *Database) noteAgain(ids []block.ID) error {
	rec, err := d.again()
	if err != nil {
		return err
	}
	rec.Again = append(rec.Again, ids...)
	batch := d.n.o.Store.NewBatch()
	batch.Set(store.DatabaseInfo(d.id), wire.Must(rec))
	return d.n.durable(context.Background(), batch)
}

// outside finds this device's own commits outside the base that the old team counts,
// and the writes that have their effect: the documents they touched as they read in
// the old home.
func (d *Database) outside() (ids []block.ID, writes []crdt.Write, err error) {
	from := d.n.Chain(d.base.Team)
	rec, err := d.again()
	if from == nil || err != nil {
		return nil, nil, err
	}
	done := map[block.ID]bool{}
	for _, id := range rec.Again {
		done[id] = true
	}
	var all []block.ID
	voids := map[block.ID]string{}
	err = d.View(func(r *crdt.Replica) error {
		for id, why := range r.Voids() {
			if why != whyOutside {
				voids[id] = why
			}
		}
		for c := range r.Commits() {
			all = append(all, c.ID)
			if !d.old(c) || r.Inside(d.base.Heads, c.ID) {
				continue
			}
			if v := from.judge(d.oldFacts(r, c)); !v.Valid {
				voids[c.ID] = v.Why
			} else if c.Actor.Device == d.n.Me() && !done[c.ID] {
				ids = append(ids, c.ID)
			}
		}
		return nil
	})
	if err != nil || len(ids) == 0 {
		return nil, nil, err
	}
	writes, err = d.effects(all, voids, ids)
	return ids, writes, err
}

// oldFacts is what the old team is asked about a commit of its time.
func (d *Database) oldFacts(r *crdt.Replica, c *crdt.Commit) team.CommitFacts {
	f := team.CommitFacts{
		DB: d.id, Device: c.Actor.Device, Seat: c.Seat, Generation: c.Generation, TeamHeads: c.TeamHeads,
		Inside: func(heads []block.ID) bool { return r.Inside(heads, c.ID) },
	}
	for _, p := range c.Parents {
		if pc, ok := r.Commit(p); ok && d.old(pc) {
			f.ParentTeamHeads = append(f.ParentTeamHeads, pc.TeamHeads...)
		}
	}
	return f
}

// effects plays the old home again, with what is outside the base, and reads the
// documents that some commits touched.
func (d *Database) effects(all []block.ID, voids map[block.ID]string, of []block.ID) (writes []crdt.Write, err error) {
	keys, err := d.n.keys.Database(d.id)
	if err != nil {
		return nil, err
	}
	then := crdt.NewReplica(d.id, crdt.Keys{Expand: keys.Expand, ValueHash: keys.ValueHash})
	if err := d.play(context.Background(), then, all, voids); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, id := range of {
		c, err := d.read(id)
		if err != nil {
			return nil, err
		}
		for _, doc := range c.Docs() {
			if seen[doc] {
				continue
			}
			seen[doc] = true
			w, err := d.asWas(then, doc)
			if err != nil {
				return nil, err
			}
			writes = append(writes, w...)
		}
	}
	return writes, nil
}

// asWas is the write that makes a document read here as it does in another replica.
func (d *Database) asWas(then *crdt.Replica, id string) ([]crdt.Write, error) {
	doc, _, err := then.Get(id)
	if err == nil {
		body := crdt.Doc{}
		for k, v := range doc {
			if !strings.HasPrefix(k, "_") {
				body[k] = v
			}
		}
		return []crdt.Write{{Verb: crdt.Put, ID: id, Body: body}}, nil
	}
	if !errors.Is(err, crdt.ErrNotFound) {
		return nil, err
	}
	here := d.View(func(r *crdt.Replica) error { _, _, err := r.Get(id); return err })
	if here != nil {
		return nil, nil // gone here too
	}
	return []crdt.Write{{Verb: crdt.Delete, ID: id}}, nil
}
