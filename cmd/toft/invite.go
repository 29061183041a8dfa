package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

// What the command line grants when nothing is said: less than the library, because
// a code in a chat stays there.
const (
	inviteUses    = 1
	inviteExpires = "7d"
	deviceExpires = "30m"
)

// inviteCmd is `toft team invite member`, and `toft invite` for short.
func (a *app) inviteCmd(name string) *cobra.Command {
	var i api.MemberInvite
	var role, expires, seedFile string
	var qr bool
	path := "toft team invite member"
	if name == "invite" {
		path = "toft invite"
	}
	c := &cobra.Command{
		Use: name + " [TEAM]", Args: cobra.MaximumNArgs(1),
		Example: path + " fam",
		Short:   "Print a code that lets somebody into a team (needs the daemon)",
		Long: "Print a code that lets somebody into a team (needs the daemon).\n\n" +
			"The code is a secret: whoever has it can join. It is good for one use within\n7 days unless you say otherwise. stdout has the code and nothing else.",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			i.Role = api.Role(role)
			if i.Expires, err = a.expiry(expires); err != nil {
				return err
			}
			if i.Seed, err = a.seed(seedFile); err != nil {
				return err
			}
			return a.withTeam(cmd, live, opt(args, 0), func(ctx context.Context, t api.Team) error {
				inv, err := t.InviteMember(ctx, i)
				if err != nil {
					return err
				}
				return a.printInvite(inv, qr)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&role, "role", string(api.RoleMember), "what they may do: admin, member or reader")
	f.Uint64Var(&i.MaxUses, "max-uses", inviteUses, "how many devices may use it; 0 for any number")
	f.StringVar(&expires, "expires", inviteExpires, "how long it is good, as in 30m or 7d, or never")
	f.BoolVar(&i.Short, "short", false, "a shorter code, without address and device to ask")
	f.BoolVar(&qr, "qr", false, "also as a QR code, on stderr")
	seedFlags(c, &seedFile, &i.AllowWeakSeed)
	return c
}

// seedFlags are those of an invitation that lets people agree on its secret.
func seedFlags(c *cobra.Command, file *string, allowWeak *bool) {
	f := c.Flags()
	f.StringVar(file, "seed-file", "", "a secret of your own, the first line of this file (- for stdin), to be told apart from the code")
	f.BoolVar(allowWeak, "allow-weak-seed", false, "take one that can be guessed; it needs one use and at most 24h")
}

// seed reads --seed-file: the first line of a file or of stdin. Never an argument:
// ps shows those to everybody.
func (a *app) seed(file string) (api.Secret, error) {
	if file == "" {
		return "", nil
	}
	s, err := a.passphrase(file, false)
	if err == nil && s == "" {
		err = api.ErrUsage.With("the seed is empty", "write it into the first line of the file")
	}
	return s, err
}

func (a *app) inviteReplicaCmd() *cobra.Command {
	var i api.ReplicaInvite
	var expires string
	var qr bool
	c := &cobra.Command{
		Use: "replica [TEAM]", Args: cobra.MaximumNArgs(1),
		Example: "toft team invite replica fam",
		Short:   "Print a code for a device that holds the team's blocks and reads none (needs the daemon)",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if i.Expires, err = a.expiry(expires); err != nil {
				return err
			}
			return a.withTeam(cmd, live, opt(args, 0), func(ctx context.Context, t api.Team) error {
				inv, err := t.InviteReplica(ctx, i)
				if err != nil {
					return err
				}
				return a.printInvite(inv, qr)
			})
		},
	}
	f := c.Flags()
	f.Uint64Var(&i.MaxUses, "max-uses", inviteUses, "how many devices may use it; 0 for any number")
	f.StringVar(&expires, "expires", inviteExpires, "how long it is good, as in 30m or 7d, or never")
	f.BoolVar(&i.Short, "short", false, "a shorter code, without address and device to ask")
	f.BoolVar(&qr, "qr", false, "also as a QR code, on stderr")
	return c
}

func (a *app) inviteDeviceCmd() *cobra.Command {
	var i api.DeviceInvite
	var expires, seedFile string
	var qr bool
	c := &cobra.Command{
		Use: "device [TEAM]", Args: cobra.MaximumNArgs(1),
		Example: "toft team invite device",
		Short:   "Print a code that makes another device yours (needs the daemon)",
		Long: "Print a code that makes another device yours (needs the daemon).\n\n" +
			"Without TEAM it is for your personal team. One use, within 30 minutes.",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if i.Expires, err = a.expiry(expires); err != nil {
				return err
			}
			if i.Seed, err = a.seed(seedFile); err != nil {
				return err
			}
			team := opt(args, 0)
			if team == "" {
				team = api.Personal
			}
			return a.withTeam(cmd, live, team, func(ctx context.Context, t api.Team) error {
				inv, err := t.InviteDevice(ctx, i)
				if err != nil {
					return err
				}
				return a.printInvite(inv, qr)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&expires, "expires", deviceExpires, "how long it is good, as in 30m")
	f.BoolVar(&i.Short, "short", false, "a shorter code, without address and device to ask")
	f.BoolVar(&qr, "qr", false, "also as a QR code, on stderr")
	seedFlags(c, &seedFile, &i.AllowWeakSeed)
	return c
}

// printInvite prints the code alone on stdout and says on stderr what it grants.
func (a *app) printInvite(i api.Invite, qr bool) error {
	if qr {
		a.printQR(i.Link)
	}
	return show(a, i, func(i api.Invite) {
		a.out.line(i.Code)
		join := "toft join CODE"
		if i.Kind == "device" {
			join += " --device"
		}
		if i.Apart {
			a.talk("the seed is not in the code: tell it on another way, then on the other device: %s --seed-file FILE", join)
		}
		a.talk("%s", fmt.Sprintf("invitation %s to %s as %s, %s, %s; whoever has the code can join", i.ID, i.Team, i.Role, uses(i), until(i, a.now())))
		a.talk("on the other device: %s", join)
	})
}

func uses(i api.Invite) string {
	switch i.MaxUses {
	case 0:
		return "any number of uses"
	case 1:
		return "one use"
	}
	return fmt.Sprintf("%d uses", i.MaxUses)
}

func until(i api.Invite, now time.Time) string {
	if i.Expires.IsZero() {
		return "never expires"
	}
	return "expires " + when(i.Expires) + " (in " + i.Expires.Sub(now).Round(time.Minute).String() + ")"
}

func (a *app) invitesCmd() *cobra.Command {
	return &cobra.Command{
		Use: "invites [TEAM]", Args: cobra.MaximumNArgs(1),
		Example: "toft team invites fam",
		Short:   "List the invitations of a team; codes are not kept",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withTeam(cmd, local, opt(args, 0), func(ctx context.Context, t api.Team) error {
				return list(a, t.Invites(ctx), []string{"ID", "KIND", "ROLE", "USES", "EXPIRES", "BY", "STATE"}, func(i api.Invite) []string {
					used := fmt.Sprintf("%d of %d", i.Uses, i.MaxUses)
					if i.MaxUses == 0 {
						used = fmt.Sprint(i.Uses)
					}
					return []string{i.ID, i.Kind, string(i.Role), used, cmp.Or(when(i.Expires), "never"), i.By, i.State}
				})
			})
		},
	}
}

func (a *app) revokeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "revoke [TEAM] INVITE", Args: cobra.RangeArgs(1, 2),
		Example: "toft team revoke $INVITE",
		Short:   "End an invitation",
		RunE: func(cmd *cobra.Command, args []string) error {
			team, id := "", args[len(args)-1]
			if len(args) == 2 {
				team = args[0]
			}
			return a.withTeam(cmd, local, team, func(ctx context.Context, t api.Team) error {
				if err := t.Revoke(ctx, id); err != nil {
					return err
				}
				for i, err := range t.Invites(ctx) {
					if err != nil {
						return err
					}
					if strings.HasPrefix(i.ID, id) {
						return show(a, i, func(i api.Invite) { a.out.line(i.ID + " " + i.State) })
					}
				}
				return nil
			})
		},
	}
}

