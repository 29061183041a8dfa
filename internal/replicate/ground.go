package replicate

import (
	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/planted"
)

// A device that holds nothing of a database need not take its whole history before it
// can show and write anything: it may begin at a checkpoint (the ground), the rows of
// the graph below it, and what came after. One pull of such a device:
//
//	asker                                    answerer
//	adopts, empty frontier             ─▶    weighs; makes a checkpoint if need be
//	                                   ◀─    offer: checkpoint, newest commits, first rows
//	adopts, rows of it from 14,000 on  ─▶
//	                                   ◀─    rows
//	tree by Bitswap, from anybody
//	its frontier now                   ─▶    what came since, as ever
//
// Who asks for rows without adopting wants nothing else: the database is being taken
// from somebody else at the moment.

// Ground is a checkpoint to begin with.
type Ground struct {
	ID    block.ID
	Block []byte
	Tips  []block.ID // the newest commit of every actor below it
}

// Weight is what it costs to send a database, in bytes, roughly.
type Weight struct {
	Commits int
	History int64 // blocks of commits
	State   int64 // nodes of the tree
	Below   bool  // some commits lie below the floor: their blocks are not here
}

// rowCost is about what a row of the graph takes.
const rowCost = 40

// Grounded decides whether a checkpoint goes first. Little is told faster as it is: it
// fits the answer. Else the checkpoint must save a quarter of the bytes, because it
// takes more round trips and the history follows all the same.
func (w Weight) Grounded() bool {
	if w.Below {
		return true // it cannot be had in another way
	}
	return w.History > message.MaxInline && 4*(w.State+rowCost*int64(w.Commits)) <= 3*w.History
}

// ground answers who takes a checkpoint. Done: nothing else is to be told of the
// database.
func ground(t Team, d Replica, q message.DBRequest, left *Room, r *message.DBResponse) (done bool) {
	if left.Grounds < 0 {
		return q.Rows != nil // too narrow for rows: commits, bit by bit
	}
	if q.Rows != nil && left.Grounds > 0 {
		if r.Rows = d.Rows(q.Rows.Checkpoint, q.Rows.From); r.Rows != nil {
			left.Grounds--
			return true
		}
	}
	if !q.Adopts {
		return q.Rows != nil
	}
	if !d.Weight().Grounded() || planted.Bug("sync-no-ground") {
		return false
	}
	if left.Grounds == 0 {
		return true // asked again when the first is done
	}
	g, ok := d.Ground()
	if !ok {
		return false
	}
	left.Grounds--
	r.Offer, r.Rows = g.Block, d.Rows(g.ID, 0)
	for _, id := range g.Tips {
		data, err := t.Stored(id)
		if err != nil || len(data) > left.Bytes || len(r.Inline) == message.MaxInlineCommits {
			break // fetched like any other block
		}
		left.Bytes -= len(data)
		r.Inline = append(r.Inline, data)
	}
	return true
}
