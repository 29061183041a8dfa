package team

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// ErrKeyMissing is returned by Add for a link without its private layer: it waits
// until the generation it is sealed under is known, and is not judged before.
var ErrKeyMissing = errors.New("link cannot be opened yet: key missing")

// MissingError says which links must be added first. The caller parks the link.
type MissingError struct{ IDs []block.ID }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%d links below it are missing, the first is %s", len(e.IDs), e.IDs[0])
}

// RefusedError is returned for a link that rule 1 does not allow, or that has such
// a link below it. It is so for ever and on every replica: drop it.
type RefusedError struct {
	ID     block.ID
	By     block.Device
	Action Action
	Why    string
	// Forged: an ADMIT whose proof is not the joiner's. A roster takes it for good, so
	// an admin has its author removed.
	Forged bool
	above  bool // Why is that of a link below it
}

func (e *RefusedError) Error() string {
	why := e.Why
	if e.above {
		why = "it stands above a link that is not: " + why
	}
	return fmt.Sprintf("%s %s by %s is not allowed: %s", e.Action, e.ID, e.By, why)
}

// Chain is the links of one team that were allowed to join it, and the states that
// follow from them. It is not safe for concurrent use; the [State] values it gives
// out are, and never change.
type Chain struct {
	g       *graph
	heads   map[int32]bool
	refused map[block.ID]*RefusedError
	order   []block.ID // of refused, oldest first
	current *view      // under all heads; nil: not computed yet
	state   *State     // of current
	other   *Chain     // the roster fold of a member's chain, made when asked for
}

// NewChain starts a chain from its genesis link; the team's id is the link's. The
// caller has checked that this is the team it wants.
func NewChain(genesis *UnverifiedLink) (*Chain, error) { return newChain(genesis, false) }

// NewRosterChain starts the chain of a replica: links come without private layers,
// names and databases' secrets stay empty, and State is the roster fold, which
// takes on trust what it cannot check. It decides who is given ciphertext.
func NewRosterChain(genesis *UnverifiedLink) (*Chain, error) { return newChain(genesis, true) }

func newChain(u *UnverifiedLink, roster bool) (*Chain, error) {
	if !u.Header.Genesis() {
		return nil, fmt.Errorf("%w: the first link is no CREATE", ErrMalformed)
	}
	c := &Chain{
		g: newGraph(block.TeamID(u.ID), roster), heads: map[int32]bool{},
		refused: map[block.ID]*RefusedError{},
	}
	l := &link{id: u.ID, content: u.Content, action: ActCreate, seat: 0, author: c.g.key(u.Header.Author)}
	l.facts = facts{need: RoleAdmin, root: none, invite: none, target: none, member: none, keys: keysOf(u.Content)}
	c.g.place(l)
	c.insert(l)
	return c, nil
}

// Team returns the id of the team.
func (c *Chain) Team() block.TeamID { return c.g.team }

// Has reports whether the chain holds the link.
func (c *Chain) Has(id block.ID) bool { _, ok := c.g.byID[id]; return ok }

