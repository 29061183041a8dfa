package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/libp2p/go-libp2p/core/host"

	toftconfig "github.com/toftdb/toft/config"
	"github.com/toftdb/toft/node"
	"github.com/toftdb/toft/node/api"
)

// toft is this project, used as an embedding program would: through the door.
type toft struct {
	whole bool // a replica counts only once its history is here too
}

func (toft) Name() string { return "toft" }

type toftReplica struct {
	node *node.Node
	db   api.DB

	whole bool
}

// Whole returns the system that fetches the history of what it shows.
func (toft) Whole() system { return toft{whole: true} }

func open(ctx context.Context, dir string, sync bool, h host.Host, history string) (*node.Node, error) {
	c := node.Config{Config: toftconfig.Config{Dir: dir, User: "ann", Device: "bench", Network: toftconfig.Offline}, Host: h}
	if !sync {
		c.FS = diskFS(false)
	}
	if h != nil {
		c.History = history
		c.Network = toftconfig.LAN
	}
	return node.Open(ctx, c)
}

func (toft) Open(ctx context.Context, dir string, sync bool) (replica, error) {
	n, err := open(ctx, dir, sync, nil, "")
	if err != nil {
		return nil, err
	}
	db, err := n.DB(ctx, "bench")
	if errors.Is(err, api.ErrNotFound) {
		var t api.Team
		if t, err = n.Team(ctx, api.Personal); err == nil {
			db, err = t.CreateDB(ctx, "bench")
		}
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return &toftReplica{node: n, db: db}, nil
}

// Join founds a team at the first host and lets the others in by a code.
func (s toft) Join(ctx context.Context, dir string, w *network) (all []replica, err error) {
	history := "none"
	if s.whole {
		history = "full"
	}
	defer func() {
		if err != nil {
			for _, r := range all {
				_ = r.Close() // the first error counts
			}
		}
	}()
	var code string
	for i, h := range w.hosts {
		n, err := open(ctx, fmt.Sprintf("%s-%d", dir, i), true, h, history)
		if err != nil {
			return all, err
		}
		r := &toftReplica{node: n, whole: s.whole}
		all = append(all, r)
		if i == 0 {
			if r.db, code, err = found(ctx, n); err != nil {
				return all, err
			}
			continue
		}
		if _, err := n.Join(ctx, api.JoinRequest{Code: code, Name: fmt.Sprintf("user-%d", i)}); err != nil {
			return all, err
		}
		if r.db, err = n.DB(ctx, "bench"); err != nil {
			return all, err
		}
	}
	if err := w.connectAll(ctx); err != nil {
		return all, err
	}
	return all, agreed(ctx, all)
}

func found(ctx context.Context, n *node.Node) (api.DB, string, error) {
	t, err := n.CreateTeam(ctx, "team")
	if err != nil {
		return nil, "", err
	}
	db, err := t.CreateDB(ctx, "bench")
	if err != nil {
		return nil, "", err
	}
	inv, err := t.InviteMember(ctx, api.MemberInvite{})
	return db, inv.Code, err
}

// agreed waits until every chain is the same and no join is provisional.
func agreed(ctx context.Context, all []replica) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; {
		settled := true
		var heads string
		for _, r := range all {
			s, err := r.(*toftReplica).node.Status(ctx)
			if err != nil {
				return err
			}
			for _, t := range s.Teams {
				if t.Name == "team" {
					settled = settled && t.Devices == len(all) && (heads == "" || heads == fmt.Sprint(t.Heads))
					heads = fmt.Sprint(t.Heads)
				}
			}
			for _, w := range s.Warnings {
				settled = settled && w.ID != "join_provisional"
			}
		}
		if settled {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: %d devices do not agree on their team", errPatience, len(all))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (r *toftReplica) Put(ctx context.Context, docs []document) error {
	writes := make([]api.Write, len(docs))
	for i, d := range docs {
		doc, err := api.ParseDoc(d.json)
		if err != nil {
			return err
		}
		writes[i] = api.Write{Op: api.VerbPut, ID: d.key, Doc: doc}
	}
	if len(writes) == 1 {
		writes[0].Doc["_id"] = writes[0].ID
		_, err := r.db.Put(ctx, writes[0].Doc)
		return err
	}
	_, err := r.db.Bulk(ctx, writes)
	return err
}

func (r *toftReplica) Get(ctx context.Context, key string) error {
	_, err := r.db.Get(ctx, key)
	return err
}

func (r *toftReplica) Count(ctx context.Context) (int, error) {
	i, err := r.db.Info(ctx)
	if r.whole && i.Unaudited != "" {
		return 0, err
	}
	return int(i.Docs), err
}

func (r *toftReplica) Seen(ctx context.Context, keys []string) (<-chan struct{}, error) {
	next, stop := iter.Pull2(r.db.Watch(ctx))
	missing := map[string]bool{}
	for _, k := range keys {
		missing[k] = true
	}
	for {
		e, err, ok := next()
		if err != nil || !ok {
			stop()
			return nil, errors.Join(err, ctx.Err())
		}
		if e.Op == api.OpReady {
			break
		}
	}
	seen := make(chan struct{})
	go func() {
		defer stop()
		for len(missing) > 0 {
			e, err, ok := next()
			if err != nil || !ok {
				return
			}
			delete(missing, e.ID)
		}
		close(seen)
	}()
	return seen, nil
}

func (r *toftReplica) Close() error { return r.node.Close() }

// Compact keeps no history and frees what that leaves.
func (r *toftReplica) Compact(ctx context.Context) error {
	if _, err := r.db.Compact(ctx, api.CompactOptions{Keep: "0"}); err != nil {
		return err
	}
	_, err := r.db.GC(ctx, api.GCOptions{Now: true})
	return err
}
