package team

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/toftdb/toft/block"
)

// soup draws random links of every kind by random authors on random heads, some of
// them hostile, and adds them to a world.
type soup struct {
	w     *world
	court bool             // admins at each other's throats: little else than cuts
	calm  bool             // nobody lies: the beginning
	joins bool             // everybody comes by invitation
	vouch func() []DBHeads // data heads of cuts; nil: none
	pick  func(n int) int  // 0 ≤ … < n
	size  int
}

var soupPeople = []string{"a", "b", "c", "d"}
var soupDevices = []string{"a", "b", "c", "d", "b2", "c2", "rep", "a-words"}

func one[T any](s *soup, xs []T) T { return xs[s.pick(len(xs))] }

func (s *soup) grow() {
	names := []string{s.w.nameOf(s.w.all[len(s.w.all)-1].ID)}
	put := func(author string, content made, parents ...string) {
		name := fmt.Sprintf("L%d", len(s.w.all)-1)
		s.w.add(name, by(author, content).with(s.spoil(names)), parents...)
		if s.w.errs[name] == nil || !s.calm && s.pick(20) == 0 { // seldom above what was refused
			names = append(names, name)
		}
	}
	s.calm = true
	team := soupPeople[1 : 1+s.pick(4)] // to begin with
	if s.court {
		team = soupPeople[1:]
	}
	if s.joins {
		put("a", invite("i1", InviteMember, RoleMember, uint64(s.pick(4))), names[len(names)-1])
		put("a", invite("i2", InviteDevice, 0, 1), names[len(names)-1])
		put("a", invite("i3", InviteReplica, RoleReplica, 0), names[len(names)-1])
		put("a", admit(names[1], "b", "a"), names[len(names)-1])
		put("a", role("b", RoleAdmin), names[len(names)-1])
		team = nil
	}
	for _, who := range team {
		r := Role(2 + s.pick(3))
		if s.court {
			r = RoleAdmin
		}
		put("a", add(who, r), names[len(names)-1])
	}
	if s.pick(2) == 0 {
		put("a", invite("i0", InviteMember, Role(2+s.pick(2)), uint64(s.pick(3))), names[len(names)-1])
	}
	if s.joins && s.pick(2) == 0 { // one use on both sides of a partition
		at := names[len(names)-1]
		put("a", invite("i5", InviteMember, RoleMember, 1), at)
		put("a", invite("i6", InviteDevice, 0, 1), names[len(names)-1])
		at, link := names[len(names)-1], names[len(names)-1-s.pick(2)]
		put("a", admit(link, "c", "a"), at)
		left := names[len(names)-1]
		put("b", admit(link, "d", "b"), at)
		put("a", rename(NameTeam, nil, "merged"), left, names[len(names)-1])
	}
	if s.pick(3) == 0 {
		put("a", addDB("notes"), names[len(names)-1])
	}
	if s.pick(4) == 0 {
		put("a", invite("i4", InviteReplica, RoleReplica, 1), names[len(names)-1])
		put("a", admit(names[len(names)-1], "rep", "a"), names[len(names)-1])
	}
	s.calm = false
	start := len(names)
	branch := []string{names[start-1], names[start-1], names[start-1]}[:1+s.pick(3)]
	for len(s.w.all) < s.size {
		at := s.pick(len(branch))
		parents := []string{branch[at]}
		switch s.pick(12) {
		case 0: // anywhere
			parents = []string{one(s, names)}
		case 1: // on top of everything
			parents = s.heads(names)
		case 2: // on one more, which may be below the first
			if s.pick(6) == 0 {
				parents = append(parents, one(s, names))
			}
		}
		past := s.w.past([]*UnverifiedLink{s.w.named[parents[0]]})
		author := one(s, soupDevices)
		for range 3 { // somebody who may well be there
			if seatIn(past, dev(author).dev).IsZero() {
				author = one(s, soupDevices)
			}
		}
		n := len(names)
		put(author, s.content(names, author), parents...)
		if len(names) > n {
			branch[at] = names[n]
		}
	}
}

