//go:build unix

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node/api"
)

// process is a daemon in a process of its own.
type process struct {
	cmd    *exec.Cmd
	out    strings.Builder
	client *api.Client
}

// spawn starts `toft daemon` on dir and waits until it answers.
func spawn(t *testing.T, dir string) *process {
	t.Helper()
	p := &process{cmd: exec.Command("toft", "daemon")} // testscript.Main put it into PATH
	p.cmd.Env = append(os.Environ(), "TOFT_DIR="+dir, "TOFT_LISTEN=/ip4/127.0.0.1/tcp/0")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, os.Stderr
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill() }) // it has ended where the test went well
	paths := config.PathsOf(dir)
	require.Eventually(t, func() bool {
		socket, err := paths.DialSocket()
		if err == nil {
			p.client, err = api.Dial(context.Background(), socket)
		}
		return err == nil
	}, waitFor, 5*time.Millisecond)
	t.Cleanup(func() { require.NoError(t, p.client.Close()) })
	return p
}

func TestTermEndsTheDaemonInTime(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a daemon")
	}
	dir := filepath.Join(t.TempDir(), "a")
	p := spawn(t, dir)
	team, err := p.client.Team(t.Context(), api.Personal)
	require.NoError(t, err)
	db, err := team.CreateDB(t.Context(), "notes")
	require.NoError(t, err)
	_, err = db.Put(t.Context(), api.Doc{"_id": "x"})
	require.NoError(t, err)

	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { // ends when the daemon does
		var last error
		for e, err := range db.Watch(context.Background()) {
			if e.Op == api.OpReady {
				close(ready)
			}
			last = err
		}
		ended <- last
	}()
	<-ready
	begun := time.Now()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait(), "exit code 0")
	require.Less(t, time.Since(begun), 2*time.Second)
	require.ErrorIs(t, <-ended, api.ErrClosed, "who watches is told")
	require.Contains(t, p.out.String(), "is ready")
	require.NoFileExists(t, config.PathsOf(dir).Socket)

	again := spawn(t, dir)
	db, err = again.client.DB(t.Context(), "notes")
	require.NoError(t, err)
	_, err = db.Get(t.Context(), "x")
	require.NoError(t, err)
	require.NoError(t, again.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, again.cmd.Wait())
}
