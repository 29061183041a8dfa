package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node/api"
)

func (a *app) initCmd() *cobra.Command {
	var want config.Config
	var network string
	c := &cobra.Command{
		Use: "init", Args: cobra.NoArgs,
		Example: "toft init --user ann --device laptop",
		Short:   "Make this device's keys; asks nothing, and does nothing the second time",
		RunE: func(cmd *cobra.Command, _ []string) error {
			want.Network = config.Network(network)
			if err := a.makeHome(want); err != nil {
				return err
			}
			return a.withoutHome(cmd, func(ctx context.Context, door api.API) error {
				id, err := door.Identity(ctx)
				if err != nil {
					return err
				}
				return show(a, id, a.printIdentity)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&want.User, "user", "", "your name for others (default: the login name)")
	f.StringVar(&want.Device, "device", "", "this device's name for others (default: the host name)")
	f.StringVar(&network, "network", "", "how far to reach: public, lan or offline (default public)")
	f.StringVar(&want.PassphraseFile, "passphrase-file", "", "lock the key with the first line of this file")
	return c
}

// makeHome makes the directory and its config.toml if they are not there.
func (a *app) makeHome(want config.Config) error {
	paths, err := a.paths()
	if err != nil {
		return err
	}
	_, err = config.Init(paths.Dir, a.getenv, want, rand.Reader)
	if f, ok := errors.AsType[*config.FieldError](err); ok {
		if _, lerr := config.Load(paths.Dir, a.getenv); lerr == nil && paths.Initialised() {
			return api.ErrConflict.Wrap(f, "this is a node already: use it as it is, or make another with --dir")
		}
	}
	return usage(err)
}

// withoutHome is with for a home whose keys may not be there yet.
func (a *app) withoutHome(cmd *cobra.Command, f func(context.Context, api.API) error) error {
	paths, err := a.paths()
	if err != nil {
		return err
	}
	if paths.Initialised() {
		return a.with(cmd, local, f)
	}
	cfg, err := config.Load(paths.Dir, a.getenv)
	if err != nil {
		return usage(err)
	}
	cfg.Network = config.Offline
	door, err := a.system.open(cmd.Context(), cfg, a.logger(silent), a.unlock)
	if err != nil {
		return usage(err)
	}
	return errors.Join(f(cmd.Context(), door), door.Close())
}

func (a *app) idCmd() *cobra.Command {
	var qr bool
	c := &cobra.Command{
		Use: "id", Args: cobra.NoArgs,
		Example: "toft id",
		Short:   "Show who this device is",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd, local, func(ctx context.Context, door api.API) error {
				id, err := door.Identity(ctx)
				if err != nil {
					return err
				}
				if qr {
					a.printQR(id.DID)
				}
				return show(a, id, a.printIdentity)
			})
		},
	}
	c.Flags().BoolVar(&qr, "qr", false, "also as a QR code, on stderr")
	return c
}

func (a *app) printIdentity(id api.Identity) {
	paths, err := a.paths()
	if err != nil {
		paths.Dir = ""
	}
	a.pairs("user", id.User, "device", id.Device, "peer id", id.PeerID, "did", id.DID,
		"words", strings.Join(id.Words, " "), "directory", paths.Dir)
}

// printQR draws on stderr: stdout has the text itself.
func (a *app) printQR(text string) {
	qrterminal.GenerateHalfBlock(text, qrterminal.L, a.stderr)
}

func (a *app) statusCmd() *cobra.Command {
	var exitCode bool
	c := &cobra.Command{
		Use: "status", Args: cobra.NoArgs,
		Example: "toft status",
		Short:   "Show the node, its databases, and what needs attention",
		Long: "Show the node, its databases, and what needs attention.\n\n" +
			"Two replicas with equal digests hold the same documents.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd, local, func(ctx context.Context, door api.API) error {
				s, err := door.Status(ctx)
				if err != nil {
					return err
				}
				if err := show(a, s, a.printStatus); err != nil || !exitCode {
					return err
				}
				return health(s)
			})
		},
	}
	c.Flags().BoolVar(&exitCode, "exit-code", false, "exit 14 if anything needs attention")
	return c
}

