package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/api/server"
)

// ready is the JSON that `toft daemon --json` prints when it serves.
type ready struct {
	Device    api.Identity `json:"device"`
	Directory string       `json:"directory"`
	Socket    string       `json:"socket"`
	Addrs     []string     `json:"addrs"`
}

func (a *app) daemonCmd() *cobra.Command {
	var listen []string
	var level string
	c := &cobra.Command{
		Use: "daemon", Args: cobra.NoArgs,
		Example: "toft daemon",
		Short:   "Run the node of this device until SIGTERM or Ctrl-C",
		Long: "Run the node of this device until SIGTERM or Ctrl-C.\n\n" +
			"The first run makes the device's keys. It asks nothing and needs no network.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.makeHome(config.Config{}); err != nil {
				return err
			}
			paths, err := a.paths()
			if err != nil {
				return err
			}
			cfg, err := config.Load(paths.Dir, a.getenv)
			if err != nil {
				return usage(err)
			}
			if cmd.Flags().Changed("listen") {
				cfg.Listen = listen
			}
			if level != "" {
				cfg.LogLevel = level
			}
			if err := cfg.Check(); err != nil {
				return usage(err)
			}
			return a.serve(cmd.Context(), cfg)
		},
	}
	c.Flags().StringSliceVar(&listen, "listen", nil, "listen on these multiaddrs instead of the configured ones")
	c.Flags().StringVar(&level, "log-level", "", "debug, info, warn or error (default info)")
	return c
}

// serve opens the node, answers on its socket until ctx ends, and closes both.
func (a *app) serve(ctx context.Context, cfg config.Config) error {
	level, err := cfg.Level()
	if err != nil {
		return usage(err)
	}
	log := a.logger(level)
	node, err := a.openFirst(ctx, cfg, log)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to end before it had begun
		}
		return usage(err)
	}
	err = a.answer(ctx, cfg, node, log)
	return errors.Join(err, node.Close())
}

// openFirst opens the node. A command that has the store open right now ends soon:
// it is waited for. A daemon does not.
func (a *app) openFirst(ctx context.Context, cfg config.Config, log *slog.Logger) (localNode, error) {
	for end := a.now().Add(lockWait); ; {
		node, err := a.system.open(ctx, cfg, log, a.unlock)
		if !errors.Is(err, api.ErrStoreLocked) {
			return node, err
		}
		c, derr := a.dial(ctx, cfg.Paths())
		if derr == nil {
			return nil, errors.Join(api.ErrStoreLocked.With("a daemon runs on "+cfg.Dir+" already", "use it as it is, or run another one with --dir"), c.Close())
		}
		if a.now().After(end) {
			return nil, err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func (a *app) answer(ctx context.Context, cfg config.Config, node localNode, log *slog.Logger) error {
	socket, err := cfg.Paths().ListenSocket(a.getenv)
	if err != nil {
		return err
	}
	ln, err := server.Listen(socket)
	if err != nil {
		return err
	}
	s, err := node.Status(ctx)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	r := ready{Device: s.Device, Directory: cfg.Dir, Socket: socket, Addrs: s.Network.Addrs}
	if err := show(a, r, a.printReady); err != nil {
		return errors.Join(err, ln.Close())
	}
	return server.New(server.Options{API: node, Log: log}).Serve(ctx, ln)
}

func (a *app) printReady(r ready) {
	listening := strings.Join(r.Addrs, "\n           ")
	if listening == "" {
		listening = "nowhere: the network is off"
	}
	a.out.line("toft " + version + " is ready")
	a.out.line("device:    " + r.Device.Device + " of " + r.Device.User + ", " + r.Device.PeerID)
	a.out.line("directory: " + r.Directory)
	a.out.line("socket:    " + r.Socket)
	a.out.line("listening: " + listening)
	dir := ""
	if a.dir != "" {
		dir = " --dir " + a.dir
	}
	a.out.line("")
	a.out.line("next, in another terminal:")
	a.table(nil, [][]string{
		{"  toft" + dir + " team create fam --db notes", "make a team with a database"},
		{"  toft" + dir + " invite", "print a code for somebody"},
		{"  toft join CODE", "what they type on their device"},
	})
}
