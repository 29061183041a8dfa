package apitest

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/toftdb/toft/node/api"
)

// moment is a commit and the rows it led to. Rows are never changed in place.
type moment struct {
	commit api.Commit
	rows   map[string]*row
	revs   map[string]string
}

type label struct {
	api.Snapshot
	rows map[string]*row
}

// remember notes a commit that changed something.
func (d *database) remember(n *Node, cid string, results []api.PutResult) {
	m := moment{rows: maps.Clone(d.rows), revs: map[string]string{}, commit: api.Commit{
		CID: cid, Parents: []string{}, Device: n.id.Device, Member: n.id.User, Time: time.Now(), Ops: []api.CommitOp{}, Valid: true,
	}}
	for _, r := range results {
		if _, again := m.revs[r.ID]; r.Commit == "" || again {
			continue
		}
		m.revs[r.ID] = d.rows[r.ID].rev
		op := api.CommitOp{ID: r.ID, Op: "write"}
		if d.rows[r.ID].deleted {
			op.Op = "delete"
		}
		m.commit.Ops = append(m.commit.Ops, op)
	}
	if len(m.revs) == 0 {
		return
	}
	if len(d.past) > 0 {
		m.commit.Parents = []string{d.past[len(d.past)-1].commit.CID}
	}
	d.past = append(d.past, m)
}

func (d *database) heads() []string {
	if len(d.past) == 0 {
		return []string{}
	}
	return []string{d.past[len(d.past)-1].commit.CID}
}

// until is the state of the commits made by then.
func (d *database) until(t time.Time) (map[string]*row, error) {
	rows, n := map[string]*row{}, 0
	for i, m := range d.past {
		if !m.commit.Time.Truncate(time.Millisecond).After(t) {
			rows, n = m.rows, i+1
		}
	}
	return rows, d.kept(n)
}

// kept returns why the state of the first n commits cannot be told.
func (d *database) kept(n int) error {
	if n > 0 && n < d.floor {
		return api.ErrCompacted.With("compacted away on "+d.compactedAt.Format(time.RFC3339), "")
	}
	return nil
}

// asOf returns the rows at a point of the history.
func (d *database) asOf(point string) (map[string]*row, error) {
	if point == "" || point == "now" {
		return d.rows, nil
	}
	if span, ok := strings.CutSuffix(point, " ago"); ok {
		if v, err := time.ParseDuration(span); err == nil {
			return d.until(time.Now().Add(-v))
		}
	}
	if t, err := time.Parse(time.RFC3339Nano, point); err == nil {
		return d.until(t)
	}
	for i, m := range d.past {
		if len(point) >= 12 && strings.HasPrefix(m.commit.CID, point) {
			return m.rows, d.kept(i + 1)
		}
	}
	for _, l := range d.labels {
		if l.Label == point {
			return l.rows, nil
		}
	}
	return nil, api.ErrNotFound.With(fmt.Sprintf("%q is no commit, time or label", point), "")
}

var revision = regexp.MustCompile(`^[0-9]+-[0-9a-f]{16}$`)

// docAt returns a document at a point, or at a revision; nil if it was not there.
func (d *database) docAt(id, point string) (*row, error) {
	if !revision.MatchString(point) {
		rows, err := d.asOf(point)
		if r := rows[id]; r != nil && !r.deleted {
			return r, err
		}
		return nil, err
	}
	for _, m := range d.past {
		if m.revs[id] == point {
			if m.rows[id].deleted {
				return nil, nil
			}
			return m.rows[id], nil
		}
	}
	return nil, api.ErrNotFound.With(fmt.Sprintf("%q never had revision %s", id, point), "")
}

