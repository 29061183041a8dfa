package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/peering"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/internal/words"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

// errOffline is the cause wherever the network is asked for and off.
var errOffline = errors.New("the network is off (--network offline)")

// deviceInviteTime is how long a device invitation is good if nothing else is said.
const deviceInviteTime = 30 * time.Minute

// CreateTeam founds a team with this device as its first admin.
func (n *Node) CreateTeam(ctx context.Context, name string) (api.Team, error) {
	name, err := cleanName("team", name)
	if err != nil {
		return nil, err
	}
	for _, c := range n.ledger.Chains() {
		if c.State().Name() == name {
			return nil, api.ErrExists.With(fmt.Sprintf("there is a team %q already", name), "choose another name")
		}
	}
	c, err := n.ledger.Found(ctx, name, false)
	if err != nil {
		return nil, doorError(err)
	}
	return &teamDoor{n: n, c: c}, nil
}

// cleanName checks the name of a team or database: a path of it is team/database, and
// "-" is how HTTP says the empty one.
func cleanName(what, name string) (string, error) {
	clean, err := team.CleanName(name)
	switch {
	case err != nil:
		return "", api.ErrUsage.Wrap(err, "choose another name")
	case clean == "", clean == "-", clean == api.Personal, strings.Contains(clean, "/"):
		return "", api.ErrUsage.With(fmt.Sprintf("%q cannot be the name of a %s: it must not be empty, %q, %q, or hold a slash", name, what, "-", api.Personal), "choose another name")
	}
	return clean, nil
}

// Team finds a team by name, id or unique prefix of its id.
func (n *Node) Team(_ context.Context, nameOrID string) (api.Team, error) {
	c, err := n.findTeam(nameOrID)
	if err != nil {
		return nil, err
	}
	return &teamDoor{n: n, c: c}, nil
}

