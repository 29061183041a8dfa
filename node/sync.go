package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/peering"
	"github.com/toftdb/toft/node/api"
)

// Sync asks everybody now and yields how the database stands.
func (b *dbDoor) Sync(ctx context.Context, wait bool) iter.Seq2[api.SyncEvent, error] {
	net := b.n.live.Load()
	if net == nil {
		return none[api.SyncEvent](api.ErrUnreachable.Wrap(errOffline, ""))
	}
	return func(yield func(api.SyncEvent, error) bool) {
		var last []byte // as told
		err := net.Settle(ctx, b.d, wait, func(r peering.Reach, settled bool) bool {
			e := api.SyncEvent{DB: b.Name(), State: api.Connecting, Peers: r.Connected, Equal: r.Equal, Waiting: r.Away, Progress: b.n.progress(b.d)}
			switch {
			case settled:
				e.State = api.Synced
			case r.Connected > 0:
				e.State = api.Authorized
			}
			text, err := api.Marshal(e)
			if err == nil && bytes.Equal(text, last) {
				return true
			}
			last = text
			return yield(e, err)
		})
		if err != nil {
			yield(api.SyncEvent{}, doorError(err))
		}
	}
}

// canBeDurable refuses before anything is written what could never be confirmed.
func (b *dbDoor) canBeDurable(c api.Cond) error {
	net := b.n.live.Load()
	if c.Durable == 0 {
		return nil
	} else if net == nil {
		return api.ErrUnreachable.Wrap(errOffline, "")
	}
	if others := net.Others(b.d); c.Durable > others {
		return api.ErrUsage.With(fmt.Sprintf("%d other devices can never confirm it: the team has %d; nothing was written", c.Durable, others), "toft team devices shows them")
	}
	return nil
}

// durable waits until others hold what was written.
func (b *dbDoor) durable(ctx context.Context, c api.Cond, res api.PutResult) error {
	if c.Durable == 0 {
		return nil
	}
	commits := b.d.Heads().Heads // nothing to change: what stands there
	if id, err := block.ParseID(res.Commit); err == nil {
		commits = []block.ID{id}
	}
	if c.Wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Wait)
		defer cancel()
	}
	err := b.n.live.Load().Durable(ctx, b.d, commits, c.Durable)
	if short, ok := errors.AsType[*peering.NotDurableError](err); ok {
		return api.ErrTimeout.With(fmt.Sprintf("%s %s: %v", res.ID, res.Rev, short), "it goes on to them by itself; toft explain shows who has it")
	}
	return doorError(err)
}

// Explain says who holds a document, or everything.
func (b *dbDoor) Explain(_ context.Context, id string) (api.Explain, error) {
	e := api.Explain{DB: b.Name(), ID: id, Holders: []api.Holder{}}
	commits := b.d.Heads().Heads
	err := b.view(func(r *crdt.Replica) error {
		if id == "" {
			return nil
		}
		doc, meta, err := r.Get(id)
		_, e.Rev = idRev(doc)
		commits = []block.ID{meta.Commit}
		return err
	})
	net := b.n.live.Load()
	if err == nil && net == nil {
		err = api.ErrUnreachable.Wrap(errOffline, "")
	}
	if err != nil {
		return e, err
	}
	st := b.d.Team().State()
	for _, h := range net.Explain(b.d, commits) {
		dev, _ := st.Device(h.Device)
		row := api.Holder{
			PeerID: h.Device.String(), Device: h.Name, Member: memberName(st, dev.Member), State: "lacks",
			Signed: h.Signed, Since: h.Since, Online: h.Connected, LastSeen: h.Heard, Why: h.Why,
		}
		switch {
		case h.Stored:
			row.State = "stored"
		case h.Has:
			row.State = "has"
		}
		e.Holders = append(e.Holders, row)
	}
	e.Commits, e.Problems = texts(commits), net.Doubts(b.d)
	return e, nil
}

// progress says how far a pull is, nil if none brings anything.
func (n *Node) progress(d *ledger.Database) *api.Progress {
	w, ok := n.live.Load().Progress(d)
	if !ok {
		return nil
	}
	// In bytes as if the rest were alike.
	return &api.Progress{
		Phase: "receiving", Done: w.Done, Total: w.Total, BytesDone: w.Bytes, BytesTotal: w.Bytes * w.Total / max(w.Done, 1),
		Rate: w.Rate, ETASeconds: w.ETA.Seconds(),
	}
}

// doubts are warnings about devices that do not come to the same state.
func (n *Node) doubts(d *ledger.Database) (out []api.Check) {
	if net := n.live.Load(); net != nil {
		for _, what := range net.Doubts(d) {
			out = append(out, api.Check{ID: "not_converging", Severity: api.Alarm, Title: "two devices do not come to the same state", Detail: dbName(d) + ": " + what, Fix: "toft explain " + dbName(d)})
		}
	}
	return out
}
