package api

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client is an [API] that lives in a running daemon. It keeps a few connections
// open between calls; Close lets go of them.
type Client struct {
	http   *http.Client
	socket string
}

var _ API = (*Client)(nil)

const (
	// maxAnswer bounds what is read of one answer that is not a stream: the chain of
	// a team of the largest supported history is below it.
	maxAnswer = 128 << 20
	// maxLine bounds one line or event of a stream: a document of 256 KiB of CBOR, as
	// JSON, with its conflicts.
	maxLine = 8 << 20
)

// Dial connects to the daemon behind a unix socket and asks whether it answers.
// [ErrNoDaemon] if nobody does. The socket of a directory is
// config.PathsOf(dir).DialSocket().
func Dial(ctx context.Context, socket string) (*Client, error) {
	socket = strings.TrimPrefix(socket, "unix://")
	c := &Client{socket: socket, http: &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				conn, err := d.DialContext(ctx, "unix", socket)
				if err != nil || owned(conn) {
					return conn, err
				}
				_ = conn.Close() // nothing was said
				return nil, errNotOurs
			},
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if _, err := call[struct{}](ctx, c, http.MethodGet, "/healthz", nil, nil); err != nil {
		c.http.CloseIdleConnections()
		return nil, err
	}
	return c, nil
}

// errNotOurs: somebody else's process listens where our daemon should.
var errNotOurs = errors.New("the socket belongs to a process of another user")

// Close lets go of idle connections. Calls that are under way go on.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// path joins escaped segments. A segment of dots alone is escaped too, or it would
// be taken for a step in the path.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		if strings.Trim(s, ".") == "" {
			b.WriteString(strings.Repeat("%2E", len(s)))
			continue
		}
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// send makes a request and returns an answer of status 2xx, or the problem.
func (c *Client) send(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://toft"+path, bytes.NewReader(body))
	if err != nil {
		return nil, ErrUsage.Wrap(err, "")
	}
	if header != nil {
		req.Header = header
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, readProblem(res)
}

// broken says why a request got no answer, or only a part of one.
func (c *Client) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ErrorOf(ctx.Err())
	}
	if errors.Is(err, errLineTooLong) {
		return ErrTooLarge.Wrap(err, "")
	}
	if errors.Is(err, errNotOurs) {
		return ErrForbidden.With("at "+c.socket+" answers a process of another user", "nothing was said to it; use a directory that only you can write to")
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return ErrNoDaemon.With("no daemon answers at "+c.socket, "start it: toft daemon")
	}
	return ErrNoDaemon.With(fmt.Sprintf("the daemon at %s went away: %v", c.socket, err), "start it again: toft daemon")
}

func readProblem(res *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, maxLine))
	if err != nil {
		return ErrFailed.Wrap(err, "")
	}
	return parseProblem(body, res.Status)
}

func parseProblem(text []byte, otherwise string) error {
	e, err := Unmarshal[Error](text)
	if err != nil || e.Type == "" {
		return ErrFailed.With("the daemon answered "+otherwise, "")
	}
	return &e
}

// call makes a request whose answer is one noun. An empty answer is a zero T.
func call[T any](ctx context.Context, c *Client, method, path string, header http.Header, body []byte) (T, error) {
	var zero T
	res, err := c.send(ctx, method, path, header, body)
	if err != nil {
		return zero, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return zero, c.broken(ctx, err)
	}
	if len(text) == 0 {
		return zero, nil
	}
	return Unmarshal[T](text)
}

// callWith is call with a request of JSON.
func callWith[T, B any](ctx context.Context, c *Client, method, path string, header http.Header, request B) (T, error) {
	body, err := Marshal(request)
	if err != nil {
		var zero T
		return zero, err
	}
	return call[T](ctx, c, method, path, header, body)
}

// array yields the elements of a short list.
func array[T any](ctx context.Context, c *Client, path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		all, err := call[[]T](ctx, c, http.MethodGet, path, nil, nil)
		for _, v := range all {
			if !yield(v, nil) {
				return
			}
		}
		if err != nil {
			var zero T
			yield(zero, err)
		}
	}
}

// Status implements [API].
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/v1/status", nil, nil)
}

// Identity implements [API].
func (c *Client) Identity(ctx context.Context) (Identity, error) {
	return call[Identity](ctx, c, http.MethodGet, "/v1/identity", nil, nil)
}

// Peers implements [API].
func (c *Client) Peers(ctx context.Context) iter.Seq2[Peer, error] {
	return array[Peer](ctx, c, "/v1/peers")
}

// Connect implements [API].
func (c *Client) Connect(ctx context.Context, addr string) (Peer, error) {
	return callWith[Peer](ctx, c, http.MethodPost, "/v1/peers", nil, struct {
		Addr string `json:"addr"`
	}{addr})
}

// CreateTeam implements [API].
func (c *Client) CreateTeam(ctx context.Context, name string) (Team, error) {
	info, err := callWith[TeamInfo](ctx, c, http.MethodPost, "/v1/teams", nil, struct {
		Name string `json:"name"`
	}{name})
	if err != nil {
		return nil, err
	}
	return &clientTeam{c: c, info: info}, nil
}

// Team implements [API].
func (c *Client) Team(ctx context.Context, nameOrID string) (Team, error) {
	info, err := call[TeamInfo](ctx, c, http.MethodGet, "/v1/teams"+path(cmp.Or(nameOrID, "-")), nil, nil)
	if err != nil {
		return nil, err
	}
	return &clientTeam{c: c, info: info}, nil
}

// Teams implements [API].
func (c *Client) Teams(ctx context.Context) iter.Seq2[TeamInfo, error] {
	return array[TeamInfo](ctx, c, "/v1/teams")
}

// Join implements [API].
func (c *Client) Join(ctx context.Context, r JoinRequest) (Joined, error) {
	return callWith[Joined](ctx, c, http.MethodPost, "/v1/join", nil, r)
}

// DB implements [API].
func (c *Client) DB(ctx context.Context, nameOrID string) (DB, error) {
	if nameOrID == "" {
		return nil, ErrUsage.With("no database is named", "")
	}
	info, err := call[DBInfo](ctx, c, http.MethodGet, "/v1/dbs"+path(nameOrID), nil, nil)
	if err != nil {
		return nil, err
	}
	return &clientDB{c: c, info: info}, nil
}

// DBs implements [API].
func (c *Client) DBs(ctx context.Context) iter.Seq2[DBInfo, error] {
	return array[DBInfo](ctx, c, "/v1/dbs")
}
