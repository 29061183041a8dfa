package server

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/toftdb/toft/node/api"
)

// trailer carries the error of a long list of which lines were sent already.
const trailer = "Toft-Problem"

// lines makes a handler of a function that yields a long sequence.
func lines[T any](f func(s *Server, r *http.Request) iter.Seq2[T, error]) serveFunc {
	return func(s *Server, w http.ResponseWriter, r *http.Request) error { return writeLines(w, f(s, r)) }
}

// writeLines answers with one noun a line. An error before the first line is a
// plain error; a later one goes into the trailer.
func writeLines[T any](w http.ResponseWriter, seq iter.Seq2[T, error]) error {
	begun := false
	begin := func() {
		if !begun {
			w.Header().Set("Content-Type", "application/jsonl")
			w.Header().Set("Trailer", trailer)
			begun = true
		}
	}
	for v, err := range seq {
		line, merr := marshalIf(v, err)
		if merr != nil {
			if !begun {
				return merr
			}
			problem, perr := api.Marshal(api.ErrorOf(merr))
			if perr != nil {
				panic(http.ErrAbortHandler) // the reader sees a cut answer, not a short one
			}
			w.Header().Set(trailer, string(problem))
			return nil
		}
		begin()
		if _, err := w.Write(append(line, '\n')); err != nil {
			return nil // the reader went away
		}
	}
	begin()
	return nil
}

func marshalIf[T any](v T, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return api.Marshal(v)
}

// event is one event of a feed, or the error that ends it.
type event struct {
	name, id string
	data     []byte
	err      error
}

// feedQueue is how many events may be ready for the writer: enough to write many
// with one flush, few enough that a slow reader is noticed at its source.
const feedQueue = 64

// feedOf answers with server-sent events until the sequence, the reader or the
// server ends. label names an event and gives it its id.
func feedOf[T any](s *Server, w http.ResponseWriter, r *http.Request, seq func(*http.Request) iter.Seq2[T, error], label func(T) (string, string)) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()

	events := make(chan event, feedQueue)
	go func() { // ends with ctx, or with the sequence
		defer close(events)
		for v, err := range seq(r.WithContext(ctx)) {
			if err != nil && ctx.Err() != nil {
				return // it only says that we ended it
			}
			var e event
			if e.data, e.err = marshalIf(v, err); e.err == nil {
				e.name, e.id = label(v)
			}
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	err := s.writeFeed(w, events)
	cancel()
	for range events { // the goroutine has ended when the channel is closed
	}
	return err
}

// writeFeed writes events until the channel is closed or the reader is gone.
func (s *Server) writeFeed(w http.ResponseWriter, events <-chan event) error {
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	var buf bytes.Buffer
	begun := false
	beat := time.NewTicker(s.heartbeat)
	defer beat.Stop()
	for {
		buf.Reset()
		select {
		case e, ok := <-events:
			if !ok {
				return s.endFeed(w, begun)
			}
			if e.err != nil && !begun {
				return e.err // nothing was sent yet: a plain error
			}
			appendEvent(&buf, e)
		case <-beat.C:
			buf.WriteString(":\n\n")
		}
		begun = true
		if _, err := w.Write(buf.Bytes()); err != nil {
			return nil // the reader went away
		}
		if len(events) == 0 {
			if err := out.Flush(); err != nil {
				return nil // as above
			}
		}
	}
}

// endFeed tells a reader why a feed that has no end by itself ends.
func (s *Server) endFeed(w http.ResponseWriter, begun bool) error {
	if s.closing.Err() == nil {
		return nil
	}
	closed := api.ErrClosed.With("the daemon is stopping", "")
	if !begun {
		return closed
	}
	var buf bytes.Buffer
	appendEvent(&buf, event{err: closed})
	_, _ = w.Write(buf.Bytes()) // nobody is left to tell about a failure
	return nil
}

// appendEvent writes one event; its data is one line of JSON and needs no folding.
func appendEvent(buf *bytes.Buffer, e event) {
	if e.err != nil {
		problem, err := api.Marshal(api.ErrorOf(e.err))
		if err != nil {
			problem = []byte("{}")
		}
		e.name, e.data = "error", problem
	}
	fmt.Fprintf(buf, "event: %s\n", e.name)
	if e.id != "" {
		fmt.Fprintf(buf, "id: %s\n", e.id)
	}
	fmt.Fprintf(buf, "data: %s\n\n", e.data)
}
