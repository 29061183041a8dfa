// Package server puts an [api.API] behind HTTP. It holds no state and no rule: a
// handler reads a request into the arguments of one method, calls it, and writes
// what it returned. What the routes are stands in one table ([Routes]).
//
//	$ curl --unix-socket DIR/api.sock http://toft/v1/dbs/notes/docs/milk
//	{"_id":"milk","_rev":"1-9f31c2d0a4b7e651","title":"milk"}
//
// Answers come in four shapes:
//
//	one noun      application/json
//	a short list  application/json, an array
//	a long list   application/jsonl, one noun a line; an error that comes when lines
//	              were sent already stands in the trailer Toft-Problem
//	a live feed   text/event-stream: event is the op, id the cursor (resume with
//	              Last-Event-ID), a comment every 15 s, and at an error the event
//	              "error" as the last
//
// Errors are application/problem+json (RFC 9457), the same object that the command
// line prints. A document's revision is its ETag; If-Match is the condition ifRev,
// If-None-Match: * is ifAbsent.
//
// # Who gets in
//
// The socket lies in a 0700 directory with mode 0600, and where the system can tell
// (Linux) each connection's user id is compared with ours; root and nobody else
// passes too. Every body, header and list of a request is bounded before it is
// read.
//
// # Slow readers
//
//	node.Watch ──▶ goroutine ──▶ chan ──▶ handler ──▶ socket
//
// A reader that stops reading stops its own two goroutines and nothing else: the
// node tells [api.OpGap] to whoever does not keep up, and no lock is held meanwhile.
//
// The package refuses to know documents, teams, keys and peers.
package server
