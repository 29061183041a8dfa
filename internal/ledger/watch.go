package ledger

import (
	"sync"

	"github.com/toftdb/toft/crdt"
)

// maxPending bounds the ids a slow watcher may have waiting. A mailbox keeps ids,
// not documents, and each id once, so a reader that falls behind sees the latest
// state of each document and costs little; beyond the bound it must start again.
const maxPending = 65_536

// watchers fans changes out. It never blocks: each watcher has a mailbox of ids and
// a bell.
type watchers struct {
	mu  sync.Mutex
	all map[*Mailbox]struct{}
}

// Mailbox collects the ids of documents that changed, for one watcher.
type Mailbox struct {
	// Bell rings (once, however often it was rung) when there is something to take.
	Bell <-chan struct{}

	of      *watchers
	bell    chan struct{}
	mu      sync.Mutex
	order   []string
	waiting map[string]bool
	gap     bool
}

func newWatchers() *watchers { return &watchers{all: map[*Mailbox]struct{}{}} }

// Mailbox opens a mailbox for the changes of the database from now on. Close it.
func (d *Database) Mailbox() *Mailbox {
	bell := make(chan struct{}, 1)
	x := &Mailbox{Bell: bell, of: d.watchers, bell: bell, waiting: map[string]bool{}}
	x.of.mu.Lock()
	defer x.of.mu.Unlock()
	x.of.all[x] = struct{}{}
	return x
}

// Close ends the mailbox.
func (x *Mailbox) Close() {
	x.of.mu.Lock()
	defer x.of.mu.Unlock()
	delete(x.of.all, x)
}

// tell puts changes into every mailbox.
func (w *watchers) tell(changes []crdt.Change) {
	if len(changes) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for x := range w.all {
		x.put(changes)
	}
}

func (x *Mailbox) put(changes []crdt.Change) {
	x.mu.Lock()
	for _, c := range changes {
		if !x.gap && !x.waiting[c.ID] {
			x.order, x.waiting[c.ID] = append(x.order, c.ID), true
		}
		if len(x.order) > maxPending {
			x.gap, x.order, x.waiting = true, nil, map[string]bool{}
		}
	}
	x.mu.Unlock()
	select {
	case x.bell <- struct{}{}:
	default:
	}
}

// Take empties the mailbox: the ids that changed, in the order they first did. With
// gap some were dropped, and the watcher must read everything again.
func (x *Mailbox) Take() (ids []string, gap bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	ids, gap = x.order, x.gap
	x.order, x.waiting, x.gap = nil, map[string]bool{}, false
	return ids, gap
}

// readAgain tells every watcher to read everything again.
func (w *watchers) readAgain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for x := range w.all {
		x.mu.Lock()
		x.gap, x.order, x.waiting = true, nil, map[string]bool{}
		x.mu.Unlock()
		select {
		case x.bell <- struct{}{}:
		default:
		}
	}
}
