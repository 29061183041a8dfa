package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node/api"
)

// app is one run of the command line: the system, the flags every command has, and
// where results go.
type app struct {
	system
	out printer

	asJSON  bool
	quiet   bool
	verbose bool
	dir     string
	addr    string
	timeout time.Duration
}

func newApp(s system, args []string) *app {
	a := &app{system: s, out: printer{w: s.stdout}}
	// An error in the flags themselves is to be told as JSON too.
	a.asJSON = slices.Contains(args, "--json")
	return a
}

// root builds the tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:     "toft",
		Short:   "An encrypted, local-first, peer-to-peer document database",
		Example: "toft init\ntoft db create notes\ntoft put notes milk '{\"title\":\"milk\"}'\ntoft get notes milk",
	}
	f := root.PersistentFlags()
	f.BoolVar(&a.asJSON, "json", false, "print JSON: one document, or a line for each")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "say nothing but the result and errors")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "say more, on stderr")
	f.StringVar(&a.dir, "dir", "", "where the node lives (default $TOFT_DIR, or toft in the data directory of the system)")
	f.StringVar(&a.addr, "api", "", "socket of the daemon to talk to (default: that of --dir)")
	f.DurationVar(&a.timeout, "timeout", 0, "give up after this long, as in 30s (default: join and connect 60s, others never)")
	root.AddGroup(
		&cobra.Group{ID: "daily", Title: "Documents:"}, &cobra.Group{ID: "share", Title: "Teams and databases:"},
		&cobra.Group{ID: "node", Title: "This device:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("daily", a.putCmd(), a.getCmd(), a.delCmd(), a.restoreCmd(), a.allCmd(), a.watchCmd(), a.changesCmd(), a.conflictsCmd(),
		a.logCmd(), a.diffCmd(), a.revertCmd(), a.snapshotCmd())
	add("share", a.teamCmd(), a.inviteCmd("invite"), a.joinCmd(), a.shareCmd(), a.dbCmd())
	add("node", a.initCmd(), a.daemonCmd(), a.statusCmd(), a.idCmd(), a.keysCmd(), a.syncCmd(), a.explainCmd(), a.peersCmd(), a.connectCmd(), a.verifyCmd(), a.repairCmd(), a.compactCmd(), a.gcCmd(), a.demoCmd(), a.versionCmd())
	root.SetHelpCommandGroupID("node")
	root.SetCompletionCommandGroupID("node")
	a.polish(root)
	return root
}

// polish gives every command the same manners: errors come back to run, a command
// that only holds others says which one was probably meant, a flag that does not
// exist is a usage error, help opens with the example, arguments are completed.
func (a *app) polish(c *cobra.Command) {
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SuggestionsMinimumDistance = 2
	c.SetHelpTemplate(helpTemplate)
	c.SetUsageTemplate(usageTemplate)
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return api.ErrUsage.Wrap(err, c.CommandPath()+" --help")
	})
	if c.HasSubCommands() && c.RunE == nil {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			hint := c.CommandPath() + " --help"
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "did you mean " + c.CommandPath() + " " + nearest(args[0], near) + "?"
			}
			return api.ErrUsage.With(fmt.Sprintf("%q is no command of %s", args[0], c.CommandPath()), hint)
		}
	}
	if args := c.Args; args != nil {
		c.Args = func(c *cobra.Command, got []string) error {
			if err := args(c, got); err != nil {
				return api.ErrUsage.Wrap(err, "usage: "+c.UseLine())
			}
			return nil
		}
	}
	if c.ValidArgsFunction == nil && !c.HasSubCommands() {
		c.ValidArgsFunction = a.complete
	}
	for _, sub := range c.Commands() {
		a.polish(sub)
	}
}

// helpTemplate is cobra's with the example first.
const helpTemplate = `{{if .HasExample}}{{.Example}}

{{end}}{{with (or .Long .Short)}}{{.}}

{{end}}{{.UsageString}}`