// Log implements [api.History].
func (h *dbHandle) Log(_ context.Context, o api.LogOptions) iter.Seq2[api.Commit, error] {
	return seq(h.n, func() (all []api.Commit, err error) {
		if o.Limit < 0 {
			return nil, api.ErrUsage.With("the limit is negative", "")
		}
		for i, m := range slices.Backward(h.d.past) {
			c := m.commit
			if i < h.d.floor {
				c.Compacted, c.Ops = true, []api.CommitOp{}
			}
			if o.ID != "" {
				rev, touched := m.revs[o.ID]
				if !touched {
					continue
				}
				c.Rev, c.Deleted = rev, m.rows[o.ID].deleted
				c.Ops = slices.DeleteFunc(slices.Clone(c.Ops), func(op api.CommitOp) bool { return op.ID != o.ID })
			}
			if !o.Void && (o.Limit == 0 || len(all) < o.Limit) {
				all = append(all, c)
			}
			if o.ID != "" && c.Compacted {
				break // the document as it stood there
			}
		}
		if o.ID != "" && len(all) == 0 && !o.Void {
			return nil, api.ErrNotFound.With(fmt.Sprintf("no document %q was ever in %s", o.ID, h.d.name), "")
		}
		return all, nil
	})
}

// Diff implements [api.History].
func (h *dbHandle) Diff(_ context.Context, id, from, to string) iter.Seq2[api.DocDiff, error] {
	return seq(h.n, func() (all []api.DocDiff, err error) {
		ids := []string{id}
		if id == "" {
			ids = slices.Sorted(maps.Keys(h.d.rows))
		}
		for _, id := range ids {
			a, err := h.d.docAt(id, from)
			if err != nil {
				return nil, err
			}
			b, err := h.d.docAt(id, to)
			if err != nil {
				return nil, err
			}
			if x, ok := compare(id, a, b); ok {
				all = append(all, x)
			}
		}
		if len(ids) == 0 {
			_, errA := h.d.asOf(from)
			_, errB := h.d.asOf(to)
			return nil, cmp.Or(errA, errB)
		}
		return all, nil
	})
}

func compare(id string, a, b *row) (api.DocDiff, bool) {
	x := api.DocDiff{ID: id, Op: api.OpChange}
	switch {
	case a == nil && b == nil:
		return x, false
	case b == nil:
		x.Op, x.From = api.OpRemove, a.rev
		return x, true
	case a == nil:
		x.Op, x.To, x.Patch = api.OpAdd, b.rev, maps.Clone(b.doc)
		delete(x.Patch, "_id")
		return x, true
	}
	x.From, x.To, x.Patch = a.rev, b.rev, api.Doc(patchOf(a.doc, b.doc))
	return x, len(x.Patch) > 0
}

// patchOf is the merge patch that leads from a to b.
func patchOf(a, b map[string]any) map[string]any {
	out := map[string]any{}
	for k := range a {
		if _, stays := b[k]; !stays {
			out[k] = nil
		}
	}
	for k, v := range b {
		x, was := a[k].(map[string]any)
		y, is := v.(map[string]any)
		switch {
		case sameDoc(api.Doc{"v": a[k]}, api.Doc{"v": v}):
		case was && is:
			out[k] = patchOf(x, y)
		default:
			out[k] = v
		}
	}
	return out
}

// Revert implements [api.History].
func (h *dbHandle) Revert(ctx context.Context, id, to string) (api.PutResult, error) {
	if id == "" || to == "" {
		return api.PutResult{}, api.ErrUsage.With("a document and a point are needed", "")
	}
	unlock := h.lock()
	then, err := h.d.docAt(id, to)
	now := h.d.rows[id]
	unlock()
	switch {
	case err != nil:
		return api.PutResult{}, err
	case now == nil && then == nil:
		return api.PutResult{}, api.ErrNotFound.With(fmt.Sprintf("no document %q in %s", id, h.d.name), "")
	case then != nil:
		return h.Put(ctx, then.doc)
	case now.deleted:
		return api.PutResult{ID: id}, nil
	}
	return h.Delete(ctx, id)
}

// Snapshots implements [api.History].
func (h *dbHandle) Snapshots(context.Context) iter.Seq2[api.Snapshot, error] {
	return seq(h.n, func() (all []api.Snapshot, err error) {
		for _, l := range h.d.labels {
			all = append(all, l.Snapshot)
		}
		return all, nil
	})
}

