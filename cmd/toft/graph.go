package main

import (
	"slices"
	"strings"

	"github.com/toftdb/toft/node/api"
)

// graph draws a chain, parents first, one link a row:
//
//   - CREATE
//   - INVITE
//     |\
//     | *  ADMIT
//   - |  REMOVE_DEVICE
//     |/
//   - ROTATE
//
// Each lane ends in a link that has children still to come. A link takes over the
// lane of its first parent that waits for nobody else, or opens one.
type graph struct {
	lanes    []lane
	children map[string]int
}

// lane is a column of the drawing; one without a link is a gap to be used again.
type lane struct {
	link string
	left int // children still to come
}

// drawing returns for every link the lines above it and the lanes left of it.
func drawing(links []api.ChainLink) (above [][]string, rows []string) {
	g := graph{children: map[string]int{}}
	for _, l := range links {
		for _, p := range l.Parents {
			g.children[p]++
		}
	}
	wide := 0
	for _, l := range links {
		lines, row := g.add(l)
		above, rows = append(above, lines), append(rows, row)
		wide = max(wide, len(row))
	}
	for i, r := range rows {
		rows[i] = r + strings.Repeat(" ", wide-len(r))
	}
	return above, rows
}

// add draws one link.
func (g *graph) add(l api.ChainLink) (above []string, row string) {
	home, from := -1, []int(nil)
	for i := range g.lanes {
		if g.lanes[i].link == "" || !slices.Contains(l.Parents, g.lanes[i].link) {
			continue
		}
		from = append(from, i)
		if g.lanes[i].left--; g.lanes[i].left == 0 && home < 0 {
			home = i
		}
	}
	if home < 0 {
		home = g.open()
	}
	for _, i := range from {
		if i == home {
			continue
		}
		above = append(above, g.edge(i, home))
		if g.lanes[i].left == 0 {
			g.lanes[i] = lane{}
		}
	}
	g.lanes[home] = lane{link: l.CID, left: g.children[l.CID]}
	row = g.row(home, l.Valid)
	if g.lanes[home].left == 0 {
		g.lanes[home] = lane{}
	}
	for len(g.lanes) > 0 && g.lanes[len(g.lanes)-1].link == "" {
		g.lanes = g.lanes[:len(g.lanes)-1]
	}
	return above, row
}

// open returns a gap, or a new lane at the right.
func (g *graph) open() int {
	if i := slices.IndexFunc(g.lanes, func(l lane) bool { return l.link == "" }); i >= 0 {
		return i
	}
	g.lanes = append(g.lanes, lane{})
	return len(g.lanes) - 1
}

// bars draws the lanes alone.
func (g *graph) bars() []byte {
	b := make([]byte, 0, 2*len(g.lanes))
	for _, l := range g.lanes {
		c := byte('|')
		if l.link == "" {
			c = ' '
		}
		b = append(b, c, ' ')
	}
	return b
}

// edge draws the line from a parent's lane to the lane of its child.
func (g *graph) edge(from, to int) string {
	b := g.bars()
	lo, hi := min(from, to), max(from, to)
	for i := 2*lo + 1; i < 2*hi; i++ {
		if b[i] == ' ' {
			b[i] = '-'
		}
	}
	switch {
	case to > from:
		b[2*to-1] = '\\'
	case g.lanes[from].left == 0:
		b[2*from-1], b[2*from] = '/', ' '
	default:
		b[2*from-1] = '/'
	}
	return strings.TrimRight(string(b), " ")
}

// row draws the lanes with the link in one: * counts, x does not.
func (g *graph) row(home int, counts bool) string {
	b := g.bars()
	b[2*home] = '*'
	if !counts {
		b[2*home] = 'x'
	}
	return strings.TrimRight(string(b), " ")
}
