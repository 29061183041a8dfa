package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/google/uuid"

	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/node/api"
)

// DB finds a database by name, team/name, id or unique prefix of its id.
func (n *Node) DB(_ context.Context, nameOrID string) (api.DB, error) {
	if nameOrID == "" {
		return nil, api.ErrUsage.With("no database is named", "toft db list shows them")
	}
	inTeam, name, qualified := strings.Cut(nameOrID, "/")
	if !qualified {
		inTeam, name = "", nameOrID
	}
	var found []*ledger.Database
	for _, c := range n.ledger.Chains() {
		if qualified && c.State().Name() != inTeam && !strings.HasPrefix(c.ID().String(), inTeam) {
			continue
		}
		for _, info := range c.State().DBs() {
			fits := info.Name == name || len(name) >= len("db-")+4 && strings.HasPrefix(info.ID.String(), name)
			if d := n.ledger.Database(info.ID); fits && d != nil {
				found = append(found, d)
			}
		}
	}
	switch len(found) {
	case 1:
		return &dbDoor{n: n, d: found[0]}, nil
	case 0:
		return nil, api.ErrNotFound.With(fmt.Sprintf("no database %q", nameOrID), "toft db list shows them; toft db create NAME makes one")
	}
	return nil, api.ErrUsage.With(fmt.Sprintf("%d databases are called %q", len(found), nameOrID), "write TEAM/NAME, or a prefix of its id")
}

// DBs yields all databases, by team and name.
func (n *Node) DBs(context.Context) iter.Seq2[api.DBInfo, error] {
	var rows []api.DBInfo
	for _, c := range n.ledger.Chains() {
		for _, d := range c.Databases() {
			if _, here := c.State().DB(d.ID()); here {
				rows = append(rows, n.dbInfo(d))
			}
		}
	}
	sortBy(rows, func(r api.DBInfo) string { return r.Team + "\x00" + r.Name })
	return all(rows)
}

func dbName(d *ledger.Database) string {
	for _, info := range d.Team().State().DBs() {
		if info.ID == d.ID() {
			return info.Name
		}
	}
	return d.ID().String()
}

func (n *Node) dbInfo(d *ledger.Database) api.DBInfo {
	i := api.DBInfo{Name: dbName(d), ID: d.ID().String(), Bytes: d.Bytes(), Indexes: []string{}}
	if !d.Team().Personal() {
		i.Team = d.Team().State().Name()
	}
	if by, ok := d.Unaudited(); ok {
		i.Unaudited = by.String()
	}
	_ = d.View(func(r *crdt.Replica) error { i.Docs = int64(r.Count()); return nil })
	return i
}

// dbDoor is one database as the door shows it.
type dbDoor struct {
	n *Node
	d *ledger.Database
}

// view reads the replica; damage is told as the door tells it.
func (b *dbDoor) view(fn func(r *crdt.Replica) error) error { return doorError(b.d.View(fn)) }

// ID returns db-….
func (b *dbDoor) ID() string { return b.d.ID().String() }

// Name returns the database's name.
func (b *dbDoor) Name() string { return dbName(b.d) }

// Info reports the database as it is now.
func (b *dbDoor) Info(context.Context) (api.DBInfo, error) { return b.n.dbInfo(b.d), nil }

// Rename gives the database another name.
func (b *dbDoor) Rename(ctx context.Context, name string) error {
	name, err := cleanName("database", name)
	if err != nil {
		return err
	}
	if err := nameFree(b.d.Team(), name); err != nil {
		return err
	}
	return doorError(b.d.Team().RenameDB(ctx, b.d.ID(), name))
}

