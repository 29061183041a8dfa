package peering

import (
	"math"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/team"
)

// A member announces where it stands in databases that it makes up: nothing is kept of
// that, and nothing of what it says of a database of a team it is not in.
func TestStandingsOfNoDatabaseAreNotKept(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	fam, db := a.found("fam")
	b.join(a, fam)
	_, own := a.found("alone")
	said := message.Announcement{Device: b.id.Device(), Counter: math.MaxUint64, Time: 1, Chain: fam.Heads()}
	for i := range 1000 {
		said.DBs = append(said.DBs, message.DBHeads{DB: block.DBID{0xff, byte(i), byte(i >> 8)}})
	}
	said.DBs = append(said.DBs, message.DBHeads{DB: own.ID(), Digest: [32]byte{1}}, message.DBHeads{DB: db.ID(), Digest: [32]byte{1}})
	a.announcers[fam.ID()].apply([]heard{{b.host.ID(), said}})
	a.mu.Lock()
	defer a.mu.Unlock()
	require.LessOrEqual(t, len(a.tips), 1)
	require.NotContains(t, a.tips, own.ID())
	require.Empty(t, a.Doubt(own, b.id.Device()))
}

// What a member counts its receipts with does not become our count after a restart: the
// next one of ours would be the last that anybody takes.
func TestReceiptsOfOthersDoNotMoveOurCounter(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	fam, db := a.found("fam")
	onB, _ := b.join(a, fam)
	said := message.Receipt{
		Team: fam.ID(), DB: db.ID(), Actor: block.Actor{Device: b.id.Device()}.Bytes(), Counter: math.MaxUint64 - 1,
		Chain: onB.Heads(), Kind: message.ReceiptApplied, Time: 1,
	}
	data, err := said.Sign(func(msg []byte) block.Signature { return b.id.Sign(block.ForReceipt, msg) })
	require.NoError(t, err)
	a.receive(fam, b.host.ID(), [][]byte{data})
	a.saveReceipts()
	fresh := &Network{o: a.o, ledger: a.ledger, receipts: newReceipts()}
	require.NoError(t, fresh.loadReceipts())
	require.NotNil(t, fresh.receipts.of[db.ID()][b.id.Device()], "it is kept")
	require.Less(t, fresh.receipts.counter, uint64(math.MaxInt64))
}

// While somebody is invited strangers may connect, so many and no more; members come in
// whatever the crowd.
func TestACrowdOfStrangersKeepsNoMemberOut(t *testing.T) {
	t.Parallel()
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	fam, _ := a.found("fam")
	b.join(a, fam)
	a.invite(fam, team.Invite{MaxUses: 1})
	stranger := PeerOf(newDevice(t, "eve").id.Device())
	require.Zero(t, a.strangers(), "bob is none")
	require.True(t, a.gate.InterceptSecured(network.DirInbound, stranger, nil))
	many := func() int { return maxStrangers }
	a.gate.crowd.Store(&many)
	require.False(t, a.gate.InterceptSecured(network.DirInbound, stranger, nil))
	require.True(t, a.gate.InterceptSecured(network.DirInbound, b.host.ID(), nil))
	require.True(t, a.gate.InterceptSecured(network.DirOutbound, stranger, nil))
}

// Two honest clocks differ: a code is taken for some minutes after it has expired by the
// admitter's clock, and no longer.
func TestAnExpiredInvitationIsTakenForFiveMinutes(t *testing.T) {
	t.Parallel()
	a := newDevice(t, "ann")
	fam, _ := a.found("fam")
	inv, _ := a.open(fam, team.Invite{MaxUses: 1, Expires: a.ledger.Now() + hour})
	joiner := newDevice(t, "bob").id.Device()
	const half = 30_000
	a.skew.Store(int64(hour + clockSkew - half))
	_, refused := a.settled(fam, inv.ID, joiner)
	require.False(t, refused)
	a.skew.Store(int64(hour + clockSkew + half))
	r, refused := a.settled(fam, inv.ID, joiner)
	require.True(t, refused)
	require.Equal(t, message.JoinExpired, r.Error)
}
