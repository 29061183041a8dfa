package apitest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/node/api"
)

// World is a few nodes that share one memory: what one writes the others see at
// once. It does no merging, so nothing is ever in conflict.
type World struct {
	mu     sync.Mutex
	serial uint64
	teams  []*team
}

// NewWorld returns a world without nodes.
func NewWorld() *World { return &World{} }

type team struct {
	info    api.TeamInfo
	owner   *Node // the only node that has a personal team
	members []*member
	invites []*invite
	dbs     []*database
	links   []api.ChainLink
}

type member struct {
	api.Member
	nodes []*Node
	did   string // of whom the team was shared with
	share string // CID of his invite block
}

type invite struct {
	api.Invite
	seed api.Secret // one of one's own
}

type database struct {
	world       *World
	team        *team
	id          string
	name        string
	rows        map[string]*row
	serial      uint64
	wake        chan struct{} // closed and replaced at each change
	past        []moment      // after each commit, oldest first
	labels      []label
	floor       int       // how many of past are no longer kept one by one
	freed       int       // of those, how many were freed
	compactedAt time.Time // when it was last compacted
}

type row struct {
	doc     api.Doc // as it was last alive, without _rev
	rev     string
	n       uint64
	deleted bool
	at      uint64 // serial of the change
	commit  string
	time    time.Time
}

// Node is one user's device in a world.
type Node struct {
	world  *World
	id     api.Identity
	forgot bool       // the recovery kit is on paper
	lock   api.Secret // passphrase
}

var _ api.API = (*Node)(nil)

// Node adds a device of a new user to the world.
func (w *World) Node(user, device string) *Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := block.Device(w.hash("device"))
	n := &Node{world: w, id: api.Identity{
		User: user, Device: device, PeerID: key.String(), DID: key.DID(),
		Words: fingerprint(), Created: time.Now(),
	}}
	t := w.newTeam(n, api.Personal)
	t.info.Personal, t.owner = true, n
	return n
}

// hash returns bytes that nothing else in the world has.
func (w *World) hash(what string) [32]byte {
	w.serial++
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte(what), w.serial))
}

func (w *World) cid(what string) string { return block.ID(w.hash(what)).String() }

func (w *World) newTeam(n *Node, name string) *team {
	t := &team{info: api.TeamInfo{
		ID: block.TeamID(w.hash("team")).String(), Name: name,
		Generation: block.Generation(w.hash("gen")).String(),
	}}
	t.link(n, "CREATE")
	t.members = []*member{{Member: api.Member{
		ID: n.id.PeerID, Name: n.id.User, Role: api.RoleAdmin, Joined: time.Now(), State: "active",
	}, nodes: []*Node{n}}}
	w.teams = append(w.teams, t)
	return t
}

func (t *team) link(n *Node, action string) {
	l := api.ChainLink{CID: n.world.cid("link"), Parents: t.info.Heads, Action: action, By: n.id.PeerID, Time: time.Now(), Valid: true}
	t.links = append(t.links, l)
	t.info.Heads = []string{l.CID}
}

func (t *team) member(n *Node) *member {
	for _, m := range t.members {
		if slices.Contains(m.nodes, n) {
			return m
		}
	}
	return nil
}

// view returns the team as n sees it.
func (t *team) view(n *Node) api.TeamInfo {
	info := t.info
	info.Members = len(t.members)
	for _, m := range t.members {
		info.Devices += len(m.nodes)
	}
	info.Role = t.member(n).Role
	return info
}

// mine returns the teams n is in, the personal one first.
func (n *Node) mine() []*team {
	var ts []*team
	for _, t := range n.world.teams {
		if t.member(n) != nil {
			ts = append(ts, t)
		}
	}
	slices.SortStableFunc(ts, func(a, b *team) int {
		if a.info.Personal != b.info.Personal {
			return map[bool]int{true: -1, false: 1}[a.info.Personal]
		}
		return cmp.Compare(a.info.Name, b.info.Name)
	})
	return ts
}

func (n *Node) findTeam(ref string) (*team, error) {
	var found []*team
	for _, t := range n.mine() {
		if ref == t.info.Name || ref == t.info.ID {
			return t, nil
		}
		if ref == "" && !t.info.Personal || ref != "" && strings.HasPrefix(t.info.ID, ref) {
			found = append(found, t)
		}
	}
	return only(found, "team", ref)
}

