package message

import (
	"bytes"
	"crypto/sha256"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// Request asks a member what it has that the asker lacks. Several may follow each
// other on one stream; each gets one [Response].
type Request struct {
	Teams []TeamRequest `cbor:"1,keyasint"` // sorted by team
}

// TeamRequest asks about one team in one of two depths: with Summary alone ("is
// there anything new?"), or with chain heads and frontiers ("what?"). With both,
// the summary is compared first.
type TeamRequest struct {
	Team       block.TeamID `cbor:"1,keyasint"`
	Summary    [32]byte     `cbor:"2,keyasint,omitzero"`  // [Summary] of what the asker holds
	ChainHeads []block.ID   `cbor:"3,keyasint,omitempty"` // sorted
	DBs        []DBRequest  `cbor:"4,keyasint,omitempty"` // sorted by id
	Receipts   [][]byte     `cbor:"5,keyasint,omitempty"` // signed receipts, as in [Receipt.Sign]
}

// DBRequest says how far the asker is in one database.
type DBRequest struct {
	DB       block.DBID `cbor:"1,keyasint"`
	Frontier []byte     `cbor:"2,keyasint,omitempty"` // as in crdt; absent: nothing yet
	// Adopts: the asker takes a checkpoint instead of the commits below it.
	Adopts bool `cbor:"3,keyasint,omitempty"`
	// Rows: it is taking one.
	Rows *RowsRequest `cbor:"4,keyasint,omitempty"`
}

// RowsRequest asks for rows of the graph below a checkpoint that was offered, in the
// order of arrival of the answering peer, from a place on.
type RowsRequest struct {
	Checkpoint block.ID `cbor:"1,keyasint"`
	From       uint64   `cbor:"2,keyasint,omitempty"`
}

// Response answers a [Request]. A team that the answering peer does not serve to
// the asker is left out: unknown and forbidden look the same.
type Response struct {
	Teams []TeamResponse `cbor:"1,keyasint,omitempty"` // sorted by team
}

// TeamResponse answers for one team. Equal stands alone: both hold the same. So
// does Removed: the asker is out, and this link says so.
type TeamResponse struct {
	Team       block.TeamID `cbor:"1,keyasint"`
	Equal      bool         `cbor:"2,keyasint,omitempty"`
	Summary    [32]byte     `cbor:"3,keyasint,omitzero"`
	ChainHeads []block.ID   `cbor:"4,keyasint,omitempty"` // sorted
	Links      [][]byte     `cbor:"5,keyasint,omitempty"` // whole link blocks the asker lacks, parents first
	MoreLinks  bool         `cbor:"6,keyasint,omitempty"` // more links than fit: ask again with the new heads
	DBs        []DBResponse `cbor:"7,keyasint,omitempty"` // sorted by id
	Removed    []byte       `cbor:"8,keyasint,omitempty"` // the link that removed the asker
	Peers      [][]byte     `cbor:"9,keyasint,omitempty"` // signed libp2p peer records of members
	Receipts   [][]byte     `cbor:"10,keyasint,omitempty"`
}

// DBResponse answers for one database: where the answering peer stands (fields 1
// to 5) and what the asker lacks.
type DBResponse struct {
	DBHeads
	Frontier []byte     `cbor:"6,keyasint,omitempty"` // of the answering peer, as in crdt; absent: nothing yet
	Lacking  []block.ID `cbor:"7,keyasint,omitempty"` // commits the asker lacks, causal order
	Inline   [][]byte   `cbor:"8,keyasint,omitempty"` // small ones of these, whole blocks, causal order
	More     bool       `cbor:"9,keyasint,omitempty"` // Lacking is not all: ask again
	// Offer is a checkpoint, a whole block, instead of what is lacking. Inline are the
	// newest commits of its actors, as far as they fit.
	Offer []byte `cbor:"10,keyasint,omitempty"`
	// Rows are a chunk of rows of the graph, as in crdt: from the place asked for on, of
	// an offer the first. None to a question for rows: the checkpoint is not known any
	// more.
	Rows []byte `cbor:"11,keyasint,omitempty"`
	// Floor: some of Lacking lie below the answering peer's floor. Others may have them.
	Floor bool `cbor:"12,keyasint,omitempty"`
}

// Summary returns one hash over all that sync compares of a team: its chain heads
// and, per database, heads, digest and void hash. Equal summaries mean there is
// nothing to exchange; checkpoints are not compared, each device has its own.
// Both arguments must be sorted, as in messages.
func Summary(chain []block.ID, dbs []DBHeads) [32]byte {
	stripped := make([]DBHeads, len(dbs))
	for i, d := range dbs {
		d.Checkpoint = block.ID{}
		stripped[i] = d
	}
	h := sha256.New()
	h.Write([]byte("toft summary"))
	h.Write(wire.Must(TeamState{Chain: chain, DBs: stripped}))
	return [32]byte(h.Sum(nil))
}

// TeamState is what [Summary] hashes.
type TeamState struct {
	Chain []block.ID `cbor:"1,keyasint"`
	DBs   []DBHeads  `cbor:"2,keyasint"`
}

// Encode returns the message in wire form.
func (r Request) Encode() ([]byte, error) { return encode(r, MaxFrame) }

// ParseRequest reads a message of [Request.Encode].
func ParseRequest(data []byte) (Request, error) { return parse[Request](data, MaxFrame) }

// Encode returns the message in wire form.
func (r Response) Encode() ([]byte, error) { return encode(r, MaxFrame) }

// ParseResponse reads a message of [Response.Encode]. Nothing in it is verified:
// blocks are checked by their readers, IDs are wishes.
func ParseResponse(data []byte) (Response, error) { return parse[Response](data, MaxFrame) }

func (r Request) check() error {
	if len(r.Teams) == 0 || len(r.Teams) > MaxTeams {
		return bad("request for %d teams, at least 1 and at most %d", len(r.Teams), MaxTeams)
	}
	for i, t := range r.Teams {
		if i > 0 && bytes.Compare(r.Teams[i-1].Team[:], t.Team[:]) >= 0 {
			return bad("teams not sorted")
		}
		if err := t.check(); err != nil {
			return err
		}
	}
	return nil
}

func (t TeamRequest) check() error {
	if t.Team.IsZero() {
		return bad("team id is zero")
	}
	if t.Summary == [32]byte{} && len(t.ChainHeads) == 0 {
		return bad("team request without summary and heads")
	}
	if len(t.DBs) > MaxDBs {
		return bad("%d databases, at most %d", len(t.DBs), MaxDBs)
	}
	for i, d := range t.DBs {
		if d.DB.IsZero() {
			return bad("database id is zero")
		}
		if i > 0 && bytes.Compare(t.DBs[i-1].DB[:], d.DB[:]) >= 0 {
			return bad("databases not sorted")
		}
		if len(d.Frontier) > MaxFrontier {
			return bad("frontier of %d bytes, at most %d", len(d.Frontier), MaxFrontier)
		}
		if d.Rows != nil && d.Rows.Checkpoint.IsZero() {
			return bad("rows of no checkpoint")
		}
	}
	if err := checkReceipts(t.Receipts); err != nil {
		return err
	}
	return checkSet("chain heads", t.ChainHeads, MaxHeads)
}

func (r Response) check() error {
	if len(r.Teams) > MaxTeams {
		return bad("response for %d teams, at most %d", len(r.Teams), MaxTeams)
	}
	inline, offers := 0, 0
	for i, t := range r.Teams {
		if i > 0 && bytes.Compare(r.Teams[i-1].Team[:], t.Team[:]) >= 0 {
			return bad("teams not sorted")
		}
		n, err := t.check()
		if err != nil {
			return err
		}
		if inline += n; inline > MaxInline {
			return bad("%d bytes of commits inline, at most %d", inline, MaxInline)
		}
		for _, d := range t.DBs {
			if offers += one(len(d.Offer)+len(d.Rows) > 0); offers > MaxOffers {
				return bad("more than %d checkpoints in one response", MaxOffers)
			}
		}
	}
	return nil
}

// check returns how many bytes of commits are inline.
func (t TeamResponse) check() (int, error) {
	if t.Team.IsZero() {
		return 0, bad("team id is zero")
	}
	rest := len(t.Links) + len(t.DBs) + len(t.Peers) + len(t.Receipts) + len(t.ChainHeads)
	if t.Equal && (rest > 0 || t.MoreLinks || len(t.Removed) > 0) {
		return 0, bad("equal, and yet with content")
	}
	if len(t.Removed) > 0 && (rest > 0 || t.MoreLinks) {
		return 0, bad("removed, and yet with content")
	}
	if len(t.Removed) > MaxLink {
		return 0, bad("removal link of %d bytes, at most %d", len(t.Removed), MaxLink)
	}
	if err := checkSet("chain heads", t.ChainHeads, MaxHeads); err != nil {
		return 0, err
	}
	if _, err := checkBlobs("links", t.Links, MaxLinks, MaxLink, MaxInlineLinks); err != nil {
		return 0, err
	}
	if _, err := checkBlobs("peer records", t.Peers, MaxPeers, MaxPeerRecord, MaxPeers*MaxPeerRecord); err != nil {
		return 0, err
	}
	if err := checkReceipts(t.Receipts); err != nil {
		return 0, err
	}
	return checkDBResponses(t.DBs)
}

func checkDBResponses(dbs []DBResponse) (inline int, err error) {
	if len(dbs) > MaxDBs {
		return 0, bad("%d databases, at most %d", len(dbs), MaxDBs)
	}
	for i, d := range dbs {
		if i > 0 && bytes.Compare(dbs[i-1].DB[:], d.DB[:]) >= 0 {
			return 0, bad("databases not sorted")
		}
		if err := d.DBHeads.check(); err != nil {
			return 0, err
		}
		if len(d.Frontier) > MaxFrontier {
			return 0, bad("frontier of %d bytes, at most %d", len(d.Frontier), MaxFrontier)
		}
		if len(d.Lacking) > MaxLacking {
			return 0, bad("%d commits lacking, at most %d", len(d.Lacking), MaxLacking)
		}
		if len(d.Offer) > block.MaxSize || len(d.Rows) > MaxRows {
			return 0, bad("checkpoint of %d bytes with %d bytes of rows", len(d.Offer), len(d.Rows))
		}
		if len(d.Offer)+len(d.Rows) > 0 && (len(d.Lacking) > 0 || d.More) {
			return 0, bad("a checkpoint, and yet what is lacking")
		}
		n, err := checkBlobs("commits", d.Inline, MaxInlineCommits, maxCommit, MaxInline)
		if err != nil {
			return 0, err
		}
		inline += n
	}
	return inline, nil
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}
