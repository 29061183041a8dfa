package vault

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/toftdb/toft/internal/wire"
	"github.com/zalando/go-keyring"
)

// memRing is an OS keyring in memory.
type memRing map[string]string

func (r memRing) Get(account string) (string, error) {
	if s, ok := r[account]; ok {
		return s, nil
	}
	return "", keyring.ErrNotFound
}
func (r memRing) Set(account, secret string) error { r[account] = secret; return nil }

// brokenRing refuses, or forgets, or garbles.
type brokenRing struct {
	set error
	get string
}

func (r brokenRing) Get(string) (string, error) { return r.get, nil }
func (r brokenRing) Set(string, string) error   { return r.set }

func ringLock(r ring) Lock { return Lock{kind: LockKeyring, ring: r} }

func sameIdentity(a, b *Identity) bool {
	ad, ak, as := a.Recovery()
	bd, bk, bs := b.Recovery()
	return a.Device() == b.Device() && a.BoxKey().Equal(b.BoxKey()) && bytes.Equal(a.PrivateKey(), b.PrivateKey()) &&
		ad == bd && ak.Equal(bk) && bytes.Equal(as.reveal(), bs.reveal())
}

// content is every file of a directory: name → bytes.
func content(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(b)
	}
	return out
}

func TestKeystoreUnderEveryLock(t *testing.T) {
	locks := map[string]Lock{"passphrase": Passphrase([]byte("correct horse")), "OS keyring": ringLock(memRing{}), "key file": KeyFile()}
	for name, lock := range locks {
		dir := filepath.Join(t.TempDir(), "made", "on the way")
		path := filepath.Join(dir, "identity")
		id := identity(t, name)
		if _, err := OpenKeystore(path, lock); !errors.Is(err, ErrNoKeystore) {
			t.Errorf("%s: before: %v", name, err)
		}
		if err := CreateKeystore(path, id, lock); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if kind, err := KeystoreLock(path); kind != lock.kind || err != nil {
			t.Errorf("%s: KeystoreLock = %v, %v", name, kind, err)
		}
		back, err := OpenKeystore(path, lock)
		if err != nil || !sameIdentity(back, id) {
			t.Fatalf("%s: %v", name, err)
		}
		// After `keys export` the seed is gone and the public half stays.
		if err := ReplaceKeystore(path, back.WithoutRecoverySeed(), lock); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		exported, err := OpenKeystore(path, lock)
		if err != nil || !sameIdentity(exported, id.WithoutRecoverySeed()) {
			t.Errorf("%s: after export: %v", name, err)
		}
		// Nobody is made another device by mistake.
		before := content(t, dir)
		if err := ReplaceKeystore(path, identity(t, "somebody else"), lock); !errors.Is(err, ErrKeystoreExists) {
			t.Errorf("%s: replaced by another device: %v", name, err)
		}
		if err := CreateKeystore(path, identity(t, "somebody else"), lock); !errors.Is(err, ErrKeystoreExists) {
			t.Errorf("%s: created again: %v", name, err)
		}
		for other, l := range locks {
			if other != name {
				if _, err := OpenKeystore(path, l); !errors.Is(err, ErrLock) {
					t.Errorf("%s: opened by %s: %v", name, other, err)
				}
			}
		}
		if after := content(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%s: files changed: %d before, %d after", name, len(before), len(after))
		}
		if runtime.GOOS == "windows" {
			continue
		}
		for file := range before {
			info, err := os.Stat(filepath.Join(dir, file))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %s has mode %v, %v", name, file, info.Mode(), err)
			}
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: directory has mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestSecretsAreNotInTheKeystoreFile(t *testing.T) {
	if !Sealing {
		t.Skip("built without sealing")
	}
	dir := t.TempDir()
	id := identity(t, "alice")
	if err := CreateKeystore(filepath.Join(dir, "identity"), id, KeyFile()); err != nil {
		t.Fatal(err)
	}
	_, _, recovery := id.Recovery()
	data := content(t, dir)["identity"]
	for name, secret := range map[string][]byte{"signing seed": id.sign().Seed(), "HPKE seed": id.boxSeeds()[0], "recovery seed": recovery.reveal()} {
		if strings.Contains(data, string(secret)) {
			t.Errorf("%s stands in the file", name)
		}
	}
}

func TestWrongPassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity")
	if err := CreateKeystore(path, identity(t, "alice"), Passphrase([]byte("right"))); err != nil {
		t.Fatal(err)
	}
	before := content(t, filepath.Dir(path))
	for _, wrong := range []string{"wrong", "Right", "right ", "", strings.Repeat("x", maxPassphrase+1)} {
		if _, err := OpenKeystore(path, Passphrase([]byte(wrong))); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%.10q: %v", wrong, err)
		}
	}
	if fmt.Sprint(content(t, filepath.Dir(path))) != fmt.Sprint(before) {
		t.Error("a wrong passphrase changed something")
	}
	for _, bad := range []string{"", strings.Repeat("x", maxPassphrase+1)} {
		if err := CreateKeystore(path+"2", identity(t, "bob"), Passphrase([]byte(bad))); err == nil {
			t.Errorf("created with a passphrase of %d bytes", len(bad))
		}
	}
	if err := CreateKeystore(path+"2", identity(t, "bob"), Lock{}); !errors.Is(err, ErrLock) {
		t.Errorf("no lock: %v", err)
	}
}

