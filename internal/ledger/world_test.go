package ledger

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/vault"
	"github.com/toftdb/toft/team"
)

// The tests of this room tell stories about devices that hand each other links and
// commits as bytes. There is no network; a disk is a file system in memory.

// device is one device: what survives a restart, and the ledger that runs on it.
type device struct {
	*Ledger
	t     testing.TB
	name  string
	place string
	fs    store.FS
	id    *vault.Identity
	st    *store.Store
	flush FlushAt
	seen  atomic.Int64 // commits of its own that it was told of

	damaged      atomic.Int64 // times it was told of damage
	rottenTables atomic.Int64 // times its store said that a table is rotten
}

// tick is the clock of all devices: it moves a millisecond whenever it is read.
var tick atomic.Int64

func now() time.Time { return time.UnixMilli(1_700_000_000_000 + tick.Add(1)) }

// newDevice starts a device with a fresh identity on an empty disk.
func newDevice(t testing.TB, name string) *device {
	t.Helper()
	id, err := vault.NewIdentity(rand.Reader)
	require.NoError(t, err)
	d := &device{t: t, name: name, place: name, fs: store.NewMem(), id: id}
	d.start()
	return d
}

// twin starts another ledger with the same identity on another disk.
func (d *device) twin(fs store.FS, place string) *device {
	d.t.Helper()
	x := &device{t: d.t, name: d.name, place: place, fs: fs, id: d.id, flush: d.flush}
	x.start()
	return x
}

func (d *device) start() {
	d.t.Helper()
	require.NoError(d.t, d.open())
	d.t.Cleanup(func() { d.stop() })
}

func (d *device) open() (err error) {
	if d.st, err = store.Open("/db", store.Options{FS: d.fs, Rotten: func() { d.rottenTables.Add(1) }}); err != nil {
		return err
	}
	d.Ledger, err = Open(Options{
		Store: d.st, Identity: d.id, Place: d.place, User: d.name, Device: d.name + "-laptop",
		Clock: now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
		Committed: func(*Database, *block.Block) { d.seen.Add(1) },
		Damaged:   func() { d.damaged.Add(1) },
		FlushAt:   d.flush, CacheBytes: 64 << 10,
	})
	if err != nil {
		_ = d.st.Close()
	}
	return err
}

func (d *device) stop() {
	if d.Ledger != nil {
		d.Ledger.Close()
		require.NoError(d.t, d.st.Close())
		d.Ledger = nil
	}
}

func (d *device) restart() {
	d.t.Helper()
	d.stop()
	require.NoError(d.t, d.open())
}

// found makes a team with one database.
func (d *device) found(name string) (*Chain, *Database) {
	d.t.Helper()
	c, err := d.Found(d.t.Context(), name, false)
	require.NoError(d.t, err)
	return c, d.addDB(c, "notes")
}

func (d *device) addDB(c *Chain, name string) *Database {
	d.t.Helper()
	id, secret, err := vault.NewDatabase(rand.Reader)
	require.NoError(d.t, err)
	d.link(c, team.AddDB{DB: id, Name: name, Secret: secret}, nil)
	db := d.Database(id)
	require.NotNil(d.t, db)
	return db
}

func (d *device) link(c *Chain, content team.Content, boxes []block.BoxGroup) block.ID {
	d.t.Helper()
	id, err := c.Link(d.t.Context(), content, boxes)
	require.NoError(d.t, err)
	return id
}

// only returns the device's only chain, and the first of its databases.
func (d *device) only() (*Chain, *Database) {
	d.t.Helper()
	require.Len(d.t, d.Chains(), 1)
	c := d.Chains()[0]
	dbs := c.Databases()
	if len(dbs) == 0 {
		return c, nil
	}
	return c, dbs[0]
}

// invitation is an INVITE on a chain and the secret half of its key.
type invitation struct {
	team.Invite
	link   block.ID
	signer *vault.Identity
}

