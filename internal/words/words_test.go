package words

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
	"pgregory.net/rapid"
)

// The list and its order are part of the format: recovery kits on paper depend on
// them.
func TestListIsPinned(t *testing.T) {
	const want = "27e0ddec3962f0e15c15e2466c0ea937cf52c0d6f41d331464d053ff69312084"
	if sum := sha256.Sum256([]byte(text)); hex.EncodeToString(sum[:]) != want {
		t.Errorf("eff_short.txt has SHA-256 %x", sum)
	}
	words := list().words
	shape := regexp.MustCompile(`^[a-z]{3,5}$`)
	for _, w := range words {
		if !shape.MatchString(w) {
			t.Errorf("%q is not a word of three to five letters", w)
		}
	}
	if len(words) != Count || len(list().index) != Count || !slices.IsSorted(words) {
		t.Errorf("%d words, %d different, sorted: %v", len(words), len(list().index), slices.IsSorted(words))
	}
}

func TestWordsAreDigits(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 2, "acid acid"},
		{"00", 1, "acid"},
		{"01", 1, "acorn"},
		{"050f", 2, "acid zoom"},
		{"0510", 2, "acorn acid"}, // the example of the package comment
		{"0510", 1, "acid"},       // the low words only
		{strings.Repeat("ff", 20), 16, "amuse trial chuck malt paper curl dish quilt jeep aging pasta probe rinse rock cage dial"},
	} {
		b, err := hex.DecodeString(c.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(Words(b, c.n), " "); got != c.want {
			t.Errorf("Words(%s, %d) = %s, want %s", c.in, c.n, got, c.want)
		}
		if len(Words(b, c.n)) != c.n {
			t.Errorf("Words(%s, %d) gives %d words", c.in, c.n, len(Words(b, c.n)))
		}
	}
}

func TestBytesIsTheInverseOfWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, "bytes")
		w := Words(b, 16)
		for _, spelling := range [][]string{w, upper(w)} {
			back, err := Bytes(spelling, 20)
			if err != nil || !bytes.Equal(back, b) {
				t.Fatalf("%x became %v became %x, %v", b, spelling, back, err)
			}
		}
	})
}

func upper(in []string) (out []string) {
	for _, w := range in {
		out = append(out, strings.ToUpper(w))
	}
	return out
}

func TestWhatIsNoWord(t *testing.T) {
	for name, in := range map[string][]string{
		"unknown": {"acid", "secretword"}, "empty": {"acid", ""}, "two in one": {"acid acorn"}, "a dash": {"yo-yo"}, "too large": {"zoom", "zoom", "zoom"},
	} {
		if _, err := Bytes(in, 1); !errors.Is(err, ErrWord) || strings.Contains(err.Error(), "secretword") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Golden, checked by an independent implementation of the format.
func TestGoldenFingerprint(t *testing.T) {
	raw, err := hex.DecodeString("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(Fingerprint(block.Device(raw)), " "); got != "tidal vocal jiffy feast drown tart erase curl" {
		t.Errorf("fingerprint %s", got)
	}
	if got := strings.Join(Transcript([32]byte(raw)), " "); got != "tilt cash boast video" {
		t.Errorf("transcript %s", got)
	}
	if slices.Equal(Transcript([32]byte(raw)), Fingerprint(block.Device(raw))[:4]) {
		t.Error("a transcript and a fingerprint share their words")
	}
}

func FuzzBytes(f *testing.F) {
	f.Add("acid zoom")
	f.Add("yolk YOYO Yodel")
	f.Fuzz(func(t *testing.T, text string) {
		in := strings.Fields(text)
		if len(in) > 16 {
			return
		}
		b, err := Bytes(in, 21)
		if err != nil {
			return
		}
		if again, err := Bytes(Words(b, len(in)), 21); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%q is %x is %v", text, b, Words(b, len(in)))
		}
	})
}
