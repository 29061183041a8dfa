package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

func (a *app) verifyCmd() *cobra.Command {
	var deep bool
	c := &cobra.Command{
		Use: "verify [DB]", Args: cobra.MaximumNArgs(1),
		Example: "toft verify notes --deep",
		Short:   "Read everything from the disk again and check it; exit 7 if something is wrong",
		Long:    "Read every block of a database, or of all, from the disk again and check its name,\nsignature, seal and place. --deep also plays the whole history and confirms every state\nthat was ever signed. Nothing is changed; exit 7 if something is wrong.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inspect(cmd, opt(args, 0), func(ctx context.Context, db api.DB) (api.VerifyReport, error) { return db.Verify(ctx, deep) })
		},
	}
	c.Flags().BoolVar(&deep, "deep", false, "confirm every digest too")
	return c
}

func (a *app) repairCmd() *cobra.Command {
	return &cobra.Command{
		Use: "repair [DB]", Args: cobra.MaximumNArgs(1),
		Example: "toft repair",
		Short:   "Fetch damaged blocks from other devices, and rebuild what is made from blocks",
		Long:    "Fetch damaged and missing blocks of a database, or of all, from the devices that are\nconnected (the daemon must run for that), and rebuild what is made from blocks. Nothing\nthat can be read is taken away. A database that was away so long that its history is\nnowhere to be had any more (status: cut off) takes a connected device's state, on that\ndevice's word, with all that was written here and is unknown there on top. Exit 7 if something is still wrong.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inspect(cmd, opt(args, 0), func(ctx context.Context, db api.DB) (api.VerifyReport, error) { return db.Repair(ctx) })
		},
	}
}

// inspect runs f on one database, or on all, adds the reports up, and prints them.
func (a *app) inspect(cmd *cobra.Command, name string, f func(context.Context, api.DB) (api.VerifyReport, error)) error {
	return a.with(cmd, local, func(ctx context.Context, door api.API) error {
		names, err := dbNames(ctx, door, name)
		if err != nil {
			return err
		}
		sum := api.VerifyReport{OK: true, Bad: []api.BadBlock{}}
		for _, name := range names {
			db, err := door.DB(ctx, name)
			if err != nil {
				return err
			}
			r, err := f(ctx, db)
			if err != nil {
				return err
			}
			sum.OK, sum.Rebuilt = sum.OK && r.OK, sum.Rebuilt || r.Rebuilt
			sum.Checked, sum.Digests, sum.Healed = sum.Checked+r.Checked, sum.Digests+r.Digests, sum.Healed+r.Healed
			sum.Compacted += r.Compacted
			sum.Bad, sum.Seconds = append(sum.Bad, r.Bad...), sum.Seconds+r.Seconds
		}
		if err := show(a, sum, a.printFindings); err != nil || sum.OK {
			return err
		}
		return api.ErrVerify.With(fmt.Sprintf("%s wrong", plural(len(sum.Bad), "thing")), "toft repair, with the daemon running and another device connected")
	})
}

func (a *app) printFindings(r api.VerifyReport) {
	for _, b := range r.Bad {
		a.out.line(fmt.Sprintf("%s %s: %s", b.Kind, b.CID, b.Detail))
	}
	line := fmt.Sprintf("checked %s", plural(int(r.Checked), "block"))
	if r.Digests > 0 {
		line += fmt.Sprintf(", confirmed %s", plural(int(r.Digests), "state"))
	}
	if r.Compacted > 0 {
		line += fmt.Sprintf(", %s compacted away", plural(int(r.Compacted), "commit"))
	}
	if r.Healed > 0 {
		line += fmt.Sprintf(", healed %s", plural(int(r.Healed), "block"))
	}
	if r.Rebuilt {
		line += ", rebuilt the state"
	}
	a.out.line(line)
}
