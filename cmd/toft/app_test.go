package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/api/apitest"
)

// desk runs command lines in this process against nodes of a world in memory: what
// the commands do with their arguments, output and errors, without a node.
type desk struct {
	t     *testing.T
	world *apitest.World
	mu    sync.Mutex
	nodes map[string]*apitest.Node // by directory
	env   map[string]string
	clock func() time.Time
	// locked is what open answers, if anything.
	locked error
	// typed is what will be typed on the terminal.
	typed []string
}

func newDesk(t *testing.T) *desk {
	return &desk{t: t, world: apitest.NewWorld(), nodes: map[string]*apitest.Node{}, env: map[string]string{}, clock: time.Now}
}

// closable is a node in memory as a node of this process.
type closable struct{ *apitest.Node }

func (closable) Close() error { return nil }

func (d *desk) open(_ context.Context, c config.Config, _ *slog.Logger, _ func() (api.Secret, error)) (localNode, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locked != nil {
		return nil, d.locked
	}
	n := d.nodes[c.Dir]
	if n == nil {
		n = d.world.Node(c.User, c.Device)
		d.nodes[c.Dir] = n
		if err := os.WriteFile(c.Paths().Keystore, nil, 0o600); err != nil {
			return nil, err
		}
	}
	return closable{n}, nil
}

// result is what a command line did.
type result struct {
	out, err string
	code     int
}

func (d *desk) system(stdin string, out, errw *bytes.Buffer) system {
	return system{
		stdin: strings.NewReader(stdin), stdout: out, stderr: errw, now: d.clock, open: d.open,
		ask: func(string) (string, error) {
			if len(d.typed) == 0 {
				return "", errors.New("there is no terminal to ask on")
			}
			answer := d.typed[0]
			d.typed = d.typed[1:]
			return answer, nil
		},
		getenv: func(name string) string { return d.env[name] },
	}
}

func (d *desk) runIn(ctx context.Context, dir, stdin string, args ...string) result {
	var out, errw bytes.Buffer
	code := run(ctx, append([]string{"--dir", dir}, args...), d.system(stdin, &out, &errw))
	return result{out.String(), errw.String(), code}
}

// run runs a command line in the directory home and expects an exit code.
func (d *desk) run(dir string, code int, args ...string) result {
	d.t.Helper()
	r := d.runIn(d.t.Context(), dir, "", args...)
	require.Equal(d.t, code, r.code, "%v: %s", args, r.err)
	return r
}

// home makes a home for a user.
func (d *desk) home(user string) string {
	d.t.Helper()
	dir := filepath.Join(d.t.TempDir(), user)
	d.run(dir, 0, "init", "--user", user, "--device", user+"s")
	return dir
}

// daemon serves a home until the test ends or stop is called.
func (d *desk) daemon(dir string) (stop func() result) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan result, 1)
	go func() { done <- d.runIn(ctx, dir, "", "daemon") }()
	socket, err := config.PathsOf(dir).DialSocket()
	require.NoError(d.t, err)
	require.Eventually(d.t, func() bool {
		c, err := api.Dial(context.Background(), socket)
		return err == nil && c.Close() == nil
	}, 10*time.Second, time.Millisecond)
	var once sync.Once
	var r result
	stop = func() result {
		once.Do(func() { cancel(); r = <-done })
		return r
	}
	d.t.Cleanup(func() { stop() })
	return stop
}

// commands visits every command that does something itself.
func commands(c *cobra.Command, visit func(*cobra.Command)) {
	if c.Runnable() && c.Name() != "help" {
		visit(c)
	}
	for _, sub := range c.Commands() {
		commands(sub, visit)
	}
}

