package server

import (
	"iter"
	"net/http"

	"github.com/toftdb/toft/node/api"
)

// withDB runs a sequence of the database that the path names.
func withDB[T any](s *Server, r *http.Request, f func(api.DB) iter.Seq2[T, error]) iter.Seq2[T, error] {
	db, err := s.findDB(r)
	if err != nil {
		return failed[T](err)
	}
	return f(db)
}

func (s *Server) dbLog(r *http.Request) iter.Seq2[api.Commit, error] {
	q := query{r: r}
	o := api.LogOptions{ID: q.text("id"), Void: q.flag("void"), Limit: q.count("limit")}
	if q.err != nil {
		return failed[api.Commit](q.err)
	}
	return withDB(s, r, func(db api.DB) iter.Seq2[api.Commit, error] { return db.Log(r.Context(), o) })
}

func (s *Server) diff(r *http.Request) iter.Seq2[api.DocDiff, error] {
	q := query{r: r}
	return withDB(s, r, func(db api.DB) iter.Seq2[api.DocDiff, error] {
		return db.Diff(r.Context(), q.text("id"), q.text("from"), q.text("to"))
	})
}

func (s *Server) revert(r *http.Request) (api.PutResult, error) {
	req, err := readJSON[api.RevertRequest](r)
	if err != nil {
		return api.PutResult{}, err
	}
	db, err := s.findDB(r)
	if err != nil {
		return api.PutResult{}, err
	}
	return db.Revert(r.Context(), r.PathValue("id"), req.To)
}

func (s *Server) snapshots(r *http.Request) iter.Seq2[api.Snapshot, error] {
	return withDB(s, r, func(db api.DB) iter.Seq2[api.Snapshot, error] { return db.Snapshots(r.Context()) })
}

func (s *Server) createSnapshot(r *http.Request) (api.Snapshot, error) {
	req, err := readJSON[api.SnapshotRequest](r)
	if err != nil {
		return api.Snapshot{}, err
	}
	db, err := s.findDB(r)
	if err != nil {
		return api.Snapshot{}, err
	}
	return db.CreateSnapshot(r.Context(), req.Label, req.At)
}

func (s *Server) deleteSnapshot(r *http.Request) error {
	db, err := s.findDB(r)
	if err != nil {
		return err
	}
	return db.DeleteSnapshot(r.Context(), r.PathValue("label"))
}

func (s *Server) verify(r *http.Request) (api.VerifyReport, error) {
	req, err := readJSON[api.VerifyRequest](r)
	if err != nil {
		return api.VerifyReport{}, err
	}
	db, err := s.findDB(r)
	if err != nil {
		return api.VerifyReport{}, err
	}
	return db.Verify(r.Context(), req.Deep)
}

func (s *Server) repair(r *http.Request) (api.VerifyReport, error) {
	db, err := s.findDB(r)
	if err != nil {
		return api.VerifyReport{}, err
	}
	return db.Repair(r.Context())
}

func (s *Server) compact(r *http.Request) (api.Summary, error) {
	o, err := readJSON[api.CompactOptions](r)
	if err != nil {
		return api.Summary{}, err
	}
	db, err := s.findDB(r)
	if err != nil {
		return api.Summary{}, err
	}
	return db.Compact(r.Context(), o)
}

func (s *Server) gc(r *http.Request) (api.Summary, error) {
	o, err := readJSON[api.GCOptions](r)
	if err != nil {
		return api.Summary{}, err
	}
	db, err := s.findDB(r)
	if err != nil {
		return api.Summary{}, err
	}
	return db.GC(r.Context(), o)
}
