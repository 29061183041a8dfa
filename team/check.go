package team

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// ErrMalformed is returned for link content that no honest device writes: wrong
// encoding, a field out of its bounds, fields that do not go together.
var ErrMalformed = errors.New("malformed link")

func (c Create) check() error {
	if err := c.BoxKey.Check(); err != nil {
		return err
	}
	if c.Recovery != nil && (c.Recovery.Statement != block.Signature{} || c.Recovery.Vouch != block.Signature{}) {
		return errors.New("a recovery half in CREATE is not signed")
	}
	return c.Recovery.check(true)
}

func (c Invite) check() error {
	switch {
	case c.Kind == InviteMember && !c.Role.person():
		return fmt.Errorf("invitation of a member with role %d", c.Role)
	case c.Kind == InviteDevice && (c.Role != 0 || c.MaxUses != 1):
		return errors.New("invitation of a device has a role, or more than one use")
	case c.Kind == InviteReplica && c.Role != RoleReplica:
		return fmt.Errorf("invitation of a replica with role %s", c.Role)
	case c.Kind < InviteMember || c.Kind > InviteReplica:
		return fmt.Errorf("invitation of %s", c.Kind)
	case c.MaxUses > MaxUses:
		return fmt.Errorf("invitation with %d uses, at most %d", c.MaxUses, MaxUses)
	case c.Expires != 0 && !c.Expires.Valid():
		return errors.New("invitation expires out of range")
	}
	return nil
}

// checkPrivate checks what only members see of an invitation.
func (c Invite) checkPrivate() error {
	if err := c.Key.Check(); err != nil {
		return err
	}
	if c.Role == RoleAdmin && c.Bound.IsZero() {
		return errors.New("an invitation that grants admin must name its device")
	}
	if !c.Bound.IsZero() {
		return c.Bound.Check()
	}
	return nil
}

func (c Revoke) check() error { return nonZero("invitation", c.Invite[:]) }

func (c Admit) check() error {
	if err := nonZero("invitation", c.Invite[:]); err != nil {
		return err
	}
	if err := c.Device.Check(); err != nil {
		return err
	}
	if err := c.BoxKey.Check(); err != nil {
		return err
	}
	if c.Recovery != nil && c.Recovery.Vouch != (block.Signature{}) {
		return errors.New("recovery half with a vouch")
	}
	return c.Recovery.check(false)
}

func (c AddMember) check() error {
	if !c.Role.person() {
		return fmt.Errorf("member with role %d", c.Role)
	}
	if err := c.Device.Check(); err != nil {
		return err
	}
	if c.Share < 0 || c.Share > block.MaxLinks {
		return errors.New("index of the invite block")
	}
	if !c.BoxKey.IsZero() {
		if err := c.BoxKey.Check(); err != nil {
			return err
		}
	}
	if err := checkName(c.Name); err != nil {
		return err
	}
	if c.Recovery != nil && c.Recovery.Vouch == (block.Signature{}) {
		return errors.New("recovery half without a vouch")
	}
	return c.Recovery.check(false)
}

func (c AddDevice) check() error {
	if err := c.Device.Check(); err != nil {
		return err
	}
	if err := c.BoxKey.Check(); err != nil {
		return err
	}
	if c.Recovery != nil && (c.Recovery.Device == c.Device || c.Recovery.Vouch != (block.Signature{})) {
		return errors.New("recovery half of itself, or with a vouch")
	}
	if err := checkName(c.Name); err != nil {
		return err
	}
	return c.Recovery.check(false)
}

func (c SetRole) check() error {
	if !c.Role.person() {
		return fmt.Errorf("role %d", c.Role)
	}
	if c.Role > RoleReader && len(c.Heads) > 0 {
		return errors.New("data heads though writing is not taken away")
	}
	if err := nonZero("member", c.Member[:]); err != nil {
		return err
	}
	return checkHeads(c.Heads)
}

func (r Removal) check() error {
	if err := nonZero("target", r.Target[:]); err != nil {
		return err
	}
	if r.Keys != nil && !r.Confirms.IsZero() {
		return errors.New("a confirmation makes no generation")
	}
	if err := checkIDs("revoked invitations", r.Revokes, 0, MaxRevoked); err != nil {
		return err
	}
	return checkHeads(r.Heads)
}

func (c Rotate) check() error { return nil }

func (c GiveBoxes) check() error {
	if len(c.Devices) == 0 || len(c.Devices) > MaxDevices {
		return fmt.Errorf("boxes for %d devices", len(c.Devices))
	}
	for i, d := range c.Devices {
		if i > 0 && bytes.Compare(c.Devices[i-1][:], d[:]) >= 0 {
			return errors.New("devices not sorted")
		}
	}
	return nonZero("generation", c.Generation[:])
}

