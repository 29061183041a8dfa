package message

import (
	"bytes"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// ReceiptKind says what a receipt vouches for.
type ReceiptKind uint8

// The kinds of receipts. Replicas can only store.
const (
	ReceiptApplied ReceiptKind = 1 // the commits are durable and in the device's state
	ReceiptStored  ReceiptKind = 2 // the blocks are durable, unread
)

// Receipt is a device's signed word that it durably holds a database up to these
// heads. A later receipt (higher counter) of the same actor replaces it.
type Receipt struct {
	Team    block.TeamID `cbor:"1,keyasint"`
	DB      block.DBID   `cbor:"2,keyasint"`
	Actor   [40]byte     `cbor:"3,keyasint"` // device 32 ‖ incarnation 8, as in block.Actor.Bytes
	Counter uint64       `cbor:"4,keyasint"`
	Heads   []block.ID   `cbor:"5,keyasint,omitempty"` // sorted
	Chain   []block.ID   `cbor:"6,keyasint"`           // chain heads it knew, sorted
	Kind    ReceiptKind  `cbor:"7,keyasint"`
	Time    wire.Time    `cbor:"8,keyasint"`
}

func (r Receipt) check() error {
	switch {
	case r.Team.IsZero() || r.DB.IsZero():
		return bad("receipt without team or database")
	case bytes.Equal(r.Actor[:32], make([]byte, 32)):
		return bad("receipt without device")
	case r.Counter == 0:
		return bad("receipt without counter")
	case len(r.Chain) == 0:
		return bad("receipt without chain heads")
	case r.Kind != ReceiptApplied && r.Kind != ReceiptStored:
		return bad("receipt of kind %d", r.Kind)
	case !r.Time.Valid():
		return bad("receipt with time %d", r.Time)
	}
	if err := checkSet("heads", r.Heads, MaxHeads); err != nil {
		return err
	}
	return checkSet("chain heads", r.Chain, MaxHeads)
}

// Device returns the device that signs the receipt.
func (r Receipt) Device() block.Device { return block.Device(r.Actor[:32]) }

func receiptSigned(encoded []byte) []byte {
	return append([]byte(block.ForReceipt), encoded...)
}

// Sign returns version ‖ CBOR ‖ signature. The function signs for
// [block.ForReceipt] with the key of the device in r.Actor.
func (r Receipt) Sign(sign func(msg []byte) block.Signature) ([]byte, error) {
	encoded, err := encode(r, MaxReceipt-64)
	if err != nil {
		return nil, err
	}
	sig := sign(receiptSigned(encoded))
	return append(encoded, sig[:]...), nil
}

// UnverifiedReceipt is a well-formed receipt whose signature is not checked.
type UnverifiedReceipt struct {
	DB      block.DBID // what it claims to be about
	Device  block.Device
	Counter uint64
	said    Receipt
	encoded []byte
	sig     block.Signature
}

// ParseReceipt reads a receipt of [Receipt.Sign]. It keeps data.
func ParseReceipt(data []byte) (*UnverifiedReceipt, error) {
	if len(data) < 64 {
		return nil, bad("receipt of %d bytes has no room for a signature", len(data))
	}
	encoded := data[:len(data)-64]
	r, err := parse[Receipt](encoded, MaxReceipt-64)
	if err != nil {
		return nil, err
	}
	return &UnverifiedReceipt{DB: r.DB, Device: r.Device(), Counter: r.Counter, said: r, encoded: encoded, sig: block.Signature(data[len(encoded):])}, nil
}

// Verify checks the signature by the device the receipt names. Whether the device is
// a member is the caller's to know.
func (u *UnverifiedReceipt) Verify() (Receipt, error) {
	if err := u.Device.Verify(block.ForReceipt, receiptSigned(u.encoded), u.sig); err != nil {
		return Receipt{}, fmt.Errorf("receipt: %w", err)
	}
	return u.said, nil
}

// VerifyReceipt is [ParseReceipt] and [UnverifiedReceipt.Verify].
func VerifyReceipt(data []byte) (Receipt, error) {
	u, err := ParseReceipt(data)
	if err != nil {
		return Receipt{}, err
	}
	return u.Verify()
}

func checkReceipts(receipts [][]byte) error {
	_, err := checkBlobs("receipts", receipts, MaxReceipts, MaxReceipt, MaxFrame)
	return err
}
