package peering

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/team"
)

// Holding is what is known of one other device and some commits: whether it holds
// them, since when, or why it does not. Silence is never taken for having.
type Holding struct {
	Device    block.Device
	Name      string // of the device
	Has       bool
	Signed    bool      // by its own signature: a receipt, or a commit that builds on them
	Stored    bool      // only as blocks that it cannot read
	Since     time.Time // when it said so, by its clock; zero if only by the connection
	Connected bool
	Heard     time.Time // when it last said anything, by our clock; zero: never
	Why       string    // why not, or how it is known
}

// Explain says of every other device of a database's team whether it holds some
// commits: the heads, or those that made a document.
func (n *Network) Explain(d *ledger.Database, commits []block.ID) (out []Holding) {
	st := d.Team().State()
	newest := d.Newest()
	for _, dev := range st.Devices() {
		if dev.Key == n.ledger.Me() || dev.Recovery || !st.Active(dev.Key) {
			continue
		}
		h := n.holding(d, dev.Key, commits)
		h.Name = n.name(d.Team(), dev.Key)
		for _, c := range newest[dev.Key] {
			if outside, _ := d.Within([]block.ID{c.ID}, commits); len(outside) == 0 && !h.Signed {
				h.Has, h.Signed, h.Since, h.Why = true, true, time.UnixMilli(int64(c.Time)).UTC(), "it wrote on top of it"
			}
		}
		if !h.Has {
			h.Why = n.why(d, st, h)
		}
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b Holding) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// holding looks at what a device said of itself.
func (n *Network) holding(d *ledger.Database, dev block.Device, commits []block.ID) Holding {
	p := PeerOf(dev)
	h := Holding{Device: dev, Connected: n.reaches(p)}
	n.receipts.mu.Lock()
	in, parted := n.receipts.of[d.ID()][dev], n.receipts.parted[dev]
	n.receipts.mu.Unlock()
	if !parted.IsZero() {
		h.Heard = parted.UTC()
	}
	if in != nil {
		if in.heard.After(h.Heard) {
			h.Heard = in.heard.UTC()
		}
		heads, known := in.known, true
		outside, _ := d.Within(heads, commits)
		if len(outside) > 0 {
			if outside, known = d.Within(in.Heads, commits); known {
				n.understood(in)
			}
		}
		if len(outside) == 0 && (len(heads) > 0 || len(in.Heads) > 0) {
			h.Has, h.Signed, h.Since = true, true, time.UnixMilli(int64(in.Time)).UTC()
			h.Stored = in.Kind == message.ReceiptStored
			h.Why = "it signed a receipt"
		}
	}
	if h.Connected {
		h.Heard = n.o.Clock().UTC()
	}
	if !h.Has && n.Agrees(d, p) {
		h.Has, h.Why = true, "it shows the same heads"
	}
	return h
}

// understood notes that all heads of a receipt have arrived here.
func (n *Network) understood(in *receipt) {
	n.receipts.mu.Lock()
	defer n.receipts.mu.Unlock()
	in.known = in.Heads
}

// why says what keeps a device from having it.
func (n *Network) why(d *ledger.Database, st *team.State, h Holding) string {
	switch {
	case d.Team().Provisional():
		return "this device's join is not confirmed by a second member yet: nothing of ours leaves it"
	case !h.Connected && h.Heard.IsZero():
		return "not connected, and never heard of since this device knows it"
	case !h.Connected:
		return "not connected"
	case cutOff(d, h.Device):
		return "its history was compacted away there: toft repair takes its state"
	case n.Doubt(d, h.Device) != "":
		return n.Doubt(d, h.Device)
	}
	return "connected, has not said yet that it holds it"
}

func cutOff(d *ledger.Database, dev block.Device) bool {
	by, ok := d.CutOff()
	return ok && by == dev
}

// NotDurableError says that fewer devices confirmed a write than were asked for.
// The write itself is durable here, and goes on to the others.
type NotDurableError struct {
	Want, Have int
	Missing    []Holding
	Err        error // of the context that ended
}

func (e *NotDurableError) Error() string {
	var missing []string
	for _, h := range e.Missing {
		missing = append(missing, fmt.Sprintf("%s (%s)", h.Name, h.Why))
	}
	return fmt.Sprintf("%d of %d other devices confirmed that they hold it, it is durable here; missing: %s", e.Have, e.Want, strings.Join(missing, ", "))
}

// Unwrap returns why the wait ended.
func (e *NotDurableError) Unwrap() error { return e.Err }

// durableTime bounds the wait for others where the caller sets no bound.
const durableTime = 30 * time.Second

// Others counts the other devices of a database's team that can confirm a write:
// replicas, which cannot read, do not.
func (n *Network) Others(d *ledger.Database) (count int) {
	st := d.Team().State()
	for _, dev := range st.Devices() {
		if dev.Key != n.ledger.Me() && !dev.Recovery && st.Active(dev.Key) && st.Role(dev.Key) != team.RoleReplica {
			count++
		}
	}
	return count
}

// Durable waits until count other devices have signed that they hold a commit, each
// applied to its own state. Errors: [NotDurableError].
//
// It waits for at most durableTime if ctx sets no bound.
func (n *Network) Durable(ctx context.Context, d *ledger.Database, commits []block.ID, count int) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, durableTime)
		defer cancel()
	}
	for {
		changed := n.Changed()
		have, missing := 0, []Holding(nil)
		for _, h := range n.Explain(d, commits) {
			switch {
			case h.Signed && !h.Stored:
				have++
			case d.Team().State().Role(h.Device) != team.RoleReplica:
				missing = append(missing, h)
			}
		}
		if have >= count {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return &NotDurableError{Want: count, Have: have, Missing: missing, Err: ctx.Err()}
		case <-n.ctx.Done():
			return &NotDurableError{Want: count, Have: have, Missing: missing, Err: ledger.ErrClosed}
		}
	}
}

