package ledger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/wire"
)

// A label is a name for a state, kept by this device alone: the heads of the commits
// that made it. It is sealed like data, and its key on disk is a keyed hash, so that
// neither tells the name.

// Label is a named state.
type Label struct {
	Name  string     `cbor:"1,keyasint"`
	Heads []block.ID `cbor:"2,keyasint,omitempty"` // sorted; empty: before the first commit
	Time  wire.Time  `cbor:"3,keyasint,omitempty"` // the latest among its commits
	Made  wire.Time  `cbor:"4,keyasint"`
	// State is the checkpoint of the state, once the floor has passed it; zero: it is
	// told from the commits.
	State block.ID `cbor:"5,keyasint,omitzero"`
}

const (
	maxLabelName = 128     // bytes
	maxLabel     = 4 << 20 // bytes of a sealed label: a state may have many heads
)

// Errors callers branch on.
var (
	// ErrLabel: a label of that name is there already.
	ErrLabel = errors.New("there is a label of this name already")
	// ErrLabelName: a text cannot be the name of a label.
	ErrLabelName = errors.New("not the name of a label")
)

// labelKey returns where a label lies. The prefix keeps the hash apart from those of
// values, which are CBOR and longer.
func (d *Database) labelKey(name string) ([]byte, error) {
	keys, err := d.n.keys.Database(d.id)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte("toft label\x00" + name))
	hash := keys.ValueHash(append([]byte("toft label\x00"), sum[:]...))
	return store.Label(d.id, hash[:]), nil
}

// CheckLabel returns why a text cannot be the name of a label, nil if it can: it
// must not read as a time, a commit or a revision.
func CheckLabel(name string) error {
	_, isTime, err := parseTime(name, 0)
	switch {
	case name == "" || len(name) > maxLabelName || !utf8.ValidString(name) || strings.TrimSpace(name) != name:
		return fmt.Errorf("%w: a label is 1–%d bytes of text without spaces around it", ErrLabelName, maxLabelName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%w: a label has no control characters", ErrLabelName)
	case name == "now" || isTime || err != nil || strings.HasPrefix(name, commitPrefix) || revision.MatchString(name):
		return fmt.Errorf("%w: %q reads as a time, a commit or a revision, not as a label", ErrLabelName, name)
	}
	return nil
}

// SetLabel names the state of a point. Errors wrap [ErrLabel] or [ErrLabelName].
func (d *Database) SetLabel(ctx context.Context, name string, p Point) (Label, error) {
	if err := CheckLabel(name); err != nil {
		return Label{}, err
	}
	l := Label{Name: name, Heads: p.Heads, Time: p.Time, Made: d.n.Now()}
	d.labelling.Lock() // a compaction looks which states must not go
	defer d.labelling.Unlock()
	if _, present := p.Len(); !present {
		var gone error
		if err := d.View(func(r *crdt.Replica) error { gone = d.compacted(r, p); return nil }); err != nil || gone != nil && p.state.IsZero() {
			return Label{}, errors.Join(err, gone)
		}
		if gone != nil {
			l.State = p.state
		}
	} else {
		err := d.View(func(r *crdt.Replica) error {
			l.Heads, l.Time = r.Heads(), 0
			for _, id := range l.Heads {
				c, _ := r.Commit(id)
				l.Time = max(l.Time, c.Time)
			}
			return nil
		})
		if err != nil {
			return Label{}, err
		}
	}
	key, err := d.labelKey(name)
	if err != nil {
		return Label{}, err
	}
	if has, err := d.n.o.Store.Has(key); err != nil || has {
		return Label{}, cmp.Or(err, fmt.Errorf("%w: %q", ErrLabel, name))
	}
	batch := d.n.o.Store.NewBatch()
	if err := d.putLabel(batch, key, l); err != nil {
		return Label{}, err
	}
	return l, d.n.durable(ctx, batch)
}

// putLabel seals a label into a batch.
func (d *Database) putLabel(batch *store.Batch, key []byte, l Label) error {
	gen, ok := d.team.State().WriteGeneration()
	if !ok || !d.n.keys.Has(d.team.id, gen) {
		return fmt.Errorf("%w in team %q", ErrNoKey, d.team.State().Name())
	}
	plain, err := wire.Encode(l)
	if err != nil {
		return err
	}
	b, err := d.sealed(gen, block.KindValue, plain, nil)
	if err == nil {
		batch.Set(key, b.Data)
	}
	return err
}

// DeleteLabel forgets a label; the commits stay. An error wraps [ErrPoint].
func (d *Database) DeleteLabel(ctx context.Context, name string) error {
	d.labelling.Lock()
	defer d.labelling.Unlock()
	l, err := d.Label(name)
	if err != nil {
		return err
	}
	key, err := d.labelKey(name)
	if err != nil {
		return err
	}
	batch := d.n.o.Store.NewBatch()
	batch.Delete(key)
	if !l.State.IsZero() {
		all, err := d.Labels()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(x Label) bool { return x.State == l.State && x.Name != l.Name }) {
			batch.Delete(store.Block(l.State)) // its nodes are collected
		}
	}
	return d.n.durable(ctx, batch)
}

// Label finds a label. An error wraps [ErrPoint].
func (d *Database) Label(name string) (Label, error) {
	key, err := d.labelKey(name)
	if err != nil {
		return Label{}, err
	}
	data, err := d.n.o.Store.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return Label{}, fmt.Errorf("%w: %.80q is no commit, time or label", ErrPoint, name)
	}
	if err != nil {
		return Label{}, err
	}
	return d.openLabel(data)
}

// Labels returns all labels, the oldest state first.
func (d *Database) Labels() (all []Label, err error) {
	for e, err := range d.n.o.Store.Scan(store.Labels(d.id)) {
		if err != nil {
			return nil, err
		}
		l, err := d.openLabel(e.Value)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b Label) int { return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Name, b.Name)) })
	return all, nil
}

func (d *Database) openLabel(data []byte) (Label, error) {
	u, err := block.Parse(slices.Clone(data))
	if err != nil {
		return Label{}, fmt.Errorf("label: %w", err)
	}
	_, plain, err := d.openLinked(u.ID, u.Data())
	if err != nil {
		return Label{}, fmt.Errorf("label: %w", err)
	}
	return wire.Decode[Label](plain, maxLabel)
}