func (c AddDB) check() error {
	if err := nonZero("database", c.DB[:]); err != nil {
		return err
	}
	if c.Base == nil {
		return nil
	}
	if err := nonZero("old team", c.Base.Team[:]); err != nil {
		return err
	}
	return checkIDs("base heads", c.Base.Heads, 0, MaxDataHeads)
}

// checkPrivate checks what only members see of a database.
func (c AddDB) checkPrivate() error {
	if c.Secret.IsZero() {
		return errors.New("database without a secret")
	}
	if c.Number > uint64(wire.MaxTime) {
		return errors.New("number of the secret")
	}
	if c.Base != nil {
		keys := c.Base.Keys
		if len(keys) > MaxBaseKeys {
			return fmt.Errorf("%d base keys, at most %d", len(keys), MaxBaseKeys)
		}
		for i, k := range keys {
			if i > 0 && bytes.Compare(keys[i-1].Generation[:], k.Generation[:]) >= 0 {
				return errors.New("base keys not sorted")
			}
			if k.MAC.IsZero() || k.Enc.IsZero() {
				return errors.New("empty base key")
			}
		}
	}
	return checkName(c.Name)
}

func (c RemoveDB) check() error {
	if err := nonZero("database", c.DB[:]); err != nil {
		return err
	}
	return checkIDs("data heads", c.Heads, 0, MaxDataHeads)
}

func (c Name) check() error { return nil }

func (c Name) checkPrivate() error {
	size, ok := map[NameKind]int{NameTeam: 0, NameDB: 16, NameMember: 32, NameDevice: 32}[c.Kind]
	if !ok || len(c.Subject) != size {
		return fmt.Errorf("name of kind %d with a subject of %d bytes", c.Kind, len(c.Subject))
	}
	if c.Name == "" {
		return errors.New("empty name")
	}
	return checkName(c.Name)
}

func (c RemoveReplica) check() error { return nonZero("device", c.Device[:]) }

func (c MemberOf) check() error { return nil }

func (c MemberOf) checkPrivate() error {
	if err := nonZero("team", c.Team[:]); err != nil {
		return err
	}
	if err := c.Member.Check(); err != nil {
		return err
	}
	if err := checkAddrs(c.Addrs, MaxAddrs); err != nil {
		return err
	}
	return checkName(c.Name)
}

func (u Unknown) check() error { return nil }

// check of a recovery half: in Create it is unsigned, elsewhere its key must have
// been signed with (the chain verifies the signature, which needs the team).
func (r *Recovery) check(create bool) error {
	if r == nil {
		return nil
	}
	if err := r.Device.Check(); err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	if !create && r.Statement == (block.Signature{}) {
		return errors.New("recovery half without a statement")
	}
	return r.BoxKey.Check()
}

func nonZero(what string, b []byte) error {
	for _, x := range b {
		if x != 0 {
			return nil
		}
	}
	return fmt.Errorf("no %s", what)
}

// checkIDs wants from least to most ids, sorted and without repetition.
func checkIDs(what string, ids []block.ID, least, most int) error {
	if len(ids) < least || len(ids) > most {
		return fmt.Errorf("%d %s, %d to %d allowed", len(ids), what, least, most)
	}
	for i := 1; i < len(ids); i++ {
		if bytes.Compare(ids[i-1][:], ids[i][:]) >= 0 {
			return fmt.Errorf("%s not sorted", what)
		}
	}
	return nil
}

func checkHeads(dbs []DBHeads) error {
	if len(dbs) > MaxHeadDBs {
		return fmt.Errorf("data heads of %d databases, at most %d", len(dbs), MaxHeadDBs)
	}
	for i, d := range dbs {
		if i > 0 && bytes.Compare(dbs[i-1].DB[:], d.DB[:]) >= 0 {
			return errors.New("databases not sorted")
		}
		if err := checkIDs("data heads", d.Heads, 1, MaxDataHeads); err != nil {
			return err
		}
	}
	return nil
}

func checkAddrs(addrs [][]byte, most int) error {
	if len(addrs) > most {
		return fmt.Errorf("%d addresses, at most %d", len(addrs), most)
	}
	for _, a := range addrs {
		if len(a) == 0 || len(a) > MaxAddr {
			return fmt.Errorf("address of %d bytes, 1 to %d allowed", len(a), MaxAddr)
		}
	}
	return nil
}
