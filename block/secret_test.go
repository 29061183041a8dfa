package block_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// canary is a secret whose bytes are easy to find in any spelling.
const canary = "CANARYCANARYCANARYCANARYCANARYCA"

func leaks(s string) bool {
	spellings := []string{"CANARY", fmt.Sprintf("%x", "CANARY"), fmt.Sprintf("%X", "CANARY"), "67 65 78", "67,65,78", "0x43, 0x41", "Q0FOQVJZ"}
	for _, x := range spellings {
		if strings.Contains(s, x) {
			return true
		}
	}
	return false
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	s, err := block.NewSecret([]byte(canary))
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		Exported block.Secret
		hidden   block.Secret
		list     []block.Secret
		pointer  *block.Secret
	}
	for name, v := range map[string]any{"secret": s, "pointer": &s, "in a struct": holder{s, s, []block.Secret{s}, &s}, "in a map": map[string]block.Secret{"a": s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%c", "%U", "%o"} {
			if out := fmt.Sprintf(verb, v); leaks(out) {
				t.Errorf("%s with %s prints %s", name, verb, out)
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("message", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("message", "v", v)
		if leaks(log.String()) {
			t.Errorf("%s in a log: %s", name, log.String())
		}
		if out, err := json.Marshal(v); err == nil && leaks(string(out)) {
			t.Errorf("%s as JSON: %s", name, out)
		}
		var out bytes.Buffer
		if err := gob.NewEncoder(&out).Encode(v); err == nil && leaks(out.String()) {
			t.Errorf("%s as gob: %q", name, out.String())
		}
		if err := fmt.Errorf("open: %w", errors.New(fmt.Sprint(v))); leaks(err.Error()) {
			t.Errorf("%s in an error: %v", name, err)
		}
	}
	if !leaks(fmt.Sprintf("%v", []byte(canary)[:6])) || !leaks(fmt.Sprintf("%x", canary)) {
		t.Error("this test would not see a leak")
	}
	if s.String() != "REDACTED" || fmt.Sprintf("%#v", s) != "REDACTED" {
		t.Errorf("prints %s", s)
	}
}

func TestSecretTravelsAsBytes(t *testing.T) {
	s, err := block.NewSecret([]byte(canary))
	if err != nil {
		t.Fatal(err)
	}
	b := wire.Must(s)
	if !bytes.Equal(b, append([]byte{0x58, 0x20}, canary...)) {
		t.Errorf("encoded as %x", b)
	}
	back, err := wire.Decode[block.Secret](b, 100)
	if err != nil || !back.Equal(s) || string(back.Reveal()) != canary {
		t.Errorf("decoded: %v", err)
	}
	for _, bad := range [][]byte{b[:33], append(b, 0), {0x40}, append([]byte{0x78, 0x20}, canary...), append([]byte{0x59, 0, 0x20}, canary...), {0xf6}} {
		if _, err := wire.Decode[block.Secret](bad, 100); err == nil {
			t.Errorf("%x was read as a secret", bad)
		}
	}
	b[2] ^= 1
	if back.Reveal()[0] != 'C' {
		t.Error("the secret shares memory with what it was read from")
	}
	back.Reveal()[0] = 'X'
	if !back.Equal(s) {
		t.Error("Reveal gives the secret itself away")
	}
	var zero block.Secret
	if !zero.IsZero() || s.IsZero() || zero.Equal(s) || !bytes.Equal(zero.Reveal(), make([]byte, 32)) {
		t.Error("zero secret")
	}
	if _, err := block.NewSecret([]byte("short")); !errors.Is(err, block.ErrIdentity) {
		t.Errorf("5 bytes: %v", err)
	}
}
