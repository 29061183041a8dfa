package store

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// holdEnv makes this test binary a second process that holds a store.
const holdEnv = "TOFT_TEST_HOLD_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdEnv); dir != "" {
		os.Exit(hold(dir))
	}
	goleak.VerifyTestMain(m)
}

// hold opens the store, says so, and keeps it until its input ends.
func hold(dir string) int {
	s, err := Open(dir, Options{Holder: Holder{Command: "toft daemon", Started: time.Unix(1_700_000_000, 0).UTC()}})
	if err != nil {
		_, _ = os.Stdout.WriteString(err.Error() + "\n")
		return 1
	}
	_, _ = os.Stdout.WriteString("holding\n")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	if s.Close() != nil {
		return 1
	}
	return 0
}

type process struct {
	cmd   *exec.Cmd
	stdin interface{ Close() error }
}

func startHolder(t *testing.T, dir string) process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+dir)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "holding\n", line)
	return process{cmd: cmd, stdin: in}
}

func TestASecondProcessIsToldWhoHoldsTheStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	holder := startHolder(t, dir)

	// The holder's engine may still tidy up, so only our own files are compared.
	own := func() (text string) {
		for _, name := range []string{lockFile, formatFile} {
			raw, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			text += string(raw)
		}
		return text
	}
	before := own()
	_, err := Open(dir, Options{})
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, holder.cmd.Process.Pid, locked.Holder.PID)
	require.Equal(t, "toft daemon", locked.Holder.Command)
	require.Contains(t, err.Error(), `"toft daemon" (process `)
	require.Contains(t, err.Error(), "since 2023-11-14T22:13:20Z")
	require.Equal(t, before, own(), "nothing was touched")

	require.NoError(t, holder.stdin.Close())
	require.NoError(t, holder.cmd.Wait())
	text, err := os.ReadFile(filepath.Join(dir, lockFile))
	require.NoError(t, err)
	require.Empty(t, text, "a store nobody holds names nobody")
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestTheLockEndsWithItsProcess(t *testing.T) {
	dir := t.TempDir()
	holder := startHolder(t, dir)
	require.NoError(t, holder.cmd.Process.Kill())
	_ = holder.cmd.Wait()
	s, err := Open(dir, Options{})
	require.NoError(t, err, "the name of the dead is still in the file and means nothing")

	_, err = Open(dir, Options{})
	var locked *LockedError
	require.ErrorAs(t, err, &locked, "the same process twice")
	require.Equal(t, os.Getpid(), locked.Holder.PID)
	var text map[string]any
	raw, err := os.ReadFile(filepath.Join(dir, lockFile))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &text))
	require.Len(t, text, 2, "no start time was given: %s", raw)
	require.NoError(t, s.Close())
}

func TestAFileSystemInMemoryIsLockedToo(t *testing.T) {
	disk := vfs.NewMem()
	open(t, disk)
	_, err := Open("/db", Options{FS: disk})
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
}

// tree draws a directory: names, sizes, contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		b.WriteString(path + "=" + string(raw) + "\n")
		return err
	})
	require.NoError(t, err)
	return b.String()
}

func TestDirectoriesAreForTheirOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}
