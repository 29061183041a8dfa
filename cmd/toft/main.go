// Command toft is a Toft peer and the way to talk to it: `toft daemon` keeps the
// node running, every other command is a short conversation with it.
//
//	toft put notes '{"title":"milk"}'
//	   │
//	   ├─ DIR/api.sock answers ──▶ api.Client ──▶ the daemon's node
//	   └─ nobody answers ────────▶ node.Open, network off, under the store's lock
//
// The second way is for local commands only; what needs the network (join, peers,
// watch, …) ends with exit code 10 and says how to start the daemon.
//
// stdout has the result and nothing else: text for people, or with --json one
// document (JSON Lines for what is a sequence). stderr has the talk, and errors as
// `error: …` and `try: …`, or with --json as the problem object of RFC 9457. Exit
// codes are those of the node/api package. Text that came from documents, names
// and peers never reaches a terminal with its control characters.
//
// main is run(ctx, args, system); everything of the outside a command touches is
// in system, so tests run commands without a process.
//
// One file per noun. The package knows the door (node/api) and how to open a node,
// and no other room of the house.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node/api"
)

// system is the world outside of a command.
type system struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time
	// ask asks for a secret on the terminal; an error where there is none.
	ask func(question string) (string, error)
	// open opens the node of a directory in this process; passphrase is for a key
	// that is locked by one.
	open func(ctx context.Context, c config.Config, log *slog.Logger, passphrase func() (api.Secret, error)) (localNode, error)
}

// localNode is a node in this process.
type localNode interface {
	api.API
	io.Closer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], system{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		getenv: os.Getenv, now: time.Now, ask: ask, open: openNode,
	})
	stop()
	os.Exit(code)
}

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args []string, s system) int {
	a := newApp(s, args)
	root := a.root()
	root.SetArgs(args)
	root.SetIn(s.stdin)
	root.SetOut(a.out.w)
	root.SetErr(s.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = a.out.err
	}
	return a.report(err)
}
