package message

import "github.com/toftdb/toft/block"

// The device stream carries two messages:
//
//	new device → Claim    "I am a device of this member, in this team"
//	own device → Result   the team, and the ADD_DEVICE link that seats it, or why not
//
// It is open to the other devices of one user only: those of his personal team.

// DeviceProtocol brings one's own devices into the teams one is in.
const DeviceProtocol = "/toft/device/1"

// Claim is a device's own statement that it belongs to a member of a team: what an
// ADD_DEVICE link holds of it.
type Claim struct {
	Team      block.TeamID    `cbor:"1,keyasint"`
	Member    block.Device    `cbor:"2,keyasint"`
	Device    block.Device    `cbor:"3,keyasint"` // must be the peer of the connection
	BoxKey    block.BoxKey    `cbor:"4,keyasint"`
	Statement block.Signature `cbor:"5,keyasint"` // by the device over team.DeviceStatement
	Name      string          `cbor:"6,keyasint,omitempty"`
}

// Encode returns the message in wire form.
func (c Claim) Encode() ([]byte, error) { return encode(c, MaxJoinFrame) }

// ParseClaim reads a message of [Claim.Encode]. Its keys are checked.
func ParseClaim(data []byte) (Claim, error) { return parse[Claim](data, MaxJoinFrame) }

func (c Claim) check() error {
	if c.Team.IsZero() || len(c.Name) > MaxName {
		return bad("claim without a team, or with a name of %d bytes, at most %d", len(c.Name), MaxName)
	}
	if err := c.Member.Check(); err != nil {
		return keyError("member", err)
	}
	if err := c.Device.Check(); err != nil {
		return keyError("device", err)
	}
	return keyError("device's HPKE key", c.BoxKey.Check())
}
