package peering

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	libp2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

// joiner speaks the join stream by hand, so that it can also speak it wrongly.
type joiner struct {
	t    testing.TB
	host host.Host
	id   *vault.Identity
	code team.Code
	sign *vault.InviteSigner
}

func newJoiner(t testing.TB, code team.Code) *joiner {
	t.Helper()
	j := &joiner{t: t, host: hosttest.New(t, hosttest.TCP), code: code}
	raw, err := libp2pcrypto.PrivKeyToStdKey(j.host.Peerstore().PrivKey(j.host.ID()))
	require.NoError(t, err)
	j.id, err = vault.NewIdentityOf(*raw.(*ed25519.PrivateKey), rand.Reader)
	require.NoError(t, err)
	j.sign, err = vault.InviteKey(code.Team, code.Invite, code.Seed[:])
	require.NoError(t, err)
	return j
}

// quiet waits until no join is in progress.
func (d *device) quiet() {
	d.t.Helper()
	hosttest.Wait(d.t, "the places to be free", func() bool { return d.door.held() == 0 })
}

// offer opens a join and returns what the admitter says to it.
func (j *joiner) offer(to *device) (network.Stream, team.Proof, message.Challenge) {
	j.t.Helper()
	s := knock(j.t, j.host, to, message.JoinProtocol)
	p := team.Proof{
		Team: j.code.Team, Invite: j.code.Invite, Device: j.id.Device(), BoxKey: j.id.BoxKey(),
		Name: "mallory", DeviceName: "laptop", R: [32]byte{1},
	}
	p.Commit = team.Commit(p.Device, p.BoxKey, p.Name, p.DeviceName, p.R)
	o := message.Offer{Tag: vault.JoinTag(j.code.Invite, j.code.Team, day(time.Now())), Commit: p.Commit}
	ch, err := exchange(s, o.Encode, message.ParseChallenge)
	require.NoError(j.t, err)
	p.Nonce, p.Admitter, p.Kind, p.Role = ch.Nonce, ch.Admitter, team.InviteKind(ch.Kind), team.Role(ch.Role)
	return s, p, ch
}

// proof signs what is in p and returns the answer as it travels.
func (j *joiner) proof(p team.Proof, ch message.Challenge) []byte {
	j.t.Helper()
	sealed, err := seal(message.Answer{
		Device: p.Device, BoxKey: p.BoxKey, Name: p.Name, DeviceName: p.DeviceName, R: p.R,
		InviteSig: j.sign.Sign(block.ForJoin, p.Signed()), DeviceSig: j.id.Sign(block.ForJoin, p.Signed()),
	}, ch)
	require.NoError(j.t, err)
	return sealed
}

// result sends an answer and returns the result, false if the stream was reset.
func result(t testing.TB, s network.Stream, answer []byte) (message.Result, bool) {
	t.Helper()
	require.NoError(t, message.Write(s, answer))
	data, err := message.Read(s, message.MaxJoinFrame)
	if err != nil {
		require.NotErrorIs(t, err, io.EOF, "a refusal without an answer is a reset")
		return message.Result{}, false
	}
	r, err := message.ParseResult(data)
	require.NoError(t, err)
	return r, true
}

