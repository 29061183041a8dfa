package team

import (
	"bytes"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// Status says how a member, a device or an invitation stands.
type Status uint8

// The statuses.
const (
	StatusActive    Status = 1
	StatusSuspended Status = 2 // the invitation it came by was used up elsewhere
	StatusRemoved   Status = 3
	StatusVoid      Status = 4 // its admission does not count, or a senior holds the key
	StatusOpen      Status = 5 // of an invitation
	StatusUsed      Status = 6
	StatusRevoked   Status = 7
)

// String returns the word the CLI and the API use.
func (s Status) String() string {
	return [...]string{"unknown", "active", "suspended", "removed", "void", "open", "used", "revoked"}[s%8]
}

// Member is a member of the team.
type Member struct {
	ID         block.Device // the key of his first device
	Name       string       // a label; may be empty, may repeat
	Role       Role
	Seat       block.ID       // his member seat
	Devices    []block.Device // active and suspended ones, the most senior first
	AdmittedBy block.Device   // the author of the seat
	Joined     wire.Time
	Status     Status
}

// Device is a device of a member, or of a replica.
type Device struct {
	Key      block.Device
	Name     string
	Member   block.Device
	Role     Role
	Seat     block.ID // what its links and commits name
	BoxKey   block.BoxKey
	Recovery bool // words on paper: gets boxes, is never online
	Status   Status
}

// Invitation is an INVITE and what became of it. Expiry is the admitter's to check.
type Invitation struct {
	Link    block.ID
	ID      block.InviteID
	Kind    InviteKind
	Role    Role
	MaxUses uint64 // 0: unlimited
	Uses    uint64
	Expires wire.Time // 0: never
	Key     block.Device
	Bound   block.Device // zero: anybody
	By      block.Device
	Status  Status
}

// DB is a database of the team.
type DB struct {
	ID     block.DBID
	Name   string
	Number uint64
	Secret block.Secret
	Base   *Base // not nil: moved here
	Added  block.ID
}

// Generation is a current generation.
type Generation struct {
	ID      block.Generation
	Parents []block.Generation
	Keys    Keys
	Good    bool // everybody who knows the key is still on the team
}

// Lack is an active device that may lack the box of a current generation.
type Lack struct {
	Device     block.Device
	Generation block.Generation
}

// State is what a chain says under one set of heads. It is immutable and safe for
// concurrent use. Slices it returns must not be changed.
type State struct {
	team      block.TeamID
	heads     []block.ID
	name      string
	members   []Member // by seniority, former ones too
	devices   []Device
	invites   []Invitation
	dbs       []DB
	gens      []Generation
	lacking   []Lack
	of        []MemberOf
	byKey     map[block.Device]int
	byMember  map[block.Device]int
	admitted  map[block.ID]admission
	write     block.Generation
	canWrite  bool
	needsNew  bool
	dataReads bool
}

type admission struct{ by, inviter block.Device }

// State returns the state under all heads.
func (c *Chain) State() *State {
	if c.state == nil {
		c.state = newState(c.view())
	}
	return c.state
}

// At returns the state under some heads, or *MissingError.
func (c *Chain) At(heads []block.ID) (*State, error) {
	ns, missing := c.numbers(heads)
	if len(missing) > 0 {
		return nil, &MissingError{IDs: missing}
	}
	return newState(c.g.under(ns)), nil
}

// numbers turns ids into the numbers of the maximal ones, and lists unknown ids.
// No ids at all stand for genesis.
func (c *Chain) numbers(ids []block.ID) (ns []int32, missing []block.ID) {
	for _, id := range ids {
		if n, ok := c.g.byID[id]; ok {
			ns = append(ns, n)
		} else {
			missing = append(missing, id)
		}
	}
	if len(ids) == 0 {
		ns = []int32{0}
	}
	return c.g.maximal(ns), missing
}

func newState(v *view) *State {
	s := &State{
		team: v.g.team, name: v.g.nameIn(v.name), byKey: map[block.Device]int{}, byMember: map[block.Device]int{},
		admitted: map[block.ID]admission{},
		needsNew: v.unknown, dataReads: v.halt,
	}
	for _, n := range v.heads {
		s.heads = append(s.heads, v.g.links[n].id)
	}
	s.addMembers(v)
	s.addDevices(v)
	v.invites.all(func(n int32, x inviteView) bool {
		if x.mark == counts {
			s.invites = append(s.invites, v.invitation(n, x))
		}
		return true
	})
	slices.SortFunc(s.invites, func(a, b Invitation) int { return v.g.later(v.g.byID[a.Link], v.g.byID[b.Link]) })
	v.dbs.all(func(n int32, x dbView) bool {
		if len(x.adds) > 0 {
			s.dbs = append(s.dbs, v.database(x))
		}
		return true
	})
	slices.SortFunc(s.dbs, func(a, b DB) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	for _, x := range v.gens {
		s.addGeneration(v, x)
	}
	slices.SortFunc(s.gens, func(a, b Generation) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	s.write, s.canWrite = v.writeGen()
	for _, n := range v.of {
		s.of = append(s.of, v.g.links[n].content.(MemberOf))
	}
	slices.SortFunc(s.of, func(a, b MemberOf) int { return bytes.Compare(a.Team[:], b.Team[:]) })
	return s
}

// nameIn returns the name a link gives, "" for 0.
func (g *graph) nameIn(n int32) string {
	switch c := g.links[n].content.(type) {
	case Name:
		return c.Name
	case AddMember:
		return c.Name
	case AddDevice:
		return c.Name
	case AddDB:
		return c.Name
	case Admit:
		return c.Proof.Name
	}
	return ""
}

// deviceName is nameIn, but an ADMIT names both a member and a device.
func (g *graph) deviceName(n int32) string {
	if c, ok := g.links[n].content.(Admit); ok {
		return c.Proof.DeviceName
	}
	return g.nameIn(n)
}

// seatStatus returns how a seat that is in the view stands.
func (v *view) seatStatus(s int32) Status {
	switch x := v.seats.get(s); {
	case x.mark != counts:
		return StatusVoid
	case x.ends != nil:
		return StatusRemoved
	case v.suspended(s):
		return StatusSuspended
	case !v.isActive(s):
		return StatusVoid
	}
	return StatusActive
}

func (s *State) addMembers(v *view) {
	var ms []int32
	v.members.all(func(m int32, x memberView) bool {
		if x.mark != absent {
			ms = append(ms, m)
		}
		return true
	})
	slices.SortFunc(ms, func(a, b int32) int { return v.g.later(v.g.members[a].link, v.g.members[b].link) })
	for _, m := range ms {
		x, st := v.members.get(m), v.g.members[m]
		l := v.g.links[st.link]
		info := Member{
			ID: v.g.keys[st.id], Name: v.g.nameIn(x.name), Role: x.role, Seat: l.id, AdmittedBy: v.g.keys[l.author],
			Joined: v.g.links[x.joined].time, Status: StatusVoid,
		}
		if x.mark == counts {
			info.Status = StatusRemoved
		}
		for _, seat := range slices.SortedFunc(slices.Values(x.seats), v.g.rank) {
			now := v.seatStatus(seat)
			if now == StatusActive || now == StatusSuspended {
				if key := v.g.keys[v.g.seats[seat].key]; !slices.Contains(info.Devices, key) {
					info.Devices = append(info.Devices, key)
				}
				if info.Status != StatusActive {
					info.Status = now
				}
			}
		}
		if i, ok := s.byMember[info.ID]; !ok || better(info.Status, s.members[i].Status) {
			s.byMember[info.ID] = len(s.members)
		}
		s.members = append(s.members, info)
	}
}

// better prefers the entry that says most about a key that was seated repeatedly:
// what is active, then suspended, then what was removed last.
func better(a, b Status) bool { return a < b || a == b && a == StatusRemoved }

func (s *State) addDevices(v *view) {
	var seats []int32
	v.seats.all(func(n int32, x seatView) bool {
		if x.mark != absent {
			seats = append(seats, n)
		}
		return true
	})
	slices.SortFunc(seats, v.g.rank)
	for _, n := range seats {
		st := v.g.seats[n]
		m := v.g.members[st.member]
		l := v.g.links[st.link]
		adm := admission{by: v.g.keys[l.author]}
		if l.action == ActAdmit {
			inviter := v.g.seats[v.g.links[l.invite].seat].member
			adm.inviter = v.g.keys[v.g.members[inviter].id]
		}
		s.admitted[l.id] = adm
		info := Device{
			Key: v.g.keys[st.key], Member: v.g.keys[m.id], Role: v.members.get(st.member).role, Seat: v.g.links[st.link].id,
			BoxKey: v.boxKey(n), Recovery: st.recovery, Status: v.seatStatus(n),
		}
		if !st.recovery {
			info.Name = v.g.deviceName(v.keys.get(st.key).name)
		}
		if i, ok := s.byKey[info.Key]; ok && !better(info.Status, s.devices[i].Status) {
			if info.Status == StatusActive {
				continue // a second seat of the same member
			}
		} else {
			s.byKey[info.Key] = len(s.devices)
		}
		s.devices = append(s.devices, info)
	}
}

func (v *view) invitation(n int32, x inviteView) Invitation {
	l := v.g.links[n]
	c := l.content.(Invite)
	i := Invitation{
		Link: l.id, ID: c.ID, Kind: c.Kind, Role: c.Role, MaxUses: c.MaxUses, Uses: uint64(x.uses), Expires: c.Expires,
		Key: c.Key, Bound: c.Bound, By: v.g.keys[l.author], Status: StatusOpen,
	}
	switch {
	case x.revoked != nil:
		i.Status = StatusRevoked
	case c.MaxUses > 0 && i.Uses >= c.MaxUses:
		i.Status = StatusUsed
	}
	return i
}

// database takes id and secret from the latest ADD_DB, the name from the latest
// link that gives one.
func (v *view) database(x dbView) DB {
	n := x.adds[0]
	for _, a := range x.adds[1:] {
		n = v.g.newer(n, a)
	}
	c := v.g.links[n].content.(AddDB)
	return DB{ID: c.DB, Name: v.g.nameIn(x.name), Number: c.Number, Secret: c.Secret, Base: c.Base, Added: v.g.links[n].id}
}

func (s *State) addGeneration(v *view, x gen) {
	l := v.g.links[x.link]
	info := Generation{ID: block.Generation(l.id), Keys: *l.keys, Good: v.good(x)}
	for _, p := range l.gens {
		info.Parents = append(info.Parents, block.Generation(v.g.links[p].id))
	}
	s.gens = append(s.gens, info)
	known := map[block.Device]bool{v.g.keys[l.author]: true}
	for e := x.extra; e != nil; e = e.next {
		known[v.g.keys[e.n]] = true
	}
	for _, d := range s.devices {
		k := v.g.lookup(d.Key)
		if d.Status == StatusActive && !known[d.Key] && l.after.holder(k) == none {
			s.lacking = append(s.lacking, Lack{Device: d.Key, Generation: info.ID})
		}
	}
}

// Team returns the id of the team.
func (s *State) Team() block.TeamID { return s.team }

// Heads returns the heads the state is under, in no special order.
func (s *State) Heads() []block.ID { return s.heads }

// Name returns the team's display name, "" if none was given.
func (s *State) Name() string { return s.name }

// Members returns the active and suspended members (replicas included), the most
// senior first.
func (s *State) Members() []Member {
	var out []Member
	for i, m := range s.members {
		if m.Status == StatusActive || m.Status == StatusSuspended && s.byMember[m.ID] == i {
			out = append(out, m)
		}
	}
	return out
}

// Former returns the members that were removed or whose admission does not count;
// somebody who came back stands in both lists.
func (s *State) Former() []Member {
	return slices.DeleteFunc(slices.Clone(s.members), func(m Member) bool { return m.Status <= StatusSuspended })
}

// Member finds a member by id, former ones too.
func (s *State) Member(id block.Device) (Member, bool) {
	i, ok := s.byMember[id]
	if !ok {
		return Member{}, false
	}
	return s.members[i], true
}

// Devices returns the active and suspended devices (replicas and recovery seats
// included), the most senior first.
func (s *State) Devices() []Device {
	var out []Device
	for i, d := range s.devices {
		if d.Status <= StatusSuspended && s.byKey[d.Key] == i {
			out = append(out, d)
		}
	}
	return out
}

// Device finds a device by key, former ones too.
func (s *State) Device(key block.Device) (Device, bool) {
	i, ok := s.byKey[key]
	if !ok {
		return Device{}, false
	}
	return s.devices[i], true
}

// AdmittedBy returns the author of a seating link and, if it came by an invitation,
// the id of the member who invited; else zero.
func (s *State) AdmittedBy(seat block.ID) (admitter, inviter block.Device) {
	x := s.admitted[seat]
	return x.by, x.inviter
}

// Active reports whether the key is an active device of the team.
func (s *State) Active(key block.Device) bool {
	d, ok := s.Device(key)
	return ok && d.Status == StatusActive
}

// Role returns the role of an active device's member, 0 for everybody else.
func (s *State) Role(key block.Device) Role {
	if d, ok := s.Device(key); ok && d.Status == StatusActive {
		return d.Role
	}
	return 0
}

// CanRead reports whether the device is given the team's keys.
func (s *State) CanRead(key block.Device) bool { return s.Role(key) >= RoleReader }

// CanWrite reports whether the device may write to databases.
func (s *State) CanWrite(key block.Device) bool { return s.Role(key) >= RoleMember }

// Invites returns the invitations that count, oldest first.
func (s *State) Invites() []Invitation { return s.invites }

// Invitation finds an invitation by the id its code shows; of several the oldest.
func (s *State) Invitation(id block.InviteID) (Invitation, bool) {
	for _, i := range s.invites {
		if i.ID == id {
			return i, true
		}
	}
	return Invitation{}, false
}

// DBs returns the databases of the team, by id.
func (s *State) DBs() []DB { return s.dbs }

// DB finds a database.
func (s *State) DB(id block.DBID) (DB, bool) {
	for _, d := range s.dbs {
		if d.ID == id {
			return d, true
		}
	}
	return DB{}, false
}

// Generations returns the current generations, by id. The generation that a new
// one follows are these.
func (s *State) Generations() []Generation { return s.gens }

// WriteGeneration returns the generation to seal under: the good current one of
// the lowest id. False: somebody must ROTATE first.
func (s *State) WriteGeneration() (block.Generation, bool) { return s.write, s.canWrite }

// Lacking lists active devices that were on the team neither when a current
// generation was made nor admitted or given a box since.
func (s *State) Lacking() []Lack { return s.lacking }

// Teams returns what one's own devices wrote of other teams (personal team).
func (s *State) Teams() []MemberOf { return s.of }

// Upgrade reports whether a link of a later version counts (needed) and whether
// one of them makes data read-only here until the upgrade (readOnly).
func (s *State) Upgrade() (needed, readOnly bool) { return s.needsNew, s.dataReads }
