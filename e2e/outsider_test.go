package e2e_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/bitswap"
	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/gossip"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

// nothing is a block source that has nothing.
type nothing struct{}

func (nothing) Get(context.Context, block.ID) ([]byte, error) { return nil, bitswap.ErrNotFound }
func (nothing) Has(context.Context, block.ID) (bool, error)   { return false, nil }
func (nothing) Size(context.Context, block.ID) (int, error)   { return 0, bitswap.ErrNotFound }

// An outsider who knows the address of a peer and has no invitation learns that it
// is a Toft peer, and nothing else.
func TestOutsiderFindsNothing(t *testing.T) {
	ctx := within(t)
	a, _, onA, _ := pair(t)
	res, err := onA.Put(ctx, api.Doc{"_id": "secret", "n": 1})
	require.NoError(t, err)
	st, err := a.Status(ctx)
	require.NoError(t, err)
	team := teamNamed(t, st, nodetest.Team)
	// The invitations of pair() were for any number of uses, so A lets strangers
	// knock: the harder case. The gater's own test covers the closed door.
	outsider := hosttest.New(t)
	info, err := peer.AddrInfoFromString(st.Network.Addrs[0])
	require.NoError(t, err)
	require.NoError(t, outsider.Connect(ctx, *info))

	t.Run("no answer on the sync stream", func(t *testing.T) {
		s, err := outsider.NewStream(ctx, info.ID, protocol.ID(message.SyncProtocol))
		if err != nil {
			return
		}
		teamID, err := block.ParseTeamID(team.ID)
		require.NoError(t, err)
		req, err := message.Request{Teams: []message.TeamRequest{{Team: teamID, Summary: message.Summary(nil, nil)}}}.Encode()
		require.NoError(t, err)
		_ = message.Write(s, req)
		_ = s.SetReadDeadline(time.Now().Add(5 * time.Second))
		got, _ := io.ReadAll(s)
		require.Empty(t, got)
	})
	t.Run("only not found on the join stream", func(t *testing.T) {
		s, err := outsider.NewStream(ctx, info.ID, protocol.ID(message.JoinProtocol))
		require.NoError(t, err)
		offer, err := message.Offer{Tag: [32]byte{1}, Commit: [32]byte{2}}.Encode()
		require.NoError(t, err)
		require.NoError(t, message.Write(s, offer))
		data, err := message.Read(s, message.MaxJoinFrame)
		require.NoError(t, err)
		ch, err := message.ParseChallenge(data)
		require.NoError(t, err)
		require.Equal(t, message.Challenge{Error: message.JoinNotFound}, ch)
	})
	t.Run("no block by CID", func(t *testing.T) {
		ex, err := bitswap.Open(bitswap.Options{Host: outsider, Blocks: nothing{}, Allow: func(peer.ID, block.ID) bool { return true }})
		require.NoError(t, err)
		defer ex.Close()
		for _, cid := range []string{res.Commit, team.Heads[0]} {
			id, err := block.ParseID(cid)
			require.NoError(t, err)
			short, cancel := context.WithTimeout(ctx, 3*time.Second)
			_, err = ex.Get(short, id, []peer.ID{info.ID})
			cancel()
			require.Error(t, err, "block %s", cid)
		}
	})
	t.Run("no topic and no message", func(t *testing.T) {
		seen := make(chan string, 16)
		ps, err := pubsub.NewGossipSub(ctx, outsider,
			pubsub.WithGossipSubProtocols([]protocol.ID{gossip.Protocol}, pubsub.GossipSubDefaultFeatures),
			pubsub.WithRawTracer(&topicTracer{seen: seen}))
		require.NoError(t, err)
		puts(t, onA, "later", 20)
		select {
		case topic := <-seen:
			t.Fatalf("the outsider learned of topic %s", topic)
		case <-time.After(2 * time.Second):
		}
		require.Empty(t, ps.GetTopics())
	})
}

// topicTracer reports any RPC with subscriptions or messages that arrives.
type topicTracer struct {
	pubsub.RawTracer
	seen chan string
}

