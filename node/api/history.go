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