// Heads returns the links nobody has built on yet, sorted by id.
func (c *Chain) Heads() []block.ID {
	ids := make([]block.ID, 0, len(c.heads))
	for n := range c.heads {
		ids = append(ids, c.g.links[n].id)
	}
	slices.SortFunc(ids, func(a, b block.ID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// Parents returns the heads that the next link names: all, or the lowest
// [block.MaxParents] of them; then another link goes over the rest.
func (c *Chain) Parents() []block.ID {
	h := c.Heads()
	return h[:min(len(h), block.MaxParents)]
}

// Add stores a link or says why not: nil (stored, or known already),
// *[MissingError], *[RefusedError], [ErrKeyMissing], [ErrMalformed] (another
// team, parents that are not heads).
func (c *Chain) Add(u *UnverifiedLink) error {
	if c.Has(u.ID) {
		return nil
	}
	if e, ok := c.refused[u.ID]; ok {
		return e
	}
	if u.Header.Genesis() || u.Header.Team != c.g.team {
		return fmt.Errorf("%w: link of another team", ErrMalformed)
	}
	l, err := c.draft(u)
	if err != nil {
		return err
	}
	if !u.complete && !c.g.roster {
		return ErrKeyMissing
	}
	f, err := c.g.under(l.parents).allowed(l, u.Header)
	if err != nil {
		e := c.refuse(u, err.Error())
		e.Forged = errors.Is(err, errProof)
		return e
	}
	l.facts = f
	c.insert(l)
	if c.other != nil {
		_ = c.other.Add(c.rosterLink(l)) // what it refuses is not on the roster
	}
	return nil
}

// draft finds the parents and the seat of a link and places it in the graph
// without storing it.
func (c *Chain) draft(u *UnverifiedLink) (*link, error) {
	l := &link{
		n: int32(len(c.g.links)), id: u.ID, content: u.Content, action: u.Content.Action(),
		time: u.Time, critical: u.Header.Critical, seat: none,
	}
	var missing []block.ID
	for _, id := range u.Header.Links[:u.Header.Parents] {
		switch n, ok := c.g.byID[id]; {
		case ok:
			l.parents = append(l.parents, n)
		case c.refused[id] != nil:
			e := c.refuse(u, c.refused[id].Why)
			e.above = true
			return nil, e
		default:
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return nil, &MissingError{IDs: missing}
	}
	if m := c.g.maximal(l.parents); len(m) != len(l.parents) {
		return nil, c.refuse(u, "one of its parents is below another")
	}
	l.author = c.g.lookup(u.Header.Author)
	if n, ok := c.g.byID[u.Header.Seat]; ok {
		l.seat = c.g.seatOf(n, l.author)
	}
	c.g.place(l)
	return l, nil
}

func (c *Chain) refuse(u *UnverifiedLink, why string) *RefusedError {
	e := &RefusedError{ID: u.ID, By: u.Header.Author, Action: u.Content.Action(), Why: why}
	if len(c.order) >= maxRefused {
		delete(c.refused, c.order[0])
		c.order = c.order[1:]
	}
	c.refused[u.ID], c.order = e, append(c.order, u.ID)
	return e
}

// insert stores an allowed link.
func (c *Chain) insert(l *link) {
	g := c.g
	g.links = append(g.links, l)
	g.byID[l.id] = l.n
	g.number(l)
	for _, p := range l.parents {
		delete(c.heads, p)
	}
	linear := len(c.heads) == 0
	c.heads[l.n] = true
	c.current, c.state = nil, nil
	if linear || l.keys != nil {
		g.after(l.n) // extends the view below while it is at hand
	}
}

// number gives numbers to what the link names first: seats, members, keys,
// invitations, databases.
func (g *graph) number(l *link) {
	seat := func(key block.Device, recovery bool) {
		s := int32(len(g.seats))
		g.seats = append(g.seats, seat{link: l.n, key: g.key(key), member: l.member, recovery: recovery})
		g.seatsAt[l.n] = append(g.seatsAt[l.n], s)
	}
	newMember := func(id block.Device) {
		l.member = int32(len(g.members))
		g.members = append(g.members, member{link: l.n, id: g.key(id)})
	}
	switch x := l.content.(type) {
	case Create:
		founder := g.keys[l.author]
		newMember(founder)
		seat(founder, false)
	case Admit:
		if l.member == none {
			newMember(x.Device)
		}
		seat(x.Device, false)
	case AddMember:
		newMember(x.Device)
		seat(x.Device, false)
	case AddDevice:
		if g.key(x.Device) != l.author {
			seat(x.Device, false)
		}
	case Invite:
		g.invites[x.ID] = append(g.invites[x.ID], l.n)
	case AddDB:
		g.db(x.DB)
	}
	if r := recoveryOf(l.content); r != nil {
		seat(r.Device, true)
	}
}

// Roster returns the roster fold: whom replicas give ciphertext. It is not narrower
// than State; a member serves those who are in either.
func (c *Chain) Roster() *State {
	if c.g.roster {
		return c.State()
	}
	if c.other == nil {
		genesis := c.g.links[0]
		c.other, _ = newChain(&UnverifiedLink{ // cannot fail: it is a genesis
			ID: genesis.id, Content: genesis.content,
			Header: block.Header{Kind: block.KindLink, Author: c.g.keys[genesis.author]},
		}, true)
		for _, l := range c.g.links[1:] {
			_ = c.other.Add(c.rosterLink(l))
		}
	}
	return c.other.State()
}

// rosterLink is a stored link as a replica gets it, without its lockboxes, which
// were checked when it was added here.
func (c *Chain) rosterLink(l *link) *UnverifiedLink {
	h := block.Header{
		Kind: block.KindLink, Team: c.g.team, Generation: block.Generation(c.g.team), Parents: len(l.parents),
		Author: c.g.keys[l.author], Seat: c.g.links[c.g.seats[l.seat].link].id, Critical: l.critical,
	}
	for _, p := range l.parents {
		h.Links = append(h.Links, c.g.links[p].id)
	}
	return &UnverifiedLink{ID: l.id, Header: h, Content: l.content, Time: l.time}
}

// view returns the view under all heads.
func (c *Chain) view() *view {
	if c.current == nil {
		c.current = c.g.under(c.headNumbers())
	}
	return c.current
}

func (c *Chain) headNumbers() []int32 {
	out := make([]int32, 0, len(c.heads))
	for n := range c.heads {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Check reports whether a link with this content by this device would be allowed
// on top of the present heads. A command asks before it writes anything, so that
// one that is refused leaves no link behind. Lockboxes are not looked at, and the
// proof of an ADMIT is.
func (c *Chain) Check(author block.Device, content Content) error {
	if err := checkAll(content); err != nil {
		return err
	}
	l := &link{n: int32(len(c.g.links)), content: content, action: content.Action(), author: c.g.lookup(author)}
	for _, id := range c.Parents() {
		l.parents = append(l.parents, c.g.byID[id])
	}
	v := c.g.under(l.parents)
	if l.seat = v.holder(l.author); l.seat == none {
		for _, s := range v.keys.get(l.author).seats { // suspended: may only leave
			if v.in(s) {
				l.seat = s
			}
		}
	}
	sealed := block.Header{Generation: block.Generation(c.g.links[0].id)}
	if _, err := v.allowed(l, sealed); err != nil {
		return &RefusedError{By: author, Action: content.Action(), Why: err.Error()}
	}
	return nil
}

// Since returns the ids of all links that are not among heads or in the past of
// those of them we know, parents first.
func (c *Chain) Since(heads []block.ID) []block.ID {
	known := make([]bool, len(c.g.links))
	for _, id := range heads {
		if n, ok := c.g.byID[id]; ok {
			known[n] = true
		}
	}
	var out []int32
	for n := int32(len(known)) - 1; n >= 0; n-- { // children come after their parents
		if !known[n] {
			out = append(out, n)
			continue
		}
		for _, p := range c.g.links[n].parents {
			known[p] = true
		}
	}
	slices.SortFunc(out, c.g.later)
	ids := make([]block.ID, len(out))
	for i, n := range out {
		ids[i] = c.g.links[n].id
	}
	return ids
}

// Beside reports whether more than most links are neither among heads, all of which
// must be here, nor in the past of any: whether a link on heads would run beside that
// many.
func (c *Chain) Beside(heads []block.ID, most int) bool {
	past := make([]bool, len(c.g.links))
	for _, id := range heads {
		past[c.g.byID[id]] = true
	}
	for n := len(past) - 1; n >= 0 && most >= 0; n-- { // children come after their parents
		if !past[n] {
			most--
			continue
		}
		for _, p := range c.g.links[n].parents {
			past[p] = true
		}
	}
	return most < 0
}

// Entry is a line of the chain's log.
type Entry struct {
	ID      block.ID
	Parents []block.ID
	Action  Action
	Content Content
	By      block.Device
	Time    wire.Time
	Valid   bool
	Why     string // why it does not count; empty if it does
}

// Log returns all links, parents first, and whether each counts under the present
// heads.
func (c *Chain) Log() []Entry {
	g := c.g
	out := make([]Entry, 0, len(g.links))
	note := func(r *resolver) {
		for i, l := range r.ls {
			e := Entry{ID: l.id, Action: l.action, Content: l.content, By: g.keys[l.author], Time: l.time}
			for _, p := range l.parents {
				e.Parents = append(e.Parents, g.links[p].id)
			}
			e.Valid, e.Why = r.verdict(i)
			out = append(out, e)
		}
	}
	step := func(v *view, ns, heads []int32) *view {
		r := newResolver(v, ns)
		r.settle()
		note(r)
		return r.view(heads)
	}
	heads := c.headNumbers()
	var path []int32
	for n := g.meet(heads); n != none; n = g.links[n].dom {
		path = append(path, n)
	}
	v := &view{g: g}
	for _, n := range slices.Backward(path) {
		if l := g.links[n]; len(l.parents) > 1 {
			v = step(v, g.bubble(l.parents, l.dom), l.parents)
		}
		v = step(v, []int32{n}, []int32{n})
	}
	if rest := g.bubble(heads, path[0]); len(rest) > 0 {
		step(v, rest, heads)
	}
	slices.SortFunc(out, func(a, b Entry) int { return g.later(g.byID[a.ID], g.byID[b.ID]) })
	return out
}
