package node

import (
	"context"
	"iter"
	"time"

	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/peering"
	"github.com/toftdb/toft/node/api"
)

// viewAt reads the replica as it was at a point of the history; empty: now.
func (b *dbDoor) viewAt(ctx context.Context, point string, fn func(r *crdt.Replica) error) error {
	p, err := b.d.Point(point)
	if err != nil {
		return doorError(err)
	}
	return doorError(b.d.ViewAt(ctx, p, fn))
}

// Log yields commits, the last to arrive first.
func (b *dbDoor) Log(ctx context.Context, o api.LogOptions) iter.Seq2[api.Commit, error] {
	if o.Limit < 0 {
		return none[api.Commit](api.ErrUsage.With("a negative limit", "leave it out for no limit"))
	}
	return func(yield func(api.Commit, error) bool) {
		for e, err := range b.d.Log(ctx, ledger.LogQuery{ID: o.ID, Void: o.Void, Limit: o.Limit}) {
			if err != nil {
				yield(api.Commit{}, doorError(err))
				return
			}
			if !yield(b.commit(e, o.ID != ""), nil) {
				return
			}
		}
	}
}

func (b *dbDoor) commit(e ledger.LogEntry, one bool) api.Commit {
	st := b.d.Team().State()
	dev, _ := st.Device(e.Commit.Actor.Device)
	c := api.Commit{
		CID: e.Commit.ID.String(), Parents: texts(e.Commit.Parents), Device: dev.Name, Member: memberName(st, dev.Member),
		Time: goTime(e.Commit.Time), Ops: []api.CommitOp{}, MoreOps: e.More, Valid: e.Void == "", Why: e.Void,
		Rev: e.Rev, Deleted: one && e.Void == "" && !e.Alive && !e.Part, Compacted: e.Compacted || e.Part,
	}
	names := map[crdt.Action]string{crdt.Wrote: "write", crdt.Deleted: "delete", crdt.Purged: "purge"}
	for _, op := range e.Ops {
		c.Ops = append(c.Ops, api.CommitOp{ID: op.ID, Op: names[op.Action]})
	}
	return c
}

// Diff yields the documents that read differently at two points.
func (b *dbDoor) Diff(ctx context.Context, id, from, to string) iter.Seq2[api.DocDiff, error] {
	rows, err := b.d.Compare(ctx, id, from, to)
	if err != nil {
		return none[api.DocDiff](doorError(err))
	}
	out := make([]api.DocDiff, 0, len(rows))
	for _, x := range rows {
		d := api.DocDiff{ID: x.ID, Op: api.OpChange, From: x.From, To: x.To, Patch: api.Doc(x.Patch), Nulls: x.Nulls}
		switch {
		case x.Patch == nil:
			d.Op = api.OpRemove
		case x.Added:
			d.Op = api.OpAdd
		}
		out = append(out, d)
	}
	return all(out)
}

// Revert makes a document read as it did at a point, by a new commit.
func (b *dbDoor) Revert(ctx context.Context, id, to string) (api.PutResult, error) {
	if to == "" {
		return api.PutResult{}, api.ErrUsage.With("no point is named to go back to", "a commit, a time, a label or a revision: toft log DB ID shows them")
	}
	w, err := b.d.Revert(ctx, id, to)
	if err != nil {
		return api.PutResult{}, doorError(err)
	}
	r := api.PutResult{ID: id, Rev: w.Results[0].Rev}
	if w.Results[0].Changed {
		r.Commit = w.Commit.String()
	}
	return r, nil
}

func snapshot(l ledger.Label) api.Snapshot {
	return api.Snapshot{Label: l.Name, Heads: texts(l.Heads), Time: goTime(l.Time), Created: goTime(l.Made)}
}

// Snapshots yields the labels of this device.
func (b *dbDoor) Snapshots(context.Context) iter.Seq2[api.Snapshot, error] {
	labels, err := b.d.Labels()
	if err != nil {
		return none[api.Snapshot](doorError(err))
	}
	rows := make([]api.Snapshot, len(labels))
	for i, l := range labels {
		rows[i] = snapshot(l)
	}
	return all(rows)
}

// CreateSnapshot gives a state a label.
func (b *dbDoor) CreateSnapshot(ctx context.Context, label, at string) (api.Snapshot, error) {
	p, err := b.d.Point(at)
	if err != nil {
		return api.Snapshot{}, doorError(err)
	}
	l, err := b.d.SetLabel(ctx, label, p)
	return snapshot(l), doorError(err)
}

// DeleteSnapshot forgets a label.
func (b *dbDoor) DeleteSnapshot(ctx context.Context, label string) error {
	return doorError(b.d.DeleteLabel(ctx, label))
}

// Verify reads and checks every block again.
func (b *dbDoor) Verify(ctx context.Context, deep bool) (api.VerifyReport, error) {
	begun := b.n.clock()
	r, err := b.d.Verify(ctx, deep)
	return b.report(ledger.Repaired{Report: r}, begun), doorError(err)
}

// Repair fetches damaged blocks and makes what is derived from blocks anew.
func (b *dbDoor) Repair(ctx context.Context) (api.VerifyReport, error) {
	begun := b.n.clock()
	r, err := b.n.live.Load().Repair(ctx, b.d)
	return b.report(r, begun), doorError(err)
}

func (b *dbDoor) report(r ledger.Repaired, begun time.Time) api.VerifyReport {
	out := api.VerifyReport{
		OK: len(r.Bad) == 0, Checked: int64(r.Checked), Digests: int64(r.Digests), Compacted: int64(r.Compacted), Bad: []api.BadBlock{},
		Healed: int64(r.Healed), Rebuilt: r.Rebuilt, Seconds: b.n.clock().Sub(begun).Seconds(),
	}
	for _, f := range r.Bad {
		item := api.BadBlock{Kind: f.Kind, Detail: f.Detail}
		if !f.Block.IsZero() {
			item.CID = f.Block.String()
		}
		out.Bad = append(out.Bad, item)
	}
	return out
}

// Compact lets the history begin later.
func (b *dbDoor) Compact(ctx context.Context, o api.CompactOptions) (api.Summary, error) {
	s, err := b.n.live.Load().Compact(ctx, b.d, o)
	return s, doorError(err)
}

// GC frees what compactions left behind.
func (b *dbDoor) GC(ctx context.Context, o api.GCOptions) (api.Summary, error) {
	s, err := peering.Collect(ctx, b.d, o)
	return s, doorError(err)
}
