package peering

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/vault"
)

// known returns what n knows of one device and some commits.
func (d *device) known(db *ledger.Database, of *device, commits ...block.ID) Holding {
	d.t.Helper()
	for _, h := range d.Explain(db, commits) {
		if h.Device == of.id.Device() {
			return h
		}
	}
	d.t.Fatal("the device is not on the roster")
	return Holding{}
}

// A write is durable elsewhere when the other device has signed that it holds it.
func TestReceiptReachesTheAuthor(t *testing.T) {
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	team, notes := a.found("fam")
	_, theirs := b.join(a, team)
	confirmed(t, theirs.Team())

	commit := put(t, notes, "milk", crdt.Doc{"n": int64(1)})
	require.NoError(t, a.Durable(within(t), notes, []block.ID{commit}, 1))
	h := a.known(notes, b, commit)
	require.True(t, h.Has && h.Signed && !h.Stored)
	require.False(t, h.Since.IsZero())

	// Bob knows that ann holds it: she wrote it.
	require.True(t, b.known(theirs, a, commit).Signed)
}

// Who did not confirm is named, and why; the write stays.
func TestDurableNamesWhoIsMissing(t *testing.T) {
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	team, notes := a.found("fam")
	_, theirs := b.join(a, team)
	confirmed(t, theirs.Team())
	hosttest.Disconnect(t, a.host, b.host)

	commit := put(t, notes, "milk", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err := a.Durable(ctx, notes, []block.ID{commit}, 1)
	var missing *NotDurableError
	require.ErrorAs(t, err, &missing)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, 0, missing.Have)
	require.Len(t, missing.Missing, 1)
	require.Equal(t, b.id.Device(), missing.Missing[0].Device)
	require.Contains(t, missing.Missing[0].Why, "not connected")
	require.Equal(t, []string{"bob-laptop"}, a.Reach(notes).Away)
	require.Contains(t, err.Error(), "missing: bob-laptop (not connected)")
	require.Equal(t, 1, count(notes))

	connect(t, a, b)
	require.NoError(t, a.Durable(within(t), notes, []block.ID{commit}, 1))
	var last Reach
	require.NoError(t, a.Settle(within(t), notes, true, func(r Reach, settled bool) bool { last = r; return true }))
	require.Equal(t, Reach{Connected: 1, Equal: 1}, last)
}

// a – b – c: what c holds, a hears from b.
func TestReceiptsAreHandedOn(t *testing.T) {
	a, b, c := newDevice(t, "ann"), newDevice(t, "bob"), newDevice(t, "carol")
	team, notes := a.found("fam")
	bobs, _ := b.join(a, team)
	carols, _ := c.join(a, team)
	confirmed(t, bobs)
	confirmed(t, carols)
	connect(t, b, c)
	hosttest.Disconnect(t, a.host, c.host)
	hosttest.Wait(t, "bob to know carol", func() bool { return bobs.State().Active(c.id.Device()) })
	commit := put(t, notes, "milk", nil)
	require.NoError(t, a.Durable(within(t), notes, []block.ID{commit}, 2))
}

