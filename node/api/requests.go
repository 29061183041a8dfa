package api

import (
	"cmp"
	"time"
)

// MemberInvite says what an invitation for somebody else grants. The zero value
// invites a member, any number of times, for ever; the command line is stricter
// and says so.
type MemberInvite struct {
	Role    Role      `json:"role,omitzero"`    // default [RoleMember]
	MaxUses uint64    `json:"maxUses,omitzero"` // 0: unlimited
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Short   bool      `json:"short,omitzero"`   // leave device and addresses out of the code
	// Seed is one of one's own, to be told apart from the code; empty: random, in the
	// code. One that can be guessed needs AllowWeakSeed, one use, at most 24 hours,
	// and no Short.
	Seed          Secret `json:"seed,omitzero"`
	AllowWeakSeed bool   `json:"allowWeakSeed,omitzero"`
}

// DeviceInvite says what an invitation for another device of one's own grants.
type DeviceInvite struct {
	Expires time.Time `json:"expires,omitzero"` // zero: 30 minutes from now
	Short   bool      `json:"short,omitzero"`   // leave device and addresses out of the code
	// Seed and AllowWeakSeed as in [MemberInvite].
	Seed          Secret `json:"seed,omitzero"`
	AllowWeakSeed bool   `json:"allowWeakSeed,omitzero"`
}

// JoinRequest redeems an invitation, or picks up what was shared with this device.
type JoinRequest struct {
	Code   string `json:"code"`            // the code or its toft:join/ link (dashes and case do not matter), or a CID or toft:share/ link
	Seed   Secret `json:"seed,omitzero"`   // where it was told apart from the code
	Name   string `json:"name,omitzero"`   // how the team shall call the new member; default: the user's name
	NoWait bool   `json:"noWait,omitzero"` // return once admitted, before databases are here
	// Device agrees that this device becomes one of the inviter's own: his others come
	// into every team it is in. Without it a code for a device is [ErrUsage].
	Device bool `json:"device,omitzero"`
}

// Cond makes a write depend on what is there. Several hold together.
type Cond struct {
	// IfRev: only if this is the document's revision, else [ErrConflict]. The write
	// then settles only what that revision showed.
	IfRev string `json:"ifRev,omitzero"`
	// IfAbsent: only if there is no such document, else [ErrExists].
	IfAbsent bool `json:"ifAbsent,omitzero"`
	// Durable: return only when so many other devices, replicas not counted, have
	// signed that they durably hold the write. More than the team has is [ErrUsage],
	// and nothing is written. [ErrTimeout] says who is missing; the write is durable
	// here all the same, and goes on to the others.
	Durable int `json:"durable,omitzero"`
	// Wait is how long Durable waits; 0: until the context ends, at most 30 s if it
	// has no end.
	Wait time.Duration `json:"-"`
}

// JoinConds makes conditions that hold together into one. Two that cannot both hold
// are [ErrUsage].
func JoinConds(conds []Cond) (Cond, error) {
	var all Cond
	for _, c := range conds {
		if c.IfRev != "" && all.IfRev != "" && c.IfRev != all.IfRev {
			return Cond{}, ErrUsage.With("two different revisions are asked for", "")
		}
		all.IfRev = cmp.Or(all.IfRev, c.IfRev)
		all.IfAbsent = all.IfAbsent || c.IfAbsent
		all.Durable, all.Wait = max(all.Durable, c.Durable), max(all.Wait, c.Wait)
		if c.Durable < 0 {
			return Cond{}, ErrUsage.With("a write cannot wait for a negative number of devices", "")
		}
	}
	if all.IfRev != "" && all.IfAbsent {
		return Cond{}, ErrUsage.With("a document cannot have a revision and be absent", "")
	}
	return all, nil
}

// Verb is what a [Write] does.
type Verb string

// The verbs of a bulk write.
const (
	VerbPut     Verb = "put"
	VerbPatch   Verb = "patch"
	VerbDelete  Verb = "delete"
	VerbRestore Verb = "restore"
)

// Write is one line of a bulk write.
type Write struct {
	Op       Verb   `json:"op,omitzero"`       // default [VerbPut]
	ID       string `json:"id,omitzero"`       // default: doc._id
	Doc      Doc    `json:"doc,omitzero"`      // put and patch only
	IfRev    string `json:"ifRev,omitzero"`    // see [Cond]
	IfAbsent bool   `json:"ifAbsent,omitzero"` // see [Cond]
}

// GetOptions adds to what a read shows.
type GetOptions struct {
	Meta      bool // add _meta: {device, member, time, commit, conflicts}
	Conflicts bool // add _conflicts: what [DB.Conflicts] yields for the document
	// AsOf reads the document as it was at a point of the [History]; empty: now.
	AsOf string
}

// Range selects documents by id. The zero value selects all. Bounds are inclusive
// and compared bytewise; they hold together with Prefix.
type Range struct {
	From   string // "": from the first
	To     string // "": to the last
	Prefix string
	Desc   bool // from the last to the first
	Limit  int  // 0: no limit; negative is [ErrUsage]
	// AsOf reads the documents as they were at a point of the [History]; empty: now.
	AsOf string
}

// Cursor is a place in the order of arrival of one database on this device. It is
// opaque text; "" is the beginning.
type Cursor string

// Now is the cursor after everything that has arrived.
const Now Cursor = "now"

// ChangesOptions selects rows of a changes feed.
type ChangesOptions struct {
	Since  Cursor // rows after it; "" = all, [Now] = only what comes
	Follow bool   // do not end at the last row but wait for more
	Limit  int    // 0: no limit; negative is [ErrUsage]
	Docs   bool   // with the documents
}
