package vault

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/internal/words"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/vectors.txt anew: only for a new version of the format")

// The inputs of the golden vectors, as docs/format.md names them.
func count(from byte, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = from + byte(i)
	}
	return out
}

func goldenSecret(b byte) block.Secret { return secretOf([32]byte(bytes.Repeat([]byte{b}, 32))) }

var (
	goldenTeam  = block.TeamID(count(0x10, 32))
	goldenGen   = block.Generation(count(0x40, 32))
	goldenLink  = block.ID(count(0x60, 32))
	goldenGroup = block.Generation(count(0x80, 32))
)

// vector is one line of testdata/vectors.txt: "name: value", value in hex unless
// the name says text.
type vector struct{ name, value string }

type vectors []vector

func (v *vectors) hex(name string, b []byte)  { *v = append(*v, vector{name, hex.EncodeToString(b)}) }
func (v *vectors) text(name string, s string) { *v = append(*v, vector{name + " (text)", s}) }

// vectorsNow computes every vector that does not depend on fresh randomness.
func vectorsNow(t *testing.T) vectors {
	var v vectors
	id, err := NewIdentity(bytes.NewReader(count(0, 80)))
	if err != nil {
		t.Fatal(err)
	}
	v.hex("identity: device", fix(id.Device()))
	v.hex("identity: SHA-256 of the HPKE key", sha(id.BoxKey().Public))
	did, err := id.Device().BoxKey()
	if err != nil {
		t.Fatal(err)
	}
	v.hex("identity: X25519 key of the did:key", did.Public)
	device, key, seed := id.Recovery()
	v.hex("recovery: device", fix(device))
	v.hex("recovery: SHA-256 of the HPKE key", sha(key.Public))
	v.text("recovery: words", strings.Join(seed.Words(), " "))
	v.text("fingerprint", strings.Join(words.Fingerprint(id.Device()), " "))
	sig := id.Sign(block.ForCommit, []byte("message"))
	v.hex("signature: commit", sig[:])

	s := goldenSecret(0x22)
	route := RouteKey(goldenTeam, s)
	v.hex("generation: commit", fix(Commitment(s)))
	v.hex("generation: route", route.Reveal())
	v.hex("generation: route-commit", fix(RouteCommitment(route)))
	for _, l := range []label{labelPrivateMAC, labelPrivateEnc, labelHistoryMAC, labelHistoryEnc} {
		v.hex("generation: "+string(l), fix(derive(s.Reveal(), goldenTeam[:], l)))
	}
	dbSecret := goldenSecret(0x33)
	db := DatabaseID(dbSecret)
	for _, l := range []label{labelDBMAC, labelDBEnc} {
		v.hex("generation: "+string(l), fix(derive(s.Reveal(), goldenTeam[:], l, db[:])))
	}
	for _, l := range []label{labelRosterMAC, labelRosterEnc, labelAnnounceMAC, labelAnnounceEnc, labelRouteHistoryMAC, labelRouteHistoryEnc, labelTopic, labelRendezvous, labelMDNS} {
		v.hex("route: "+string(l), fix(derive(route.Reveal(), goldenTeam[:], l)))
	}
	v.hex("database: id", db[:])
	for _, l := range []label{labelTreeShape, labelNodeHash, labelValueHash, labelDigest} {
		v.hex("database: "+string(l), fix(derive(dbSecret.Reveal(), db[:], l)))
	}
	d := newDatabase(db, dbSecret)
	stream := d.Expand([]byte("entry"))
	v.hex("database: first 32 bytes of the expansion of entry", stream[:32])
	v.hex("database: SHA-256 of the expansion of entry", sha(stream[:]))
	v.hex("database: shape of key", fix(d.Shape([]byte("key"))))
	v.hex("database: node hash of node", fix(d.NodeHash([]byte("node"))))
	v.hex("database: value hash of value", fix(d.ValueHash([]byte("value"))))

	k := NewKeyring(id)
	if err := k.Add(goldenTeam, goldenGen, s); err != nil {
		t.Fatal(err)
	}
	value := valueHeader(goldenTeam, goldenGen, db)
	link := block.Header{Kind: block.KindLink, Team: goldenTeam, Generation: goldenGen, Parents: 1, Links: []block.ID{goldenLink}, Author: id.Device(), Seat: goldenLink}
	seal := func(name string, l Layer, h block.Header, plain string) {
		body, err := k.Seal(l, h, []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		v.hex(name, body)
	}
	v.hex("seal: A of the value", value.Authenticated())
	seal("seal: value of nothing", Data, value, "")
	seal("seal: value of hello", Data, value, "hello")
	v.hex("seal: A of the link", link.Authenticated())
	seal("seal: roster of hello", Roster, link, "hello")
	seal("seal: private of hello", Private, link, "hello")
	next := goldenSecret(0x44)
	history, routes, err := k.SealHistory(next, link, []block.Generation{goldenGen})
	if err != nil {
		t.Fatal(err)
	}
	v.hex("seal: history", history)
	v.hex("seal: route history", routes)
	message, err := k.SealMessage(goldenTeam, goldenGen, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	v.hex("seal: announcement of hello", message)
	topic, err := k.Topic(goldenTeam, goldenGen)
	if err != nil {
		t.Fatal(err)
	}
	v.text("topic", topic)
	signed, err := id.SignBlock(block.Header{Kind: block.KindCommit, Team: goldenTeam, DB: db, Generation: goldenGen, Author: id.Device(), Seat: goldenLink}, []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	v.hex("block: commit with body body", signed.Data)

	team20, inviteID := [20]byte(goldenTeam[:20]), block.InviteID(count(0xa0, 8))
	invite, err := InviteKey(team20, inviteID, count(0xb0, 16))
	if err != nil {
		t.Fatal(err)
	}
	v.hex("invite: public key", fix(invite.Public()))
	v.hex("invite: join tag of day 20000", fix(JoinTag(inviteID, team20, 20_000)))
	context := BoxContext{Team: goldenTeam, Purpose: block.BoxGeneration, Commitment: Commitment(s), Author: id.Device()}
	v.hex("box: info to the X25519 key", context.info(did))
	hint := block.BoxHint(context.Commitment, did)
	v.hex("box: hint to the X25519 key", hint[:])
	return append(v, keystoreVectors(t, id)...)
}

// keystoreVectors are whole files, written with known randomness.
func keystoreVectors(t *testing.T, id *Identity) vectors {
	var v vectors
	ring := memRing{}
	for _, l := range []struct {
		name string
		lock Lock
	}{{"key file", KeyFile()}, {"passphrase", Passphrase([]byte("correct horse"))}, {"OS keyring", ringLock(ring)}} {
		path := filepath.Join(t.TempDir(), "identity")
		if err := createKeystore(path, id, l.lock, bytes.NewReader(count(0xc0, 48))); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if l.lock.kind != LockFile { // the identity inside is the same
			v.hex("keystore: "+l.name+", SHA-256", sha(data))
			continue
		}
		v.hex("keystore: "+l.name, data)
		key, err := os.ReadFile(path + keyFileSuffix)
		if err != nil {
			t.Fatal(err)
		}
		v.hex("keystore: its key file", key)
	}
	for account, text := range ring {
		v.text("keystore: OS keyring account", account)
		v.text("keystore: OS keyring entry", text)
	}
	return v
}

// vectorsOnce are made with fresh randomness when the file is written, and must
// open ever after.
func vectorsOnce(t *testing.T) vectors {
	var v vectors
	id, err := NewIdentity(bytes.NewReader(count(0, 80)))
	if err != nil {
		t.Fatal(err)
	}
	k := NewKeyring(id)
	if err := k.Add(goldenTeam, goldenGroup, goldenSecret(0x22)); err != nil {
		t.Fatal(err)
	}
	did, err := id.Device().BoxKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]block.BoxKey{"hybrid": id.BoxKey(), "X25519": did} {
		for _, p := range []block.BoxPurpose{block.BoxGeneration, block.BoxRoute} {
			b, commitment, err := k.Box(goldenTeam, goldenGroup, p, to)
			if err != nil {
				t.Fatal(err)
			}
			body, err := block.EncodeBoxes([]block.BoxGroup{{Generation: goldenGroup, Purpose: p, Commitment: commitment, Boxes: []block.Box{b}}})
			if err != nil {
				t.Fatal(err)
			}
			v.hex(fmt.Sprintf("sealed once: boxes, %s, purpose %d", name, p), body)
		}
	}
	b, commitment, err := k.Box(goldenTeam, goldenGroup, block.BoxGeneration, did)
	if err != nil {
		t.Fatal(err)
	}
	shared, err := id.SealShare(Share{
		Team: goldenTeam, Inviter: id.Device(), Recipient: id.Device(), Addrs: [][]byte{{1, 2, 3}}, Heads: []block.ID{goldenLink},
		Boxes: []block.BoxGroup{{Generation: goldenGroup, Purpose: block.BoxGeneration, Commitment: commitment, Boxes: []block.Box{b}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	v.hex("sealed once: share", shared.Data)
	return v
}

func fix[T ~[32]byte](b T) []byte { return b[:] }

func sha(b []byte) []byte { s := sha256.Sum256(b); return s[:] }

const vectorFile = "testdata/vectors.txt"

// Every byte the vault derives, seals or stores is pinned: a change here is a
// change of format and loses somebody's data.
func TestGoldenVectors(t *testing.T) {
	if !Sealing {
		t.Skip("built without sealing")
	}
	now := vectorsNow(t)
	if *rewrite {
		var out strings.Builder
		for _, v := range append(now, vectorsOnce(t)...) {
			fmt.Fprintf(&out, "%s: %s\n", v.name, v.value)
		}
		if err := os.WriteFile(vectorFile, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := readVectors(t)
	for _, v := range now {
		if want[v.name] != v.value {
			t.Errorf("%s:\n got %s\nwant %s", v.name, v.value, want[v.name])
		}
	}
}

func readVectors(t *testing.T) map[string]string {
	data, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(data)) {
		i := strings.LastIndex(line, ": ")
		out[line[:i]] = strings.TrimSpace(line[i+2:])
	}
	return out
}

// What this version wrote once must open for ever.
func TestGoldenBoxesAndShareOpen(t *testing.T) {
	if !Sealing {
		t.Skip("built without sealing")
	}
	id, err := NewIdentity(bytes.NewReader(count(0, 80)))
	if err != nil {
		t.Fatal(err)
	}
	boxes := 0
	for name, value := range readVectors(t) {
		if !strings.HasPrefix(name, "sealed once: boxes") {
			continue
		}
		boxes++
		groups, err := block.ParseBoxes(unhex(t, value))
		if err != nil {
			t.Fatal(err)
		}
		k := NewKeyring(id)
		if n, err := k.OpenBoxes(goldenTeam, goldenLink, id.Device(), groups); n != 1 || err != nil {
			t.Errorf("%s: %d, %v", name, n, err)
			continue
		}
		held, err := k.secret(nameOf(groups[0]), groups[0].Purpose)
		want := goldenSecret(0x22)
		if groups[0].Purpose == block.BoxRoute {
			want = RouteKey(goldenTeam, want)
		}
		if err != nil || !held.Equal(want) {
			t.Errorf("%s: another key, %v", name, err)
		}
	}
	if boxes != 4 {
		t.Errorf("%d golden boxes, want 4", boxes)
	}
	u, err := block.Parse(unhex(t, readVectors(t)["sealed once: share"]))
	if err != nil {
		t.Fatal(err)
	}
	b, err := u.Verify(block.TeamID{}, block.Generation{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := id.OpenShare(b.Body)
	if err != nil || s.Team != goldenTeam || s.Inviter != id.Device() || s.Heads[0] != goldenLink || !bytes.Equal(s.Addrs[0], []byte{1, 2, 3}) {
		t.Errorf("share: %+v, %v", s, err)
	}
}

func nameOf(g block.BoxGroup) name { return name{goldenTeam, g.Generation} }

// A keystore that this version wrote opens from its golden bytes alone.
func TestGoldenKeystoreOpens(t *testing.T) {
	if !Sealing {
		t.Skip("built without sealing")
	}
	want := readVectors(t)
	path := filepath.Join(t.TempDir(), "identity")
	for file, name := range map[string]string{path: "keystore: key file", path + ".key": "keystore: its key file"} {
		if err := os.WriteFile(file, unhex(t, want[name]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id, err := OpenKeystore(path, KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	golden, err := NewIdentity(bytes.NewReader(count(0, 80)))
	if err != nil || !sameIdentity(id, golden) {
		t.Errorf("another identity, %v", err)
	}
	// The sealed plaintext has the fields of the format.
	stored := storedIdentity{Sign: count(0, 32), Box: [][]byte{count(32, 32)}, Seed: count(64, 16)}
	if got := hex.EncodeToString(wire.Must(stored)); got != "a3015820"+hex.EncodeToString(count(0, 32))+"02815820"+hex.EncodeToString(count(32, 32))+"0350"+hex.EncodeToString(count(64, 16)) {
		t.Errorf("stored identity encodes as %s", got)
	}
}
