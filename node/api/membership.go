package api

import (
	"context"
	"time"
)

// Membership is the part of [Team] that changes who is in it and what they may do.
// Each method writes one signed link that every device judges by the same rules; a
// command that is refused leaves no link behind and is [ErrForbidden].
type Membership interface {
	// Rename gives the team another name, for everybody. [ErrForbidden] unless this
	// device's member is an admin.
	Rename(ctx context.Context, name string) error
	// SetRole gives a member (by name, id or unique prefix of it) another role. Only
	// admins may; anybody may step down himself.
	SetRole(ctx context.Context, member string, role Role) error
	// Remove ends a member, a device or a replica, or with DryRun only tells what
	// would happen. Those who remain get a new key. [ErrNotFound], [ErrForbidden].
	Remove(ctx context.Context, r RemoveRequest) (Removal, error)
	// Leave ends this device's member here, with all its devices. The databases stay
	// readable on this device as they are. [ErrForbidden] for the last admin.
	Leave(ctx context.Context) error
	// Rotate makes a new key and gives it to everybody who is in the team now. The
	// info names it.
	Rotate(ctx context.Context) (TeamInfo, error)
	// Adopt keeps what a removed device wrote and whoever removed it had not seen,
	// as far as it has arrived here. [ErrNotFound] if no such device was removed.
	Adopt(ctx context.Context, device string) error
	// Verify reads the whole chain from disk again and checks every hash and every
	// signature.
	Verify(ctx context.Context) (VerifyReport, error)
	// InviteReplica makes an invitation for a device that holds and serves the
	// team's blocks and can read none of them. [ErrForbidden] unless this device's
	// member is an admin.
	InviteReplica(ctx context.Context, i ReplicaInvite) (Invite, error)
	// ShareWith admits somebody by the did:key of his device, without an invitation.
	// What it returns is safe to publish. [ErrForbidden] unless this device's member
	// is an admin; [ErrExists] if the device is in the team.
	ShareWith(ctx context.Context, r ShareRequest) (Shared, error)
}

// RemoveRequest says whom to remove from a team.
type RemoveRequest struct {
	Target       string `json:"target"`                // member or device, by name, id or unique prefix
	DryRun       bool   `json:"dryRun,omitzero"`       // tell, and change nothing
	WithAdmitted bool   `json:"withAdmitted,omitzero"` // also what it admitted or invited
}

// Removal is what a removal does, or would do.
type Removal struct {
	Target    string   `json:"target"` // name of the member or device
	Kind      string   `json:"kind"`   // member, device or replica
	DryRun    bool     `json:"dryRun,omitzero"`
	Devices   []Device `json:"devices"`   // that go
	BroughtIn []Device `json:"broughtIn"` // that they admitted or invited
	Revokes   []string `json:"revokes"`   // invitations that end, inv-…
	Rekeys    int      `json:"rekeys"`    // devices that get the new key
	Databases int      `json:"databases"` // whose present state it vouches for
	Undoes    int      `json:"undoes"`    // admissions that others made meanwhile and that fall with it
}

// ReplicaInvite says what an invitation for a blind replica grants.
type ReplicaInvite struct {
	MaxUses uint64    `json:"maxUses,omitzero"` // 0: unlimited
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Short   bool      `json:"short,omitzero"`   // leave device and addresses out of the code
}

// ShareRequest says whom a team is shared with.
type ShareRequest struct {
	DID  string `json:"did"`           // did:key:z6Mk…, the other device's share token
	Role Role   `json:"role,omitzero"` // default [RoleMember]
	Name string `json:"name,omitzero"` // how the team shall call the new member
}

// Shared is a published invite: who was admitted, and where it can be picked up.
type Shared struct {
	Team  string   `json:"team"`
	DID   string   `json:"did"`
	Role  Role     `json:"role"`
	CID   string   `json:"cid"`   // of the invite block; opens for nobody but the DID
	Link  string   `json:"link"`  // toft:share/…, the CID and where to ask for it
	Words []string `json:"words"` // 8 words of the DID, to compare with the other screen
}

// VerifyReport is the outcome of a check of everything.
type VerifyReport struct {
	OK      bool  `json:"ok"`
	Checked int64 `json:"checked"`          // blocks
	Digests int64 `json:"digests,omitzero"` // states confirmed, of a deep run
	// Compacted are commits that are no longer kept one by one.
	Compacted int64      `json:"compacted,omitzero"`
	Bad       []BadBlock `json:"bad"`
	Healed    int64      `json:"healed,omitzero"`  // blocks that came from peers, of a repair
	Rebuilt   bool       `json:"rebuilt,omitzero"` // the state was made anew, of a repair
	Seconds   float64    `json:"seconds"`
}

// BadBlock is one block that is not what its name says. CID is empty where the
// database as a whole is meant. Kinds: missing, disk, hash, signature, sealed,
// malformed, order, index, digest, state.
type BadBlock struct {
	CID    string `json:"cid,omitzero"`
	Kind   string `json:"kind"`
	Detail string `json:"detail"`
}
