package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

func (a *app) dbCmd() *cobra.Command {
	c := &cobra.Command{
		Use:     "db",
		Example: "toft db create todos\ntoft db list",
		Short:   "Make and list databases",
	}
	c.AddCommand(a.dbCreateCmd(), a.dbListCmd(), a.dbShowCmd())
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
	a.pairs("database", d.Name, "id", d.ID, "team", d.Team, "documents", count(d.Docs), "size", size(d.Bytes))
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
