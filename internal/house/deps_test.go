package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// policy says, for every room, what it may import beyond the standard library.
// Names without a dot are rooms of Toft; the others are listed in modules. A name
// after ! is a package of the standard library that the room must not import.
// Tests may import more; Go itself forbids them cycles.
//
// To add a line is to make a promise: say why above it.
const policy = `
# One encoding, decoded strictly. The only room that sees a CBOR library, so that
# nobody can decode loosely.
internal/wire: cbor !os !net !io

# Envelope, identities, verification. Public, because signatures of other rooms
# name its types; so it must not drag anything in.
block: internal/wire edwards25519 base58 !os !net !crypto/rand

# Bugs planted on purpose, to see whether the tests notice. Imports no room, so that
# every room may hold one; it is a constant, except in a build with the tag toftbug.
internal/planted: !net

# Word lists for fingerprints. Data.
internal/words: block !os !net !crypto/rand

# Bytes between peers. No I/O but a frame from a reader to a writer, no keys:
# signing is a function handed in.
internal/message: block internal/wire !os !net !crypto/rand !crypto/ed25519

# The decisions of sync, sans-IO: no network, no clock, no randomness, so that a run
# can be replayed from its seed. What is asked and answered are messages.
internal/replicate: block internal/message internal/planted !os !net !io !context !sync !crypto/rand !math/rand !math/rand/v2

# The chain: a fold over verified links. No clock, keys or network: every replica
# must come to the same state, in every order.
team: block internal/planted internal/wire text !os !net !io !context !sync !crypto/rand !crypto/ed25519 !math/rand !math/rand/v2

# Documents and merge: pure for the same reason. Keyed functions come from vault,
# keys never do. JSON comes in through a strict parser. Documents that nobody changes
# stand in the search tree; its nodes come through a store that may be told to stop,
# hence context.
crdt: block crdt/tree internal/planted internal/wire json !os !net !sync !crypto/rand !crypto/ed25519 !crypto/hmac !math/rand !math/rand/v2

# The keyed search tree. Pure; its shape comes from a function it is given.
crdt/tree: block internal/planted internal/wire !os !net !crypto/rand !crypto/ed25519 !crypto/hmac !math/rand !math/rand/v2

# All secrets live here, and only here are signatures made and bytes sealed or
# opened. It knows no team and no document: a key must not depend on their rules.
internal/vault: block internal/wire internal/words argon2 chacha20poly1305 keyring !net !math/rand !math/rand/v2

# Durable bytes. The only room that knows a key-value engine; it stores what it is
# given and knows neither keys nor documents.
internal/store: block internal/planted pebble datastore flock json !net !crypto/ed25519

# Announcements. Opaque bytes over GossipSub.
gossip: block internal/planted libp2p pubsub multiaddr

# Blocks by CID. Opaque bytes over Bitswap; the only room that says go-cid.
bitswap: block internal/planted libp2p boxo blockformat cid msgio multihash multiaddr

# The one config struct. Plain values, so that cmd and node share it cheaply.
config: toml xdg text multiaddr

# The door. May be imported without linking libp2p, a store or a key: a client in
# somebody else's program must be small.
node/api: json !crypto/ed25519

# The HTTP server over the door. Knows the interface, not the node.
node/api/server: node/api json

# What a device holds: chains and replicas, and the one path by which they change.
# Secrets, disk and the pure rooms come together here; no network, so that a node
# that is offline is a ledger and a door.
internal/ledger: block crdt crdt/tree team internal/message internal/planted internal/store internal/vault internal/wire !net !os !crypto/rand !math/rand/v2

# How a device meets others: gate, announcements, sync, join. The only room that
# sees both the ledger and the network.
internal/peering: block bitswap crdt gossip team internal/ledger internal/message internal/planted internal/replicate internal/store internal/vault internal/wire internal/words node/api libp2p multiaddr !os !net/http

# The hall: configuration, host, lifetime, and the door's nouns made from the ledger.
node: config node/api block crdt team internal/ledger internal/peering internal/store internal/vault internal/wire internal/words libp2p multiaddr datastore uuid !net/http

# The binary. A user of the door; opens a node only where no daemon runs.
cmd/toft: config node node/api node/api/server block internal/words cobra isatty humanize qrterminal json libp2p multiaddr

# Hosts on loopback and a recorder of streams, for tests of several rooms.
internal/hosttest: block libp2p multiaddr simnet

# An in-memory node and mesh for tests of users.
node/nodetest: config node node/api block internal/store libp2p simnet multiaddr

# An in-memory twin of the door and the stories every implementation must pass.
node/api/apitest: node/api block uuid testify

# These rules.
internal/house:

# Whole worlds of the pure rooms, replayed from a seed. Tests only: nothing may
# come to depend on a simulation.
internal/sim:

# Whole nodes and real processes. Tests only.
e2e:
`

