package config

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func field(t *testing.T, err error) string {
	t.Helper()
	var f *FieldError
	require.ErrorAs(t, err, &f)
	return f.Field
}

func TestZeroAndDefaultPassCheck(t *testing.T) {
	require.NoError(t, Config{Dir: "x"}.Check())
	require.NoError(t, Default("x").Check())
}

func TestCheckNamesTheField(t *testing.T) {
	for want, c := range map[string]Config{
		"dir":       {},
		"user":      {Dir: "x", User: strings.Repeat("a", 65)},
		"device":    {Dir: "x", Device: "lap\ttop"},
		"network":   {Dir: "x", Network: "wan"},
		"listen":    {Dir: "x", Listen: []string{"0.0.0.0:4001"}},
		"log_level": {Dir: "x", LogLevel: "loud"},
		"history":   {Dir: "x", History: "some"},
	} {
		require.Equal(t, want, field(t, c.Check()), want)
	}
	require.Equal(t, "user", field(t, Config{Dir: "x", User: " ann"}.Check()))
	require.Equal(t, "user", field(t, Config{Dir: "x", User: "e\u0301"}.Check()), "not NFC")
	require.Equal(t, "user", field(t, Config{Dir: "x", User: "a\u202eb"}.Check()), "a bidi override can disguise a name")
	require.Equal(t, "listen", field(t, Config{Dir: "x", Listen: make([]string, 17)}.Check()))
}

func TestInitIsIdempotentAndKeepsItsPort(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	first, err := Init(dir, env("TOFT_USER", "ann"), Config{Device: "laptop"}, rand.Reader)
	require.NoError(t, err)
	require.Equal(t, "ann", first.User)
	require.Equal(t, "laptop", first.Device)
	require.Equal(t, Public, first.Network)
	require.Len(t, first.Listen, 4)
	require.NotContains(t, first.Listen[1], "/tcp/0")

	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	again, err := Init(dir, env("TOFT_USER", "somebody else"), Config{}, rand.Reader)
	require.NoError(t, err)
	require.Equal(t, first, again)

	loaded, err := Load(dir, env())
	require.NoError(t, err)
	require.Equal(t, first, loaded)

	_, err = Init(dir, env(), Config{User: "bob"}, rand.Reader)
	require.Equal(t, "user", field(t, err))
	require.ErrorContains(t, err, `"ann" already`)
}

func TestPassphraseFileIsFoundFromEverywhere(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(t.TempDir())
	c, err := Init(dir, env(), Config{PassphraseFile: "pw"}, rand.Reader)
	require.NoError(t, err)
	require.True(t, filepath.IsAbs(c.PassphraseFile))
	_, err = Init(dir, env(), Config{PassphraseFile: "pw"}, rand.Reader)
	require.NoError(t, err)
	t.Chdir(dir)
	_, err = Init(dir, env(), Config{PassphraseFile: "pw"}, rand.Reader)
	require.Equal(t, "passphrase_file", field(t, err), "another file of that name")
}

func TestInitNeedsNothing(t *testing.T) {
	c, err := Init(t.TempDir(), env(), Config{}, rand.Reader)
	require.NoError(t, err)
	require.NotEmpty(t, c.User)
	require.NotEmpty(t, c.Device)
}

func TestEnvironmentComesAfterTheFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(PathsOf(dir).Config, []byte("user = \"ann\"\nnetwork = \"lan\"\n"), 0o600))
	c, err := Load(dir, env("TOFT_USER", "bob", "TOFT_LISTEN", "/ip4/127.0.0.1/tcp/0,/ip6/::1/tcp/0"))
	require.NoError(t, err)
	require.Equal(t, "bob", c.User)
	require.Equal(t, LAN, c.Network)
	require.Equal(t, []string{"/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"}, c.Listen)
	require.Equal(t, "info", c.LogLevel, "the default shows through")
}

func TestBadFileIsRefusedWithItsPlace(t *testing.T) {
	for text, want := range map[string]string{
		"usr = \"ann\"\n":                 "line 1: unknown key usr",
		"user = \"ann\"\nnetwork =\n":     "line 2",
		"listen = \"/ip4/0.0.0.0/tcp/1\"": "line 1",
		strings.Repeat("#", maxFile+1):    "larger than",
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(PathsOf(dir).Config, []byte(text), 0o600))
		_, err := Load(dir, env())
		require.ErrorContains(t, err, want)
		require.Equal(t, PathsOf(dir).Config, field(t, err))
	}
}

func TestDefaultDir(t *testing.T) {
	require.Equal(t, "/x", DefaultDir(env("TOFT_DIR", "/x", "XDG_DATA_HOME", "/y")))
	require.Equal(t, filepath.Join("/y", "toft"), DefaultDir(env("XDG_DATA_HOME", "/y")))
	require.Equal(t, "toft", filepath.Base(DefaultDir(env())))
}

func TestSocketLiesInTheDirectory(t *testing.T) {
	p := PathsOf(t.TempDir())
	require.NoError(t, os.WriteFile(p.SocketAddr, []byte("/stale/api.sock\n"), 0o600))
	socket, err := p.ListenSocket(env())
	require.NoError(t, err)
	require.Equal(t, p.Socket, socket)
	again, err := p.DialSocket()
	require.NoError(t, err)
	require.Equal(t, socket, again, "the stale pointer is gone")
}

func TestLongSocketPathMovesToTheRuntimeDirectory(t *testing.T) {
	run, err := os.MkdirTemp("", "run")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(run) })
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	require.NoError(t, os.MkdirAll(dir, 0o700))
	p := PathsOf(dir)

	socket, err := p.ListenSocket(env("XDG_RUNTIME_DIR", run))
	require.NoError(t, err)
	require.Less(t, len(socket), maxSocket)
	require.Equal(t, run, filepath.Dir(filepath.Dir(socket)))
	dial, err := p.DialSocket()
	require.NoError(t, err)
	require.Equal(t, socket, dial)
	_, err = p.ListenSocket(env("XDG_RUNTIME_DIR", run))
	require.NoError(t, err, "a second start uses the same directory")

	// Somebody else could have made it first: others may read and write it.
	require.NoError(t, os.Chmod(filepath.Dir(socket), 0o777))
	_, err = p.ListenSocket(env("XDG_RUNTIME_DIR", run))
	require.ErrorContains(t, err, "not a directory of this user alone")

	require.NoError(t, os.WriteFile(p.SocketAddr, []byte("not a path"), 0o600))
	_, err = p.DialSocket()
	require.ErrorContains(t, err, "restart the daemon")
}

func TestInitialised(t *testing.T) {
	p := PathsOf(t.TempDir())
	require.False(t, p.Initialised())
	require.NoError(t, os.WriteFile(p.Keystore, nil, 0o600))
	require.True(t, p.Initialised())
}

func TestDrawPortGivesUpOnBrokenRandomness(t *testing.T) {
	_, err := drawPort(strings.NewReader("abc"))
	require.Error(t, err)
	require.False(t, errors.As(err, new(*FieldError)))
}

func TestCleanNameAlwaysPassesCheck(t *testing.T) {
	for _, s := range []string{"", " ", "host\x00name", strings.Repeat("é", 40), "e\u0301", "\xff\xfe", "a\u200fb"} {
		require.Empty(t, nameFault(cleanName(s, "me")), "%q", s)
	}
}