// TestExamplesRun runs the example of every command, as its --help shows it.
func TestExamplesRun(t *testing.T) {
	root := newApp(system{}, nil).root()
	commands(root, func(c *cobra.Command) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			require.NotEmpty(t, c.Example)
			require.NotEmpty(t, c.Short)
			if slow := map[string]string{"toft demo": "demo_test.go", "toft daemon": "TestDaemonTellsAndEnds"}[c.CommandPath()]; slow != "" {
				t.Skip("run by " + slow)
			}
			d := newDesk(t)
			ann, bob := d.home("ann"), d.home("bob")
			d.daemon(ann)
			d.daemon(bob)
			if c.CommandPath() != "toft team create" && c.CommandPath() != "toft team" {
				d.run(ann, 0, "team", "create", "fam")
			}
			if c.CommandPath() != "toft" && !strings.HasPrefix(c.CommandPath(), "toft team") {
				d.run(ann, 0, "db", "create", "notes")
				d.run(ann, 0, "put", "notes", "milk", `{"title":"milk"}`)
				d.run(ann, 0, "put", "notes", "old", `{}`)
				d.run(ann, 0, "del", "notes", "old")
				d.run(ann, 0, "snapshot", "create", "notes", "--label", "old")
			}
			code, inv, dir := "", "", ann
			if f := d.runIn(t.Context(), ann, "", "team", "invite", "member", "fam"); f.code == 0 {
				code = strings.TrimSpace(f.out)
				inv = code // in this world the id is the code
			}
			if c.Name() == "join" || c.CommandPath() == "toft keys import" {
				dir = bob
			}
			t.Chdir(t.TempDir())
			kit := kitText(api.RecoveryKit{User: "ann", Words: kitOf(d, ann), Teams: []api.KitTeam{{ID: teamOf(d, ann)}}})
			require.NoError(t, os.WriteFile("kit.txt", []byte(kit), 0o600))
			require.NoError(t, os.WriteFile("passphrase", []byte("correct horse\n"), 0o600))
			did, link := didOf(d, bob), ""
			if c.CommandPath() == "toft share join" {
				shared := d.run(ann, 0, "share", "with", did, "--json")
				s, err := api.Unmarshal[api.Shared]([]byte(shared.out))
				require.NoError(t, err)
				link = s.Link
			}
			switch c.Name() {
			case "role", "remove":
				d.run(bob, 0, "join", code, "--as", "bob")
			case "leave":
				d.run(bob, 0, "join", code, "--as", "bob")
				dir = bob
			case "unlock":
				d.run(ann, 0, "keys", "lock", "--passphrase-file", "passphrase")
			}
			for _, line := range strings.Split(c.Example, "\n") {
				line = strings.NewReplacer("$CODE", code, "$INVITE", inv, "$ADDR", "/ip4/127.0.0.1/tcp/1", "$DID", did, "$LINK", link).Replace(line)
				args, err := words(line)
				require.NoError(t, err)
				require.Equal(t, "toft", args[0])
				args, want := args[1:], 0
				switch c.Name() {
				case "watch":
					args, want = append(args, "--timeout", "200ms"), 9
				case "connect":
					want = 9 // nobody is at that address
				case "adopt":
					want = 4 // nobody was removed
				}
				if args[0] == "init" {
					dir = filepath.Join(t.TempDir(), "fresh")
				}
				r := d.runIn(t.Context(), dir, "", args...)
				require.Equal(t, want, r.code, "%s: %s", line, r.err)
			}
			help := d.run(ann, 0, append(strings.Fields(c.CommandPath())[1:], "--help")...)
			require.True(t, strings.HasPrefix(help.out, c.Example+"\n"), "help opens with the example")
		})
	})
}

// kitOf and teamOf look behind the door of a home.
func kitOf(d *desk, dir string) []api.Secret {
	kit, err := d.nodes[dir].RecoveryKit(d.t.Context())
	require.NoError(d.t, err)
	return kit.Words
}

func didOf(d *desk, dir string) string {
	id, err := d.nodes[dir].Identity(d.t.Context())
	require.NoError(d.t, err)
	return id.DID
}

func teamOf(d *desk, dir string) string {
	team, err := d.nodes[dir].Team(d.t.Context(), "")
	if err != nil {
		return ""
	}
	return team.ID()
}

// words splits a line as a shell does with plain and single-quoted words.
func words(line string) (all []string, err error) {
	word, quoted, begun := "", false, false
	for _, r := range line {
		switch {
		case r == '\'':
			quoted, begun = !quoted, true
		case r == ' ' && !quoted:
			if begun {
				all = append(all, word)
			}
			word, begun = "", false
		default:
			word, begun = word+string(r), true
		}
	}
	if quoted {
		return nil, errors.New("unclosed quote")
	}
	if begun {
		all = append(all, word)
	}
	return all, nil
}

func TestDaemonTellsAndEnds(t *testing.T) {
	d := newDesk(t)
	dir := filepath.Join(t.TempDir(), "fresh")
	stop := d.daemon(dir)
	d.run(dir, 0, "status")
	r := stop()
	require.Equal(t, 0, r.code)
	require.Contains(t, r.out, "socket:    "+filepath.Join(dir, "api.sock"))
	require.Contains(t, r.out, "toft --dir "+dir+" team create fam --db notes")
	require.NoFileExists(t, filepath.Join(dir, "api.sock"))
}

