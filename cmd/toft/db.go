package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

func (a *app) dbCmd() *cobra.Command {
	c := &cobra.Command{
		Use:     "db",
		Example: "toft db create todos\ntoft db list",
		Short:   "Make, list, move and drop databases",
	}
	c.AddCommand(a.dbCreateCmd(), a.dbListCmd(), a.dbShowCmd(), a.dbAddCmd(), a.dbRenameCmd(), a.dbDropCmd())
	return c
}

func (a *app) dbCreateCmd() *cobra.Command {
	var team string
	c := &cobra.Command{
		Use: "create NAME", Args: cobra.ExactArgs(1),
		Example: "toft db create recipes --team fam",
		Short:   "Make a database in a team, or, without --team, for your own devices",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withTeam(cmd, local, team, func(ctx context.Context, t api.Team) error {
				db, err := t.CreateDB(ctx, args[0])
				if err != nil {
					return err
				}
				info, err := db.Info(ctx)
				if err != nil {
					return err
				}
				return show(a, info, a.printDB)
			})
		},
	}
	c.Flags().StringVar(&team, "team", api.Personal, "the team it shall belong to")
	return c
}

func (a *app) printDB(d api.DBInfo) {
	a.pairs("database", d.Name, "id", d.ID, "team", d.Team, "documents", count(d.Docs), "size", size(d.Bytes), "unaudited", unaudited(d.Unaudited))
}

// unaudited says on whose word the documents rest, "" if on nobody's.
func unaudited(device string) string {
	if device == "" {
		return ""
	}
	return "vouched for by " + device + "; its history is not here yet"
}

func (a *app) dbListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Args: cobra.NoArgs,
		Example: "toft db list",
		Short:   "List all databases",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd, local, func(ctx context.Context, door api.API) error {
				return list(a, door.DBs(ctx), []string{"DATABASE", "TEAM", "DOCS", "SIZE", "ID"}, func(d api.DBInfo) []string {
					return []string{d.Name, d.Team, count(d.Docs), size(d.Bytes), short(d.ID)}
				})
			})
		},
	}
}

func (a *app) dbShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show DB", Args: cobra.ExactArgs(1),
		Example: "toft db show notes",
		Short:   "Show one database",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				info, err := db.Info(ctx)
				if err != nil {
					return err
				}
				return show(a, info, a.printDB)
			})
		},
	}
}

func (a *app) dbAddCmd() *cobra.Command {
	var team string
	c := &cobra.Command{
		Use: "add DB --team TEAM", Args: cobra.ExactArgs(1),
		Example: "toft db add notes --team fam",
		Short:   "Take a database with all its documents to another team",
		Long: "Take a database with all its documents to another team.\n\n" +
			"It lives in one team at a time: who is only in the old one keeps what is there\nand sees nothing new.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if team == "" {
				return api.ErrUsage.With("no team is named", "toft db add "+args[0]+" --team TEAM")
			}
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				info, err := db.Move(ctx, team)
				if err != nil {
					return err
				}
				return show(a, info, a.printDB)
			})
		},
	}
	c.Flags().StringVar(&team, "team", "", "the team it shall belong to")
	return c
}

func (a *app) dbRenameCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rename DB NAME", Args: cobra.ExactArgs(2),
		Example: "toft db rename notes jottings",
		Short:   "Give a database another name, for everybody",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				if err := db.Rename(ctx, args[1]); err != nil {
					return err
				}
				info, err := db.Info(ctx)
				if err != nil {
					return err
				}
				return show(a, info, a.printDB)
			})
		},
	}
}

func (a *app) dbDropCmd() *cobra.Command {
	var confirm string
	c := &cobra.Command{
		Use: "drop DB --confirm DB", Args: cobra.ExactArgs(1),
		Example: "toft db drop notes --confirm notes",
		Short:   "Take a database away, for everybody in its team",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				if confirm != db.Name() {
					return api.ErrUsage.With(fmt.Sprintf("dropping %q needs its name once more", db.Name()), "toft db drop "+args[0]+" --confirm '"+db.Name()+"'")
				}
				info, err := db.Info(ctx)
				if err != nil {
					return err
				}
				if err := db.Drop(ctx); err != nil {
					return err
				}
				return show(a, info, func(d api.DBInfo) { a.out.line("dropped " + d.Name) })
			})
		},
	}
	c.Flags().StringVar(&confirm, "confirm", "", "the name of the database, so that it is no slip")
	return c
}

// withDB runs f on the database that the argument names.
func (a *app) withDB(cmd *cobra.Command, n need, name string, f func(context.Context, api.DB) error) error {
	return a.with(cmd, n, func(ctx context.Context, door api.API) error {
		db, err := door.DB(ctx, name)
		if err != nil {
			return err
		}
		return f(ctx, db)
	})
}
