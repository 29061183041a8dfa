// Package house holds the rules of the house as tests, so that they are kept by
// `go test` and not by memory.
//
// A rule is a function from the parsed tree to a list of complaints:
//
//	node/sync.go:31: time.Sleep: wait on a channel or a context instead
//
// There are four groups:
//
//   - deps_test.go: the import policy as text, one room a line, with the reason
//     above it; and what may not even be linked transitively.
//   - calls_test.go: calls and constructs that are banned, and where they may stand.
//   - prose_test.go: package comments, documented names, names, TODOs.
//   - size_test.go: how long a file and how large a room may grow.
//
// Each rule is also run over a small planted tree that breaks it, so that a rule
// that has gone blind is noticed.
//
// The package knows the source of Toft and nothing of what it does. It reads
// files with go/parser: no build, no network, and a tree that does not compile
// can still be judged.
package house