func (d *device) invite(c *Chain, kind team.InviteKind) invitation {
	d.t.Helper()
	signer, err := vault.NewIdentity(rand.Reader)
	require.NoError(d.t, err)
	inv := team.Invite{Kind: kind, Key: signer.Device(), MaxUses: 1}
	if kind == team.InviteMember {
		inv.Role = team.RoleMember
	}
	_, err = rand.Read(inv.ID[:])
	require.NoError(d.t, err)
	return invitation{inv, d.link(c, inv, nil), signer}
}

// admitBy writes the admission of x through an invitation, as a join does.
func (d *device) admitBy(c *Chain, inv invitation, x *device) block.ID {
	d.t.Helper()
	proof := team.Proof{
		Kind: inv.Kind, Role: inv.Role, Team: [20]byte(c.id[:20]), Invite: inv.ID,
		Device: x.id.Device(), BoxKey: x.id.BoxKey(), DeviceName: x.name, Admitter: d.id.Device(),
	}
	if inv.Kind == team.InviteMember {
		proof.Name = x.name
	}
	proof.Commit = team.Commit(proof.Device, proof.BoxKey, proof.Name, proof.DeviceName, proof.R)
	proof.InviteSig = inv.signer.Sign(block.ForJoin, proof.Signed())
	proof.DeviceSig = x.id.Sign(block.ForJoin, proof.Signed())
	return d.link(c, team.Admit{Invite: inv.link, Device: proof.Device, BoxKey: proof.BoxKey, Proof: proof}, nil)
}

// admit invites x and admits it.
func (d *device) admit(c *Chain, x *device, kind team.InviteKind) block.ID {
	d.t.Helper()
	return d.admitBy(c, d.invite(c, kind), x)
}

// links returns the bytes of the chain, parents first; genesis is the first.
func (d *device) links(c *Chain) (raw [][]byte) {
	d.t.Helper()
	for _, id := range c.Since(nil) {
		u, err := d.Stored(id)
		require.NoError(d.t, err)
		raw = append(raw, u.Data())
	}
	return raw
}

// begin starts a team on x from its genesis, as a joiner does.
func (x *device) begin(genesis []byte, seat block.ID) *Chain {
	x.t.Helper()
	u, err := block.Parse(genesis)
	require.NoError(x.t, err)
	c, err := x.Begin(x.t.Context(), u, seat)
	require.NoError(x.t, err)
	return c
}

// join lets x into d's team and hands it the chain.
func (d *device) join(c *Chain, x *device) (*Chain, *Database) {
	d.t.Helper()
	return d.seat(c, x, d.admit(c, x, team.InviteMember))
}

// seat starts the chain of an admitted device and hands it all links.
func (d *device) seat(c *Chain, x *device, seat block.ID) (*Chain, *Database) {
	d.t.Helper()
	mine := x.begin(d.links(c)[0], seat)
	d.tell(c, x)
	require.True(d.t, mine.Seated())
	if dbs := mine.Databases(); len(dbs) > 0 {
		return mine, dbs[0]
	}
	return mine, nil
}

// tell hands x all links of d's chain.
func (d *device) tell(c *Chain, x *device) {
	d.t.Helper()
	_, err := x.Chain(c.id).Receive(d.t.Context(), d.links(c))
	require.NoError(d.t, err)
}

// commits returns every commit of a database as it would be handed to a peer.
func commits(t testing.TB, db *Database) (out []Candidate) {
	t.Helper()
	require.NoError(t, db.View(func(r *crdt.Replica) error {
		for c := range r.Commits() {
			u, err := db.n.Stored(c.ID)
			if err != nil && r.Below(c.ID) {
				continue // compacted away: who has it must give it
			}
			require.NoError(t, err)
			linked, err := db.storedLinks(u)
			require.NoError(t, err)
			out = append(out, Candidate{Data: u.Data(), Linked: linked})
		}
		return nil
	}))
	return out
}

