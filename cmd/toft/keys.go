package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

func (a *app) keysCmd() *cobra.Command {
	c := &cobra.Command{
		Use:     "keys",
		Example: "toft keys export -",
		Short:   "The recovery kit, and the lock of this device's key",
	}
	c.AddCommand(a.keysExportCmd(), a.keysImportCmd(), a.keysLockCmd(), a.keysUnlockCmd())
	return c
}

func (a *app) keysExportCmd() *cobra.Command {
	var qr, keep bool
	c := &cobra.Command{
		Use: "export FILE|-", Args: cobra.ExactArgs(1),
		Example: "toft keys export -",
		Short:   "Write down the recovery kit, and take it off this device",
		Long: "Write down the recovery kit, and take it off this device.\n\n" +
			"Its 16 words bring you back into your teams when all your devices are lost; they\n" +
			"bring back no data: that must live on another device or a replica. Whoever has\nthem is you. Keep them on paper. They can be written down once; --keep leaves them\nhere as well.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd, local, func(ctx context.Context, door api.API) error {
				kit, err := door.RecoveryKit(ctx)
				if err != nil {
					return err
				}
				if qr {
					a.printQR(strings.Join(revealed(kit.Words), " "))
				}
				// First to where it shall be, then off this device: not the other way.
				if args[0] == "-" {
					err = show(a, kit, func(k api.RecoveryKit) { a.out.raw(clean(kitText(k))) })
				} else {
					err = writeKit(args[0], kit)
				}
				if err != nil || keep {
					return err
				}
				if err := door.ForgetRecovery(ctx); err != nil {
					return err
				}
				a.talk("the words are no longer on this device; when all your devices are lost: toft keys import FILE")
				return nil
			})
		},
	}
	c.Flags().BoolVar(&qr, "qr", false, "also the words as a QR code, on stderr")
	c.Flags().BoolVar(&keep, "keep", false, "leave the words on this device too")
	return c
}

func revealed(words []api.Secret) []string {
	return mapped(words, func(s api.Secret) string { return s.Reveal() })
}

// kitText is the kit as a person keeps it, and as `keys import` reads it.
func kitText(k api.RecoveryKit) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Recovery kit of %s. Whoever has the words is %s: keep them on paper.\n", k.User, k.User)
	fmt.Fprintf(&b, "words: %s\n", strings.Join(revealed(k.Words), " "))
	for _, t := range k.Teams {
		fmt.Fprintf(&b, "team: %s %s\n", t.ID, t.Name)
		for _, addr := range t.Addrs {
			fmt.Fprintf(&b, "at: %s\n", addr)
		}
	}
	return b.String()
}

// writeKit writes a new file that only its owner can read, down to the disk.
func writeKit(name string, k api.RecoveryKit) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return api.ErrUsage.Wrap(err, "name a file that is not there yet")
	}
	_, err = f.WriteString(kitText(k))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// parseKit reads a kit. Of the words alone, without a line that begins with
// "words:", it makes a kit without teams.
func parseKit(text string) (api.RecoveryKit, error) {
	var k api.RecoveryKit
	var loose []string
	s := bufio.NewScanner(strings.NewReader(text))
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		key, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case key == "words":
			for _, w := range fields {
				k.Words = append(k.Words, api.Secret(w))
			}
		case key == "team" && len(fields) > 0:
			k.Teams = append(k.Teams, api.KitTeam{ID: fields[0], Name: strings.Join(fields[1:], " ")})
		case key == "at" && len(fields) == 1 && len(k.Teams) > 0:
			t := &k.Teams[len(k.Teams)-1]
			t.Addrs = append(t.Addrs, fields[0])
		default:
			loose = append(loose, strings.Fields(line)...)
		}
	}
	if err := s.Err(); err != nil {
		return k, api.ErrUsage.Wrap(err, "")
	}
	if len(k.Words) == 0 {
		for _, w := range loose {
			k.Words = append(k.Words, api.Secret(w))
		}
	}
	return k, nil
}

func (a *app) keysImportCmd() *cobra.Command {
	var team string
	var at []string
	c := &cobra.Command{
		Use: "import FILE|-", Args: cobra.ExactArgs(1),
		Example: "toft keys import kit.txt",
		Short:   "Come back into your teams with the recovery kit (needs the daemon)",
		Long: "Come back into your teams with the recovery kit (needs the daemon).\n\n" +
			"Somebody of the team, or a replica, must be reachable where the kit says; --at\nsays it anew. Afterwards remove the lost devices: toft team remove DEVICE.",
		RunE: func(cmd *cobra.Command, args []string) error {
			kit, err := a.readKit(args[0])
			if err != nil {
				return err
			}
			if team != "" {
				kit.Teams = []api.KitTeam{{ID: team}}
			}
			if len(at) > 0 {
				for i := range kit.Teams {
					kit.Teams[i].Addrs = at
				}
			}
			if len(kit.Teams) == 0 {
				return api.ErrUsage.With("the kit names no team", "toft keys import FILE --team ID --at ADDR; another member sees both: toft team show, toft id")
			}
			return a.withPatience(cmd, live, func(ctx context.Context, door api.API) error {
				return a.comeBack(ctx, door, kit)
			})
		},
	}
	c.Flags().StringVar(&team, "team", "", "the id of the team, instead of those in the kit")
	c.Flags().StringSliceVar(&at, "at", nil, "address of a member, ending in /p2p/PEERID, instead of those in the kit")
	return c
}

