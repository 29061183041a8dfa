package vault

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
)

func TestAnswerOpensOnlyForItsChallenge(t *testing.T) {
	if !Sealing {
		t.Skip("built with nosealing: nothing is sealed")
	}
	ann, err := NewIdentity(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	eve, err := NewIdentity(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	nonce, plain := [32]byte{7}, []byte("bob, on his laptop")
	sealed, err := SealAnswer(ann.Device(), nonce, plain)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, plain) {
		t.Fatal("the answer is in clear")
	}
	got, err := ann.OpenAnswer(nonce, sealed)
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("opened to %q, %v", got, err)
	}
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"another device":    func() ([]byte, error) { return eve.OpenAnswer(nonce, sealed) },
		"another challenge": func() ([]byte, error) { return ann.OpenAnswer([32]byte{8}, sealed) },
		"a flipped bit":     func() ([]byte, error) { return ann.OpenAnswer(nonce, flipped) },
		"truncation":        func() ([]byte, error) { return ann.OpenAnswer(nonce, sealed[:20]) },
		"nothing":           func() ([]byte, error) { return ann.OpenAnswer(nonce, nil) },
	} {
		if _, err := open(); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %v, want ErrSealed", name, err)
		}
	}
}

func FuzzOpenAnswer(f *testing.F) {
	ann, err := NewIdentity(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := SealAnswer(ann.Device(), [32]byte{1}, []byte("bob"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, data []byte) {
		plain, err := ann.OpenAnswer([32]byte{1}, data)
		if err == nil && Sealing && !bytes.Equal(plain, []byte("bob")) {
			t.Fatalf("opened forged bytes to %q", plain)
		}
	})
}