func TestExitCodes(t *testing.T) {
	d := newDesk(t)
	none := filepath.Join(t.TempDir(), "none")
	d.run(none, 11, "status")
	d.run(none, 11, "put", "notes", "{}")
	for _, args := range [][]string{{"peers"}, {"join", "x"}, {"connect", "x"}, {"watch", "x"}, {"changes", "x", "-f"}, {"invite"}, {"team", "invite", "device"}} {
		r := d.run(none, 10, args...)
		require.Contains(t, r.err, "try: start it: toft daemon")
	}
	ann := d.home("ann")
	d.daemon(ann)
	d.run(ann, 0, "db", "create", "notes")
	d.run(ann, 5, "db", "create", "notes")
	d.run(ann, 4, "get", "notes", "none")
	d.run(ann, 4, "db", "show", "none")
	d.run(ann, 4, "team", "show", "none")
	d.run(ann, 4, "team", "show")
	d.run(ann, 8, "join", "not a code")
	d.run(ann, 9, "watch", "notes", "--timeout", "50ms")
	d.run(ann, 64, "shout")
	d.run(ann, 64, "team", "shout")
	d.run(ann, 64, "put", "notes", "--shout", "{}")
	d.run(ann, 64, "put", "notes")
	d.run(ann, 64, "put", "notes", "id")
	d.run(ann, 64, "put", "notes", "id", "[1]")
	d.run(ann, 64, "put", "notes", `{"a":1,"a":2}`)
	d.run(ann, 64, "put", "notes", "id", `{"_id":"other"}`)
	d.run(ann, 64, "put", "notes", `{"_id":7}`)
	d.run(ann, 64, "put", "notes", "@/no/such/file")
	d.run(ann, 64, "put", "notes", "x", "{}", "--if-rev", "1-a", "--if-absent")
	d.run(ann, 64, "all", "notes", "--limit", "0")
	d.run(ann, 64, "all", "notes", "--limit", "-1")
	d.run(ann, 64, "all", "notes", "--range", "a")
	d.run(ann, 64, "changes", "notes", "--since", "nonsense")
	d.run(ann, 64, "team", "invite", "device", "--expires", "soon")
	d.run(ann, 64, "del", "notes", "a", "b", "--if-rev", "1-a")
	d.run(ann, 64, "daemon", "--listen", "127.0.0.1:80")
	d.run(ann, 64, "daemon", "--log-level", "loud")
	d.run(ann, 5, "init", "--user", "bob")
	d.run(ann, 0, "init", "--user", "ann")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := d.runIn(ctx, ann, "", "status")
	require.Equal(t, 130, r.code)
	require.Empty(t, r.err)
}

func TestErrorsAreTold(t *testing.T) {
	d := newDesk(t)
	ann := d.home("ann")
	d.run(ann, 0, "db", "create", "notes")
	r := d.run(ann, 64, "gte", "notes", "x")
	require.Equal(t, "error: \"gte\" is no command of toft\ntry: did you mean toft get?\n", r.err)
	require.Empty(t, r.out)
	r = d.run(ann, 4, "get", "notes", "x", "--json")
	e, err := api.Unmarshal[api.Error]([]byte(r.err))
	require.NoError(t, err)
	require.Equal(t, "toft:not_found", e.Type)
	require.Equal(t, 404, e.Status)
	require.Equal(t, 4, e.Code)
	r = d.run(ann, 64, "get", "--json")
	e, err = api.Unmarshal[api.Error]([]byte(r.err))
	require.NoError(t, err)
	require.Equal(t, "toft:usage", e.Type)
	r = d.run(ann, 64, "put", "notes", "x", `{"a":`)
	require.Contains(t, r.err, "ends too early")
	require.Contains(t, r.err, "nothing was written")
}

