package team

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// ErrProof is returned for a join proof that does not hold: a wrong seed, another
// device, a replay for another admitter or nonce.
var ErrProof = errors.New("join proof does not hold")

// Proof is everything the two sides of a join agreed on, signed by the joiner with
// the invitation's key (who holds the seed) and with its own device key (so that
// nobody else can use the same proof).
//
//	joiner                                     admitter
//	  tag, Commit(device, box key, names, r) ───▶
//	  ◀─────────────── nonce, admitter, kind, role
//	  device, box key, names, r, 2 signatures ──▶   ADMIT with this proof inside
//
// The commitment comes before the nonce, so the joiner cannot fit its keys to it.
// Nonce and admitter are signed: a proof that was overheard or relayed is good for
// nobody else. Whoever reads the private layer can check the proof again for ever.
type Proof struct {
	Kind       InviteKind
	Role       Role // as in the INVITE; 0 for a device
	Team       [20]byte
	Invite     block.InviteID
	Device     block.Device
	BoxKey     block.BoxKey
	Name       string // of the member; empty for a device and a replica
	DeviceName string
	R          [32]byte // random, hides names and keys behind the commitment
	Commit     [32]byte
	Nonce      [32]byte // the admitter's
	Admitter   block.Device
	Recovery   *Recovery // nil: none

	InviteSig block.Signature // by the invitation's key, context toft/v1/join
	DeviceSig block.Signature // by Device, context toft/v1/join
}

// commitForm is what a commitment hides.
type commitForm struct {
	_          struct{} `cbor:",toarray"`
	Label      string
	Device     block.Device
	BoxKey     block.BoxKey
	Name       string
	DeviceName string
	R          [32]byte
}

// Commit returns SHA-256 of the canonical array ["toft join commit", device,
// [kem, key], name, device name, r]: what the joiner sends first.
func Commit(device block.Device, boxKey block.BoxKey, name, deviceName string, r [32]byte) [32]byte {
	return sha256.Sum256(wire.Must(commitForm{
		Label: "toft join commit", Device: device, BoxKey: boxKey, Name: name, DeviceName: deviceName, R: r,
	}))
}

// proofForm is the signed form of a proof.
type proofForm struct {
	Kind       InviteKind     `cbor:"1,keyasint"`
	Role       Role           `cbor:"2,keyasint,omitempty"`
	Team       [20]byte       `cbor:"3,keyasint"`
	Invite     block.InviteID `cbor:"4,keyasint"`
	Device     block.Device   `cbor:"5,keyasint"`
	BoxKey     block.BoxKey   `cbor:"6,keyasint"`
	Name       string         `cbor:"7,keyasint,omitempty"`
	DeviceName string         `cbor:"8,keyasint,omitempty"`
	R          [32]byte       `cbor:"9,keyasint"`
	Commit     [32]byte       `cbor:"10,keyasint"`
	Nonce      [32]byte       `cbor:"11,keyasint"`
	Admitter   block.Device   `cbor:"12,keyasint"`
	Recovery   *recoveryForm  `cbor:"13,keyasint,omitempty"`
}

// Signed returns the bytes both signatures cover.
func (p Proof) Signed() []byte {
	return wire.Must(proofForm{
		Kind: p.Kind, Role: p.Role, Team: p.Team, Invite: p.Invite, Device: p.Device, BoxKey: p.BoxKey,
		Name: p.Name, DeviceName: p.DeviceName, R: p.R, Commit: p.Commit, Nonce: p.Nonce, Admitter: p.Admitter,
		Recovery: p.Recovery.form(),
	})
}

// Hash is what both sides turn into words and read to each other: SHA-256 of
// "toft join words" and the signed bytes.
func (p Proof) Hash() [32]byte {
	return sha256.Sum256(append([]byte("toft join words"), p.Signed()...))
}

// Verify checks the proof against the public key of the invitation: fields in
// bounds, keys good, the commitment that of the fields, both signatures. That
// kind, role, team, invitation, nonce and admitter are the right ones is for the
// caller, who filled them in.
func (p Proof) Verify(invite block.Device) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("%w: %v", ErrProof, err)
	}
	want := Commit(p.Device, p.BoxKey, p.Name, p.DeviceName, p.R)
	if !bytes.Equal(want[:], p.Commit[:]) {
		return fmt.Errorf("%w: keys and names are not those that were committed to", ErrProof)
	}
	msg := p.Signed()
	if err := invite.Verify(block.ForJoin, msg, p.InviteSig); err != nil {
		return fmt.Errorf("%w: not signed with the invitation's seed", ErrProof)
	}
	if err := p.Device.Verify(block.ForJoin, msg, p.DeviceSig); err != nil {
		return fmt.Errorf("%w: not signed by the joining device", ErrProof)
	}
	return nil
}

// check bounds the fields a joiner chose.
func (p Proof) check() error {
	if err := checkName(p.Name); err != nil {
		return err
	}
	if err := checkName(p.DeviceName); err != nil {
		return fmt.Errorf("device %w", err)
	}
	if p.Kind != InviteMember && p.Name != "" {
		return errors.New("a member name for what is no member")
	}
	if err := p.Device.Check(); err != nil {
		return err
	}
	if err := p.BoxKey.Check(); err != nil {
		return err
	}
	if p.Recovery != nil && p.Kind != InviteMember {
		return errors.New("a recovery half for what is no member")
	}
	return p.Recovery.check(false)
}

// DeviceStatement is what a device signs (context toft/v1/device) to say that it
// joins a member: the canonical map {1 team, 2 member id, 3 device, 4 HPKE key}.
func DeviceStatement(team block.TeamID, member, device block.Device, boxKey block.BoxKey) []byte {
	return wire.Must(struct {
		Team   block.TeamID `cbor:"1,keyasint"`
		Member block.Device `cbor:"2,keyasint"`
		Device block.Device `cbor:"3,keyasint"`
		BoxKey block.BoxKey `cbor:"4,keyasint"`
	}{team, member, device, boxKey})
}
