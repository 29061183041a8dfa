package peering

import (
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/replicate"
)

// cue is why a peer is about to be pulled. In a crowd the same news come by several
// ways at once: what a peer announced may be here before its turn comes, and then
// there is nothing to ask it for. If not, both know that they differ, and the pull
// begins with its second question.
//
//	B says: heads x ──▶ cue ──▶ (waits) ──▶ x is here: moot
//	                                └─────▶ x is not: "what have you beyond my frontier?"
type cue struct {
	vague bool // there was something that cannot be ticked off
	said  map[block.TeamID][]message.Announcement
}

// maxCues bounds the announcements of one peer and team that are remembered; with
// more it is asked in any case.
const maxCues = 16

// announced notes an announcement of things we lack, for the pull from p that follows.
func (n *Network) announced(p peer.ID, team block.TeamID, said message.Announcement) {
	said.Commits = nil // only what it names
	n.mu.Lock()
	q := n.cued(p)
	if len(q.said[team]) < maxCues {
		q.said[team] = append(q.said[team], said)
	} else {
		q.vague = true
	}
	n.mu.Unlock()
	n.askSoon(p)
}

// ahead is called when a peer showed that it knows something we do not.
func (n *Network) ahead(p peer.ID) {
	n.mu.Lock()
	n.cued(p).vague = true
	n.mu.Unlock()
	n.askSoon(p)
}

// askSoon has the planner turn to a peer.
func (n *Network) askSoon(p peer.ID) {
	if dev, ok := DeviceOf(p); ok {
		n.plan(replicate.Announced{Peer: dev})
	}
}

// cued returns the cue of a peer, a new one if there is none. The caller holds mu.
func (n *Network) cued(p peer.ID) *cue {
	if n.cues[p] == nil {
		n.cues[p] = &cue{said: map[block.TeamID][]message.Announcement{}}
	}
	return n.cues[p]
}

// takeCue removes the cue of a peer and returns what is left of it: the teams of which
// something that it announced is still not here. It is moot if nothing is.
func (n *Network) takeCue(p peer.ID) (teams []block.TeamID, moot bool) {
	n.mu.Lock()
	q := n.cues[p]
	delete(n.cues, p)
	n.mu.Unlock()
	if q == nil {
		return nil, false
	}
	for id, said := range q.said {
		c := n.ledger.Chain(id)
		if c != nil && slices.ContainsFunc(said, func(a message.Announcement) bool { return !replicate.Holds(teamView{c, n.ledger}, a) }) {
			teams = append(teams, id)
		}
	}
	return teams, len(teams) == 0 && (!q.vague || planted.Bug("sync-cue-forgets-the-vague"))
}

// maxBrief is the largest frontier that is sent without having compared first.
const maxBrief = 64 << 10

// brief reports whether it takes few bytes to say where we stand in a team.
func (n *Network) brief(id block.TeamID) bool {
	size := 0
	if c := n.ledger.Chain(id); c != nil {
		for _, db := range c.Request().DBs {
			size += len(db.Frontier)
		}
	}
	return size <= maxBrief
}
