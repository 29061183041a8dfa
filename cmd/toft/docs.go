package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

func (a *app) putCmd() *cobra.Command {
	var merge bool
	var cond api.Cond
	c := &cobra.Command{
		Use: "put DB [ID] JSON|@FILE|-", Args: cobra.RangeArgs(2, 3),
		Example: "toft put notes milk '{\"title\":\"milk\",\"n\":1}'",
		Short:   "Write a document; prints its id and revision once it is on the disk",
		Long: "Write a document; prints its id and revision once it is on the disk.\n\n" +
			"Without ID the document's _id is taken, or a new one is made. A document that\nholds _rev is written only if that is still its revision.",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, d, err := a.putArgs(args[1:])
			if err != nil {
				return err
			}
			n := local
			if cond.Durable > 0 {
				n = live
			}
			return a.withDB(cmd, n, args[0], func(ctx context.Context, db api.DB) error {
				var res api.PutResult
				if merge {
					res, err = db.Patch(ctx, id, d, cond)
				} else {
					if id != "" {
						d["_id"] = id
					}
					res, err = db.Put(ctx, d, cond)
				}
				if err != nil {
					return err
				}
				return show(a, res, a.printResult)
			})
		},
	}
	c.PreRunE = func(*cobra.Command, []string) error {
		if cond.Durable < 0 {
			return api.ErrUsage.With("--durable is a number of devices", "")
		}
		if cond.IfRev != "" && cond.IfAbsent {
			return api.ErrUsage.With("--if-rev and --if-absent cannot both hold", "give one of them")
		}
		return nil
	}
	f := c.Flags()
	f.BoolVar(&merge, "merge", false, "change only the fields that are named (RFC 7396: null removes one)")
	f.StringVar(&cond.IfRev, "if-rev", "", "only if this is the document's revision")
	f.BoolVar(&cond.IfAbsent, "if-absent", false, "only if there is no such document")
	f.IntVar(&cond.Durable, "durable", 0, "return when so many other devices have signed that they hold it (needs the daemon)")
	return c
}

// putArgs reads [ID] BODY.
func (a *app) putArgs(args []string) (id string, d api.Doc, err error) {
	body := args[len(args)-1]
	if len(args) == 2 {
		id = args[0]
	}
	if !isBody(body) {
		return "", nil, api.ErrUsage.With(fmt.Sprintf("%.40q is no document", body), `a document is {…}, @FILE, or - for stdin, as in toft put notes milk '{"n":1}'`)
	}
	if d, err = a.body(body); err != nil {
		return "", nil, err
	}
	have, stands := d["_id"]
	switch text, ok := have.(string); {
	case stands && !ok:
		return "", nil, api.ErrBadDocument.With("_id is not a text", "")
	case stands && id != "" && id != text:
		return "", nil, api.ErrUsage.With(fmt.Sprintf("the document says _id %q, the command %q", text, id), "name one of them")
	case stands:
		id = text
	}
	return id, d, nil
}

func (a *app) printResult(r api.PutResult) { a.out.line(r.ID + " " + r.Rev) }

func (a *app) getCmd() *cobra.Command {
	var o api.GetOptions
	c := &cobra.Command{
		Use: "get DB ID…", Args: cobra.MinimumNArgs(2),
		Example: "toft get notes milk",
		Short:   "Print documents",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				var missing error
				for _, id := range args[1:] {
					d, err := db.Get(ctx, id, o)
					if errors.Is(err, api.ErrNotFound) && len(args) > 2 {
						missing = err // the others are printed all the same
						continue
					}
					if err != nil {
						return err
					}
					if err := a.printDoc(d, len(args) == 2); err != nil {
						return err
					}
				}
				return missing
			})
		},
	}
	c.Flags().BoolVar(&o.Meta, "meta", false, "with _meta: who wrote it last, when, in which commit")
	c.Flags().BoolVar(&o.Conflicts, "conflicts", false, "with _conflicts: what else was written concurrently")
	asOf(c, &o.AsOf)
	return c
}

func (a *app) delCmd() *cobra.Command {
	var rev string
	c := &cobra.Command{
		Use: "del DB ID…", Args: cobra.MinimumNArgs(2),
		Example: "toft del notes milk",
		Short:   "Delete documents: all that are named, or none",
		RunE: func(cmd *cobra.Command, args []string) error {
			if rev != "" && len(args) > 2 {
				return api.ErrUsage.With("--if-rev is for one document", "")
			}
			writes := make([]api.Write, 0, len(args)-1)
			for _, id := range args[1:] {
				writes = append(writes, api.Write{Op: api.VerbDelete, ID: id, IfRev: rev})
			}
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				results, err := db.Bulk(ctx, writes)
				if err != nil {
					return err
				}
				for _, r := range results {
					if err := show(a, r, a.printResult); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&rev, "if-rev", "", "only if this is the document's revision")
	return c
}

func (a *app) restoreCmd() *cobra.Command {
	return &cobra.Command{
		Use: "restore DB ID", Args: cobra.ExactArgs(2),
		Example: "toft restore notes old",
		Short:   "Bring a deleted document back",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				res, err := db.Restore(ctx, args[1])
				if err != nil {
					return err
				}
				return show(a, res, a.printResult)
			})
		},
	}
}

func (a *app) allCmd() *cobra.Command {
	var r api.Range
	var span string
	c := &cobra.Command{
		Use: "all DB", Args: cobra.ExactArgs(1),
		Example: "toft all notes --prefix mi",
		Short:   "Print all documents, one a line, in the order of their ids",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.From, r.To, err = parseRange(span); err != nil {
				return err
			}
			if r.Limit, err = parseLimit(cmd.Flags().Changed("limit"), r.Limit); err != nil {
				return err
			}
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				for d, err := range db.All(ctx, r) {
					if err != nil {
						return err
					}
					if err := a.printDoc(d, false); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	f := c.Flags()
	f.StringVar(&span, "range", "", "only ids from A to B, both included, as in a..m")
	f.StringVar(&r.Prefix, "prefix", "", "only ids that start with this")
	f.BoolVar(&r.Desc, "desc", false, "from the last to the first")
	f.IntVar(&r.Limit, "limit", 0, "at most this many")
	asOf(c, &r.AsOf)
	return c
}

// asOf adds the flag that reads the past.
func asOf(c *cobra.Command, point *string) {
	c.Flags().StringVar(point, "as-of", "", "as it was: a commit, a time (RFC 3339, or \"2h ago\"), a label")
}