func (a *app) readKit(name string) (api.RecoveryKit, error) {
	text, err := []byte(nil), error(nil)
	if name == "-" {
		text, err = readAll(a.stdin, "stdin")
	} else {
		text, err = readFile(name)
	}
	if err != nil {
		return api.RecoveryKit{}, err
	}
	return parseKit(string(text))
}

// comeBack goes into every team of the kit that answers.
func (a *app) comeBack(ctx context.Context, door api.API, kit api.RecoveryKit) error {
	joined, failed := []api.Joined{}, []error(nil)
	for _, t := range kit.Teams {
		if len(t.Addrs) == 0 && len(kit.Teams) > 1 {
			continue // nobody else was in it
		}
		a.talk("looking for %s…", clean(t.Name+" "+short(t.ID)))
		j, err := door.Recover(ctx, api.RecoverRequest{Words: kit.Words, Team: t.ID, Addrs: t.Addrs})
		if err != nil {
			failed = append(failed, err)
			continue
		}
		joined = append(joined, j)
	}
	if len(joined) == 0 {
		return errors.Join(failed...)
	}
	if err := show(a, joined, func(js []api.Joined) {
		for _, j := range js {
			a.out.line(fmt.Sprintf("back in %s as %s", j.Team.Name, j.Team.Role))
			for _, d := range j.DBs {
				a.out.line(fmt.Sprintf("database %s, %d documents", d.Name, d.Docs))
			}
		}
		a.talk("remove what you lost: toft team devices, then toft team remove DEVICE; then write down a new kit: toft keys export -")
	}); err != nil || len(failed) == 0 {
		return err
	}
	return api.ErrPartial.Wrap(errors.Join(failed...), "try again with --team and --at")
}

func (a *app) keysLockCmd() *cobra.Command {
	return a.lockCmd("lock", "Lock this device's key with a passphrase",
		"From the next start on the passphrase is asked for, or read from the file that\nTOFT_PASSPHRASE_FILE or passphrase_file in config.toml names. Without it a copy of\nthe directory is worthless.",
		"now locked by the passphrase", api.API.LockKeys)
}

func (a *app) keysUnlockCmd() *cobra.Command {
	return a.lockCmd("unlock", "Take the passphrase off this device's key",
		"From now on a file beside the key opens it: whoever has the disk has the key.",
		"no longer locked by a passphrase", api.API.UnlockKeys)
}

// locked is the JSON of `toft keys lock` and `unlock`.
type locked struct {
	Locked bool `json:"locked"`
}

func (a *app) lockCmd(name, what, more, done string, do func(api.API, context.Context, api.Secret) error) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: name, Args: cobra.NoArgs,
		Example: "toft keys " + name + " --passphrase-file passphrase",
		Short:   what,
		Long:    what + ".\n\n" + more,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.passphrase(file, name == "lock")
			if err != nil {
				return err
			}
			return a.with(cmd, local, func(ctx context.Context, door api.API) error {
				if err := do(door, ctx, p); err != nil {
					return err
				}
				return show(a, locked{name == "lock"}, func(locked) { a.out.line("the key of this device is " + done) })
			})
		},
	}
	c.Flags().StringVar(&file, "passphrase-file", "", "read the passphrase from the first line of this file (- for stdin) instead of asking")
	return c
}

// passphrase reads the first line of a file or of stdin, or asks on the terminal;
// a new one is asked for twice. Never an argument: ps shows those to everybody.
func (a *app) passphrase(file string, fresh bool) (api.Secret, error) {
	var text []byte
	var err error
	switch file {
	case "":
		return a.askPassphrase(fresh)
	case "-":
		text, err = readAll(a.stdin, "stdin")
	default:
		text, err = readFile(file)
	}
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return api.Secret(strings.TrimSuffix(line, "\r")), nil
}

// unlock asks for the passphrase of a locked key when a node opens.
func (a *app) unlock() (api.Secret, error) { return a.askPassphrase(false) }

func (a *app) askPassphrase(fresh bool) (api.Secret, error) {
	p, err := a.ask("passphrase: ")
	if err != nil {
		return "", api.ErrUsage.Wrap(err, "--passphrase-file FILE")
	}
	if fresh {
		again, err := a.ask("the same again: ")
		if err != nil {
			return "", err
		}
		if again != p {
			return "", api.ErrUsage.With("the two are not the same", "once more")
		}
	}
	return api.Secret(p), nil
}
