package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

// What changes who is in a team. In all of these the team stands before what they
// are about, and may be left out where there is only one.

// teamAnd splits the arguments of such a verb: n that it needs, and the team if
// there is one more.
func teamAnd(args []string, n int) (team string, rest []string) {
	if len(args) > n {
		return args[0], args[1:]
	}
	return "", args
}

func (a *app) renameTeamCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rename [TEAM] NAME", Args: cobra.RangeArgs(1, 2),
		Example: "toft team rename fam family",
		Short:   "Give a team another name, for everybody in it",
		RunE: func(cmd *cobra.Command, args []string) error {
			team, rest := teamAnd(args, 1)
			return a.withTeam(cmd, local, team, func(ctx context.Context, t api.Team) error {
				if err := t.Rename(ctx, rest[0]); err != nil {
					return err
				}
				return a.showTeam(ctx, t)
			})
		},
	}
}

func (a *app) showTeam(ctx context.Context, t api.Team) error {
	info, err := t.Info(ctx)
	if err != nil {
		return err
	}
	return show(a, info, a.printTeam)
}

func (a *app) roleCmd() *cobra.Command {
	return &cobra.Command{
		Use: "role [TEAM] MEMBER admin|member|reader", Args: cobra.RangeArgs(2, 3),
		Example: "toft team role fam bob admin",
		Short:   "Give a member another role",
		Long: "Give a member another role: an admin changes the team, a member reads and writes,\n" +
			"a reader reads. What a member wrote before it became a reader, and you have seen,\nstays.",
		RunE: func(cmd *cobra.Command, args []string) error {
			team, rest := teamAnd(args, 2)
			return a.withTeam(cmd, local, team, func(ctx context.Context, t api.Team) error {
				if err := t.SetRole(ctx, rest[0], api.Role(rest[1])); err != nil {
					return err
				}
				for m, err := range t.Members(ctx) {
					if err != nil {
						return err
					}
					if m.Name == rest[0] || strings.HasPrefix(m.ID, rest[0]) {
						return show(a, m, func(m api.Member) { a.out.line(fmt.Sprintf("%s is %s in %s", m.Name, m.Role, t.Name())) })
					}
				}
				return nil
			})
		},
	}
}

func (a *app) removeCmd() *cobra.Command {
	var r api.RemoveRequest
	c := &cobra.Command{
		Use: "remove [TEAM] MEMBER|DEVICE", Args: cobra.RangeArgs(1, 2),
		Example: "toft team remove fam bob --dry-run\ntoft team remove fam bob",
		Short:   "Remove a member or a device, and change the key",
		Long: "Remove a member or a device, and change the key.\n\n" +
			"What it wrote so far, and you have seen, stays; what it writes from now on is\nnobody's. It keeps what it could read until now, and reads nothing new.\n" +
			"--dry-run tells what would happen and changes nothing.",
		RunE: func(cmd *cobra.Command, args []string) error {
			team, rest := teamAnd(args, 1)
			r.Target = rest[0]
			return a.withTeam(cmd, local, team, func(ctx context.Context, t api.Team) error {
				done, err := t.Remove(ctx, r)
				if err != nil {
					return err
				}
				return show(a, done, a.printRemoval)
			})
		},
	}
	c.Flags().BoolVar(&r.DryRun, "dry-run", false, "tell what would happen, change nothing")
	c.Flags().BoolVar(&r.WithAdmitted, "with-admitted", false, "also remove what it admitted or invited")
	return c
}

func (a *app) printRemoval(r api.Removal) {
	verb := "removed"
	if r.DryRun {
		verb = "would remove"
	}
	a.out.line(fmt.Sprintf("%s %s %s", verb, r.Kind, r.Target))
	for _, d := range r.Devices {
		a.out.line(fmt.Sprintf("  %s goes", deviceOf(d)))
	}
	for _, d := range r.BroughtIn {
		if !slices.ContainsFunc(r.Devices, func(g api.Device) bool { return g.PeerID == d.PeerID }) {
			a.out.line(fmt.Sprintf("  %s came by it and stays (--with-admitted removes it too)", deviceOf(d)))
		}
	}
	for _, id := range r.Revokes {
		a.out.line(fmt.Sprintf("  invitation %s ends", id))
	}
	if r.Rekeys > 0 {
		a.out.line("  new key for " + plural(r.Rekeys, "device"))
	}
	if r.Databases > 0 {
		a.out.line("  keeps what is here of " + plural(r.Databases, "database"))
	}
	if r.Undoes > 0 {
		a.out.line("  undoes " + plural(r.Undoes, "admission") + " by others")
	}
}