// only returns the one that was found.
func only[T any](found []T, what, ref string) (T, error) {
	var zero T
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return zero, api.ErrNotFound.With(fmt.Sprintf("no %s %q here", what, ref), "toft "+map[string]string{"team": "team", "database": "db"}[what]+" list")
	}
	return zero, api.ErrUsage.With(fmt.Sprintf("%q fits %d %ss", ref, len(found), what), "write more of the id")
}

func (n *Node) findDB(ref string) (*database, error) {
	var found []*database
	for _, t := range n.mine() {
		for _, d := range t.dbs {
			switch {
			case ref == d.id || ref == t.info.Name+"/"+d.name:
				return d, nil
			case ref == d.name || strings.HasPrefix(d.id, ref):
				found = append(found, d)
			}
		}
	}
	return only(found, "database", ref)
}

func (d *database) info() api.DBInfo {
	i := api.DBInfo{Name: d.name, ID: d.id, Team: d.team.info.Name}
	for _, r := range d.rows {
		if !r.deleted {
			i.Docs++
		}
	}
	return i
}

// digest is a hash of the visible state.
func (d *database) digest() string {
	h := sha256.New()
	for _, id := range d.ids() {
		if r := d.rows[id]; !r.deleted {
			fmt.Fprintf(h, "%q %s\n", id, r.rev)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func (d *database) ids() []string {
	ids := make([]string, 0, len(d.rows))
	for id := range d.rows {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Status implements [api.API].
func (n *Node) Status(ctx context.Context) (api.Status, error) {
	if err := ctx.Err(); err != nil {
		return api.Status{}, api.ErrorOf(err)
	}
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	s := api.Status{Version: "test", Device: n.id, Network: api.Net{Reachability: "offline"}}
	for _, t := range n.mine() {
		s.Teams = append(s.Teams, t.view(n))
		for _, d := range t.dbs {
			i := d.info()
			s.DBs = append(s.DBs, api.DBState{Name: d.name, ID: d.id, Team: i.Team, Docs: i.Docs, Digest: d.digest(), State: api.InSync})
		}
	}
	return s, nil
}

// Identity implements [api.API].
func (n *Node) Identity(context.Context) (api.Identity, error) { return n.id, nil }

// Peers implements [api.API].
func (n *Node) Peers(context.Context) iter.Seq2[api.Peer, error] {
	return seq(n, func() ([]api.Peer, error) {
		var ps []api.Peer
		for _, t := range n.mine() {
			for _, m := range t.members {
				for _, o := range m.nodes {
					p := api.Peer{PeerID: o.id.PeerID, Device: o.id.Device, Member: m.Name, Path: "direct"}
					if o != n && !slices.Contains(ps, p) {
						ps = append(ps, p)
					}
				}
			}
		}
		return ps, nil
	})
}

// Connect implements [api.API]; nobody is ever there.
func (n *Node) Connect(_ context.Context, addr string) (api.Peer, error) {
	if !strings.HasPrefix(addr, "/") {
		return api.Peer{}, api.ErrNotFound.With(fmt.Sprintf("no device %q here", addr), "")
	}
	return api.Peer{}, api.ErrUnreachable.With("nobody answers at "+addr, "")
}

// CreateTeam implements [api.API].
func (n *Node) CreateTeam(_ context.Context, name string) (api.Team, error) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if name == "" || name == "-" {
		return nil, api.ErrUsage.With("a team needs a name", "")
	}
	for _, t := range n.mine() {
		if t.info.Name == name {
			return nil, api.ErrExists.With(fmt.Sprintf("there is a team %q already", name), "")
		}
	}
	return &teamHandle{n: n, t: n.world.newTeam(n, name)}, nil
}

// Team implements [api.API].
func (n *Node) Team(_ context.Context, ref string) (api.Team, error) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	t, err := n.findTeam(ref)
	if err != nil {
		return nil, err
	}
	return &teamHandle{n: n, t: t}, nil
}

// Teams implements [api.API].
func (n *Node) Teams(context.Context) iter.Seq2[api.TeamInfo, error] {
	return seq(n, func() ([]api.TeamInfo, error) {
		var all []api.TeamInfo
		for _, t := range n.mine() {
			all = append(all, t.view(n))
		}
		return all, nil
	})
}

// Join implements [api.API]. A code of this world is the id of its invitation.
func (n *Node) Join(_ context.Context, r api.JoinRequest) (api.Joined, error) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	id := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(r.Code)), "toft:join/")
	if cid := strings.TrimPrefix(id, "toft:share/"); strings.HasPrefix(cid, "baf") {
		return n.pickUp(cid)
	}
	if !strings.HasPrefix(id, "inv-") || len(id) != 17 {
		return api.Joined{}, api.ErrInviteInvalid.With("the code is mistyped or cut short", "ask for the whole code")
	}
	for _, t := range n.world.teams {
		for _, i := range t.invites {
			if i.ID == id && i.seed != cleanSeed(r.Seed) {
				return api.Joined{}, api.ErrInviteSeed.With("the seed is another", "ask for it again")
			}
			if i.ID == id {
				return n.redeem(t, i, cmp.Or(r.Name, n.id.User), r.Device)
			}
		}
	}
	return api.Joined{}, api.ErrInviteUnknown.With("nobody knows this invitation", "")
}

