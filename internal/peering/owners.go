package peering

import (
	"sync"

	"github.com/toftdb/toft/block"
)

// owner is whose a block is, as its own header says.
type owner struct {
	hint  block.Hint // of the team; zeros in a genesis link
	share bool       // an invite block, which belongs to no team
	none  bool       // no block of ours: bytes nobody gets
}

// owners remembers whose blocks are, so that a want does not cost a read of the whole
// block before the one that serves it. A block never changes its owner: an entry is
// never wrong, and which ones are forgotten does not matter.
//
//	fresh ── full ──▶ stale ──▶ forgotten
//	  ▲                 │ asked for again
//	  └─────────────────┘
type owners struct {
	mu           sync.Mutex
	fresh, stale map[block.ID]owner
}

// maxOwners bounds each half: together about 3 MiB.
const maxOwners = 16 << 10

// of returns the owner of a block that is here; load reads it. What is not here is not
// remembered: it may come.
func (o *owners) of(id block.ID, load func() ([]byte, error)) (owner, bool) {
	o.mu.Lock()
	w, ok := o.fresh[id]
	if !ok {
		w, ok = o.stale[id]
	}
	o.mu.Unlock()
	if ok {
		o.keep(id, w)
		return w, true
	}
	data, err := load()
	if err != nil {
		return owner{}, false
	}
	w = ownerOf(data)
	o.keep(id, w)
	return w, true
}

func ownerOf(data []byte) owner {
	if hint, ok := block.PeekTeam(data); ok {
		return owner{hint: hint}
	}
	u, err := block.Parse(data)
	if err != nil || u.Kind != block.KindShare {
		return owner{none: true}
	}
	return owner{share: true}
}

func (o *owners) keep(id block.ID, w owner) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.fresh[id]; ok {
		return
	}
	if len(o.fresh) >= maxOwners {
		o.stale, o.fresh = o.fresh, nil
	}
	if o.fresh == nil {
		o.fresh = make(map[block.ID]owner)
	}
	o.fresh[id] = w
}
