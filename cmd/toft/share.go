package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

// shareCmd is the way into a team without a secret: the newcomer shows a public
// token, and picks up what was published for it.
func (a *app) shareCmd() *cobra.Command {
	c := &cobra.Command{
		Use:     "share",
		Example: "toft share token\ntoft share with $DID --team fam",
		Short:   "Share a team with a device that shows its token, without a secret code",
	}
	join := a.joinCmd()
	join.Use = "join CID|LINK"
	join.Example = "toft share join $LINK"
	join.Short = "Pick up what was shared with this device (needs the daemon)"
	c.AddCommand(a.shareTokenCmd(), a.shareWithCmd(), join)
	return c
}

func (a *app) shareTokenCmd() *cobra.Command {
	var qr bool
	c := &cobra.Command{
		Use: "token", Args: cobra.NoArgs,
		Example: "toft share token",
		Short:   "Print the token of this device: others can share with it, it opens nothing",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd, local, func(ctx context.Context, door api.API) error {
				id, err := door.Identity(ctx)
				if err != nil {
					return err
				}
				if qr {
					a.printQR(id.DID)
				}
				t := token{DID: id.DID, Words: id.Words}
				return show(a, t, func(t token) {
					a.out.line(t.DID)
					a.talk("its words, to compare with the other screen: %s", strings.Join(t.Words, " "))
					a.talk("on the other device: toft share with %s", t.DID)
				})
			})
		},
	}
	c.Flags().BoolVar(&qr, "qr", false, "also as a QR code, on stderr")
	return c
}

// token is the JSON of `toft share token`.
type token struct {
	DID   string   `json:"did"`
	Words []string `json:"words"`
}

func (a *app) shareWithCmd() *cobra.Command {
	var r api.ShareRequest
	var team, role string
	c := &cobra.Command{
		Use: "with DID", Args: cobra.ExactArgs(1),
		Example: "toft share with $DID --team fam --name carol",
		Short:   "Admit the device that showed this token (needs the daemon)",
		Long: "Admit the device that showed this token (needs the daemon).\n\n" +
			"Compare the words with those on its screen. What is printed is safe to publish:\nit opens for that device alone.",
		RunE: func(cmd *cobra.Command, args []string) error {
			r.DID, r.Role = args[0], api.Role(role)
			return a.withTeam(cmd, live, team, func(ctx context.Context, t api.Team) error {
				s, err := t.ShareWith(ctx, r)
				if err != nil {
					return err
				}
				return show(a, s, func(s api.Shared) {
					a.out.line(s.CID)
					a.out.line(s.Link)
					a.talk("%s", fmt.Sprintf("shared %s as %s; the words on the other screen must be: %s", s.Team, s.Role, strings.Join(s.Words, " ")))
					a.talk("on the other device: toft share join %s", s.Link)
				})
			})
		},
	}
	f := c.Flags()
	f.StringVar(&team, "team", "", "the team to share (default: the only shared one)")
	f.StringVar(&role, "role", string(api.RoleMember), "what they may do: admin, member or reader")
	f.StringVar(&r.Name, "name", "", "how the team shall call them")
	return c
}
