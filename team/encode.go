package team

import (
	"fmt"

	"github.com/toftdb/toft/internal/wire"
)

// Layers are the plaintexts of a link's two layers. For genesis Roster is the
// clear body and Private is empty. A replica, which cannot open the private
// layer, leaves Private nil.
type Layers struct{ Roster, Private []byte }

// Encode checks content and returns its layers with t, the author's clock, in the
// private one. [Unknown] cannot be written.
func Encode(c Content, t wire.Time) (Layers, error) {
	if _, ok := c.(Create); !ok && !t.Valid() {
		return Layers{}, fmt.Errorf("%w: %s: time %d is out of range", ErrMalformed, c.Action(), t)
	}
	if !c.Action().Known() {
		return Layers{}, fmt.Errorf("%w: action %d has no form", ErrMalformed, c.Action())
	}
	if err := checkAll(c); err != nil {
		return Layers{}, err
	}
	return c.layers(t), nil
}

// checkAll runs the checks of both layers.
func checkAll(c Content) error {
	err := c.check()
	if p, ok := c.(interface{ checkPrivate() error }); ok && err == nil {
		err = p.checkPrivate()
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMalformed, c.Action(), err)
	}
	return nil
}

// opt returns b, or nil (an absent field) if it is all zero.
func opt(b []byte) []byte {
	if nonZero("", b) != nil {
		return nil
	}
	return b
}

func (r *Recovery) form() *recoveryForm {
	if r == nil {
		return nil
	}
	return &recoveryForm{Device: r.Device, BoxKey: r.BoxKey, Statement: opt(r.Statement[:]), Vouch: opt(r.Vouch[:])}
}

func (c Create) layers(wire.Time) Layers {
	return Layers{Roster: wire.Must(createForm{
		Action: ActCreate, BoxKey: c.BoxKey, Recovery: c.Recovery.form(), Key: c.Key, Random: c.Random,
	})}
}

func (c Invite) layers(t wire.Time) Layers {
	return Layers{
		wire.Must(inviteForm{ActInvite, c.ID, c.Kind, c.Role, c.MaxUses}),
		wire.Must(invitePrivate{t, c.Key, c.Expires, opt(c.Bound[:])}),
	}
}

func (c Revoke) layers(t wire.Time) Layers {
	return Layers{wire.Must(revokeForm{ActRevoke, c.Invite}), wire.Must(timePrivate{t})}
}

func (c Admit) layers(t wire.Time) Layers {
	p := c.Proof
	return Layers{
		wire.Must(admitForm{ActAdmit, c.Invite, c.Device, c.BoxKey, c.Recovery.form()}),
		wire.Must(admitPrivate{t, p.R, p.Nonce, p.InviteSig, p.DeviceSig, p.Name, p.DeviceName}),
	}
}

func (c AddMember) layers(t wire.Time) Layers {
	f := addMemberForm{Action: ActAddMember, Device: c.Device, Role: c.Role, Share: uint64(c.Share), Recovery: c.Recovery.form()}
	if !c.BoxKey.IsZero() {
		f.BoxKey = &c.BoxKey
	}
	return Layers{wire.Must(f), wire.Must(namedPrivate{t, c.Name})}
}

func (c AddDevice) layers(t wire.Time) Layers {
	return Layers{
		wire.Must(addDeviceForm{ActAddDevice, c.Device, c.BoxKey, opt(c.Statement[:]), c.Recovery.form()}),
		wire.Must(namedPrivate{t, c.Name}),
	}
}

func (c SetRole) layers(t wire.Time) Layers {
	return Layers{
		wire.Must(setRoleForm{ActSetRole, c.Member, c.Role, c.Heads, opt(c.Confirms[:])}),
		wire.Must(timePrivate{t}),
	}
}

func (r Removal) encode(a Action, t wire.Time) Layers {
	return Layers{
		wire.Must(removalForm{a, r.Target, r.Heads, r.Revokes, r.Keys, opt(r.Confirms[:])}),
		wire.Must(timePrivate{t}),
	}
}

func (c RemoveMember) layers(t wire.Time) Layers { return c.encode(ActRemoveMember, t) }
func (c RemoveDevice) layers(t wire.Time) Layers { return c.encode(ActRemoveDevice, t) }

func (c Rotate) layers(t wire.Time) Layers {
	return Layers{wire.Must(rotateForm{ActRotate, c.Keys}), wire.Must(timePrivate{t})}
}

func (c GiveBoxes) layers(t wire.Time) Layers {
	return Layers{wire.Must(boxForm{ActBox, c.Generation, c.Devices}), wire.Must(timePrivate{t})}
}

func (c AddDB) layers(t wire.Time) Layers {
	f := addDBForm{Action: ActAddDB, DB: c.DB}
	p := addDBPrivate{Time: t, Name: c.Name, Number: c.Number, Secret: c.Secret}
	if b := c.Base; b != nil {
		f.Base = &baseForm{Team: b.Team, Heads: b.Heads, Checkpoint: opt(b.Checkpoint[:])}
		for _, k := range b.Keys {
			p.Keys = append(p.Keys, baseKeyForm{Generation: k.Generation, MAC: k.MAC, Enc: k.Enc})
		}
	}
	return Layers{wire.Must(f), wire.Must(p)}
}

func (c RemoveDB) layers(t wire.Time) Layers {
	return Layers{wire.Must(removeDBForm{ActRemoveDB, c.DB, c.Heads}), wire.Must(timePrivate{t})}
}

func (c Name) layers(t wire.Time) Layers {
	return Layers{wire.Must(actionForm{ActName}), wire.Must(namePrivate{t, c.Kind, c.Subject, c.Name})}
}

func (c RemoveReplica) layers(t wire.Time) Layers {
	return Layers{wire.Must(removeReplicaForm{ActRemoveReplica, c.Device, c.Keys}), wire.Must(timePrivate{t})}
}

func (c MemberOf) layers(t wire.Time) Layers {
	return Layers{
		wire.Must(actionForm{ActMemberOf}),
		wire.Must(memberOfPrivate{t, c.Team, c.Member, c.Addrs, c.Name, c.Gone}),
	}
}

func (u Unknown) layers(t wire.Time) Layers { return Layers{} }

// Body is the body of a link that is not genesis: its four sealed layers, any of
// them possibly empty.
type Body struct{ Roster, Private, History, RouteHistory []byte }

// bodyForm is the wire form of a body.
type bodyForm struct {
	_            struct{} `cbor:",toarray"`
	Roster       []byte
	Private      []byte
	History      []byte
	RouteHistory []byte
}

// Encode returns the canonical array of the four layers.
func (b Body) Encode() []byte {
	return wire.Must(bodyForm{Roster: b.Roster, Private: b.Private, History: b.History, RouteHistory: b.RouteHistory})
}

// ParseBody reads what Encode wrote, at most MaxLink bytes.
func ParseBody(data []byte) (Body, error) {
	f, err := wire.Decode[bodyForm](data, MaxLink)
	if err != nil {
		return Body{}, fmt.Errorf("%w: body: %w", ErrMalformed, err)
	}
	return Body{Roster: f.Roster, Private: f.Private, History: f.History, RouteHistory: f.RouteHistory}, nil
}
