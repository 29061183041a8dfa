package ledger

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
)

// What a commit costs whoever takes it in is mostly its signature, and that depends
// on nothing but its bytes and the keys: it is checked by all cores, and before the
// lock under which commits are judged, stored and shown one after the other.

// unsealed is a commit that was verified, opened and parsed, or why it was not. With
// neither it is still to be done.
type unsealed struct {
	judged
	err error
}

// unsealFew is how many candidates are not worth another goroutine: live edits.
const unsealFew = 4

// unsealAhead opens candidates in parallel. Nothing is decided here: what comes out
// wrong is refused in its turn, where it would have been.
func (d *Database) unsealAhead(in []Candidate) []unsealed {
	out := make([]unsealed, len(in))
	if len(in) < unsealFew {
		return out
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(in)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(in)); i = next.Add(1) - 1 {
				u, err := block.Parse(in[i].Data)
				if err != nil || u.Kind != block.KindCommit || u.DB != d.id || d.Has(u.ID) {
					continue // refused, or passed over, in its turn
				}
				out[i].judged, out[i].err = d.unseal(u, in[i].Linked, true)
			}
		})
	}
	wg.Wait()
	return out
}

// judgeAhead is judge for a commit that may have been opened ahead.
func (d *Database) judgeAhead(a unsealed, u *block.Unverified, linked map[block.ID][]byte, before map[block.ID]*crdt.Commit) (judged, error) {
	switch {
	case a.err != nil:
		return judged{}, a.err
	case a.commit == nil:
		return d.judge(u, linked, before)
	}
	var err error
	d.mu.RLock()
	defer d.mu.RUnlock()
	a.validity, err = d.verdict(a.commit, before)
	return a.judged, err
}
