package ledger

import (
	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
)

// Actor returns this device's writing instance in the database: what a receipt
// names. It waits for a write in progress.
func (d *Database) Actor() block.Actor {
	d.writing.Lock()
	defer d.writing.Unlock()
	return d.actor
}

// Within returns those of the commits that are not among heads or in their past,
// and whether all of heads are here: heads that are not tell nothing yet.
func (d *Database) Within(heads, commits []block.ID) (outside []block.ID, known bool) {
	known = true
	err := d.View(func(r *crdt.Replica) error {
		for _, h := range heads {
			known = known && r.Has(h)
		}
		outside = absent(commits, func(id block.ID) bool { return r.Inside(heads, id) })
		return nil
	})
	if err != nil {
		return commits, false
	}
	return outside, known
}

// Newest returns the last commit of each device that wrote here, with the clock it
// was given: whoever wrote it held all of its past.
func (d *Database) Newest() map[block.Device][]*crdt.Commit {
	newest := map[block.Device][]*crdt.Commit{}
	// A damaged database knows of nobody.
	_ = d.View(func(r *crdt.Replica) error {
		for _, tip := range r.Frontier() {
			if _, id := r.Seq(tip.Actor); !id.IsZero() {
				if c, ok := r.Commit(id); ok {
					newest[tip.Actor.Device] = append(newest[tip.Actor.Device], c)
				}
			}
		}
		return nil
	})
	return newest
}
