package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

func teamHeadRow() []string { return []string{"TEAM", "ROLE", "MEMBERS", "DEVICES", "ID"} }

func (a *app) teamCmd() *cobra.Command {
	c := &cobra.Command{
		Use:     "team",
		Example: "toft team create fam --db notes\ntoft team list",
		Short:   "Found a team, invite to it, change who is in it",
	}
	invite := &cobra.Command{
		Use: "invite", Example: "toft team invite member fam", Short: "Make an invitation",
	}
	invite.AddCommand(a.inviteCmd("member"), a.inviteDeviceCmd(), a.inviteReplicaCmd())
	c.AddCommand(a.teamCreateCmd(), a.teamListCmd(), a.teamShowCmd(), invite, a.invitesCmd(), a.revokeCmd(),
		a.joinCmd(), a.membersCmd(), a.devicesCmd(), a.teamLogCmd(), a.verifyTeamCmd(), a.renameTeamCmd(), a.roleCmd(),
		a.removeCmd(), a.leaveCmd(), a.rotateCmd(), a.adoptCmd())
	return c
}

// withTeam runs f on the team that the argument names; without one, the only
// shared team.
func (a *app) withTeam(cmd *cobra.Command, n need, name string, f func(context.Context, api.Team) error) error {
	return a.with(cmd, n, func(ctx context.Context, door api.API) error {
		t, err := door.Team(ctx, name)
		if err != nil {
			return err
		}
		return f(ctx, t)
	})
}

func teamRow(t api.TeamInfo) []string {
	return []string{t.Name, string(t.Role), strconv.Itoa(t.Members), strconv.Itoa(t.Devices), short(t.ID)}
}

func (a *app) printTeam(t api.TeamInfo) {
	a.pairs("team", t.Name, "id", t.ID, "your role", string(t.Role), "members", strconv.Itoa(t.Members),
		"devices", strconv.Itoa(t.Devices), "generation", t.Generation)
}

func (a *app) teamCreateCmd() *cobra.Command {
	var dbs []string
	c := &cobra.Command{
		Use: "create NAME", Args: cobra.ExactArgs(1),
		Example: "toft team create fam --db notes",
		Short:   "Found a team with this device as its first admin",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd, local, func(ctx context.Context, door api.API) error {
				t, err := door.CreateTeam(ctx, args[0])
				if err != nil {
					return err
				}
				for _, name := range dbs {
					if _, err := t.CreateDB(ctx, name); err != nil {
						e := api.ErrorOf(err)
						return api.ErrPartial.Wrap(fmt.Errorf("team %s is there, but not its database %s: %w", args[0], name, err), e.Hint)
					}
				}
				info, err := t.Info(ctx)
				if err != nil {
					return err
				}
				return show(a, info, a.printTeam)
			})
		},
	}
	c.Flags().StringSliceVar(&dbs, "db", nil, "also make this database; may be repeated")
	return c
}

func (a *app) teamListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Args: cobra.NoArgs,
		Example: "toft team list",
		Short:   "List the teams this device is in",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd, local, func(ctx context.Context, door api.API) error {
				return list(a, door.Teams(ctx), teamHeadRow(), teamRow)
			})
		},
	}
}

func (a *app) teamShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show [TEAM]", Args: cobra.MaximumNArgs(1),
		Example: "toft team show fam",
		Short:   "Show one team",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withTeam(cmd, local, opt(args, 0), func(ctx context.Context, t api.Team) error {
				info, err := t.Info(ctx)
				if err != nil {
					return err
				}
				return show(a, info, a.printTeam)
			})
		},
	}
}

func (a *app) membersCmd() *cobra.Command {
	return &cobra.Command{
		Use: "members [TEAM]", Args: cobra.MaximumNArgs(1),
		Example: "toft team members fam",
		Short:   "List the members of a team",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withTeam(cmd, local, opt(args, 0), func(ctx context.Context, t api.Team) error {
				return list(a, t.Members(ctx), []string{"MEMBER", "ROLE", "DEVICES", "STATE", "ADMITTED BY", "SINCE", "ID"}, func(m api.Member) []string {
					return []string{m.Name, string(m.Role), strconv.Itoa(m.Devices), m.State, m.AdmittedBy, when(m.Joined), short(m.ID)}
				})
			})
		},
	}
}

func (a *app) devicesCmd() *cobra.Command {
	var member string
	c := &cobra.Command{
		Use: "devices [TEAM] [MEMBER]", Args: cobra.MaximumNArgs(2),
		Example: "toft team devices fam ann",
		Short:   "List the devices of a team, or of one member",
		RunE: func(cmd *cobra.Command, args []string) error {
			member = opt(args, 1)
			return a.with(cmd, local, func(ctx context.Context, door api.API) error {
				t, err := door.Team(ctx, opt(args, 0))
				if errors.Is(err, api.ErrNotFound) && len(args) == 1 {
					// One argument may be a member of the only shared team.
					if only, oerr := door.Team(ctx, ""); oerr == nil {
						t, err, member = only, nil, args[0]
					}
				}
				if err != nil {
					return err
				}
				return list(a, t.Devices(ctx, member), []string{"DEVICE", "MEMBER", "STATE", "PEER ID"}, func(d api.Device) []string {
					return []string{d.Name, d.Member, d.State, d.PeerID}
				})
			})
		},
	}
	return c
}

func (a *app) teamLogCmd() *cobra.Command {
	var graph bool
	c := &cobra.Command{
		Use: "log [TEAM]", Args: cobra.MaximumNArgs(1),
		Example: "toft team log fam\ntoft team log fam --graph",
		Short:   "List the signed links of a team's chain, parents first",
		Long: "List the signed links of a team's chain, parents first.\n\n" +
			"--graph draws which link builds on which: * counts, x does not, and says why.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withTeam(cmd, local, opt(args, 0), func(ctx context.Context, t api.Team) error {
				if graph && !a.asJSON {
					return a.drawLog(t.Log(ctx))
				}
				return list(a, t.Log(ctx), []string{"ACTION", "BY", "TIME", "VALID", "LINK"}, func(l api.ChainLink) []string {
					valid := "yes"
					if !l.Valid {
						valid = "no: " + l.Why
					}
					return []string{l.Action, author(l), when(l.Time), valid, l.CID}
				})
			})
		},
	}
	c.Flags().BoolVar(&graph, "graph", false, "draw which link builds on which")
	return c
}

// author names who signed a link.
func author(l api.ChainLink) string {
	if l.Member == "" {
		return cmp.Or(l.Device, short(l.By))
	}
	return cmp.Or(l.Device, short(l.By)) + " of " + l.Member
}

// drawLog prints a chain as a graph.
func (a *app) drawLog(seq iter.Seq2[api.ChainLink, error]) error {
	var links []api.ChainLink
	for l, err := range seq {
		if err != nil {
			return err
		}
		links = append(links, l)
	}
	above, rows := drawing(links)
	for i, l := range links {
		for _, line := range above[i] {
			a.out.line(line)
		}
		text := rows[i] + "  " + l.Action + " by " + author(l) + ", " + when(l.Time) + "  " + l.CID
		if !l.Valid {
			text += "  does not count: " + l.Why
		}
		a.out.line(text)
	}
	return a.out.err
}
