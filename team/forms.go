package team

import (
	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// The wire forms: canonical maps with integer keys. Key 1 of the roster layer is
// the action, key 1 of the private layer the author's time; what is absent is
// zero. Numbers are frozen; TestGoldenLayers pins the bytes of every one.

type recoveryForm struct {
	Device    block.Device `cbor:"1,keyasint"`
	BoxKey    block.BoxKey `cbor:"2,keyasint"`
	Statement []byte       `cbor:"3,keyasint,omitempty"` // 64 bytes
	Vouch     []byte       `cbor:"4,keyasint,omitempty"` // 64 bytes
}

type createForm struct {
	Action   Action        `cbor:"1,keyasint"`
	BoxKey   block.BoxKey  `cbor:"2,keyasint"`
	Recovery *recoveryForm `cbor:"3,keyasint,omitempty"`
	Key      [32]byte      `cbor:"4,keyasint"`
	Random   [32]byte      `cbor:"5,keyasint"`
}

type inviteForm struct {
	Action  Action         `cbor:"1,keyasint"`
	ID      block.InviteID `cbor:"2,keyasint"`
	Kind    InviteKind     `cbor:"3,keyasint"`
	Role    Role           `cbor:"4,keyasint,omitempty"`
	MaxUses uint64         `cbor:"5,keyasint,omitempty"`
}

type invitePrivate struct {
	Time    wire.Time    `cbor:"1,keyasint"`
	Key     block.Device `cbor:"2,keyasint"`
	Expires wire.Time    `cbor:"3,keyasint,omitempty"`
	Bound   []byte       `cbor:"4,keyasint,omitempty"` // 32 bytes
}

type revokeForm struct {
	Action Action   `cbor:"1,keyasint"`
	Invite block.ID `cbor:"2,keyasint"`
}

type admitForm struct {
	Action   Action        `cbor:"1,keyasint"`
	Invite   block.ID      `cbor:"2,keyasint"`
	Device   block.Device  `cbor:"3,keyasint"`
	BoxKey   block.BoxKey  `cbor:"4,keyasint"`
	Recovery *recoveryForm `cbor:"5,keyasint,omitempty"`
}

type admitPrivate struct {
	Time       wire.Time       `cbor:"1,keyasint"`
	R          [32]byte        `cbor:"2,keyasint"`
	Nonce      [32]byte        `cbor:"3,keyasint"`
	InviteSig  block.Signature `cbor:"4,keyasint"`
	DeviceSig  block.Signature `cbor:"5,keyasint"`
	Name       string          `cbor:"6,keyasint,omitempty"`
	DeviceName string          `cbor:"7,keyasint,omitempty"`
}

type addMemberForm struct {
	Action   Action        `cbor:"1,keyasint"`
	Device   block.Device  `cbor:"2,keyasint"`
	Role     Role          `cbor:"3,keyasint"`
	BoxKey   *block.BoxKey `cbor:"4,keyasint,omitempty"`
	Share    uint64        `cbor:"5,keyasint,omitempty"`
	Recovery *recoveryForm `cbor:"6,keyasint,omitempty"`
}

type addDeviceForm struct {
	Action    Action        `cbor:"1,keyasint"`
	Device    block.Device  `cbor:"2,keyasint"`
	BoxKey    block.BoxKey  `cbor:"3,keyasint"`
	Statement []byte        `cbor:"4,keyasint,omitempty"` // 64 bytes
	Recovery  *recoveryForm `cbor:"5,keyasint,omitempty"`
}

type namedPrivate struct { // ADD_MEMBER, ADD_DEVICE
	Time wire.Time `cbor:"1,keyasint"`
	Name string    `cbor:"2,keyasint,omitempty"`
}

type setRoleForm struct {
	Action   Action       `cbor:"1,keyasint"`
	Member   block.Device `cbor:"2,keyasint"`
	Role     Role         `cbor:"3,keyasint"`
	Heads    []DBHeads    `cbor:"4,keyasint,omitempty"`
	Confirms []byte       `cbor:"5,keyasint,omitempty"` // 32 bytes
}

type removalForm struct { // REMOVE_MEMBER, REMOVE_DEVICE
	Action   Action       `cbor:"1,keyasint"`
	Target   block.Device `cbor:"2,keyasint"`
	Heads    []DBHeads    `cbor:"3,keyasint,omitempty"`
	Revokes  []block.ID   `cbor:"4,keyasint,omitempty"`
	Keys     *Keys        `cbor:"5,keyasint,omitempty"`
	Confirms []byte       `cbor:"6,keyasint,omitempty"` // 32 bytes
}

type rotateForm struct {
	Action Action `cbor:"1,keyasint"`
	Keys   Keys   `cbor:"2,keyasint"`
}

type boxForm struct {
	Action     Action           `cbor:"1,keyasint"`
	Generation block.Generation `cbor:"2,keyasint"`
	Devices    []block.Device   `cbor:"3,keyasint"`
}

type addDBForm struct {
	Action Action     `cbor:"1,keyasint"`
	DB     block.DBID `cbor:"2,keyasint"`
	Base   *baseForm  `cbor:"3,keyasint,omitempty"`
}

type baseForm struct {
	Team       block.TeamID `cbor:"1,keyasint"`
	Heads      []block.ID   `cbor:"2,keyasint,omitempty"`
	Checkpoint []byte       `cbor:"3,keyasint,omitempty"` // 32 bytes
}

type addDBPrivate struct {
	Time   wire.Time     `cbor:"1,keyasint"`
	Name   string        `cbor:"2,keyasint,omitempty"`
	Number uint64        `cbor:"3,keyasint,omitempty"`
	Secret block.Secret  `cbor:"4,keyasint"`
	Keys   []baseKeyForm `cbor:"5,keyasint,omitempty"`
}

type baseKeyForm struct {
	_          struct{} `cbor:",toarray"`
	Generation block.Generation
	MAC        block.Secret
	Enc        block.Secret
}

type removeDBForm struct {
	Action Action     `cbor:"1,keyasint"`
	DB     block.DBID `cbor:"2,keyasint"`
	Heads  []block.ID `cbor:"3,keyasint,omitempty"`
}

type actionForm struct { // NAME, MEMBER_OF: the roster shows no more
	Action Action `cbor:"1,keyasint"`
}

type namePrivate struct {
	Time    wire.Time `cbor:"1,keyasint"`
	Kind    NameKind  `cbor:"2,keyasint"`
	Subject []byte    `cbor:"3,keyasint,omitempty"`
	Name    string    `cbor:"4,keyasint"`
}

type removeReplicaForm struct {
	Action Action       `cbor:"1,keyasint"`
	Device block.Device `cbor:"2,keyasint"`
	Keys   Keys         `cbor:"3,keyasint"`
}

type memberOfPrivate struct {
	Time   wire.Time    `cbor:"1,keyasint"`
	Team   block.TeamID `cbor:"2,keyasint"`
	Member block.Device `cbor:"3,keyasint"`
	Addrs  [][]byte     `cbor:"4,keyasint,omitempty"`
	Name   string       `cbor:"5,keyasint,omitempty"`
	Gone   bool         `cbor:"6,keyasint,omitempty"`
}

type timePrivate struct { // every other action
	Time wire.Time `cbor:"1,keyasint"`
}
