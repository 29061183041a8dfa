package team

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// CleanName trims a display name, brings it into NFC and checks it; commands call
// it on what a person typed.
func CleanName(s string) (string, error) {
	if len(s) > 16*MaxName { // normalizing is linear, but not for a megabyte
		return "", fmt.Errorf("name is longer than %d bytes", MaxName)
	}
	s = norm.NFC.String(strings.TrimSpace(s))
	if s == "" {
		return "", fmt.Errorf("name is empty")
	}
	return s, checkName(s)
}

// checkName refuses names that are not NFC, too long, or that could repaint a
// terminal or turn the text around them: controls, line and paragraph separators,
// bidirectional overrides. The empty name is "none given".
func checkName(s string) error {
	switch {
	case len(s) > MaxName:
		return fmt.Errorf("name of %d bytes, at most %d", len(s), MaxName)
	case !utf8.ValidString(s):
		return fmt.Errorf("name is not UTF-8")
	case !norm.NFC.IsNormalString(s):
		return fmt.Errorf("name %q is not in normal form C", s)
	}
	for _, r := range s {
		bidi := r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
		if unicode.IsControl(r) || r == 0x2028 || r == 0x2029 || bidi {
			return fmt.Errorf("name %q has the control character %U", s, r)
		}
	}
	return nil
}
