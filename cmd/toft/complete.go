package main

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/toftdb/toft/node/api"
)

// completeTime bounds what a press of Tab waits for.
const completeTime = 2 * time.Second

// maxOffered bounds how many documents are offered.
const maxOffered = 50

// complete offers what is there for the place an argument stands in, as the command's
// Use line names it: TEAM, MEMBER, DEVICE, DB, ID, INVITE. It only asks a
// running daemon: a store is not opened for a press of Tab.
func (a *app) complete(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), completeTime)
	defer cancel()
	paths, err := a.paths()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	door, err := a.dial(ctx, paths)
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	defer door.Close()
	var all []string
	for _, place := range placesAt(c.Use, len(args)) {
		all = append(all, a.values(ctx, door, place, args, begun)...)
	}
	var fit []string
	for _, v := range all {
		if strings.HasPrefix(v, begun) {
			fit = append(fit, clean(v))
		}
	}
	return fit, cobra.ShellCompDirectiveNoFileComp
}

// placesAt returns what the n-th argument may be. A place in brackets before others
// may be left out, so the argument after it may stand there as well.
func placesAt(use string, n int) []string {
	var out []string
	words := strings.Fields(use)[1:]
	skipped := 0 // optional places before this one
	for i, w := range words {
		if strings.HasPrefix(w, "--") {
			break
		}
		if i == n || i > n && i-skipped <= n {
			out = append(out, strings.Split(strings.Trim(w, "[]…"), "|")...)
		}
		if strings.HasPrefix(w, "[") {
			skipped++
		}
	}
	return out
}

// values lists what can stand in a place.
func (a *app) values(ctx context.Context, door api.API, place string, args []string, begun string) []string {
	inTeam := func(f func(api.Team) []string) []string {
		t, err := door.Team(ctx, opt(args, 0))
		if err != nil {
			t, err = door.Team(ctx, "")
		}
		if err != nil {
			return nil
		}
		return f(t)
	}
	switch place {
	case "TEAM":
		return names(door.Teams(ctx), func(t api.TeamInfo) string { return t.Name })
	case "DB":
		return names(door.DBs(ctx), func(d api.DBInfo) string { return d.Name })
	case "MEMBER":
		return inTeam(func(t api.Team) []string {
			return names(t.Members(ctx), func(m api.Member) string { return m.Name })
		})
	case "DEVICE":
		return inTeam(func(t api.Team) []string {
			return names(t.Devices(ctx, ""), func(d api.Device) string { return d.Name })
		})
	case "ID", "ID…":
		db, err := door.DB(ctx, opt(args, 0))
		if err != nil {
			return nil
		}
		return names(db.All(ctx, api.Range{Prefix: begun, Limit: maxOffered}), api.Doc.ID)
	case "INVITE":
		return inTeam(func(t api.Team) []string {
			return names(t.Invites(ctx), func(i api.Invite) string { return i.ID })
		})
	case "admin", "member", "reader":
		return []string{place}
	}
	return nil
}

func names[T any](seq iter.Seq2[T, error], name func(T) string) []string {
	var out []string
	for v, err := range seq {
		if err != nil {
			break
		}
		out = append(out, name(v))
	}
	return out
}
