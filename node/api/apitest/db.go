package apitest

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/toftdb/toft/node/api"
)

// dbHandle is a database as one node sees it.
type dbHandle struct {
	d *database
	n *Node
}

func (h *dbHandle) ID() string   { return h.d.id }
func (h *dbHandle) Name() string { return h.d.name }

func (h *dbHandle) lock() func() {
	h.d.world.mu.Lock()
	return h.d.world.mu.Unlock
}

func (h *dbHandle) Info(context.Context) (api.DBInfo, error) {
	defer h.lock()()
	return h.d.info(), nil
}

func (h *dbHandle) Put(ctx context.Context, d api.Doc, conds ...api.Cond) (api.PutResult, error) {
	if err := h.others(conds); err != nil {
		return api.PutResult{}, err
	}
	if rev := d.Rev(); rev != "" {
		conds = append(slices.Clone(conds), api.Cond{IfRev: rev})
	}
	c, err := api.JoinConds(conds)
	if err != nil {
		return api.PutResult{}, err
	}
	return h.one(api.Write{Op: api.VerbPut, ID: d.ID(), Doc: d, IfRev: c.IfRev, IfAbsent: c.IfAbsent})
}

func (h *dbHandle) Patch(_ context.Context, id string, p api.Doc, conds ...api.Cond) (api.PutResult, error) {
	if err := h.others(conds); err != nil {
		return api.PutResult{}, err
	}
	c, err := api.JoinConds(conds)
	if err != nil {
		return api.PutResult{}, err
	}
	return h.one(api.Write{Op: api.VerbPatch, ID: id, Doc: p, IfRev: c.IfRev, IfAbsent: c.IfAbsent})
}

func (h *dbHandle) Delete(_ context.Context, id string, conds ...api.Cond) (api.PutResult, error) {
	c, err := api.JoinConds(conds)
	if err != nil {
		return api.PutResult{}, err
	}
	return h.one(api.Write{Op: api.VerbDelete, ID: id, IfRev: c.IfRev, IfAbsent: c.IfAbsent})
}

func (h *dbHandle) Restore(_ context.Context, id string) (api.PutResult, error) {
	return h.one(api.Write{Op: api.VerbRestore, ID: id})
}

func (h *dbHandle) Update(ctx context.Context, id string, fn func(api.Doc) (api.Doc, error)) error {
	return api.Update(ctx, h, id, fn)
}

func (h *dbHandle) one(w api.Write) (api.PutResult, error) {
	res, err := h.Bulk(context.Background(), []api.Write{w})
	if err != nil {
		return api.PutResult{}, err
	}
	return res[0], nil
}

func (h *dbHandle) Bulk(_ context.Context, writes []api.Write) ([]api.PutResult, error) {
	defer h.lock()()
	if h.d.team.member(h.n).Role == api.RoleReader {
		return nil, api.ErrForbidden.With("a reader may not write", "")
	}
	old := h.d.rows
	h.d.rows = maps.Clone(old)
	commit := h.d.world.cid("commit")
	results := make([]api.PutResult, 0, len(writes))
	for _, w := range writes {
		res, err := h.d.apply(w, commit)
		if err != nil {
			h.d.rows = old
			return nil, err
		}
		results = append(results, res)
	}
	h.d.remember(h.n, commit, results)
	close(h.d.wake)
	h.d.wake = make(chan struct{})
	return results, nil
}

