package vault

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"

	"github.com/toftdb/toft/block"
)

// maxBoxSeeds bounds the HPKE keys of one identity: the present one and those it
// had before, to which older boxes are sealed.
const maxBoxSeeds = 16

// Identity is the secrets of one device: what it signs with and what opens the
// lockboxes sealed to it. It is immutable and safe for concurrent use.
type Identity struct {
	hidden
	device   block.Device
	sign     kept[ed25519.PrivateKey]
	boxSeeds kept[[][]byte] // 32 bytes each, oldest first
	openers  []opener       // newest first, then the X25519 key of the did:key
	recovery recovery
}

// opener is one HPKE key that receives boxes.
type opener struct {
	public  block.BoxKey
	private kept[hpke.PrivateKey]
}

// recovery is the recovery kit of a user: the seed until it was exported, the
// public half for ever.
type recovery struct {
	seed   RecoverySeed // unset once exported
	device block.Device
	boxKey block.BoxKey
}

// NewIdentity makes a device key, an HPKE key and a recovery seed from 80 bytes
// of rand.
func NewIdentity(rand io.Reader) (*Identity, error) {
	var seed [ed25519.SeedSize]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return nil, fmt.Errorf("new identity: %w", err)
	}
	return NewIdentityOf(ed25519.NewKeyFromSeed(seed[:]), rand)
}

// NewIdentityOf makes an identity around a device key that exists already, that of
// a program which embeds Toft in its own libp2p host. It reads 48 bytes of rand.
func NewIdentityOf(key ed25519.PrivateKey, rand io.Reader) (*Identity, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("new identity: device key of %d bytes", len(key))
	}
	var seeds [32 + recoverySize]byte
	if _, err := io.ReadFull(rand, seeds[:]); err != nil {
		return nil, fmt.Errorf("new identity: %w", err)
	}
	id, err := newIdentity(key.Seed(), [][]byte{seeds[:32]})
	if err != nil {
		return nil, err
	}
	seed := RecoverySeed{bytes: keep(seeds[32:])}
	half, err := seed.Identity()
	if err != nil {
		return nil, err
	}
	id.recovery = recovery{seed: seed, device: half.Device(), boxKey: half.BoxKey()}
	return id, nil
}

// newIdentity derives everything from the seeds. boxSeeds is oldest first.
func newIdentity(signSeed []byte, boxSeeds [][]byte) (*Identity, error) {
	if len(signSeed) != ed25519.SeedSize || len(boxSeeds) == 0 || len(boxSeeds) > maxBoxSeeds {
		return nil, errors.New("identity: a signing seed of 32 bytes and 1 to 16 HPKE seeds are needed")
	}
	key := ed25519.NewKeyFromSeed(signSeed)
	id := &Identity{sign: keep(key), boxSeeds: keep(boxSeeds), device: block.Device(key.Public().(ed25519.PublicKey))}
	for _, seed := range boxSeeds {
		private, err := hpke.MLKEM768X25519().NewPrivateKey(seed)
		if err != nil {
			return nil, fmt.Errorf("identity: HPKE seed: %w", err)
		}
		public := block.BoxKey{KEM: block.KEMHybrid, Public: private.PublicKey().Bytes()}
		id.openers = append([]opener{{public, keep(private)}}, id.openers...)
	}
	did, err := didOpener(key, id.device)
	if err != nil {
		return nil, err
	}
	id.openers = append(id.openers, did)
	return id, nil
}

// didOpener maps the Ed25519 key to X25519 (RFC 8032 §5.1.5: the scalar is the
// clamped first half of SHA-512 of the seed; RFC 7748 §4.1: the birational map),
// for boxes sealed before the device could publish an HPKE key.
func didOpener(sign ed25519.PrivateKey, device block.Device) (opener, error) {
	h := sha512.Sum512(sign.Seed())
	private, err := hpke.DHKEM(ecdh.X25519()).NewPrivateKey(h[:32])
	if err != nil {
		return opener{}, fmt.Errorf("identity: x25519: %w", err)
	}
	public, err := device.BoxKey()
	if err != nil {
		return opener{}, fmt.Errorf("identity: x25519: %w", err)
	}
	return opener{public, keep(private)}, nil
}

// Device returns the public key: the PeerID and author of this device.
func (id *Identity) Device() block.Device { return id.device }

// BoxKey returns the newest HPKE key, to which others seal.
func (id *Identity) BoxKey() block.BoxKey { return id.openers[0].public }

// PrivateKey returns the Ed25519 key for the libp2p host, which proves with it
// that a connection is this device. Only node/host.go may call it.
func (id *Identity) PrivateKey() ed25519.PrivateKey {
	return append(ed25519.PrivateKey(nil), id.sign()...)
}

// Sign returns the Ed25519ctx signature of msg for one purpose.
func (id *Identity) Sign(p block.Purpose, msg []byte) block.Signature { return sign(id.sign(), p, msg) }

func sign(key ed25519.PrivateKey, p block.Purpose, msg []byte) block.Signature {
	// Without a context Ed25519ctx would be plain Ed25519, which libp2p's
	// handshakes sign with this same key: such a signature must not exist.
	if p == "" {
		panic("vault: signature without a purpose")
	}
	sig, err := key.Sign(nil, msg, &ed25519.Options{Hash: crypto.Hash(0), Context: string(p)})
	if err != nil {
		panic(fmt.Sprintf("vault: sign for %s: %v", p, err)) // only contexts > 255 bytes fail
	}
	return block.Signature(sig)
}

// SignBlock signs A ‖ body and puts the block together. h names this device as
// the author and has a kind that is signed.
func (id *Identity) SignBlock(h block.Header, body []byte) (*block.Block, error) {
	if h.Author != id.device {
		return nil, fmt.Errorf("sign block: author %s is not this device", h.Author)
	}
	if !h.Kind.Signed() {
		return nil, fmt.Errorf("sign block: kind %d carries no signature", h.Kind)
	}
	if err := h.Check(); err != nil {
		return nil, fmt.Errorf("sign block: %w", err)
	}
	sig := id.Sign(h.Kind.Purpose(), h.SignedBytes(body))
	return block.New(h, body, &sig)
}
