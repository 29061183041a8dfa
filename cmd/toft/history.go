package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

// points says what names a place in the history, for help texts.
const points = "A point is a commit or the front of one, a time (RFC 3339, or as in \"2h ago\"), the\nlabel of a snapshot, or now."

func (a *app) logCmd() *cobra.Command {
	var o api.LogOptions
	var graph bool
	c := &cobra.Command{
		Use: "log DB [ID]", Args: cobra.RangeArgs(1, 2),
		Example: "toft log notes milk",
		Short:   "Print the commits of a database, or the revisions of a document, newest first",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Limit, err = parseLimit(cmd.Flags().Changed("limit"), o.Limit); err != nil {
				return err
			}
			o.ID = opt(args, 1)
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				var g lanes
				for row, err := range db.Log(ctx, o) {
					if err != nil {
						return err
					}
					front := ""
					if graph && !a.asJSON {
						front = g.row(a, row)
					}
					if err := show(a, row, func(c api.Commit) { a.printCommit(front, c) }); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	f := c.Flags()
	f.BoolVar(&graph, "graph", false, "draw which commit builds on which")
	f.BoolVar(&o.Void, "void", false, "only commits that do not count, and why")
	f.IntVar(&o.Limit, "limit", 0, "at most this many, the newest")
	return c
}

// stamp writes a time as it can be given back as a point.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02T15:04:05.000Z07:00")
}

func (a *app) printCommit(front string, c api.Commit) {
	ops := make([]string, len(c.Ops))
	for i, op := range c.Ops {
		ops[i] = op.ID
		if op.Op != "write" {
			ops[i] = op.Op + " " + op.ID
		}
	}
	if c.MoreOps > 0 {
		ops = append(ops, fmt.Sprintf("and %d more", c.MoreOps))
	}
	what := strings.Join(ops, ", ")
	switch {
	case c.Deleted:
		what = "deleted"
		if c.Rev != "" {
			what = c.Rev + " deleted"
		}
	case c.Rev != "":
		what = c.Rev
	}
	if c.Compacted {
		what += " (compacted away)"
	}
	if !c.Valid {
		what += " (does not count: " + c.Why + ")"
	}
	a.out.line(fmt.Sprintf("%s%s %s %s on %s: %s", front, c.CID[:min(len(c.CID), 20)], stamp(c.Time), c.Member, c.Device, what))
}

// lanes draws a graph of commits that come children first: a lane for each commit
// that is still to come.
type lanes struct{ next []string }

// row returns what stands before a commit, and prints the lines between.
func (g *lanes) row(a *app, c api.Commit) string {
	at := slices.Index(g.next, c.CID)
	if at < 0 {
		at, g.next = len(g.next), append(g.next, c.CID)
	}
	for i := len(g.next) - 1; i > at; i-- {
		if g.next[i] == c.CID { // two lines that meet here
			a.out.line(strings.Repeat("| ", i-1) + "|/" + strings.Repeat(" |", len(g.next)-1-i))
			g.next = slices.Delete(g.next, i, i+1)
		}
	}
	front := strings.Repeat("| ", at) + "* " + strings.Repeat("| ", len(g.next)-1-at)
	switch {
	case len(c.Parents) == 0:
		g.next = slices.Delete(g.next, at, at+1)
	default:
		g.next[at] = c.Parents[0]
		g.next = slices.Insert(g.next, at+1, c.Parents[1:]...)
	}
	return front
}

func (a *app) diffCmd() *cobra.Command {
	return &cobra.Command{
		Use: "diff DB [ID] A B", Args: cobra.RangeArgs(3, 4),
		Example: "toft diff notes '24h ago' now",
		Short:   "Show what reads differently at two points of the history, as merge patches",
		Long:    "Show what reads differently at two points of the history, as merge patches\n(RFC 7396) from A to B: + new, ~ changed, - gone. With ID, revisions are points too.\n\n" + points,
		RunE: func(cmd *cobra.Command, args []string) error {
			id := ""
			if len(args) == 4 {
				id = args[1]
			}
			from, to := args[len(args)-2], args[len(args)-1]
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				for row, err := range db.Diff(ctx, id, from, to) {
					if err != nil {
						return err
					}
					if err := show(a, row, a.printDiff); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func (a *app) printDiff(d api.DocDiff) {
	sign := map[api.Op]string{api.OpAdd: "+", api.OpChange: "~", api.OpRemove: "-"}[d.Op]
	text := ""
	if d.Patch != nil {
		b, err := d.Patch.MarshalJSON()
		if err != nil {
			a.out.err = err
			return
		}
		text = " " + string(b)
	}
	for _, path := range d.Nulls {
		text += " (" + strings.Join(path, ".") + " is null)"
	}
	a.out.line(sign + " " + d.ID + text)
}

func (a *app) revertCmd() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "revert DB ID --to REV|POINT", Args: cobra.ExactArgs(2),
		Example: "toft revert notes milk --to '2h ago'",
		Short:   "Make a document read as it did; nothing is lost",
		Long:    "Make a document read as it did, by a new commit: nothing is lost. If it was not\nthere then, it is deleted. --to takes a revision of the document (toft log DB ID), or a\npoint.\n\n" + points,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error { return a.revert(ctx, db, args[1], to) })
		},
	}
	c.Flags().StringVar(&to, "to", "", "the revision or point to go back to")
	return c
}

func (a *app) revert(ctx context.Context, db api.DB, id, to string) error {
	res, err := db.Revert(ctx, id, to)
	if err != nil {
		return err
	}
	return show(a, res, a.printResult)
}

func (a *app) snapshotCmd() *cobra.Command {
	c := &cobra.Command{
		Use:     "snapshot",
		Example: "toft snapshot create notes --label before-the-trip",
		Short:   "Give states a name, to read them later and to keep them",
		Long:    "Give states a name, to read them later with --as-of and to keep them when the\nhistory is compacted. Labels stay on this device.",
	}
	c.AddCommand(a.snapshotCreateCmd(), a.snapshotListCmd(), a.snapshotDeleteCmd())
	return c
}

func (a *app) snapshotCreateCmd() *cobra.Command {
	var label, at string
	c := &cobra.Command{
		Use: "create DB", Args: cobra.ExactArgs(1),
		Example: "toft snapshot create notes --label friday",
		Short:   "Label the present state, or, with --at, one of the past",
		RunE: func(cmd *cobra.Command, args []string) error {
			if label == "" {
				label = "snapshot " + a.now().Local().Format("2006-01-02 15:04:05.000")
			}
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				s, err := db.CreateSnapshot(ctx, label, at)
				if err != nil {
					return err
				}
				return show(a, s, func(s api.Snapshot) { a.out.line(s.Label) })
			})
		},
	}
	c.Flags().StringVar(&label, "label", "", "its name (default: the time)")
	c.Flags().StringVar(&at, "at", "", "the point to label (default now)")
	return c
}

func (a *app) snapshotListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list DB", Args: cobra.ExactArgs(1),
		Example: "toft snapshot list notes",
		Short:   "List the labels of a database",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				return list(a, db.Snapshots(ctx), []string{"LABEL", "STATE OF", "HEADS"}, func(s api.Snapshot) []string {
					heads := make([]string, len(s.Heads))
					for i, h := range s.Heads {
						heads[i] = h[:min(len(h), 20)]
					}
					return []string{s.Label, stamp(s.Time), strings.Join(heads, " ")}
				})
			})
		},
	}
}

func (a *app) snapshotDeleteCmd() *cobra.Command {
	var label string
	c := &cobra.Command{
		Use: "delete DB --label L", Args: cobra.ExactArgs(1),
		Example: "toft snapshot delete notes --label old",
		Short:   "Forget a label; the documents and their history stay",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error { return db.DeleteSnapshot(ctx, label) })
		},
	}
	c.Flags().StringVar(&label, "label", "", "its name")
	return c
}
