package team

import (
	"testing"

	"github.com/toftdb/toft/block"
)

// TestFind asks a state for people as a person types them: two bobs, a bob whose
// laptop is called ann, and a device that was removed.
func TestFind(t *testing.T) {
	key := func(b byte) block.Device { return block.Device{1, b} }
	s := &State{
		members: []Member{
			{ID: key(1), Name: "ann", Role: RoleAdmin, Status: StatusActive},
			{ID: key(2), Name: "bob", Role: RoleMember, Status: StatusActive},
			{ID: key(3), Name: "bob", Role: RoleMember, Status: StatusActive},
			{ID: key(4), Role: RoleReplica, Status: StatusActive},
		},
		devices: []Device{
			{Key: key(1), Name: "laptop", Member: key(1), Status: StatusActive},
			{Key: key(2), Name: "ann", Member: key(2), Status: StatusActive},
			{Key: key(5), Name: "phone", Member: key(2), Status: StatusRemoved},
			{Key: key(6), Name: "words", Member: key(1), Status: StatusActive, Recovery: true},
		},
		byMember: map[block.Device]int{key(1): 0, key(2): 1, key(3): 2, key(4): 3},
		byKey:    map[block.Device]int{key(1): 0, key(2): 1, key(5): 2, key(6): 3},
	}
	for _, c := range []struct {
		text   string
		former bool
		want   []Named
	}{
		{"ann", false, []Named{{key(1), "ann", NamedMember, key(1)}}}, // a member before a device of that name
		{"bob", false, []Named{{key(2), "bob", NamedMember, key(2)}, {key(3), "bob", NamedMember, key(3)}}},
		{"laptop", false, []Named{{key(1), "laptop", NamedDevice, key(1)}}},
		{"phone", false, nil},
		{"phone", true, []Named{{key(5), "phone", NamedDevice, key(2)}}},
		{"laptop", true, nil},
		{"words", false, nil},
		{"", false, nil},
		{key(4).String(), false, []Named{{key(4), "", NamedReplica, key(4)}}},
		{key(4).String()[:5], false, nil}, // all ids begin alike
	} {
		got := s.Find(c.text, c.former)
		if len(got) != len(c.want) {
			t.Fatalf("%q: %v, want %v", c.text, got, c.want)
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Fatalf("%q: %v, want %v", c.text, got[i], c.want[i])
			}
		}
	}
}
