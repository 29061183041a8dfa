package apitest

import (
	"context"
	"fmt"
	"iter"

	"github.com/toftdb/toft/node/api"
)

// others refuses to wait for more devices than there are; those that are see
// everything at once.
func (h *dbHandle) others(conds []api.Cond) error {
	c, err := api.JoinConds(conds)
	if err != nil {
		return err
	}
	defer h.lock()()
	if n := len(h.holders()); c.Durable > n {
		return api.ErrUsage.With(fmt.Sprintf("the team has %d other devices", n), "")
	}
	return nil
}

// holders lists the other devices of the team. The caller holds the world's lock.
func (h *dbHandle) holders() []api.Holder {
	out := []api.Holder{}
	for _, m := range h.d.team.members {
		for _, n := range m.nodes {
			if n != h.n {
				out = append(out, api.Holder{PeerID: n.id.PeerID, Device: n.id.Device, Member: m.Name, State: "has", Signed: true, Online: true, Why: "one world"})
			}
		}
	}
	return out
}

// Sync implements [api.Syncing]: everybody sees everything, if there is somebody.
func (h *dbHandle) Sync(context.Context, bool) iter.Seq2[api.SyncEvent, error] {
	return seq(h.n, func() ([]api.SyncEvent, error) {
		n := len(h.holders())
		e := api.SyncEvent{DB: h.d.name, State: api.Synced, Peers: n, Equal: n}
		if n == 0 {
			e.State = api.Connecting
		}
		return []api.SyncEvent{e}, nil
	})
}

// Explain implements [api.Syncing].
func (h *dbHandle) Explain(_ context.Context, id string) (api.Explain, error) {
	defer h.lock()()
	e := api.Explain{DB: h.d.name, ID: id, Commits: []string{}, Holders: h.holders()}
	if id != "" {
		r := h.d.rows[id]
		if r == nil || r.deleted {
			return e, api.ErrNotFound.With(fmt.Sprintf("no document %q", id), "")
		}
		e.Rev, e.Commits = r.rev, []string{r.commit}
	}
	return e, nil
}
