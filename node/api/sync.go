package api

import (
	"context"
	"iter"
	"time"
)

// Syncing is the part of [DB] that is about the other devices: who holds what, and
// bringing everybody who can be reached to the same state.
type Syncing interface {
	// Sync asks everybody who can be reached, now, and yields how the database stands
	// at first and whenever that changes. With wait it ends once every reachable
	// member has what this device has and this device theirs, else after it has asked
	// once. [ErrUnreachable] when the network is off; nobody being there is no error
	// but a state, [Connecting].
	Sync(ctx context.Context, wait bool) iter.Seq2[SyncEvent, error]
	// Explain says which other devices hold a document, or for the empty string
	// everything, since when, and why the others do not. [ErrNotFound].
	Explain(ctx context.Context, id string) (Explain, error)
}

// SyncPhase is how far a database is on the way to everybody.
type SyncPhase string

// The phases, in order.
const (
	Connecting SyncPhase = "connecting" // no member of its team is connected
	Authorized SyncPhase = "authorized" // members are, each has seen that the other is on the roster
	Synced     SyncPhase = "in sync"    // all that are connected hold the same
)

// SyncEvent is one state of [Syncing.Sync].
type SyncEvent struct {
	DB       string    `json:"db"`
	State    SyncPhase `json:"state"`
	Peers    int       `json:"peers"`             // connected members
	Equal    int       `json:"equal"`             // of them, how many hold the same
	Waiting  []string  `json:"waiting,omitempty"` // devices that lack something and are not online
	Progress *Progress `json:"progress,omitzero"` // what comes in, if something does
}

// Explain is who holds what: JSON of `toft explain`.
type Explain struct {
	DB      string   `json:"db"`
	ID      string   `json:"id,omitzero"`  // of the document; left out: everything
	Rev     string   `json:"rev,omitzero"` // of the document
	Commits []string `json:"commits"`      // bafkrei…: which commits are looked for
	Holders []Holder `json:"holders"`      // every other active device of the team
	// Problems say what keeps devices from coming to the same state.
	Problems []string `json:"problems,omitempty"`
}

// Holder is one other device in an [Explain].
type Holder struct {
	PeerID   string    `json:"peerId"`
	Device   string    `json:"device"`
	Member   string    `json:"member"`
	State    string    `json:"state"`             // has, stored (as blocks it cannot read) or lacks (as far as is known)
	Signed   bool      `json:"signed,omitzero"`   // the device signed that it does
	Since    time.Time `json:"since,omitzero"`    // when it said so, by its clock
	Online   bool      `json:"online"`            // connected to this device
	LastSeen time.Time `json:"lastSeen,omitzero"` // when it last said anything
	Why      string    `json:"why"`               // how that is known, or why it does not
}
