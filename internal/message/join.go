package message

import (
	"errors"

	"github.com/toftdb/toft/block"
)

// The join stream carries four messages, in this order and once each:
//
//	joiner → Offer       which invitation (by its tag of the day), commitment
//	admitter → Challenge nonce, who answers, what the invitation is for
//	joiner → Answer      who joins, opened commitment, two signatures
//	admitter → Result    the team, and the ADMIT link, or why not
//
// The joiner commits to its keys and name before it knows the nonce, so neither
// side can steer the words that both print. What the signatures cover is
// team.Proof; this package only carries it.

const (
	kindDevice  = 2       // of an invitation, as in team: a device takes its member's role
	maxRecovery = 2 << 10 // a hybrid HPKE key, two signatures and room
)

// Offer opens a join.
type Offer struct {
	Tag    [32]byte `cbor:"1,keyasint"` // HMAC of the invitation and the day (UTC)
	Commit [32]byte `cbor:"2,keyasint"` // SHA-256 over device, HPKE key, names and r
}

// JoinError says why a join was refused, 0 if it was not. Expired, Used and
// Revoked are told only after a valid proof: who merely guesses an invitation
// learns nothing about it.
type JoinError uint8

// Reasons to refuse a join.
const (
	JoinNotFound  JoinError = 1 // no such invitation here
	JoinBusy      JoinError = 2 // too many at once, or too fast: try again
	JoinWrongSeed JoinError = 3 // the proof does not verify
	JoinExpired   JoinError = 4
	JoinUsed      JoinError = 5
	JoinRevoked   JoinError = 6
	JoinRefused   JoinError = 7 // another reason, told in Detail
)

const lastJoinError = JoinRefused

// Challenge answers an offer. With Error, and only then, everything else is absent.
type Challenge struct {
	Nonce    [32]byte     `cbor:"1,keyasint,omitzero"` // random, one use, 30 s
	Admitter block.Device `cbor:"2,keyasint,omitzero"` // must be the peer of the connection
	Kind     uint8        `cbor:"3,keyasint,omitzero"` // of the invitation, as in team
	Role     uint8        `cbor:"4,keyasint,omitzero"` // it gives, as in team; absent for a device
	Error    JoinError    `cbor:"5,keyasint,omitzero"` // JoinNotFound or JoinBusy
}

// Answer proves the seed of the invitation and the device key over the nonce. It
// travels as version ‖ vault.SealAnswer(Answer.Encode): names are for members only.
type Answer struct {
	Device     block.Device    `cbor:"1,keyasint"` // must be the peer of the connection
	BoxKey     block.BoxKey    `cbor:"2,keyasint"`
	Name       string          `cbor:"3,keyasint,omitempty"` // of the member; absent when a device joins
	DeviceName string          `cbor:"4,keyasint,omitempty"`
	R          [32]byte        `cbor:"5,keyasint"` // random, opens Offer.Commit
	InviteSig  block.Signature `cbor:"6,keyasint"` // by the invite key over team.Proof
	DeviceSig  block.Signature `cbor:"7,keyasint"` // by the device key over the same
	// Recovery is the recovery half that shall stand in the ADMIT, encoded as in
	// team; nothing writes it yet.
	Recovery []byte `cbor:"8,keyasint,omitempty"`
}

// Result ends a join. Without Error both IDs are present; with it, neither.
type Result struct {
	Team   block.TeamID `cbor:"1,keyasint,omitzero"`
	Admit  block.ID     `cbor:"2,keyasint,omitzero"` // the link that seats the joiner
	Error  JoinError    `cbor:"3,keyasint,omitzero"`
	Detail string       `cbor:"4,keyasint,omitempty"` // a sentence for people; only with Error
}

// Encode returns the message in wire form.
func (o Offer) Encode() ([]byte, error) { return encode(o, MaxJoinFrame) }

// ParseOffer reads a message of [Offer.Encode].
func ParseOffer(data []byte) (Offer, error) { return parse[Offer](data, MaxJoinFrame) }

// Encode returns the message in wire form.
func (c Challenge) Encode() ([]byte, error) { return encode(c, MaxJoinFrame) }

// ParseChallenge reads a message of [Challenge.Encode].
func ParseChallenge(data []byte) (Challenge, error) { return parse[Challenge](data, MaxJoinFrame) }

// Encode returns the message in wire form.
func (a Answer) Encode() ([]byte, error) { return encode(a, MaxJoinFrame) }

// ParseAnswer reads a message of [Answer.Encode]. Its keys are checked: a device
// key of small order or a box key that cannot be sealed to is refused here.
func ParseAnswer(data []byte) (Answer, error) { return parse[Answer](data, MaxJoinFrame) }

// Encode returns the message in wire form.
func (r Result) Encode() ([]byte, error) { return encode(r, MaxJoinFrame) }

// ParseResult reads a message of [Result.Encode].
func ParseResult(data []byte) (Result, error) { return parse[Result](data, MaxJoinFrame) }

func (o Offer) check() error {
	if o.Tag == [32]byte{} || o.Commit == [32]byte{} {
		return bad("offer without tag or commitment")
	}
	return nil
}

func (c Challenge) check() error {
	if c.Error != 0 {
		if c != (Challenge{Error: c.Error}) {
			return bad("refusal with a challenge")
		}
		if c.Error != JoinNotFound && c.Error != JoinBusy {
			return bad("join error %d before a proof", c.Error)
		}
		return nil
	}
	if c.Nonce == [32]byte{} || c.Kind == 0 || (c.Role == 0) != (c.Kind == kindDevice) {
		return bad("challenge without nonce or kind, or with a role that does not go with it")
	}
	return keyError("admitter", c.Admitter.Check())
}

func (a Answer) check() error {
	if len(a.Name) > MaxName || len(a.DeviceName) > MaxName {
		return bad("name of %d and device name of %d bytes, at most %d", len(a.Name), len(a.DeviceName), MaxName)
	}
	if len(a.Recovery) > maxRecovery {
		return bad("recovery of %d bytes, at most %d", len(a.Recovery), maxRecovery)
	}
	if err := a.Device.Check(); err != nil {
		return keyError("joining device", err)
	}
	return keyError("joining device's HPKE key", a.BoxKey.Check())
}

func (r Result) check() error {
	failed := r.Error != 0
	switch {
	case r.Error > lastJoinError:
		return bad("join error %d", r.Error)
	case failed == !r.Team.IsZero() || failed == !r.Admit.IsZero():
		return bad("result must have either team and link, or an error")
	case !failed && r.Detail != "":
		return bad("success with an error text")
	case len(r.Detail) > MaxDetail:
		return bad("detail of %d bytes, at most %d", len(r.Detail), MaxDetail)
	}
	return nil
}

// keyError keeps the cause and makes it a malformed message.
func keyError(whose string, err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(bad("key of %s", whose), err)
}
