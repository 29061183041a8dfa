package api

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// clientDB is a [DB] in a daemon.
type clientDB struct {
	c    *Client
	info DBInfo // as it was when the handle was made
}

func (d *clientDB) ID() string   { return d.info.ID }
func (d *clientDB) Name() string { return d.info.Name }

func (d *clientDB) path(segments ...string) string {
	return path(append([]string{"v1", "dbs", d.info.ID}, segments...)...)
}

func (d *clientDB) Info(ctx context.Context) (DBInfo, error) {
	return call[DBInfo](ctx, d.c, http.MethodGet, d.path(), nil, nil)
}

// headers writes conditions as HTTP has them.
func headers(ctx context.Context, conds []Cond) (http.Header, error) {
	c, err := JoinConds(conds)
	h := http.Header{}
	setDurable(ctx, h, c)
	if c.IfRev != "" {
		h.Set("If-Match", `"`+c.IfRev+`"`)
	}
	if c.IfAbsent {
		h.Set("If-None-Match", "*")
	}
	return h, err
}

// noID refuses what a path cannot say.
func noID(id string) error {
	if id == "" {
		return ErrUsage.With("the document's id is empty", "")
	}
	return nil
}

func (d *clientDB) write(ctx context.Context, method, path string, doc Doc, conds []Cond) (PutResult, error) {
	h, err := headers(ctx, conds)
	if err != nil {
		return PutResult{}, err
	}
	if doc == nil {
		return call[PutResult](ctx, d.c, method, path, h, nil)
	}
	return callWith[PutResult](ctx, d.c, method, path, h, doc)
}

func (d *clientDB) Put(ctx context.Context, doc Doc, conds ...Cond) (PutResult, error) {
	if doc == nil {
		doc = Doc{}
	}
	return d.write(ctx, http.MethodPost, d.path("docs"), doc, conds)
}

func (d *clientDB) Patch(ctx context.Context, id string, p Doc, conds ...Cond) (PutResult, error) {
	if err := noID(id); err != nil {
		return PutResult{}, err
	}
	if p == nil {
		p = Doc{}
	}
	return d.write(ctx, http.MethodPatch, d.path("docs", id), p, conds)
}

func (d *clientDB) Delete(ctx context.Context, id string, conds ...Cond) (PutResult, error) {
	if err := noID(id); err != nil {
		return PutResult{}, err
	}
	return d.write(ctx, http.MethodDelete, d.path("docs", id), nil, conds)
}

func (d *clientDB) Restore(ctx context.Context, id string) (PutResult, error) {
	if err := noID(id); err != nil {
		return PutResult{}, err
	}
	return d.write(ctx, http.MethodPost, d.path("restore", id), nil, nil)
}

func (d *clientDB) Update(ctx context.Context, id string, fn func(Doc) (Doc, error)) error {
	return Update(ctx, d, id, fn)
}

func (d *clientDB) Bulk(ctx context.Context, writes []Write) ([]PutResult, error) {
	var body []byte
	for _, w := range writes {
		line, err := Marshal(w)
		if err != nil {
			return nil, ErrorOf(err)
		}
		body = append(append(body, line...), '\n')
	}
	results := make([]PutResult, 0, len(writes))
	for r, err := range readLines[PutResult](ctx, d.c, http.MethodPost, d.path("bulk"), body) {
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

func (d *clientDB) Get(ctx context.Context, id string, options ...GetOptions) (Doc, error) {
	if err := noID(id); err != nil {
		return nil, err
	}
	q := url.Values{}
	for _, o := range options {
		setFlag(q, "meta", o.Meta)
		setFlag(q, "conflicts", o.Conflicts)
		setText(q, "asOf", o.AsOf)
	}
	return call[Doc](ctx, d.c, http.MethodGet, d.path("docs", id)+"?"+q.Encode(), nil, nil)
}

func setFlag(q url.Values, name string, on bool) {
	if on {
		q.Set(name, "1")
	}
}

// setLimit writes a limit; the server refuses a negative one.
func setLimit(q url.Values, n int) {
	if n != 0 {
		q.Set("limit", strconv.Itoa(n))
	}
}

func (d *clientDB) All(ctx context.Context, r Range) iter.Seq2[Doc, error] {
	q := url.Values{}
	for name, v := range map[string]string{"from": r.From, "to": r.To, "prefix": r.Prefix, "asOf": r.AsOf} {
		if v != "" {
			q.Set(name, v)
		}
	}
	setFlag(q, "desc", r.Desc)
	setLimit(q, r.Limit)
	return readLines[Doc](ctx, d.c, http.MethodGet, d.path("docs")+"?"+q.Encode(), nil)
}

func (d *clientDB) Changes(ctx context.Context, o ChangesOptions) iter.Seq2[Change, error] {
	q := url.Values{}
	if o.Since != "" {
		q.Set("since", string(o.Since))
	}
	setFlag(q, "docs", o.Docs)
	setLimit(q, o.Limit)
	if !o.Follow {
		return readLines[Change](ctx, d.c, http.MethodGet, d.path("changes")+"?"+q.Encode(), nil)
	}
	q.Set("feed", "sse")
	return readFeed[Change](ctx, d.c, d.path("changes")+"?"+q.Encode())
}

func (d *clientDB) Conflicts(ctx context.Context, id string) iter.Seq2[Conflict, error] {
	return array[Conflict](ctx, d.c, d.path("conflicts")+"?id="+url.QueryEscape(id))
}

func (d *clientDB) Watch(ctx context.Context) iter.Seq2[LiveEvent, error] {
	return readFeed[LiveEvent](ctx, d.c, d.path("live"))
}
