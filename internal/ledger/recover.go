package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// This file brings devices to a member without an invitation: another of his devices
// adds one that says so itself; and where none is left, his words on paper do.
//
//	words ─▶ Recovery: a ledger whose device is the words, on a disk in memory
//	            │  Begin, Receive: opens the team with the box of the recovery seat
//	            └─ AddDevice(statement of the new device) ─▶ a link the others pull
//	new device ─▶ Begin(genesis, that link), Receive ─▶ on the team

// Statement is a device's own word that it belongs to a member of a team: nobody can
// claim a key he does not hold.
type Statement struct {
	Team      block.TeamID
	Member    block.Device
	Device    block.Device
	BoxKey    block.BoxKey
	Signature block.Signature // under block.ForDevice over team.DeviceStatement
	Name      string          // what the device calls itself; not signed
}

// Claim says that this device belongs to a member of a team.
func (l *Ledger) Claim(t block.TeamID, member block.Device) Statement {
	id := l.o.Identity
	return Statement{
		Team: t, Member: member, Device: id.Device(), BoxKey: id.BoxKey(), Name: l.o.Device,
		Signature: id.Sign(block.ForDevice, team.DeviceStatement(t, member, id.Device(), id.BoxKey())),
	}
}

// AddDevice adds a device to this device's own member and boxes the keys to it. It
// returns the link that seats it, also if it was on the team already.
func (c *Chain) AddDevice(ctx context.Context, s Statement) (seat block.ID, err error) {
	st := c.State()
	self, ok := st.Device(c.n.Me())
	if s.Team != c.id || !ok || self.Member != s.Member {
		return seat, fmt.Errorf("%w: the statement is of another team or member", ErrForbidden)
	}
	if d, ok := st.Device(s.Device); ok && d.Status == team.StatusActive {
		return d.Seat, nil
	}
	name, err := team.CleanName(s.Name)
	if err != nil {
		name = ""
	}
	return c.Link(ctx, team.AddDevice{Device: s.Device, BoxKey: s.BoxKey, Statement: s.Signature, Name: name}, nil)
}

// insure gives the member of this device words on paper in a team where he has none,
// as far as the words are still here. It returns nil if there is nothing to do.
func (c *Chain) insure(self team.Device) team.Content {
	device, key, seed := c.n.o.Identity.Recovery()
	if seed.IsZero() {
		return nil
	}
	for _, d := range c.State().Devices() {
		if d.Recovery && d.Member == self.Member {
			return nil
		}
	}
	words, err := seed.Identity()
	if err != nil {
		return nil
	}
	return team.AddDevice{Device: self.Key, BoxKey: c.n.o.Identity.BoxKey(), Recovery: &team.Recovery{
		Device: device, BoxKey: key,
		Statement: words.Sign(block.ForDevice, team.DeviceStatement(c.id, self.Member, device, key)),
	}}
}

// ErrRecovery: the team does not know the words.
var ErrRecovery = errors.New("the words belong to no member of this team")

// Recovery opens a ledger whose device is the words of a recovery kit, empty, on a
// disk in memory. Put it on the network, Begin a team with a zero seat, and let it add
// the devices that shall replace the lost ones; then close it and forget the words.
func Recovery(o Options, seed vault.RecoverySeed) (*Ledger, error) {
	id, err := seed.Identity()
	if err != nil {
		return nil, err
	}
	if o.Store, err = store.Open("/recovery", store.Options{FS: store.NewMem()}); err != nil {
		return nil, err
	}
	o.Identity, o.Place = id, "recovery"
	l, err := Open(o)
	if err != nil {
		return nil, errors.Join(err, o.Store.Close())
	}
	return l, nil
}

// Store returns where the ledger lies; that of [Recovery] is in memory, and to be
// closed after it.
func (l *Ledger) Store() *store.Store { return l.o.Store }

// Recover brings this device into a team with the words of a recovery kit: links are
// the whole chain as somebody serves it, with the lockboxes beside it. It returns the chain here, and the link that
// seats this device, which only this device has as yet: hand it to a member as the
// words' own device, or let a member pull it.
func (l *Ledger) Recover(ctx context.Context, seed vault.RecoverySeed, links [][]byte) (c *Chain, seat *block.Block, err error) {
	o := l.o
	o.Changed, o.Committed = nil, nil
	words, err := Recovery(o, seed)
	if err != nil {
		return nil, nil, err
	}
	defer func() { words.Close(); err = errors.Join(err, words.o.Store.Close()) }()
	var theirs *Chain
	var genesis *block.Unverified
	for _, data := range links {
		if u, err := block.Parse(data); err == nil && u.Genesis() {
			genesis = u
			if theirs, err = words.Begin(ctx, u, block.ID{}); err != nil {
				return nil, nil, err
			}
		}
	}
	if theirs == nil {
		return nil, nil, fmt.Errorf("%w: no first link among %d", block.ErrMalformed, len(links))
	}
	if _, err := theirs.Receive(ctx, links); err != nil {
		return nil, nil, err
	}
	if _, err := theirs.Fill(ctx, links); err != nil {
		return nil, nil, err
	}
	self, ok := theirs.State().Device(words.Me())
	if !ok || !theirs.Seated() {
		return nil, nil, ErrRecovery
	}
	id, err := theirs.AddDevice(ctx, l.Claim(theirs.id, self.Member))
	if err != nil {
		return nil, nil, err
	}
	if c, err = l.Begin(ctx, genesis, id); err != nil {
		return nil, nil, err
	}
	var all [][]byte
	for _, link := range theirs.Since(nil) {
		u, err := words.Stored(link)
		if err != nil {
			return nil, nil, err
		}
		if link == id {
			gen, _ := theirs.Generation(u.GenerationHint)
			if seat, err = u.Resolve(theirs.id, gen); err != nil {
				return nil, nil, err
			}
		}
		all = append(all, u.Data())
	}
	if _, err := c.Receive(ctx, all); err != nil {
		return nil, nil, err
	}
	return c, seat, nil
}