// Move takes the database with its documents to another team.
func (b *dbDoor) Move(ctx context.Context, team string) (api.DBInfo, error) {
	to, err := b.n.findTeam(team)
	switch {
	case err != nil:
		return api.DBInfo{}, err
	case to == b.d.Team():
		return api.DBInfo{}, api.ErrExists.With(fmt.Sprintf("%q is in team %q already", b.Name(), to.State().Name()), "")
	}
	if err := nameFree(to, b.Name()); err != nil {
		return api.DBInfo{}, err
	}
	if err := b.n.ledger.Move(ctx, b.d.ID(), to.ID()); err != nil {
		return api.DBInfo{}, doorError(err)
	}
	if d := b.n.ledger.Database(b.d.ID()); d != nil {
		b.d = d
	}
	return b.n.dbInfo(b.d), nil
}

// Drop takes the database out of its team.
func (b *dbDoor) Drop(ctx context.Context) error {
	return doorError(b.d.Team().DropDB(ctx, b.d.ID()))
}

// Put makes the document read exactly as doc.
func (b *dbDoor) Put(ctx context.Context, doc api.Doc, conds ...api.Cond) (api.PutResult, error) {
	return b.one(ctx, api.Write{Op: api.VerbPut, Doc: doc}, conds)
}

// Patch changes the fields that p names and no other.
func (b *dbDoor) Patch(ctx context.Context, id string, p api.Doc, conds ...api.Cond) (api.PutResult, error) {
	return b.one(ctx, api.Write{Op: api.VerbPatch, ID: id, Doc: p}, conds)
}

// Delete hides the document.
func (b *dbDoor) Delete(ctx context.Context, id string, conds ...api.Cond) (api.PutResult, error) {
	return b.one(ctx, api.Write{Op: api.VerbDelete, ID: id}, conds)
}

// Restore brings a deleted document back.
func (b *dbDoor) Restore(ctx context.Context, id string) (api.PutResult, error) {
	return b.one(ctx, api.Write{Op: api.VerbRestore, ID: id}, nil)
}

// Update is read, change, put; again if somebody else wrote in between.
func (b *dbDoor) Update(ctx context.Context, id string, fn func(api.Doc) (api.Doc, error)) error {
	return api.Update(ctx, b, id, fn)
}

func (b *dbDoor) one(ctx context.Context, w api.Write, conds []api.Cond) (api.PutResult, error) {
	cond, err := api.JoinConds(conds)
	if err != nil {
		return api.PutResult{}, err
	}
	w.IfRev, w.IfAbsent = cond.IfRev, cond.IfAbsent
	if err := b.canBeDurable(cond); err != nil {
		return api.PutResult{}, err
	}
	res, err := b.Bulk(ctx, []api.Write{w})
	if err != nil {
		return api.PutResult{}, err
	}
	return res[0], b.durable(ctx, cond, res[0])
}

// maxBulk bounds the writes of one atomic batch.
const maxBulk = crdt.MaxOps

// Bulk does all writes as one commit.
func (b *dbDoor) Bulk(ctx context.Context, writes []api.Write) ([]api.PutResult, error) {
	if len(writes) > maxBulk {
		return nil, api.ErrTooLarge.With(fmt.Sprintf("%d writes in one batch, at most %d", len(writes), maxBulk), "send several batches")
	}
	if len(writes) == 0 {
		return nil, nil
	}
	in := make([]crdt.Write, len(writes))
	for i, w := range writes {
		cw, err := toWrite(w)
		if err != nil {
			return nil, err
		}
		in[i] = cw
	}
	r, err := b.d.Write(ctx, in)
	if err != nil {
		return nil, doorError(err)
	}
	out := make([]api.PutResult, len(r.Results))
	for i, res := range r.Results {
		out[i] = api.PutResult{ID: res.ID, Rev: res.Rev}
		if res.Changed {
			out[i].Commit = r.Commit.String()
		}
	}
	return out, nil
}

