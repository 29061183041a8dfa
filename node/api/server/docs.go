package server

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"net/http"
	"strings"

	"github.com/toftdb/toft/node/api"
)

func (s *Server) dbs(r *http.Request) iter.Seq2[api.DBInfo, error] { return s.api.DBs(r.Context()) }

func (s *Server) createDB(r *http.Request) (api.DBInfo, error) {
	n, err := readJSON[newDB](r)
	if err != nil {
		return api.DBInfo{}, err
	}
	t, err := s.api.Team(r.Context(), cmp.Or(n.Team, api.Personal))
	if err != nil {
		return api.DBInfo{}, err
	}
	db, err := t.CreateDB(r.Context(), n.Name)
	if err != nil {
		return api.DBInfo{}, err
	}
	return db.Info(r.Context())
}

// findDB opens the database that the path names.
func (s *Server) findDB(r *http.Request) (api.DB, error) {
	return s.api.DB(r.Context(), r.PathValue("db"))
}

func (s *Server) dbInfo(r *http.Request) (api.DBInfo, error) {
	db, err := s.findDB(r)
	if err != nil {
		return api.DBInfo{}, err
	}
	return db.Info(r.Context())
}

func (s *Server) all(r *http.Request) iter.Seq2[api.Doc, error] {
	q := query{r: r}
	rng := api.Range{
		From: q.text("from"), To: q.text("to"), Prefix: q.text("prefix"),
		Desc: q.flag("desc"), Limit: q.count("limit"), AsOf: q.text("asOf"),
	}
	if q.err != nil {
		return failed[api.Doc](q.err)
	}
	db, err := s.findDB(r)
	if err != nil {
		return failed[api.Doc](err)
	}
	return db.All(r.Context(), rng)
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) error {
	q := query{r: r}
	o := api.GetOptions{Meta: q.flag("meta"), Conflicts: q.flag("conflicts"), AsOf: q.text("asOf")}
	if q.err != nil {
		return q.err
	}
	db, err := s.findDB(r)
	if err != nil {
		return err
	}
	d, err := db.Get(r.Context(), r.PathValue("id"), o)
	if err != nil {
		return err
	}
	setETag(w, d.Rev())
	if seen, ok := etag(r.Header.Get("If-None-Match")); ok && seen == d.Rev() {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return writeJSON(w, http.StatusOK, d)
}

func setETag(w http.ResponseWriter, rev string) {
	if rev != "" {
		w.Header().Set("ETag", `"`+rev+`"`)
	}
}

// etag reads one strong entity tag.
func etag(s string) (string, bool) {
	inner, front := strings.CutPrefix(s, `"`)
	inner, back := strings.CutSuffix(inner, `"`)
	return inner, front && back && inner != "" && !strings.Contains(inner, `"`)
}

// conds reads the conditions of a write from If-Match and If-None-Match.
func conds(r *http.Request) (c api.Cond, err error) {
	if s := r.Header.Get("If-Match"); s != "" {
		rev, ok := etag(s)
		if !ok {
			return c, api.ErrUsage.With(fmt.Sprintf("If-Match: %.40s is not one revision", s), `as in If-Match: "1-9f31c2d0a4b7e651"`)
		}
		c.IfRev = rev
	}
	if c.Durable, c.Wait, err = api.DurableOf(r.Header); err != nil {
		return c, err
	}
	switch s := r.Header.Get("If-None-Match"); s {
	case "":
	case "*":
		c.IfAbsent = true
	default:
		return c, api.ErrUsage.With("If-None-Match of a write is *", "")
	}
	return c, nil
}

// write runs one write and answers with its result and ETag.
func (s *Server) write(w http.ResponseWriter, r *http.Request, f func(api.DB, api.Cond) (api.PutResult, error)) error {
	c, err := conds(r)
	if err != nil {
		return err
	}
	db, err := s.findDB(r)
	if err != nil {
		return err
	}
	res, err := f(db, c)
	if err != nil {
		return err
	}
	setETag(w, res.Rev)
	return writeJSON(w, http.StatusOK, res)
}

func readDoc(r *http.Request) (api.Doc, error) {
	body, err := readBody(r, maxDocument)
	if err != nil {
		return nil, err
	}
	return api.ParseDoc(body)
}

func (s *Server) post(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(db api.DB, c api.Cond) (api.PutResult, error) {
		d, err := readDoc(r)
		if err != nil {
			return api.PutResult{}, err
		}
		return db.Put(r.Context(), d, c)
	})
}

