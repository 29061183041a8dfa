package sim

import (
	"encoding/binary"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/message"
)

// lie is what a member does that wants to harm the others.
type lie int

const (
	honest         lie = iota
	silence            // takes every question and never answers
	haveAndSilence     // says what it has and serves no block
	wrongBlocks        // serves other bytes than were asked for
	falseFrontier      // says it is ahead of everybody, and names commits of nobody
	endlessParents     // names new commits with every answer, and more to come
	forgery            // hands out commits in the name of others
	lies
)

func (l lie) String() string {
	return []string{"honest", "silence", "have and silence", "wrong blocks", "false frontier", "endless parents", "forgery"}[l]
}

// nobodys returns ids that no block has.
func (d *device) nobodys(n int) []block.ID {
	ids := make([]block.ID, n)
	for i := range ids {
		binary.BigEndian.PutUint64(ids[i][8:], d.w.rng.Uint64())
	}
	return ids
}

// twist makes a lie of an answer.
func (d *device) twist(q message.TeamRequest, r message.TeamResponse) message.TeamResponse {
	switch d.lie {
	case haveAndSilence, wrongBlocks:
		for i := range r.DBs {
			r.DBs[i].Inline = nil // so that they must be fetched
		}
		return r
	}
	h := d.heads()
	h.Digest[0] ^= 1
	h.Heads = d.nobodys(2)
	slices.SortFunc(h.Heads, func(a, b block.ID) int { return slices.Compare(a[:], b[:]) })
	db := message.DBResponse{DBHeads: h}
	f := crdt.Frontier{{Actor: block.Actor{Device: d.id}, Seq: 1 << 40}}
	db.Frontier = f.Encode()
	switch d.lie {
	case falseFrontier:
		db.Lacking = d.nobodys(3)
	case endlessParents:
		db.Lacking, db.More = d.nobodys(2000), true
	case forgery:
		for _, o := range d.w.devices[:len(d.w.devices)-1] {
			data := d.forge(o)
			db.Lacking, db.Inline = append(db.Lacking, block.Sum(data)), append(db.Inline, data)
		}
	}
	return message.TeamResponse{Team: q.Team, Summary: [32]byte{1}, ChainHeads: d.chain.Heads(), DBs: []message.DBResponse{db}}
}

// forge takes a commit of its own and puts another author's name on it.
func (d *device) forge(as *device) []byte {
	m := d.w.tmpl
	a := crdt.Author{Actor: block.Actor{Device: as.id, Incarnation: block.Incarnation{66}}, Seat: m.seats[as.n], Time: 1, TeamHeads: d.chain.Heads()}
	draft, _, errs := d.rep.Draft(a, [][]crdt.Write{{{Verb: crdt.Put, ID: "forged", Body: crdt.Doc{"by": as.name}}}})
	if errs[0] != nil {
		return []byte{1}
	}
	h := block.Header{
		Kind: block.KindCommit, Team: m.team, DB: m.db, Generation: m.gen, Parents: len(draft.Parents), Links: draft.Parents,
		Author: as.id, Seat: a.Seat,
	}
	return must(block.New(h, draft.Plain, &block.Signature{1})).Data
}
