package team

import (
	"bytes"
	"slices"

	"github.com/toftdb/toft/block"
)

// This file answers what a node asks before it writes a link. Nothing here is a
// rule: a link written otherwise is judged by rule 1 like any other.

// Remaining returns the devices that stay active when a removal is written on top
// of this state: the recipients of the generation it makes. Replicas among them
// get the route key only. For other content these are all active devices.
func (s *State) Remaining(c Content) []Device {
	var out []Device
	for _, d := range s.Devices() {
		gone := false
		switch c := c.(type) {
		case RemoveMember:
			gone = d.Member == c.Target
		case RemoveDevice:
			gone = d.Key == c.Target
		case RemoveReplica:
			gone = d.Key == c.Device
		}
		if !gone && d.Status == StatusActive {
			out = append(out, d)
		}
	}
	return out
}

// RotationRank is the place of a device among those that may rotate: where no
// generation is good, the device of rank r waits r × 2 s, so that one of them does
// it. Replicas and recovery words do not count. -1 if it is not among them.
func (s *State) RotationRank(key block.Device) int {
	rank := 0
	for _, d := range s.Devices() {
		if d.Status != StatusActive || d.Role == RoleReplica || d.Recovery {
			continue
		}
		if d.Key == key {
			return rank
		}
		rank++
	}
	return -1
}

// FormerDevices returns the devices that were removed and did not come back, the
// most senior first: whose work may still be adopted.
func (s *State) FormerDevices() []Device {
	var out []Device
	for i, d := range s.devices {
		if d.Status == StatusRemoved && s.byKey[d.Key] == i {
			out = append(out, d)
		}
	}
	return out
}

// Revokes returns what a removal revokes unless told otherwise: the invitations
// that the target wrote or came by, and every one with more than one use, as far
// as author may revoke them. Sorted, at most MaxRevoked.
func (c *Chain) Revokes(author block.Device, removal Content) []block.ID {
	v, g := c.view(), c.g
	by := v.holder(g.lookup(author))
	if by == none {
		return nil
	}
	admin := v.roleOf(g.lookup(author)) == RoleAdmin
	mine := g.seats[by].member
	hit := func(s int32) bool { return s != none && g.hits(removal, s) }
	var came []int32 // invitations the target came by
	v.seats.all(func(s int32, x seatView) bool {
		if x.mark == counts && hit(s) && g.links[g.seats[s].link].action == ActAdmit {
			came = append(came, g.links[g.seats[s].link].invite)
		}
		return true
	})
	var out []block.ID
	v.invites.all(func(n int32, x inviteView) bool {
		if x.mark != counts || x.revoked != nil || !admin && g.seats[g.links[n].seat].member != mine {
			return true
		}
		if hit(g.links[n].seat) || slices.Contains(came, n) || g.links[n].content.(Invite).MaxUses != 1 {
			out = append(out, g.links[n].id)
		}
		return true
	})
	slices.SortFunc(out, func(a, b block.ID) int { return bytes.Compare(a[:], b[:]) })
	return out[:min(len(out), MaxRevoked)]
}

// hits reports whether a removal is about seat s.
func (g *graph) hits(removal Content, s int32) bool {
	st := g.seats[s]
	switch c := removal.(type) {
	case RemoveMember:
		return g.keys[g.members[st.member].id] == c.Target
	case RemoveDevice:
		return g.keys[st.key] == c.Target
	}
	return false
}

// BroughtIn returns the active devices that a device admitted, added or invited:
// what to look at when it turns out to have been stolen.
func (c *Chain) BroughtIn(by block.Device) []block.Device {
	v, g := c.view(), c.g
	key := g.lookup(by)
	var out []block.Device
	v.seats.all(func(s int32, x seatView) bool {
		if x.mark != counts || !v.isActive(s) {
			return true
		}
		l := g.links[g.seats[s].link]
		if l.n != 0 && (l.author == key || l.action == ActAdmit && g.links[l.invite].author == key) && g.seats[s].key != key {
			out = append(out, g.keys[g.seats[s].key])
		}
		return true
	})
	return out
}

// Confirmations returns the links that device should write by itself: it repeats
// each removal and demotion in force whose target is senior to its author, where
// device is an admin senior to the target and nobody else senior has confirmed it.
// Until then the target could undo it with a link on old heads.
func (c *Chain) Confirmations(device block.Device) []Content {
	v, g := c.view(), c.g
	me := v.holder(g.lookup(device))
	if me == none || v.roleOf(g.lookup(device)) != RoleAdmin {
		return nil
	}
	var out []Content
	done := map[int32]bool{}
	offer := func(s int32, cuts *list) {
		for e := cuts; e != nil; e = e.next {
			l := g.links[e.n]
			if done[e.n] || l.root != e.n || g.rank(s, l.seat) > 0 || g.rank(me, s) > 0 || v.confirmed(e.n, s, cuts) {
				continue
			}
			if conf := repeat(l.content, l.id); conf != nil && c.Check(device, conf) == nil {
				out, done[e.n] = append(out, conf), true
			}
		}
	}
	v.seats.all(func(s int32, x seatView) bool {
		if x.mark == counts {
			offer(s, x.ends)
			offer(s, v.keys.get(g.members[g.seats[s].member].id).demoted)
		}
		return true
	})
	return out
}

// confirmed reports whether a cut, or one that repeats it, is by somebody senior
// to seat s.
func (v *view) confirmed(cut, s int32, cuts *list) bool {
	for e := cuts; e != nil; e = e.next {
		if l := v.g.links[e.n]; l.root == cut && v.g.rank(l.seat, s) < 0 {
			return true
		}
	}
	return false
}

// repeat returns the confirmation of a cut, with its data heads.
func repeat(c Content, id block.ID) Content {
	switch c := c.(type) {
	case SetRole:
		return SetRole{Member: c.Member, Role: c.Role, Heads: c.Heads, Confirms: id}
	case RemoveMember:
		return RemoveMember{Removal{Target: c.Target, Heads: c.Heads, Confirms: id}}
	case RemoveDevice:
		return RemoveDevice{Removal{Target: c.Target, Heads: c.Heads, Confirms: id}}
	}
	return nil
}

// Adopt returns the confirmation that keeps more of a removed device's work than
// the remover had seen: a person's decision. heads should contain those of the
// removal. False if the device was not removed.
func (c *Chain) Adopt(device block.Device, heads []DBHeads) (Content, bool) {
	v, g := c.view(), c.g
	for _, s := range v.keys.get(g.lookup(device)).seats {
		for e := v.seats.get(s).ends; e != nil; e = e.next {
			switch x := g.links[e.n].content.(type) {
			case RemoveMember:
				return RemoveMember{Removal{Target: x.Target, Heads: heads, Confirms: g.links[e.n].id}}, true
			case RemoveDevice:
				return RemoveDevice{Removal{Target: x.Target, Heads: heads, Confirms: g.links[e.n].id}}, true
			}
		}
	}
	return nil, false
}