func (s *Server) put(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(db api.DB, c api.Cond) (api.PutResult, error) {
		d, err := readDoc(r)
		if err != nil {
			return api.PutResult{}, err
		}
		id := r.PathValue("id")
		if have, ok := d["_id"]; ok && have != id {
			return api.PutResult{}, api.ErrUsage.With("the _id in the document is not the one in the path", "")
		}
		d["_id"] = id
		return db.Put(r.Context(), d, c)
	})
}

func (s *Server) patch(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(db api.DB, c api.Cond) (api.PutResult, error) {
		d, err := readDoc(r)
		if err != nil {
			return api.PutResult{}, err
		}
		return db.Patch(r.Context(), r.PathValue("id"), d, c)
	})
}

func (s *Server) delete(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(db api.DB, c api.Cond) (api.PutResult, error) {
		return db.Delete(r.Context(), r.PathValue("id"), c)
	})
}

func (s *Server) restore(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(db api.DB, _ api.Cond) (api.PutResult, error) {
		return db.Restore(r.Context(), r.PathValue("id"))
	})
}

func (s *Server) bulk(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r, maxBulk)
	if err != nil {
		return err
	}
	var writes []api.Write
	for n, line := range numbered(bytes.Lines(body)) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if len(writes) == maxWrites {
			return api.ErrTooLarge.With(fmt.Sprintf("more than %d writes at once", maxWrites), "send them in parts")
		}
		wr, err := api.UnmarshalStrict[api.Write](line)
		if err != nil {
			e := api.ErrorOf(err)
			return e.With(fmt.Sprintf("line %d: %s", n, e.Detail), e.Hint)
		}
		writes = append(writes, wr)
	}
	db, err := s.findDB(r)
	if err != nil {
		return err
	}
	results, err := db.Bulk(r.Context(), writes)
	if err != nil {
		return err
	}
	return writeLines(w, func(yield func(api.PutResult, error) bool) {
		for _, res := range results {
			if !yield(res, nil) {
				return
			}
		}
	})
}

// numbered counts from 1, as editors do.
func numbered[T any](seq iter.Seq[T]) iter.Seq2[int, T] {
	return func(yield func(int, T) bool) {
		n := 0
		for v := range seq {
			n++
			if !yield(n, v) {
				return
			}
		}
	}
}

func (s *Server) changes(w http.ResponseWriter, r *http.Request) error {
	q := query{r: r}
	o := api.ChangesOptions{Since: api.Cursor(q.text("since")), Limit: q.count("limit"), Docs: q.flag("docs")}
	switch feed := q.text("feed"); feed {
	case "":
	case "sse":
		o.Follow = true
		o.Since = cmp.Or(api.Cursor(r.Header.Get("Last-Event-ID")), o.Since)
	default:
		q.keep("feed", feed, api.ErrUsage)
	}
	if q.err != nil {
		return q.err
	}
	db, err := s.findDB(r)
	if err != nil {
		return err
	}
	if !o.Follow {
		return writeLines(w, db.Changes(r.Context(), o))
	}
	return feedOf(s, w, r, func(r *http.Request) iter.Seq2[api.Change, error] { return db.Changes(r.Context(), o) },
		func(c api.Change) (event, id string) { return "change", string(c.Cursor) })
}

func (s *Server) live(w http.ResponseWriter, r *http.Request) error {
	db, err := s.findDB(r)
	if err != nil {
		return err
	}
	return feedOf(s, w, r, func(r *http.Request) iter.Seq2[api.LiveEvent, error] { return db.Watch(r.Context()) },
		func(e api.LiveEvent) (event, id string) { return string(e.Op), "" })
}

func (s *Server) conflicts(r *http.Request) iter.Seq2[api.Conflict, error] {
	db, err := s.findDB(r)
	if err != nil {
		return failed[api.Conflict](err)
	}
	return db.Conflicts(r.Context(), r.URL.Query().Get("id"))
}
