package team

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/toftdb/toft/internal/wire"
)

// A seed of one's own is a phrase that two people agree on and that travels apart
// from the code, on another way. Whoever reads the private layer of INVITE, or to
// whom a joiner proves, can try phrases against it, each at the cost of an
// Argon2id; so what can be guessed lives shortly, is used once, and is shown to one
// named device only.

const (
	// SeedBits is how much a seed must hold at least not to be called weak.
	SeedBits = 80
	// WeakSeedTime is how long an invitation with a weak seed may live, in ms.
	WeakSeedTime = wire.Time(24 * 60 * 60 * 1000)
	// maxSeedText bounds a phrase as typed, before it is cleaned.
	maxSeedText = 1024
)

// ErrSeed: a phrase that can be no seed, or one that breaks the rules for weak
// ones. Its text never holds the phrase.
var ErrSeed = errors.New("seed of your own")

// CleanSeed brings a phrase into the form that both sides stretch: NFKC, lower
// case, letters and digits only, so that case, spaces, dashes and the keyboard it
// was typed on do not matter.
func CleanSeed(text string) (string, error) {
	if len(text) > maxSeedText {
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrSeed, len(text), maxSeedText)
	}
	clean := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, strings.ToLower(norm.NFKC.String(text)))
	clean = norm.NFC.String(clean) // lower case can take a letter apart
	if clean == "" || len(clean) > maxSeedText {
		return "", fmt.Errorf("%w: it has no letter and no digit, or too many", ErrSeed)
	}
	return clean, nil
}

// SeedStrength estimates how many bits a clean seed holds, rather too low than too
// high: it cannot know a quotation when it sees one. Letters in a row are taken for
// words (1.8 bits each, what lists of dice words hold), single ones and digits for
// random; what repeats or counts on holds nothing.
func SeedStrength(clean string) float64 {
	const word, letter, digit = 1.8, 4.7, 3.3
	rs := []rune(clean)
	bits, run := 0.0, 0
	flush := func() {
		if run > 2 {
			bits += word * float64(run)
		} else {
			bits += letter * float64(run)
		}
		run = 0
	}
	for i, r := range rs {
		switch {
		case foreseen(rs, i):
		case unicode.IsDigit(r):
			flush()
			bits += digit
		default:
			run++
		}
	}
	flush()
	seen := map[rune]bool{}
	for _, r := range rs {
		seen[r] = true
	}
	return math.Min(bits, float64(len(rs))*math.Log2(float64(len(seen))))
}

// foreseen reports whether a character follows from those before it: the third of
// a sequence (abc, 321), or one that stands where a repetition of up to 8 would put
// it.
func foreseen(rs []rune, i int) bool {
	if i >= 2 && rs[i]-rs[i-1] == rs[i-1]-rs[i-2] && rs[i]-rs[i-1] >= -1 && rs[i]-rs[i-1] <= 1 {
		return true
	}
	for p := 1; p <= 8; p++ {
		if i >= p+1 && rs[i] == rs[i-p] && rs[i-1] == rs[i-p-1] {
			return true
		}
	}
	return false
}

// CheckSeed refuses an invitation that a weak seed must not open: it returns an
// [ErrSeed] that says which rule is broken. now is the inviter's clock.
func CheckSeed(clean string, inv Invite, short, allowWeak bool, now wire.Time) error {
	bits := SeedStrength(clean)
	switch {
	case short:
		return fmt.Errorf("%w: a short code names no device, and a seed is proven to a named one only", ErrSeed)
	case bits >= SeedBits:
		return nil
	case !allowWeak:
		return fmt.Errorf("%w: about %.0f bits, less than %d: it can be guessed", ErrSeed, bits, SeedBits)
	case inv.MaxUses != 1:
		return fmt.Errorf("%w: a weak one is good for one use only", ErrSeed)
	case inv.Expires == 0 || inv.Expires > now+WeakSeedTime:
		return fmt.Errorf("%w: a weak one is good for 24 hours at most", ErrSeed)
	}
	return nil
}