func (n *Node) redeem(t *team, i *invite, name string, device bool) (api.Joined, error) {
	switch i.state() {
	case "revoked":
		return api.Joined{}, api.ErrInviteRevoked.With("the invitation was revoked", "ask for a new one")
	case "expired":
		return api.Joined{}, api.ErrInviteExpired.With("the invitation has expired", "ask for a new one")
	case "used":
		return api.Joined{}, api.ErrInviteUsed.With("the invitation is used up", "ask for a new one")
	}
	if i.Kind == "device" && !device {
		return api.Joined{}, api.ErrUsage.With("the code makes this device one of the inviter's own", "toft join CODE --device")
	}
	if t.member(n) != nil {
		return api.Joined{}, api.ErrExists.With("this device is in the team already", "")
	}
	i.Uses++
	t.link(n, "ADMIT")
	if i.Kind == "device" {
		t.members[0].nodes = append(t.members[0].nodes, n)
	} else {
		t.members = append(t.members, &member{Member: api.Member{
			ID: n.id.PeerID, Name: name, Role: i.Role, AdmittedBy: i.By, Joined: time.Now(), State: "active",
		}, nodes: []*Node{n}})
	}
	return t.joined(n, i.By), nil
}

func (i *invite) state() string {
	switch {
	case i.State == "revoked":
		return "revoked"
	case i.MaxUses > 0 && i.Uses >= i.MaxUses:
		return "used"
	case !i.Expires.IsZero() && i.Expires.Before(time.Now()):
		return "expired"
	}
	return "open"
}

// DB implements [api.API].
func (n *Node) DB(_ context.Context, ref string) (api.DB, error) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if ref == "" {
		return nil, api.ErrUsage.With("no database is named", "")
	}
	d, err := n.findDB(ref)
	if err != nil {
		return nil, err
	}
	return &dbHandle{d: d, n: n}, nil
}

// DBs implements [api.API].
func (n *Node) DBs(context.Context) iter.Seq2[api.DBInfo, error] {
	return seq(n, func() ([]api.DBInfo, error) {
		var all []api.DBInfo
		for _, t := range n.mine() {
			for _, d := range t.dbs {
				all = append(all, d.info())
			}
		}
		return all, nil
	})
}

// seq yields what f returns; f runs under the world's lock, the loop does not.
func seq[T any](n *Node, f func() ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		n.world.mu.Lock()
		all, err := f()
		n.world.mu.Unlock()
		for _, v := range all {
			if !yield(v, nil) {
				return
			}
		}
		if err != nil {
			var zero T
			yield(zero, err)
		}
	}
}

// revOf makes a revision of a state: the same state has the same one.
func revOf(n uint64, d api.Doc) string {
	text, err := d.MarshalJSON()
	if err != nil {
		panic(err) // the document is canonical here
	}
	sum := sha256.Sum256(text)
	return strconv.FormatUint(n, 10) + "-" + fmt.Sprintf("%x", sum[:8])
}

func sameDoc(a, b api.Doc) bool {
	x, errA := a.MarshalJSON()
	y, errB := b.MarshalJSON()
	return errA == nil && errB == nil && bytes.Equal(x, y)
}
