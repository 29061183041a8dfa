package team

import (
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// decoder turns the layers of one link back into content. Its methods remember
// the first error, so that each action reads as a list of its fields.
type decoder struct {
	l   Layers
	err error
}

// decodeLayers reads both layers, or the roster layer alone where Private is nil:
// then the fields of the private layer and the time are zero.
func decodeLayers(l Layers) (Content, wire.Time, error) {
	a, err := actionOf(l.Roster)
	if err != nil {
		return nil, 0, err
	}
	d := &decoder{l: l}
	c, t := d.content(a)
	if d.err == nil {
		d.err = c.check()
	}
	if d.err == nil && l.Private != nil {
		if p, ok := c.(interface{ checkPrivate() error }); ok {
			d.err = p.checkPrivate()
		}
		if d.err == nil && a != ActCreate && a.Known() && !t.Valid() {
			d.err = fmt.Errorf("time %d is out of range", t)
		}
	}
	if d.err != nil {
		return nil, 0, fmt.Errorf("%w: %s: %w", ErrMalformed, a, d.err)
	}
	return c, t, nil
}

// actionOf reads the action number at the front of a roster layer. Keys are
// sorted and none is below 1, so the action is the first pair of the map.
func actionOf(roster []byte) (Action, error) {
	bad := fmt.Errorf("%w: roster layer does not start with an action", ErrMalformed)
	if len(roster) < 3 || roster[0] < 0xa1 || roster[0] > 0xb7 || roster[1] != 1 {
		return 0, bad
	}
	v, _, err := wire.DecodeFirst[uint16](roster[2:min(len(roster), 5)])
	if err != nil || v == 0 {
		return 0, bad
	}
	return Action(v), nil
}

func roster[T any](d *decoder) (v T) {
	if d.err == nil {
		v, d.err = wire.Decode[T](d.l.Roster, MaxLink)
	}
	return v
}

func private[T any](d *decoder) (v T) {
	if d.err == nil && d.l.Private != nil {
		v, d.err = wire.Decode[T](d.l.Private, MaxLink)
	}
	return v
}

// fixed copies an optional field of exactly len(to) bytes; absent stays zero, and
// zeros must be absent, so that there is one encoding.
func (d *decoder) fixed(what string, to, b []byte) {
	if d.err != nil || len(b) == 0 {
		return
	}
	if len(b) != len(to) || opt(b) == nil {
		d.err = fmt.Errorf("%s of %d bytes", what, len(b))
		return
	}
	copy(to, b)
}

func (d *decoder) recovery(f *recoveryForm) *Recovery {
	if f == nil {
		return nil
	}
	r := &Recovery{Device: f.Device, BoxKey: f.BoxKey}
	d.fixed("recovery statement", r.Statement[:], f.Statement)
	d.fixed("recovery vouch", r.Vouch[:], f.Vouch)
	return r
}

// content dispatches on the action.
func (d *decoder) content(a Action) (Content, wire.Time) {
	switch a {
	case ActCreate:
		f := roster[createForm](d)
		if len(d.l.Private) > 0 && d.err == nil {
			d.err = fmt.Errorf("a private layer in genesis")
		}
		return Create{BoxKey: f.BoxKey, Recovery: d.recovery(f.Recovery), Key: f.Key, Random: f.Random}, 0
	case ActInvite:
		f, p := roster[inviteForm](d), private[invitePrivate](d)
		c := Invite{ID: f.ID, Kind: f.Kind, Role: f.Role, MaxUses: f.MaxUses, Key: p.Key, Expires: p.Expires}
		d.fixed("bound device", c.Bound[:], p.Bound)
		return c, p.Time
	case ActRevoke:
		f := roster[revokeForm](d)
		return Revoke{Invite: f.Invite}, d.time()
	case ActAdmit:
		return d.admit()
	case ActAddMember:
		f, p := roster[addMemberForm](d), private[namedPrivate](d)
		c := AddMember{Device: f.Device, Role: f.Role, Share: int(min(f.Share, 1<<20)), Recovery: d.recovery(f.Recovery), Name: p.Name}
		if f.BoxKey != nil {
			c.BoxKey = *f.BoxKey
			if c.BoxKey.IsZero() && d.err == nil {
				d.err = fmt.Errorf("empty HPKE key")
			}
		}
		return c, p.Time
	case ActAddDevice:
		f, p := roster[addDeviceForm](d), private[namedPrivate](d)
		c := AddDevice{Device: f.Device, BoxKey: f.BoxKey, Recovery: d.recovery(f.Recovery), Name: p.Name}
		d.fixed("statement", c.Statement[:], f.Statement)
		return c, p.Time
	case ActSetRole:
		f := roster[setRoleForm](d)
		c := SetRole{Member: f.Member, Role: f.Role, Heads: f.Heads}
		d.fixed("confirmed link", c.Confirms[:], f.Confirms)
		return c, d.time()
	case ActRemoveMember:
		return RemoveMember{d.removal()}, d.time()
	case ActRemoveDevice:
		return RemoveDevice{d.removal()}, d.time()
	}
	return d.rest(a)
}

func (d *decoder) rest(a Action) (Content, wire.Time) {
	switch a {
	case ActRotate:
		return Rotate{Keys: roster[rotateForm](d).Keys}, d.time()
	case ActBox:
		f := roster[boxForm](d)
		return GiveBoxes{Generation: f.Generation, Devices: f.Devices}, d.time()
	case ActAddDB:
		return d.addDB()
	case ActRemoveDB:
		f := roster[removeDBForm](d)
		return RemoveDB{DB: f.DB, Heads: f.Heads}, d.time()
	case ActName:
		roster[actionForm](d)
		p := private[namePrivate](d)
		return Name{Kind: p.Kind, Subject: p.Subject, Name: p.Name}, p.Time
	case ActRemoveReplica:
		f := roster[removeReplicaForm](d)
		return RemoveReplica{Device: f.Device, Keys: f.Keys}, d.time()
	case ActMemberOf:
		roster[actionForm](d)
		p := private[memberOfPrivate](d)
		return MemberOf{Team: p.Team, Member: p.Member, Addrs: p.Addrs, Name: p.Name, Gone: p.Gone}, p.Time
	}
	return Unknown{Number: a}, 0
}

func (d *decoder) time() wire.Time { return private[timePrivate](d).Time }

func (d *decoder) admit() (Content, wire.Time) {
	f, p := roster[admitForm](d), private[admitPrivate](d)
	c := Admit{Invite: f.Invite, Device: f.Device, BoxKey: f.BoxKey, Recovery: d.recovery(f.Recovery)}
	if d.l.Private != nil {
		c.Proof = Proof{
			Device: f.Device, BoxKey: f.BoxKey, Name: p.Name, DeviceName: p.DeviceName, R: p.R, Nonce: p.Nonce,
			Recovery: c.Recovery, InviteSig: p.InviteSig, DeviceSig: p.DeviceSig,
			Commit: Commit(f.Device, f.BoxKey, p.Name, p.DeviceName, p.R),
		}
	}
	return c, p.Time
}

func (d *decoder) removal() Removal {
	f := roster[removalForm](d)
	r := Removal{Target: f.Target, Heads: f.Heads, Revokes: f.Revokes, Keys: f.Keys}
	d.fixed("confirmed link", r.Confirms[:], f.Confirms)
	return r
}

func (d *decoder) addDB() (Content, wire.Time) {
	f, p := roster[addDBForm](d), private[addDBPrivate](d)
	c := AddDB{DB: f.DB, Name: p.Name, Number: p.Number, Secret: p.Secret}
	if f.Base == nil {
		if len(p.Keys) > 0 && d.err == nil {
			d.err = fmt.Errorf("base keys without a base")
		}
		return c, p.Time
	}
	c.Base = &Base{Team: f.Base.Team, Heads: f.Base.Heads}
	d.fixed("base checkpoint", c.Base.Checkpoint[:], f.Base.Checkpoint)
	for _, k := range p.Keys {
		c.Base.Keys = append(c.Base.Keys, BaseKey{Generation: k.Generation, MAC: k.MAC, Enc: k.Enc})
	}
	return c, p.Time
}

// UnverifiedLink is a link whose signature is good (block checked it) and whose
// shape is; nothing is known yet about its place in the chain or its right to be
// there. [Chain.Add] decides both.
type UnverifiedLink struct {
	ID       block.ID
	Header   block.Header
	Content  Content
	Time     wire.Time // the author's clock; zero in genesis and where Private was nil
	complete bool      // the private layer was there
}

// Parse reads a verified block of kind link with its opened layers: shape and
// bounds of every field, and that header, body and layers fit each other. It
// needs no other link. Errors are ErrMalformed.
func Parse(b *block.Block, l Layers) (*UnverifiedLink, error) {
	h := b.Header
	if h.Kind != block.KindLink {
		return nil, fmt.Errorf("%w: block of kind %d is no link", ErrMalformed, h.Kind)
	}
	c, t, err := decodeLayers(l)
	if err != nil {
		return nil, err
	}
	u := &UnverifiedLink{ID: b.ID, Header: h, Content: c, Time: t, complete: l.Private != nil || h.Genesis()}
	if err := u.checkHeader(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, c.Action(), err)
	}
	if h.Genesis() {
		return u, nil
	}
	if err := checkBody(b.Body, c); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, c.Action(), err)
	}
	return u, nil
}

