package server

import (
	"net/http"
	"reflect"

	"github.com/toftdb/toft/node/api"
)

// Shape is how a route's result is written, see the package comment.
type Shape uint8

// The shapes of an answer.
const (
	One   Shape = iota // one noun
	Array              // a short list
	Lines              // a long list
	Feed               // a live feed
	None               // no content
)

// Route is one line of the HTTP interface, as data: what an OpenAPI document is
// made from.
type Route struct {
	Method, Path string
	Summary      string
	Query        []string     // names of the parameters it takes
	Body         reflect.Type // nil: none
	Result       reflect.Type // nil: none
	Shape        Shape
	serve        serveFunc
}

// newTeam and newDB are the two requests that have no name in the api package.
type newTeam struct {
	Name string `json:"name"`
}

type newDB struct {
	Name string `json:"name"`
	Team string `json:"team,omitzero"` // default: the personal team
}

type dial struct {
	Addr string `json:"addr"`
}

// newInvite is an invitation for a member, a device or a replica; kind says which.
type newInvite struct {
	Kind string `json:"kind,omitzero"` // member (default), device or replica
	api.MemberInvite
}

// Requests of one or two fields, as the Go methods have arguments.
type (
	newName struct {
		Name string `json:"name"`
	}
	toTeam struct {
		Team string `json:"team"`
	}
	ofDevice struct {
		Device string `json:"device"`
	}
	newRole struct {
		Member string   `json:"member"`
		Role   api.Role `json:"role"`
	}
	passphrase struct {
		Passphrase api.Secret `json:"passphrase"`
	}
)

type health struct {
	OK bool `json:"ok"`
}

