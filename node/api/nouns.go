package api

import "time"

// Identity is who a device is: JSON of `toft id`.
type Identity struct {
	User    string    `json:"user"`
	Device  string    `json:"device"` // name
	PeerID  string    `json:"peerId"` // 12D3KooW…
	DID     string    `json:"did"`    // did:key:z6Mk…
	Words   []string  `json:"words"`  // 8 words: the fingerprint to read out aloud
	Created time.Time `json:"created,omitzero"`
}

// Status is how the node is: JSON of `toft status`.
type Status struct {
	Version       string     `json:"version"`
	Device        Identity   `json:"device"`
	UptimeSeconds int64      `json:"uptimeSeconds"`
	Network       Net        `json:"network"`
	Teams         []TeamInfo `json:"teams"`
	DBs           []DBState  `json:"dbs"`
	Warnings      []Check    `json:"warnings"`
}

// Net is how the node stands in the network.
type Net struct {
	Reachability string   `json:"reachability"` // public, private, unknown or offline
	Addrs        []string `json:"addrs"`        // multiaddrs that end in /p2p/PEERID
	Relays       []string `json:"relays"`
	MDNSPeers    int      `json:"mdnsPeers"`
	DHTPeers     int      `json:"dhtPeers"`
}

// SyncState says how one database stands to the connected peers that have it.
type SyncState string

// The states of a database.
const (
	InSync    SyncState = "in sync"
	Sending   SyncState = "sending"
	Receiving SyncState = "receiving"
	Offline   SyncState = "offline" // no peer that has it is connected
	Locked    SyncState = "locked"  // a key for it has not arrived
)

// DBState is one database in [Status].
type DBState struct {
	Name     string    `json:"name"`
	ID       string    `json:"id"` // db-…
	Team     string    `json:"team,omitzero"`
	Docs     int64     `json:"docs"`
	Bytes    int64     `json:"bytes"`
	Heads    []string  `json:"heads"`  // bafkrei…, sorted
	Digest   string    `json:"digest"` // 64 hex digits; equal digests = equal states
	Peers    int       `json:"peers"`  // connected peers that have it
	State    SyncState `json:"state"`
	Progress *Progress `json:"progress,omitzero"` // of what comes in
	Waiting  []string  `json:"waiting,omitempty"` // devices that lack something and are not online
}

// Progress is how far a long piece of work is. Total 0: not known yet.
type Progress struct {
	Phase      string  `json:"phase"`
	Done       int64   `json:"done"`
	Total      int64   `json:"total"`
	BytesDone  int64   `json:"bytesDone"`
	BytesTotal int64   `json:"bytesTotal"`
	Rate       float64 `json:"rate"` // done per second
	ETASeconds float64 `json:"etaSeconds"`
}

// Severity of a [Check].
type Severity string

// The severities, from least to most.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Alarm   Severity = "alarm"
)

// Check is one finding about the health of the node.
type Check struct {
	ID       string   `json:"id"` // stable, such as key_missing
	Severity Severity `json:"severity"`
	Title    string   `json:"title"`
	Detail   string   `json:"detail"`
	Fix      string   `json:"fix,omitzero"` // a command
}

// Peer is another device as the network sees it: JSON of `toft peers`.
type Peer struct {
	PeerID   string    `json:"peerId"`
	Device   string    `json:"device,omitzero"` // its name, if it is in a team of ours
	Member   string    `json:"member,omitzero"`
	Path     string    `json:"path"` // direct, lan, relay; none when not connected
	Addr     string    `json:"addr"`
	RTTMs    float64   `json:"rttMs"` // 0: not measured
	RX       int64     `json:"rx"`    // bytes received
	TX       int64     `json:"tx"`    // bytes sent
	LastSeen time.Time `json:"lastSeen,omitzero"`
}

// Role is what a member may do.
type Role string

// The roles, from most to least.
const (
	RoleAdmin   Role = "admin"
	RoleMember  Role = "member"
	RoleReader  Role = "reader"
	RoleReplica Role = "replica"
)

// TeamInfo is one team: JSON of `toft team show`.
type TeamInfo struct {
	ID         string   `json:"id"` // team-…
	Name       string   `json:"name"`
	Personal   bool     `json:"personal,omitzero"`
	Role       Role     `json:"role"` // ours
	Members    int      `json:"members"`
	Devices    int      `json:"devices"`
	Generation string   `json:"generation"` // gen-…, the one written under
	Heads      []string `json:"heads"`      // bafkrei…, sorted
}

