package replicate

import (
	"slices"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/message"
)

// An answer of a thousand commits, some inline and some here already, is walked in
// windows, in order, each block wanted once; what comes with gaps is taken as far as
// it has none, and nothing is kept of a window that is done.
func TestIntakeWalksInOrder(t *testing.T) {
	var r message.DBResponse
	bytesOf, here := map[block.ID][]byte{}, map[block.ID]bool{}
	for n := range 1100 {
		data := []byte{byte(n), byte(n >> 8), 7}
		id := block.Sum(data)
		bytesOf[id] = data
		r.Lacking = append(r.Lacking, id)
		switch {
		case n < 10:
			r.Inline = append(r.Inline, data)
		case n%7 == 0:
			here[id] = true
		}
	}
	i := NewIntake(r, func(id block.ID) bool { return here[id] })
	var taken, wanted []block.ID
	for round := 0; ; round++ {
		want, ok := i.Next()
		if !ok {
			break
		}
		if round > 4 {
			t.Fatal("never done")
		}
		for n, id := range want {
			if round == 0 && n == 100 {
				continue // comes in the next window
			}
			wanted = append(wanted, id)
			i.Give(id, bytesOf[id])
		}
		ready, err := i.Ready()
		if err != nil || len(ready) > Window {
			t.Fatal(len(ready), err)
		}
		taken = append(taken, ready...)
		i.Done()
	}
	if len(i.Given()) > Window {
		t.Errorf("%d blocks kept", len(i.Given()))
	}
	slices.SortFunc(wanted, func(a, b block.ID) int { return slices.Index(r.Lacking, a) - slices.Index(r.Lacking, b) })
	if n := len(wanted); n != len(slices.Compact(wanted)) {
		t.Error("a block was wanted twice")
	}
	if want := slices.DeleteFunc(slices.Clone(r.Lacking), func(id block.ID) bool { return here[id] }); !slices.Equal(taken, want) {
		t.Errorf("%d commits taken of %d, or not in order", len(taken), len(want))
	}
}

// What is kept is bounded by bytes too; then the window ends early.
func TestIntakeIsBounded(t *testing.T) {
	var r message.DBResponse
	for n := range 200 {
		r.Lacking = append(r.Lacking, block.ID{byte(n)})
	}
	i := NewIntake(r, func(block.ID) bool { return false })
	big := make([]byte, 1<<20)
	want, _ := i.Next()
	n := 0
	for n < len(want) && i.Give(want[n], big) {
		n++
	}
	if n+1 != WindowBytes>>20 {
		t.Errorf("%d MiB kept", n+1)
	}
	ready, err := i.Ready()
	if err != nil || len(ready) != n+1 {
		t.Fatal(len(ready), err)
	}
	i.Done()
	if len(i.Given()) != 0 {
		t.Error("something is kept")
	}
	if want, ok := i.Next(); !ok || want[0] != r.Lacking[n+1] {
		t.Error("does not go on where it was")
	}
	if _, err := i.Ready(); err == nil {
		t.Error("nothing came, and yet something is ready")
	}
}

// Commits whose linked blocks exceed a window are taken bit by bit, and one that alone
// exceeds it gets room of its own; but not without bound.
func TestIntakeOfLargeCommits(t *testing.T) {
	links := map[block.ID][]block.ID{} // of each commit
	big := make([]byte, 1<<20)
	commit := func(n, blocks int) block.ID {
		id := block.Sum([]byte{byte(n)})
		for b := range blocks {
			links[id] = append(links[id], block.ID{1, byte(n), byte(b)})
		}
		return id
	}
	take := func(ids ...block.ID) (applied, held int, err error) {
		i := NewIntake(message.DBResponse{Lacking: ids}, func(block.ID) bool { return false })
		want, _ := i.Next()
		names := map[string]block.ID{}
		for n, id := range want {
			i.Give(id, []byte{byte(n)})
			names[string(i.Given()[id])] = id
		}
		apply := func() (done, needs []block.ID, first int) {
			for len(ids) > 0 && len(i.Absent(links[ids[0]])) == 0 {
				done, ids = append(done, ids[0]), ids[1:]
			}
			for n, id := range ids {
				needs = append(needs, i.Absent(links[id])...)
				if n == 0 {
					first = len(needs)
				}
			}
			applied += len(done)
			return done, needs, first
		}
		for rounds := 0; ; rounds++ {
			if rounds > 100 {
				t.Fatal("never done")
			}
			done, needs, first := apply()
			i.Took(done, func(data []byte) []block.ID { return links[names[string(data)]] })
			if len(needs) == 0 {
				return applied, held, nil
			}
			fetch, err := i.Linked(needs, first, len(done) > 0)
			if err != nil {
				return applied, held, err
			}
			for _, id := range fetch {
				if !i.Give(id, big) {
					break
				}
			}
			held = max(held, len(i.Given()))
		}
	}
	if applied, held, err := take(commit(1, 20), commit(2, 20), commit(3, 40), commit(4, 1)); err != nil || applied != 4 || held > 96 {
		t.Errorf("%d of 4 taken, %d MiB held: %v", applied, held, err)
	}
	if applied, held, err := take(commit(5, 1), commit(6, 200)); err == nil || applied != 1 || held > 100 {
		t.Errorf("%d of 1 taken, %d MiB held: %v", applied, held, err)
	}
}