// Routes returns the table.
func Routes() []Route {
	get, post, put, patch, del := http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	const team, db = "/v1/teams/{team}", "/v1/dbs/{db}"
	return []Route{
		{get, "/healthz", "whether the daemon answers", nil, nil, is[health](), One, answer(200, (*Server).health)},
		{get, "/v1/status", "the node, its databases, its warnings", nil, nil, is[api.Status](), One, answer(200, (*Server).status)},
		{get, "/v1/identity", "who this device is", nil, nil, is[api.Identity](), One, answer(200, (*Server).identity)},

		{get, "/v1/keys/recovery", "the words that bring the user back; they stay here", nil, nil, is[api.RecoveryKit](), One, answer(200, (*Server).recoveryKit)},
		{del, "/v1/keys/recovery", "take the words off this device", nil, nil, nil, None, noContent((*Server).forgetRecovery)},
		{post, "/v1/keys/recovery", "redeem the words of a recovery kit", nil, is[api.RecoverRequest](), is[api.Joined](), One, answer(200, (*Server).recover)},
		{post, "/v1/keys/lock", "lock the device's key with a passphrase", nil, is[passphrase](), nil, None, noContent((*Server).lockKeys)},
		{post, "/v1/keys/unlock", "take the passphrase off the device's key", nil, is[passphrase](), nil, None, noContent((*Server).unlockKeys)},

		{get, "/v1/peers", "connected peers and known devices", nil, nil, is[api.Peer](), Array, list((*Server).peers)},
		{post, "/v1/peers", "connect to a peer", nil, is[dial](), is[api.Peer](), One, answer(200, (*Server).connect)},

		{get, "/v1/teams", "all teams", nil, nil, is[api.TeamInfo](), Array, list((*Server).teams)},
		{post, "/v1/teams", "found a team", nil, is[newTeam](), is[api.TeamInfo](), One, answer(201, (*Server).createTeam)},
		{get, team, "one team", nil, nil, is[api.TeamInfo](), One, answer(200, (*Server).team)},
		{patch, team, "rename it", nil, is[newName](), nil, None, noContent((*Server).renameTeam)},
		{post, team + "/roles", "give a member another role", nil, is[newRole](), nil, None, noContent((*Server).setRole)},
		{post, team + "/remove", "remove a member, a device or a replica", nil, is[api.RemoveRequest](), is[api.Removal](), One, answer(200, (*Server).remove)},
		{post, team + "/leave", "leave it", nil, nil, nil, None, noContent((*Server).leave)},
		{post, team + "/rotate", "make a new key", nil, nil, is[api.TeamInfo](), One, answer(200, (*Server).rotate)},
		{post, team + "/adopt", "keep what a removed device wrote", nil, is[ofDevice](), nil, None, noContent((*Server).adopt)},
		{post, team + "/verify", "check every hash and signature of its chain", nil, nil, is[api.VerifyReport](), One, answer(200, (*Server).verifyTeam)},
		{post, team + "/share", "admit somebody by his did:key", nil, is[api.ShareRequest](), is[api.Shared](), One, answer(201, (*Server).shareWith)},
		{get, team + "/invites", "its invitations", nil, nil, is[api.Invite](), Array, list((*Server).invites)},
		{post, team + "/invites", "invite a member, a device or a replica", nil, is[newInvite](), is[api.Invite](), One, answer(201, (*Server).invite)},
		{del, team + "/invites/{id}", "revoke an invitation", nil, nil, nil, None, noContent((*Server).revoke)},
		{get, team + "/members", "its members", nil, nil, is[api.Member](), Array, list((*Server).members)},
		{get, team + "/devices", "its devices, or one member's", []string{"member"}, nil, is[api.Device](), Array, list((*Server).devices)},
		{get, team + "/chain", "its signed links, parents first", nil, nil, is[api.ChainLink](), Array, list((*Server).chain)},
		{post, "/v1/join", "redeem an invitation, or pick up what was shared", nil, is[api.JoinRequest](), is[api.Joined](), One, answer(200, (*Server).join)},

		{get, "/v1/dbs", "all databases", nil, nil, is[api.DBInfo](), Array, list((*Server).dbs)},
		{post, "/v1/dbs", "make a database", nil, is[newDB](), is[api.DBInfo](), One, answer(201, (*Server).createDB)},
		{get, db, "one database", nil, nil, is[api.DBInfo](), One, answer(200, (*Server).dbInfo)},
		{patch, db, "rename it", nil, is[newName](), nil, None, noContent((*Server).renameDB)},
		{post, db + "/move", "take it to another team", nil, is[toTeam](), is[api.DBInfo](), One, answer(200, (*Server).moveDB)},
		{del, db, "take it out of its team, for everybody", nil, nil, nil, None, noContent((*Server).dropDB)},
		{get, db + "/docs", "its documents by id", []string{"from", "to", "prefix", "desc", "limit", "asOf"}, nil, is[api.Doc](), Lines, lines((*Server).all)},
		{post, db + "/docs", "put a document, with a new id if it has none", nil, is[api.Doc](), is[api.PutResult](), One, (*Server).post},
		{get, db + "/docs/{id...}", "one document", []string{"meta", "conflicts", "asOf"}, nil, is[api.Doc](), One, (*Server).get},
		{put, db + "/docs/{id...}", "put a document", nil, is[api.Doc](), is[api.PutResult](), One, (*Server).put},
		{patch, db + "/docs/{id...}", "change some fields (RFC 7396)", nil, is[api.Doc](), is[api.PutResult](), One, (*Server).patch},
		{del, db + "/docs/{id...}", "delete a document", nil, nil, is[api.PutResult](), One, (*Server).delete},
		{post, db + "/restore/{id...}", "bring a deleted document back", nil, nil, is[api.PutResult](), One, (*Server).restore},
		{post, db + "/bulk", "many writes, all or none, JSON Lines both ways", nil, is[api.Write](), is[api.PutResult](), Lines, (*Server).bulk},
		{get, db + "/changes", "what changed, in order of arrival; feed=sse to go on", []string{"since", "limit", "docs", "feed"}, nil, is[api.Change](), Lines, (*Server).changes},
		{get, db + "/live", "the documents, then every change", nil, nil, is[api.LiveEvent](), Feed, (*Server).live},
		{post, db + "/sync", "ask everybody now; a line for every state", []string{"wait"}, nil, is[api.SyncEvent](), Lines, (*Server).sync},
		{get, db + "/explain", "who holds a document, or everything", []string{"id"}, nil, is[api.Explain](), One, answer(200, (*Server).explain)},
		{get, db + "/conflicts", "fields written concurrently", []string{"id"}, nil, is[api.Conflict](), Array, list((*Server).conflicts)},

		{get, db + "/log", "its commits, or those of one document, newest first", []string{"id", "void", "limit"}, nil, is[api.Commit](), Lines, lines((*Server).dbLog)},
		{get, db + "/diff", "documents that read differently at two points", []string{"id", "from", "to"}, nil, is[api.DocDiff](), Lines, lines((*Server).diff)},
		{post, db + "/revert/{id...}", "make a document read as it did", nil, is[api.RevertRequest](), is[api.PutResult](), One, answer(200, (*Server).revert)},
		{get, db + "/snapshots", "its labels", nil, nil, is[api.Snapshot](), Array, list((*Server).snapshots)},
		{post, db + "/snapshots", "label a state", nil, is[api.SnapshotRequest](), is[api.Snapshot](), One, answer(201, (*Server).createSnapshot)},
		{del, db + "/snapshots/{label}", "forget a label", nil, nil, nil, None, noContent((*Server).deleteSnapshot)},
		{post, db + "/verify", "read and check every block again; deep: every digest", nil, is[api.VerifyRequest](), is[api.VerifyReport](), One, answer(200, (*Server).verify)},
		{post, db + "/repair", "fetch damaged blocks, rebuild what is derived", nil, nil, is[api.VerifyReport](), One, answer(200, (*Server).repair)},
		{post, db + "/compact", "keep less history", nil, is[api.CompactOptions](), is[api.Summary](), One, answer(200, (*Server).compact)},
		{post, db + "/gc", "free what compactions left", nil, is[api.GCOptions](), is[api.Summary](), One, answer(200, (*Server).gc)},
	}
}

func is[T any]() reflect.Type { return reflect.TypeFor[T]() }
