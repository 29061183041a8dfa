package team

import "fmt"

// Action says what a link does. Numbers are frozen.
type Action uint16

// The actions of version 1.
const (
	ActCreate        Action = 1
	ActInvite        Action = 2
	ActRevoke        Action = 3
	ActAdmit         Action = 4
	ActAddMember     Action = 5
	ActAddDevice     Action = 6
	ActSetRole       Action = 7
	ActRemoveMember  Action = 8
	ActRemoveDevice  Action = 9
	ActRotate        Action = 10
	ActBox           Action = 11
	ActAddDB         Action = 12
	ActRemoveDB      Action = 13
	ActName          Action = 14
	ActRemoveReplica Action = 15
	ActMemberOf      Action = 16
)

// String returns the name that logs and the design use, as in "ADD_MEMBER".
func (a Action) String() string {
	names := [...]string{
		ActCreate: "CREATE", ActInvite: "INVITE", ActRevoke: "REVOKE", ActAdmit: "ADMIT",
		ActAddMember: "ADD_MEMBER", ActAddDevice: "ADD_DEVICE", ActSetRole: "SET_ROLE",
		ActRemoveMember: "REMOVE_MEMBER", ActRemoveDevice: "REMOVE_DEVICE", ActRotate: "ROTATE",
		ActBox: "BOX", ActAddDB: "ADD_DB", ActRemoveDB: "REMOVE_DB", ActName: "NAME",
		ActRemoveReplica: "REMOVE_REPLICA", ActMemberOf: "MEMBER_OF",
	}
	if a == 0 || int(a) >= len(names) {
		return fmt.Sprintf("UNKNOWN_%d", uint16(a))
	}
	return names[a]
}

// Known reports whether this version knows what the action does.
func (a Action) Known() bool { return a >= ActCreate && a <= ActMemberOf }

// Role is what a member may do; a greater role may do all a lesser one may.
type Role uint8

// The roles. The zero Role is "not on the team".
const (
	RoleReplica Role = 1 // holds and serves blocks, reads nothing, authors nothing
	RoleReader  Role = 2 // reads; may leave, name itself, bring own devices, admit
	RoleMember  Role = 3 // reads and writes
	RoleAdmin   Role = 4 // changes the team
)

// String returns the word the CLI and the API use.
func (r Role) String() string {
	switch r {
	case RoleReplica:
		return "replica"
	case RoleReader:
		return "reader"
	case RoleMember:
		return "member"
	case RoleAdmin:
		return "admin"
	case 0:
		return "none"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// ParseRole reads replica, reader, member or admin.
func ParseRole(s string) (Role, error) {
	for r := RoleReplica; r <= RoleAdmin; r++ {
		if r.String() == s {
			return r, nil
		}
	}
	return 0, fmt.Errorf("%.20q is no role: use admin, member, reader or replica", s)
}

// person reports whether r is a role a person may hold.
func (r Role) person() bool { return r >= RoleReader && r <= RoleAdmin }

// InviteKind says what an invitation admits.
type InviteKind uint8

// The kinds of invitation.
const (
	InviteMember  InviteKind = 1 // a new member with a device
	InviteDevice  InviteKind = 2 // a device for the inviter's own member
	InviteReplica InviteKind = 3 // a blind replica
)

// String returns member, device or replica.
func (k InviteKind) String() string {
	switch k {
	case InviteMember:
		return "member"
	case InviteDevice:
		return "device"
	case InviteReplica:
		return "replica"
	}
	return fmt.Sprintf("invite kind %d", uint8(k))
}

// NameKind says whose display name a NAME link sets.
type NameKind uint8

// What can be named.
const (
	NameTeam   NameKind = 1 // subject absent
	NameDB     NameKind = 2 // subject: the 16 bytes of the database id
	NameMember NameKind = 3 // subject: the member's id; only one's own
	NameDevice NameKind = 4 // subject: the device's key; only one's own member's
)