// apply does one write on rows, which are ours to change but not the rows in them.
func (d *database) apply(w api.Write, commit string) (api.PutResult, error) {
	doc, err := w.Doc.Canonical()
	if err != nil {
		return api.PutResult{}, err
	}
	id := cmp.Or(w.ID, doc.ID())
	if id == "" && cmp.Or(w.Op, api.VerbPut) == api.VerbPut {
		id = uuid.Must(uuid.NewV7()).String()
	}
	old := d.rows[id]
	alive := old != nil && !old.deleted
	switch {
	case w.IfRev != "" && (!alive || old.rev != w.IfRev):
		return api.PutResult{}, api.ErrConflict.With(fmt.Sprintf("%q is no longer at revision %s", id, w.IfRev), "read it again")
	case w.IfAbsent && alive:
		return api.PutResult{}, api.ErrExists.With(fmt.Sprintf("there is a document %q already", id), "")
	}
	next := &row{n: 1, commit: commit, time: time.Now()}
	if old != nil {
		next.n, next.doc = old.n+1, old.doc
	}
	switch cmp.Or(w.Op, api.VerbPut) {
	case api.VerbPut:
		next.doc, err = checked(id, doc)
	case api.VerbPatch:
		base := api.Doc{}
		if alive {
			base = old.doc
		}
		next.doc, err = checked(id, api.Doc(merge(base, doc)))
	case api.VerbDelete:
		next.deleted = true
		if !alive {
			err = api.ErrNotFound.With(fmt.Sprintf("no document %q here", id), "")
		}
	case api.VerbRestore:
		if old == nil || alive {
			err = api.ErrNotFound.With(fmt.Sprintf("there is no deleted document %q", id), "")
		}
	default:
		err = api.ErrUsage.With(fmt.Sprintf("%q is no write", w.Op), "")
	}
	if err != nil {
		return api.PutResult{}, err
	}
	if alive && !next.deleted && sameDoc(old.doc, next.doc) {
		return api.PutResult{ID: id, Rev: old.rev}, nil
	}
	d.serial++
	next.at, next.rev = d.serial, revOf(next.n, next.doc)
	d.rows[id] = next
	return api.PutResult{ID: id, Rev: next.rev, Commit: commit}, nil
}

// checked returns the document as it is stored: with its id and nothing reserved.
func checked(id string, d api.Doc) (api.Doc, error) {
	d = maps.Clone(d)
	if d == nil {
		d = api.Doc{}
	}
	delete(d, "_rev")
	if len(id) > 1024 || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' }) {
		return nil, api.ErrBadDocument.With("_id has control characters or is longer than 1,024 bytes", "")
	}
	d["_id"] = id
	for k := range d {
		if strings.HasPrefix(k, "_") && k != "_id" {
			return nil, api.ErrBadDocument.With(fmt.Sprintf("%q: keys that start with _ are reserved", k), "")
		}
	}
	return d, nil
}

// merge is RFC 7396.
func merge(base, patch map[string]any) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(out, k)
		case map[string]any:
			inner, _ := out[k].(map[string]any)
			out[k] = merge(inner, v)
		default:
			out[k] = v
		}
	}
	return out
}

// shown returns a copy of the document as a reader sees it.
func (r *row) shown() api.Doc {
	d, err := r.doc.Canonical()
	if err != nil {
		panic(err) // it was canonical when it was stored
	}
	d["_rev"] = r.rev
	return d
}

func (h *dbHandle) Get(_ context.Context, id string, options ...api.GetOptions) (api.Doc, error) {
	defer h.lock()()
	rows := h.d.rows
	for _, o := range options {
		if o.AsOf != "" {
			var err error
			if rows, err = h.d.asOf(o.AsOf); err != nil {
				return nil, err
			}
		}
	}
	r := rows[id]
	if r == nil || r.deleted {
		return nil, api.ErrNotFound.With(fmt.Sprintf("no document %q in %s", id, h.d.name), "")
	}
	d := r.shown()
	for _, o := range options {
		if o.Meta {
			d["_meta"] = map[string]any{"commit": r.commit, "time": r.time.UTC().Format(time.RFC3339Nano), "conflicts": int64(0), "device": h.n.id.PeerID, "member": h.n.id.User}
		}
		if o.Conflicts {
			d["_conflicts"] = []any{}
		}
	}
	return d, nil
}

