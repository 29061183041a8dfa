package server

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"

	"github.com/toftdb/toft/node/api"
)

// serveFunc answers one request, or returns the error that is its answer.
type serveFunc func(s *Server, w http.ResponseWriter, r *http.Request) error

// problem writes an error as RFC 9457 says. Only what is our own fault is logged:
// a caller must not be able to fill the log.
func (s *Server) problem(w http.ResponseWriter, r *http.Request, err error) {
	e := api.ErrorOf(err)
	if e.Is(api.ErrFailed) {
		s.log.Error("request failed", "method", r.Method, "route", r.Pattern, "err", err)
	}
	body, merr := api.Marshal(e)
	if merr != nil {
		body = []byte(`{"type":"toft:failed","title":"the error has no JSON form","status":500,"code":1}`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Del("ETag")
	w.WriteHeader(e.Status)
	_, _ = w.Write(append(body, '\n')) // a caller that went away has no use for it
}

// writeJSON answers with one noun.
func writeJSON[T any](w http.ResponseWriter, status int, v T) error {
	body, err := api.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // as in problem
	return nil
}

// answer makes a handler of a function that returns one noun.
func answer[T any](status int, f func(s *Server, r *http.Request) (T, error)) serveFunc {
	return func(s *Server, w http.ResponseWriter, r *http.Request) error {
		v, err := f(s, r)
		if err != nil {
			return err
		}
		return writeJSON(w, status, v)
	}
}

// list makes a handler of a function that yields a short sequence.
func list[T any](f func(s *Server, r *http.Request) iter.Seq2[T, error]) serveFunc {
	return func(s *Server, w http.ResponseWriter, r *http.Request) error {
		all := []T{}
		for v, err := range f(s, r) {
			if err != nil {
				return err
			}
			all = append(all, v)
		}
		return writeJSON(w, http.StatusOK, all)
	}
}

// noContent makes a handler of a function that returns nothing.
func noContent(f func(s *Server, r *http.Request) error) serveFunc {
	return func(s *Server, w http.ResponseWriter, r *http.Request) error {
		if err := f(s, r); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// readBody reads at most limit bytes.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, api.ErrTooLarge.With(fmt.Sprintf("the body is larger than %d bytes", limit), "")
		}
		return nil, api.ErrUsage.Wrap(fmt.Errorf("read the body: %w", err), "")
	}
	return body, nil
}

// readJSON reads a request that is not a document.
func readJSON[T any](r *http.Request) (T, error) {
	body, err := readBody(r, maxRequest)
	if err != nil {
		var zero T
		return zero, err
	}
	return api.UnmarshalStrict[T](body)
}

// query reads the parameters of a request and remembers the first that is wrong.
type query struct {
	r   *http.Request
	err error
}

func (q *query) text(name string) string { return q.r.URL.Query().Get(name) }

func (q *query) flag(name string) bool {
	s := q.text(name)
	if s == "" {
		return false
	}
	v, err := strconv.ParseBool(s)
	q.keep(name, s, err)
	return v
}

func (q *query) count(name string) int {
	s := q.text(name)
	if s == "" {
		return 0
	}
	v, err := strconv.ParseUint(s, 10, 31)
	q.keep(name, s, err)
	return int(v)
}

func (q *query) keep(name, s string, err error) {
	if err != nil && q.err == nil {
		q.err = api.ErrUsage.With(fmt.Sprintf("%s=%.40q makes no sense", name, s), "")
	}
}
