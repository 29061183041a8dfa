package peering

import (
	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/replicate"
)

// teamView and replicaView are what the decisions of sync see of a ledger.
type teamView struct {
	*ledger.Chain
	l *ledger.Ledger
}

func (t teamView) Replicas() (out []replicate.Replica) {
	for _, d := range t.Databases() {
		out = append(out, replicaView{d})
	}
	return out
}

func (t teamView) Replica(id block.DBID) (replicate.Replica, bool) {
	d := t.l.Database(id)
	return replicaView{d}, d != nil && d.Team() == t.Chain
}

func (t teamView) Stored(id block.ID) ([]byte, error) {
	u, err := t.l.Stored(id)
	if err != nil {
		return nil, err
	}
	return u.Data(), nil
}

type replicaView struct{ *ledger.Database }

func (d replicaView) Standing() message.DBHeads { return d.Heads() }

func (d replicaView) Since(frontier []byte) (ours []byte, lacking []block.ID, err error) {
	theirs, err := crdt.ParseFrontier(frontier)
	if err != nil {
		return nil, nil, err
	}
	err = d.View(func(r *crdt.Replica) error {
		ours, lacking = r.Frontier().Encode(), r.Since(theirs)
		return nil
	})
	return ours, lacking, err
}

func (d replicaView) Below(id block.ID) bool { return d.Database.Below(id) }

func (d replicaView) Weight() replicate.Weight {
	commits, history, state, below := d.Database.Weight()
	return replicate.Weight{Commits: commits, History: history, State: state, Below: below}
}

func (d replicaView) Ground() (replicate.Ground, bool) {
	o, ok := d.Offer()
	return replicate.Ground{ID: o.ID, Block: o.Block, Tips: o.Tips}, ok
}

func (d replicaView) Covers(frontier []byte) bool {
	theirs, err := crdt.ParseFrontier(frontier)
	if err != nil {
		return true
	}
	covered := true
	_ = d.View(func(r *crdt.Replica) error { covered = r.Covers(theirs); return nil })
	return covered
}
