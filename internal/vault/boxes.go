package vault

import (
	"crypto/hpke"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/toftdb/toft/block"
)

// BoxContext is what a lockbox is bound to: taken out of its link and put into
// another, it does not open.
type BoxContext struct {
	Team       block.TeamID // zero in genesis, whose hash the id is
	Purpose    block.BoxPurpose
	Commitment [32]byte // of the key inside: Commitment or RouteCommitment
	Author     block.Device
}

// BoxError reports a lockbox addressed to this device that did not keep what its
// link promised. The author made it by mistake or to shut somebody out; the cure
// is a BOX link by somebody else.
type BoxError struct {
	Link       block.ID
	Author     block.Device
	Generation block.Generation
	Purpose    block.BoxPurpose
	Reason     string
}

func (e *BoxError) Error() string {
	return fmt.Sprintf("lockbox in link %s by %s for %s: %s", e.Link, e.Author, e.Generation, e.Reason)
}

// NewSecret reads 32 bytes of rand: a generation, or a database secret.
func NewSecret(rand io.Reader) (block.Secret, error) {
	var b [32]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return block.Secret{}, fmt.Errorf("new secret: %w", err)
	}
	return block.NewSecret(b[:])
}

// Commitment is the public commitment to a generation: HKDF(s, "commit") with 32
// zero bytes of salt.
func Commitment(s block.Secret) [32]byte { return derive(s.Reveal(), noSalt(), labelCommit) }

// RouteCommitment is the public commitment to a route key: HKDF(route,
// "route-commit") with 32 zero bytes of salt.
func RouteCommitment(route block.Secret) [32]byte {
	return derive(route.Reveal(), noSalt(), labelRouteCommit)
}

// RouteKey derives the route key of a generation in a team: what a blind replica
// gets in place of the generation.
func RouteKey(team block.TeamID, generation block.Secret) block.Secret {
	return secretOf(derive(generation.Reveal(), team[:], labelRoute))
}

func secretOf(b [32]byte) block.Secret {
	s, err := block.NewSecret(b[:])
	if err != nil {
		panic(err) // 32 bytes never fail
	}
	return s
}

// commitmentOf is the commitment that purpose asks for.
func commitmentOf(p block.BoxPurpose, s block.Secret) [32]byte {
	if p == block.BoxRoute {
		return RouteCommitment(s)
	}
	return Commitment(s)
}

// info is the HPKE info of a box: suite (le64), team, purpose, commitment,
// SHA-256 of the recipient's key, author.
func (c BoxContext) info(to block.BoxKey) []byte {
	recipient := sha256.Sum256(to.Public)
	suite := binary.LittleEndian.AppendUint64(nil, block.Suite)
	return info(labelBox, suite, c.Team[:], []byte{byte(c.Purpose)}, c.Commitment[:], recipient[:], c.Author[:])
}

// SealBox seals s to one recipient with HPKE (RFC 9180, base mode, HKDF-SHA-256,
// ChaCha20-Poly1305). It fails with block.ErrKey for a key that cannot receive;
// a rotation then skips that recipient and says so.
func SealBox(c BoxContext, to block.BoxKey, s block.Secret) (block.Box, error) {
	if want := commitmentOf(c.Purpose, s); subtle.ConstantTimeCompare(want[:], c.Commitment[:]) != 1 {
		return block.Box{}, fmt.Errorf("seal lockbox: the commitment is not that of the key")
	}
	public, err := to.Parse()
	if err != nil {
		return block.Box{}, fmt.Errorf("seal lockbox: %w", err)
	}
	enc, sender, err := hpke.NewSender(public, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), c.info(to))
	if err != nil {
		return block.Box{}, fmt.Errorf("seal lockbox: %w: %v", block.ErrKey, err)
	}
	text, err := sender.Seal(nil, s.Reveal())
	if err != nil {
		return block.Box{}, fmt.Errorf("seal lockbox: %w", err)
	}
	return block.Box{Hint: block.BoxHint(c.Commitment, to), KEM: to.KEM, Enc: enc, Text: text}, nil
}