// usageTemplate is cobra's without the example, which stands above it.
const usageTemplate = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}
{{if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{range $group := .Groups}}
{{.Title}}{{range $cmds}}{{if (and (eq .GroupID $group.ID) (or .IsAvailableCommand (eq .Name "help")))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}
{{end}}{{if not .AllChildCommandsHaveGroup}}
Commands:{{range $cmds}}{{if (and (eq .GroupID "") .IsAvailableCommand)}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}
{{end}}{{end}}{{if .HasAvailableLocalFlags}}
Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}{{if .HasAvailableInheritedFlags}}
Flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}{{if .HasAvailableSubCommands}}
{{.CommandPath}} COMMAND --help tells more, with an example.
{{end}}`

// paths returns where the node of this command line lives.
func (a *app) paths() (config.Paths, error) {
	dir := a.dir
	if dir == "" {
		dir = config.DefaultDir(a.getenv)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return config.Paths{}, api.ErrUsage.Wrap(err, "")
	}
	return config.PathsOf(abs), nil
}

// need says what a command needs of the node.
type need int

const (
	// local: the daemon if it runs, else the node in this process with no network.
	local need = iota
	// live: the daemon; without one, exit code 10.
	live
)

// patience is how long live commands that wait for others do so without --timeout.
const patience = time.Minute

// lockWait is how long a command waits for the socket of whoever has the store.
const lockWait = 10 * time.Second

// with runs f on the node of this command line.
func (a *app) with(cmd *cobra.Command, n need, f func(ctx context.Context, door api.API) error) error {
	ctx := cmd.Context()
	if a.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.timeout)
		defer cancel()
	}
	door, err := a.connect(ctx, n)
	if err != nil {
		return err
	}
	err = f(ctx, door)
	return errors.Join(err, door.Close())
}

// connect finds the daemon, or opens the node here.
func (a *app) connect(ctx context.Context, n need) (localNode, error) {
	paths, err := a.paths()
	if err != nil {
		return nil, err
	}
	c, err := a.dial(ctx, paths)
	if err == nil {
		return c, nil
	}
	if a.addr != "" || n == live || !errors.Is(err, api.ErrNoDaemon) {
		return nil, err
	}
	if !paths.Initialised() {
		return nil, api.ErrNotInitialised.With("there is no toft in "+paths.Dir+" yet", "toft init, or toft daemon, or name its directory with --dir")
	}
	cfg, err := config.Load(paths.Dir, a.getenv)
	if err != nil {
		return nil, usage(err)
	}
	cfg.Network = config.Offline
	for end := a.now().Add(lockWait); ; {
		door, err := a.system.open(ctx, cfg, a.logger(silent), a.unlock)
		if !errors.Is(err, api.ErrStoreLocked) {
			return door, usage(err)
		}
		// Whoever has the store is a daemon that starts, or a command that ends soon.
		if c, derr := a.dial(ctx, paths); derr == nil {
			return c, nil
		}
		if a.now().After(end) {
			return nil, err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// dial talks to the daemon of --api or of the directory.
func (a *app) dial(ctx context.Context, paths config.Paths) (*api.Client, error) {
	socket := a.addr
	if socket == "" {
		var err error
		if socket, err = paths.DialSocket(); err != nil {
			return nil, err
		}
	}
	return api.Dial(ctx, socket)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// logger writes to stderr; -v shows everything, -q errors only.
func (a *app) logger(level slog.Level) *slog.Logger {
	switch {
	case a.verbose:
		level = slog.LevelDebug
	case a.quiet:
		level = max(level, slog.LevelError)
	}
	return slog.New(slog.NewTextHandler(cleaned{a.stderr}, &slog.HandlerOptions{Level: level, ReplaceAttr: plainErrors}))
}

// silent is the level of commands that open the store themselves: what goes wrong
// is their error, told once.
const silent = slog.LevelError + 1

// plainErrors keeps the stack traces that some errors print of themselves out of
// the log.
func plainErrors(_ []string, a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok {
		return slog.String(a.Key, err.Error())
	}
	return a
}

// usage makes errors of the configuration usage errors.
func usage(err error) error {
	var f *config.FieldError
	if errors.As(err, &f) {
		return api.ErrUsage.Wrap(err, "toft daemon --help")
	}
	return err
}

// talk says something on stderr that is not the result.
func (a *app) talk(format string, args ...string) {
	if a.quiet || a.asJSON {
		return
	}
	v := make([]any, len(args))
	for i, s := range args {
		v[i] = clean(s)
	}
	fmt.Fprintf(a.stderr, format+"\n", v...)
}

// report tells an error and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = api.ErrTimeout.Wrap(err, "")
	}
	e := api.ErrorOf(err)
	if e.Hint == "" {
		e = e.With(e.Detail, everyday(err))
	}
	if a.asJSON {
		text, merr := api.Marshal(e)
		if merr == nil {
			fmt.Fprintf(a.stderr, "%s\n", clean(string(text)))
			return e.Code
		}
	}
	if e.Is(api.ErrInterrupted) {
		return e.Code // who pressed Ctrl-C knows
	}
	fmt.Fprintf(a.stderr, "error: %s\n", clean(strings.ReplaceAll(e.Error(), "\n", "; ")))
	if e.Hint != "" {
		fmt.Fprintf(a.stderr, "try: %s\n", clean(e.Hint))
	}
	return e.Code
}

// everyday returns what to do about trouble with the machine that newcomers meet, ""
// if it is none. The network stack tells of a taken port in words only.
func everyday(err error) string {
	switch {
	case errors.Is(err, os.ErrPermission):
		return "name a directory that you may write to with --dir"
	case strings.Contains(err.Error(), "address already in use"):
		return "another program listens there: stop it, or name another address with --listen"
	}
	return ""
}

// cleaned is a writer that takes whole lines of text.
type cleaned struct{ w io.Writer }

func (c cleaned) Write(b []byte) (int, error) {
	if _, err := io.WriteString(c.w, clean(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}