// modules are the abbreviations of policy: everything from outside that any room
// but a test may import (70-dependencies: each with its reason at its room).
const modules = `
argon2           golang.org/x/crypto/argon2
base58           github.com/mr-tron/base58
blockformat      github.com/ipfs/go-block-format
boxo             github.com/ipfs/boxo
cbor             github.com/fxamacker/cbor/v2
chacha20poly1305 golang.org/x/crypto/chacha20poly1305
cid              github.com/ipfs/go-cid
cobra            github.com/spf13/cobra
datastore        github.com/ipfs/go-datastore
edwards25519     filippo.io/edwards25519
flock            github.com/gofrs/flock
humanize         github.com/dustin/go-humanize
isatty           github.com/mattn/go-isatty
json             github.com/go-json-experiment/json
keyring          github.com/zalando/go-keyring
libp2p           github.com/libp2p/go-libp2p
multiaddr        github.com/multiformats/go-multiaddr
msgio            github.com/libp2p/go-msgio
multihash        github.com/multiformats/go-multihash
pebble           github.com/cockroachdb/pebble/v2
pubsub           github.com/libp2p/go-libp2p-pubsub
qrterminal       github.com/mdp/qrterminal/v3
simnet           github.com/marcopolo/simnet
testify          github.com/stretchr/testify/require
text             golang.org/x/text/unicode/norm
toml             github.com/pelletier/go-toml/v2
uuid             github.com/google/uuid
xdg              github.com/adrg/xdg
`

// nowhere are packages of the standard library that no room imports.
const nowhere = `
log           use log/slog, handed in
unsafe        no room is that fast
C             the binary builds without cgo
math/rand     use math/rand/v2 for jitter in node, crypto/rand handed in for keys
encoding/json use go-json-experiment/json: it refuses duplicate keys
encoding/gob  not canonical
`

// only are packages that few rooms may import, whatever else they may do.
const only = `
crypto/hpke      block internal/vault                      sealing lockboxes
crypto/hkdf      internal/vault                            deriving keys
crypto/hmac      internal/vault                            keyed functions
crypto/aes       internal/vault                            keyed functions
crypto/cipher    internal/vault                            keyed functions
crypto/rand      internal/vault internal/peering node cmd/toft randomness is handed in below
crypto/ed25519   block internal/vault node                 node: the key of the libp2p host
net/http         node/api node/api/server node/web cmd/toft the door
math/rand/v2     internal/peering                          jitter
testing          internal/hosttest node/nodetest node/api/apitest           tests stay out of the binary
os/exec          cmd/toft                                  stty, so that a passphrase is not shown; nothing else is run
reflect          node/api/server                           the OpenAPI document is made from the nouns
`

// unlinked is what must not even be linked: room, then modules that no package
// under it may lead to.
const unlinked = `
internal/wire      libp2p boxo datastore pebble
block              libp2p boxo datastore pebble
internal/message   libp2p boxo datastore pebble
internal/replicate libp2p boxo datastore pebble
crdt               libp2p boxo datastore pebble
crdt/tree          libp2p boxo datastore pebble
team               libp2p boxo datastore pebble
internal/vault     libp2p boxo datastore pebble
internal/store     libp2p boxo
internal/ledger    libp2p boxo
node/api           libp2p boxo datastore pebble
node/api/server    libp2p boxo datastore pebble
gossip             boxo pebble
bitswap            pebble pubsub
`

// table splits a text of the policy into lines of words, comments left out.
func table(text string) [][]string {
	var out [][]string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			out = append(out, words)
		}
	}
	return out
}

func moduleOf(short string) string {
	for _, row := range table(modules) {
		if row[0] == short {
			return row[1]
		}
	}
	return ""
}

// within reports whether package p lies in module or package m.
func within(p, m string) bool { return p == m || strings.HasPrefix(p, m+"/") }

// room is one line of the policy.
type room struct {
	rooms, modules, not []string
}

func parsePolicy(text string) (map[string]room, error) {
	out := map[string]room{}
	for _, row := range table(text) {
		name, ok := strings.CutSuffix(row[0], ":")
		if _, twice := out[name]; !ok || twice {
			return nil, fmt.Errorf("policy: line %q", row)
		}
		var r room
		for _, w := range row[1:] {
			switch {
			case strings.HasPrefix(w, "!"):
				r.not = append(r.not, w[1:])
			case moduleOf(w) != "":
				r.modules = append(r.modules, moduleOf(w))
			default:
				r.rooms = append(r.rooms, module+"/"+w)
			}
		}
		out[name] = r
	}
	return out, nil
}

