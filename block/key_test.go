package block_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha512"
	"errors"
	"testing"

	"github.com/toftdb/toft/block"
)

// The eight points of small order in every encoding that decoders accept or might
// accept: de Valence, "It's 255:19AM" (2020), and Chalkias et al., "Taming the
// many EdDSAs" (2020), table 1.
var smallOrder = map[string]string{
	"order 1":                        "0100000000000000000000000000000000000000000000000000000000000000",
	"order 2":                        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"order 4":                        "0000000000000000000000000000000000000000000000000000000000000000",
	"order 4, negative":              "0000000000000000000000000000000000000000000000000000000000000080",
	"order 8":                        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"order 8, negative":              "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"order 8, other":                 "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"order 8, other, negative":       "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"order 1, negative zero":         "0100000000000000000000000000000000000000000000000000000000000080",
	"order 2, negative zero":         "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"order 1, y = p + 1":             "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"order 1, y = p + 1, negative":   "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"order 4, y = p":                 "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"order 4, y = p, negative":       "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"large order, y = p + 3":         "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"not on the curve (y = 2)":       "0200000000000000000000000000000000000000000000000000000000000000",
	"not on the curve, not reduced":  "efffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"all ones":                       "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"large order, y = p + 3, signed": "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

func TestBadDeviceKeysAreRefusedAtEveryEntrance(t *testing.T) {
	for name, text := range smallOrder {
		d := block.Device(unhex(t, text))
		if err := d.Check(); !errors.Is(err, block.ErrKey) {
			t.Errorf("%s: Check: %v", name, err)
		}
		for _, s := range []string{d.String(), d.DID()} {
			if _, err := block.ParseDevice(s); !errors.Is(err, block.ErrKey) {
				t.Errorf("%s: ParseDevice: %v", name, err)
			}
		}
	}
	for range 20 {
		pub, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := block.Device(pub).Check(); err != nil {
			t.Errorf("honest key %x: %v", pub, err)
		}
	}
}

// Why Check exists: Go accepts one signature by a key of order 1 for every message.
func TestGoAcceptsSmallOrderKeys(t *testing.T) {
	identity := block.Device(unhex(t, smallOrder["order 1"]))
	var forged block.Signature // R = identity, s = 0: [s]B = R + [k]A for every k
	forged[0] = 1
	if identity.Verify(block.ForLink, []byte("anything"), forged) != nil || identity.Verify(block.ForLink, []byte("else"), forged) != nil {
		t.Skip("crypto/ed25519 refuses small-order keys by itself now")
	}
	if identity.Check() == nil {
		t.Error("and Check lets it in")
	}
}

// RFC 8032 §7.2, all four Ed25519ctx vectors.
func TestEd25519ctxVectors(t *testing.T) {
	for _, v := range []struct{ name, seed, public, msg, context, sig string }{
		{"foo", "0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6", "dfc9425e4f968f7f0c29f0259cf5f9aed6851c2bb4ad8bfb860cfee0ab248292", "f726936d19c800494e3fdaff20b276a8", "foo", "55a4cc2f70a54e04288c5f4cd1e45a7bb520b36292911876cada7323198dd87a8b36950b95130022907a7fb7c4e9b2d5f6cca685a587b4b21f4b888e4e7edb0d"},
		{"bar", "0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6", "dfc9425e4f968f7f0c29f0259cf5f9aed6851c2bb4ad8bfb860cfee0ab248292", "f726936d19c800494e3fdaff20b276a8", "bar", "fc60d5872fc46b3aa69f8b5b4351d5808f92bcc044606db097abab6dbcb1aee3216c48e8b3b66431b5b186d1d28f8ee15a5ca2df6668346291c2043d4eb3e90d"},
		{"foo2", "0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6", "dfc9425e4f968f7f0c29f0259cf5f9aed6851c2bb4ad8bfb860cfee0ab248292", "508e9e6882b979fea900f62adceaca35", "foo", "8b70c1cc8310e1de20ac53ce28ae6e7207f33c3295e03bb5c0732a1d20dc64908922a8b052cf99b7c4fe107a5abb5b2c4085ae75890d02df26269d8945f84b0b"},
		{"foo3", "ab9c2853ce297ddab85c993b3ae14bcad39b2c682beabc27d6d4eb20711d6560", "0f1d1274943b91415889152e893d80e93275a1fc0b65fd71b4b0dda10ad7d772", "f726936d19c800494e3fdaff20b276a8", "foo", "21655b5f1aa965996b3f97b3c849eafba922a0a62992f73b3d1b73106a84ad85e9b86a7b6005ea868337ff2d20a7f5fbd4cd10b0be49a68da2b2e0dc0ad8960f"},
	} {
		d, msg, sig := block.Device(unhex(t, v.public)), unhex(t, v.msg), block.Signature(unhex(t, v.sig))
		if err := d.Verify(block.Purpose(v.context), msg, sig); err != nil {
			t.Errorf("%s: %v", v.name, err)
		}
		for _, other := range []block.Purpose{"", "fooo", block.ForLink} {
			if err := d.Verify(other, msg, sig); !errors.Is(err, block.ErrSignature) {
				t.Errorf("%s verifies for %q: %v", v.name, other, err)
			}
		}
		key := ed25519.NewKeyFromSeed(unhex(t, v.seed))
		got, err := key.Sign(nil, msg, &ed25519.Options{Hash: crypto.Hash(0), Context: v.context})
		if err != nil || block.Signature(got) != sig {
			t.Errorf("%s: signing gives %x, %v", v.name, got, err)
		}
	}
}

// A signature whose s is not reduced is a second signature for one message.
func TestSignaturesAreNotMalleable(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("message")
	raw, err := key.Sign(nil, msg, &ed25519.Options{Context: string(block.ForCommit)})
	if err != nil {
		t.Fatal(err)
	}
	sig := block.Signature(raw)
	if err := block.Device(pub).Verify(block.ForCommit, msg, sig); err != nil {
		t.Fatal(err)
	}
	// Add the group order L to s, little-endian.
	order := unhex(t, "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	carry := 0
	for i := range order {
		sum := int(sig[32+i]) + int(order[i]) + carry
		sig[32+i], carry = byte(sum), sum>>8
	}
	if err := block.Device(pub).Verify(block.ForCommit, msg, sig); err == nil {
		t.Error("s + L verifies")
	}
}

// X25519 public keys whose shared secret is zero whatever the scalar.
var lowOrderX25519 = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

func TestBoxKeysThatCannotReceiveAreRefused(t *testing.T) {
	private, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	good := private.PublicKey().Bytes()
	if err := (block.BoxKey{KEM: block.KEMHybrid, Public: good}).Check(); err != nil {
		t.Fatalf("honest key: %v", err)
	}
	for _, text := range lowOrderX25519 {
		for _, high := range []byte{0, 0x80} {
			low := unhex(t, text)
			low[31] |= high
			hybrid := append(append([]byte(nil), good[:1184]...), low...)
			for kem, public := range map[block.KEM][]byte{block.KEMX25519: low, block.KEMHybrid: hybrid} {
				if err := (block.BoxKey{KEM: kem, Public: public}).Check(); !errors.Is(err, block.ErrKey) {
					t.Errorf("kem %#x with low-order %x: %v", uint16(kem), low, err)
				}
			}
		}
	}
	notReduced := append([]byte(nil), good...)
	for i := range 384 { // the first ML-KEM polynomial: every coefficient 4,095 ≥ q
		notReduced[i] = 0xff
	}
	for name, k := range map[string]block.BoxKey{
		"zero":            {},
		"unknown kem":     {KEM: 0x0010, Public: good[:65]},
		"short hybrid":    {KEM: block.KEMHybrid, Public: good[:1215]},
		"long hybrid":     {KEM: block.KEMHybrid, Public: append(good[:1216:1216], 0)},
		"short x25519":    {KEM: block.KEMX25519, Public: good[:31]},
		"kem of another":  {KEM: block.KEMX25519, Public: good},
		"ML-KEM overflow": {KEM: block.KEMHybrid, Public: notReduced},
	} {
		if _, err := k.Parse(); !errors.Is(err, block.ErrKey) || !errors.Is(k.Check(), block.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// RFC 8032's secret scalar and the birational map give the two halves of one
// X25519 key pair: what is sealed to a did:key its device can open.
func TestDeviceKeyMapsToX25519(t *testing.T) {
	for range 20 {
		pub, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		mapped, err := block.Device(pub).BoxKey()
		if err != nil {
			t.Fatal(err)
		}
		h := sha512.Sum512(key.Seed())
		private, err := ecdh.X25519().NewPrivateKey(h[:32])
		if err != nil {
			t.Fatal(err)
		}
		want := block.BoxKey{KEM: block.KEMX25519, Public: private.PublicKey().Bytes()}
		if !mapped.Equal(want) {
			t.Fatalf("%x maps to %x, its scalar to %x", pub, mapped.Public, want.Public)
		}
		if err := mapped.Check(); err != nil {
			t.Error(err)
		}
	}
	if _, err := block.Device(unhex(t, smallOrder["not on the curve (y = 2)"])).BoxKey(); !errors.Is(err, block.ErrKey) {
		t.Errorf("a key off the curve maps: %v", err)
	}
}
