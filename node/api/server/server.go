package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/toftdb/toft/node/api"
)

// Options is what a server is made of.
type Options struct {
	API api.API
	Log *slog.Logger // default: discards
	// Heartbeat is how often a live feed that has nothing to tell shows that it is
	// alive. Default 15 s: shorter than the idle timeouts of common proxies.
	Heartbeat time.Duration
}

// Server answers requests from an API.
type Server struct {
	api       api.API
	log       *slog.Logger
	heartbeat time.Duration
	mux       *http.ServeMux
	// closing ends when Serve is told to end. Live feeds end with it; other requests
	// get a moment to finish.
	closing context.Context
	close   context.CancelFunc
}

const (
	defaultHeartbeat = 15 * time.Second
	// grace is what requests get to finish when the server ends. `toft daemon` ends
	// within 2 s of SIGTERM, and the node wants some of that to close.
	grace = time.Second

	maxHeader  = 64 << 10 // an id is ≤ 1,024 bytes, thrice that when escaped
	maxRequest = 64 << 10 // bodies that are not documents
	// A document is ≤ 256 KiB of CBOR; JSON of the same may be larger, six times for
	// text of control characters.
	maxDocument = 2 << 20
	maxBulk     = 16 << 20
	maxWrites   = 10_000 // lines of one bulk write
)

// New returns a server. It answers at once as an http.Handler; [Server.Serve] adds
// a listener.
func New(o Options) *Server {
	s := &Server{api: o.API, log: o.Log, heartbeat: o.Heartbeat, mux: http.NewServeMux()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.heartbeat <= 0 {
		s.heartbeat = defaultHeartbeat
	}
	s.closing, s.close = context.WithCancel(context.Background())
	for _, r := range Routes() {
		s.mux.HandleFunc(r.Method+" "+r.Path, func(w http.ResponseWriter, req *http.Request) {
			if err := r.serve(s, w, req); err != nil {
				s.problem(w, req, err)
			}
		})
	}
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, pattern := s.mux.Handler(r)
	if pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
	// The mux would answer in plain text: 404, or 405 with an Allow header.
	miss := statusOnly{header: w.Header()}
	h.ServeHTTP(&miss, r)
	w.Header().Del("X-Content-Type-Options")
	if miss.status == http.StatusMethodNotAllowed {
		s.problem(w, r, api.ErrMethod.With(r.Method+" is not for "+r.URL.Path, "allowed: "+w.Header().Get("Allow")))
		return
	}
	s.problem(w, r, api.ErrNotFound.With("no such route: "+r.URL.Path, "the routes are in docs/cli.md"))
}

// statusOnly takes the header and the status of an answer and drops its body.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(code int)        { s.status = code }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }

// Serve answers on ln until ctx ends; live feeds then end, other requests have a
// second to finish, and ln is closed. It returns nil after such an end.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // ends with ctx; Serve ends it and waits for it
		defer close(done)
		<-ctx.Done()
		s.close()
		end, stop := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer stop()
		if err := h.Shutdown(end); err != nil {
			_ = h.Close() // whoever did not finish in time is cut off
		}
	}()
	err := h.Serve(ln)
	cancel()
	<-done
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
