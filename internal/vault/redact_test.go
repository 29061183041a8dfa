package vault

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
)

// spellings are the ways in which Go would print bytes.
func spellings(b []byte) []string {
	list := fmt.Sprint(b[:8])
	goList := fmt.Sprintf("%#v", b[:8])
	return []string{
		string(b[:8]), hex.EncodeToString(b[:8]), strings.ToUpper(hex.EncodeToString(b[:8])),
		strings.Trim(list, "[]"), goList[strings.Index(goList, "{")+1 : len(goList)-1],
		base64.StdEncoding.EncodeToString(b[:9]), base32.StdEncoding.EncodeToString(b[:10]),
		strings.Trim(fmt.Sprintf("%d", b[:4]), "[]") + " ", strings.ReplaceAll(strings.Trim(list, "[]"), " ", ","),
	}
}

// The canary test of the vault: every value that holds a secret, in every way Go
// has to print it, alone and inside somebody's struct.
func TestSecretsAreNeverPrinted(t *testing.T) {
	k := aliceRing(t)
	id := k.id
	_, _, recovery := id.Recovery()
	dbSecret := secret(t, "database")
	if err := k.AddDatabase(DatabaseID(dbSecret), 0, dbSecret); err != nil {
		t.Fatal(err)
	}
	database, err := k.Database(DatabaseID(dbSecret))
	if err != nil {
		t.Fatal(err)
	}
	seed, err := NewSeed(from("invitation seed"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := InviteKey([20]byte{1}, block.InviteID{2}, seed[:])
	if err != nil {
		t.Fatal(err)
	}
	generation, err := k.secret(name{teamA, gen1}, block.BoxGeneration)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Seal(Data, valueHeader(teamA, gen1, db1), []byte("x")); err != nil { // fills caches
		t.Fatal(err)
	}
	passphrase := "my secret passphrase"
	secrets := map[string][]byte{
		"signing seed": id.sign().Seed(), "HPKE seed": id.boxSeeds()[0], "recovery seed": recovery.reveal(), "database secret": dbSecret.Reveal(),
		"invitation seed": seed[:], "invite key": signer.key().Seed(), "generation": generation.Reveal(), "route key": RouteKey(teamA, generation).Reveal(),
		"passphrase": []byte(passphrase), "recovery words": []byte(strings.Join(recovery.Words(), " ")),
	}
	holders := map[string]any{
		"identity": id, "identity by value": *id, "keyring": k, "database": database, "seed": seed, "signer": signer, "signer by value": *signer,
		"recovery seed": recovery, "generation": generation, "lock": Passphrase([]byte(passphrase)), "ring lock": ringLock(memRing{}),
		"identity in a struct":      struct{ x *Identity }{id},
		"identity value in one":     struct{ x Identity }{*id},
		"keyring in a struct":       struct{ x *Keyring }{k},
		"database in a struct":      struct{ x *Database }{database},
		"signer in a struct":        struct{ x *InviteSigner }{signer},
		"signer value in a struct":  struct{ x InviteSigner }{*signer},
		"lock in a struct":          struct{ x Lock }{Passphrase([]byte(passphrase))},
		"recovery seed in a struct": struct{ x RecoverySeed }{recovery},
		"all in an exported struct": struct {
			A *Identity
			B Lock
			C RecoverySeed
			D Seed
			E block.Secret
		}{id, Passphrase([]byte(passphrase)), recovery, seed, generation},
		"list": []any{id, k, seed}, "map": map[string]any{"a": id, "b": recovery},
	}
	printed := 0
	for holder, v := range holders {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "% x", "%X", "%d", "%t", "%c", "%U", "%o", "%b", "%e", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("message", "v", v, slog.Group("g", "v", v))
		slog.New(slog.NewJSONHandler(&out, nil)).Info("message", "v", v, slog.Group("g", "v", v))
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		} else {
			fmt.Fprintln(&out, err)
		}
		_ = gob.NewEncoder(&out).Encode(v)
		fmt.Fprintln(&out, fmt.Errorf("failed with %v: %w", v, fmt.Errorf("%s", v)))
		func() {
			defer func() { fmt.Fprintln(&out, recover()) }()
			panic(v)
		}()
		printed += out.Len()
		for name, secret := range secrets {
			for _, s := range spellings(secret) {
				if strings.Contains(out.String(), s) {
					t.Errorf("%s shows its %s as %q", holder, name, s)
				}
			}
		}
	}
	if printed < 1000 {
		t.Errorf("only %d bytes were printed", printed)
	}
	// The test sees what it looks for.
	for _, verb := range []string{"%s", "%x", "%X", "%d", "%#v", "%v"} {
		found := false
		for _, s := range spellings(secrets["HPKE seed"]) {
			found = found || strings.Contains(fmt.Sprintf(verb, secrets["HPKE seed"]), s)
		}
		if !found {
			t.Errorf("a leak by %s would not be seen", verb)
		}
	}
}

// Errors name keys and never show them.
func TestErrorsShowNoSecrets(t *testing.T) {
	k := aliceRing(t)
	other := secret(t, "other key")
	_, words := ParseRecovery(strings.Fields(strings.Repeat("hunter2 ", 16)))
	for _, err := range []error{
		k.Add(teamA, gen1, other),
		k.AddDatabase(db1, 0, other),
		words,
	} {
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
		for _, s := range spellings(other.Reveal()) {
			if strings.Contains(err.Error(), s) {
				t.Errorf("%v", err)
			}
		}
	}
}
