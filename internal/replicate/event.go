package replicate

import "github.com/toftdb/toft/block"

// Event is something that happened: [Connected], [Disconnected], [Announced],
// [News], [Progress], [PullDone] or [Tick].
type Event interface{ event() }

// Connected: a member of one of our teams is connected. The caller reports no
// strangers; a peer admitted while connected is reported then.
type Connected struct{ Peer block.Device }

// Disconnected: the last connection to the peer is gone, or it is no member now.
// A pull in flight still ends with PullDone.
type Disconnected struct{ Peer block.Device }

// Announced: the peer showed heads that we lack and that did not come with it.
type Announced struct{ Peer block.Device }

// News: we hold something new, and announcements do not reach everybody who is
// connected.
type News struct{}

// Progress: the pull in flight from the peer received something.
type Progress struct{ Peer block.Device }

// PullDone: the pull ended, in whatever way. Every [Pull] is answered by exactly
// one PullDone, also after [Leave].
type PullDone struct {
	Peer    block.Device
	Outcome Outcome
}

// Tick: time has passed; nothing else happened. Due at [Planner.Wake].
type Tick struct{}

func (Connected) event()    {}
func (Disconnected) event() {}
func (Announced) event()    {}
func (News) event()         {}
func (Progress) event()     {}
func (PullDone) event()     {}
func (Tick) event()         {}

// Outcome is how a pull ended.
type Outcome uint8

// The outcomes of a pull.
const (
	Equal      Outcome = iota // the peer has nothing that we lack
	Progressed                // we took everything the peer had for us
	Failed                    // refused, broken off, or wrong
	Stalled                   // left for bringing nothing
	Moot                      // not asked: what it announced came from somebody else
)

// Action is something for the caller to do: [Pull] or [Leave].
type Action interface{ action() }

// Pull: start a pull from the peer.
type Pull struct {
	Peer block.Device
	Why  Reason
}

// Leave: cancel the pull in flight from the peer; it has stalled.
type Leave struct{ Peer block.Device }

func (Pull) action()  {}
func (Leave) action() {}

// Reason says why a pull was asked for; status and the trace show it.
type Reason uint8

// The reasons of a pull.
const (
	OnConnect  Reason = iota // the peer connected
	OnAnnounce               // the peer announced what we lack
	OnTimer                  // its turn in the random round
	OnRetry                  // the last pull from it failed
	Instead                  // another peer failed to deliver
)

// String returns one word.
func (r Reason) String() string {
	switch r {
	case OnConnect:
		return "connected"
	case OnAnnounce:
		return "announced"
	case OnTimer:
		return "timer"
	case OnRetry:
		return "retry"
	case Instead:
		return "instead"
	}
	return "unknown"
}
