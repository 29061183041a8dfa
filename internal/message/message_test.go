package message

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// The people of these tests: keys from one repeated byte, so that golden bytes
// can be made again by anybody.
func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))
}

func device(seed byte) block.Device { return block.Device(key(seed).Public().(ed25519.PublicKey)) }

func signer(seed byte, p block.Purpose) func([]byte) block.Signature {
	return func(msg []byte) block.Signature {
		sig, err := key(seed).Sign(nil, msg, &ed25519.Options{Hash: crypto.Hash(0), Context: string(p)})
		if err != nil {
			panic(err)
		}
		return block.Signature(sig)
	}
}

func id(b byte) block.ID                     { return block.ID(bytes.Repeat([]byte{b}, 32)) }
func b32(b byte) [32]byte                    { return [32]byte(bytes.Repeat([]byte{b}, 32)) }
func db(b byte) block.DBID                   { return block.DBID(bytes.Repeat([]byte{b}, 16)) }
func team(b byte) block.TeamID               { return block.TeamID(b32(b)) }
func generation(b byte) (g block.Generation) { return block.Generation(b32(b)) }

func boxKey(t testing.TB, seed byte) block.BoxKey {
	t.Helper()
	k, err := device(seed).BoxKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Samples with every field in use.
func sampleAnnouncement() Announcement {
	return Announcement{
		Device: device(1), Counter: 7, Time: 1_700_000_000_000,
		DBs: []DBHeads{
			{DB: db(2), Heads: []block.ID{id(3), id(4)}, Digest: b32(5), Void: b32(6), Checkpoint: id(7)},
			{DB: db(3), Digest: b32(8)},
		},
		Chain:   []block.ID{id(9)},
		Commits: [][]byte{{0xaa}, {0xbb, 0xcc}},
	}
}

func sampleRequest() Request {
	return Request{Teams: []TeamRequest{
		{Team: team(1), Summary: b32(2)},
		{Team: team(2), ChainHeads: []block.ID{id(3)}, DBs: []DBRequest{{DB: db(4), Frontier: []byte{0x80}}, {DB: db(5)}}, Receipts: [][]byte{{1}}},
	}}
}

func sampleResponse() Response {
	return Response{Teams: []TeamResponse{
		{Team: team(1), Equal: true},
		{
			Team: team(2), Summary: b32(1), ChainHeads: []block.ID{id(3)}, Links: [][]byte{{0xaa}}, MoreLinks: true,
			DBs: []DBResponse{{
				DBHeads:  DBHeads{DB: db(4), Heads: []block.ID{id(5)}, Digest: b32(6)},
				Frontier: []byte{0x80}, Lacking: []block.ID{id(9), id(5)}, Inline: [][]byte{{0xbb}}, More: true,
			}},
			Peers: [][]byte{{0xcc}}, Receipts: [][]byte{{0xdd}},
		},
		{Team: team(3), Removed: []byte{0xee}},
	}}
}

// adoptRequest and adoptResponse are of a device that takes a checkpoint.
func adoptRequest() Request {
	return Request{Teams: []TeamRequest{{
		Team: team(2), ChainHeads: []block.ID{id(3)}, DBs: []DBRequest{
			{DB: db(4), Frontier: []byte{0x80}, Adopts: true},
			{DB: db(5), Adopts: true, Rows: &RowsRequest{Checkpoint: id(6), From: 2048}},
			{DB: db(6), Adopts: true, Rows: &RowsRequest{Checkpoint: id(7)}},
		},
	}}}
}

func adoptResponse() Response {
	return Response{Teams: []TeamResponse{{
		Team: team(2), Summary: b32(1), ChainHeads: []block.ID{id(3)}, DBs: []DBResponse{
			{
				DBHeads: DBHeads{DB: db(4), Heads: []block.ID{id(5)}, Digest: b32(6), Checkpoint: id(7)}, Frontier: []byte{0x80},
				Inline: [][]byte{{0xbb}}, Offer: []byte{0xcc}, Rows: []byte{0xdd},
			},
			{DBHeads: DBHeads{DB: db(5), Heads: []block.ID{id(5)}, Digest: b32(6)}, Frontier: []byte{0x80}, Lacking: []block.ID{id(9)}, Floor: true},
		},
	}}}
}

func sampleAnswer(t testing.TB) Answer {
	return Answer{
		Device: device(1), BoxKey: boxKey(t, 1), Name: "bob", DeviceName: "laptop", R: b32(2),
		InviteSig: block.Signature(bytes.Repeat([]byte{3}, 64)), DeviceSig: block.Signature(bytes.Repeat([]byte{4}, 64)),
	}
}

func sampleClaim(t testing.TB) Claim {
	return Claim{
		Team: team(1), Member: device(2), Device: device(1), BoxKey: boxKey(t, 1), Name: "phone",
		Statement: block.Signature(bytes.Repeat([]byte{3}, 64)),
	}
}

func sampleReceipt() Receipt {
	return Receipt{
		Team: team(1), DB: db(2), Actor: block.Actor{Device: device(1), Incarnation: block.Incarnation{9}}.Bytes(),
		Counter: 3, Heads: []block.ID{id(4)}, Chain: []block.ID{id(5)}, Kind: ReceiptApplied, Time: 1_700_000_000_000,
	}
}

func TestFrame(t *testing.T) {
	var buf bytes.Buffer
	for _, msg := range [][]byte{{1}, bytes.Repeat([]byte{2}, 100_000)} {
		if err := Write(&buf, msg); err != nil {
			t.Fatal(err)
		}
	}
	stream := iotest.OneByteReader(&buf)
	for _, want := range []int{1, 100_000} {
		got, err := Read(stream, MaxFrame)
		if err != nil || len(got) != want {
			t.Fatalf("read %d bytes, %v; want %d", len(got), err, want)
		}
	}
	if _, err := Read(stream, MaxFrame); err != io.EOF { //nolint:errorlint // the promise is io.EOF itself
		t.Fatalf("at the end: %v, want io.EOF", err)
	}
}

func TestFrameRefused(t *testing.T) {
	header := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	for name, c := range map[string]struct {
		stream []byte
		limit  int
		want   error
	}{
		"longer than the limit":   {header(11), 10, ErrTooLarge},
		"longer than any frame":   {header(MaxFrame + 1), 1 << 30, ErrTooLarge},
		"largest header":          {header(1<<32 - 1), MaxFrame, ErrTooLarge},
		"empty":                   {header(0), 10, ErrMalformed},
		"ends in the header":      {header(1)[:2], 10, io.ErrUnexpectedEOF},
		"ends before the message": {header(5), 10, io.ErrUnexpectedEOF},
		"ends inside the message": {append(header(5), 1, 2), 10, io.ErrUnexpectedEOF},
	} {
		if _, err := Read(bytes.NewReader(c.stream), c.limit); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := Write(io.Discard, make([]byte, MaxFrame+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("write: %v, want %v", err, ErrTooLarge)
	}
	if err := Write(io.Discard, nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("write nothing: %v, want %v", err, ErrMalformed)
	}
}

// A header that promises 4 MiB and sends ten bytes must not cost 4 MiB.
func TestFrameAllocatesWhatArrives(t *testing.T) {
	stream := append(binary.BigEndian.AppendUint32(nil, MaxFrame), make([]byte, 10)...)
	got := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = Read(bytes.NewReader(stream), MaxFrame)
		}
	})
	if n := got.AllocedBytesPerOp(); n > 64<<10 {
		t.Fatalf("reading 10 bytes of a promised 4 MiB allocated %d bytes", n)
	}
}

