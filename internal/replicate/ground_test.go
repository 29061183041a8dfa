package replicate

import (
	"errors"
	"slices"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/message"
)

// library is a device with one database, as far as an answer looks at it.
type library struct {
	weight  Weight
	ground  *Ground
	rows    map[block.ID]int // how many rows lie below
	commits []block.ID
	below   int // of commits
}

func (l *library) Heads() []block.ID                  { return []block.ID{{1}} }
func (l *library) Since([]block.ID) []block.ID        { return nil }
func (l *library) Summary() [32]byte                  { return [32]byte{9} }
func (l *library) Provisional() bool                  { return false }
func (l *library) Replicas() []Replica                { return []Replica{shelf{l}} }
func (l *library) Has(block.ID) bool                  { return true }
func (l *library) Replica(block.DBID) (Replica, bool) { return shelf{l}, true }
func (l *library) Stored(id block.ID) ([]byte, error) {
	if id == lost {
		return nil, errors.New("not here")
	}
	return id[:1], nil
}

var lost = block.ID{0xee}

type shelf struct{ l *library }

func (s shelf) Has(block.ID) bool         { return true }
func (s shelf) Standing() message.DBHeads { return message.DBHeads{DB: block.DBID{1}} }
func (s shelf) Since([]byte) ([]byte, []block.ID, error) {
	return []byte{0x80}, s.l.commits, nil
}
func (s shelf) Covers([]byte) bool { return true }
func (s shelf) Below(id block.ID) bool {
	return slices.Index(s.l.commits, id) < s.l.below
}
func (s shelf) Weight() Weight { return s.l.weight }
func (s shelf) Ground() (Ground, bool) {
	if s.l.ground == nil {
		return Ground{}, false
	}
	return *s.l.ground, true
}
func (s shelf) Rows(id block.ID, from uint64) []byte {
	if int(from) >= s.l.rows[id] {
		return nil
	}
	return []byte{byte(from)}
}

// What a device that takes a checkpoint is answered.
func TestGroundFirst(t *testing.T) {
	cp := block.ID{7}
	full := func() *library {
		return &library{
			weight: Weight{Commits: 1000, History: 700_000, State: 330_000},
			ground: &Ground{ID: cp, Block: []byte("checkpoint"), Tips: []block.ID{{3}, lost, {4}}},
			rows:   map[block.ID]int{cp: 3}, commits: []block.ID{{3}, {4}},
		}
	}
	light, readers, compacted := full(), full(), full()
	light.weight.State = 600_000
	readers.ground = nil
	compacted.weight, compacted.below = Weight{Below: true}, 1
	rows := func(id block.ID, from uint64) *message.RowsRequest {
		return &message.RowsRequest{Checkpoint: id, From: from}
	}
	for name, x := range map[string]struct {
		l    *library
		q    message.DBRequest
		want string // of offer, rows, lacking
	}{
		"who does not adopt is told commits":              {full(), message.DBRequest{}, "lacking"},
		"a checkpoint goes first":                         {full(), message.DBRequest{Adopts: true}, "offer rows"},
		"it would save too little":                        {light, message.DBRequest{Adopts: true}, "lacking"},
		"none that counts":                                {readers, message.DBRequest{Adopts: true}, "lacking"},
		"a history that is gone":                          {compacted, message.DBRequest{Adopts: true}, "offer rows"},
		"a history that is gone, of who has some":         {compacted, message.DBRequest{}, "lacking floor"},
		"the next rows":                                   {full(), message.DBRequest{Adopts: true, Rows: rows(cp, 2)}, "rows"},
		"no more rows: the checkpoint again":              {full(), message.DBRequest{Adopts: true, Rows: rows(cp, 3)}, "offer rows"},
		"rows of what is not known: another checkpoint":   {full(), message.DBRequest{Adopts: true, Rows: rows(block.ID{8}, 2)}, "offer rows"},
		"who takes it from somebody else is told nothing": {full(), message.DBRequest{Rows: rows(block.ID{1}, 1)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			room := NewRoom()
			x.q.DB = block.DBID{1}
			r, err := Answer(x.l, message.TeamRequest{ChainHeads: []block.ID{{1}}, DBs: []message.DBRequest{x.q}}, &room)
			if err != nil || len(r.DBs) != 1 {
				t.Fatalf("%v, %d databases", err, len(r.DBs))
			}
			if got := says(r.DBs[0]); got != x.want {
				t.Errorf("told %q, want %q", got, x.want)
			}
			if len(r.DBs[0].Offer) > 0 && len(r.DBs[0].Inline) != 1 {
				t.Errorf("%d newest commits inline; what cannot be read ends them", len(r.DBs[0].Inline))
			}
		})
	}
	// One frame holds one: the second is asked for again.
	room := NewRoom()
	for i, want := range []string{"offer rows", ""} {
		r, err := answerDB(full(), shelf{full()}, message.DBHeads{}, message.DBRequest{Adopts: true}, &room)
		if got := says(r); err != nil || got != want {
			t.Errorf("answer %d told %q, %v", i, got, err)
		}
	}
}

func says(r message.DBResponse) (what string) {
	for _, x := range []struct {
		there bool
		name  string
	}{{len(r.Offer) > 0, "offer "}, {len(r.Rows) > 0, "rows "}, {len(r.Lacking) > 0, "lacking "}, {r.Floor, "floor "}} {
		if x.there {
			what += x.name
		}
	}
	return what[:max(len(what)-1, 0)]
}