func TestBodies(t *testing.T) {
	d := newDesk(t)
	ann := d.home("ann")
	d.run(ann, 0, "db", "create", "notes")
	file := filepath.Join(t.TempDir(), "doc.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"from":"file"}`+"\n"), 0o600))
	require.Regexp(t, `^a 1-[0-9a-f]{16}\n$`, d.run(ann, 0, "put", "notes", "a", "@"+file).out)
	r := d.runIn(t.Context(), ann, `{"_id":"b","from":"stdin"}`, "put", "notes", "-")
	require.Equal(t, 0, r.code)
	require.Regexp(t, `^[0-9a-f-]{36} 1-`, d.run(ann, 0, "put", "notes", `{"from":"argument"}`).out)
	require.Contains(t, d.run(ann, 0, "get", "notes", "b").out, "{\n  \"_id\": \"b\",\n")
	require.Contains(t, d.run(ann, 0, "get", "notes", "b", "--json").out, `{"_id":"b",`)
	two := d.run(ann, 4, "get", "notes", "a", "nothing", "b")
	require.Len(t, strings.Split(strings.TrimSpace(two.out), "\n"), 2, "what is there is printed")
	require.Contains(t, two.err, "nothing")

	big := d.runIn(t.Context(), ann, `{"x":"`+strings.Repeat("x", maxInput)+`"}`, "put", "notes", "-")
	require.Equal(t, 64, big.code)
	require.Contains(t, big.err, "larger than")

	d.run(ann, 0, "put", "notes", "a", `{"more":9007199254740993,"from":null}`, "--merge")
	require.Regexp(t, `^\{"_id":"a","_rev":"2-[0-9a-f]{16}","more":9007199254740993\}\n$`, d.run(ann, 0, "get", "notes", "a", "--json").out)
	d.run(ann, 0, "put", "notes", `{"_id":"a","merged":true}`, "--merge")
	d.run(ann, 5, "put", "notes", "a", "{}", "--if-absent")
	d.run(ann, 5, "put", "notes", "a", "{}", "--if-rev", "1-0000000000000000")
}

func TestContentCannotDriveTheTerminal(t *testing.T) {
	d := newDesk(t)
	ann := d.home("ann")
	d.run(ann, 0, "db", "create", "notes")
	evil := "\u001b]0;owned\u0007\u009b2J\u202eabc\u007f"
	text, err := api.Marshal(api.Doc{"t": evil})
	require.NoError(t, err)
	d.run(ann, 0, "put", "notes", "x", string(text))
	for _, args := range [][]string{{"get", "notes", "x"}, {"get", "notes", "x", "--json"}, {"all", "notes"}, {"changes", "notes", "--docs"}, {"get", "notes", evil[4:8]}} {
		r := d.runIn(t.Context(), ann, "", args...)
		for _, bad := range []string{"\u001b", "\u0007", "\u009b", "\u202e", "\u007f"} {
			require.NotContains(t, r.out+r.err, bad, "%v", args)
		}
	}
	back, err := api.ParseDoc([]byte(d.run(ann, 0, "get", "notes", "x", "--json").out))
	require.NoError(t, err)
	require.Equal(t, evil, back["t"], "the JSON still says what was put")

	r := d.runIn(t.Context(), ann, "", "get", "notes", "\u009bx")
	require.Contains(t, r.err, `\u009bx`)
	require.Equal(t, `a\u000ab`, strings.ReplaceAll(clean("a\rb"), "d", "a"))
	require.Equal(t, `a\nb\tc`, cell("a\nb\tc"))
	require.Equal(t, "ok\ufffd", clean("ok\xff"))
}

func TestCommandWaitsForWhoHasTheStore(t *testing.T) {
	d := newDesk(t)
	ann := d.home("ann")
	d.locked = api.ErrStoreLocked.With("store is in use by toft (process 7)", "stop it first")
	at := time.Now()
	d.clock = func() time.Time { at = at.Add(3 * time.Second); return at }
	r := d.run(ann, 12, "status")
	require.Contains(t, r.err, "process 7")
	r = d.runIn(t.Context(), ann, "", "daemon")
	require.Equal(t, 12, r.code)

	d.locked, d.clock = nil, time.Now
	stop := d.daemon(ann)
	d.mu.Lock()
	d.locked = api.ErrStoreLocked.With("x", "")
	d.mu.Unlock()
	d.run(ann, 0, "status") // through the socket
	r = d.runIn(t.Context(), ann, "", "daemon")
	require.Equal(t, 12, r.code)
	require.Contains(t, r.err, "a daemon runs on")
	d.run(ann, 0, "status")
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.Equal(t, 9, d.runIn(ctx, ann, "", "status").code)
}

func TestLongDirectory(t *testing.T) {
	d := newDesk(t)
	run, err := os.MkdirTemp("", "r")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(run) })
	d.env["XDG_RUNTIME_DIR"] = run
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	d.run(dir, 0, "init")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan result, 1)
	go func() { done <- d.runIn(ctx, dir, "", "daemon") }()
	require.Eventually(t, func() bool { return d.runIn(t.Context(), dir, "", "peers").code == 0 }, 10*time.Second, 5*time.Millisecond)
	cancel()
	r := <-done
	require.Equal(t, 0, r.code)
	require.Contains(t, r.out, "socket:    "+run)
}

