package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

func (a *app) watchCmd() *cobra.Command {
	return &cobra.Command{
		Use: "watch DB", Args: cobra.ExactArgs(1),
		Example: "toft watch notes",
		Short:   "Print the documents, then every change as it happens (needs the daemon)",
		Long: "Print the documents, then every change as it happens (needs the daemon), until\nCtrl-C.\n\n" +
			"= there already   + new   ~ changed   - gone",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDB(cmd, live, args[0], func(ctx context.Context, db api.DB) error {
				n := 0
				for e, err := range db.Watch(ctx) {
					if err != nil {
						return err
					}
					if e.Op == api.OpInit {
						n++
					}
					if err := show(a, e, func(e api.LiveEvent) { a.printEvent(e, db.Name(), n) }); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func (a *app) printEvent(e api.LiveEvent, db string, n int) {
	sign := map[api.Op]string{api.OpInit: "=", api.OpAdd: "+", api.OpChange: "~", api.OpRemove: "-"}[e.Op]
	switch {
	case e.Op == api.OpReady:
		a.talk("watching %s, %s there already; Ctrl-C ends", db, plural(n, "document"))
	case e.Op == api.OpGap:
		a.talk("some changes were missed; the state again:")
	case e.Doc == nil:
		a.out.line(sign + " " + e.ID)
	default:
		text, err := e.Doc.MarshalJSON()
		if err != nil {
			a.out.err = err
			return
		}
		a.out.line(sign + " " + e.ID + " " + string(text))
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (a *app) changesCmd() *cobra.Command {
	var o api.ChangesOptions
	var since string
	c := &cobra.Command{
		Use: "changes DB", Args: cobra.ExactArgs(1),
		Example: "toft changes notes --limit 10",
		Short:   "Print what changed, in the order it arrived here, deletions included",
		Long: "Print what changed, in the order it arrived here, deletions included: one row per\ndocument, its latest. The first column is the cursor to go on after with --since.\n" +
			"With -f it waits for more until Ctrl-C (needs the daemon).",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Limit, err = parseLimit(cmd.Flags().Changed("limit"), o.Limit); err != nil {
				return err
			}
			o.Since = api.Cursor(since)
			n := local
			if o.Follow {
				n = live
			}
			return a.withDB(cmd, n, args[0], func(ctx context.Context, db api.DB) error {
				for row, err := range db.Changes(ctx, o) {
					if err != nil {
						return err
					}
					if err := show(a, row, a.printChange); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	f := c.Flags()
	f.StringVar(&since, "since", "", "only what came after this cursor, or now")
	f.BoolVarP(&o.Follow, "follow", "f", false, "wait for more")
	f.IntVar(&o.Limit, "limit", 0, "at most this many")
	f.BoolVar(&o.Docs, "docs", false, "with the documents")
	return c
}

func (a *app) printChange(c api.Change) {
	what := c.Rev
	if c.Deleted {
		what = "deleted"
	}
	text := ""
	if c.Doc != nil {
		b, err := c.Doc.MarshalJSON()
		if err != nil {
			a.out.err = err
			return
		}
		text = " " + string(b)
	}
	a.out.line(fmt.Sprintf("%s %s %s%s", c.Cursor, c.ID, what, text))
}

func (a *app) conflictsCmd() *cobra.Command {
	var keep string
	c := &cobra.Command{
		Use: "conflicts DB [ID]", Args: cobra.RangeArgs(1, 2),
		Example: "toft conflicts notes",
		Short:   "List fields that two devices wrote without having seen each other",
		Long:    "List fields that two devices wrote without having seen each other: what everybody\nsees, and what else was written. Putting the document settles them; so does --keep,\nwhich makes the document read as one of its revisions (toft log DB ID).",
		RunE: func(cmd *cobra.Command, args []string) error {
			if keep != "" && len(args) < 2 {
				return api.ErrUsage.With("--keep is for one document", "toft conflicts DB ID --keep REV")
			}
			if keep != "" {
				return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error { return a.revert(ctx, db, args[1], keep) })
			}
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				return list(a, db.Conflicts(ctx, opt(args, 1)), []string{"DOCUMENT", "FIELD", "SHOWN", "ALSO WRITTEN", "BY"}, func(c api.Conflict) []string {
					var values, by []string
					for _, o := range c.Others {
						values = append(values, o.Value.String())
						by = append(by, o.Member+" on "+o.Device)
					}
					return []string{c.ID, strings.Join(c.Path, "."), c.Winner.String(), strings.Join(values, " "), strings.Join(by, ", ")}
				})
			})
		},
	}
	c.Flags().StringVar(&keep, "keep", "", "settle them: the document reads as in this revision")
	return c
}
