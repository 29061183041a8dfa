package message

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/golden instead of comparing: only for a new version of a format")

// goldens are the frozen bytes of every message, one file each, hex in lines of
// 32 bytes. docs/format.md shows the shortest of them.
func goldens(t testing.TB) map[string][]byte {
	t.Helper()
	must := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return map[string][]byte{
		"announcement": must(sampleAnnouncement().Sign(team(1), generation(2), signer(1, block.ForAnnounce))),
		"wrapped":      must(WrapAnnouncement(generation(7), []byte("sealed"))),
		"request":      must(sampleRequest().Encode()),
		"response":     must(sampleResponse().Encode()),
		"adopting":     must(adoptRequest().Encode()),
		"ground":       must(adoptResponse().Encode()),
		"equal":        must(Response{Teams: []TeamResponse{{Team: team(1), Equal: true}}}.Encode()),
		"offer":        must(Offer{Tag: b32(1), Commit: b32(2)}.Encode()),
		"challenge":    must(Challenge{Nonce: b32(1), Admitter: device(1), Kind: 1, Role: 3}.Encode()),
		"device":       must(Challenge{Nonce: b32(1), Admitter: device(1), Kind: kindDevice}.Encode()),
		"recovery":     must(func() ([]byte, error) { a := sampleAnswer(t); a.Recovery = []byte{0xa0}; return a.Encode() }()),
		"refusal":      must(Challenge{Error: JoinNotFound}.Encode()),
		"answer":       must(sampleAnswer(t).Encode()),
		"result":       must(Result{Team: team(1), Admit: id(2)}.Encode()),
		"failure":      must(Result{Error: JoinUsed, Detail: "all uses are taken"}.Encode()),
		"claim":        must(sampleClaim(t).Encode()),
		"receipt":      must(sampleReceipt().Sign(signer(1, block.ForReceipt))),
		"summary": func() []byte {
			s := Summary([]block.ID{id(1)}, []DBHeads{{DB: db(1), Heads: []block.ID{id(2)}, Digest: b32(3)}})
			return s[:]
		}(),
	}
}

func lines(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		n := min(32, len(b))
		out.WriteString(hex.EncodeToString(b[:n]) + "\n")
		b = b[n:]
	}
	return out.String()
}

func TestGolden(t *testing.T) {
	for name, got := range goldens(t) {
		path := filepath.Join("testdata", "golden", name+".hex")
		if *rewrite {
			if err := os.WriteFile(path, []byte(lines(got)), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if lines(got) != string(want) {
			t.Errorf("%s changed: bytes of a frozen format\ngot\n%swant\n%s", name, lines(got), want)
		}
	}
}

// What was frozen must not only be written but also be read.
func TestGoldenRead(t *testing.T) {
	g := goldens(t)
	again := map[string]func([]byte) ([]byte, error){
		"request":   func(b []byte) ([]byte, error) { m, err := ParseRequest(b); return reencode(m, err) },
		"response":  func(b []byte) ([]byte, error) { m, err := ParseResponse(b); return reencode(m, err) },
		"equal":     func(b []byte) ([]byte, error) { m, err := ParseResponse(b); return reencode(m, err) },
		"adopting":  func(b []byte) ([]byte, error) { m, err := ParseRequest(b); return reencode(m, err) },
		"ground":    func(b []byte) ([]byte, error) { m, err := ParseResponse(b); return reencode(m, err) },
		"offer":     func(b []byte) ([]byte, error) { m, err := ParseOffer(b); return reencode(m, err) },
		"challenge": func(b []byte) ([]byte, error) { m, err := ParseChallenge(b); return reencode(m, err) },
		"refusal":   func(b []byte) ([]byte, error) { m, err := ParseChallenge(b); return reencode(m, err) },
		"answer":    func(b []byte) ([]byte, error) { m, err := ParseAnswer(b); return reencode(m, err) },
		"claim":     func(b []byte) ([]byte, error) { m, err := ParseClaim(b); return reencode(m, err) },
		"device":    func(b []byte) ([]byte, error) { m, err := ParseChallenge(b); return reencode(m, err) },
		"recovery":  func(b []byte) ([]byte, error) { m, err := ParseAnswer(b); return reencode(m, err) },
		"result":    func(b []byte) ([]byte, error) { m, err := ParseResult(b); return reencode(m, err) },
		"failure":   func(b []byte) ([]byte, error) { m, err := ParseResult(b); return reencode(m, err) },
	}
	for name, read := range again {
		got, err := read(g[name])
		if err != nil || !bytes.Equal(got, g[name]) {
			t.Errorf("%s: read and written again: %v\n%s", name, err, lines(got))
		}
	}
	if u, err := ParseAnnouncement(g["announcement"]); err != nil {
		t.Error(err)
	} else if _, err := u.Verify(team(1), generation(2)); err != nil {
		t.Error(err)
	}
	if _, err := VerifyReceipt(g["receipt"]); err != nil {
		t.Error(err)
	}
}

func reencode(m interface{ Encode() ([]byte, error) }, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return m.Encode()
}
