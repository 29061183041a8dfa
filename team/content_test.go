package team

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// key is a deterministic device for tests.
type key struct {
	name string
	priv ed25519.PrivateKey
	dev  block.Device
	box  block.BoxKey
}

func newKey(name string) *key {
	seed := sha256.Sum256([]byte("test device " + name))
	k := &key{name: name, priv: ed25519.NewKeyFromSeed(seed[:])}
	k.dev = block.Device(k.priv.Public().(ed25519.PublicKey))
	var err error
	if k.box, err = k.dev.BoxKey(); err != nil {
		panic(err)
	}
	return k
}

func (k *key) sign(p block.Purpose, msg []byte) block.Signature {
	sig, err := k.priv.Sign(nil, msg, &ed25519.Options{Hash: crypto.Hash(0), Context: string(p)})
	if err != nil {
		panic(err)
	}
	return block.Signature(sig)
}

func hybrid(name string) block.BoxKey {
	seed := sha256.Sum256([]byte("test box " + name))
	priv, err := hpke.MLKEM768X25519().NewPrivateKey(seed[:])
	if err != nil {
		panic(err)
	}
	return block.BoxKey{KEM: block.KEMHybrid, Public: priv.PublicKey().Bytes()}
}

func fill[T ~[8]byte | ~[16]byte | ~[20]byte | ~[32]byte](x byte) (v T) {
	b := reflect.ValueOf(&v).Elem()
	for i := range b.Len() {
		b.Index(i).SetUint(uint64(x))
	}
	return v
}

func secret(x byte) block.Secret {
	s, err := block.NewSecret(bytes.Repeat([]byte{x}, 32))
	if err != nil {
		panic(err)
	}
	return s
}

var sampleKeys = Keys{Key: fill[[32]byte](0x11), Route: fill[[32]byte](0x12)}