func (topicTracer) OnNewOutboundStream(peer.ID, protocol.ID) {}
func (topicTracer) AddPeer(peer.ID, protocol.ID)             {}
func (topicTracer) RemovePeer(peer.ID)                       {}
func (topicTracer) Join(string)                              {}
func (topicTracer) Leave(string)                             {}
func (topicTracer) Graft(peer.ID, string)                    {}
func (topicTracer) Prune(peer.ID, string)                    {}
func (topicTracer) ValidateMessage(*pubsub.Message)          {}
func (topicTracer) DeliverMessage(*pubsub.Message)           {}
func (topicTracer) RejectMessage(*pubsub.Message, string)    {}
func (topicTracer) DuplicateMessage(*pubsub.Message)         {}
func (topicTracer) ThrottlePeer(peer.ID)                     {}
func (topicTracer) SendRPC(*pubsub.RPC, peer.ID)             {}
func (topicTracer) DropRPC(*pubsub.RPC, peer.ID)             {}
func (topicTracer) UndeliverableMessage(*pubsub.Message)     {}
func (x *topicTracer) RecvRPC(rpc *pubsub.RPC) {
	for _, s := range rpc.GetSubscriptions() {
		x.seen <- s.GetTopicid()
	}
	for _, m := range rpc.GetPublish() {
		x.seen <- m.GetTopic()
	}
}

func teamNamed(t testing.TB, st api.Status, name string) api.TeamInfo {
	t.Helper()
	for _, x := range st.Teams {
		if x.Name == name {
			return x
		}
	}
	t.Fatalf("no team %s", name)
	return api.TeamInfo{}
}

// Without an open invitation a stranger does not get past the handshake.
func TestStrangersAreRefusedAtTheDoor(t *testing.T) {
	ctx := within(t)
	a := newHome(t, "ann")
	st, err := a.Status(ctx)
	require.NoError(t, err)
	info, err := peer.AddrInfoFromString(st.Network.Addrs[0])
	require.NoError(t, err)
	outsider := hosttest.New(t)
	_ = outsider.Connect(ctx, *info)
	// The dialer may believe for a moment that it is in: the refusal comes from the
	// other side.
	nodetest.Until(ctx, t, "the connection to be refused", func() bool {
		return outsider.Network().Connectedness(info.ID) != network.Connected
	})
}

func TestWrongCodesAreTold(t *testing.T) {
	ctx := within(t)
	a, b := newHome(t, "ann"), newHome(t, "bob")
	_, err := a.CreateTeam(ctx, nodetest.Team)
	require.NoError(t, err)
	code := nodetest.Invite(t, a, nodetest.Team)
	for name, c := range map[string]struct {
		code string
		want error
	}{
		"truncated": {code[:len(code)-9], api.ErrInviteInvalid},
		"mistyped":  {flip(code, 20), api.ErrInviteInvalid},
		"nonsense":  {"hello", api.ErrInviteInvalid},
		"empty":     {"", api.ErrInviteInvalid},
	} {
		_, err := b.Join(ctx, api.JoinRequest{Code: c.code})
		require.ErrorIs(t, err, c.want, name)
		require.Equal(t, 8, api.ErrorOf(err).Code, name)
		require.NotEmpty(t, api.ErrorOf(err).Hint, name)
	}
	team, err := a.Team(ctx, nodetest.Team)
	require.NoError(t, err)
	once, err := team.InviteMember(ctx, api.MemberInvite{MaxUses: 1})
	require.NoError(t, err)
	nodetest.Join(t, b, once.Code, "")
	_, err = newHome(t, "carol").Join(ctx, api.JoinRequest{Code: once.Code})
	require.ErrorIs(t, err, api.ErrInviteUsed)
	gone, err := team.InviteMember(ctx, api.MemberInvite{})
	require.NoError(t, err)
	require.NoError(t, team.Revoke(ctx, gone.ID))
	_, err = newHome(t, "dave").Join(ctx, api.JoinRequest{Code: gone.Code})
	require.ErrorIs(t, err, api.ErrInviteRevoked)
	short, err := team.InviteMember(ctx, api.MemberInvite{Short: true})
	require.NoError(t, err)
	_, err = newHome(t, "erin").Join(ctx, api.JoinRequest{Code: short.Code})
	require.True(t, errors.Is(err, api.ErrUnreachable), "a short code without a connection: %v", err)
}

// flip changes one character of a code to another of the alphabet.
func flip(code string, at int) string {
	c := []byte(code)
	if c[at] == 'a' || c[at] == 'A' {
		c[at] = '2'
	} else {
		c[at] = 'A'
	}
	return string(c)
}
