package crdt

import (
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
)

// parking holds commits whose parents are not known yet, within bounds.
type parking struct {
	commits map[block.ID]*Commit
	waiting map[block.ID][]block.ID // missing parent → commits that wait for it
	size    int
}

func newParking() parking {
	return parking{commits: map[block.ID]*Commit{}, waiting: map[block.ID][]block.ID{}}
}

// bytes estimates the memory a commit takes.
func (c *Commit) bytes() (n int) {
	n = 1024 + len(c.inline)*2 + 32*len(c.links) + 64*len(c.Parents)
	for _, b := range slices.Concat(c.blocks, c.cells) {
		n += len(b)
	}
	return n
}

func (p *parking) park(c *Commit, missing []block.ID) error {
	if _, ok := p.commits[c.ID]; ok {
		return nil
	}
	if len(p.commits) >= MaxParked || p.size+c.bytes() > MaxParkedBytes {
		return fmt.Errorf("%w: %d of them, %d bytes", ErrParked, len(p.commits), p.size)
	}
	p.commits[c.ID] = c
	p.size += c.bytes()
	for _, id := range missing {
		p.waiting[id] = append(p.waiting[id], c.ID)
	}
	return nil
}

// remove takes a commit out, added or given up.
func (p *parking) remove(id block.ID) {
	c, ok := p.commits[id]
	if !ok {
		return
	}
	delete(p.commits, id)
	p.size -= c.bytes()
	for _, parent := range c.Parents {
		if list, ok := p.waiting[parent]; ok {
			if list = slices.DeleteFunc(list, func(x block.ID) bool { return x == id }); len(list) == 0 {
				delete(p.waiting, parent)
			} else {
				p.waiting[parent] = list
			}
		}
	}
}

// release tells that a commit has arrived and returns those that wait for nothing
// else now, sorted. They stay parked until they are added.
func (p *parking) release(parent block.ID, known func(block.ID) bool) (ready []block.ID) {
	for _, id := range p.waiting[parent] {
		if c := p.commits[id]; !slices.ContainsFunc(c.Parents, func(x block.ID) bool { return !known(x) }) {
			ready = append(ready, id)
		}
	}
	delete(p.waiting, parent)
	slices.SortFunc(ready, compareIDs)
	return ready
}

// Parked returns a commit that waits for parents, or has just been released by
// [Added.Unparked].
func (r *Replica) Parked(id block.ID) (*Commit, bool) {
	c, ok := r.parked.commits[id]
	return c, ok
}

// Unpark forgets a parked commit, for instance one that turned out not to count as
// one. It may be handed in again.
func (r *Replica) Unpark(id block.ID) { r.parked.remove(id) }

// Missing returns the commits that parked ones wait for and that are not parked
// themselves, sorted: what to ask other replicas for.
func (r *Replica) Missing() (ids []block.ID) {
	for id := range r.parked.waiting {
		if _, ok := r.parked.commits[id]; !ok {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}
