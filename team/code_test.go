package team

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
)

func sampleCodes() map[string]Code {
	full := Code{
		Team: fill[[20]byte](0x21), Invite: fill[block.InviteID](0x51), Seed: fill[[16]byte](0x77), Device: newKey("alice").dev,
		Addrs: [][]byte{{4, 127, 0, 0, 1, 6, 0x10, 0x10}, {4, 192, 168, 1, 7, 0x91, 2, 0x10, 0x10, 0xcc, 3}},
	}
	bare := full
	bare.Addrs = nil
	short := Code{Team: full.Team, Invite: full.Invite, Seed: full.Seed, Short: true}
	return map[string]Code{"full": full, "bare": bare, "short": short}
}

func TestCodeGolden(t *testing.T) {
	var out strings.Builder
	for _, name := range []string{"full", "bare", "short"} {
		out.WriteString(name + " " + sampleCodes()[name].String() + "\n")
	}
	golden(t, "codes.txt", out.String())
	require.Len(t, sampleCodes()["short"].String(), 79)
	require.Less(t, len(sampleCodes()["full"].String()), 170)
}

// T27, and "the same code typed with spaces or in capitals".
func TestCodeForms(t *testing.T) {
	for name, c := range sampleCodes() {
		s := c.String()
		spaced := ""
		for i, r := range strings.ToLower(s) {
			if i%5 == 0 {
				spaced += " - \n"
			}
			spaced += string(r)
		}
		alike := strings.NewReplacer("0", "o", "1", "L").Replace(s)
		for _, form := range []string{s, strings.ToLower(s), spaced, alike, c.Link(), " TOFT:JOIN/" + s + "\n"} {
			got, err := ParseCode(form)
			require.NoError(t, err, "%s: %q", name, form)
			require.Equal(t, c, got)
		}
	}
}

func TestCodeErrors(t *testing.T) {
	for name, c := range sampleCodes() {
		s := c.String()
		for n := 2; n < len(s); n++ { // the first two characters say version and form
			_, err := ParseCode(s[:n])
			require.ErrorIs(t, err, ErrCodeTruncated, "%s cut to %d", name, n)
		}
		mistyped := 0
		for i := range s {
			wrong := byte('7')
			if s[i] == wrong {
				wrong = '8'
			}
			_, err := ParseCode(s[:i] + string(wrong) + s[i+1:])
			require.Error(t, err, "%s with a wrong character %d", name, i)
			if !isTruncated(err) {
				require.ErrorIs(t, err, ErrCodeMistyped, "%s with a wrong character %d", name, i)
				mistyped++
			}
		}
		require.Greater(t, mistyped, len(s)-8, "only the length characters may look cut off")
		_, err := ParseCode(s + "00")
		require.ErrorIs(t, err, ErrCodeMistyped)
	}
	_, err := ParseCode("")
	require.ErrorIs(t, err, ErrCodeTruncated)
	_, err = ParseCode("hello, world?")
	require.ErrorIs(t, err, ErrCodeLetter)
	_, err = ParseCode(strings.Repeat("A", 5000))
	require.ErrorIs(t, err, ErrCodeLetter)

	newer := sampleCodes()["short"].bytes()
	newer[0] = 2
	_, err = ParseCode(encodeChecked(newer))
	require.ErrorIs(t, err, ErrCodeVersion)
}

func isTruncated(err error) bool { return strings.Contains(err.Error(), ErrCodeTruncated.Error()) }

// FuzzCode: a code that parses prints as the same code.
func FuzzCode(f *testing.F) {
	for _, c := range sampleCodes() {
		f.Add(c.String())
		f.Add(c.Link())
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCode(s)
		if err != nil {
			return
		}
		again, err := ParseCode(c.String())
		require.NoError(t, err)
		require.Equal(t, c, again)
	})
}