func (a *app) joinCmd() *cobra.Command {
	var r api.JoinRequest
	var seedFile string
	c := &cobra.Command{
		Use: "join CODE|LINK|CID|-", Args: cobra.MinimumNArgs(1),
		Example: "toft join $CODE --as bob",
		Short:   "Redeem an invitation (needs the daemon)",
		Long: "Redeem an invitation (needs the daemon).\n\n" +
			"Spaces, dashes and case of the code do not matter. A code that would\nmake this device one of the inviter's own is refused without --device. With - the\ncode is read from stdin, where other users of this machine cannot see it.",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.Seed, err = a.seed(seedFile); err != nil {
				return err
			}
			r.Code = strings.Join(args, " ")
			if r.Code == "-" {
				text, err := readAll(a.stdin, "stdin")
				if err != nil {
					return err
				}
				r.Code = strings.TrimSpace(string(text))
			}
			return a.withPatience(cmd, live, func(ctx context.Context, door api.API) error {
				a.talk("looking for the team…")
				j, err := door.Join(ctx, r)
				if err != nil {
					return err
				}
				return show(a, j, a.printJoined)
			})
		},
	}
	c.Flags().StringVar(&r.Name, "as", "", "the name others in the team shall see (default: your user name)")
	c.Flags().BoolVar(&r.Device, "device", false, "the code is one of your own for a device: your other devices come into every team this one is in")
	c.Flags().BoolVar(&r.NoWait, "no-wait", false, "do not wait for the databases")
	c.Flags().StringVar(&seedFile, "seed-file", "", "the secret that was told apart from the code, the first line of this file (- for stdin)")
	return c
}

func (a *app) printJoined(j api.Joined) {
	a.out.line(fmt.Sprintf("joined %s as %s, admitted by %s", j.Team.Name, j.Team.Role, j.AdmittedBy))
	if len(j.Words) > 4 {
		a.out.line("words of who shared it, as toft id shows them there: " + strings.Join(j.Words, " "))
	} else {
		a.out.line("words on both sides: " + strings.Join(j.Words, " "))
	}
	for _, d := range j.DBs {
		a.out.line(fmt.Sprintf("database %s, %d documents", d.Name, d.Docs))
	}
	if j.Provisional {
		a.talk("your own writes stay here until a second member confirms the team; toft status tells")
	}
	if len(j.DBs) > 0 {
		a.talk("see it: toft all %s", j.Team.Name+"/"+j.DBs[0].Name)
	}
}
