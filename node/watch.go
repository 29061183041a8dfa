package node

import (
	"context"
	"errors"
	"iter"

	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/node/api"
)

// Watch yields the documents there are, then every change as it becomes visible,
// until ctx ends.
func (b *dbDoor) Watch(ctx context.Context) iter.Seq2[api.LiveEvent, error] {
	return func(yield func(api.LiveEvent, error) bool) {
		x := b.d.Mailbox()
		defer x.Close()
		for again := true; again; {
			again = b.watchOnce(ctx, x, yield)
		}
	}
}

// watchOnce runs one round of a watch, from init to its end or to a gap, after
// which it is to be run again.
func (b *dbDoor) watchOnce(ctx context.Context, x *ledger.Mailbox, yield func(api.LiveEvent, error) bool) (again bool) {
	// The mailbox is open before the first read: a change in between is told
	// twice at worst, as init and as change with the same revision, never lost.
	shown := map[string]string{} // id → revision last told
	rows, err := b.rows()
	if err != nil {
		yield(api.LiveEvent{}, err)
		return false
	}
	for _, doc := range rows {
		id, rev := idRev(doc)
		shown[id] = rev
		if !yield(api.LiveEvent{Op: api.OpInit, ID: id, Rev: rev, Doc: api.Doc(doc)}, nil) {
			return false
		}
	}
	if !yield(api.LiveEvent{Op: api.OpReady}, nil) {
		return false
	}
	for {
		select {
		case <-ctx.Done():
			yield(api.LiveEvent{}, api.ErrorOf(ctx.Err()))
			return false
		case <-b.d.Gone():
			yield(api.LiveEvent{}, errClosing())
			return false
		case <-x.Bell:
		}
		ids, gap := x.Take()
		if gap {
			return yield(api.LiveEvent{Op: api.OpGap}, nil)
		}
		for _, id := range ids {
			ev, ok, err := b.event(id, shown)
			if (ok || err != nil) && !yield(ev, err) || err != nil {
				return false
			}
		}
	}
}

// event tells how a document reads now against what was last told of it; ok is
// false if that is the same. What cannot be read was not removed: that is an error.
func (b *dbDoor) event(id string, shown map[string]string) (ev api.LiveEvent, ok bool, err error) {
	var doc crdt.Doc
	var rev string
	err = b.view(func(r *crdt.Replica) error {
		got, meta, err := r.Get(id)
		if doc = got; errors.Is(err, crdt.ErrNotFound) {
			return nil
		}
		rev = meta.Rev
		return err
	})
	before, had := shown[id]
	switch {
	case err != nil, doc == nil && !had, doc != nil && had && before == rev:
		return ev, false, err
	case doc == nil:
		delete(shown, id)
		return api.LiveEvent{Op: api.OpRemove, ID: id}, true, nil
	}
	shown[id] = rev
	op := api.OpChange
	if !had {
		op = api.OpAdd
	}
	return api.LiveEvent{Op: op, ID: id, Rev: rev, Doc: api.Doc(doc)}, true, nil
}

// rows reads all documents at one moment.
func (b *dbDoor) rows() (rows []crdt.Doc, err error) {
	err = b.view(func(r *crdt.Replica) error {
		for doc, err := range r.All(crdt.Range{}) {
			if err != nil {
				return err
			}
			rows = append(rows, doc)
		}
		return nil
	})
	return rows, err
}

// idRev reads the two reserved keys a read document always has.
func idRev(doc crdt.Doc) (id, rev string) {
	id, _ = doc["_id"].(string)
	rev, _ = doc["_rev"].(string)
	return id, rev
}
