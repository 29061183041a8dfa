package message

import (
	"bytes"
	"testing"

	"github.com/toftdb/toft/block"
)

// Whatever is believed must be written again as the very same bytes: there is
// one encoding of each message.
func fuzzRoundTrip[T interface{ Encode() ([]byte, error) }](f *testing.F, parse func([]byte) (T, error), seeds ...string) {
	g := goldens(f)
	for _, s := range seeds {
		f.Add(g[s])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parse(data)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("believed, but not to be sent: %v", err)
		}
		if !bytes.Equal(again, data) {
			t.Fatalf("two encodings of one message:\n%x\n%x", data, again)
		}
	})
}

func FuzzRequest(f *testing.F)   { fuzzRoundTrip(f, ParseRequest, "request", "adopting") }
func FuzzResponse(f *testing.F)  { fuzzRoundTrip(f, ParseResponse, "response", "equal", "ground") }
func FuzzOffer(f *testing.F)     { fuzzRoundTrip(f, ParseOffer, "offer") }
func FuzzChallenge(f *testing.F) { fuzzRoundTrip(f, ParseChallenge, "challenge", "device", "refusal") }
func FuzzAnswer(f *testing.F)    { fuzzRoundTrip(f, ParseAnswer, "answer", "recovery") }
func FuzzClaim(f *testing.F)     { fuzzRoundTrip(f, ParseClaim, "claim") }
func FuzzResult(f *testing.F)    { fuzzRoundTrip(f, ParseResult, "result", "failure") }

func FuzzAnnouncement(f *testing.F) {
	f.Add(goldens(f)["announcement"])
	f.Fuzz(func(t *testing.T, plain []byte) {
		u, err := ParseAnnouncement(plain)
		if err != nil {
			return
		}
		again, err := u.said.Sign(team(1), generation(2), func([]byte) block.Signature { return u.sig })
		if err != nil || !bytes.Equal(again, plain) {
			t.Fatalf("two encodings of one announcement (%v):\n%x\n%x", err, plain, again)
		}
	})
}

func FuzzWrapped(f *testing.F) {
	f.Add(goldens(f)["wrapped"])
	f.Fuzz(func(t *testing.T, data []byte) {
		hint, sealed, err := UnwrapAnnouncement(data)
		if err != nil {
			return
		}
		var gen block.Generation
		copy(gen[:], hint[:])
		if again, err := WrapAnnouncement(gen, sealed); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("wrapped again (%v): %x, was %x", err, again, data)
		}
	})
}

func FuzzReceipt(f *testing.F) {
	f.Add(goldens(f)["receipt"])
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := ParseReceipt(data)
		if err != nil {
			return
		}
		_, _ = VerifyReceipt(data)
		again, err := u.said.Sign(func([]byte) block.Signature { return block.Signature(data[len(data)-64:]) })
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("two encodings of one receipt (%v):\n%x\n%x", err, data, again)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, stream []byte) {
		msg, err := Read(bytes.NewReader(stream), MaxFrame)
		if err != nil {
			return
		}
		var buf bytes.Buffer
		if err := Write(&buf, msg); err != nil || !bytes.HasPrefix(stream, buf.Bytes()) {
			t.Fatalf("frame read and written again (%v): %x, was %x", err, buf.Bytes(), stream)
		}
	})
}