func TestAnnouncementSigned(t *testing.T) {
	a := sampleAnnouncement()
	plain, err := a.Sign(team(1), generation(2), signer(1, block.ForAnnounce))
	if err != nil {
		t.Fatal(err)
	}
	u, err := ParseAnnouncement(plain)
	if err != nil {
		t.Fatal(err)
	}
	got, err := u.Verify(team(1), generation(2))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(wire.Must(got), wire.Must(a)) {
		t.Fatalf("got %+v, want %+v", got, a)
	}
	if _, err := u.Verify(team(9), generation(2)); !errors.Is(err, block.ErrSignature) {
		t.Errorf("moved to another team: %v", err)
	}
	if _, err := u.Verify(team(1), generation(9)); !errors.Is(err, block.ErrSignature) {
		t.Errorf("moved to another generation: %v", err)
	}
	forged, err := a.Sign(team(1), generation(2), signer(2, block.ForAnnounce))
	if err != nil {
		t.Fatal(err)
	}
	if u, err := ParseAnnouncement(forged); err != nil {
		t.Fatal(err)
	} else if _, err := u.Verify(team(1), generation(2)); !errors.Is(err, block.ErrSignature) {
		t.Errorf("signed by another device: %v", err)
	}
	other, err := a.Sign(team(1), generation(2), signer(1, block.ForCommit))
	if err != nil {
		t.Fatal(err)
	}
	if u, err := ParseAnnouncement(other); err != nil {
		t.Fatal(err)
	} else if _, err := u.Verify(team(1), generation(2)); !errors.Is(err, block.ErrSignature) {
		t.Errorf("signed for another purpose: %v", err)
	}
}