// toWrite turns a write of the door into one of the database: the id may stand in
// the document, a missing one is made, and _rev is a condition.
func toWrite(w api.Write) (crdt.Write, error) {
	out := crdt.Write{ID: w.ID, IfRev: w.IfRev, IfAbsent: w.IfAbsent}
	switch w.Op {
	case "", api.VerbPut:
		out.Verb = crdt.Put
	case api.VerbPatch:
		out.Verb = crdt.Patch
	case api.VerbDelete:
		out.Verb = crdt.Delete
	case api.VerbRestore:
		out.Verb = crdt.Restore
	default:
		return out, api.ErrUsage.With(fmt.Sprintf("no verb %q", w.Op), "put, patch, delete or restore")
	}
	if out.Verb != crdt.Put && out.Verb != crdt.Patch {
		return out, nil
	}
	doc, err := w.Doc.Canonical()
	if err != nil {
		return out, err
	}
	if v, given := doc["_id"]; given {
		id, ok := v.(string)
		if !ok || out.ID != "" && out.ID != id {
			return out, api.ErrBadDocument.With(fmt.Sprintf("_id of the document is %v, the id given is %q", v, out.ID), "give the id once")
		}
		out.ID = id
	}
	if v, given := doc["_rev"]; given {
		rev, ok := v.(string)
		if !ok || out.IfRev != "" && out.IfRev != rev {
			return out, api.ErrBadDocument.With("_rev is not the revision given", "give the revision once")
		}
		out.IfRev = rev
	}
	delete(doc, "_id")
	delete(doc, "_rev")
	out.Body = crdt.Doc(doc)
	if out.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return out, err
		}
		out.ID = id.String()
	}
	return out, nil
}

// Get reads one document.
func (b *dbDoor) Get(ctx context.Context, id string, options ...api.GetOptions) (doc api.Doc, err error) {
	var o api.GetOptions
	for _, x := range options {
		o.Meta, o.Conflicts, o.AsOf = o.Meta || x.Meta, o.Conflicts || x.Conflicts, cmp.Or(x.AsOf, o.AsOf)
	}
	err = b.viewAt(ctx, o.AsOf, func(r *crdt.Replica) error {
		got, meta, err := r.Get(id)
		if err != nil {
			return err
		}
		doc = api.Doc(got)
		if o.Meta {
			doc["_meta"] = b.meta(meta)
		}
		if o.Conflicts {
			conflicts, err := r.Conflicts(id)
			if err != nil {
				return err
			}
			rows := make([]any, len(conflicts))
			for i, c := range conflicts {
				rows[i] = conflictValue(c)
			}
			doc["_conflicts"] = rows
		}
		return nil
	})
	if errors.Is(err, crdt.ErrNotFound) {
		return nil, api.ErrNotFound.With(fmt.Sprintf("no document %q in %q", id, b.Name()), "")
	}
	return doc, err
}

func (b *dbDoor) meta(m crdt.Meta) map[string]any {
	st := b.d.Team().State()
	dev, _ := st.Device(m.Device)
	return map[string]any{
		"device": dev.Name, "member": memberName(st, dev.Member), "time": goTime(m.Time).Format("2006-01-02T15:04:05.000Z07:00"),
		"commit": m.Commit.String(), "conflicts": int64(m.Conflicts),
	}
}

func conflictValue(c crdt.Conflict) map[string]any {
	path := make([]any, len(c.Path))
	for i, k := range c.Path {
		path[i] = k
	}
	others := make([]any, len(c.Others))
	for i, o := range c.Others {
		others[i] = o.Value
	}
	return map[string]any{"path": path, "winner": c.Winner, "others": others}
}