// openBox opens one box with one of our keys and checks the commitment.
func openBox(c BoxContext, with opener, b block.Box) (s block.Secret, reason string) {
	if b.KEM != with.public.KEM {
		return block.Secret{}, "key encapsulation is not that of the recipient's key"
	}
	r, err := hpke.NewRecipient(b.Enc, with.private(), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), c.info(with.public))
	if err != nil {
		return block.Secret{}, "encapsulated key is malformed"
	}
	plain, err := r.Open(nil, b.Text)
	if err != nil {
		return block.Secret{}, "does not open: sealed for another team, purpose, key or author, or damaged"
	}
	if s, err = block.NewSecret(plain); err != nil {
		return block.Secret{}, "holds no key"
	}
	if got := commitmentOf(c.Purpose, s); subtle.ConstantTimeCompare(got[:], c.Commitment[:]) != 1 {
		return block.Secret{}, "opens to another key than committed"
	}
	return s, ""
}

// OpenBoxes finds this device's lockboxes in the groups of a link (its header, or
// a KindBoxes block it names), opens them and adds the keys. opened counts the
// keys that are new. Links are given in topological order: the commitments of the
// generation a link makes are remembered, and no box or history layer can later
// put another key under its name.
//
// Genesis is given with a zero team (or with its own id as the team) and its key
// is stored under the team that the link's hash names. A box that breaks its
// promise does not stop the others; the error joins one *BoxError for each.
func (k *Keyring) OpenBoxes(team block.TeamID, link block.ID, author block.Device, groups []block.BoxGroup) (opened int, err error) {
	inBox := team
	if team.IsZero() || team == block.TeamID(link) {
		team, inBox = block.TeamID(link), block.TeamID{}
	}
	var bad []error
	for _, g := range groups {
		gen := g.Generation
		if gen.IsZero() {
			gen = block.Generation(link)
			k.learn(name{team, gen}, g.Purpose, g.Commitment)
		}
		if k.holds(name{team, gen}, g.Purpose) {
			continue
		}
		c := BoxContext{Team: inBox, Purpose: g.Purpose, Commitment: g.Commitment, Author: author}
		report := func(reason string) {
			bad = append(bad, &BoxError{Link: link, Author: author, Generation: gen, Purpose: g.Purpose, Reason: reason})
		}
		if k.openGroup(c, name{team, gen}, g, report) {
			opened++
		}
	}
	return opened, joinErrors(bad)
}

// maxTries bounds the boxes of one group tried under one hint: 64-bit hints do not
// collide by chance, so more than one is somebody's work.
const maxTries = 4

// openGroup tries each of our keys on the boxes of g that bear its hint.
func (k *Keyring) openGroup(c BoxContext, n name, g block.BoxGroup, report func(string)) bool {
	reason := ""
	for _, with := range k.id.openers {
		tries := 0
		for b := range g.Find(block.BoxHint(g.Commitment, with.public)) {
			if tries++; tries > maxTries {
				break
			}
			var s block.Secret
			if s, reason = openBox(c, with, b); reason != "" {
				continue
			}
			if err := k.add(n, g.Purpose, s); err != nil {
				reason = err.Error()
				continue
			}
			return true
		}
	}
	if reason != "" {
		report(reason)
	}
	return false
}

// Box seals a key this device holds to one more recipient, and returns the
// commitment for the group it goes into. The author is this device.
func (k *Keyring) Box(team block.TeamID, gen block.Generation, p block.BoxPurpose, to block.BoxKey) (block.Box, [32]byte, error) {
	s, err := k.secret(name{team, gen}, p)
	if err != nil {
		return block.Box{}, [32]byte{}, err
	}
	c := BoxContext{Team: team, Purpose: p, Commitment: commitmentOf(p, s), Author: k.id.device}
	b, err := SealBox(c, to, s)
	return b, c.Commitment, err
}