// Whatever a stranger says on the join stream, the answer is a reset or a refusal,
// no link is written, and the next honest joiner gets in.
func TestHostileJoiners(t *testing.T) {
	t.Parallel()
	a := newDevice(t, "ann")
	c, _ := a.found("fam")
	code := a.invite(c, team.Invite{})
	other := a.invite(c, team.Invite{})
	before := c.Heads()
	reset := func(t *testing.T, s network.Stream) {
		t.Helper()
		got, err := io.ReadAll(s)
		require.Error(t, err, "reset, not closed")
		require.Empty(t, got)
	}
	j := newJoiner(t, code)
	for name, story := range map[string]func(t *testing.T){
		"garbage": func(t *testing.T) {
			s := knock(t, j.host, a, message.JoinProtocol)
			require.NoError(t, message.Write(s, []byte("\x01 let me in")))
			reset(t, s)
		},
		"oversize frame": func(t *testing.T) {
			s := knock(t, j.host, a, message.JoinProtocol)
			_, err := s.Write(binary.BigEndian.AppendUint32(nil, message.MaxJoinFrame+1))
			require.NoError(t, err)
			got, _ := io.ReadAll(s)
			require.Empty(t, got)
		},
		"an invitation that is not there": func(t *testing.T) {
			x := *j
			x.code.Invite[0] ^= 1
			_, _, ch := x.offer(a)
			require.Equal(t, message.Challenge{Error: message.JoinNotFound}, ch)
		},
		"garbage for an answer": func(t *testing.T) {
			s, _, _ := j.offer(a)
			_, ok := result(t, s, []byte("\x01 I am bob"))
			require.False(t, ok)
		},
		"in the name of another device": func(t *testing.T) {
			s, p, ch := j.offer(a)
			p.Device = newJoiner(t, code).id.Device()
			_, ok := result(t, s, j.proof(p, ch))
			require.False(t, ok)
		},
		"an answer that was recorded": func(t *testing.T) {
			s, p, ch := j.offer(a)
			recorded := j.proof(p, ch)
			require.NoError(t, s.Reset())
			s, _, fresh := j.offer(a)
			require.NotEqual(t, ch.Nonce, fresh.Nonce)
			_, ok := result(t, s, recorded)
			require.False(t, ok, "sealed for another nonce")
			a.quiet()
			s, p2, fresh := j.offer(a)
			p2.Nonce = ch.Nonce
			r, ok := result(t, s, j.proof(p2, fresh))
			require.True(t, ok)
			require.Equal(t, message.JoinWrongSeed, r.Error, "signed for another nonce")
		},
		"a proof made for another admitter": func(t *testing.T) {
			s, p, ch := j.offer(a)
			p.Admitter = j.id.Device()
			r, ok := result(t, s, j.proof(p, ch))
			require.True(t, ok)
			require.Equal(t, message.JoinWrongSeed, r.Error)
			s, p, ch = j.offer(a)
			ch.Admitter = j.id.Device()
			_, ok = result(t, s, j.proof(p, ch))
			require.False(t, ok, "sealed to another")
		},
		"another name than was committed to": func(t *testing.T) {
			s, p, ch := j.offer(a)
			p.Name = "ann"
			r, ok := result(t, s, j.proof(p, ch))
			require.True(t, ok)
			require.Equal(t, message.JoinWrongSeed, r.Error)
		},
		"the seed of another invitation": func(t *testing.T) {
			x := *j
			x.code.Invite = other.Invite
			s, p, ch := x.offer(a)
			r, ok := result(t, s, x.proof(p, ch))
			require.True(t, ok)
			require.Equal(t, message.Result{Error: message.JoinWrongSeed}, r)
		},
	} {
		a.quiet() // what is over on this side may not be on the other yet
		t.Run(name, story)
	}
	require.Equal(t, before, c.Heads(), "no link came of all this")
	for _, line := range a.log.take() {
		require.Contains(t, line, "INFO", "strangers make no noise")
	}
	newDevice(t, "bob").redeem(code)
}

// Why an invitation cannot be used any more is told to who proves its seed only.
func TestTheEndOfAnInvitationIsToldToItsHolder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end    func(t *testing.T, a *device, c *ledger.Chain, code team.Code)
		uses   uint64
		want   message.JoinError
		atDoor error
	}{
		"expired": {func(_ *testing.T, a *device, _ *ledger.Chain, _ team.Code) { a.skew.Store(int64(2 * hour)) }, 0, message.JoinExpired, api.ErrInviteExpired},
		"revoked": {func(_ *testing.T, a *device, c *ledger.Chain, _ team.Code) { a.revokeAll(c) }, 0, message.JoinRevoked, api.ErrInviteRevoked},
		"used":    {func(t *testing.T, _ *device, _ *ledger.Chain, code team.Code) { newDevice(t, "bob").redeem(code) }, 1, message.JoinUsed, api.ErrInviteUsed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newDevice(t, "ann")
			chain, _ := a.found("fam")
			code := a.invite(chain, team.Invite{MaxUses: c.uses, Expires: a.ledger.Now() + hour})
			c.end(t, a, chain, code)

			guess := newJoiner(t, code)
			s, p, ch := guess.offer(a)
			require.Zero(t, ch.Error, "before a proof it looks like any other")
			answer := guess.proof(p, ch)
			wrong := *guess
			var err error
			wrong.sign, err = vault.InviteKey(code.Team, code.Invite, []byte("a guess"))
			require.NoError(t, err)
			r, ok := result(t, s, wrong.proof(p, ch))
			require.True(t, ok)
			require.Equal(t, message.Result{Error: message.JoinWrongSeed}, r)
			require.NotEmpty(t, answer)

			_, _, err = newDevice(t, "carol").Join(within(t), code, Joiner{})
			require.ErrorIs(t, err, c.atDoor)
			require.NotEmpty(t, api.ErrorOf(err).Hint)
		})
	}
}

