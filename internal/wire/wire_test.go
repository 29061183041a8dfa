package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type point struct {
	X uint64 `cbor:"1,keyasint,omitempty"`
	Y uint64 `cbor:"2,keyasint,omitempty"`
}

// sample has one field of each shape that messages use.
type sample struct {
	Count uint64     `cbor:"1,keyasint,omitempty"`
	Sum   [32]byte   `cbor:"2,keyasint"`
	Text  string     `cbor:"3,keyasint,omitempty"`
	Blob  []byte     `cbor:"4,keyasint,omitempty"`
	IDs   [][32]byte `cbor:"5,keyasint,omitempty"`
	Yes   bool       `cbor:"6,keyasint,omitempty"`
	Delta int64      `cbor:"7,keyasint,omitempty"`
	Inner *point     `cbor:"8,keyasint,omitempty"`
	Pairs []pairOf   `cbor:"9,keyasint,omitempty"`
}

type pairOf struct {
	_ struct{} `cbor:",toarray"`
	A [4]byte
	B uint64
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenBytes(t *testing.T) {
	// The example of the package comment.
	if got := hex.EncodeToString(Must(point{X: 3})); got != "a10103" {
		t.Errorf("point{X: 3} = %s, want a10103", got)
	}
	s := sample{
		Count: 24, Text: "é", Blob: []byte{1}, IDs: [][32]byte{{0xaa}}, Yes: true, Delta: -500,
		Inner: &point{Y: 1}, Pairs: []pairOf{{A: [4]byte{1, 2, 3, 4}, B: 1 << 40}},
	}
	zeros := strings.Repeat("00", 31)
	want := "a9 01 1818 02 5820 00" + zeros + " 03 62c3a9 04 4101 05 81 5820 aa" + zeros +
		" 06 f5 07 3901f3 08 a1 02 01 09 81 82 44 01020304 1b 0000010000000000"
	if got := Must(s); !bytes.Equal(got, unhex(t, want)) {
		t.Errorf("sample = %x\n    want %s", got, strings.ReplaceAll(want, " ", ""))
	}
	back, err := Decode[sample](unhex(t, want), 1000)
	if err != nil || !reflect.DeepEqual(back, s) {
		t.Errorf("decoded %+v, %v", back, err)
	}
}

// Whatever another encoder could have written for the same value is refused.
func TestOnlyTheCanonicalFormIsRead(t *testing.T) {
	for name, in := range map[string]string{
		"integer in two bytes that fits one":    "a1 01 1803",
		"integer in nine bytes that fits one":   "a1 01 1b 0000000000000003",
		"key in two bytes":                      "a1 1801 03",
		"indefinite map":                        "bf 01 03 ff",
		"unsorted keys":                         "a2 02 01 01 01",
		"duplicate key":                         "a2 01 01 01 01",
		"unknown field":                         "a2 01 01 03 01",
		"text key":                              "a1 61 58 03",
		"zero where absence is the form":        "a1 01 00",
		"null field":                            "a1 01 f6",
		"null for the whole":                    "f6",
		"undefined":                             "f7",
		"tagged":                                "d9d9f7 a1 01 03",
		"tagged field":                          "a1 01 c1 03",
		"float for an integer":                  "a1 01 f94200",
		"negative for unsigned":                 "a1 01 22",
		"array for a map":                       "82 01 03",
		"bytes after it":                        "a1 01 03 00",
		"truncated":                             "a1 01",
		"empty input":                           "",
		"map head that lies about its length":   "bb ffffffffffffffff 01 03",
		"array head that lies about its length": "9b ffffffffffffffff",
	} {
		if v, err := Decode[point](unhex(t, in), 100); err == nil {
			t.Errorf("%s: %s read as %+v", name, in, v)
		}
	}
}

// fxamacker/cbor fills [N]byte from shorter and longer byte strings, and from
// arrays of integers, without a word. The re-encoding is what refuses them.
func TestFixedArraysTakeExactlyTheirLength(t *testing.T) {
	type fixed struct {
		Sum [32]byte `cbor:"1,keyasint"`
	}
	whole := append(unhex(t, "a1 01 5820"), bytes.Repeat([]byte{7}, 32)...)
	if v, err := Decode[fixed](whole, 100); err != nil || v.Sum[31] != 7 {
		t.Fatalf("32 bytes: %v %v", v, err)
	}
	for name, in := range map[string][]byte{
		"31 bytes":           append(unhex(t, "a1 01 581f"), bytes.Repeat([]byte{7}, 31)...),
		"33 bytes":           append(unhex(t, "a1 01 5821"), bytes.Repeat([]byte{7}, 33)...),
		"33 bytes, last 0":   append(append(unhex(t, "a1 01 5821"), bytes.Repeat([]byte{7}, 32)...), 0),
		"31 bytes, then 0":   append(append(unhex(t, "a1 01 581f"), bytes.Repeat([]byte{7}, 31)...), 0),
		"no bytes":           unhex(t, "a1 01 40"),
		"absent":             unhex(t, "a0"),
		"null":               unhex(t, "a1 01 f6"),
		"32 integers":        append(unhex(t, "a1 01 9820"), bytes.Repeat([]byte{7}, 32)...),
		"text of 32":         append(unhex(t, "a1 01 7820"), bytes.Repeat([]byte{'a'}, 32)...),
		"in an array, short": append(unhex(t, "81 581f"), bytes.Repeat([]byte{7}, 31)...),
	} {
		if v, err := Decode[fixed](in, 100); err == nil {
			t.Errorf("%s: read as %x", name, v.Sum)
		}
	}
	for _, n := range []int{0, 31, 33} {
		in := append(append([]byte{0x81}, Must(make([]byte, n))...), []byte{}...)
		if v, err := Decode[[][32]byte](in, 100); err == nil {
			t.Errorf("list with %d bytes: read as %x", n, v)
		}
	}
}

func TestArraysInPlaceOfStructsTakeExactlyTheirFields(t *testing.T) {
	for _, in := range []string{"81 44 01020304", "83 44 01020304 01 01", "80", "a0"} {
		if v, err := Decode[pairOf](unhex(t, in), 100); err == nil {
			t.Errorf("%s read as %+v", in, v)
		}
	}
}

func TestBounds(t *testing.T) {
	if _, err := Decode[point]([]byte{0xa1, 1, 3}, 2); !errors.Is(err, ErrTooLong) {
		t.Errorf("3 bytes of at most 2: %v", err)
	}
	deep := func(n int) []byte { return append(bytes.Repeat([]byte{0x81}, n), 0x01) }
	if _, err := Decode[any](deep(MaxDepth-1), 1000); err != nil {
		t.Errorf("depth %d: %v", MaxDepth-1, err)
	}
	if _, err := Decode[any](deep(MaxDepth+1), 1000); err == nil {
		t.Error("too deep, and read")
	}
	list := func(n int) []byte { return Must(make([]uint64, n)) }
	if _, err := Decode[[]uint64](list(MaxItems), 1<<20); err != nil {
		t.Errorf("%d items: %v", MaxItems, err)
	}
	if _, err := Decode[[]uint64](list(MaxItems+1), 1<<20); err == nil {
		t.Error("too many items, and read")
	}
}

func TestWhatHasNoCanonicalFormIsNotWritten(t *testing.T) {
	for name, v := range map[string]any{
		"NaN": math.NaN(), "Inf": math.Inf(1), "channel": make(chan int), "function": func() {}, "big": new(big.Int).Lsh(big.NewInt(1), 80),
	} {
		if b, err := Encode(v); err == nil {
			t.Errorf("%s encoded as %x", name, b)
		}
	}
	for name, in := range map[string]string{"NaN": "f97e00", "Inf": "f97c00", "invalid UTF-8": "61ff", "long float": "fb3ff0000000000000", "bignum": "c249010000000000000000"} {
		if v, err := Decode[any](unhex(t, in), 100); err == nil {
			t.Errorf("%s read as %v", name, v)
		}
	}
}

func TestDecodeFirstReturnsTheRest(t *testing.T) {
	v, rest, err := DecodeFirst[point](unhex(t, "a10103 ff00"))
	if err != nil || v.X != 3 || !bytes.Equal(rest, []byte{0xff, 0}) {
		t.Errorf("%+v %x %v", v, rest, err)
	}
}

func TestMustPanicsOnlyForBrokenInvariants(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Must(NaN) returned")
		}
	}()
	Must(math.NaN())
}

