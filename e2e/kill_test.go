package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

// toft builds the binary once per test run.
var toft = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "toft-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "toft")
	out, err := exec.Command("go", "build", "-o", path, "github.com/toftdb/toft/cmd/toft").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// process is a real daemon in a directory of its own.
type process struct {
	t      testing.TB
	dir    string
	within []string // what the daemon is started by, such as ip netns exec
	listen string
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	api.API
}

func newProcess(t testing.TB) *process {
	p := &process{t: t, dir: t.TempDir(), listen: "/ip4/127.0.0.1/tcp/0"}
	p.start()
	t.Cleanup(func() { p.kill() })
	return p
}

// start runs `toft daemon` and waits until its socket answers.
func (p *process) start() {
	p.t.Helper()
	bin, err := toft()
	require.NoError(p.t, err)
	line := append(slices.Clone(p.within), bin, "daemon", "--dir", p.dir, "--listen", p.listen)
	p.cmd = exec.Command(line[0], line[1:]...)
	p.stderr = &bytes.Buffer{}
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(p.t, err)
	require.NoError(p.t, p.cmd.Start())
	go func() {
		for in := bufio.NewScanner(stdout); in.Scan(); {
		}
	}()
	ctx, cancel := context.WithTimeout(p.t.Context(), deadline)
	defer cancel()
	nodetest.Until(ctx, p.t, "the daemon answers", func() bool {
		p.API, err = api.Dial(ctx, filepath.Join(p.dir, "api.sock"))
		if err != nil {
			return false
		}
		_, err = p.Status(ctx)
		return err == nil
	})
}

func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// kill -9 in the middle of a stream of puts, again and again: every put that was
// acknowledged is there after the restart, and reaches the other peer.
func TestKilledProcessLosesNothing(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 3
	}
	ctx := within(t)
	a, b := newProcess(t), newProcess(t)
	_, err := a.CreateTeam(ctx, nodetest.Team)
	require.NoError(t, err)
	nodetest.DB(t, a, "notes")
	nodetest.Join(t, b, nodetest.Invite(t, a, nodetest.Team), "bob")

	acknowledged := map[string]bool{}
	for round := range rounds {
		for id := range putUntilKilled(t, a, round) {
			acknowledged[id] = true
		}
		a.start()
		ctx := within(t)
		onA := nodetest.Arrived(ctx, t, a, "notes")
		have := map[string]bool{}
		for _, d := range rows(t, onA) {
			have[d.ID()] = true
		}
		for id := range acknowledged {
			require.True(t, have[id], "round %d: %s was acknowledged and is gone", round, id)
		}
	}
	ctx = within(t)
	nodetest.Equal(ctx, t, "notes", a, b)
	onB := nodetest.Arrived(ctx, t, b, "notes")
	have := map[string]bool{}
	for _, d := range rows(t, onB) {
		have[d.ID()] = true
	}
	for id := range acknowledged {
		require.True(t, have[id], "%s did not reach the other peer", id)
	}
	t.Logf("%d kills, %d puts acknowledged, none lost", rounds, len(acknowledged))
	require.NotZero(t, len(acknowledged))
}

// putUntilKilled writes from four goroutines and kills the process after a number
// of acknowledgements that differs from round to round. It returns the ids of the
// puts that were acknowledged.
func putUntilKilled(t *testing.T, p *process, round int) map[string]bool {
	t.Helper()
	ctx := within(t)
	db, err := p.DB(ctx, "notes")
	require.NoError(t, err)
	acks := make(chan string, 1024)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("r%02d-w%d-%05d", round, w, i)
				if _, err := db.Put(ctx, api.Doc{"_id": id, "round": round}); err != nil {
					return
				}
				acks <- id
			}
		})
	}
	go func() { wg.Wait(); close(acks) }()
	got := map[string]bool{}
	for id := range acks {
		got[id] = true
		if len(got) == 5+13*round%97 {
			require.NoError(t, p.cmd.Process.Signal(syscall.SIGKILL))
		}
	}
	_ = p.cmd.Wait()
	return got
}

func TestDaemonStopsOnSignal(t *testing.T) {
	p := newProcess(t)
	start := time.Now()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait(), "exit code of SIGTERM; stderr: %s", p.stderr)
	t.Logf("stopped after %s", time.Since(start).Round(time.Millisecond))
	require.Empty(t, strings.TrimSpace(p.stderr.String()))
}
