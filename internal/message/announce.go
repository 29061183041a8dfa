package message

import (
	"bytes"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// DBHeads is where one database stands on one device.
type DBHeads struct {
	DB         block.DBID `cbor:"1,keyasint"`
	Heads      []block.ID `cbor:"2,keyasint,omitempty"` // sorted; absent: nothing written yet
	Digest     [32]byte   `cbor:"3,keyasint"`           // of the state these heads lead to
	Void       [32]byte   `cbor:"4,keyasint,omitzero"`  // hash of the void commits below; absent: none
	Checkpoint block.ID   `cbor:"5,keyasint,omitzero"`  // newest checkpoint of the device; absent: none
}

func (d DBHeads) check() error {
	if d.DB.IsZero() {
		return bad("database id is zero")
	}
	return checkSet("heads", d.Heads, MaxHeads)
}

// checkDBHeads requires databases sorted by id, each in bounds.
func checkDBHeads(dbs []DBHeads) error {
	if len(dbs) > MaxDBs {
		return bad("%d databases, at most %d", len(dbs), MaxDBs)
	}
	for i, d := range dbs {
		if i > 0 && bytes.Compare(dbs[i-1].DB[:], d.DB[:]) >= 0 {
			return bad("databases not sorted")
		}
		if err := d.check(); err != nil {
			return err
		}
	}
	return nil
}

// Announcement says "these are my heads" to the team: what a device holds now,
// and, while the team is small, the new commits themselves.
type Announcement struct {
	Device  block.Device `cbor:"1,keyasint"`           // who says so, not who handed it on
	Counter uint64       `cbor:"2,keyasint"`           // rises with every announcement of the device
	Time    wire.Time    `cbor:"3,keyasint"`           // the device's clock; for people, decides nothing
	DBs     []DBHeads    `cbor:"4,keyasint,omitempty"` // sorted by id; only those that have news
	Chain   []block.ID   `cbor:"5,keyasint"`           // heads of the team chain, sorted
	Commits [][]byte     `cbor:"6,keyasint,omitempty"` // whole blocks, in causal order
}

func (a Announcement) check() error {
	switch {
	case a.Device.IsZero():
		return bad("announcement without device")
	case a.Counter == 0:
		return bad("announcement without counter")
	case !a.Time.Valid():
		return bad("announcement with time %d", a.Time)
	case len(a.Chain) == 0:
		return bad("announcement without chain heads")
	}
	if err := checkSet("chain heads", a.Chain, MaxHeads); err != nil {
		return err
	}
	if _, err := checkBlobs("commits", a.Commits, MaxInlineCommits, MaxAnnouncement, MaxAnnouncement); err != nil {
		return err
	}
	return checkDBHeads(a.DBs)
}

// announceSigned returns what an announcement's signature covers: the team and
// generation it is for cannot be swapped.
func announceSigned(team block.TeamID, gen block.Generation, body []byte) []byte {
	b := append([]byte(block.ForAnnounce), team[:]...)
	b = append(b, gen[:]...)
	return append(b, body...)
}

// Sign returns the plaintext to seal: CBOR ‖ signature. The function signs for
// [block.ForAnnounce] with the key of a.Device. An announcement that does not fit
// returns [ErrTooLarge]: the caller leaves out commits first, databases next.
func (a Announcement) Sign(team block.TeamID, gen block.Generation, sign func(msg []byte) block.Signature) ([]byte, error) {
	body, err := encodeBody(a, MaxAnnouncementPlain-64)
	if err != nil {
		return nil, err
	}
	sig := sign(announceSigned(team, gen, body))
	return append(body, sig[:]...), nil
}

// UnverifiedAnnouncement is a well-formed announcement whose signature is not
// checked. Only the device it claims may be looked at, to learn cheaply whether
// it is a member at all.
type UnverifiedAnnouncement struct {
	Device block.Device
	body   []byte
	sig    block.Signature
	said   Announcement
}

// ParseAnnouncement reads an opened announcement, CBOR ‖ signature. It keeps plain.
func ParseAnnouncement(plain []byte) (*UnverifiedAnnouncement, error) {
	if len(plain) > MaxAnnouncementPlain {
		return nil, fmt.Errorf("%w: announcement of %d bytes, at most %d", ErrTooLarge, len(plain), MaxAnnouncementPlain)
	}
	if len(plain) < 64 {
		return nil, bad("announcement of %d bytes has no room for a signature", len(plain))
	}
	body := plain[:len(plain)-64]
	a, err := parseBody[Announcement](body, MaxAnnouncementPlain)
	if err != nil {
		return nil, err
	}
	return &UnverifiedAnnouncement{Device: a.Device, body: body, sig: block.Signature(plain[len(body):]), said: a}, nil
}

// Verify checks the signature by the device the announcement names. Whether the
// device is a member, and the counter new, is the caller's to know.
func (u *UnverifiedAnnouncement) Verify(team block.TeamID, gen block.Generation) (Announcement, error) {
	if err := u.Device.Verify(block.ForAnnounce, announceSigned(team, gen, u.body), u.sig); err != nil {
		return Announcement{}, fmt.Errorf("announcement: %w", err)
	}
	return u.said, nil
}

// WrapAnnouncement puts a sealed announcement into the form that is published:
// version ‖ generation[:8] ‖ sealed. The hint tells a reader which of its keys to
// try; the sealing binds the full generation.
func WrapAnnouncement(gen block.Generation, sealed []byte) ([]byte, error) {
	n := 1 + 8 + len(sealed)
	if n > MaxAnnouncement {
		return nil, fmt.Errorf("%w: announcement of %d bytes, at most %d", ErrTooLarge, n, MaxAnnouncement)
	}
	if len(sealed) == 0 {
		return nil, bad("announcement without content")
	}
	hint := gen.Hint()
	return append(append(append(make([]byte, 0, n), Version), hint[:]...), sealed...), nil
}

// UnwrapAnnouncement is the inverse of [WrapAnnouncement]; sealed shares memory
// with data.
func UnwrapAnnouncement(data []byte) (hint block.Hint, sealed []byte, err error) {
	if len(data) > MaxAnnouncement {
		return hint, nil, fmt.Errorf("%w: announcement of %d bytes, at most %d", ErrTooLarge, len(data), MaxAnnouncement)
	}
	if len(data) < 10 {
		return hint, nil, bad("announcement of %d bytes", len(data))
	}
	if data[0] != Version {
		return hint, nil, fmt.Errorf("%w: announcement of version %d", ErrVersion, data[0])
	}
	return block.Hint(data[1:9]), data[9:], nil
}
