package vault

import (
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/toftdb/toft/block"
)

// Layer names the key pair that seals a body.
type Layer uint8

const (
	// Roster is the layer of a link that replicas read too: actions, keys, roles.
	Roster Layer = iota + 1
	// Private is the layer of a link for members only: names, secrets, proofs.
	Private
	// Data is the body of everything that belongs to one database: commits,
	// checkpoints, nodes, values, operations, chunks, manifests.
	Data
)

// ErrOtherKey is returned when a key is offered under the name of another one.
var ErrOtherKey = errors.New("another key is known under this name")

// name names a generation of a team.
type name struct {
	team block.TeamID
	gen  block.Generation
}

// Keyring is the keys this device holds, in memory, safe for concurrent use.
type Keyring struct {
	hidden
	id *Identity

	mu          sync.RWMutex
	keys        map[name]*generation
	commitments map[commitmentName][32]byte
	databases   map[block.DBID]*Database
	bases       map[baseName]*basePair // of databases that moved here
}

type commitmentName struct {
	name
	purpose block.BoxPurpose
}

// generation is the keys that follow from one generation, or from its route key
// alone. Pairs are made when first used and kept.
type generation struct {
	secret block.Secret // zero for a replica
	route  block.Secret

	private, history               func() *pair // nil for a replica
	roster, announce, routeHistory func() *pair
	topic                          func() string
	mu                             sync.RWMutex
	data                           map[block.DBID]*pair
	team                           block.TeamID
}

// NewKeyring returns an empty keyring for a device.
func NewKeyring(id *Identity) *Keyring {
	return &Keyring{
		id:          id,
		keys:        map[name]*generation{},
		commitments: map[commitmentName][32]byte{},
		databases:   map[block.DBID]*Database{},
		bases:       map[baseName]*basePair{},
	}
}

// newGeneration makes the keys of a generation; with a zero secret, of its route
// key alone.
func newGeneration(team block.TeamID, secret, route block.Secret) *generation {
	once := func(s block.Secret, mac, enc label) func() *pair {
		return sync.OnceValue(func() *pair {
			return newPair(derive(s.Reveal(), team[:], mac), derive(s.Reveal(), team[:], enc))
		})
	}
	g := &generation{secret: secret, route: route, team: team, data: map[block.DBID]*pair{}}
	if !secret.IsZero() {
		g.private = once(secret, labelPrivateMAC, labelPrivateEnc)
		g.history = once(secret, labelHistoryMAC, labelHistoryEnc)
	}
	g.roster = once(route, labelRosterMAC, labelRosterEnc)
	g.announce = once(route, labelAnnounceMAC, labelAnnounceEnc)
	g.routeHistory = once(route, labelRouteHistoryMAC, labelRouteHistoryEnc)
	g.topic = sync.OnceValue(func() string {
		out := derive(route.Reveal(), team[:], labelTopic)
		return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(out[:]))
	})
	return g
}

// dataPair returns the pair of one database under this generation.
func (g *generation) dataPair(db block.DBID) *pair {
	g.mu.RLock()
	p := g.data[db]
	g.mu.RUnlock()
	if p != nil {
		return p
	}
	p = newPair(g.dbKeys(db))
	g.mu.Lock()
	defer g.mu.Unlock()
	if first := g.data[db]; first != nil {
		return first
	}
	g.data[db] = p
	return p
}

// Add stores a generation this device made or was given. It returns ErrOtherKey
// if the generation's link committed to another key.
func (k *Keyring) Add(team block.TeamID, gen block.Generation, s block.Secret) error {
	return k.add(name{team, gen}, block.BoxGeneration, s)
}

