package crdt

import (
	"errors"
	"fmt"
	"strings"

	"github.com/toftdb/toft/block"
)

// Errors a caller branches on.
var (
	// ErrNotFound: there is no such document, or it is deleted.
	ErrNotFound = errors.New("document not found")
	// ErrExists: the document is there although the write asked for its absence.
	ErrExists = errors.New("document already exists")
	// ErrTooLarge: a *[BadDocError] whose rule is about size.
	ErrTooLarge = errors.New("document too large")
	// ErrActor: the author's actor can write no more, because a commit of it is
	// void or another store writes under it. Take a new incarnation.
	ErrActor = errors.New("this actor may not write on: take a new incarnation")
	// ErrHeads: there are more than 64 heads; commit [Replica.Merge] first.
	ErrHeads = errors.New("more than 64 heads: merge them first")
	// ErrMalformed: outside bytes that no honest author writes.
	ErrMalformed = errors.New("malformed")
	// ErrParked: no room for another commit whose parents are unknown.
	ErrParked = errors.New("too many commits wait for their parents")
	// ErrCursor: a cursor that this replica never gave out.
	ErrCursor = errors.New("not a cursor of this database")
)

// BadDocError says which rule a document breaks and where. Nothing was written.
type BadDocError struct {
	ID   string   // the document, if known
	Path []string // keys from the root; empty: the document itself
	Rule string

	large bool
}

// Is makes a breach of size an [ErrTooLarge].
func (e *BadDocError) Is(target error) bool { return e.large && target == ErrTooLarge }

func (e *BadDocError) Error() string {
	var b strings.Builder
	b.WriteString("bad document")
	if e.ID != "" {
		fmt.Fprintf(&b, " %.80q", e.ID)
	}
	if len(e.Path) > 0 {
		fmt.Fprintf(&b, " at %.200s", pointer(e.Path))
	}
	return b.String() + ": " + e.Rule
}

// pointer writes a path as a JSON pointer (RFC 6901).
func pointer(path []string) string {
	var b strings.Builder
	for _, k := range path {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(k))
	}
	return b.String()
}

// ConflictError says that a document is no longer at the revision a write named.
type ConflictError struct {
	ID   string
	Want string // the revision the write was made for
	Have string // the present one; empty: no document, or changed by the same commit
}

func (e *ConflictError) Error() string {
	have := e.Have
	if have == "" {
		have = "gone or just changed"
	}
	return fmt.Sprintf("conflict: document %.80q was read at revision %s and is now %s: read it again and repeat the change", e.ID, e.Want, have)
}

// DigestError is the alarm that a commit claims another state than the one it
// leads to here, from the same commits. One of the two replicas computes wrongly
// or lies; the state is kept.
type DigestError struct {
	Commit     block.ID
	Author     block.Device
	Want, Have [32]byte
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("digest alarm: commit %s by %s claims state %x, it leads to %x here", e.Commit, e.Author, e.Want[:8], e.Have[:8])
}

// malformed names what is wrong with outside bytes.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