func (n *Node) findTeam(nameOrID string) (*ledger.Chain, error) {
	var found []*ledger.Chain
	for _, c := range n.ledger.Chains() {
		switch {
		case nameOrID == "" && !c.Personal(),
			nameOrID == api.Personal && c.Personal(),
			nameOrID != "" && !c.Personal() && c.State().Name() == nameOrID,
			len(nameOrID) >= len("team-")+4 && strings.HasPrefix(c.ID().String(), nameOrID):
			found = append(found, c)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, api.ErrUsage.With(fmt.Sprintf("%d teams fit %q: %s", len(found), nameOrID, teamNames(found)), "name one, or give a prefix of its id")
	case nameOrID == "":
		return nil, api.ErrNotFound.With("this device is in no shared team yet", "toft team create NAME, or toft join CODE")
	}
	return nil, api.ErrNotFound.With(fmt.Sprintf("no team %q", nameOrID), "toft team list shows the teams")
}

func teamNames(chains []*ledger.Chain) string {
	var out []string
	for _, c := range chains {
		out = append(out, fmt.Sprintf("%s (%.13s)", c.State().Name(), c.ID()))
	}
	return strings.Join(out, ", ")
}

// Teams yields all teams, the personal one first, the others by name.
func (n *Node) Teams(context.Context) iter.Seq2[api.TeamInfo, error] {
	var infos []api.TeamInfo
	for _, c := range n.ledger.Chains() {
		infos = append(infos, n.teamInfo(c))
	}
	slices.SortStableFunc(infos, func(a, b api.TeamInfo) int {
		if a.Personal != b.Personal {
			if a.Personal {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all(infos)
}

// all yields the rows of a slice.
func all[T any](rows []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// none yields one error.
func none[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		yield(zero, err)
	}
}

// info reports a team as the door shows it.
func (n *Node) teamInfo(c *ledger.Chain) api.TeamInfo {
	st := c.State()
	i := api.TeamInfo{ID: c.ID().String(), Name: st.Name(), Personal: c.Personal(), Role: api.Role(st.Role(n.id.Device()).String()), Heads: texts(c.Heads())}
	for _, m := range st.Members() {
		if m.Status == team.StatusActive {
			i.Members++
		}
	}
	for _, d := range st.Devices() {
		if d.Status == team.StatusActive && !d.Recovery {
			i.Devices++
		}
	}
	if g, ok := st.WriteGeneration(); ok {
		i.Generation = g.String()
	}
	return i
}

func texts(ids []block.ID) []string {
	out := make([]string, 0, len(ids))
	for _, id := range ids {
		out = append(out, id.String())
	}
	slices.Sort(out)
	return out
}

// teamDoor is one team as the door shows it.
type teamDoor struct {
	n *Node
	c *ledger.Chain
}

// ID returns team-….
func (t *teamDoor) ID() string { return t.c.ID().String() }

// Name returns the team's name.
func (t *teamDoor) Name() string { return t.c.State().Name() }

// Info reports the team as it is now.
func (t *teamDoor) Info(context.Context) (api.TeamInfo, error) { return t.n.teamInfo(t.c), nil }

// CreateDB makes a new database that belongs to the team.
func (t *teamDoor) CreateDB(ctx context.Context, name string) (api.DB, error) {
	name, err := cleanName("database", name)
	if err != nil {
		return nil, err
	}
	for _, db := range t.c.State().DBs() {
		if db.Name == name {
			return nil, api.ErrExists.With(fmt.Sprintf("team %q has a database %q already", t.Name(), name), "choose another name")
		}
	}
	id, secret, err := vault.NewDatabase(t.n.rand)
	if err != nil {
		return nil, err
	}
	if _, err := t.c.Link(ctx, team.AddDB{DB: id, Name: name, Secret: secret}, nil); err != nil {
		return nil, doorError(err)
	}
	d := t.n.ledger.Database(id)
	if d == nil {
		return nil, api.ErrFailed.With("the database was made but could not be opened", "see the log")
	}
	return &dbDoor{n: t.n, d: d}, nil
}

// InviteMember makes an invitation for somebody else.
func (t *teamDoor) InviteMember(ctx context.Context, i api.MemberInvite) (api.Invite, error) {
	if t.c.Personal() {
		return api.Invite{}, api.ErrUsage.With("the personal team is for your own devices", "toft team create NAME makes one to share")
	}
	if i.Role == "" {
		i.Role = api.RoleMember
	}
	role, err := team.ParseRole(string(i.Role))
	if err != nil {
		return api.Invite{}, api.ErrUsage.Wrap(err, "admin, member or reader")
	}
	return t.invite(ctx, team.Invite{Kind: team.InviteMember, Role: role, MaxUses: i.MaxUses, Expires: wireTime(i.Expires)}, i.Short)
}

// InviteDevice makes an invitation for another device of this member.
func (t *teamDoor) InviteDevice(ctx context.Context, i api.DeviceInvite) (api.Invite, error) {
	if i.Expires.IsZero() {
		i.Expires = t.n.clock().Add(deviceInviteTime)
	}
	return t.invite(ctx, team.Invite{Kind: team.InviteDevice, MaxUses: 1, Expires: wireTime(i.Expires)}, i.Short)
}

func (t *teamDoor) invite(ctx context.Context, inv team.Invite, short bool) (api.Invite, error) {
	if inv.Expires != 0 && inv.Expires <= t.n.ledger.Now() {
		return api.Invite{}, api.ErrUsage.With("the invitation would have expired already", "give a time that is still to come")
	}
	id := t.c.ID()
	code := team.Code{Team: [20]byte(id[:20]), Short: short}
	if _, err := t.n.rand.Read(code.Seed[:]); err != nil {
		return api.Invite{}, err
	}
	if _, err := t.n.rand.Read(code.Invite[:]); err != nil {
		return api.Invite{}, err
	}
	signer, err := vault.InviteKey(code.Team, code.Invite, code.Seed[:])
	if err != nil {
		return api.Invite{}, err
	}
	inv.ID, inv.Key = code.Invite, signer.Public()
	if !short {
		code.Device = t.n.id.Device()
		code.Addrs = t.n.codeAddrs()
	}
	if _, err := t.c.Link(ctx, inv, nil); err != nil {
		return api.Invite{}, doorError(err)
	}
	made, _ := t.c.State().Invitation(inv.ID)
	out := t.row(made)
	out.Code, out.Link = code.String(), code.Link()
	return out, nil
}

// maxCodeAddrs is how many addresses an invitation code carries.
const maxCodeAddrs = 2

// codeAddrs chooses the addresses a code carries: public before private before
// loopback, and of those the first of each transport, TCP first.
func (n *Node) codeAddrs() [][]byte {
	if n.live.Load() == nil {
		return nil
	}
	rank := func(a multiaddr.Multiaddr) int {
		r := 0
		if _, err := a.ValueForProtocol(multiaddr.P_TCP); err != nil {
			r++
		}
		if _, err := a.ValueForProtocol(multiaddr.P_IP4); err != nil {
			r += 2
		}
		switch {
		case manet.IsPublicAddr(a):
		case manet.IsIPLoopback(a):
			r += 8
		default:
			r += 4
		}
		return r
	}
	addrs := slices.Clone(n.host.Addrs())
	slices.SortStableFunc(addrs, func(a, b multiaddr.Multiaddr) int { return rank(a) - rank(b) })
	var out [][]byte
	for _, a := range addrs[:min(len(addrs), maxCodeAddrs)] {
		out = append(out, a.Bytes())
	}
	return out
}

// row reports an invitation as the door shows it.
func (t *teamDoor) row(inv team.Invitation) api.Invite {
	st := t.c.State()
	out := api.Invite{
		ID: inv.ID.String(), Team: st.Name(), Kind: inv.Kind.String(), Role: api.Role(inv.Role.String()),
		MaxUses: inv.MaxUses, Uses: inv.Uses, Expires: goTime(inv.Expires), By: memberName(st, inv.By), State: "open",
	}
	switch {
	case inv.Status == team.StatusUsed:
		out.State = "used"
	case inv.Status == team.StatusRevoked:
		out.State = "revoked"
	case inv.Expires != 0 && inv.Expires < t.n.ledger.Now():
		out.State = "expired"
	}
	return out
}

// Invites yields the team's invitations, newest first.
func (t *teamDoor) Invites(context.Context) iter.Seq2[api.Invite, error] {
	var rows []api.Invite
	for _, inv := range t.c.State().Invites() {
		rows = append(rows, t.row(inv))
	}
	slices.Reverse(rows)
	return all(rows)
}

// Revoke ends an invitation.
func (t *teamDoor) Revoke(ctx context.Context, id string) error {
	var found []team.Invitation
	for _, inv := range t.c.State().Invites() {
		if id != "" && strings.HasPrefix(inv.ID.String(), id) {
			found = append(found, inv)
		}
	}
	if len(found) != 1 {
		return api.ErrNotFound.With(fmt.Sprintf("%d invitations fit %q", len(found), id), "toft team invites shows their ids")
	}
	_, err := t.c.Link(ctx, team.Revoke{Invite: found[0].Link}, nil)
	return doorError(err)
}

// Members yields the members by name.
func (t *teamDoor) Members(context.Context) iter.Seq2[api.Member, error] {
	st := t.c.State()
	var rows []api.Member
	for _, m := range st.Members() {
		rows = append(rows, api.Member{
			ID: m.ID.String(), Name: m.Name, Role: api.Role(m.Role.String()), Devices: devices(st, m),
			AdmittedBy: memberName(st, m.AdmittedBy), Joined: goTime(m.Joined), State: m.Status.String(),
		})
	}
	slices.SortStableFunc(rows, func(a, b api.Member) int { return strings.Compare(a.Name, b.Name) })
	return all(rows)
}

// devices counts the devices of a member, his recovery words not among them.
func devices(st *team.State, m team.Member) (n int) {
	for _, key := range m.Devices {
		if d, ok := st.Device(key); ok && !d.Recovery {
			n++
		}
	}
	return n
}

// Devices yields the devices of one member, or of all.
func (t *teamDoor) Devices(_ context.Context, member string) iter.Seq2[api.Device, error] {
	st := t.c.State()
	var rows []api.Device
	for _, d := range st.Devices() {
		name := memberName(st, d.Member)
		if d.Recovery {
			continue // words on paper: a seat, but nothing that could be online
		}
		if member != "" && member != name && !strings.HasPrefix(d.Member.String(), member) {
			continue
		}
		rows = append(rows, api.Device{PeerID: d.Key.String(), Name: d.Name, Member: name, State: d.Status.String()})
	}
	if len(rows) == 0 {
		return none[api.Device](api.ErrNotFound.With(fmt.Sprintf("no member %q", member), "toft team members shows them"))
	}
	return all(rows)
}

// Log yields the links of the chain, parents before children.
func (t *teamDoor) Log(context.Context) iter.Seq2[api.ChainLink, error] {
	var rows []api.ChainLink
	for _, e := range t.c.Log() {
		rows = append(rows, api.ChainLink{
			CID: e.ID.String(), Parents: texts(e.Parents), Action: e.Action.String(), By: e.By.String(),
			Time: goTime(e.Time), Valid: e.Valid, Why: e.Why,
		})
	}
	return all(rows)
}

// Join redeems an invitation.
func (n *Node) Join(ctx context.Context, r api.JoinRequest) (api.Joined, error) {
	code, err := team.ParseCode(r.Code)
	if err != nil {
		return api.Joined{}, api.ErrInviteInvalid.Wrap(err, "copy the whole code again; spaces, dashes and case do not matter")
	}
	if n.live.Load() == nil {
		return api.Joined{}, api.ErrNoDaemon.Wrap(errOffline, "start it: toft daemon")
	}
	c, proof, err := n.live.Load().Join(ctx, code, r.Name)
	if err != nil {
		return api.Joined{}, doorError(err)
	}
	st := c.State()
	out := api.Joined{Team: n.teamInfo(c), Words: words.Transcript(proof.Hash()), Provisional: c.Provisional()}
	if d, ok := st.Device(proof.Admitter); ok {
		out.AdmittedBy = memberName(st, d.Member)
	}
	for _, d := range c.Databases() {
		out.DBs = append(out.DBs, n.dbInfo(d))
	}
	return out, nil
}

// Connect dials an address that ends in /p2p/PEERID, or a device we know one of.
func (n *Node) Connect(ctx context.Context, addr string) (api.Peer, error) {
	if n.live.Load() == nil {
		return api.Peer{}, api.ErrNoDaemon.Wrap(errOffline, "start it: toft daemon")
	}
	info, err := n.dialTarget(addr)
	if err != nil {
		return api.Peer{}, err
	}
	if err := n.host.Connect(ctx, info); err != nil {
		return api.Peer{}, api.ErrUnreachable.Wrap(fmt.Errorf("connect to %s: %w", addr, err), "check the address, and that the other side lets this device in")
	}
	return n.peerRow(info.ID), nil
}

func (n *Node) dialTarget(text string) (peer.AddrInfo, error) {
	if strings.HasPrefix(text, "/") {
		info, err := peer.AddrInfoFromString(text)
		if err != nil {
			return peer.AddrInfo{}, api.ErrUsage.Wrap(err, "an address looks like /ip4/192.168.1.7/tcp/4001/p2p/12D3KooW…")
		}
		return *info, nil
	}
	for _, c := range n.ledger.Chains() {
		for _, d := range c.State().Devices() {
			if d.Name == text || d.Key.String() == text || len(text) >= 12 && strings.HasPrefix(d.Key.String(), text) {
				p := peering.PeerOf(d.Key)
				addrs, err := n.live.Load().KeptAddrs(p)
				if err == nil && len(addrs) == 0 {
					err = api.ErrUnreachable.With("no address of "+text+" is known yet", "give its address: toft id on that device shows it")
				}
				return peer.AddrInfo{ID: p, Addrs: addrs}, err
			}
		}
	}
	return peer.AddrInfo{}, api.ErrNotFound.With(fmt.Sprintf("no device %q", text), "toft team devices shows the names")
}

// memberName names a member for people; a duplicate or missing name shows its id.
func memberName(st *team.State, id block.Device) string {
	m, ok := st.Member(id)
	if !ok || m.Name == "" {
		return shortID(id)
	}
	for _, other := range st.Members() {
		if other.ID != id && other.Name == m.Name {
			return m.Name + " (" + shortID(id) + ")"
		}
	}
	return m.Name
}

// shortID is the end of a PeerID: all of them begin alike.
func shortID(d block.Device) string { s := d.String(); return "…" + s[len(s)-8:] }

func wireTime(t time.Time) wire.Time {
	if t.IsZero() {
		return 0
	}
	return wire.Time(t.UnixMilli())
}

func goTime(t wire.Time) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(t)).UTC()
}