// checkBody wants history layers exactly where a generation is made.
func checkBody(data []byte, c Content) error {
	body, err := ParseBody(data)
	if err != nil {
		return err
	}
	makes := keysOf(c) != nil
	if c.Action().Known() && (makes != (len(body.History) > 0) || makes != (len(body.RouteHistory) > 0)) {
		return fmt.Errorf("history layers and a new generation do not go together")
	}
	if len(body.Roster) == 0 {
		return fmt.Errorf("no roster layer")
	}
	return nil
}

// checkHeader checks what header and content say about each other.
func (u *UnverifiedLink) checkHeader() error {
	h, c := u.Header, u.Content
	if err := h.Author.Check(); err != nil {
		return err
	}
	if h.Genesis() != (c.Action() == ActCreate) {
		return fmt.Errorf("CREATE and genesis do not go together")
	}
	if r := recoveryOf(c); r != nil && r.Device == h.Author {
		return fmt.Errorf("recovery key is the author's")
	}
	if a, ok := c.(AddMember); ok && a.Share != 0 && a.Share != len(h.Links)-1 {
		return fmt.Errorf("the invite block must be the last link")
	}
	if a, ok := c.(AddMember); ok && a.Share != 0 && a.Share < h.Parents {
		return fmt.Errorf("the invite block is a parent")
	}
	extra := len(h.Links) - h.Parents
	if a, ok := c.(AddMember); ok && a.Share != 0 {
		extra--
	}
	if extra > 0 && keysOf(c) == nil && !givesBoxes(c) {
		return fmt.Errorf("%d linked blocks that it has no use for", extra)
	}
	return u.checkGroups()
}

// givesBoxes reports whether the action hands out keys that exist already.
func givesBoxes(c Content) bool {
	switch c.(type) {
	case Admit, AddMember, AddDevice, GiveBoxes, Unknown:
		return true
	}
	return false
}

// checkGroups wants lockboxes only where the action hands out keys, and the
// commitments of a new generation to be those of the roster layer.
func (u *UnverifiedLink) checkGroups() error {
	keys := keysOf(u.Content)
	for _, g := range u.Header.Boxes {
		switch {
		case g.Generation.IsZero() && keys == nil:
			return fmt.Errorf("lockboxes of a generation it does not make")
		case !g.Generation.IsZero() && !givesBoxes(u.Content):
			return fmt.Errorf("lockboxes of another generation")
		case g.Generation.IsZero() && g.Purpose == block.BoxGeneration && g.Commitment != keys.Key,
			g.Generation.IsZero() && g.Purpose == block.BoxRoute && g.Commitment != keys.Route:
			return fmt.Errorf("lockboxes of a key it does not commit to")
		}
		if b, ok := u.Content.(GiveBoxes); ok && g.Generation != b.Generation {
			return fmt.Errorf("lockboxes of another generation than it names")
		}
	}
	return nil
}