// Whatever bit flips, wherever the file ends: "damaged", never a panic, a wrong
// passphrase or another identity; and the file is left as it is.
func TestDamagedKeystore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity")
	if err := CreateKeystore(path, identity(t, "alice"), KeyFile()); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, data []byte) {
		t.Helper()
		if _, _, err := parseKeystore(data); !errors.Is(err, ErrKeystoreDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range good {
		for bit := range 8 {
			flipped := slices.Clone(good)
			flipped[i] ^= 1 << bit
			check(fmt.Sprintf("bit %d of byte %d", bit, i), flipped)
		}
		check(fmt.Sprintf("first %d bytes", i), good[:i])
	}
	check("a byte more", append(slices.Clone(good), 0))
	check("another file", bytes.Repeat([]byte("toft"), 100))
	for what, data := range map[string][]byte{"flipped": append([]byte{1}, good[1:]...), "empty": nil, "huge": make([]byte, maxKeystore+1)} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKeystore(path, KeyFile()); !errors.Is(err, ErrKeystoreDamaged) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := KeystoreLock(path); !errors.Is(err, ErrKeystoreDamaged) {
			t.Errorf("%s: KeystoreLock: %v", what, err)
		}
		if err := CreateKeystore(path, identity(t, "bob"), KeyFile()); !errors.Is(err, ErrKeystoreExists) {
			t.Errorf("%s: created over it: %v", what, err)
		}
		if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, data) {
			t.Errorf("%s: the file changed", what)
		}
	}
	// Not a file at all.
	dir := filepath.Join(t.TempDir(), "identity")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeystore(dir, KeyFile()); err == nil {
		t.Error("a directory was opened")
	}
	if err := CreateKeystore(dir, identity(t, "bob"), KeyFile()); !errors.Is(err, ErrKeystoreExists) {
		t.Errorf("created over a directory: %v", err)
	}
}

// frame puts a keystore together with a right checksum, as an attacker can.
func frame(header any, sealed []byte) []byte {
	data := slices.Concat([]byte(keystoreMagic), wire.Must(header), sealed)
	sum := sha256.Sum256(data)
	return append(data, sum[:]...)
}

func TestKeystoreOfANewerVersion(t *testing.T) {
	type newer struct {
		Version uint64 `cbor:"1,keyasint"`
		Unheard string `cbor:"2,keyasint"`
	}
	for _, v := range []uint64{2, 23, 24, 1 << 40} {
		if _, _, err := parseKeystore(frame(newer{v, "of"}, nil)); !errors.Is(err, ErrKeystoreNewer) {
			t.Errorf("version %d: %v", v, err)
		}
	}
	if _, _, err := parseKeystore(frame(newer{0, "of"}, nil)); !errors.Is(err, ErrKeystoreDamaged) {
		t.Errorf("version 0: %v", err)
	}
}