func (h *dbHandle) All(_ context.Context, r api.Range) iter.Seq2[api.Doc, error] {
	return seq(h.n, func() ([]api.Doc, error) {
		if r.Limit < 0 {
			return nil, api.ErrUsage.With("the limit is negative", "")
		}
		rows, err := h.d.asOf(r.AsOf)
		if err != nil {
			return nil, err
		}
		ids := slices.Sorted(maps.Keys(rows))
		if r.Desc {
			slices.Reverse(ids)
		}
		var all []api.Doc
		for _, id := range ids {
			row := rows[id]
			in := id >= r.From && (r.To == "" || id <= r.To) && strings.HasPrefix(id, r.Prefix)
			if in && !row.deleted && (r.Limit == 0 || len(all) < r.Limit) {
				all = append(all, row.shown())
			}
		}
		return all, nil
	})
}

// since returns the rows after a serial in order of arrival, the present serial,
// and what is closed at the next change.
func (d *database) since(at uint64) (ids []string, now uint64, wake <-chan struct{}) {
	for id, r := range d.rows {
		if r.at > at {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(d.rows[a].at, d.rows[b].at) })
	return ids, d.serial, d.wake
}

func (d *database) change(id string, docs bool) api.Change {
	r := d.rows[id]
	c := api.Change{Cursor: api.Cursor(strconv.FormatUint(r.at, 10)), ID: id, Rev: r.rev, Deleted: r.deleted, Commit: r.commit, Time: r.time}
	if docs && !r.deleted {
		c.Doc = r.shown()
	}
	return c
}

func (h *dbHandle) Changes(ctx context.Context, o api.ChangesOptions) iter.Seq2[api.Change, error] {
	return func(yield func(api.Change, error) bool) {
		at, err := h.parse(o)
		if err != nil {
			yield(api.Change{}, err)
			return
		}
		for n := 0; ; {
			h.d.world.mu.Lock()
			ids, _, wake := h.d.since(at)
			var rows []api.Change
			for _, id := range ids {
				rows = append(rows, h.d.change(id, o.Docs))
				at = h.d.rows[id].at
			}
			h.d.world.mu.Unlock()
			for _, c := range rows {
				if n++; !yield(c, nil) || n == o.Limit {
					return
				}
			}
			if !o.Follow {
				return
			}
			if err := wait(ctx, wake); err != nil {
				yield(api.Change{}, err)
				return
			}
		}
	}
}

func (h *dbHandle) parse(o api.ChangesOptions) (uint64, error) {
	defer h.lock()()
	switch {
	case o.Limit < 0:
		return 0, api.ErrUsage.With("the limit is negative", "")
	case o.Since == "":
		return 0, nil
	case o.Since == api.Now:
		return h.d.serial, nil
	}
	at, err := strconv.ParseUint(string(o.Since), 10, 64)
	if err != nil || at > h.d.serial {
		return 0, api.ErrUsage.With(fmt.Sprintf("%.40q is no cursor of this database", string(o.Since)), "")
	}
	return at, nil
}

func wait(ctx context.Context, wake <-chan struct{}) error {
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		return api.ErrorOf(ctx.Err())
	}
}

func (h *dbHandle) Conflicts(context.Context, string) iter.Seq2[api.Conflict, error] {
	return func(func(api.Conflict, error) bool) {}
}

func (h *dbHandle) Watch(ctx context.Context) iter.Seq2[api.LiveEvent, error] {
	return func(yield func(api.LiveEvent, error) bool) {
		seen := map[string]bool{}
		at, first := uint64(0), true
		for {
			h.d.world.mu.Lock()
			ids, now, wake := h.d.since(at)
			at = now
			var events []api.LiveEvent
			for _, id := range ids {
				r := h.d.rows[id]
				e := api.LiveEvent{Op: api.OpChange, ID: id, Rev: r.rev}
				switch {
				case r.deleted && !seen[id]:
					continue
				case r.deleted:
					e.Op = api.OpRemove
				case first:
					e.Op = api.OpInit
				case !seen[id]:
					e.Op = api.OpAdd
				}
				if seen[id] = !r.deleted; seen[id] {
					e.Doc = r.shown()
				}
				events = append(events, e)
			}
			h.d.world.mu.Unlock()
			if first {
				events = append(events, api.LiveEvent{Op: api.OpReady})
			}
			first = false
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
			}
			if err := wait(ctx, wake); err != nil {
				yield(api.LiveEvent{}, err)
				return
			}
		}
	}
}
