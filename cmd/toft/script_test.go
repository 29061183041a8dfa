package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node/api"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"toft": main}) }

// TestScripts plays testdata/script: real processes, each with a directory of its
// own, on loopback only. Beside testscript's own commands there are:
//
//	exits N cmd…              runs cmd, which must end with exit code N
//	ready DIR                 waits until the daemon of DIR answers
//	eventually REGEX cmd…     runs cmd again until its stdout matches
//	grab NAME REGEX           sets NAME to the first group of REGEX in stdout
//	start FILE cmd…           runs cmd beside the script, stdout into FILE
//	shows FILE REGEX          waits until FILE matches
//	repeat N cmd…             runs cmd N times, %I in it is 1…N
//	damage DIR                flips a bit in the middle of the largest file below DIR
func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("runs daemons")
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			// Under the race detector a process sleeps a second before it ends, so that
			// others may finish a report: no goroutine of a command outlives it.
			e.Setenv("GORACE", "atexit_sleep_ms=10")
			e.Setenv("TOFT_DIR", filepath.Join(e.WorkDir, "a"))
			e.Setenv("TOFT_LISTEN", "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/udp/0/quic-v1")
			e.Setenv("TOFT_NETWORK", "lan")
			e.Setenv("XDG_RUNTIME_DIR", "") // sockets of long paths go to the temporary directory
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "ready": readyCmd, "eventually": eventually, "grab": grab,
			"start": start, "shows": shows, "repeat": repeat, "damage": damage,
		},
		RequireExplicitExec: true,
	})
}

// waitFor is how long a script waits for something that another process does.
const waitFor = 20 * time.Second

// poll calls done until it is true.
func poll(ts *testscript.TestScript, what string, done func() bool) {
	for end := time.Now().Add(waitFor); !done(); {
		if time.Now().After(end) {
			ts.Fatalf("waited %s for %s", waitFor, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

func readyCmd(ts *testscript.TestScript, _ bool, args []string) {
	paths := config.PathsOf(ts.MkAbs(args[0]))
	poll(ts, "the daemon of "+args[0], func() bool {
		socket, err := paths.DialSocket()
		if err != nil {
			return false
		}
		c, err := api.Dial(context.Background(), socket)
		return err == nil && c.Close() == nil
	})
}

func eventually(ts *testscript.TestScript, _ bool, args []string) {
	re, err := regexp.Compile("(?s)" + args[0])
	ts.Check(err)
	var last []byte
	defer func() { ts.Logf("%s", last) }()
	poll(ts, args[0], func() bool {
		// Not ts.Exec: it would log every try.
		last, err = command(ts, args[1:]).Output()
		return err == nil && re.Match(last)
	})
	ts.Check(ts.Exec(args[1], args[2:]...))
}

// command is a command in the directory and environment of the script.
func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	path, err := exec.LookPath(args[0])
	ts.Check(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "PATH", "GORACE", "TOFT_DIR", "TOFT_LISTEN", "TOFT_NETWORK"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	return cmd
}

func grab(ts *testscript.TestScript, _ bool, args []string) {
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	m := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("stdout does not match %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

func start(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	cmd := command(ts, args[1:])
	cmd.Stdout = f
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()         // killed
		_ = f.Close()          // read only from here
	})
}

func shows(ts *testscript.TestScript, _ bool, args []string) {
	re, err := regexp.Compile("(?s)" + args[1])
	ts.Check(err)
	poll(ts, args[0]+" to show "+args[1], func() bool { return re.MatchString(ts.ReadFile(args[0])) })
}

func repeat(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for i := 1; i <= n; i++ {
		line := make([]string, len(args))
		for j, a := range args {
			line[j] = strings.ReplaceAll(a, "%I", fmt.Sprint(i))
		}
		ts.Check(ts.Exec(line[1], line[2:]...))
	}
}

func damage(ts *testscript.TestScript, _ bool, args []string) {
	var largest string
	var most int64
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() > most {
			largest, most = path, info.Size()
		}
		return err
	}))
	data, err := os.ReadFile(largest)
	ts.Check(err)
	data[len(data)/2] ^= 1
	ts.Check(os.WriteFile(largest, data, 0o600))
	ts.Logf("damaged %s at %d", largest, len(data)/2)
}