func TestInviteIsStrictAndSaysSo(t *testing.T) {
	d := newDesk(t)
	ann := d.home("ann")
	d.daemon(ann)
	d.run(ann, 0, "team", "create", "fam")
	r := d.run(ann, 0, "invite")
	require.Regexp(t, `^inv-[a-z2-7]{13}\n$`, r.out, "stdout has the code and nothing else")
	require.Contains(t, r.err, "as member, one use, expires ")
	require.Contains(t, r.err, "(in 168h0m0s)")
	require.Contains(t, r.err, "toft join CODE")
	require.Empty(t, d.run(ann, 0, "invite", "-q").err)
	require.Contains(t, d.run(ann, 0, "invite", "--max-uses", "0", "--expires", "never", "--role", "reader").err, "as reader, any number of uses, never expires")
	require.Contains(t, d.run(ann, 0, "team", "invite", "device").err, "to personal as member, one use, expires")
	require.Greater(t, len(d.run(ann, 0, "invite", "--qr").err), 500)
	inv, err := api.Unmarshal[api.Invite]([]byte(d.run(ann, 0, "invite", "--json").out))
	require.NoError(t, err)
	require.Equal(t, "open", inv.State)

	bob := d.home("bob")
	d.daemon(bob)
	joined := d.runIn(t.Context(), bob, inv.Code+"\n", "join", "-", "--as", "robert")
	require.Equal(t, 0, joined.code, joined.err)
	require.Contains(t, joined.out, "joined fam as member, admitted by ann")
	require.Contains(t, d.run(ann, 0, "team", "members").out, "robert")
	require.Contains(t, d.run(ann, 0, "team", "devices", "robert").out, "bobs")
	require.Contains(t, d.run(ann, 0, "peers").out, "robert")
	d.run(bob, 8, "join", inv.Code)
	d.run(bob, 6, "invite")
}

func TestLists(t *testing.T) {
	d := newDesk(t)
	ann := d.home("ann")
	d.run(ann, 0, "team", "create", "fam", "--db", "notes", "--db", "todos")
	require.Equal(t, 5, d.runIn(t.Context(), ann, "", "team", "create", "fam").code)
	r := d.run(ann, 3, "team", "create", "work", "--db", "a", "--db", "a")
	require.Contains(t, r.err, "team work is there, but not its database a")
	dbs, err := api.Unmarshal[[]api.DBInfo]([]byte(d.run(ann, 0, "db", "list", "--json").out))
	require.NoError(t, err)
	require.Len(t, dbs, 3)
	require.Equal(t, "[]\n", d.run(ann, 0, "conflicts", "notes", "--json").out)
	require.Empty(t, d.run(ann, 0, "conflicts", "notes").out)
	d.run(ann, 0, "put", "fam/notes", "b", "{}")
	d.run(ann, 0, "put", "fam/notes", "a", "{}")
	require.Regexp(t, `(?s)^\{"_id":"a".*\n\{"_id":"b"`, d.run(ann, 0, "all", "notes").out)
	require.Regexp(t, `^\{"_id":"b"[^\n]*\n$`, d.run(ann, 0, "all", "notes", "--desc", "--limit", "1").out)
	require.Empty(t, d.run(ann, 0, "all", "notes", "--range", "c..").out)
	del := d.run(ann, 0, "del", "notes", "a", "b")
	require.Len(t, strings.Split(strings.TrimSpace(del.out), "\n"), 2)
	rows := d.run(ann, 0, "changes", "notes").out
	require.Regexp(t, `^3 a deleted\n4 b deleted\n$`, rows)
	require.Regexp(t, `^4 b deleted\n$`, d.run(ann, 0, "changes", "notes", "--since", "3").out)
	require.Contains(t, d.run(ann, 0, "status").out, "in sync")
	require.Contains(t, d.run(ann, 0, "team", "log", "fam").out, "CREATE")
}

func TestSpans(t *testing.T) {
	for s, want := range map[string]time.Duration{"30m": 30 * time.Minute, "7d": 168 * time.Hour, "2w": 336 * time.Hour, "1.5d": 36 * time.Hour, "90s": 90 * time.Second} {
		got, err := parseSpan(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got)
	}
	for _, s := range []string{"", "d", "-1d", "0s", "7", "9999999d", "NaNd", "Infw"} {
		_, err := parseSpan(s)
		require.ErrorIs(t, err, api.ErrUsage, s)
	}
}

// brokenPipe fails every write, as a full disk behind stdout does.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestOutputThatIsLostIsAnError(t *testing.T) {
	d := newDesk(t)
	ann := d.home("ann")
	var errw bytes.Buffer
	s := d.system("", nil, &errw)
	s.stdout = brokenPipe{}
	require.Equal(t, 1, run(t.Context(), []string{"--dir", ann, "id"}, s))
	require.Contains(t, errw.String(), "no space left")
}