// checkImports complains about direct imports that the policy does not allow.
func checkImports(t *tree) []string {
	rooms, err := parsePolicy(policy)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, f := range t.code() {
		r, ok := rooms[f.dir]
		if !ok {
			out = append(out, f.path+": room without a line in the import policy")
			continue
		}
		for _, p := range f.imports() {
			if why := refused(f, r, p); why != "" {
				out = append(out, fmt.Sprintf("%s imports %s: %s", f.path, p, why))
			}
		}
	}
	return out
}

func refused(f *file, r room, p string) string {
	first, _, _ := strings.Cut(p, "/")
	switch {
	case within(p, module):
		if !slices.Contains(r.rooms, p) {
			return "not in the policy of the room"
		}
	case strings.Contains(first, "."):
		if !slices.ContainsFunc(r.modules, func(m string) bool { return within(p, m) }) {
			return "not in the policy of the room"
		}
	case slices.Contains(r.not, p):
		return "forbidden in this room"
	}
	for _, row := range table(nowhere) {
		if p == row[0] {
			return strings.Join(row[1:], " ")
		}
	}
	for _, row := range table(only) {
		if p == row[0] && !slices.Contains(row[1:], f.dir) {
			return "only for: " + strings.Join(row[1:], " ")
		}
	}
	return ""
}

func TestImports(t *testing.T) {
	keep(t, checkImports, planted(t,
		"team/a.go", `package team; import ("os"; "fmt"; "github.com/toftdb/toft/crdt"; "github.com/toftdb/toft/block")`,
		"crdt/a.go", `package crdt; import ("github.com/libp2p/go-libp2p/core/host"; "log"; "crypto/hkdf")`,
		"attic/a.go", `package attic`,
		"team/a_test.go", `package team; import "os"`,
	),
		"team/a.go imports os", "team/a.go imports github.com/toftdb/toft/crdt",
		"crdt/a.go imports github.com/libp2p", "crdt/a.go imports log: use log/slog", "crdt/a.go imports crypto/hkdf",
		"attic/a.go: room without a line")
}

// listed is what `go list` tells of one package.
type listed struct {
	ImportPath string
	Imports    []string
}

// linked returns, for every package of the module and below, its direct imports.
func linked(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	data, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	out := map[string][]string{}
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out[p.ImportPath] = p.Imports
	}
}

// way returns a path of imports from a package to module m, nil if there is none.
func way(deps map[string][]string, from, m string, seen map[string]bool) []string {
	if within(from, m) {
		return []string{from}
	}
	if seen[from] {
		return nil
	}
	seen[from] = true
	for _, next := range deps[from] {
		if w := way(deps, next, m, seen); w != nil {
			return append([]string{from}, w...)
		}
	}
	return nil
}

func TestNotLinked(t *testing.T) {
	deps := linked(t)
	for _, row := range table(unlinked) {
		from := module + "/" + row[0]
		if _, ok := deps[from]; !ok {
			t.Errorf("no package %s", from)
		}
		for _, short := range row[1:] {
			if w := way(deps, from, moduleOf(short), map[string]bool{}); w != nil {
				t.Errorf("%s links %s: %s", row[0], short, strings.Join(w, " → "))
			}
		}
	}
	if way(deps, module+"/gossip", moduleOf("libp2p"), map[string]bool{}) == nil {
		t.Error("blind rule: gossip does not link libp2p")
	}
	for p, imports := range deps {
		if within(p, module) && !within(p, module+"/cmd") && slices.ContainsFunc(imports, func(i string) bool { return within(i, module+"/cmd") }) {
			t.Errorf("%s imports cmd", p)
		}
	}
}

// A policy that names what does not exist is a policy nobody keeps.
func TestPolicyIsSane(t *testing.T) {
	rooms, err := parsePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	later := []string{"node/nodetest", "e2e", "node/web"}
	var known []string
	for _, r := range source(t).rooms() {
		known = append(known, module+"/"+r)
	}
	for name, r := range rooms {
		if !slices.Contains(known, module+"/"+name) && !slices.Contains(later, name) {
			t.Errorf("policy of a room that does not exist: %s", name)
		}
		for _, other := range r.rooms {
			if _, ok := rooms[strings.TrimPrefix(other, module+"/")]; !ok {
				t.Errorf("policy of %s: %s is neither a room nor a module", name, other)
			}
		}
	}
	for _, row := range table(unlinked) {
		for _, short := range row[1:] {
			if moduleOf(short) == "" {
				t.Errorf("unlinked: %s is no module", short)
			}
		}
	}
}
