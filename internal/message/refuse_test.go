package message

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// Each row breaks one rule of a good message. What a sender may not send, a
// receiver must refuse: both directions are checked.
func TestRefused(t *testing.T) {
	many := make([]block.ID, MaxHeads+1)
	for i := range many {
		many[i][0], many[i][1], many[i][2] = byte(i>>8), byte(i), 1
	}
	announce := func(change func(*Announcement)) checked { a := sampleAnnouncement(); change(&a); return a }
	request := func(change func(*Request)) checked { r := sampleRequest(); change(&r); return r }
	response := func(change func(*Response)) checked { r := sampleResponse(); change(&r); return r }
	ground := func(change func(*Response)) checked { r := adoptResponse(); change(&r); return r }
	answer := func(change func(*Answer)) checked { a := sampleAnswer(t); change(&a); return a }
	receipt := func(change func(*Receipt)) checked { r := sampleReceipt(); change(&r); return r }
	for name, m := range map[string]checked{
		"announcement without device":       announce(func(a *Announcement) { a.Device = block.Device{} }),
		"announcement without counter":      announce(func(a *Announcement) { a.Counter = 0 }),
		"announcement with negative time":   announce(func(a *Announcement) { a.Time = -1 }),
		"announcement beyond time":          announce(func(a *Announcement) { a.Time = wire.MaxTime }),
		"announcement without chain":        announce(func(a *Announcement) { a.Chain = nil }),
		"announcement with doubled heads":   announce(func(a *Announcement) { a.Chain = []block.ID{id(1), id(1)} }),
		"announcement with unsorted heads":  announce(func(a *Announcement) { a.DBs[0].Heads = []block.ID{id(4), id(3)} }),
		"announcement with unsorted dbs":    announce(func(a *Announcement) { a.DBs[0], a.DBs[1] = a.DBs[1], a.DBs[0] }),
		"announcement of database zero":     announce(func(a *Announcement) { a.DBs[0].DB = block.DBID{} }),
		"announcement with an empty commit": announce(func(a *Announcement) { a.Commits[0] = nil }),
		"announcement with too many heads":  announce(func(a *Announcement) { a.DBs[0].Heads = many }),
		"request for nothing":               request(func(r *Request) { r.Teams = nil }),
		"request for team zero":             request(func(r *Request) { r.Teams[0].Team = block.TeamID{} }),
		"request for one team twice":        request(func(r *Request) { r.Teams[1].Team = r.Teams[0].Team }),
		"request that asks nothing":         request(func(r *Request) { r.Teams[0].Summary = [32]byte{} }),
		"request with unsorted dbs":         request(func(r *Request) { r.Teams[1].DBs[1].DB = db(1) }),
		"request for database zero":         request(func(r *Request) { r.Teams[1].DBs[0].DB = block.DBID{} }),
		"request for too many teams":        request(func(r *Request) { r.Teams = make([]TeamRequest, MaxTeams+1) }),
		"request with an empty receipt":     request(func(r *Request) { r.Teams[1].Receipts = [][]byte{nil} }),
		"response equal and with content":   response(func(r *Response) { r.Teams[1].Equal = true }),
		"response removed and with content": response(func(r *Response) { r.Teams[1].Removed = []byte{1} }),
		"response with a large removal":     response(func(r *Response) { r.Teams[2].Removed = make([]byte, MaxLink+1) }),
		"response with unsorted teams":      response(func(r *Response) { r.Teams[0], r.Teams[1] = r.Teams[1], r.Teams[0] }),
		"response with a large link":        response(func(r *Response) { r.Teams[1].Links[0] = make([]byte, MaxLink+1) }),
		"response with too much inline":     response(func(r *Response) { r.Teams[1].DBs[0].Inline[0] = make([]byte, MaxInline+1) }),
		"response with too much lacking":    response(func(r *Response) { r.Teams[1].DBs[0].Lacking = make([]block.ID, MaxLacking+1) }),
		"response with a large peer record": response(func(r *Response) { r.Teams[1].Peers[0] = make([]byte, MaxPeerRecord+1) }),
		"response with too many links":      response(func(r *Response) { r.Teams[1].Links = make([][]byte, MaxLinks+1) }),
		"request for rows of nothing":       Request{Teams: []TeamRequest{{Team: team(1), Summary: b32(1), DBs: []DBRequest{{DB: db(1), Rows: &RowsRequest{}}}}}},
		"response with two checkpoints": ground(func(r *Response) {
			r.Teams[0].DBs[1] = DBResponse{DBHeads: r.Teams[0].DBs[1].DBHeads, Offer: []byte{1}}
		}),
		"response with too many rows":      ground(func(r *Response) { r.Teams[0].DBs[0].Rows = make([]byte, MaxRows+1) }),
		"response with a large checkpoint": ground(func(r *Response) { r.Teams[0].DBs[0].Offer = make([]byte, block.MaxSize+1) }),
		"a checkpoint and what is lacking": ground(func(r *Response) { r.Teams[0].DBs[0].Lacking = []block.ID{id(1)} }),
		"offer without tag":                Offer{Commit: b32(1)},
		"offer without commitment":         Offer{Tag: b32(1)},
		"challenge without nonce":          Challenge{Admitter: device(1), Kind: 1, Role: 3},
		"challenge without role":           Challenge{Nonce: b32(1), Admitter: device(1), Kind: 1},
		"device challenge with a role":     Challenge{Nonce: b32(1), Admitter: device(1), Kind: kindDevice, Role: 3},
		"answer with a large recovery":     answer(func(a *Answer) { a.Recovery = make([]byte, maxRecovery+1) }),
		"challenge by a small-order key":   Challenge{Nonce: b32(1), Admitter: block.Device{1}, Kind: 1, Role: 3},
		"challenge and refusal at once":    Challenge{Nonce: b32(1), Error: JoinBusy},
		"challenge that tells too much":    Challenge{Error: JoinExpired},
		"answer by a small-order key":      answer(func(a *Answer) { a.Device = block.Device{1} }),
		"answer with a low-order box key":  answer(func(a *Answer) { a.BoxKey.Public = make([]byte, 32) }),
		"answer with a box key of no kem":  answer(func(a *Answer) { a.BoxKey.KEM = 1 }),
		"answer with a long name":          answer(func(a *Answer) { a.Name = string(make([]byte, MaxName+1)) }),
		"result with nothing":              Result{},
		"claim of no team":                 func() Claim { c := sampleClaim(t); c.Team = block.TeamID{}; return c }(),
		"claim of no member":               func() Claim { c := sampleClaim(t); c.Member = block.Device{}; return c }(),
		"claim of no device":               func() Claim { c := sampleClaim(t); c.Device = block.Device{}; return c }(),
		"claim without an HPKE key":        func() Claim { c := sampleClaim(t); c.BoxKey = block.BoxKey{}; return c }(),
		"claim with a long name":           func() Claim { c := sampleClaim(t); c.Name = string(make([]byte, MaxName+1)); return c }(),
		"result with team alone":           Result{Team: team(1)},
		"result with link and error":       Result{Team: team(1), Admit: id(1), Error: JoinUsed},
		"result with unknown error":        Result{Error: lastJoinError + 1},
		"result with success and detail":   Result{Team: team(1), Admit: id(1), Detail: "hm"},
		"result with a long detail":        Result{Error: JoinRefused, Detail: string(make([]byte, MaxDetail+1))},
		"receipt without team":             receipt(func(r *Receipt) { r.Team = block.TeamID{} }),
		"receipt without device":           receipt(func(r *Receipt) { r.Actor = [40]byte{39: 1} }),
		"receipt without counter":          receipt(func(r *Receipt) { r.Counter = 0 }),
		"receipt of unknown kind":          receipt(func(r *Receipt) { r.Kind = 3 }),
		"receipt without chain":            receipt(func(r *Receipt) { r.Chain = nil }),
		"receipt with unsorted heads":      receipt(func(r *Receipt) { r.Heads = []block.ID{id(2), id(1)} }),
		"receipt of no time":               receipt(func(r *Receipt) { r.Time = 0 }),
	} {
		if err := encodeAny(m); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: sent: %v, want %v", name, err, ErrMalformed)
		}
		if err := parseAny(m, append([]byte{Version}, wire.Must(m)...)); err == nil {
			t.Errorf("%s: received and believed", name)
		}
	}
}

