package server

import (
	"context"
	"net/http"

	"github.com/toftdb/toft/node/api"
)

func (s *Server) explain(r *http.Request) (api.Explain, error) {
	q := query{r: r}
	id := q.text("id")
	if q.err != nil {
		return api.Explain{}, q.err
	}
	db, err := s.findDB(r)
	if err != nil {
		return api.Explain{}, err
	}
	return db.Explain(r.Context(), id)
}

// sync answers with a line whenever the state changes, at once and not when many
// have gathered.
func (s *Server) sync(w http.ResponseWriter, r *http.Request) error {
	q := query{r: r}
	wait := q.flag("wait")
	if q.err != nil {
		return q.err
	}
	db, err := s.findDB(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	return writeLines(prompt{w}, db.Sync(ctx, wait))
}

// prompt sends every write on its way.
type prompt struct{ http.ResponseWriter }

func (p prompt) Write(b []byte) (int, error) {
	n, err := p.ResponseWriter.Write(b)
	if err == nil {
		err = http.NewResponseController(p.ResponseWriter).Flush()
	}
	return n, err
}
