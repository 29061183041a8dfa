package ledger

import (
	"context"
	"iter"
	"slices"

	"github.com/toftdb/toft/crdt"
)

// LogQuery selects commits.
type LogQuery struct {
	ID    string // only those that touch this document; empty: all
	Void  bool   // only those that do not count
	Limit int    // at most so many, the newest; 0: all
}

// LogEntry is one commit as the log shows it.
type LogEntry struct {
	Commit *crdt.Commit
	Void   string // why it does not count; empty if it does
	Ops    []LogOp
	More   int // operations beyond maxLogOps
	// Of a log of one document: its revision in the state of the commit, empty if
	// nothing of it was kept or the commit is void, and whether it was there.
	Rev   string
	Alive bool
	// Compacted: it lies below the floor, what it did is not known here any more. In a
	// log of one document the one such entry is the document as it stood there.
	Compacted bool
	// Part: what the commit made of the document cannot be told, because a part of its
	// past was compacted away.
	Part bool
}

// LogOp is what a commit did to one document.
type LogOp struct {
	ID     string
	Action crdt.Action
}

// maxLogOps bounds what one entry lists: a commit may hold ten thousand operations.
const maxLogOps = 100

// Log yields commits, the last to arrive first, so children before their parents.
func (d *Database) Log(ctx context.Context, q LogQuery) iter.Seq2[LogEntry, error] {
	return func(yield func(LogEntry, error) bool) {
		list, err := d.logged(q)
		if err != nil {
			yield(LogEntry{}, err)
			return
		}
		for n, e := range list {
			if q.Limit > 0 && n == q.Limit {
				return
			}
			if err := ctx.Err(); err != nil {
				yield(LogEntry{}, err)
				return
			}
			if e.Ops == nil && !e.Compacted {
				c, err := d.read(e.Commit.ID)
				if err != nil {
					yield(LogEntry{}, err)
					return
				}
				for id, action := range c.Touched() {
					if len(e.Ops) == maxLogOps {
						e.More++
						continue
					}
					e.Ops = append(e.Ops, LogOp{id, action})
				}
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// logged returns what a log shows, without the operations where those stand on disk.
func (d *Database) logged(q LogQuery) (list []LogEntry, err error) {
	err = d.View(func(r *crdt.Replica) error {
		if q.ID == "" {
			for c, void := range r.Commits() {
				if !q.Void || void != "" {
					list = append(list, LogEntry{Commit: c, Void: void, Compacted: void == "" && r.Below(c.ID)})
				}
			}
			return nil
		}
		for v, err := range r.Revisions(q.ID) {
			if err != nil {
				return err
			}
			if !q.Void || v.Void != "" {
				e := LogEntry{Commit: v.Commit, Void: v.Void, Rev: v.Rev, Alive: v.Alive, Compacted: v.Ground, Part: v.Part}
				if !v.Ground {
					e.Ops = []LogOp{{q.ID, v.Action}}
				}
				list = append(list, e)
			}
		}
		if len(list) == 0 && !q.Void {
			return crdt.ErrNotFound
		}
		return nil
	})
	slices.Reverse(list)
	return list, err
}
