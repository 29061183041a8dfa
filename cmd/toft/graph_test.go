package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/toftdb/toft/node/api"
)

// chainOf reads "A; B<A; C<A!; D<B,C" as links; one that ends in ! does not count.
func chainOf(text string) []api.ChainLink {
	var links []api.ChainLink
	for _, s := range strings.Split(text, "; ") {
		s, bad := strings.CutSuffix(s, "!")
		cid, parents, _ := strings.Cut(s, "<")
		l := api.ChainLink{CID: cid, Valid: !bad}
		if parents != "" {
			l.Parents = strings.Split(parents, ",")
		}
		links = append(links, l)
	}
	return links
}

func drawn(links []api.ChainLink) string {
	above, rows := drawing(links)
	var out []string
	for i, l := range links {
		out = append(append(out, above[i]...), rows[i]+" "+l.CID)
	}
	return strings.Join(out, "\n")
}

func TestGraph(t *testing.T) {
	for chain, want := range map[string]string{
		"A; B<A; C<B": `
* A
* B
* C`,
		"A; B<A; C<A!; D<B,C": `
*   A
|\
| * B
x | C
|/
*   D`,
		"A; B<A; C<A; D<A; E<B,C,D": `
*     A
|\
| *   B
|-|\
| | * C
* | | D
|/  |
|--/
*     E`,
		"A; B<A; C<A; D<B; E<C; F<D": `
*   A
|\
| * B
* | C
| * D
* | E
  * F`,
	} {
		require.Equal(t, strings.TrimPrefix(want, "\n"), drawn(chainOf(chain)), chain)
	}
}

func TestGraphOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "links")
		var links []api.ChainLink
		for i := range n {
			l := api.ChainLink{CID: fmt.Sprint(i), Valid: rapid.Bool().Draw(t, "valid")}
			for range min(i, rapid.IntRange(1, 4).Draw(t, "parents")) {
				p := fmt.Sprint(rapid.IntRange(0, i-1).Draw(t, "parent"))
				l.Parents = append(l.Parents, p)
			}
			links = append(links, l)
		}
		_, rows := drawing(links)
		for i, r := range rows {
			mark := map[bool]string{true: "*", false: "x"}[links[i].Valid]
			if strings.Count(r, "*")+strings.Count(r, "x") != 1 || !strings.Contains(r, mark) {
				t.Fatalf("row %d: %q", i, r)
			}
		}
	})
}