// All yields the documents in r in the order of their ids, as of the moment it
// began.
func (b *dbDoor) All(ctx context.Context, r api.Range) iter.Seq2[api.Doc, error] {
	if r.Limit < 0 {
		return none[api.Doc](api.ErrUsage.With("a negative limit", "leave it out for no limit"))
	}
	return func(yield func(api.Doc, error) bool) {
		var rows []crdt.Doc
		err := b.viewAt(ctx, r.AsOf, func(rep *crdt.Replica) error {
			for doc, err := range rep.All(crdt.Range{From: r.From, To: r.To, Prefix: r.Prefix, Desc: r.Desc, Limit: r.Limit}) {
				if err != nil {
					return err
				}
				rows = append(rows, doc)
			}
			return doorError(ctx.Err())
		})
		for _, doc := range rows {
			if !yield(api.Doc(doc), nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// Changes yields what changed after o.Since in the order it arrived here.
func (b *dbDoor) Changes(ctx context.Context, o api.ChangesOptions) iter.Seq2[api.Change, error] {
	if o.Limit < 0 {
		return none[api.Change](api.ErrUsage.With("a negative limit", "leave it out for no limit"))
	}
	return func(yield func(api.Change, error) bool) {
		x := b.d.Mailbox()
		defer x.Close()
		since, left := o.Since, o.Limit
		for {
			rows, next, err := b.changesAfter(since, o.Docs, left)
			if err != nil {
				yield(api.Change{}, err)
				return
			}
			since = next
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if left -= len(rows); o.Limit > 0 && left <= 0 || !o.Follow {
				return
			}
			select {
			case <-ctx.Done():
				yield(api.Change{}, api.ErrorOf(ctx.Err()))
				return
			case <-b.d.Gone():
				yield(api.Change{}, errClosing())
				return
			case <-x.Bell:
				x.Take()
			}
		}
	}
}

// changesAfter reads the rows after a cursor, and the cursor after them.
func (b *dbDoor) changesAfter(since api.Cursor, docs bool, limit int) (rows []api.Change, next api.Cursor, err error) {
	err = b.view(func(r *crdt.Replica) error {
		from := r.Now()
		if since != api.Now {
			if from, err = crdt.ParseCursor(string(since)); err != nil {
				return api.ErrUsage.Wrap(err, "use a cursor that changes printed for this database on this device")
			}
		}
		next = api.Cursor(from.String())
		for c, err := range r.Changes(from) {
			if err != nil {
				return err
			}
			if limit > 0 && len(rows) == limit {
				break
			}
			row := api.Change{Cursor: api.Cursor(c.Cursor.String()), ID: c.ID, Rev: c.Rev, Deleted: c.Deleted, Commit: c.Commit.String(), Time: goTime(c.Time)}
			if docs && !c.Deleted {
				doc, _, err := r.Get(c.ID)
				if err != nil {
					return err
				}
				row.Doc = api.Doc(doc)
			}
			rows, next = append(rows, row), row.Cursor
		}
		return nil
	})
	return rows, next, err
}

// Conflicts yields the fields that were written concurrently.
func (b *dbDoor) Conflicts(_ context.Context, id string) iter.Seq2[api.Conflict, error] {
	var rows []api.Conflict
	err := b.view(func(r *crdt.Replica) error {
		ids := []string{id}
		if id == "" {
			var err error
			if ids, err = r.Conflicted(); err != nil {
				return err
			}
		}
		for _, id := range ids {
			conflicts, err := r.Conflicts(id)
			if err != nil {
				return err
			}
			for _, c := range conflicts {
				rows = append(rows, b.conflict(id, c))
			}
		}
		return nil
	})
	if err != nil {
		return none[api.Conflict](doorError(err))
	}
	return all(rows)
}

func (b *dbDoor) conflict(id string, c crdt.Conflict) api.Conflict {
	st := b.d.Team().State()
	out := api.Conflict{ID: id, Path: c.Path, Winner: jsonValue(c.Winner), Others: []api.Other{}}
	for _, o := range c.Others {
		dev, _ := st.Device(o.Actor.Device)
		out.Others = append(out.Others, api.Other{Value: jsonValue(o.Value), Member: memberName(st, dev.Member), Device: dev.Name, Time: goTime(o.Time)})
	}
	return out
}

func jsonValue(v any) api.Value {
	text, err := api.Doc{"v": v}.MarshalJSON()
	if err != nil || len(text) < 6 {
		return api.Value("null")
	}
	return api.Value(text[5 : len(text)-1]) // {"v":…}
}
