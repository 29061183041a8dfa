package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

func (a *app) compactCmd() *cobra.Command {
	var o api.CompactOptions
	c := &cobra.Command{
		Use: "compact DB", Args: cobra.ExactArgs(1),
		Example: "toft compact notes --keep 30d",
		Short:   "Keep less history: what is older, and held by every active device",
		Long:    "Let the history of a database begin later. Commits older than --keep that every device\nheard of since has acknowledged are no longer kept one by one, and deletions as old are\nforgotten. Documents, changes, sync and the states of snapshots are as before; --as-of a\npoint from before says that it was compacted away. A device that was silent for longer\nthan --keep does not hold it back. Space is freed a day later, by the daemon or toft gc.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDB(cmd, local, args[0], func(ctx context.Context, db api.DB) error {
				s, err := db.Compact(ctx, o)
				if err != nil {
					return err
				}
				return show(a, s, func(s api.Summary) { a.printCompacted(s, o.DryRun) })
			})
		},
	}
	c.Flags().StringVar(&o.Keep, "keep", "", "how much history stays, as 30d, 2w or 12h; 0: none that all others have (default 30d)")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "only say what would be done")
	return c
}

func (a *app) gcCmd() *cobra.Command {
	var o api.GCOptions
	c := &cobra.Command{
		Use: "gc [DB]", Args: cobra.MaximumNArgs(1),
		Example: "toft gc --dry-run",
		Short:   "Free the space that compactions left, a day after they did",
		Long:    "Delete the blocks of a database, or of all, that nothing needs since a compaction. They\nstay for a day, for a device that is just fetching them; --now does not wait. The daemon\ndoes the same by itself every hour.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd, local, func(ctx context.Context, door api.API) error {
				names, err := dbNames(ctx, door, opt(args, 0))
				if err != nil {
					return err
				}
				var sum api.Summary
				for _, name := range names {
					db, err := door.DB(ctx, name)
					if err != nil {
						return err
					}
					s, err := db.GC(ctx, o)
					if err != nil {
						return err
					}
					sum.Freed, sum.Blocks, sum.Bytes = sum.Freed+s.Freed, sum.Blocks+s.Blocks, sum.Bytes+s.Bytes
					if sum.Waiting.IsZero() || !s.Waiting.IsZero() && s.Waiting.Before(sum.Waiting) {
						sum.Waiting = s.Waiting
					}
				}
				return show(a, sum, func(s api.Summary) { a.printFreed(s, o.DryRun) })
			})
		},
	}
	c.Flags().BoolVar(&o.Now, "now", false, "do not wait for the day to be over")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "only say what would be freed")
	return c
}

// dbNames returns the one name, or the ids of all databases.
func dbNames(ctx context.Context, door api.API, name string) (names []string, err error) {
	if name != "" {
		return []string{name}, nil
	}
	for d, err := range door.DBs(ctx) {
		if err != nil {
			return nil, err
		}
		names = append(names, d.ID)
	}
	return names, nil
}

func (a *app) printCompacted(s api.Summary, dry bool) {
	a.out.line(would(dry, "compact ", "compacted ") + plural(int(s.Commits), "commit"))
	if s.Purged > 0 {
		a.out.line(would(dry, "forget ", "forgot ") + plural(int(s.Purged), "deleted document"))
	}
	for _, h := range s.Held {
		if h.Why == "young" {
			a.out.line(fmt.Sprintf("kept %s that are younger", plural(int(h.Commits), "commit")))
		} else {
			a.out.line(fmt.Sprintf("kept %s that %s has not acknowledged; last heard %s", plural(int(h.Commits), "commit"), h.Device, h.Since.Local().Format(time.DateTime)))
		}
	}
	if !s.Oldest.IsZero() {
		a.out.line("history begins " + s.Oldest.Local().Format(time.DateTime))
	}
	a.printFreed(s, dry)
}

func (a *app) printFreed(s api.Summary, dry bool) {
	a.out.line(would(dry, "free ", "freed ") + fmt.Sprintf("%d bytes in %s", s.Bytes, plural(int(s.Blocks), "block")))
	if !s.Waiting.IsZero() {
		a.out.line("more is freed after " + s.Waiting.Local().Format(time.DateTime) + "; toft gc --now does not wait")
	}
}

func would(dry bool, do, did string) string {
	if dry {
		return "would " + do
	}
	return did
}