// samples is at least one link content of every action.
func samples() map[string]Content {
	a, b, inv, rec := newKey("alice"), newKey("bob"), newKey("invitation"), newKey("recovery")
	team := fill[block.TeamID](0x21)
	recovery := &Recovery{Device: rec.dev, BoxKey: rec.box, Statement: rec.sign(block.ForDevice, DeviceStatement(team, b.dev, rec.dev, rec.box))}
	heads := []DBHeads{{DB: fill[block.DBID](0x31), Heads: []block.ID{fill[block.ID](0x41), fill[block.ID](0x42)}}}
	proof := Proof{
		Kind: InviteMember, Role: RoleMember, Team: fill[[20]byte](0x21), Invite: fill[block.InviteID](0x51), Device: b.dev, BoxKey: b.box,
		Name: "bob", DeviceName: "bob's laptop", R: fill[[32]byte](0x61), Nonce: fill[[32]byte](0x62), Admitter: a.dev,
	}
	proof.Commit = Commit(b.dev, b.box, proof.Name, proof.DeviceName, proof.R)
	proof.InviteSig, proof.DeviceSig = inv.sign(block.ForJoin, proof.Signed()), b.sign(block.ForJoin, proof.Signed())
	vouched := *recovery
	vouched.Vouch = b.sign(block.ForDevice, DeviceStatement(team, b.dev, rec.dev, rec.box))
	link := fill[block.ID](0x71)
	return map[string]Content{
		"create":            Create{BoxKey: hybrid("alice"), Key: sampleKeys.Key, Random: fill[[32]byte](0x13)},
		"create-recovery":   Create{BoxKey: a.box, Recovery: &Recovery{Device: rec.dev, BoxKey: rec.box}, Key: sampleKeys.Key, Random: fill[[32]byte](0x13)},
		"invite-member":     Invite{ID: fill[block.InviteID](0x51), Kind: InviteMember, Role: RoleMember, MaxUses: 3, Key: inv.dev, Expires: 1_800_000_000_000},
		"invite-admin":      Invite{ID: fill[block.InviteID](0x51), Kind: InviteMember, Role: RoleAdmin, MaxUses: 1, Key: inv.dev, Bound: b.dev},
		"invite-device":     Invite{ID: fill[block.InviteID](0x52), Kind: InviteDevice, MaxUses: 1, Key: inv.dev},
		"invite-replica":    Invite{ID: fill[block.InviteID](0x53), Kind: InviteReplica, Role: RoleReplica, Key: inv.dev},
		"revoke":            Revoke{Invite: link},
		"admit":             Admit{Invite: link, Device: b.dev, BoxKey: b.box, Proof: proof},
		"add-member":        AddMember{Device: b.dev, Role: RoleReader, Name: "bob"},
		"add-member-all":    AddMember{Device: b.dev, Role: RoleAdmin, BoxKey: b.box, Share: 1, Recovery: &vouched, Name: "bob"},
		"add-device":        AddDevice{Device: b.dev, BoxKey: b.box, Statement: b.sign(block.ForDevice, DeviceStatement(team, a.dev, b.dev, b.box)), Name: "phone"},
		"add-device-own":    AddDevice{Device: b.dev, BoxKey: b.box, Recovery: recovery},
		"set-role":          SetRole{Member: b.dev, Role: RoleAdmin},
		"set-role-reader":   SetRole{Member: b.dev, Role: RoleReader, Heads: heads, Confirms: link},
		"remove-member":     RemoveMember{Removal{Target: b.dev, Heads: heads, Revokes: []block.ID{link}, Keys: &sampleKeys}},
		"remove-member-own": RemoveMember{Removal{Target: b.dev}},
		"remove-device":     RemoveDevice{Removal{Target: b.dev, Heads: heads, Confirms: link}},
		"rotate":            Rotate{Keys: sampleKeys},
		"box":               GiveBoxes{Generation: fill[block.Generation](0x81), Devices: []block.Device{fill[block.Device](1), fill[block.Device](2)}},
		"add-db":            AddDB{DB: fill[block.DBID](0x31), Name: "notes", Secret: secret(0x91)},
		"add-db-moved": AddDB{DB: fill[block.DBID](0x31), Name: "notes", Number: 1, Secret: secret(0x91), Base: &Base{
			Team: team, Heads: []block.ID{fill[block.ID](0x41)}, Checkpoint: fill[block.ID](0x43),
			Keys: []BaseKey{{Generation: fill[block.Generation](0x81), MAC: secret(0x92), Enc: secret(0x93)}},
		}},
		"remove-db":      RemoveDB{DB: fill[block.DBID](0x31), Heads: []block.ID{fill[block.ID](0x41)}},
		"name-team":      Name{Kind: NameTeam, Name: "Spies Я Us"},
		"name-db":        Name{Kind: NameDB, Subject: bytes.Repeat([]byte{0x31}, 16), Name: "notes"},
		"name-member":    Name{Kind: NameMember, Subject: b.dev[:], Name: "bob"},
		"name-device":    Name{Kind: NameDevice, Subject: b.dev[:], Name: "phone"},
		"remove-replica": RemoveReplica{Device: b.dev, Keys: sampleKeys},
		"member-of":      MemberOf{Team: team, Member: b.dev, Addrs: [][]byte{{4, 127, 0, 0, 1, 6, 0x10, 0x10}}, Name: "fam"},
		"member-of-gone": MemberOf{Team: team, Member: b.dev, Gone: true},
	}
}

const sampleTime = wire.Time(1_764_000_000_000)

// TestGoldenLayers pins the bytes of both layers of every action: they are signed
// and stored, and no version may ever write or read them differently.
func TestGoldenLayers(t *testing.T) {
	var out strings.Builder
	seen := map[Action]bool{}
	all := samples()
	for _, name := range sortedKeys(all) {
		c := all[name]
		seen[c.Action()] = true
		l, err := Encode(c, sampleTime)
		require.NoError(t, err, name)
		fmt.Fprintf(&out, "%s\n  roster  %x\n  private %x\n", name, l.Roster, l.Private)
		back, _, err := decodeLayers(l)
		require.NoError(t, err, name)
		require.Equal(t, describe(c), describe(back), name)
	}
	for a := ActCreate; a <= ActMemberOf; a++ {
		require.True(t, seen[a], "no sample of %s", a)
	}
	golden(t, "layers.txt", out.String())
}