func TestAnnouncementTooLarge(t *testing.T) {
	a := sampleAnnouncement()
	a.Commits = [][]byte{make([]byte, MaxAnnouncementPlain)}
	if _, err := a.Sign(team(1), generation(2), signer(1, block.ForAnnounce)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("got %v, want %v", err, ErrTooLarge)
	}
	if _, err := WrapAnnouncement(generation(1), make([]byte, MaxAnnouncement-8)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("wrap: %v, want %v", err, ErrTooLarge)
	}
}

func TestAnnouncementWrap(t *testing.T) {
	data, err := WrapAnnouncement(generation(7), []byte("sealed"))
	if err != nil {
		t.Fatal(err)
	}
	hint, sealed, err := UnwrapAnnouncement(data)
	if err != nil || hint != generation(7).Hint() || string(sealed) != "sealed" {
		t.Fatalf("got %x %q %v", hint, sealed, err)
	}
	data[0] = 2
	if _, _, err := UnwrapAnnouncement(data); !errors.Is(err, ErrVersion) {
		t.Errorf("version 2: %v", err)
	}
	if _, _, err := UnwrapAnnouncement(data[:9]); !errors.Is(err, ErrMalformed) {
		t.Errorf("nothing sealed: %v", err)
	}
	if _, _, err := UnwrapAnnouncement(make([]byte, MaxAnnouncement+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

func TestReceiptSigned(t *testing.T) {
	data, err := sampleReceipt().Sign(signer(1, block.ForReceipt))
	if err != nil {
		t.Fatal(err)
	}
	r, err := VerifyReceipt(data)
	if err != nil || r.Counter != 3 || r.Device() != device(1) {
		t.Fatalf("got %+v, %v", r, err)
	}
	for i := range data {
		broken := bytes.Clone(data)
		broken[i] ^= 0x01
		if _, err := VerifyReceipt(broken); err == nil {
			t.Fatalf("byte %d flipped and still accepted", i)
		}
	}
	if _, err := VerifyReceipt(data[:63]); !errors.Is(err, ErrMalformed) {
		t.Errorf("cut short: %v", err)
	}
}

// Equal peers must cost less than 200 bytes in all.
func TestEqualPeersAreCheap(t *testing.T) {
	req, err := Request{Teams: []TeamRequest{{Team: team(1), Summary: b32(2)}}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := Response{Teams: []TeamResponse{{Team: team(1), Equal: true}}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(req) + len(resp) + 8; n >= 200 {
		t.Fatalf("one round between equal peers takes %d bytes", n)
	}
}

func TestSummary(t *testing.T) {
	base := Summary([]block.ID{id(1)}, []DBHeads{{DB: db(1), Heads: []block.ID{id(2)}, Digest: b32(3)}})
	for name, s := range map[string][32]byte{
		"chain":    Summary([]block.ID{id(9)}, []DBHeads{{DB: db(1), Heads: []block.ID{id(2)}, Digest: b32(3)}}),
		"heads":    Summary([]block.ID{id(1)}, []DBHeads{{DB: db(1), Heads: []block.ID{id(9)}, Digest: b32(3)}}),
		"digest":   Summary([]block.ID{id(1)}, []DBHeads{{DB: db(1), Heads: []block.ID{id(2)}, Digest: b32(9)}}),
		"void":     Summary([]block.ID{id(1)}, []DBHeads{{DB: db(1), Heads: []block.ID{id(2)}, Digest: b32(3), Void: b32(1)}}),
		"database": Summary([]block.ID{id(1)}, nil),
	} {
		if s == base {
			t.Errorf("summary does not cover %s", name)
		}
	}
	same := Summary([]block.ID{id(1)}, []DBHeads{{DB: db(1), Heads: []block.ID{id(2)}, Digest: b32(3), Checkpoint: id(7)}})
	if same != base {
		t.Error("summary must not cover checkpoints: every device has its own")
	}
}