// Invite is an invitation. Code and Link are there only when it has just been made.
type Invite struct {
	ID      string    `json:"id"`   // inv-…
	Team    string    `json:"team"` // name
	Kind    string    `json:"kind"` // member, device or replica
	Role    Role      `json:"role"`
	Code    string    `json:"code,omitzero"`
	Link    string    `json:"link,omitzero"`  // toft:join/…
	Apart   bool      `json:"apart,omitzero"` // the seed is one of the inviter's own, and not in the code
	MaxUses uint64    `json:"maxUses"`        // 0: unlimited
	Uses    uint64    `json:"uses"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	By      string    `json:"by"`               // name of the member
	State   string    `json:"state"`            // open, expired, used or revoked
}

// Joined is the outcome of a join.
type Joined struct {
	Team        TeamInfo `json:"team"`
	DBs         []DBInfo `json:"dbs"`
	AdmittedBy  string   `json:"admittedBy"`           // name of the member
	Words       []string `json:"words"`                // the same 4 words on both sides; of a share, the inviter's 8
	Provisional bool     `json:"provisional,omitzero"` // not yet confirmed by a second member
}

// Member is a person in a team: JSON of `toft team members`.
type Member struct {
	ID         string    `json:"id"` // the device key the member is named after, as a PeerID
	Name       string    `json:"name"`
	Role       Role      `json:"role"`
	Devices    int       `json:"devices"`
	AdmittedBy string    `json:"admittedBy"`
	Joined     time.Time `json:"joined,omitzero"`
	State      string    `json:"state"` // active, suspended or removed
}

// Device is a device in a team: JSON of `toft team devices`.
type Device struct {
	PeerID   string    `json:"peerId"`
	Name     string    `json:"name"`
	Member   string    `json:"member"`
	State    string    `json:"state"` // active, suspended or removed
	LastSeen time.Time `json:"lastSeen,omitzero"`
}

// ChainLink is one link of a team's chain: JSON of `toft team log`.
type ChainLink struct {
	CID     string    `json:"cid"`
	Parents []string  `json:"parents"`
	Action  string    `json:"action"`          // as in docs/format.md: CREATE, INVITE, ADMIT, …
	By      string    `json:"by"`              // PeerID of the author
	Device  string    `json:"device,omitzero"` // its name
	Member  string    `json:"member,omitzero"` // whose it is
	Time    time.Time `json:"time,omitzero"`
	Valid   bool      `json:"valid"`
	Why     string    `json:"why,omitzero"` // why it does not count
}

// DBInfo is one database: JSON of `toft db show`.
type DBInfo struct {
	Name    string   `json:"name"`
	ID      string   `json:"id"` // db-…
	Team    string   `json:"team,omitzero"`
	Docs    int64    `json:"docs"`
	Bytes   int64    `json:"bytes"`
	Indexes []string `json:"indexes"`
	// Unaudited is the device whose word it is that the documents are what was written:
	// the database began at its checkpoint, and the history below is not here. Empty
	// once it is, and agrees.
	Unaudited string `json:"unaudited,omitzero"`
}

// PutResult is what a write made. Commit is empty where there was nothing to
// change.
type PutResult struct {
	ID     string `json:"id"`
	Rev    string `json:"rev"`
	Commit string `json:"commit"` // bafkrei…
}

// Change is one row of a changes feed.
type Change struct {
	Cursor  Cursor    `json:"cursor"` // resume after this row
	ID      string    `json:"id"`
	Rev     string    `json:"rev"`
	Deleted bool      `json:"deleted,omitzero"`
	Commit  string    `json:"commit"`
	Time    time.Time `json:"time,omitzero"`
	Doc     Doc       `json:"doc,omitzero"`
}

// Op is what a [LiveEvent] tells.
type Op string

// The events of a watch.
const (
	OpInit   Op = "init"   // a document that was there when the watch began
	OpReady  Op = "ready"  // all of them have been told
	OpAdd    Op = "add"    // a new document
	OpChange Op = "change" // a document reads differently
	OpRemove Op = "remove" // a document is gone
	OpGap    Op = "gap"    // events were dropped; the watch starts again from OpInit
)

// LiveEvent is one event of a watch. Ready and gap have no ID; remove has no Doc.
type LiveEvent struct {
	Op  Op     `json:"op"`
	ID  string `json:"id,omitzero"`
	Rev string `json:"rev,omitzero"`
	Doc Doc    `json:"doc,omitzero"`
}

// Conflict is one field that was written concurrently: what everybody sees, and
// what else was written.
type Conflict struct {
	ID     string   `json:"id"`
	Path   []string `json:"path"` // keys from the outside in
	Winner Value    `json:"winner"`
	Others []Other  `json:"others"`
}

// Other is a value that lost, by whom and when it was written.
type Other struct {
	Value  Value     `json:"value"`
	Member string    `json:"member"`
	Device string    `json:"device"`
	Time   time.Time `json:"time,omitzero"`
}