// heads are the named links that no other has as a parent.
func (s *soup) heads(names []string) []string {
	used := map[block.ID]bool{}
	for _, u := range s.w.all {
		for _, p := range u.Header.Links {
			used[p] = true
		}
	}
	var out []string
	for _, n := range names {
		if u := s.w.named[n]; !used[u.ID] && s.w.errs[n] == nil {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return names[:1]
	}
	return out
}

// of returns the names of links of some actions, or nil.
func (s *soup) of(names []string, acts ...Action) (out []string) {
	for _, n := range names {
		if slices.Contains(acts, s.w.named[n].Content.Action()) {
			out = append(out, n)
		}
	}
	return out
}

// spoil lies, now and then, about what stands beside the content of a link.
func (s *soup) spoil(names []string) func(u *UnverifiedLink) {
	other := func() block.ID { return s.w.named[one(s, names)].ID }
	if s.calm {
		return nil
	}
	switch s.pick(60) {
	case 0:
		return func(u *UnverifiedLink) { u.Header.Generation = block.Generation(other()) }
	case 1:
		return func(u *UnverifiedLink) { u.Header.Seat = other() }
	case 2:
		return func(u *UnverifiedLink) { u.Header.Critical = true }
	}
	return nil
}

func (s *soup) content(names []string, author string) made {
	f := s.action(names, author)
	return func(w *world, past []*UnverifiedLink) Content {
		c := f(w, past)
		if s.vouch == nil {
			return c
		}
		switch x := c.(type) {
		case RemoveMember:
			x.Heads = s.vouch()
			return x
		case RemoveDevice:
			x.Heads = s.vouch()
			return x
		case SetRole:
			if x.Role == RoleReader {
				x.Heads = s.vouch()
			}
			return x
		}
		return c
	}
}

func (s *soup) action(names []string, author string) made {
	who, r := one(s, soupPeople), Role(2+s.pick(3))
	invites := s.of(names, ActInvite)
	cuts := s.of(names, ActSetRole, ActRemoveMember, ActRemoveDevice)
	kind := s.pick(30)
	if s.court {
		kind = []int{0, 3, 3, 4, 5, 5, 6, 7, 9, 9, 9, 17, 27}[s.pick(13)]
	}
	if s.joins {
		kind = []int{3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 14, 14, 14, 14, 17, 18, 19, 21, 22, 27}[s.pick(20)]
	}
	switch kind {
	case 0, 1, 2:
		return add(who, r)
	case 3, 4:
		return role(who, r)
	case 5:
		return remove(who)
	case 6:
		return removeDev(one(s, soupDevices))
	case 7:
		return leave(who)
	case 8:
		return dropDev(one(s, soupDevices))
	case 9, 10:
		if len(cuts) > 0 {
			if s.pick(2) == 0 {
				cuts = cuts[max(0, len(cuts)-3):]
			}
			return confirm(one(s, cuts))
		}
	case 11:
		return invite(fmt.Sprint("i", s.pick(5)), InviteMember, Role(2+s.pick(2)), uint64(s.pick(3)))
	case 12:
		return invite(fmt.Sprint("i", s.pick(5)), InviteDevice, 0, 1)
	case 13:
		if s.pick(2) == 0 {
			return bound(fmt.Sprint("i", s.pick(5)), who, RoleAdmin)
		}
		return invite(fmt.Sprint("i", s.pick(5)), InviteReplica, RoleReplica, uint64(s.pick(2)))
	case 14, 15, 16:
		if len(invites) > 0 {
			return func(w *world, past []*UnverifiedLink) Content {
				link, who, admitter := one(s, invites), one(s, soupDevices[1:7]), author
				if s.pick(30) == 0 {
					admitter = one(s, soupDevices) // a proof for somebody else, shown again
				}
				if s.pick(8) == 0 {
					return admitWords(link, who, admitter)(w, past)
				}
				return admit(link, who, admitter)(w, past)
			}
		}
	case 17:
		if len(invites) > 0 {
			if s.pick(2) == 0 {
				return revoke(one(s, invites))
			}
			return revoking(remove(who), one(s, invites))
		}
	case 18:
		return device(one(s, soupDevices), one(s, []string{who, author}))
	case 19:
		gens := append([]string{"G"}, s.of(names, ActRotate, ActRemoveMember)...)
		if s.pick(2) == 0 {
			return boxes(one(s, gens), one(s, soupDevices))
		}
		return rotate()
	case 20, 28, 29:
		return s.label(author)
	case 21:
		return removeReplica("rep")
	case 22:
		return ownKey(author, one(s, []string{"x", "y"}))
	case 23:
		return addWords(who, r, one(s, []string{who, who, author}))
	case 24:
		return ownWords(author)
	case 25:
		return memberOf(byte(1+s.pick(2)), s.pick(2) == 0)
	case 26:
		return func(*world, []*UnverifiedLink) Content { return Unknown{Number: 77} }
	case 27: // repeats a removal, and revokes what it did not
		if removals := s.of(names, ActRemoveMember, ActRemoveDevice); len(removals) > 0 && len(invites) > 0 {
			return revoking(confirm(one(s, removals)), one(s, invites))
		}
	}
	return role(who, r)
}

// label draws what concerns databases and names.
func (s *soup) label(author string) made {
	k, db := dev(author).dev, dbID("notes")
	switch s.pick(6) {
	case 0:
		return removeDB("notes")
	case 1:
		return rename(NameMember, k[:], "x")
	case 2:
		return rename(NameDevice, k[:], "x's")
	case 3:
		return rename(NameDB, db[:], "Notes")
	case 4:
		return rename(NameTeam, nil, "us")
	}
	return addDB("notes")
}

// newSoup makes a world of size links; admissions get a proof for their author.
func newSoup(t testing.TB, seed uint64, size int) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newSalted(t, "a", fmt.Sprint(seed), rng.IntN(3) == 0)
	w.fast = true
	s := &soup{w: w, pick: rng.IntN, size: size, court: seed%3 == 1, joins: seed%3 == 2}
	s.grow()
	return w
}