// What ends an invitation between challenge and answer is told as what it is.
func TestInvitationEndsBetweenChallengeAndAnswer(t *testing.T) {
	t.Parallel()
	a := newDevice(t, "ann")
	c, _ := a.found("fam")
	j := newJoiner(t, a.invite(c, team.Invite{}))
	s, p, ch := j.offer(a)
	a.revokeAll(c)
	r, ok := result(t, s, j.proof(p, ch))
	require.True(t, ok)
	require.Equal(t, message.Result{Error: message.JoinRevoked}, r)
}

// A fifth join at once is told to come back; who knows no invitation takes nobody's
// place, however many streams it holds open.
func TestOnlyFourJoinsAtOnce(t *testing.T) {
	t.Parallel()
	a := newDevice(t, "ann")
	c, _ := a.found("fam")
	code := a.invite(c, team.Invite{})
	stranger := hosttest.New(t, hosttest.TCP)
	for range 8 {
		s := knock(t, stranger, a, message.JoinProtocol)
		_, err := s.Write([]byte{0}) // so that the stream is opened
		require.NoError(t, err)
	}
	var open []network.Stream
	busy := message.Challenge{Error: message.JoinBusy}
	for range maxJoins / maxJoinsOfOne {
		j := newJoiner(t, code)
		for range maxJoinsOfOne {
			s, _, ch := j.offer(a)
			require.Zero(t, ch.Error)
			open = append(open, s)
		}
		_, _, ch := j.offer(a)
		require.Equal(t, busy, ch, "the same peer takes no third place")
	}
	_, _, ch := newJoiner(t, code).offer(a)
	require.Equal(t, busy, ch, "all are taken")
	for _, s := range open {
		require.NoError(t, s.Reset())
	}
	a.quiet()
	newDevice(t, "bob").redeem(code)
}

// One peer that knocks and knocks is told to come back; others are not kept out.
func TestKnockingWithoutEnd(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	d := door{inside: map[peer.ID]int{}, tries: map[peer.ID]tries{}}
	for range triesAtOnce {
		require.True(t, d.knock("eve", now))
	}
	require.False(t, d.knock("eve", now))
	require.True(t, d.knock("bob", now))
	require.False(t, d.knock("eve", now.Add(triesEvery-time.Second)))
	require.True(t, d.knock("eve", now.Add(triesEvery)))
	require.False(t, d.knock("eve", now.Add(triesEvery)))
	require.True(t, d.knock("eve", now.Add(time.Hour)))
	for i := range 2 * maxKnockers {
		d.knock(peer.ID(fmt.Sprint(i)), now)
	}
	require.LessOrEqual(t, len(d.tries), maxKnockers)
}

// The same device twice, also at once, is one use and one seat.
func TestSameDeviceTwiceIsOneUse(t *testing.T) {
	t.Parallel()
	a := newDevice(t, "ann")
	c, _ := a.found("fam")
	j := newJoiner(t, a.invite(c, team.Invite{MaxUses: 1}))
	var answers [2]func() message.Result
	for i := range answers {
		s, p, ch := j.offer(a)
		answers[i] = func() message.Result {
			r, ok := result(t, s, j.proof(p, ch))
			require.True(t, ok)
			return r
		}
	}
	var got [2]message.Result
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { got[i] = answers[i]() })
	}
	wg.Wait()
	require.Zero(t, got[0].Error)
	require.Equal(t, got[0], got[1])
	// It lost both answers, and joins again.
	s, p, ch := j.offer(a)
	again, ok := result(t, s, j.proof(p, ch))
	require.True(t, ok)
	require.Equal(t, got[0], again)
	require.EqualValues(t, 1, c.State().Invites()[0].Uses)
}