func encodeAny(m checked) error { _, err := encode(m, MaxFrame*2); return err }

func parseAny(like checked, data []byte) error {
	var err error
	switch like.(type) {
	case Announcement:
		_, err = parse[Announcement](data, MaxFrame*2)
	case Request:
		_, err = ParseRequest(data)
	case Response:
		_, err = ParseResponse(data)
	case Offer:
		_, err = ParseOffer(data)
	case Challenge:
		_, err = ParseChallenge(data)
	case Answer:
		_, err = ParseAnswer(data)
	case Result:
		_, err = ParseResult(data)
	case Claim:
		_, err = ParseClaim(data)
	case Receipt:
		_, err = parse[Receipt](data, MaxFrame)
	}
	return err
}

func TestParseRefusesForms(t *testing.T) {
	good, err := sampleRequest().Encode()
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Clone(good)
	newer[0] = 2
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"empty":               {nil, ErrMalformed},
		"version alone":       {good[:1], ErrMalformed},
		"cut short":           {good[:len(good)-1], ErrMalformed},
		"followed by a byte":  {append(bytes.Clone(good), 0), ErrMalformed},
		"another version":     {newer, ErrVersion},
		"too large":           {make([]byte, MaxFrame+1), ErrTooLarge},
		"another message":     {[]byte{1, 0xa1, 0x18, 0x63, 0x01}, ErrMalformed},
		"indefinite length":   {[]byte{1, 0xbf, 0xff}, ErrMalformed},
		"tagged":              {[]byte{1, 0xc0, 0xa0}, ErrMalformed},
		"long form of 1":      {[]byte{1, 0xa1, 0x18, 0x01, 0x80}, ErrMalformed},
		"too deep":            {[]byte{1, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x80}, ErrMalformed},
		"array of 4 billion":  {[]byte{1, 0x9b, 0, 0, 0, 1, 0, 0, 0, 0}, ErrTooLarge},
		"map of 2^64 - 1":     {append([]byte{1, 0xbb}, bytes.Repeat([]byte{0xff}, 8)...), ErrTooLarge},
		"string of 2^64 - 1":  {append([]byte{1, 0x5b}, bytes.Repeat([]byte{0xff}, 8)...), ErrMalformed},
		"field of wrong type": {[]byte{1, 0xa1, 0x01, 0x01}, ErrMalformed},
	} {
		if _, err := ParseRequest(c.data); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// 4 MiB of one-byte items where structs are expected must not become gigabytes.
func TestScanBoundsItems(t *testing.T) {
	arrays := 60
	body := []byte{0x98, byte(arrays)}
	for range arrays {
		body = append(body, 0x99, 0xff, 0xff)
		body = append(body, bytes.Repeat([]byte{0x01}, 0xffff)...)
	}
	if err := scan(body); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("%d items in %d bytes: %v, want %v", arrays*0xffff, len(body), err, ErrTooLarge)
	}
}

// What a hostile frame makes the decoder allocate is bounded too, by some tens of
// MiB: every array below is declared as structs and filled with one-byte items.
func TestHostileFrameAllocatesLittle(t *testing.T) {
	body := []byte{0xa1, 0x01, 0x82} // response: two teams, each with 65,535 databases that are none
	for range 2 {
		body = append(body, 0xa1, 0x07, 0x99, 0xff, 0xff)
		body = append(body, bytes.Repeat([]byte{0x01}, 0xffff)...)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := ParseResponse(append([]byte{Version}, body...)); !errors.Is(err, ErrMalformed) {
		t.Fatalf("%v, want %v", err, ErrMalformed)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 96<<20 {
		t.Fatalf("%d bytes of a frame made the decoder allocate %d MiB", len(body), n>>20)
	} else {
		t.Logf("%d bytes of a frame, %d MiB allocated", len(body), n>>20)
	}
}
