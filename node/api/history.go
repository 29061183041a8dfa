package api

import (
	"context"
	"iter"
	"time"
)

// History is the past of one database. A point of it is named by a text: "now" (or
// nothing), a commit or a unique prefix of one, a time (RFC 3339, or as in "2h ago"),
// or the label of a snapshot. The state of a commit is that of the commit and all it
// builds on; the state of a time is that of every commit whose own time is not later,
// and all those build on. Where one document is concerned, a revision of it is a
// point too. A text that names no point is [ErrNotFound].
type History interface {
	// Log yields commits, the last to arrive first; with o.ID only those that touch a
	// document, each with the revision it left.
	Log(ctx context.Context, o LogOptions) iter.Seq2[Commit, error]
	// Diff yields the documents that read differently at two points, by id; with an id
	// only that one.
	Diff(ctx context.Context, id, from, to string) iter.Seq2[DocDiff, error]
	// Revert makes a document read as it did at a point, by a new commit: nothing is
	// lost. A document that was not there then is deleted.
	Revert(ctx context.Context, id, to string) (PutResult, error)

	// Snapshots yields the labels of this device, the oldest state first.
	Snapshots(ctx context.Context) iter.Seq2[Snapshot, error]
	// CreateSnapshot gives a state a label, which pins it. [ErrExists] if the label is
	// taken, [ErrUsage] if it reads as another kind of point.
	CreateSnapshot(ctx context.Context, label, at string) (Snapshot, error)
	// DeleteSnapshot forgets a label; the commits stay. [ErrNotFound].
	DeleteSnapshot(ctx context.Context, label string) error

	// Verify reads every block of the database again and checks names, signatures,
	// seals and order; deep, it plays the whole history and confirms every digest that
	// was signed. What is wrong is in the report, not in the error.
	Verify(ctx context.Context, deep bool) (VerifyReport, error)
	// Repair fetches damaged and missing blocks from connected members and makes what
	// is derived from blocks anew where it is wrong. The report says what is left.
	Repair(ctx context.Context) (VerifyReport, error)

	// Compact lets the history begin later: what is older than o.Keep, and held by every
	// device that was heard of since, is no longer kept commit by commit; deletions as
	// old are forgotten. Documents, changes, snapshots and sync are as before. Points
	// from before are [ErrCompacted] from then on.
	Compact(ctx context.Context, o CompactOptions) (Summary, error)
	// GC frees what compactions left behind, a day after they did.
	GC(ctx context.Context, o GCOptions) (Summary, error)
}

// CompactOptions says how far a compaction goes.
type CompactOptions struct {
	// Keep is how much history stays, as 30d, 2w or 12h; "0" keeps what the others have
	// not got yet, nothing else. Empty: 30d.
	Keep   string `json:"keep,omitzero"`
	DryRun bool   `json:"dryRun,omitzero"`
}

// GCOptions says what is freed.
type GCOptions struct {
	Now    bool `json:"now,omitzero"` // do not wait for the day to be over
	DryRun bool `json:"dryRun,omitzero"`
}

// Summary is the outcome of a compaction or a collection, or what it would be: JSON of
// `toft compact` and `toft gc`.
type Summary struct {
	Commits int64      `json:"commits"`          // that are no longer kept one by one
	Purged  int64      `json:"purged,omitzero"`  // deleted documents that were forgotten
	Freed   int64      `json:"freed"`            // commits whose blocks were deleted
	Blocks  int64      `json:"blocks"`           // that were deleted
	Bytes   int64      `json:"bytes"`            // of them
	Oldest  time.Time  `json:"oldest,omitzero"`  // of the oldest point that can be read; absent: all can
	Waiting time.Time  `json:"waiting,omitzero"` // when blocks will be deleted that still wait for it
	Held    []HeldBack `json:"held,omitzero"`    // why not more was compacted
}

// HeldBack is a reason why commits are kept.
type HeldBack struct {
	Why     string    `json:"why"`             // young, or behind: a device that has not said it has them
	Device  string    `json:"device,omitzero"` // its name
	Since   time.Time `json:"since,omitzero"`  // when it was heard last; the first of the young
	Commits int64     `json:"commits"`         // that are kept for it
}

// LogOptions selects commits of a log.
type LogOptions struct {
	ID    string // only those that touch this document
	Void  bool   // only those that do not count
	Limit int    // the newest; 0: no limit; negative is [ErrUsage]
}

// Commit is one commit: JSON of `toft log`.
type Commit struct {
	CID     string     `json:"cid"`
	Parents []string   `json:"parents"`
	Device  string     `json:"device"` // name
	Member  string     `json:"member"`
	Time    time.Time  `json:"time,omitzero"`
	Ops     []CommitOp `json:"ops"`              // the first hundred
	MoreOps int        `json:"moreOps,omitzero"` // beyond those
	Valid   bool       `json:"valid"`
	Why     string     `json:"why,omitzero"`     // why it does not count
	Rev     string     `json:"rev,omitzero"`     // of the one document asked for
	Deleted bool       `json:"deleted,omitzero"` // it was not there after the commit
	// Compacted: the commit is known, what it did is not any more. In the log of one
	// document the entry so marked is the document as it stood where the history begins.
	Compacted bool `json:"compacted,omitzero"`
}

// CommitOp is what a commit did to one document.
type CommitOp struct {
	ID string `json:"id"`
	Op string `json:"op"` // write, delete or purge
}

// DocDiff is how a document reads differently at two points: JSON of `toft diff`.
type DocDiff struct {
	ID    string     `json:"id"`
	Op    Op         `json:"op"`             // add, change or remove
	From  string     `json:"from,omitzero"`  // revisions
	To    string     `json:"to,omitzero"`    //
	Patch Doc        `json:"patch,omitzero"` // RFC 7396; a document that is new, whole
	Nulls [][]string `json:"nulls,omitzero"` // paths that are null now, which a merge patch cannot say
}

// Snapshot is a labelled state: JSON of `toft snapshot list`.
type Snapshot struct {
	Label   string    `json:"label"`
	Heads   []string  `json:"heads"` // commits, sorted
	Time    time.Time `json:"time,omitzero"`
	Created time.Time `json:"created"`
}
