package peering

import (
	"context"
	"fmt"
	"time"

	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/node/api"
)

// How much history is kept is asked here, because receipts tell what others hold.

// collectEvery is how often it is looked whether old history may be freed.
const collectEvery = time.Hour

// collectLoop frees what compactions left behind, while the network runs.
func (n *Network) collectLoop() {
	ticker := time.NewTicker(collectEvery)
	defer ticker.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
			n.ledger.Collect(n.ctx)
		}
	}
}

// Acks returns what others have said that they hold of a database.
func (n *Network) Acks(d *ledger.Database) (acks []ledger.Ack) {
	if n == nil {
		return nil
	}
	r := n.receipts
	r.mu.Lock()
	defer r.mu.Unlock()
	for dev, in := range r.of[d.ID()] {
		if dev != n.ledger.Me() && in.Kind == message.ReceiptApplied {
			acks = append(acks, ledger.Ack{Device: dev, Heads: in.known, Heard: in.heard})
		}
	}
	return acks
}

// Compact compacts a database as far as others have acknowledged it. Without a network
// nothing is known of them but what they wrote.
func (n *Network) Compact(ctx context.Context, d *ledger.Database, o api.CompactOptions) (api.Summary, error) {
	c := ledger.Compaction{Keep: ledger.Keep, DryRun: o.DryRun, Acks: n.Acks(d)}
	if o.Keep != "" {
		var err error
		if c.Keep, err = ledger.SpanOf(o.Keep); err != nil {
			return api.Summary{}, err
		}
	}
	done, err := d.Compact(ctx, c)
	s := freed(done.Freed)
	s.Commits, s.Purged, s.Oldest = int64(done.Commits), int64(done.Purged), atTime(done.Oldest)
	for _, h := range done.Held {
		row := api.HeldBack{Why: "young", Since: h.Since.UTC(), Commits: int64(h.Commits)}
		if !h.Device.IsZero() {
			dev, _ := d.Team().State().Device(h.Device)
			if row.Why, row.Device = "behind", dev.Name; dev.Name == "" {
				row.Device = h.Device.String()
			}
		}
		s.Held = append(s.Held, row)
	}
	return s, err
}

// Collect frees what compactions of a database left behind.
func Collect(ctx context.Context, d *ledger.Database, o api.GCOptions) (api.Summary, error) {
	f, err := d.GC(ctx, ledger.Collection{Now: o.Now, DryRun: o.DryRun})
	return freed(f), err
}

func freed(f ledger.Freed) api.Summary {
	return api.Summary{Freed: int64(f.Commits), Blocks: int64(f.Blocks), Bytes: f.Bytes, Waiting: atTime(f.Waiting)}
}

func atTime(t wire.Time) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(t)).UTC()
}

// Health says what is wrong with a database on this device; name and fix are shown.
func Health(d *ledger.Database, name, fix string) (out []api.Check) {
	note := func(id string, severity api.Severity, title string, err error, fix string) {
		if err != nil {
			out = append(out, api.Check{ID: id, Severity: severity, Title: title, Detail: fmt.Sprintf("%s: %v", name, err), Fix: fix})
		}
	}
	note("database_damaged", api.Alarm, "a database cannot be read", d.Damage(), fix)
	note("digest_mismatch", api.Alarm, "two devices computed different states", d.Alarm(), "")
	note("repairing", api.Warning, "a database is repairing", d.Repairing(), "connect to a device that has kept the whole history: it is asked by itself")
	if by, ok := d.CutOff(); ok {
		note("cut_off", api.Warning, "a database is cut off", fmt.Errorf("its history was compacted away at %s; what is here stays", by),
			"connect to a device that has kept more, or take its state: toft repair "+name)
	}
	if by, ok := d.Unaudited(); ok {
		note("unaudited", api.Info, "a database is unaudited", fmt.Errorf("vouched for by %s; its history is not here yet", by), "")
	}
	return out
}
