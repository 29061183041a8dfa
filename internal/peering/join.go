package peering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/multiformats/go-multiaddr"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/planted"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/internal/wire"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

const (
	joinTime = 30 * time.Second // a nonce lives this long
	// clockSkew: an invitation is taken this long after it expired, because two
	// honest clocks differ.
	clockSkew = wire.Time(5 * time.Minute / time.Millisecond)
)

func errClosing() error { return api.ErrClosed.With("the node is closing", "start it again") }

func (n *Network) join(ctx context.Context, code team.Code, seed []byte, as Joiner) (*ledger.Chain, team.Proof, error) {
	signer, err := vault.InviteKey(code.Team, code.Invite, seed)
	if err != nil {
		return nil, team.Proof{}, err
	}
	peers, err := n.reach(ctx, code)
	if err != nil {
		return nil, team.Proof{}, err
	}
	var last error
	for _, p := range peers {
		result, proof, err := n.proveInTime(ctx, p, code, signer, as)
		if err != nil {
			// Another peer may be the right one. What was told of the invitation says
			// more than that a peer does not know it.
			if last == nil || !errors.Is(err, api.ErrInviteUnknown) && !errors.Is(err, api.ErrUnreachable) {
				last = err
			}
			continue
		}
		c, err := n.enter(ctx, p, result.Team, promised(ctx, n.ledger, result.Admit))
		if err == nil {
			n.hears(ctx, c, p)
		}
		return c, proof, err
	}
	return nil, team.Proof{}, last
}

