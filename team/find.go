package team

import (
	"slices"
	"strings"

	"github.com/toftdb/toft/block"
)

// NamedKind says what somebody meant by a name.
type NamedKind string

// What a name can mean.
const (
	NamedMember  NamedKind = "member"
	NamedDevice  NamedKind = "device"
	NamedReplica NamedKind = "replica"
)

// Named is a member or a device that a person named.
type Named struct {
	Key    block.Device // the member's id, or the device's key
	Name   string
	Kind   NamedKind
	Member block.Device // whose it is
}

// findPrefix is how much of an id must be given: all begin alike.
const findPrefix = 12

// Find returns whom a text means: members by name or id, else devices by name or key,
// else either by a prefix of its id. More than one: the text is not enough. former
// looks among the devices that were removed instead.
func (s *State) Find(text string, former bool) []Named {
	var named, begun []Named
	offer := func(n Named) {
		id := n.Key.String()
		switch {
		case text == "":
		case n.Name == text || id == text:
			named = append(named, n)
		case len(text) >= findPrefix && strings.HasPrefix(id, text):
			begun = append(begun, n)
		}
	}
	devices := s.Devices()
	if former {
		devices = s.FormerDevices()
	} else {
		for _, m := range s.Members() {
			kind := NamedMember
			if m.Role == RoleReplica {
				kind = NamedReplica
			}
			offer(Named{m.ID, m.Name, kind, m.ID})
		}
	}
	if len(named) == 0 {
		for _, d := range devices {
			if !d.Recovery {
				offer(Named{d.Key, d.Name, NamedDevice, d.Member})
			}
		}
	}
	if len(named) == 0 {
		named = begun
	}
	return slices.CompactFunc(named, func(a, b Named) bool { return a.Key == b.Key })
}
