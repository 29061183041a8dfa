package api

import (
	"context"
	"iter"
)

// API is everything a Toft node does for the program, or the person, that owns it.
// All methods may be called from many goroutines. A context that ends makes a call
// return early with [ErrTimeout] or [ErrInterrupted]; a write that was already on
// its way may then still have happened.
type API interface {
	Admin
	Keys
	Peers
	Teams
	Docs
}

// Admin tells how the node is.
type Admin interface {
	// Status reports the node, its teams and databases, and every warning.
	Status(ctx context.Context) (Status, error)
	// Identity reports who this device is.
	Identity(ctx context.Context) (Identity, error)
}

// Peers is the network of the node.
type Peers interface {
	// Peers yields the peers the node is connected to, then the devices of its
	// teams it is not connected to.
	Peers(ctx context.Context) iter.Seq2[Peer, error]
	// Connect dials a multiaddr that ends in /p2p/PEERID, or a device by its PeerID,
	// name or id prefix where an address of it is known. It returns once the
	// connection stands. [ErrUnreachable] if nobody answers.
	Connect(ctx context.Context, addr string) (Peer, error)
}

// Personal names, wherever a team is asked for, the team that only this user's own
// devices are in. No shared team can have this name, nor "-", which is how HTTP
// paths say the empty one.
const Personal = "personal"

// Teams is the people and devices the node shares with.
type Teams interface {
	// CreateTeam founds a team with this device as its first admin. [ErrExists] if a
	// team of this name is known already.
	CreateTeam(ctx context.Context, name string) (Team, error)
	// Team finds a team by name, id or unique prefix of its id. The empty string
	// means the only shared team; [ErrUsage] if there are several. [ErrNotFound].
	Team(ctx context.Context, nameOrID string) (Team, error)
	// Teams yields all teams, the personal one first, the others by name.
	Teams(ctx context.Context) iter.Seq2[TeamInfo, error]
	// Join redeems an invitation, or picks up what was shared with this device by its
	// did:key, and returns when the team's chain and databases are there, unless
	// r.NoWait. Errors: [ErrInviteInvalid], [ErrInviteUnknown],
	// [ErrInviteExpired], [ErrInviteUsed], [ErrInviteRevoked], [ErrInviteSeed],
	// [ErrUnreachable].
	Join(ctx context.Context, r JoinRequest) (Joined, error)
}

// Team is a handle on one team. It stays good for as long as the API it came from.
type Team interface {
	// ID returns the team's id, team-….
	ID() string
	// Name returns the team's name as it was when the handle was made.
	Name() string
	// Info reports the team as it is now.
	Info(ctx context.Context) (TeamInfo, error)

	// CreateDB makes a new database that belongs to the team. [ErrExists] if the team
	// has one of this name.
	CreateDB(ctx context.Context, name string) (DB, error)

	// InviteMember makes an invitation for somebody else. [ErrForbidden] unless this
	// device's member is an admin.
	InviteMember(ctx context.Context, i MemberInvite) (Invite, error)
	// InviteDevice makes an invitation for another device of this member. It is used
	// once, and expires after 30 minutes if i does not say otherwise.
	InviteDevice(ctx context.Context, i DeviceInvite) (Invite, error)
	// Invites yields the team's invitations, newest first. Codes are not kept: Code
	// and Link are empty here.
	Invites(ctx context.Context) iter.Seq2[Invite, error]
	// Revoke ends an invitation, named by its id or a unique prefix of it.
	Revoke(ctx context.Context, id string) error

	// Members yields the members by name.
	Members(ctx context.Context) iter.Seq2[Member, error]
	// Devices yields the devices of one member (by name, id or prefix), or of all
	// for the empty string.
	Devices(ctx context.Context, member string) iter.Seq2[Device, error]
	// Log yields the links of the chain, parents before children.
	Log(ctx context.Context) iter.Seq2[ChainLink, error]

	Membership
}

// Docs is the databases of the node.
type Docs interface {
	// DB finds a database by name, team/name, id or unique prefix of its id.
	// [ErrNotFound]; [ErrUsage] if the text fits several.
	DB(ctx context.Context, nameOrID string) (DB, error)
	// DBs yields all databases, by team and name.
	DBs(ctx context.Context) iter.Seq2[DBInfo, error]
}

// DB is a handle on one database. It stays good for as long as the API it came
// from. Every write returns once it is durable on this device; no peer is needed.
type DB interface {
	History

	History

	// ID returns the database's id, db-….
	ID() string
	// Name returns the database's name as it was when the handle was made.
	Name() string
	// Info reports the database as it is now.
	Info(ctx context.Context) (DBInfo, error)
	// Rename gives the database another name, for everybody. [ErrExists] if its team
	// has one of this name; [ErrForbidden] unless this device's member is an admin.
	Rename(ctx context.Context, name string) error
	// Move takes the database with its documents to another team (by name, id or
	// prefix). Who is only in the old one keeps what is there and sees nothing new.
	Move(ctx context.Context, team string) (DBInfo, error)
	// Drop takes the database out of its team, for everybody. [ErrForbidden] unless
	// this device's member is an admin.
	Drop(ctx context.Context) error

	// Put makes the document read exactly as d. Its id is d["_id"]; without one a new
	// UUIDv7 is given. A d that holds "_rev" is written as with Cond{IfRev: that}.
	// Errors: [ErrConflict], [ErrExists], [ErrBadDocument], [ErrTooLarge],
	// [ErrForbidden].
	Put(ctx context.Context, d Doc, conds ...Cond) (PutResult, error)
	// Patch changes the fields that p names and no other (RFC 7396: null removes). A
	// document that does not exist is made.
	Patch(ctx context.Context, id string, p Doc, conds ...Cond) (PutResult, error)
	// Delete hides the document. [ErrNotFound] if there is none.
	Delete(ctx context.Context, id string, conds ...Cond) (PutResult, error)
	// Restore brings a deleted document back as it was. [ErrNotFound] if there is
	// nothing to bring back.
	Restore(ctx context.Context, id string) (PutResult, error)
	// Update reads the document, lets fn change it, and puts the result; when
	// somebody else wrote in between it starts again, so fn may run more than once.
	// fn gets nil if there is no such document. Returning the error of fn as it is.
	Update(ctx context.Context, id string, fn func(Doc) (Doc, error)) error
	// Bulk does all writes as one commit: on every replica all of them become visible
	// at once, or none. It returns one result per write, in order.
	Bulk(ctx context.Context, writes []Write) ([]PutResult, error)

	Syncing

	// Get reads one document, with _id and _rev. [ErrNotFound].
	Get(ctx context.Context, id string, options ...GetOptions) (Doc, error)
	// All yields the documents in r in the order of their ids.
	All(ctx context.Context, r Range) iter.Seq2[Doc, error]
	// Changes yields what changed after o.Since in the order it arrived here: one row
	// per document, its latest, deletions included.
	Changes(ctx context.Context, o ChangesOptions) iter.Seq2[Change, error]
	// Conflicts yields the fields that were written concurrently and await a person's
	// choice, for one document or, for the empty string, for all.
	Conflicts(ctx context.Context, id string) iter.Seq2[Conflict, error]
	// Watch yields the documents there are ([OpInit]), then one [OpReady], then every
	// change as it becomes visible, until ctx ends or the loop does. A reader that is
	// too slow gets [OpGap] and then a new start from [OpInit]; it never holds up the
	// node.
	Watch(ctx context.Context) iter.Seq2[LiveEvent, error]
}