// Reach is how a database stands to the members that are connected.
type Reach struct {
	Connected, Equal int      // members that are here, and those of them that hold the same
	Away             []string // names of devices that are not, and are not known to hold what we do
}

// Reach reports how a database stands to the members that are connected.
func (n *Network) Reach(d *ledger.Database) (r Reach) {
	for _, h := range n.Explain(d, d.Heads().Heads) { // sorted by name
		switch {
		case h.Connected:
			r.Connected++
			if n.Agrees(d, PeerOf(h.Device)) {
				r.Equal++
			}
		case !h.Has:
			r.Away = append(r.Away, h.Name)
		}
	}
	return r
}

// Ask compares with every connected member of a team, now, and reports whether
// there were some and all hold the same. Who differs is pulled from, and learns
// from the pull that it lacks something itself.
func (n *Network) Ask(ctx context.Context, c *ledger.Chain) (settled bool) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	var asked, equal atomic.Int32
	var wg sync.WaitGroup
	for _, p := range n.host.Network().Peers() {
		if !n.gate.Shares(p, c.ID()) {
			continue
		}
		asked.Add(1)
		wg.Go(func() {
			switch same, err := n.Compare(ctx, c, p); {
			case err == nil && same:
				equal.Add(1)
			case err == nil:
				n.ahead(p)
			}
		})
	}
	wg.Wait()
	return asked.Load() > 0 && asked.Load() == equal.Load()
}

const (
	// askTime is how long one member may take to compare; who takes longer differs.
	askTime = 2 * time.Second
	// askAgain is how long who waits for everybody waits before it asks again.
	askAgain = 500 * time.Millisecond
)

// Settle asks everybody who can be reached, tells how a database stands, and goes
// on to do so until all hold the same, or only once. It ends with told's false, the
// context, or the network.
func (n *Network) Settle(ctx context.Context, d *ledger.Database, wait bool, told func(r Reach, settled bool) bool) error {
	if !told(n.Reach(d), false) {
		return nil
	}
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for {
		settled := n.Ask(ctx, d.Team())
		if !told(n.Reach(d), settled) || settled || !wait {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.ctx.Done():
			return ledger.ErrClosed
		case <-again.C:
		}
	}
}

// name is a device's name, for people.
func (n *Network) name(c *ledger.Chain, dev block.Device) string {
	if d, ok := c.State().Device(dev); ok && d.Name != "" {
		return d.Name
	}
	return dev.String()
}
