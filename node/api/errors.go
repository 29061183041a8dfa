package api

import (
	"context"
	"errors"
)

// Error is the one form of every error that crosses the door: the problem object
// of RFC 9457, which is also what `--json` prints on stderr. Compare with
// errors.Is and a sentinel; two Errors are the same problem if their Types are.
type Error struct {
	Type   string `json:"type"`            // toft:…
	Title  string `json:"title"`           // the problem in general, never varies for a type
	Status int    `json:"status"`          // HTTP
	Code   int    `json:"code"`            // exit code of the command line
	Detail string `json:"detail,omitzero"` // this case: what is wrong, and where
	Hint   string `json:"hint,omitzero"`   // what to do, a command where there is one

	cause error
}

// The problems. Each is one exit code, one HTTP status and one type.
var (
	ErrFailed   = problem("failed", "something went wrong inside", 500, 1)
	ErrDiskFull = problem("disk_full", "the disk is full", 507, 1)
	ErrFormat   = problem("format", "data of a newer version", 500, 1)
	ErrClosed   = problem("closed", "the node is closing", 503, 1)
	ErrBusy     = problem("busy", "too many requests at once", 429, 1)

	ErrPartial = problem("partial", "done in part", 207, 3)

	ErrNotFound  = problem("not_found", "not found", 404, 4)
	ErrCompacted = problem("compacted", "compacted away", 410, 4)

	ErrConflict = problem("conflict", "somebody else wrote in between", 409, 5)
	ErrExists   = problem("exists", "exists already", 409, 5)

	ErrForbidden = problem("forbidden", "not allowed", 403, 6)

	ErrVerify = problem("verification_failed", "verification failed", 422, 7)

	ErrInviteInvalid = problem("invite_invalid", "this is not an invitation code", 400, 8)
	ErrInviteUnknown = problem("invite_unknown", "nobody knows this invitation", 404, 8)
	ErrInviteExpired = problem("invite_expired", "the invitation has expired", 410, 8)
	ErrInviteUsed    = problem("invite_used", "the invitation is used up", 410, 8)
	ErrInviteRevoked = problem("invite_revoked", "the invitation was revoked", 410, 8)
	ErrInviteSeed    = problem("invite_seed", "the secret of the invitation is wrong", 403, 8)

	ErrUnreachable = problem("unreachable", "no peer could be reached", 503, 9)
	ErrTimeout     = problem("timeout", "it took too long", 504, 9)

	ErrNoDaemon       = problem("daemon_not_running", "the daemon is not running", 503, 10)
	ErrNotInitialised = problem("not_initialised", "there is no toft here yet", 503, 11)
	ErrStoreLocked    = problem("store_locked", "another process has the store open", 423, 12)
	ErrKeyLocked      = problem("key_locked", "the key of this device is locked", 423, 13)
	ErrHealth         = problem("health", "something needs attention", 503, 14)

	ErrUsage       = problem("usage", "this cannot be asked like this", 400, 64)
	ErrMethod      = problem("method", "the route has no such method", 405, 64)
	ErrBadDocument = problem("bad_document", "not a document", 400, 64)
	ErrTooLarge    = problem("too_large", "too large", 413, 64)

	// ErrInterrupted has the status that nginx uses for a client that went away.
	ErrInterrupted = problem("interrupted", "interrupted", 499, 130)
)

func problem(name, title string, status, code int) *Error {
	return &Error{Type: "toft:" + name, Title: title, Status: status, Code: code}
}

// With returns this problem for one case: detail says what is wrong and where,
// hint what to do ("" if there is nothing to be done).
func (e *Error) With(detail, hint string) *Error {
	n := *e
	n.Detail, n.Hint, n.cause = detail, hint, nil
	return &n
}

// Wrap returns this problem with cause as its detail and in its chain.
func (e *Error) Wrap(cause error, hint string) *Error {
	n := e.With(cause.Error(), hint)
	n.cause = cause
	return n
}

// Error returns the detail, or the title where there is none.
func (e *Error) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return e.Title
}

// Is reports whether target is the same problem, whatever the case.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Type == e.Type
}

// Unwrap returns what [Error.Wrap] wrapped, nil after a trip over the socket.
func (e *Error) Unwrap() error { return e.cause }

// ErrorOf returns err as a problem. An error that has a problem in its chain is
// that problem, with the whole chain as its detail; a context's end is ErrTimeout
// or ErrInterrupted; anything else is ErrFailed. Nil stays nil.
func ErrorOf(err error) *Error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		n := e.With(err.Error(), e.Hint)
		n.cause = err
		return n
	case errors.Is(err, context.DeadlineExceeded):
		return ErrTimeout.Wrap(err, "give it more time with --timeout")
	case errors.Is(err, context.Canceled):
		return ErrInterrupted.Wrap(err, "")
	}
	return ErrFailed.Wrap(err, "")
}
