package server_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/api/apitest"
	"github.com/toftdb/toft/node/api/server"
)

// notes returns a node with a database notes that holds one document.
func notes(t *testing.T) *apitest.Node {
	t.Helper()
	a := apitest.NewWorld().Node("ann", "laptop")
	team, err := a.Team(t.Context(), api.Personal)
	require.NoError(t, err)
	db, err := team.CreateDB(t.Context(), "notes")
	require.NoError(t, err)
	_, err = db.Put(t.Context(), api.Doc{"_id": "milk", "n": int64(1<<53 + 1)})
	require.NoError(t, err)
	return a
}

// ask sends one request without a client.
func ask(t *testing.T, h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestDocumentOverHTTP(t *testing.T) {
	s := server.New(server.Options{API: notes(t)})
	w := ask(t, s, "GET", "/v1/dbs/notes/docs/milk", "")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Contains(t, w.Body.String(), `{"_id":"milk","_rev":"1-`)
	require.Contains(t, w.Body.String(), `"n":9007199254740993}`)
	rev := w.Header().Get("ETag")
	require.Regexp(t, `^"1-[0-9a-f]{16}"$`, rev)

	w = ask(t, s, "GET", "/v1/dbs/notes/docs/milk", "", "If-None-Match", rev)
	require.Equal(t, 304, w.Code)
	require.Empty(t, w.Body.String())

	w = ask(t, s, "PUT", "/v1/dbs/notes/docs/milk", `{"n":2}`, "If-Match", rev)
	require.Equal(t, 200, w.Code)
	require.Regexp(t, `^"2-`, w.Header().Get("ETag"))
	w = ask(t, s, "PUT", "/v1/dbs/notes/docs/milk", `{"n":3}`, "If-Match", rev)
	require.Equal(t, 409, w.Code)
	require.Empty(t, w.Header().Get("ETag"))
	w = ask(t, s, "PUT", "/v1/dbs/notes/docs/milk", `{"n":3}`, "If-None-Match", "*")
	require.Equal(t, 409, w.Code)
	w = ask(t, s, "PATCH", "/v1/dbs/notes/docs/milk", `{"more":1.0}`)
	require.Equal(t, 200, w.Code)
	w = ask(t, s, "GET", "/v1/dbs/notes/docs", "")
	require.Equal(t, "application/jsonl", w.Header().Get("Content-Type"))
	require.Contains(t, w.Body.String(), `"more":1.0,"n":2}`+"\n")
}

func TestProblems(t *testing.T) {
	s := server.New(server.Options{API: notes(t)})
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for _, c := range []struct {
		method, path, body string
		header             []string
		status             int
		kind               string
	}{
		{"GET", "/v1/nothing", "", nil, 404, "not_found"},
		{"DELETE", "/v1/status", "", nil, 405, "method"},
		{"GET", "/v1/dbs/none/docs/x", "", nil, 404, "not_found"},
		{"GET", "/v1/dbs/notes/docs/none", "", nil, 404, "not_found"},
		{"POST", "/v1/dbs/notes/docs", `{"a":1,"a":2}`, nil, 400, "bad_document"},
		{"POST", "/v1/dbs/notes/docs", `{"a":{"b":1,"b":2}}`, nil, 400, "bad_document"},
		{"POST", "/v1/dbs/notes/docs", `{"a":`, nil, 400, "bad_document"},
		{"POST", "/v1/dbs/notes/docs", `{"a":1} x`, nil, 400, "bad_document"},
		{"POST", "/v1/dbs/notes/docs", ``, nil, 400, "bad_document"},
		{"POST", "/v1/dbs/notes/docs", `null`, nil, 400, "bad_document"},
		{"POST", "/v1/dbs/notes/docs", `[1]`, nil, 400, "bad_document"},
		{"POST", "/v1/dbs/notes/docs", `{"a":9223372036854775808}`, nil, 400, "bad_document"},
		{"POST", "/v1/dbs/notes/docs", `{"a":1e999}`, nil, 400, "bad_document"},
		{"POST", "/v1/dbs/notes/docs", "{\"a\":\"\xff\"}", nil, 400, "bad_document"},
		{"POST", "/v1/dbs/notes/docs", `{"a":` + deep + `}`, nil, 400, "bad_document"},
		{"POST", "/v1/dbs/notes/docs", `{"a":"` + strings.Repeat("x", 2<<20) + `"}`, nil, 413, "too_large"},
		{"PUT", "/v1/dbs/notes/docs/x", `{"_id":"y"}`, nil, 400, "usage"},
		{"PUT", "/v1/dbs/notes/docs/x", `{}`, []string{"If-Match", "no quotes"}, 400, "usage"},
		{"PUT", "/v1/dbs/notes/docs/x", `{}`, []string{"If-None-Match", `"1-a"`}, 400, "usage"},
		{"GET", "/v1/dbs/notes/docs?limit=-1", "", nil, 400, "usage"},
		{"GET", "/v1/dbs/notes/docs?desc=maybe", "", nil, 400, "usage"},
		{"GET", "/v1/dbs/notes/changes?feed=carrier-pigeon", "", nil, 400, "usage"},
		{"GET", "/v1/dbs/notes/changes?since=nonsense&feed=sse", "", nil, 400, "usage"},
		{"POST", "/v1/teams", `{"name":"x","colour":"red"}`, nil, 400, "usage"},
		{"POST", "/v1/teams", `{"name":"x","name":"y"}`, nil, 400, "usage"},
		{"POST", "/v1/teams", `{"name":"` + strings.Repeat("x", 64<<10) + `"}`, nil, 413, "too_large"},
		{"POST", "/v1/teams/personal/invites", `{"kind":"pet"}`, nil, 400, "usage"},
		{"POST", "/v1/teams/personal/invites", `{"kind":"device","maxUses":7}`, nil, 400, "usage"},
		{"POST", "/v1/join", `{"code":"x"}`, nil, 400, "invite_invalid"},
		{"POST", "/v1/dbs/notes/bulk", "{\"doc\":{}}\n{\"doc\":{},\"ifrev\":\"1-a\"}\n", nil, 400, "usage"},
		{"POST", "/v1/dbs/notes/bulk", strings.Repeat("{\"doc\":{}}\n", 10_001), nil, 413, "too_large"},
	} {
		w := ask(t, s, c.method, c.path, c.body, c.header...)
		name := c.method + " " + c.path + " " + c.body[:min(len(c.body), 40)]
		require.Equal(t, c.status, w.Code, name)
		require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"), name)
		e, err := api.Unmarshal[api.Error](w.Body.Bytes())
		require.NoError(t, err, name)
		require.Equal(t, "toft:"+c.kind, e.Type, name)
		require.Equal(t, c.status, e.Status, name)
		require.NotEmpty(t, e.Detail, name)
		require.NotZero(t, e.Code, name)
	}
	w := ask(t, s, "POST", "/v1/dbs/notes/bulk", "{\"doc\":{}}\n\n{nonsense}\n")
	require.Contains(t, w.Body.String(), "line 3:")
	w = ask(t, s, "GET", "/v1/dbs/notes", "")
	require.Contains(t, w.Body.String(), `"docs":1`, "nothing that was refused was written")
	require.Equal(t, "GET, HEAD", ask(t, s, "DELETE", "/v1/status", "").Header().Get("Allow"))
}

func TestSocketIsForThisUserAlone(t *testing.T) {
	socket, _ := serve(t, notes(t))
	info, err := os.Stat(socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

// open starts a raw feed and returns its lines.
func open(t *testing.T, socket, path string, header ...string) *bufio.Reader {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(conn, "GET "+path+" HTTP/1.0\r\nHost: toft\r\n"+strings.Join(header, "\r\n")+"\r\n\r\n")
	require.NoError(t, err)
	return bufio.NewReader(conn)
}

// until reads lines up to one that starts with prefix.
func until(t *testing.T, r *bufio.Reader, prefix string) string {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		require.NoError(t, err, "waiting for %q", prefix)
		if strings.HasPrefix(line, prefix) {
			return strings.TrimSpace(line)
		}
	}
}

func TestFeedBeatsAndResumesAndEnds(t *testing.T) {
	a := notes(t)
	socket, stop := serve(t, a)
	live := open(t, socket, "/v1/dbs/notes/live")
	until(t, live, "HTTP/1.0 200")
	require.Equal(t, "Content-Type: text/event-stream", until(t, live, "Content-Type"))
	require.Equal(t, "event: init", until(t, live, "event:"))
	require.Contains(t, until(t, live, "data:"), `"id":"milk"`)
	require.Equal(t, "event: ready", until(t, live, "event:"))
	until(t, live, ":") // a heartbeat

	feed := open(t, socket, "/v1/dbs/notes/changes?feed=sse")
	cursor := strings.TrimPrefix(until(t, feed, "id: "), "id: ")
	db, err := a.DB(t.Context(), "notes")
	require.NoError(t, err)
	_, err = db.Put(t.Context(), api.Doc{"_id": "bread"})
	require.NoError(t, err)
	again := open(t, socket, "/v1/dbs/notes/changes?feed=sse", "Last-Event-ID: "+cursor)
	require.Contains(t, until(t, again, "data:"), `"id":"bread"`, "it goes on after the cursor")

	stop()
	require.Equal(t, "event: error", until(t, live, "event: e"))
	require.Contains(t, until(t, live, "data:"), `"toft:closed"`)
}

// flood is a database whose watch never ends and counts what it could tell.
type flood struct {
	api.DB
	told chan int
}

func (f flood) Watch(ctx context.Context) iter.Seq2[api.LiveEvent, error] {
	return func(yield func(api.LiveEvent, error) bool) {
		text := strings.Repeat("x", 10_000)
		n := 0
		defer func() { f.told <- n }()
		for ; ctx.Err() == nil; n++ {
			if !yield(api.LiveEvent{Op: api.OpAdd, ID: "x", Doc: api.Doc{"text": text}}, nil) {
				return
			}
		}
	}
}

// odd is a node with one odd database.
type odd struct {
	api.API
	db api.DB
}

func (o odd) DB(context.Context, string) (api.DB, error) { return o.db, nil }

func TestSlowReaderHoldsUpNobodyElse(t *testing.T) {
	f := flood{told: make(chan int, 1)}
	socket, stop := serve(t, odd{API: notes(t), db: f})
	open(t, socket, "/v1/dbs/x/live") // and never reads
	c := dial(t, socket)
	for range 50 { // others are answered meanwhile
		_, err := c.Status(t.Context())
		require.NoError(t, err)
	}
	stop()
	require.Less(t, <-f.told, 10_000, "the source was held, not read into memory")
}

// torn is a database that breaks in the middle of a list.
type torn struct{ api.DB }

func (torn) All(context.Context, api.Range) iter.Seq2[api.Doc, error] {
	return func(yield func(api.Doc, error) bool) {
		for range 3 {
			if !yield(api.Doc{"_id": "x"}, nil) {
				return
			}
		}
		yield(nil, api.ErrVerify.With("block bafk is damaged", "toft repair"))
	}
}

func (torn) Watch(context.Context) iter.Seq2[api.LiveEvent, error] {
	return func(yield func(api.LiveEvent, error) bool) {
		_ = yield(api.LiveEvent{Op: api.OpReady}, nil) && yield(api.LiveEvent{}, api.ErrKeyLocked.With("no key", ""))
	}
}

func (torn) Info(context.Context) (api.DBInfo, error) { return api.DBInfo{ID: "x"}, nil }

func TestErrorInTheMiddleOfAStream(t *testing.T) {
	socket, _ := serve(t, odd{API: notes(t), db: torn{}})
	db, err := dial(t, socket).DB(t.Context(), "x")
	require.NoError(t, err)
	n := 0
	for _, e := range db.All(t.Context(), api.Range{}) {
		if err = e; err == nil {
			n++
		}
	}
	require.Equal(t, 3, n)
	require.ErrorIs(t, err, api.ErrVerify)
	require.Equal(t, "toft repair", api.ErrorOf(err).Hint)
	for _, err = range db.Watch(t.Context()) {
	}
	require.ErrorIs(t, err, api.ErrKeyLocked)
}

func TestDaemonThatDiesIsNoticed(t *testing.T) {
	socket, stop := serve(t, notes(t))
	c := dial(t, socket)
	db, err := c.DB(t.Context(), "notes")
	require.NoError(t, err)
	next, end := iter.Pull2(db.Watch(t.Context()))
	defer end()
	_, err, ok := next()
	require.NoError(t, err)
	require.True(t, ok)
	stop()
	for ok && err == nil {
		_, err, ok = next()
	}
	require.ErrorIs(t, err, api.ErrClosed)
	_, err = c.Status(t.Context())
	require.ErrorIs(t, err, api.ErrNoDaemon)
}

func TestServeEndsWhenTheListenerBreaks(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = server.New(server.Options{API: notes(t)}).Serve(ctx, ln)
	require.ErrorIs(t, err, net.ErrClosed)
	require.False(t, errors.Is(err, http.ErrServerClosed))
}

func TestRoutesAreTold(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range server.Routes() {
		require.False(t, seen[r.Method+r.Path])
		seen[r.Method+r.Path] = true
		require.NotEmpty(t, r.Summary)
		require.Equal(t, r.Shape == server.None, r.Result == nil, r.Path)
	}
	text, err := os.ReadFile("../../../docs/cli.md")
	require.NoError(t, err)
	for _, r := range server.Routes() {
		require.Contains(t, string(text), "`"+r.Method+" "+r.Path+"`", "docs/cli.md lists every route")
	}
}
