package api

import (
	"context"
	"iter"
	"net/http"
	"net/url"
)

// setText writes a parameter that is not empty.
func setText(q url.Values, name, v string) {
	if v != "" {
		q.Set(name, v)
	}
}

func (d *clientDB) Log(ctx context.Context, o LogOptions) iter.Seq2[Commit, error] {
	q := url.Values{}
	setText(q, "id", o.ID)
	setFlag(q, "void", o.Void)
	setLimit(q, o.Limit)
	return readLines[Commit](ctx, d.c, http.MethodGet, d.path("log")+"?"+q.Encode(), nil)
}

func (d *clientDB) Diff(ctx context.Context, id, from, to string) iter.Seq2[DocDiff, error] {
	q := url.Values{}
	setText(q, "id", id)
	setText(q, "from", from)
	setText(q, "to", to)
	return readLines[DocDiff](ctx, d.c, http.MethodGet, d.path("diff")+"?"+q.Encode(), nil)
}

// RevertRequest names the point that a document shall read as again.
type RevertRequest struct {
	To string `json:"to"`
}

func (d *clientDB) Revert(ctx context.Context, id, to string) (PutResult, error) {
	if err := noID(id); err != nil {
		return PutResult{}, err
	}
	return callWith[PutResult](ctx, d.c, http.MethodPost, d.path("revert", id), nil, RevertRequest{To: to})
}

func (d *clientDB) Snapshots(ctx context.Context) iter.Seq2[Snapshot, error] {
	return array[Snapshot](ctx, d.c, d.path("snapshots"))
}

// SnapshotRequest asks for a label on a state.
type SnapshotRequest struct {
	Label string `json:"label"`
	At    string `json:"at,omitzero"` // default: now
}

func (d *clientDB) CreateSnapshot(ctx context.Context, label, at string) (Snapshot, error) {
	return callWith[Snapshot](ctx, d.c, http.MethodPost, d.path("snapshots"), nil, SnapshotRequest{label, at})
}

func (d *clientDB) DeleteSnapshot(ctx context.Context, label string) error {
	if label == "" {
		return ErrUsage.With("the label is empty", "")
	}
	_, err := call[struct{}](ctx, d.c, http.MethodDelete, d.path("snapshots", label), nil, nil)
	return err
}

// VerifyRequest says how far a verification goes.
type VerifyRequest struct {
	Deep bool `json:"deep,omitzero"`
}

func (d *clientDB) Verify(ctx context.Context, deep bool) (VerifyReport, error) {
	return callWith[VerifyReport](ctx, d.c, http.MethodPost, d.path("verify"), nil, VerifyRequest{deep})
}

func (d *clientDB) Repair(ctx context.Context) (VerifyReport, error) {
	return call[VerifyReport](ctx, d.c, http.MethodPost, d.path("repair"), nil, nil)
}

func (d *clientDB) Compact(ctx context.Context, o CompactOptions) (Summary, error) {
	return callWith[Summary](ctx, d.c, http.MethodPost, d.path("compact"), nil, o)
}

func (d *clientDB) GC(ctx context.Context, o GCOptions) (Summary, error) {
	return callWith[Summary](ctx, d.c, http.MethodPost, d.path("gc"), nil, o)
}