// A receipt counts only for the device that signed it, on the roster, of this team.
func TestForgedReceiptsCountForNobody(t *testing.T) {
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	team, notes := a.found("fam")
	_, theirs := b.join(a, team)
	confirmed(t, theirs.Team())
	hosttest.Disconnect(t, a.host, b.host)
	commit := put(t, notes, "milk", nil)
	stranger, err := vault.NewIdentity(rand.Reader)
	require.NoError(t, err)

	receipt := func(dev block.Device, by *vault.Identity, change func(*message.Receipt)) []byte {
		r := message.Receipt{
			Team: team.ID(), DB: notes.ID(), Actor: block.Actor{Device: dev}.Bytes(), Counter: 1 << 60,
			Heads: []block.ID{commit}, Chain: team.Heads(), Kind: message.ReceiptApplied, Time: a.ledger.Now(),
		}
		change(&r)
		data, err := r.Sign(func(msg []byte) block.Signature { return by.Sign(block.ForReceipt, msg) })
		require.NoError(t, err)
		return data
	}
	same := func(*message.Receipt) {}
	for name, forged := range map[string][]byte{
		"signed by another": receipt(b.id.Device(), stranger, same),
		"of a stranger":     receipt(stranger.Device(), stranger, same),
		"of another team":   receipt(b.id.Device(), b.id, func(r *message.Receipt) { r.Team[5]++ }),
		"of no database":    receipt(b.id.Device(), b.id, func(r *message.Receipt) { r.DB[5]++ }),
		"of ourselves":      receipt(a.id.Device(), a.id, same),
		"garbage":           []byte("receipt"),
	} {
		a.receive(team, b.host.ID(), [][]byte{forged})
		require.False(t, a.known(notes, b, commit).Has, name)
	}
	// An older one does not take back a newer one.
	a.receive(team, b.host.ID(), [][]byte{receipt(b.id.Device(), b.id, same)})
	a.receive(team, b.host.ID(), [][]byte{receipt(b.id.Device(), b.id, func(r *message.Receipt) { r.Counter, r.Heads = 1, nil })})
	require.True(t, a.known(notes, b, commit).Signed)

	// Kept over a restart.
	a.saveReceipts()
	again := &Network{o: a.o, ledger: a.ledger, host: a.host, gate: a.gate, receipts: newReceipts(), doubts: newDoubts()}
	require.NoError(t, again.loadReceipts())
	require.True(t, again.holding(notes, b.id.Device(), []block.ID{commit}).Signed)

	// Only blocks that a device cannot read: told apart.
	a.receive(team, b.host.ID(), [][]byte{receipt(b.id.Device(), b.id, func(r *message.Receipt) { r.Counter, r.Kind = 1<<60+1, message.ReceiptStored })})
	require.True(t, a.known(notes, b, commit).Stored)
}

// Equal commits and another state: one of two is wrong, and it has a name.
func TestDoubtNamesWhoComputedWrong(t *testing.T) {
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	team, notes := a.found("fam")
	_, theirs := b.join(a, team)
	confirmed(t, theirs.Team())
	put(t, notes, "milk", nil)
	same(t, notes, theirs)

	h := notes.Heads()
	h.Digest[0]++
	a.log.take()
	a.stands(b.id.Device(), h)
	require.Len(t, a.Doubts(notes), 1)
	require.Contains(t, a.Doubts(notes)[0], "bob-laptop computed it wrong")
	require.Len(t, a.log.take(), 1, "told once")
	a.stands(b.id.Device(), h)
	require.Empty(t, a.log.take())

	a.stands(b.id.Device(), notes.Heads())
	require.Empty(t, a.Doubts(notes), "forgotten when they agree")
}

// Heads that a peer names and never hands over are an alarm at the third time.
func TestDoubtWhenNothingMoves(t *testing.T) {
	a, b := newDevice(t, "ann"), newDevice(t, "bob")
	team, notes := a.found("fam")
	_, theirs := b.join(a, team)
	confirmed(t, theirs.Team())
	r := message.DBResponse{DBHeads: notes.Heads()}
	r.Heads = []block.ID{{1}}
	for range stuck - 1 {
		a.again(notes, b.id.Device(), r)
		require.Empty(t, a.Doubts(notes))
	}
	a.again(notes, b.id.Device(), r)
	require.Len(t, a.Doubts(notes), 1)
	require.Contains(t, a.Doubts(notes)[0], "bob-laptop names 1 commits")
	require.Contains(t, strings.Join(a.log.take(), " "), "do not come to the same state")
}

// Progress counts what came against what was expected, and ends with the pull.
func TestProgress(t *testing.T) {
	a := newDevice(t, "ann")
	_, notes := a.found("fam")
	_, ok := a.Progress(notes)
	require.False(t, ok)
	a.expect(notes, 10)
	a.came(notes, []ledger.Candidate{{Data: make([]byte, 100)}, {Data: make([]byte, 50)}})
	w, ok := a.Progress(notes)
	require.True(t, ok)
	require.Equal(t, []int64{2, 10, 150}, []int64{w.Done, w.Total, w.Bytes})
	a.expect(notes, 20) // more than was known
	w, _ = a.Progress(notes)
	require.EqualValues(t, 22, w.Total)
	a.count(notes.Team().ID(), 1)
	a.count(notes.Team().ID(), -1)
	_, ok = a.Progress(notes)
	require.False(t, ok)
}