func deviceOf(d api.Device) string {
	return fmt.Sprintf("%s of %s", cmp.Or(d.Name, d.PeerID), cmp.Or(d.Member, "nobody"))
}

func (a *app) leaveCmd() *cobra.Command {
	var confirm string
	c := &cobra.Command{
		Use: "leave [TEAM] --confirm NAME", Args: cobra.MaximumNArgs(1),
		Example: "toft team leave fam --confirm fam",
		Short:   "Leave a team with all your devices",
		Long: "Leave a team with all your devices.\n\n" +
			"What you could read stays on them; nothing new comes. Only an admin can let you\nin again. --confirm repeats the team's name.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withTeam(cmd, local, opt(args, 0), func(ctx context.Context, t api.Team) error {
				if confirm != t.Name() {
					return api.ErrUsage.With(fmt.Sprintf("leaving %q needs its name once more", t.Name()), "toft team leave --confirm '"+t.Name()+"'")
				}
				if err := t.Leave(ctx); err != nil {
					return err
				}
				return show(a, left{Team: t.Name(), ID: t.ID(), Left: true}, func(l left) { a.out.line("left " + l.Team) })
			})
		},
	}
	c.Flags().StringVar(&confirm, "confirm", "", "the name of the team, so that it is no slip")
	return c
}

// left is the JSON of `toft team leave`.
type left struct {
	Team string `json:"team"`
	ID   string `json:"id"`
	Left bool   `json:"left"`
}

func (a *app) rotateCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rotate [TEAM]", Args: cobra.MaximumNArgs(1),
		Example: "toft team rotate fam",
		Short:   "Change the key of a team",
		Long:    "Change the key of a team. Removals do it by themselves; do it when a key may have\nbeen seen.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withTeam(cmd, local, opt(args, 0), func(ctx context.Context, t api.Team) error {
				info, err := t.Rotate(ctx)
				if err != nil {
					return err
				}
				return show(a, info, a.printTeam)
			})
		},
	}
}

func (a *app) adoptCmd() *cobra.Command {
	return &cobra.Command{
		Use: "adopt [TEAM] DEVICE", Args: cobra.RangeArgs(1, 2),
		Example: "toft team adopt fam tablet",
		Short:   "Keep what a removed device wrote before it knew",
		Long: "Keep what a removed device wrote before it knew: whoever removed it had not seen\n" +
			"all of its work. It stays removed; what is here of its work counts again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			team, rest := teamAnd(args, 1)
			return a.withTeam(cmd, local, team, func(ctx context.Context, t api.Team) error {
				if err := t.Adopt(ctx, rest[0]); err != nil {
					return err
				}
				return show(a, adopted{Device: rest[0], Adopted: true}, func(d adopted) { a.out.line("what " + d.Device + " wrote counts, as far as it is here") })
			})
		},
	}
}

// adopted is the JSON of `toft team adopt`.
type adopted struct {
	Device  string `json:"device"`
	Adopted bool   `json:"adopted"`
}

func (a *app) verifyTeamCmd() *cobra.Command {
	return &cobra.Command{
		Use: "verify [TEAM]", Args: cobra.MaximumNArgs(1),
		Example: "toft team verify fam",
		Short:   "Check every hash and every signature of a team's chain again",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withTeam(cmd, local, opt(args, 0), func(ctx context.Context, t api.Team) error {
				r, err := t.Verify(ctx)
				if err != nil {
					return err
				}
				if err := show(a, r, a.printReport); err != nil || r.OK {
					return err
				}
				return api.ErrVerify.With(fmt.Sprintf("%d of %d blocks of team %s are not what they should be", len(r.Bad), r.Checked, t.Name()), "join again from a new directory; another device has the chain whole")
			})
		},
	}
}

func (a *app) printReport(r api.VerifyReport) {
	for _, b := range r.Bad {
		a.out.line(fmt.Sprintf("bad %s %s: %s", b.Kind, b.CID, b.Detail))
	}
	verdict := "all good"
	if !r.OK {
		verdict = fmt.Sprintf("%d bad", len(r.Bad))
	}
	a.out.line(fmt.Sprintf("%d checked, %s", r.Checked, verdict))
}
