package replicate

import (
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/planted"
)

// Team is what a device holds of one team, as far as sync looks at it.
type Team interface {
	Heads() []block.ID                 // of the chain, sorted
	Has(link block.ID) bool            // of the chain
	Since(heads []block.ID) []block.ID // links a holder of heads lacks, parents first
	Summary() [32]byte
	Provisional() bool                     // our join is not confirmed yet
	Replicas() []Replica                   // sorted by database
	Replica(db block.DBID) (Replica, bool) // false: not of this team, or not here
	Stored(id block.ID) ([]byte, error)    // a block's bytes
}

// Replica is a device's copy of one database, as far as sync looks at it.
type Replica interface {
	Has(commit block.ID) bool
	Standing() message.DBHeads
	// Since returns where this replica stands and the commits that a holder of an
	// encoded frontier lacks, in causal order.
	Since(frontier []byte) (ours []byte, lacking []block.ID, err error)
	// Covers reports whether everything an encoded frontier names is here; what
	// cannot be read names nothing.
	Covers(frontier []byte) bool
	// Below reports whether a commit lies below the floor and its block is not here.
	Below(commit block.ID) bool
	// Weight tells what it costs to send all that is here.
	Weight() Weight
	// Ground returns a checkpoint of what is here, or nearly so; false: there is none
	// that would count for others.
	Ground() (Ground, bool)
	// Rows returns a chunk of rows of the graph below a checkpoint that Ground returned,
	// from a place on; nil: it is not known any more, or there are no more.
	Rows(checkpoint block.ID, from uint64) []byte
}

// Room is what is left in one response, over all its teams and databases.
type Room struct {
	Bytes   int // of commits inline
	IDs     int // of commits lacking: a frame holds those of one large database
	Links   int // bytes of links, of each team; one is always sent
	Grounds int // checkpoints or rows: a frame holds those of one; below zero: never
}

// NewRoom returns the room of a response with nothing in it.
func NewRoom() Room {
	return Room{Bytes: message.MaxInline, IDs: message.MaxLacking, Links: message.MaxInlineLinks, Grounds: message.MaxOffers}
}

// NarrowRoom returns the room of a response over a relay, which as a rule ends a
// connection after 128 KiB: what does not arrive whole before that brings nothing.
func NarrowRoom() Room { return Room{Bytes: 32 << 10, IDs: 64, Links: 32 << 10, Grounds: -1} }

// Compares reports whether a request only compares summaries: it names nothing
// that an answer could be measured by. A joiner, who holds nothing at all, has
// nothing to name either, and is answered in full.
func Compares(q message.TeamRequest) bool {
	return len(q.ChainHeads) == 0 && len(q.DBs) == 0 && q.Summary != message.Summary(nil, nil)
}

// Answer says what the asker of q lacks of a team that both are in. Blocks that
// cannot be read end the answer where they stand: what is behind them would have
// no ground, and another device is asked for them.
func Answer(t Team, q message.TeamRequest, left *Room) (message.TeamResponse, error) {
	r := message.TeamResponse{Team: q.Team, Summary: t.Summary()}
	if q.Summary == r.Summary {
		return message.TeamResponse{Team: q.Team, Equal: true}, nil
	}
	if Compares(q) {
		return r, nil
	}
	r.ChainHeads = t.Heads()
	size := 0
	for _, id := range t.Since(q.ChainHeads) {
		data, err := t.Stored(id)
		if err != nil {
			return r, err
		}
		if size += len(data); size > left.Links && len(r.Links) > 0 || len(r.Links) == message.MaxLinks {
			r.MoreLinks = true
			break
		}
		r.Links = append(r.Links, data)
	}
	if r.MoreLinks || t.Provisional() && !planted.Bug("sync-provisional-speaks") {
		return r, nil // chain before data; and nothing of ours before the join is confirmed
	}
	asked := map[block.DBID]message.DBRequest{}
	for _, db := range q.DBs {
		asked[db.DB] = db
	}
	for _, d := range t.Replicas() {
		stands := d.Standing()
		if db, err := answerDB(t, d, stands, asked[stands.DB], left); err == nil {
			r.DBs = append(r.DBs, db)
		}
	}
	return r, nil
}

// answerDB says what a holder of an encoded frontier lacks of one database: a
// checkpoint to begin with if the asker takes one, else commits.
func answerDB(t Team, d Replica, stands message.DBHeads, q message.DBRequest, left *Room) (r message.DBResponse, err error) {
	r.DBHeads = stands
	if ground(t, d, q, left, &r) {
		return r, nil
	}
	if r.Frontier, r.Lacking, err = d.Since(q.Frontier); err != nil {
		return r, err
	}
	r.Floor = len(r.Lacking) > 0 && d.Below(r.Lacking[0])
	if len(r.Lacking) > left.IDs {
		r.Lacking, r.More = r.Lacking[:left.IDs], true
	}
	if n := len(r.Lacking); n > 1 && planted.Bug("sync-last-never-named") {
		r.Lacking = r.Lacking[:n-1]
	}
	left.IDs -= len(r.Lacking)
	for _, id := range r.Lacking {
		data, err := t.Stored(id)
		if err != nil || len(data) > left.Bytes || len(r.Inline) == message.MaxInlineCommits {
			break
		}
		left.Bytes -= len(data)
		r.Inline = append(r.Inline, data)
	}
	return r, nil
}

// Behind reports whether the asker of q knows something of the team that we do not.
func Behind(t Team, q message.TeamRequest) bool {
	if slices.ContainsFunc(q.ChainHeads, func(id block.ID) bool { return !t.Has(id) }) {
		return true
	}
	return slices.ContainsFunc(q.DBs, func(db message.DBRequest) bool {
		d, ok := t.Replica(db.DB)
		return ok && !d.Covers(db.Frontier)
	})
}

// Holds reports whether everything that an announcement names is here.
func Holds(t Team, said message.Announcement) bool {
	for _, id := range said.Chain {
		if !t.Has(id) {
			return false
		}
	}
	for _, h := range said.DBs {
		d, ok := t.Replica(h.DB)
		if !ok {
			return false
		}
		if slices.ContainsFunc(h.Heads, func(id block.ID) bool { return !d.Has(id) }) {
			return false
		}
	}
	return true
}
