package block

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/toftdb/toft/internal/wire"
)

// Headers are written by hand, byte for byte as the one encoder would.
func TestHeadersAreWrittenAsTheEncoderWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(n int, name string) []byte {
			if rapid.Bool().Draw(t, name) {
				return make([]byte, n)
			}
			return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, name)
		}
		h := Header{
			Kind: Kind(rapid.Uint8().Draw(t, "kind")), Team: TeamID(some(32, "team")), DB: DBID(some(16, "db")),
			Generation: Generation(some(32, "generation")), Author: Device(some(32, "author")), Seat: ID(some(32, "seat")),
			Parents: rapid.IntRange(0, MaxParents).Draw(t, "parents"), Critical: rapid.Bool().Draw(t, "critical"),
		}
		for range rapid.SampledFrom([]int{0, 1, 2, 23, 24, 300}).Draw(t, "links") {
			h.Links = append(h.Links, ID{byte(len(h.Links))})
		}
		if rapid.Bool().Draw(t, "boxes") {
			h.Boxes = []BoxGroup{{Purpose: BoxGeneration, Commitment: [32]byte{1}}}
		}
		for _, full := range []bool{false, true} {
			if have, want := h.append(nil, full), wire.Must(h.clear(full)); !bytes.Equal(have, want) {
				t.Fatalf("full %v:\n%x\n%x", full, have, want)
			}
		}
	})
}