// CreateSnapshot implements [api.History].
func (h *dbHandle) CreateSnapshot(_ context.Context, name, at string) (api.Snapshot, error) {
	defer h.lock()()
	rows, err := h.d.asOf(at)
	switch {
	case err != nil:
		return api.Snapshot{}, err
	case name == "" || name == "now" || strings.HasSuffix(name, " ago") || strings.HasPrefix(name, "bafkrei"):
		return api.Snapshot{}, api.ErrUsage.With(fmt.Sprintf("%q is not the name of a label", name), "")
	case slices.ContainsFunc(h.d.labels, func(l label) bool { return l.Label == name }):
		return api.Snapshot{}, api.ErrExists.With(fmt.Sprintf("there is a label %q already", name), "")
	}
	l := label{api.Snapshot{Label: name, Heads: h.d.heads(), Time: time.Now(), Created: time.Now()}, maps.Clone(rows)}
	h.d.labels = append(h.d.labels, l)
	return l.Snapshot, nil
}

// DeleteSnapshot implements [api.History].
func (h *dbHandle) DeleteSnapshot(_ context.Context, name string) error {
	defer h.lock()()
	n := len(h.d.labels)
	h.d.labels = slices.DeleteFunc(h.d.labels, func(l label) bool { return l.Label == name })
	if len(h.d.labels) == n {
		return api.ErrNotFound.With(fmt.Sprintf("no label %q", name), "")
	}
	return nil
}

// Verify implements [api.History]. Memory does not rot.
func (h *dbHandle) Verify(_ context.Context, deep bool) (api.VerifyReport, error) {
	defer h.lock()()
	r := api.VerifyReport{OK: true, Checked: int64(len(h.d.past) - h.d.floor), Compacted: int64(h.d.floor), Bad: []api.BadBlock{}}
	if deep {
		r.Digests = int64(len(h.d.past) - h.d.floor)
	}
	return r, nil
}

// Repair implements [api.History].
func (h *dbHandle) Repair(ctx context.Context) (api.VerifyReport, error) { return h.Verify(ctx, true) }

// Compact implements [api.History]. Nobody else has to acknowledge anything here.
func (h *dbHandle) Compact(_ context.Context, o api.CompactOptions) (api.Summary, error) {
	defer h.lock()()
	keep := 30 * 24 * time.Hour
	if o.Keep != "" {
		var err error
		if days, ok := strings.CutSuffix(o.Keep, "d"); ok {
			var n int
			n, err = strconv.Atoi(days)
			keep = time.Duration(n) * 24 * time.Hour
		} else {
			keep, err = time.ParseDuration(o.Keep)
		}
		if err != nil || keep < 0 {
			return api.Summary{}, api.ErrUsage.With(fmt.Sprintf("%q is no span of time", o.Keep), "as in 30d, 2w or 12h")
		}
	}
	var s api.Summary
	n := 0
	for n < len(h.d.past) && time.Since(h.d.past[n].commit.Time) >= keep {
		n++
	}
	if n < len(h.d.past) {
		s.Held = []api.HeldBack{{Why: "young", Since: h.d.past[n].commit.Time, Commits: int64(len(h.d.past) - n)}}
	}
	if n = max(n, h.d.floor); n > 0 {
		s.Commits, s.Oldest = int64(n-h.d.floor), h.d.past[n-1].commit.Time
	}
	if !o.DryRun && n > h.d.floor {
		h.d.floor, h.d.compactedAt = n, time.Now()
	}
	if h.d.freed < h.d.floor {
		s.Waiting = h.d.compactedAt.Add(24 * time.Hour)
	}
	return s, nil
}

// GC implements [api.History].
func (h *dbHandle) GC(_ context.Context, o api.GCOptions) (api.Summary, error) {
	defer h.lock()()
	n := h.d.floor - h.d.freed
	if n == 0 {
		return api.Summary{}, nil
	}
	if !o.Now {
		return api.Summary{Waiting: h.d.compactedAt.Add(24 * time.Hour)}, nil
	}
	if !o.DryRun {
		h.d.freed = h.d.floor
	}
	return api.Summary{Freed: int64(n), Blocks: int64(n), Bytes: int64(n)}, nil
}