// What the file says about the cost of its passphrase is bounded before it is
// paid, and cannot be lowered or changed unnoticed.
func TestParametersAreBoundedAndAuthenticated(t *testing.T) {
	salt := make([]byte, saltSize)
	pass := keystoreHeader{Version: 1, Lock: LockPassphrase, Salt: salt, Time: 3, Memory: 64 << 10, Threads: 4, Wrapped: make([]byte, 80)}
	change := func(f func(*keystoreHeader)) keystoreHeader { h := pass; f(&h); return h }
	if _, _, err := parseKeystore(frame(pass, nil)); err != nil {
		t.Fatalf("the plain one: %v", err)
	}
	for name, h := range map[string]keystoreHeader{
		"much memory":        change(func(h *keystoreHeader) { h.Memory = 1<<20 + 1 }),
		"all memory":         change(func(h *keystoreHeader) { h.Memory = 1<<32 - 1 }),
		"little memory":      change(func(h *keystoreHeader) { h.Memory = 64<<10 - 1 }),
		"many passes":        change(func(h *keystoreHeader) { h.Time = 17 }),
		"few passes":         change(func(h *keystoreHeader) { h.Time = 2 }),
		"no lanes":           change(func(h *keystoreHeader) { h.Threads = 0 }),
		"many lanes":         change(func(h *keystoreHeader) { h.Threads = 17 }),
		"nothing wrapped":    change(func(h *keystoreHeader) { h.Wrapped = nil }),
		"much wrapped":       change(func(h *keystoreHeader) { h.Wrapped = make([]byte, 257) }),
		"short salt":         change(func(h *keystoreHeader) { h.Salt = salt[:15] }),
		"lock 0":             change(func(h *keystoreHeader) { h.Lock = 0 }),
		"lock 4":             change(func(h *keystoreHeader) { h.Lock = 4 }),
		"key file with them": change(func(h *keystoreHeader) { h.Lock = LockFile }),
	} {
		if _, _, err := parseKeystore(frame(h, nil)); !errors.Is(err, ErrKeystoreDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}

	path := filepath.Join(t.TempDir(), "identity")
	lock := Passphrase([]byte("right"))
	if err := CreateKeystore(path, identity(t, "alice"), lock); err != nil {
		t.Fatal(err)
	}
	h, sealed, err := readKeystore(path)
	if err != nil {
		t.Fatal(err)
	}
	stronger := h
	stronger.Threads++
	if err := os.WriteFile(path, frame(stronger, sealed), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeystore(path, lock); !errors.Is(err, ErrPassphrase) {
		t.Errorf("other parameters: %v", err)
	}
	sealed[len(sealed)-1] ^= 1
	if err := os.WriteFile(path, frame(h, sealed), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeystore(path, lock); !errors.Is(err, ErrLock) {
		t.Errorf("other content: %v", err)
	}
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "identity")
	id := identity(t, "alice")
	if err := CreateKeystore(path, id, KeyFile()); err != nil {
		t.Fatal(err)
	}
	key := path + ".key"
	good, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "identity")
	if err := CreateKeystore(other, identity(t, "bob"), KeyFile()); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(other + ".key")
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(good)
	flipped[20] ^= 1
	for name, data := range map[string][]byte{"flipped": flipped, "short": good[:len(good)-1], "long": append(good[:len(good):len(good)], 0), "empty": {}, "of another keystore": foreign} {
		if err := os.WriteFile(key, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKeystore(path, KeyFile()); !errors.Is(err, ErrLock) {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadFile(key); err != nil || !bytes.Equal(left, data) {
			t.Errorf("%s: the key file changed", name)
		}
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeystore(path, KeyFile()); !errors.Is(err, ErrLock) {
		t.Errorf("missing: %v", err)
	}
	if err := os.WriteFile(key, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		for _, mode := range []fs.FileMode{0o640, 0o604, 0o660, 0o644} {
			if err := os.Chmod(key, mode); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenKeystore(path, KeyFile()); !errors.Is(err, ErrLock) || !strings.Contains(err.Error(), "chmod 600") {
				t.Errorf("mode %04o: %v", mode, err)
			}
		}
		if err := os.Chmod(key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A crash after the key file and before the keystore: the next start goes on.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := CreateKeystore(path, id, KeyFile()); err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	if left, _ := os.ReadFile(key); !bytes.Equal(left, good) {
		t.Error("the key file was overwritten")
	}
	if back, err := OpenKeystore(path, KeyFile()); err != nil || !sameIdentity(back, id) {
		t.Errorf("after a crash: %v", err)
	}
}

func TestOSKeyring(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity")
	ring := memRing{}
	if err := CreateKeystore(path, identity(t, "alice"), ringLock(ring)); err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]Lock{
		"another keyring": ringLock(memRing{}),
		"garbled entry":   ringLock(brokenRing{get: "zz"}),
		"another key":     ringLock(brokenRing{get: strings.Repeat("ab", 32)}),
	} {
		if _, err := OpenKeystore(path, l); !errors.Is(err, ErrLock) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Where the keyring does not work nothing is created, so that another lock can
	// be tried.
	for name, l := range map[string]Lock{
		"none there":     ringLock(brokenRing{set: errors.New("no such service")}),
		"one forgetting": ringLock(brokenRing{get: ""}),
		"one garbling":   ringLock(brokenRing{get: strings.Repeat("ab", 32)}),
	} {
		if err := CreateKeystore(path+"2", identity(t, "bob"), l); !errors.Is(err, ErrLock) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(path + "2"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a keystore was written", name)
		}
	}
	// The real one, through its mock.
	keyring.MockInit()
	if err := CreateKeystore(path+"3", identity(t, "carol"), OSKeyring()); err != nil {
		t.Fatal(err)
	}
	if back, err := OpenKeystore(path+"3", OSKeyring()); err != nil || back.Device() != identity(t, "carol").Device() {
		t.Errorf("through the mock: %v", err)
	}
}

// Two first starts at once: one makes the identity, the other is told.
func TestOneOfManyCreates(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "identity")
	ids := make([]*Identity, 8)
	for i := range ids {
		ids[i] = identity(t, fmt.Sprint(i))
	}
	errs := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() { errs[i] = CreateKeystore(path, id, KeyFile()) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Errorf("%d and %d both created it", winner, i)
		case !errors.Is(err, ErrKeystoreExists):
			t.Errorf("%d: %v", i, err)
		}
	}
	if winner < 0 {
		t.Fatal("nobody created it")
	}
	if back, err := OpenKeystore(path, KeyFile()); err != nil || !sameIdentity(back, ids[winner]) {
		t.Errorf("the winner's: %v", err)
	}
	if files := content(t, dir); len(files) != 2 {
		t.Errorf("%d files are left, want keystore and key", len(files))
	}
}

// The sealed identity is strict inside too.
func TestStoredIdentityHasOneForm(t *testing.T) {
	id := identity(t, "alice")
	device, key, seed := id.Recovery()
	good := storedIdentity{Sign: id.sign().Seed(), Box: id.boxSeeds(), Seed: seed.reveal(), RecoveryKey: device[:], RecoveryBox: &key}
	if back, err := parseIdentity(wire.Must(good)); err != nil || !sameIdentity(back, id) {
		t.Fatal(err)
	}
	otherBox := identity(t, "bob").BoxKey()
	for name, change := range map[string]func(*storedIdentity){
		"short signing seed":       func(s *storedIdentity) { s.Sign = s.Sign[:31] },
		"no HPKE seed":             func(s *storedIdentity) { s.Box = nil },
		"17 HPKE seeds":            func(s *storedIdentity) { s.Box = slices.Repeat(s.Box, 17) },
		"short recovery seed":      func(s *storedIdentity) { s.Seed = s.Seed[:15] },
		"another recovery seed":    func(s *storedIdentity) { s.Seed = make([]byte, 16) },
		"seed without public half": func(s *storedIdentity) { s.RecoveryKey, s.RecoveryBox = nil, nil },
		"half a public half":       func(s *storedIdentity) { s.RecoveryKey = nil },
		"the other half":           func(s *storedIdentity) { s.RecoveryBox = nil },
		"short public half":        func(s *storedIdentity) { s.RecoveryKey = s.RecoveryKey[:31] },
		"another's box key":        func(s *storedIdentity) { s.RecoveryBox = &otherBox },
	} {
		s := good
		change(&s)
		if _, err := parseIdentity(wire.Must(s)); !errors.Is(err, ErrKeystoreDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