// health is ErrHealth if a check is worse than information.
func health(s api.Status) error {
	var worse []string
	for _, w := range s.Warnings {
		if w.Severity != api.Info {
			worse = append(worse, w.Title)
		}
	}
	if worse == nil {
		return nil
	}
	return api.ErrHealth.With(strings.Join(worse, ", "), "toft status")
}

func (a *app) printStatus(s api.Status) {
	a.pairs("toft", s.Version, "device", s.Device.Device+" of "+s.Device.User, "peer id", s.Device.PeerID,
		"up", (time.Duration(s.UptimeSeconds) * time.Second).String(),
		"network", s.Network.Reachability, "listening", strings.Join(s.Network.Addrs, " "))
	if len(s.Teams) > 0 {
		a.out.raw("\n")
		a.table(teamHeadRow(), mapped(s.Teams, teamRow))
	}
	if len(s.DBs) > 0 {
		a.out.raw("\n")
		a.table([]string{"DATABASE", "TEAM", "DOCS", "PEERS", "STATE", "DIGEST"}, mapped(s.DBs, func(d api.DBState) []string {
			return []string{d.Name, d.Team, count(d.Docs), strconv.Itoa(d.Peers), string(d.State), short(d.Digest)}
		}))
	}
	for _, d := range s.DBs {
		if d.Progress != nil {
			a.out.line(d.Name + ": " + progressText(*d.Progress))
		}
		if len(d.Waiting) > 0 {
			a.out.line(d.Name + ": " + waitingText(d.Waiting))
		}
	}
	for _, w := range s.Warnings {
		a.out.line(fmt.Sprintf("\n%s: %s: %s", w.Severity, w.Title, w.Detail))
		if w.Fix != "" {
			a.out.line("  try: " + w.Fix)
		}
	}
}

func mapped[T, R any](all []T, f func(T) R) []R {
	out := make([]R, len(all))
	for i, v := range all {
		out[i] = f(v)
	}
	return out
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

func (a *app) peersCmd() *cobra.Command {
	return &cobra.Command{
		Use: "peers", Args: cobra.NoArgs,
		Example: "toft peers",
		Short:   "List connected peers and the devices of your teams (needs the daemon)",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd, live, func(ctx context.Context, door api.API) error {
				return list(a, door.Peers(ctx), []string{"DEVICE", "MEMBER", "PATH", "RTT", "RECEIVED", "SENT", "PEER ID", "ADDRESS"}, func(p api.Peer) []string {
					rtt := ""
					if p.RTTMs > 0 {
						rtt = fmt.Sprintf("%.1f ms", p.RTTMs)
					}
					return []string{p.Device, p.Member, p.Path, rtt, size(p.RX), size(p.TX), p.PeerID, p.Addr}
				})
			})
		},
	}
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func (a *app) connectCmd() *cobra.Command {
	return &cobra.Command{
		Use: "connect ADDR|DEVICE", Args: cobra.ExactArgs(1),
		Example: "toft connect $ADDR",
		Short:   "Connect to a peer by multiaddr, or to a known device by name (needs the daemon)",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withPatience(cmd, live, func(ctx context.Context, door api.API) error {
				p, err := door.Connect(ctx, args[0])
				if err != nil {
					return err
				}
				return show(a, p, func(p api.Peer) { a.out.line(p.PeerID + " " + p.Addr) })
			})
		},
	}
}

// withPatience is with for commands that wait for other devices.
func (a *app) withPatience(cmd *cobra.Command, n need, f func(context.Context, api.API) error) error {
	if a.timeout == 0 {
		a.timeout = patience
	}
	return a.with(cmd, n, f)
}

// versionInfo is the JSON of `toft version`.
type versionInfo struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Args: cobra.NoArgs,
		Example: "toft version",
		Short:   "Show the version of this program",
		RunE: func(*cobra.Command, []string) error {
			v := versionInfo{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
			return show(a, v, func(v versionInfo) {
				a.out.line(fmt.Sprintf("toft %s %s %s/%s", v.Version, v.Go, v.OS, v.Arch))
			})
		},
	}
}
