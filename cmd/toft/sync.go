package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

func (a *app) syncCmd() *cobra.Command {
	var wait bool
	c := &cobra.Command{
		Use: "sync [DB]", Args: cobra.MaximumNArgs(1),
		Example: "toft sync notes --wait",
		Short:   "Ask everybody who can be reached, now (needs the daemon)",
		Long: "Ask everybody who can be reached, now (needs the daemon), and print how the\ndatabase stands, or every database. The daemon does so by itself; this says how far\nit is.\n\n" +
			"With --wait it returns once every reachable member has what this device has, and\nthis device theirs; while nobody is there, it waits for somebody.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd, live, func(ctx context.Context, door api.API) error {
				ids := args
				if len(args) == 0 {
					for info, err := range door.DBs(ctx) {
						if err != nil {
							return err
						}
						ids = append(ids, info.ID)
					}
				}
				for _, id := range ids {
					if err := a.syncOne(ctx, door, id, wait); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "return only when every reachable member holds the same")
	return c
}

func (a *app) syncOne(ctx context.Context, door api.API, id string, wait bool) error {
	db, err := door.DB(ctx, id)
	if err != nil {
		return err
	}
	for e, err := range db.Sync(ctx, wait) {
		if err != nil {
			return err
		}
		if err := show(a, e, a.printSync); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printSync(e api.SyncEvent) {
	text := fmt.Sprintf("%s: %s", e.DB, e.State)
	if e.Peers > 0 {
		text += fmt.Sprintf(", %d of %s here hold the same", e.Equal, plural(e.Peers, "device"))
	}
	if e.Progress != nil {
		text += ", " + progressText(*e.Progress)
	}
	if len(e.Waiting) > 0 {
		text += ", " + waitingText(e.Waiting)
	}
	a.out.line(text)
}

func waitingText(devices []string) string {
	return "waiting for " + strings.Join(devices, ", ") + " to come online"
}

func progressText(p api.Progress) string {
	text := fmt.Sprintf("%s %s of %s", p.Phase, count(p.Done), count(p.Total))
	if p.Rate > 0 {
		text += fmt.Sprintf(" at %.0f/s, %s left", p.Rate, (time.Duration(p.ETASeconds) * time.Second).String())
	}
	return text
}

func (a *app) explainCmd() *cobra.Command {
	return &cobra.Command{
		Use: "explain DB [ID]", Args: cobra.RangeArgs(1, 2),
		Example: "toft explain notes milk",
		Short:   "Say which devices hold a document, or everything, and why others do not (needs the daemon)",
		Long: "Say which other devices hold a document, or without ID everything, since when,\nand why the others do not (needs the daemon). Silence is never taken for having:\n" +
			"what no device has said, \"lacks\" means as far as is known here.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withDB(cmd, live, args[0], func(ctx context.Context, db api.DB) error {
				e, err := db.Explain(ctx, opt(args, 1))
				if err != nil {
					return err
				}
				return show(a, e, a.printExplain)
			})
		},
	}
}

func (a *app) printExplain(e api.Explain) {
	what := e.DB
	if e.ID != "" {
		what += " " + e.ID + " " + e.Rev
	}
	a.out.line(what)
	if len(e.Holders) == 0 {
		a.out.line("no other device is in the team")
	}
	a.table([]string{"DEVICE", "MEMBER", "STATE", "SINCE", "ONLINE", "LAST SEEN", "WHY"}, mapped(e.Holders, func(h api.Holder) []string {
		online, seen := "no", "never"
		if h.Online {
			online = "yes"
		}
		if !h.LastSeen.IsZero() {
			seen = humanize.RelTime(h.LastSeen, a.now(), "ago", "from now")
		}
		return []string{h.Device, h.Member, h.State, when(h.Since), online, seen, h.Why}
	}))
	for _, p := range e.Problems {
		a.out.line("problem: " + p)
	}
}
