package replicate

import (
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/planted"
)

// Bounds of one window of an [Intake].
const (
	// Window is how many commits are fetched and applied at once: Bitswap drops
	// wants beyond 1,024 a peer, and one batch must fit memory.
	Window = 512
	// WindowBytes bounds what is kept of a window until it is applied.
	WindowBytes = 32 << 20
	// LinkedBytes bounds the linked blocks of one commit, which are needed together:
	// they are kept beside the window. An author makes no commit that comes near.
	LinkedBytes = 64 << 20
)

// Intake walks through what one answer says we lack of one database, in causal
// order, window by window:
//
//	Next ─▶ fetch, Give each block ─▶ Ready ─▶ apply ─▶ Took
//	  ▲                                          ▲       │ some need linked blocks:
//	  │                                          └─ Give ┘ Linked
//	  └───────────────── Done ◀──────────────────────────┘ none does
//
// It holds at most one window of blocks besides what came inline, and the linked
// blocks of one commit.
type Intake struct {
	lacking []block.ID
	have    map[block.ID][]byte
	size    int
	limit   int
	full    bool // more came than may be kept
	taken   int  // commits of this window that are ready
}

// NewIntake starts on an answer; has tells which commits are here already.
func NewIntake(r message.DBResponse, has func(block.ID) bool) *Intake {
	i := &Intake{have: make(map[block.ID][]byte, len(r.Inline))}
	for _, data := range r.Inline {
		i.have[block.Sum(data)] = data
	}
	i.lacking = slices.DeleteFunc(slices.Clone(r.Lacking), has)
	return i
}

// Next begins a window and returns the blocks of it to fetch; false when there is
// nothing left to take.
func (i *Intake) Next() (want []block.ID, ok bool) {
	i.size, i.limit, i.full = 0, WindowBytes, false
	window := i.window()
	return i.Absent(window), len(window) > 0
}

func (i *Intake) window() []block.ID { return i.lacking[:min(len(i.lacking), Window)] }

// Absent returns those of ids whose blocks were not given.
func (i *Intake) Absent(ids []block.ID) []block.ID {
	return slices.DeleteFunc(slices.Clone(ids), func(id block.ID) bool { _, ok := i.have[id]; return ok })
}

// Give adds a fetched block, its bytes checked against its name. False: enough is
// kept, fetch no more before [Intake.Done].
func (i *Intake) Give(id block.ID, data []byte) bool {
	i.have[id] = data
	i.size += len(data)
	i.full = i.full || i.size >= i.limit
	return !i.full
}

// Given returns everything that was given, by name. It is the intake's own map.
func (i *Intake) Given() map[block.ID][]byte { return i.have }

// Ready returns the commits of this window that may be applied now: as far as they
// came without a gap.
func (i *Intake) Ready() ([]block.ID, error) {
	window := i.window()
	n := slices.IndexFunc(window, func(id block.ID) bool { _, ok := i.have[id]; return !ok })
	if n < 0 {
		n = len(window)
	}
	if planted.Bug("sync-window-over-gap") {
		n = len(window)
	}
	if i.taken = n; n == 0 {
		return nil, fmt.Errorf("%d bytes of blocks came, but not the first", i.size)
	}
	return window[:n], nil
}

// Took forgets the linked blocks of commits that were applied; links tells them.
func (i *Intake) Took(applied []block.ID, links func(commit []byte) []block.ID) {
	for _, id := range applied {
		for _, l := range links(i.have[id]) {
			if data, ok := i.have[l]; ok {
				i.size -= len(data)
				delete(i.have, l)
			}
		}
	}
}

// Linked returns which linked blocks to fetch next: of those that ready commits need,
// first of which belong to the first of them. moved tells whether any was applied since
// the last time; if none was, the first commit gets room of its own, once.
func (i *Intake) Linked(needs []block.ID, first int, moved bool) ([]block.ID, error) {
	if moved {
		i.limit = WindowBytes // what was given room of its own has gone
	}
	want := i.Absent(needs)
	switch i.full = i.size >= i.limit; {
	case i.limit > WindowBytes:
		return nil, fmt.Errorf("a commit links more than %d bytes of blocks", LinkedBytes)
	case i.full && !planted.Bug("sync-large-commit-never"):
		i.limit, i.full = i.size+LinkedBytes, false
		want = i.Absent(needs[:first])
	}
	if len(want) == 0 {
		return nil, fmt.Errorf("%d linked blocks were given, and are still lacking", len(needs))
	}
	return want, nil
}

// Done ends the window: what was ready has been applied or refused.
func (i *Intake) Done() {
	for _, id := range i.lacking[:i.taken] {
		delete(i.have, id)
	}
	if i.full {
		clear(i.have) // asked for again, rather than kept without bound
	}
	i.lacking, i.taken = i.lacking[i.taken:], 0
}