func TestTimeRange(t *testing.T) {
	for at, want := range map[Time]bool{-1: false, 0: false, 1: true, MaxTime - 1: true, MaxTime: false} {
		if at.Valid() != want {
			t.Errorf("Time(%d).Valid() = %v", at, !want)
		}
	}
}

func TestDecodeIsTheInverseOfEncode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := sample{
			Count: rapid.Uint64().Draw(t, "count"), Text: rapid.String().Draw(t, "text"),
			Blob: rapid.SliceOf(rapid.Byte()).Draw(t, "blob"), Yes: rapid.Bool().Draw(t, "yes"), Delta: rapid.Int64().Draw(t, "delta"),
		}
		copy(s.Sum[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "sum"))
		b, err := Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode[sample](b, len(b))
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if again := Must(back); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

// Bytes that are read are the only bytes of their value.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{0xa1, 1, 3})
	f.Add(Must(sample{Count: 1, Text: "x", Inner: &point{X: 1}, Pairs: []pairOf{{B: 2}}}))
	f.Add(Must(map[string]any{"a": []any{int64(1), 1.5, "b", nil, true}}))
	f.Add([]byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		if v, err := Decode[sample](data, 1<<16); err == nil && !bytes.Equal(Must(v), data) {
			t.Fatalf("sample: %x is not canonical", data)
		}
		if v, err := Decode[any](data, 1<<16); err == nil && !bytes.Equal(Must(v), data) {
			t.Fatalf("any: %x is not canonical", data)
		}
	})
}
