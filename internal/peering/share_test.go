package peering

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

// at is where a device listens, with its id.
func (d *device) at() multiaddr.Multiaddr {
	a, err := multiaddr.NewMultiaddr(fmt.Sprintf("%s/p2p/%s", d.host.Addrs()[0], d.host.ID()))
	require.NoError(d.t, err)
	return a
}

// Ann adds bob by his token, carol hears of it, ann goes offline. Bob has the link: he
// gets the invite block and the chain of carol, writes, and reads what was there. Eve,
// who has the link as well, gets nothing.
func TestAddedByTokenWhileTheInviterIsAway(t *testing.T) {
	t.Parallel()
	a, b, c, e := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol"), newDevice(t, "eve")
	fam, db := a.found("fam")
	onC, dbC := c.join(a, fam)
	confirmed(t, onC)
	put(t, db, "before", nil)
	_, err := fam.Rotate(t.Context())
	require.NoError(t, err)
	_, block, err := fam.AddMember(t.Context(), b.id.Device(), team.RoleMember, "bob", a.host.Addrs()[0].Bytes())
	require.NoError(t, err)
	same(t, db, dbC)
	hosttest.Wait(t, "carol to hold the invite", func() bool { _, err := c.ledger.Stored(block.ID); return err == nil })
	require.NoError(t, a.Network.Close())
	require.NoError(t, a.host.Close())

	link, err := ParseShareLink(ShareLink{ID: block.ID, From: []multiaddr.Multiaddr{c.at()}}.String())
	require.NoError(t, err)
	_, _, err = e.JoinShare(within(t), link)
	require.Error(t, err)
	_, _, err = b.JoinShare(within(t), ShareLink{ID: block.ID})
	require.ErrorIs(t, err, api.ErrUnreachable, "the id alone, and nobody to ask")

	onB, share, err := b.JoinShare(within(t), link)
	require.NoError(t, err)
	require.Equal(t, fam.ID(), onB.ID())
	require.Equal(t, a.id.Device(), share.Inviter)
	dbB := onB.Databases()[0]
	same(t, dbC, dbB)
	require.Equal(t, 1, count(dbB))
	put(t, dbC, "after", nil)
	same(t, dbC, dbB)
	confirmed(t, onB)
	put(t, dbB, "by bob", nil)
	same(t, dbC, dbB)

	// Once more changes nothing, and needs nobody.
	again, _, err := b.JoinShare(within(t), link)
	require.NoError(t, err)
	require.Same(t, onB, again)
}

// The inviter alone will do, by the id alone, for who is connected to it.
func TestAddedByTokenWithTheInviter(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	fam, db := a.found("fam")
	_, share, err := fam.AddMember(t.Context(), b.id.Device(), team.RoleReader, "bob", a.host.Addrs()[0].Bytes())
	require.NoError(t, err)
	put(t, db, "before", nil)
	hosttest.Connect(t, b.host, a.host)
	onB, _, err := b.JoinShare(within(t), ShareLink{ID: share.ID})
	require.NoError(t, err)
	same(t, db, onB.Databases()[0])
	require.Equal(t, team.RoleReader, onB.State().Role(b.id.Device()))
}

// An invite block that is not there, or for somebody else, is told as what it is.
func TestInviteBlocksOfOthers(t *testing.T) {
	t.Parallel()
	a, b, c := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol")
	fam, _ := a.found("fam")
	onC, _ := c.join(a, fam)
	confirmed(t, onC)
	_, share, err := fam.AddMember(t.Context(), b.id.Device(), team.RoleMember, "bob")
	require.NoError(t, err)
	_, _, err = c.JoinShare(within(t), ShareLink{ID: share.ID})
	require.ErrorIs(t, err, api.ErrInviteInvalid, "carol may have the block, and cannot open it")
	_, _, err = c.JoinShare(within(t), ShareLink{ID: block.ID{7}})
	require.ErrorIs(t, err, api.ErrInviteUnknown)

	// Who is on no roster is not told whether there is such a block.
	a.open(fam, team.Invite{}) // so that strangers may connect at all
	e := newDevice(t, "eve")
	hosttest.Connect(t, e.host, a.host)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, id := range []block.ID{share.ID, {9}} {
		_, err = e.exchange.Get(ctx, id, []peer.ID{a.host.ID()})
		require.Error(t, err)
		require.NoError(t, ctx.Err(), "answered, both alike")
	}
	require.Equal(t, network.Connected, e.host.Network().Connectedness(a.host.ID()))
}

func TestShareLinks(t *testing.T) {
	t.Parallel()
	id := block.Sum([]byte("invite"))
	at, err := multiaddr.NewMultiaddr("/ip4/192.168.1.7/tcp/4001/p2p/12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5")
	require.NoError(t, err)
	full := ShareLink{ID: id, From: []multiaddr.Multiaddr{at}}
	for text, want := range map[string]ShareLink{
		full.String():                           full,
		" " + full.String() + "\n":              full,
		id.String():                             {ID: id},
		"toft:share/" + id.String():             {ID: id},
		"TOFT:share/" + id.String():             {ID: id},
		id.String() + "," + at.String():         full,
		(ShareLink{ID: id, From: nil}).String(): {ID: id},
	} {
		got, err := ParseShareLink(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
		require.True(t, IsShareLink(text))
	}
	for _, text := range []string{
		"", "toft:share/", "toft:join/ABC", id.String() + ",", id.String() + ",hello", id.String() + ",/ip4/1.2.3.4/tcp/1",
	} {
		_, err := ParseShareLink(text)
		require.Error(t, err, text)
	}
	require.False(t, IsShareLink("toft:join/ABC"))
	require.False(t, IsShareLink("ABCDE"))
}

func FuzzParseShareLink(f *testing.F) {
	f.Add("toft:share/" + block.Sum(nil).String() + ",/ip4/1.2.3.4/tcp/1/p2p/12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5")
	f.Add(block.Sum(nil).String())
	f.Add("toft:share/,")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseShareLink(text)
		if err != nil {
			return
		}
		if len(l.From) > maxShareFrom {
			t.Fatal("too many addresses")
		}
		again, err := ParseShareLink(l.String())
		if err != nil || again.String() != l.String() {
			t.Fatalf("%q came back as %v, %v", l, again, err)
		}
	})
}