// reach connects to whoever the code names; a short code names nobody, so any
// connected peer is asked.
func (n *Network) reach(ctx context.Context, code team.Code) ([]peer.ID, error) {
	if code.Short {
		peers := n.host.Network().Peers()
		if len(peers) == 0 {
			return nil, api.ErrUnreachable.With("a short code names no address, and this device is connected to nobody", "connect to a member first: toft connect ADDR, or ask for a full code")
		}
		return peers, nil
	}
	if err := code.Device.Check(); err != nil {
		return nil, api.ErrInviteInvalid.Wrap(err, "ask for a new code")
	}
	info := peer.AddrInfo{ID: PeerOf(code.Device)}
	for _, raw := range code.Addrs {
		if a, err := multiaddr.NewMultiaddrBytes(raw); err == nil {
			info.Addrs = append(info.Addrs, a)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	err := n.host.Connect(ctx, info)
	if err != nil && shutOut(err) {
		return nil, errShutOut()
	}
	if err != nil {
		return nil, api.ErrUnreachable.Wrap(fmt.Errorf("the device that invited does not answer at %v: %w", info.Addrs, err),
			"check that its daemon runs and both devices share a network, then join again")
	}
	return []peer.ID{info.ID}, nil
}

// noName asks prove to introduce no member.
const noName = "\x00"

// shutOut reports whether a dial failed after the other side had proven who it is:
// its gate lets no stranger in, because nobody is invited.
func shutOut(err error) bool {
	var dial *swarm.DialError
	if !errors.As(err, &dial) {
		return false
	}
	for _, e := range dial.DialErrors {
		if _, another := errors.AsType[sec.ErrPeerIDMismatch](e.Cause); another {
			continue // the address has passed to another device
		}
		var op *net.OpError
		if errors.As(e.Cause, &op) && op.Op == "dial" || errors.Is(e.Cause, context.DeadlineExceeded) {
			continue // nobody there
		}
		return true
	}
	return false
}

func errShutOut() error {
	return api.ErrInviteUnknown.With("the device that invited lets nobody in any more: the invitation has expired, or was used up or revoked long ago", "ask for a new one")
}

// busyTime is how long a joiner waits for a place at a busy admitter.
const busyTime = 15 * time.Second

// proveInTime proves again while the admitter is busy with others, and once more if the
// connection broke: an admitter that hears just now that we left cuts us off, and then
// lets us in. To prove twice is one use.
func (n *Network) proveInTime(ctx context.Context, p peer.ID, code team.Code, signer *vault.InviteSigner, as Joiner) (message.Result, team.Proof, error) {
	ctx, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	again := !planted.Bug("join-breaks-for-good")
	for pause := 250 * time.Millisecond; ; pause *= 2 {
		result, proof, err := n.prove(ctx, p, code, signer, as)
		_, broke := errors.AsType[broken](err)
		if !errors.Is(err, errBusy) && !(broke && again) {
			return result, proof, err
		}
		again = again && !broke
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return result, proof, err
		}
	}
}

// prove runs the joiner's side of the join stream.
func (n *Network) prove(ctx context.Context, p peer.ID, code team.Code, signer *vault.InviteSigner, as Joiner) (message.Result, team.Proof, error) {
	none := func(err error) (message.Result, team.Proof, error) {
		return message.Result{}, team.Proof{}, api.ErrUnreachable.Wrap(fmt.Errorf("join at %s: %w", p, err), "try again; if it stays so, ask for a new code")
	}
	s, err := n.open(ctx, p, message.JoinProtocol)
	if err != nil && n.host.Network().Connectedness(p) != network.Connected {
		return message.Result{}, team.Proof{}, broken{errShutOut()} // it hung up right after the handshake
	}
	if err != nil {
		return none(broken{err})
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	if err := s.SetDeadline(time.Now().Add(joinTime)); err != nil {
		return none(err)
	}
	name := as.Name
	switch name {
	case "":
		name = n.o.User
	case noName:
		name = ""
	}
	proof := team.Proof{
		Team: code.Team, Invite: code.Invite, Device: n.ledger.Me(), BoxKey: n.o.Identity.BoxKey(),
		Name: name, DeviceName: n.o.Device,
	}
	if _, err := n.o.Rand.Read(proof.R[:]); err != nil {
		return none(err)
	}
	proof.Commit = team.Commit(proof.Device, proof.BoxKey, proof.Name, proof.DeviceName, proof.R)
	offer := message.Offer{Tag: vault.JoinTag(code.Invite, code.Team, day(n.o.Clock())), Commit: proof.Commit}
	ch, err := exchange(s, offer.Encode, message.ParseChallenge)
	if err != nil {
		return none(broken{err})
	}
	if ch.Error != 0 {
		return message.Result{}, proof, joinError(ch.Error, "")
	}
	if team.InviteKind(ch.Kind) == team.InviteDevice && !as.Device && !planted.Bug("join-any-kind") {
		_ = s.Reset()
		return message.Result{}, proof, errDeviceCode()
	}
	if team.InviteKind(ch.Kind) != team.InviteMember && proof.Name != "" {
		// A device of a member that exists brings no name; it was committed to before
		// the kind was known, so start again without. The admitter counts streams.
		_ = s.Reset()
		as.Name = noName
		return n.prove(ctx, p, code, signer, as)
	}
	if PeerOf(ch.Admitter) != p {
		return none(errors.New("it answers in the name of another device"))
	}
	proof.Nonce, proof.Admitter, proof.Kind, proof.Role = ch.Nonce, ch.Admitter, team.InviteKind(ch.Kind), team.Role(ch.Role)
	proof.InviteSig = signer.Sign(block.ForJoin, proof.Signed())
	proof.DeviceSig = n.o.Identity.Sign(block.ForJoin, proof.Signed())
	answer := message.Answer{
		Device: proof.Device, BoxKey: proof.BoxKey, Name: proof.Name, DeviceName: proof.DeviceName,
		R: proof.R, InviteSig: proof.InviteSig, DeviceSig: proof.DeviceSig,
	}
	result, err := exchange(s, func() ([]byte, error) { return seal(answer, ch) }, message.ParseResult)
	switch {
	case err != nil:
		return none(broken{err})
	case result.Error != 0:
		return result, proof, joinError(result.Error, result.Detail)
	case !bytes.Equal(result.Team[:20], code.Team[:]):
		return result, proof, api.ErrVerify.With(fmt.Sprintf("%s answered with another team than the code names", p), "ask for a new code over a safe channel")
	}
	return result, proof, nil
}

// errDeviceCode refuses to become a device of whoever made the code, because nobody
// said so: his other devices would come into every team this device is in.
func errDeviceCode() error {
	return api.ErrUsage.With("the code makes this device one of the inviter's own: all of his devices would come into every team this device is in; nothing was done",
		"only if the inviter is you: toft join CODE --device; else ask for a code for a member")
}

// seal makes the joiner's answer unreadable to all but the admitter.
func seal(a message.Answer, ch message.Challenge) ([]byte, error) {
	plain, err := a.Encode()
	if err != nil {
		return nil, err
	}
	sealed, err := vault.SealAnswer(ch.Admitter, ch.Nonce, plain)
	return append([]byte{message.Version}, sealed...), err
}

// exchange writes one message and reads the next.
func exchange[T any](s network.Stream, encode func() ([]byte, error), parse func([]byte) (T, error)) (T, error) {
	var zero T
	data, err := encode()
	if err != nil {
		return zero, err
	}
	if err := message.Write(s, data); err != nil {
		return zero, err
	}
	if data, err = message.Read(s, message.MaxJoinFrame); err != nil {
		return zero, err
	}
	return parse(data)
}

// day is the number of the UTC day.
func day(t time.Time) int64 { return t.Unix() / 86400 }

// broken is an error of a join whose stream ended early.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }

var errBusy = errors.New("the device that invited is busy admitting others")

// joinError turns an answer of the protocol into the door's error.
func joinError(e message.JoinError, detail string) error {
	switch e {
	case message.JoinNotFound:
		return api.ErrInviteUnknown.With("this device knows no such invitation", "check the code, or ask for a new one")
	case message.JoinBusy:
		return api.ErrUnreachable.Wrap(errBusy, "try again in a few seconds")
	case message.JoinWrongSeed:
		return api.ErrInviteSeed.With("the secret in the code does not fit the invitation", "copy the code again")
	case message.JoinExpired:
		return api.ErrInviteExpired.With("the invitation has expired", "ask for a new one")
	case message.JoinUsed:
		return api.ErrInviteUsed.With("the invitation has been used as often as it may", "ask for a new one")
	case message.JoinRevoked:
		return api.ErrInviteRevoked.With("the invitation was revoked", "ask for a new one")
	}
	return api.ErrForbidden.With("the join was refused: "+detail, "ask another member of the team")
}

// code20 is the part of a team's id that a code carries.
func code20(id block.TeamID) [20]byte { return [20]byte(id[:20]) }