// add stores a generation or a route key under its name.
func (k *Keyring) add(n name, p block.BoxPurpose, s block.Secret) error {
	if n.team.IsZero() || n.gen.IsZero() || s.IsZero() {
		return fmt.Errorf("add key to keyring: team, generation or key is zero")
	}
	var secret block.Secret
	route := s
	if p == block.BoxGeneration {
		secret, route = s, RouteKey(n.team, s)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.fits(n, block.BoxRoute, route) || p == block.BoxGeneration && !k.fits(n, p, s) {
		return fmt.Errorf("%w: %s of %s", ErrOtherKey, n.gen, n.team)
	}
	old := k.keys[n]
	switch {
	case old == nil || old.secret.IsZero() && !secret.IsZero():
		// A route key proves nothing of itself, and where no link commits to it anybody
		// can box a wrong one. The generation, from which it follows, ends that.
		k.keys[n] = newGeneration(n.team, secret, route)
	case !old.route.Equal(route):
		return fmt.Errorf("%w: %s of %s", ErrOtherKey, n.gen, n.team)
	}
	return nil
}

// fits reports whether s is what the link of the generation committed to, or
// whether nothing is known about that. The caller holds mu.
func (k *Keyring) fits(n name, p block.BoxPurpose, s block.Secret) bool {
	want, known := k.commitments[commitmentName{n, p}]
	got := commitmentOf(p, s)
	return !known || subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// learn remembers what a link commits to for the generation it makes. A key that
// came under that name before, from somebody who had no right to name it, goes.
func (k *Keyring) learn(n name, p block.BoxPurpose, commitment [32]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	cn := commitmentName{n, p}
	if _, known := k.commitments[cn]; known {
		return
	}
	k.commitments[cn] = commitment
	held := k.keys[n]
	if held == nil || p == block.BoxGeneration && held.secret.IsZero() {
		return
	}
	s := held.route
	if p == block.BoxGeneration {
		s = held.secret
	}
	if !k.fits(n, p, s) {
		delete(k.keys, n)
	}
}

// find returns the keys of a generation, full says that the route key alone will
// not do.
func (k *Keyring) find(n name, full bool) (*generation, error) {
	k.mu.RLock()
	g := k.keys[n]
	k.mu.RUnlock()
	if g == nil || full && g.secret.IsZero() {
		return nil, fmt.Errorf("%w: %s of %s", ErrNoKey, n.gen, n.team)
	}
	return g, nil
}

func (k *Keyring) holds(n name, p block.BoxPurpose) bool {
	_, err := k.find(n, p == block.BoxGeneration)
	return err == nil
}

// secret returns the generation or the route key itself, for boxing it.
func (k *Keyring) secret(n name, p block.BoxPurpose) (block.Secret, error) {
	g, err := k.find(n, p == block.BoxGeneration)
	if err != nil {
		return block.Secret{}, err
	}
	if p == block.BoxGeneration {
		return g.secret, nil
	}
	return g.route, nil
}

// Has reports whether the device holds the generation: it can read everything.
func (k *Keyring) Has(team block.TeamID, gen block.Generation) bool {
	return k.holds(name{team, gen}, block.BoxGeneration)
}

// HasRoute reports whether the device holds at least the generation's route key:
// it can read rosters and announcements.
func (k *Keyring) HasRoute(team block.TeamID, gen block.Generation) bool {
	return k.holds(name{team, gen}, block.BoxRoute)
}

// pair returns the key pair that seals layer l of a block with header h.
func (k *Keyring) pair(l Layer, h block.Header) (*pair, error) {
	if (l == Data) == h.DB.IsZero() || (l != Data) != (h.Kind == block.KindLink) {
		return nil, fmt.Errorf("layer %d does not belong to a block of kind %d", l, h.Kind)
	}
	g, err := k.find(name{h.Team, h.Generation}, l != Roster)
	if err != nil {
		if p := k.based(h); l == Data && p != nil {
			return p, nil
		}
		return nil, err
	}
	switch l {
	case Roster:
		return g.roster(), nil
	case Private:
		return g.private(), nil
	case Data:
		return g.dataPair(h.DB), nil
	}
	return nil, fmt.Errorf("unknown layer %d", l)
}

// Seal seals the plaintext of one layer of a block whose header is h, under the
// generation h names; h is authenticated with it. Equal input, equal body.
// It returns ErrNoKey if the device does not hold the key.
func (k *Keyring) Seal(l Layer, h block.Header, plain []byte) (body []byte, err error) {
	p, err := k.pair(l, h)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return p.seal(h.Authenticated(), plain)
}

// Open is the inverse of Seal. It returns ErrNoKey if the device does not hold
// the key and ErrSealed if the body does not open under it with this header.
func (k *Keyring) Open(l Layer, h block.Header, body []byte) ([]byte, error) {
	p, err := k.pair(l, h)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	return p.open(h.Authenticated(), body)
}

// joinErrors is errors.Join that gives one error back as it is, so that callers
// and messages see no wrapping where there is nothing to join.
func joinErrors(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}