// Of two who race for the last use exactly one is admitted, and the other is told.
func TestLastUseIsRaced(t *testing.T) {
	t.Parallel()
	a := newDevice(t, "ann")
	c, _ := a.found("fam")
	code := a.invite(c, team.Invite{MaxUses: 1})
	var got [2]message.Result
	var wg sync.WaitGroup
	for i := range got {
		j := newJoiner(t, code)
		s, p, ch := j.offer(a)
		answer := j.proof(p, ch)
		wg.Go(func() { got[i], _ = result(t, s, answer) })
	}
	wg.Wait()
	errs := []message.JoinError{got[0].Error, got[1].Error}
	slices.Sort(errs)
	require.Equal(t, []message.JoinError{0, message.JoinUsed}, errs)
}

// An invitation for a device adds it to the inviter's member, without a name of its
// own.
func TestDeviceInvitation(t *testing.T) {
	t.Parallel()
	a := newDevice(t, "ann")
	c, _ := a.found("fam")
	var codes []team.Code
	for range 2 {
		codes = append(codes, a.invite(c, team.Invite{Kind: team.InviteDevice, MaxUses: 1, Expires: a.ledger.Now() + hour}))
	}
	var wg sync.WaitGroup
	var phones []*device
	for _, code := range codes {
		phone := newDevice(t, "phone")
		phones = append(phones, phone)
		wg.Go(func() {
			_, _, err := phone.Join(within(t), code, Joiner{Name: "Ann herself", Device: true})
			if err != nil {
				t.Errorf("join: %v", err)
			}
		})
	}
	wg.Wait()
	for _, phone := range phones {
		dev, ok := c.State().Device(phone.id.Device())
		require.True(t, ok)
		require.Equal(t, a.id.Device(), dev.Member)
	}
	require.Len(t, c.State().Members(), 1)
	require.Equal(t, "ann", c.State().Members()[0].Name)
}

// On a device invitation the first stream is given up before the second begins.
func TestDeviceJoinHoldsOnePlace(t *testing.T) {
	t.Parallel()
	a := newDevice(t, "ann")
	c, _ := a.found("fam")
	code := a.invite(c, team.Invite{Kind: team.InviteDevice, MaxUses: 1, Expires: a.ledger.Now() + hour})
	phone := newDevice(t, "phone")
	taken := make(chan int, 16)
	a.host.SetStreamHandler(message.JoinProtocol, func(s network.Stream) {
		hosttest.Wait(t, "the stream before to be over", func() bool { return a.door.held() == 0 })
		taken <- a.door.held()
		a.serveJoin(s)
	})
	start := time.Now()
	_, _, err := phone.Join(within(t), code, Joiner{Device: true})
	require.NoError(t, err)
	require.Len(t, taken, 2)
	require.Less(t, time.Since(start), joinTime, "it did not wait for the first place to time out")
}

// A joiner that was admitted but lost the way to the chain joins with the same code.
func TestAdmittedAndCutOffJoinsAgain(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	c, _ := a.found("fam")
	code := a.invite(c, team.Invite{MaxUses: 1})
	a.host.RemoveStreamHandler(message.SyncProtocol)
	_, _, err := b.Join(within(t), code, Joiner{})
	require.ErrorIs(t, err, api.ErrUnreachable)
	require.Contains(t, api.ErrorOf(err).Hint, "again")
	a.handle(message.SyncProtocol, a.members(a.serveSync))
	onB, db := b.redeem(code)
	require.True(t, onB.Seated())
	require.NotNil(t, db)
}

// Close in the middle of a join ends it at once, on both sides.
func TestCloseEndsAJoin(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	c, _ := a.found("fam")
	code := a.invite(c, team.Invite{})
	asked := make(chan struct{})
	a.host.SetStreamHandler(message.JoinProtocol, func(s network.Stream) {
		_, _ = message.Read(s, message.MaxJoinFrame)
		close(asked)
		_, _ = io.Copy(io.Discard, s) // and never a word
	})
	failed := make(chan error, 1)
	go func() {
		_, _, err := b.Join(context.Background(), code, Joiner{})
		failed <- err
	}()
	<-asked
	start := time.Now()
	require.NoError(t, b.Network.Close())
	require.ErrorIs(t, <-failed, api.ErrClosed)
	require.Less(t, time.Since(start), 2*time.Second)
}