// describe prints content with what a receiver cannot know removed, secrets shown.
func describe(c Content) string {
	switch x := c.(type) {
	case Admit:
		x.Proof.Kind, x.Proof.Role, x.Proof.Team, x.Proof.Invite, x.Proof.Admitter = 0, 0, [20]byte{}, block.InviteID{}, block.Device{}
		c = x
	case AddDB:
		s := fmt.Sprintf("%x %x %q %d %v", x.DB, x.Secret.Reveal(), x.Name, x.Number, x.Base != nil)
		if x.Base != nil {
			s += fmt.Sprintf(" %x %x %x", x.Base.Team, x.Base.Heads, x.Base.Checkpoint)
			for _, k := range x.Base.Keys {
				s += fmt.Sprintf(" %x %x %x", k.Generation, k.MAC.Reveal(), k.Enc.Reveal())
			}
		}
		return s
	}
	l := c.layers(sampleTime)
	return fmt.Sprintf("%T %x %x", c, l.Roster, l.Private)
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	path := "testdata/" + file
	if *rewrite {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "golden file %s: go test -rewrite only if no version was ever released", path)
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// TestEncodeRefuses lists contents that must not leave this device.
func TestEncodeRefuses(t *testing.T) {
	s := samples()
	inv, dev := s["invite-member"].(Invite), s["invite-device"].(Invite)
	admin := s["invite-admin"].(Invite)
	rm := s["remove-member"].(RemoveMember)
	for what, c := range map[string]Content{
		"admin without bound device": func() Content { admin.Bound = block.Device{}; return admin }(),
		"device with uses":           func() Content { dev.MaxUses = 2; return dev }(),
		"device with role":           func() Content { dev.MaxUses, dev.Role = 1, RoleMember; return dev }(),
		"member as replica":          func() Content { inv.Role = RoleReplica; return inv }(),
		"small-order invite key":     func() Content { inv.Role, inv.Key = RoleMember, block.Device{}; return inv }(),
		"role out of range":          SetRole{Member: newKey("bob").dev, Role: 5},
		"replica by set-role":        SetRole{Member: newKey("bob").dev, Role: RoleReplica},
		"heads on promotion":         SetRole{Member: newKey("bob").dev, Role: RoleMember, Heads: rm.Heads},
		"confirmation with keys":     RemoveMember{Removal{Target: rm.Target, Keys: rm.Keys, Confirms: fill[block.ID](1)}},
		"revokes not sorted":         RemoveMember{Removal{Target: rm.Target, Revokes: []block.ID{fill[block.ID](2), fill[block.ID](1)}}},
		"name with a control":        Name{Kind: NameTeam, Name: "a\x1b[2J"},
		"name not NFC":               Name{Kind: NameTeam, Name: "e\u0301"},
		"name too long":              Name{Kind: NameTeam, Name: strings.Repeat("x", 65)},
		"name turned around":         Name{Kind: NameTeam, Name: "a\u202eb"},
		"name without subject":       Name{Kind: NameMember, Name: "bob"},
		"database without secret":    AddDB{DB: fill[block.DBID](1)},
		"all-zero box key":           AddDevice{Device: newKey("bob").dev, BoxKey: block.BoxKey{KEM: block.KEMX25519, Public: make([]byte, 32)}},
		"unknown action":             Unknown{Number: 99},
	} {
		_, err := Encode(c, sampleTime)
		require.ErrorIs(t, err, ErrMalformed, what)
	}
	_, err := Encode(s["rotate"], 0)
	require.ErrorIs(t, err, ErrMalformed, "no time")
}

func TestBodyGolden(t *testing.T) {
	b := Body{Roster: []byte{1, 2}, Private: []byte{3}, History: []byte{4}}
	require.Equal(t, "8442010241034104"+"40", hex.EncodeToString(b.Encode()))
	back, err := ParseBody(b.Encode())
	require.NoError(t, err)
	require.Equal(t, b.Encode(), back.Encode())
}

// FuzzLayers: whatever decodes, encodes to the same bytes, and nothing panics.
func FuzzLayers(f *testing.F) {
	for _, c := range samples() {
		l := c.layers(sampleTime)
		f.Add(l.Roster, l.Private, true)
		f.Add(l.Roster, l.Private, false)
	}
	f.Add([]byte{0xa1, 1, 0x18, 99}, []byte{0xa0}, true)
	f.Fuzz(func(t *testing.T, roster, private []byte, member bool) {
		l := Layers{Roster: roster}
		if member {
			l.Private = append([]byte{}, private...)
		}
		c, tm, err := decodeLayers(l)
		if err != nil {
			return
		}
		if _, ok := c.(Unknown); ok {
			return
		}
		again := c.layers(tm)
		require.Equal(t, roster, again.Roster)
		if member && c.Action() != ActCreate {
			require.Equal(t, l.Private, again.Private)
		}
	})
}

func FuzzBody(f *testing.F) {
	f.Add(Body{Roster: []byte("r"), Private: []byte("p"), History: []byte("h"), RouteHistory: []byte("x")}.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, err := ParseBody(data); err == nil {
			require.Equal(t, data, b.Encode())
		}
	})
}
