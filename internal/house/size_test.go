package house

import (
	"fmt"
	"strings"
	"testing"
)

// Sizes, in lines. A file that is longer holds two ideas; a room that is larger
// holds a rule that belongs into a pure room.
const (
	maxFile = 500
	maxTest = 800
	maxNode = 2500
)

func checkSizes(t *tree) []string {
	var out []string
	node := 0
	for _, f := range t.files {
		limit := maxFile
		if f.test {
			limit = maxTest
		}
		if f.lines > limit {
			out = append(out, fmt.Sprintf("%s: %d lines, at most %d: split it by idea", f.path, f.lines, limit))
		}
		if f.dir == "node" && !f.test {
			node += f.lines
		}
	}
	if node > maxNode {
		out = append(out, fmt.Sprintf("node: %d lines without tests, at most %d: move a rule down into a pure room", node, maxNode))
	}
	return out
}

func TestSizes(t *testing.T) {
	long := func(n int) string { return "package node\n" + strings.Repeat("\n", n) }
	keep(t, checkSizes, planted(t,
		"node/a.go", long(maxFile+1), "node/a_test.go", long(maxTest+1), "team/b.go", long(maxFile-1),
		"node/b.go", long(490), "node/c.go", long(490), "node/d.go", long(490), "node/e.go", long(490), "node/f.go", long(490),
	), "node/a.go: 502 lines", "node/a_test.go: 802 lines", "node: ")
}
