package team

import (
	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// Content is what a link does: one struct per action, with the fields of both
// layers. [Encode] splits it into the roster layer (what replicas may see) and
// the private layer (what only members read); [Parse] puts it together again.
type Content interface {
	// Action returns the number of the action.
	Action() Action
	// check reports a field out of its bounds; it needs no other link.
	check() error
	// layers returns the wire form of both layers; private is nil for Create.
	layers(t wire.Time) Layers
}

// Keys are the two public commitments of a generation: to its 32 bytes (label
// "commit") and to its route key (label "route-commit"). Route is zero for the
// generation of genesis: its route key is known to fit when the box opens.
type Keys struct {
	_     struct{} `cbor:",toarray"`
	Key   [32]byte
	Route [32]byte
}

// Recovery is the public half of a member's recovery seed: a device that exists
// only as words on paper. It takes a seat next to the device it comes with.
type Recovery struct {
	Device block.Device
	BoxKey block.BoxKey
	// Statement is the recovery key's own signature over [DeviceStatement], so that
	// nobody can claim a key he does not hold. Zero in Create, where no team id
	// exists yet and nobody else's key can be at stake.
	Statement block.Signature
	// Vouch is, in AddMember only, the signature of the added device over the same
	// statement: an admin cannot slip a recovery key of his own under a new member.
	Vouch block.Signature
}

// DBHeads vouches for the state of one database: everything that is one of Heads
// or an ancestor of one is "inside".
type DBHeads struct {
	_     struct{} `cbor:",toarray"`
	DB    block.DBID
	Heads []block.ID // sorted, unique, 1 ≤ n ≤ MaxDataHeads
}

// Create is the genesis link. Its author is the founder's device; its boxes and
// the suite stand in the header; names follow in a second link.
//
// It commits to the generation only: the route key is derived with the team's id,
// which is the hash of this very link.
type Create struct {
	BoxKey   block.BoxKey
	Recovery *Recovery // nil: none
	Key      [32]byte  // commitment of the first generation
	Random   [32]byte
}

// Invite opens an invitation.
type Invite struct {
	ID      block.InviteID
	Kind    InviteKind
	Role    Role   // 0 for InviteDevice, RoleReplica for InviteReplica
	MaxUses uint64 // 0: unlimited; 1 for InviteDevice
	// Private layer: the public half of the seed's key, 0 or the expiry, zero or
	// the only device that may use it.
	Key     block.Device
	Expires wire.Time
	Bound   block.Device
}

// Revoke ends an invitation, named by its INVITE link.
type Revoke struct{ Invite block.ID }

// Admit seats a joiner. Proof carries what only the joiner could have signed;
// on the wire only what the chain does not already say of it.
type Admit struct {
	Invite   block.ID
	Device   block.Device
	BoxKey   block.BoxKey
	Recovery *Recovery // only for InviteMember, covered by the proof
	Proof    Proof
}

// AddMember seats a member known by the share token of a device.
type AddMember struct {
	Device   block.Device
	Role     Role
	BoxKey   block.BoxKey // zero: the X25519 key that the device key maps to
	Share    int          // index in Links of the invite block; 0: none
	Recovery *Recovery
	Name     string // private layer
}

// AddDevice seats a further device of the author's member. For the author's own
// key it only replaces its HPKE key, and brings a recovery half if there is one.
type AddDevice struct {
	Device    block.Device
	BoxKey    block.BoxKey
	Statement block.Signature // by Device over DeviceStatement; zero for one's own key
	Recovery  *Recovery
	Name      string // private layer
}

// SetRole gives a member another role. Heads only where it takes away writing.
type SetRole struct {
	Member   block.Device
	Role     Role
	Heads    []DBHeads
	Confirms block.ID // zero, or the demotion this repeats
}

// Removal is the content of RemoveMember and RemoveDevice. Keys are those of the
// generation it makes: nil when leaving and in a confirmation.
type Removal struct {
	Target   block.Device // the member's id, or the device key
	Heads    []DBHeads
	Revokes  []block.ID // INVITE links it revokes; sorted, unique
	Keys     *Keys
	Confirms block.ID // zero, or the removal this repeats
}

// RemoveMember ends all seats of a member.
type RemoveMember struct{ Removal }

// RemoveDevice ends the seats of one device.
type RemoveDevice struct{ Removal }

// Rotate makes a generation.
type Rotate struct{ Keys Keys }

// GiveBoxes hands an existing generation to active devices that lack it.
type GiveBoxes struct {
	Generation block.Generation
	Devices    []block.Device // sorted, unique
}

// Base is what a moved database brings from its old home.
type Base struct {
	Team       block.TeamID
	Heads      []block.ID // sorted, unique; what is below is vouched for
	Checkpoint block.ID   // zero: none
	Keys       []BaseKey  // private layer
}

// BaseKey opens the database's blocks of one old generation, and nothing else.
type BaseKey struct {
	Generation block.Generation
	MAC, Enc   block.Secret
}

// AddDB brings a database into the team.
type AddDB struct {
	DB   block.DBID
	Base *Base // nil unless moved here
	// Private layer.
	Name   string
	Number uint64 // of the secret; version 1 writes 0
	Secret block.Secret
}

// RemoveDB takes a database out of the team. Heads vouch as in a removal.
type RemoveDB struct {
	DB    block.DBID
	Heads []block.ID
}

// Name sets a display name; all of it is in the private layer.
type Name struct {
	Kind    NameKind
	Subject []byte // see NameKind
	Name    string
}

// RemoveReplica ends the seat of a replica and makes a generation, because the
// route keys it holds derive from the generation.
type RemoveReplica struct {
	Device block.Device
	Keys   Keys
}

// MemberOf tells one's other devices, in the personal team, of a team one is in.
type MemberOf struct {
	Team   block.TeamID
	Member block.Device
	Addrs  [][]byte // packed multiaddrs of members
	Name   string
	Gone   bool // one has left
}

// Unknown is a link of an action this version does not know: stored, handed on,
// and without effect.
type Unknown struct{ Number Action }

// Action returns the number.
func (Create) Action() Action        { return ActCreate }
func (Invite) Action() Action        { return ActInvite }
func (Revoke) Action() Action        { return ActRevoke }
func (Admit) Action() Action         { return ActAdmit }
func (AddMember) Action() Action     { return ActAddMember }
func (AddDevice) Action() Action     { return ActAddDevice }
func (SetRole) Action() Action       { return ActSetRole }
func (RemoveMember) Action() Action  { return ActRemoveMember }
func (RemoveDevice) Action() Action  { return ActRemoveDevice }
func (Rotate) Action() Action        { return ActRotate }
func (GiveBoxes) Action() Action     { return ActBox }
func (AddDB) Action() Action         { return ActAddDB }
func (RemoveDB) Action() Action      { return ActRemoveDB }
func (Name) Action() Action          { return ActName }
func (RemoveReplica) Action() Action { return ActRemoveReplica }
func (MemberOf) Action() Action      { return ActMemberOf }
func (u Unknown) Action() Action     { return u.Number }

// keysOf returns the commitments of the generation the content makes, nil if none.
func keysOf(c Content) *Keys {
	switch c := c.(type) {
	case Create:
		return &Keys{Key: c.Key}
	case Rotate:
		return &c.Keys
	case RemoveReplica:
		return &c.Keys
	case RemoveMember:
		return c.Keys
	case RemoveDevice:
		return c.Keys
	}
	return nil
}

// recoveryOf returns the recovery half the content seats, nil if none.
func recoveryOf(c Content) *Recovery {
	switch c := c.(type) {
	case Create:
		return c.Recovery
	case Admit:
		return c.Recovery
	case AddMember:
		return c.Recovery
	case AddDevice:
		return c.Recovery
	}
	return nil
}
