package node

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

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

// nameFree refuses the name of a database that the team has already.
func nameFree(c *ledger.Chain, name string) error {
	for _, db := range c.State().DBs() {
		if db.Name == name {
			return api.ErrExists.With(fmt.Sprintf("team %q has a database %q already", c.State().Name(), name), "choose another name")
		}
	}
	return nil
}

// CreateDB makes a new database that belongs to the team.
func (t *teamDoor) CreateDB(ctx context.Context, name string) (api.DB, error) {
	name, err := cleanName("database", name)
	if err != nil {
		return nil, err
	}
	if err := nameFree(t.c, name); err != nil {
		return nil, err
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
	st := t.c.State()
	for _, e := range t.c.Log() {
		l := api.ChainLink{
			CID: e.ID.String(), Parents: texts(e.Parents), Action: e.Action.String(), By: e.By.String(),
			Time: goTime(e.Time), Valid: e.Valid, Why: e.Why,
		}
		if d, ok := st.Device(e.By); ok {
			l.Device, l.Member = d.Name, memberName(st, d.Member)
		}
		rows = append(rows, l)
	}
	return all(rows)
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
