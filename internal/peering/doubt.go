package peering

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
)

// doubts are what keeps two devices from coming to the same state, and how far the
// work is that brings them there.
//
// Equal heads under equal void commits lead to one digest on every honest replica,
// whatever happened on the way. And what a peer has and we lack is here after one
// pull: if the same two sets of heads are compared three times and nothing moves,
// something is refused or withheld. Either is told with a name, once.
type doubts struct {
	mu       sync.Mutex
	of       map[block.DBID]map[block.Device]string
	compared map[block.DBID]map[block.Device]comparison
	work     map[block.DBID]Progress
}

// comparison is a pair of tips that was compared with nothing to show for it.
type comparison struct {
	ours, theirs [32]byte
	times        int
}

// stuck is how often the same heads may be compared in vain.
const stuck = 3

func newDoubts() *doubts {
	return &doubts{of: map[block.DBID]map[block.Device]string{}, compared: map[block.DBID]map[block.Device]comparison{}, work: map[block.DBID]Progress{}}
}

// doubt compares where a device says it stands with where we do.
func (n *Network) doubt(dev block.Device, h message.DBHeads) {
	d := n.ledger.Database(h.DB)
	if d == nil {
		return
	}
	ours := d.Heads()
	switch {
	case tip(ours) == tip(h):
		n.believe(d, dev, "")
	case slices.Equal(ours.Heads, h.Heads) && ours.Void == h.Void:
		n.believe(d, dev, fmt.Sprintf("%s has the same commits and another state: %s", n.name(d.Team(), dev), n.wrong(d, dev, ours, h)))
	}
}

// wrong names whose digest is not what the author of the one head signed.
func (n *Network) wrong(d *ledger.Database, dev block.Device, ours, theirs message.DBHeads) string {
	who := "one of the two computed it wrong"
	_ = d.View(func(r *crdt.Replica) error { // a damaged database says nothing
		if len(ours.Heads) != 1 {
			return nil
		}
		c, err := r.Load(ours.Heads[0])
		if err != nil || !c.HasDigest {
			return nil // and tells no more
		}
		author := n.name(d.Team(), c.Actor.Device)
		switch c.Digest {
		case ours.Digest:
			who = fmt.Sprintf("%s computed it wrong, %s who wrote last signed ours", n.name(d.Team(), dev), author)
		case theirs.Digest:
			who = fmt.Sprintf("this device computed it wrong, %s who wrote last signed theirs", author)
		default:
			who = fmt.Sprintf("%s who wrote last signed neither", author)
		}
		return nil
	})
	return who
}

// again counts comparisons in which a peer names heads that a pull did not bring.
func (n *Network) again(d *ledger.Database, dev block.Device, theirs message.DBResponse) {
	lacking := slices.DeleteFunc(slices.Clone(theirs.Heads), d.Has)
	n.doubts.mu.Lock()
	if n.doubts.compared[d.ID()] == nil {
		n.doubts.compared[d.ID()] = map[block.Device]comparison{}
	}
	pair := comparison{ours: tip(d.Heads()), theirs: tip(theirs.DBHeads)}
	old := n.doubts.compared[d.ID()][dev]
	if len(lacking) > 0 && old.ours == pair.ours && old.theirs == pair.theirs {
		pair.times = old.times
	}
	pair.times++
	n.doubts.compared[d.ID()][dev] = pair
	n.doubts.mu.Unlock()
	if len(lacking) > 0 && pair.times >= stuck {
		n.believe(d, dev, fmt.Sprintf("%s names %d commits that it does not hand over, or that this device refuses%s", n.name(d.Team(), dev), len(lacking), n.authors(d, theirs)))
	}
}

// authors names who wrote what came inline and was not taken.
func (n *Network) authors(d *ledger.Database, r message.DBResponse) string {
	var names []string
	for _, data := range r.Inline {
		if u, err := block.Parse(data); err == nil && !d.Has(u.ID) {
			if name := n.name(d.Team(), u.Author); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return ", written by " + strings.Join(names, ", ")
}

// believe notes what is wrong between us and a device, "" if nothing, and tells it
// when it is new.
func (n *Network) believe(d *ledger.Database, dev block.Device, what string) {
	n.doubts.mu.Lock()
	old := n.doubts.of[d.ID()][dev]
	switch {
	case what == "":
		delete(n.doubts.of[d.ID()], dev)
	case n.doubts.of[d.ID()] == nil:
		n.doubts.of[d.ID()] = map[block.Device]string{dev: what}
	default:
		n.doubts.of[d.ID()][dev] = what
	}
	n.doubts.mu.Unlock()
	if what != "" && old == "" && n.firstBlame(PeerOf(dev)) {
		n.o.Log.Error("two devices do not come to the same state", "db", d.ID(), "peer", dev, "why", what)
	}
}

// Doubt says what keeps a device from coming to the same state as this one, "" if
// nothing is known to.
func (n *Network) Doubt(d *ledger.Database, dev block.Device) string {
	n.doubts.mu.Lock()
	defer n.doubts.mu.Unlock()
	return n.doubts.of[d.ID()][dev]
}

// Doubts lists everything of a database that [Network.Doubt] knows, sorted.
func (n *Network) Doubts(d *ledger.Database) (out []string) {
	n.doubts.mu.Lock()
	defer n.doubts.mu.Unlock()
	for _, what := range n.doubts.of[d.ID()] {
		out = append(out, what)
	}
	slices.Sort(out)
	return out
}

// Progress is how far the pulls of one database are.
type Progress struct {
	Done, Total int64 // commits
	Bytes       int64 // of them that came
	Begun       time.Time
	Rate        float64       // commits a second so far
	ETA         time.Duration // at that rate
}

// expect adds what a pull is about to fetch.
func (n *Network) expect(d *ledger.Database, commits int) {
	if commits == 0 {
		return
	}
	n.doubts.mu.Lock()
	defer n.doubts.mu.Unlock()
	w := n.doubts.work[d.ID()]
	if w.Begun.IsZero() {
		w.Begun = n.o.Clock()
	}
	w.Total = max(w.Total, w.Done+int64(commits)) // several pulls bring the same
	n.doubts.work[d.ID()] = w
}

// came notes commits that were taken in.
func (n *Network) came(d *ledger.Database, in []ledger.Candidate) {
	n.took(d)
	n.doubts.mu.Lock()
	defer n.doubts.mu.Unlock()
	w := n.doubts.work[d.ID()]
	for _, c := range in {
		w.Done, w.Bytes = w.Done+1, w.Bytes+int64(len(c.Data))
	}
	w.Total = max(w.Total, w.Done)
	n.doubts.work[d.ID()] = w
}

// finished ends the progress of a team's databases: nothing is being pulled.
func (n *Network) finished(id block.TeamID) {
	c := n.ledger.Chain(id)
	if c == nil {
		return
	}
	n.doubts.mu.Lock()
	defer n.doubts.mu.Unlock()
	for _, d := range c.Databases() {
		delete(n.doubts.work, d.ID())
	}
}

// Progress reports how far the pulls of a database are; ok is false when none is
// bringing anything.
func (n *Network) Progress(d *ledger.Database) (w Progress, ok bool) {
	n.doubts.mu.Lock()
	defer n.doubts.mu.Unlock()
	w, ok = n.doubts.work[d.ID()]
	if took := n.o.Clock().Sub(w.Begun).Seconds(); ok && took > 0 && w.Done > 0 {
		w.Rate = float64(w.Done) / took
		w.ETA = time.Duration(float64(w.Total-w.Done) / w.Rate * float64(time.Second))
	}
	return w, ok
}
