package sim

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/team"
)

// template is a team before anything happens to it, made once for all worlds: a
// founder, its members, one database.
type template struct {
	team    block.TeamID
	gen     block.Generation
	db      block.DBID
	devices []block.Device
	seats   []block.ID
	links   []*block.Block
}

var (
	templatesMu sync.Mutex
	templates   = map[int]*template{}
	parsedMu    sync.Mutex
	parsed      = map[block.ID]*team.UnverifiedLink{} // links of templates
)

func templateOf(n int) *template {
	templatesMu.Lock()
	defer templatesMu.Unlock()
	if templates[n] == nil {
		templates[n] = newTemplate(n)
	}
	return templates[n]
}

// must is for what only a mistake in this file can break.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newTemplate(n int) *template {
	m := &template{db: block.DBID{4, 5, 6}}
	for i := range n {
		seed := sha256.Sum256(fmt.Append(nil, "sim device ", i))
		m.devices = append(m.devices, block.Device(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)))
	}
	c := m.link(nil, 0, team.Create{BoxKey: must(m.devices[0].BoxKey()), Key: [32]byte{1}})
	m.team, m.gen = block.TeamID(c.ID), block.Generation(c.ID)
	m.seats = append(m.seats, c.ID)
	heads := []block.ID{c.ID}
	for _, d := range m.devices[1:] {
		l := m.link(heads, 0, team.AddMember{Device: d, Role: team.RoleMember})
		m.seats, heads = append(m.seats, l.ID), []block.ID{l.ID}
	}
	m.link(heads, 0, team.AddDB{DB: m.db, Name: "notes", Secret: secretOf(9)})
	return m
}

func secretOf(x byte) block.Secret {
	return must(block.NewSecret(slices.Repeat([]byte{x}, 32)))
}

// link makes a link by a device and adds it to the template.
func (m *template) link(parents []block.ID, author int, content team.Content) *block.Block {
	b, u := m.compose(parents, author, content)
	parsedMu.Lock()
	parsed[b.ID] = u
	parsedMu.Unlock()
	m.links = append(m.links, b)
	return b
}

func (m *template) compose(parents []block.ID, author int, content team.Content) (*block.Block, *team.UnverifiedLink) {
	layers := must(team.Encode(content, 1))
	h := block.Header{Kind: block.KindLink, Author: m.devices[author]}
	body := layers.Roster
	if len(parents) > 0 {
		h.Team, h.Generation, h.Seat = m.team, m.gen, m.seats[author]
		h.Links, h.Parents = parents, len(parents)
		body = team.Body{Roster: layers.Roster, Private: layers.Private}.Encode()
	}
	b := seal(h, body)
	return b, must(team.Parse(b, layers))
}

// seal puts a block together under an ideal signature: a hash with a secret that
// liars do not have.
func seal(h block.Header, body []byte) *block.Block {
	if !h.Kind.Signed() {
		return must(block.New(h, body, nil))
	}
	sig := signature(h, body)
	return must(block.New(h, body, &sig))
}

func signature(h block.Header, body []byte) (sig block.Signature) {
	sum := sha256.Sum256(append([]byte("secret of "+string(h.Author[:])), h.SignedBytes(body)...))
	copy(sig[:], sum[:])
	return sig
}

// verify resolves a block of the team and checks its signature.
func (m *template) verify(u *block.Unverified) (*block.Block, error) {
	b, err := u.Resolve(m.team, m.gen)
	if err != nil {
		return nil, err
	}
	if u.Kind.Signed() && signature(b.Header, b.Body) != b.Signature {
		return nil, fmt.Errorf("block %s: bad signature", u.ID)
	}
	return b, nil
}

// parseLink reads a link; those of the template are read once for all.
func (m *template) parseLink(u *block.Unverified) (*team.UnverifiedLink, error) {
	parsedMu.Lock()
	l := parsed[u.ID]
	parsedMu.Unlock()
	if l != nil {
		return l, nil
	}
	b, err := m.verify(u)
	if err != nil {
		return nil, err
	}
	body, err := team.ParseBody(b.Body)
	if err != nil {
		return nil, err
	}
	return team.Parse(b, team.Layers{Roster: body.Roster, Private: body.Private})
}

// keys are keyed functions as vault makes them, under fixed keys.
var keys = crdt.Keys{ //nolint:gochecknoglobals // never written
	Expand: func(entry []byte) (out [2048]byte) {
		sum := sha256.Sum256(entry)
		c := must(aes.NewCipher(sum[:16]))
		cipher.NewCTR(c, sum[16:]).XORKeyStream(out[:], out[:])
		return out
	},
	ValueHash: func(b []byte) [32]byte { return sha256.Sum256(append([]byte("value"), b...)) },
}