// give hands all commits of one replica to another.
func give(t testing.TB, from, to *Database) Outcome {
	t.Helper()
	out, err := to.Commit(t.Context(), commits(t, from))
	require.NoError(t, err)
	return out
}

// meet exchanges commits until both replicas have all.
func meet(t testing.TB, x, y *Database) {
	t.Helper()
	give(t, x, y)
	give(t, y, x)
	require.Equal(t, x.Heads(), y.Heads())
	require.NoError(t, x.Alarm())
	require.NoError(t, y.Alarm())
}

// put writes one document with one field.
func put(t testing.TB, db *Database, id, text string) block.ID {
	t.Helper()
	w, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: id, Body: crdt.Doc{"text": text}}})
	require.NoError(t, err)
	return w.Commit
}

// docs returns what a replica shows: id → field text.
func docs(t testing.TB, db *Database) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, db.View(func(r *crdt.Replica) error {
		for doc, err := range r.All(crdt.Range{}) {
			require.NoError(t, err)
			text, _ := doc["text"].(string)
			out[doc["_id"].(string)] = text
		}
		return nil
	}))
	return out
}

// feed returns the rows of the changes feed behind a cursor, and the cursor behind
// them.
func feed(t testing.TB, db *Database, since string) (ids []string, next string) {
	t.Helper()
	next = since
	require.NoError(t, db.View(func(r *crdt.Replica) error {
		from, err := crdt.ParseCursor(since)
		require.NoError(t, err)
		for c, err := range r.Changes(from) {
			require.NoError(t, err)
			ids, next = append(ids, c.ID), c.Cursor.String()
		}
		return nil
	}))
	return ids, next
}

// disk is everything on a device's disk.
func (d *device) disk() map[string]string {
	d.t.Helper()
	out := map[string]string{}
	for e, err := range d.st.Scan(nil) {
		require.NoError(d.t, err)
		out[string(bytes.Clone(e.Key))] = string(e.Value)
	}
	return out
}

// checkIndex holds the commit index on disk against the replica: every commit of
// the one is in the other, parents before children. Those below a floor may be gone.
func (d *device) checkIndex(db *Database) {
	d.t.Helper()
	seen, below := map[block.ID]bool{}, map[block.ID]bool{}
	require.NoError(d.t, db.View(func(r *crdt.Replica) error {
		for c := range r.Commits() {
			if r.Below(c.ID) {
				seen[c.ID], below[c.ID] = true, true
			}
		}
		return nil
	}))
	for e, err := range d.st.Scan(store.Commits(db.id)) {
		require.NoError(d.t, err)
		id, err := store.ID[block.ID](e.Value)
		require.NoError(d.t, err)
		if db.floor != nil && number(e.Key) < db.floor.Arrival {
			require.True(d.t, below[id], "%s stands below the floor in the index", id)
			delete(below, id)
			continue
		}
		u, err := d.Stored(id)
		require.NoError(d.t, err)
		for _, p := range u.Links[:u.Parents] {
			require.True(d.t, seen[p], "a parent of %s does not stand before it", id)
		}
		require.False(d.t, seen[id], "%s stands in the index twice", id)
		seen[id] = true
	}
	require.NoError(d.t, db.View(func(r *crdt.Replica) error {
		require.Len(d.t, seen, r.Len())
		for c := range r.Commits() {
			require.True(d.t, seen[c.ID])
		}
		return nil
	}))
}

// seldom restarts a device as one that writes no checkpoint any more, and returns its
// database again.
func (d *device) seldom(db *Database) *Database {
	d.t.Helper()
	d.flush = FlushAt{Close: 1 << 30}
	d.restart()
	if db == nil {
		return nil
	}
	return d.Database(db.id)
}

// flushing restarts a device as one that writes checkpoints all the time.
func (d *device) flushing() *device {
	d.t.Helper()
	d.flush = often
	d.restart()
	return d
}

// often lets a story write checkpoints all the time.
var often = FlushAt{Documents: 3, Commits: 4, Close: 1} //nolint:gochecknoglobals // never written
