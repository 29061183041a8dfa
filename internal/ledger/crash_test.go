package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/team"
)

// The power goes at operations of the disk while a device founds a team, writes,
// joins and receives. Whatever it had acknowledged by then is there when it comes
// back, and it can go on.

// promises are what was acknowledged so far.
type promises struct {
	mu     sync.Mutex
	teams  int
	docs   map[string]string
	labels []string
}

func (p *promises) note(id, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.docs[id] = text
}

// wreck is a disk after the power went, and what had been promised before.
type wreck struct {
	where  string
	disk   *vfs.MemFS
	teams  int
	docs   map[string]string
	labels []string
}

// crashable is a disk that keeps a wreck of every stride-th operation.
type crashable struct {
	store.FS
	mu     sync.Mutex
	wrecks []wreck
}

func newCrashable(stride int, p *promises) *crashable {
	disk, n := vfs.NewCrashableMem(), 0
	c := &crashable{}
	c.FS = errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead || op.Kind == errorfs.OpFileClose {
			return nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if n++; n%stride != 0 {
			return nil
		}
		p.mu.Lock()
		w := wreck{where: fmt.Sprintf("operation %d (%v)", n, op), teams: p.teams, docs: map[string]string{}, labels: slices.Clone(p.labels)}
		for id, text := range p.docs {
			w.docs[id] = text
		}
		p.mu.Unlock()
		w.disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: n % 3 * 50, RNG: rand.New(rand.NewPCG(uint64(n), 1))})
		c.wrecks = append(c.wrecks, w)
		return nil
	}))
	return c
}

// on moves a fresh device to a disk.
func (d *device) on(fs store.FS) *device {
	d.t.Helper()
	d.stop()
	d.fs = fs
	require.NoError(d.t, d.open())
	return d
}

// salvage opens what a crash left, compares it with what was promised, goes on
// working, and opens it again.
func (w wreck) salvage(t *testing.T, d *device, id block.DBID) {
	x := &device{t: t, name: d.name, place: d.place, fs: w.disk, id: d.id, flush: d.flush}
	require.NoError(t, x.open(), w.where)
	defer x.stop()
	require.GreaterOrEqual(t, len(x.Chains()), w.teams, w.where)
	db := x.Database(id)
	if db == nil {
		require.Empty(t, w.docs, w.where)
		return
	}
	for _, l := range w.labels {
		_, err := db.Label(l)
		require.NoError(t, err, "%s: acknowledged label %s", w.where, l)
	}
	for range 2 {
		require.NoError(t, db.Damage(), w.where)
		got := docs(t, db)
		for id, text := range w.docs {
			require.Equal(t, text, got[id], "%s: acknowledged %s", w.where, id)
		}
		x.checkIndex(db)
		if db.team.Seated() {
			put(t, db, "after", w.where)
		}
		heads, got := db.Heads(), docs(t, db)
		x.restart()
		db = x.Database(db.id)
		require.Equal(t, heads, db.Heads(), w.where)
		require.Equal(t, got, docs(t, db), w.where)
		require.NoError(t, db.Alarm())
	}
}

func TestPowerLossWhileWriting(t *testing.T) {
	p := &promises{docs: map[string]string{}}
	disk := newCrashable(2, p)
	ann := newDevice(t, "ann").flushing()
	ann.flush.Garbage = 8 // nodes are collected all the time
	ann.on(disk)
	_, db := ann.found("fam")
	p.mu.Lock()
	p.teams = 1
	p.mu.Unlock()
	for round := range 6 {
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				id, text := fmt.Sprintf("%d-%d", round, w), fmt.Sprint("text ", round)
				if round == 3 && w == 0 {
					text = large("v")
				}
				_, err := db.Write(t.Context(), []crdt.Write{{Verb: crdt.Put, ID: id, Body: crdt.Doc{"text": text}}})
				if err == nil {
					p.note(id, text)
				}
			})
		}
		wg.Wait()
		label := fmt.Sprint("label ", round)
		_, err := db.SetLabel(t.Context(), label, point(t, db, "now"))
		require.NoError(t, err)
		p.mu.Lock()
		p.labels = append(p.labels, label)
		p.mu.Unlock()
		if round == 3 {
			ann.restart()
			db = ann.Database(db.id)
		}
	}
	ann.stop()
	require.Len(t, p.docs, 24)
	for _, w := range disk.wrecks {
		w.salvage(t, ann, db.id)
	}
	t.Logf("%d crash points", len(disk.wrecks))
	require.Greater(t, len(disk.wrecks), 20)
}

func TestPowerLossWhileJoiningAndReceiving(t *testing.T) {
	p := &promises{docs: map[string]string{}}
	disk := newCrashable(3, p)
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob").flushing().on(disk)
	c, db := ann.found("fam")
	seat := ann.admit(c, bob, team.InviteMember)
	ann.addDB(c, "unused")
	for i := range 40 {
		put(t, db, fmt.Sprintf("d%02d", i), fmt.Sprint("text ", i))
	}
	lying := forge(t, db, ann.id, func(h *block.Header) { h.Links[0] = block.Sum(commits(t, db)[0].Data) })
	links := ann.links(c)
	mine := bob.begin(links[0], seat)
	p.mu.Lock()
	p.teams = 1
	p.mu.Unlock()
	for _, part := range [][][]byte{links[:len(links)-2], links} {
		_, err := mine.Receive(t.Context(), part)
		require.NoError(t, err)
	}
	bobs := bob.Database(db.id)
	all := commits(t, db)
	for i := 0; i < len(all); i += 5 {
		in := all[i:min(i+5, len(all))]
		if i == 20 {
			in = append(append([]Candidate{}, in...), all[len(all)-1], lying)
		}
		_, err := bobs.Commit(t.Context(), in)
		require.NoError(t, err)
		for id, text := range docs(t, bobs) {
			p.note(id, text)
		}
	}
	out, err := bobs.Commit(t.Context(), []Candidate{lying})
	require.NoError(t, err)
	require.ErrorIs(t, out.Rejected, crdt.ErrMalformed)
	require.Len(t, p.docs, 40)
	bob.stop()
	for _, w := range disk.wrecks {
		w.salvage(t, bob, db.id)
	}
	t.Logf("%d crash points", len(disk.wrecks))
	require.Greater(t, len(disk.wrecks), 10)
}

// The power goes while bob adopts a checkpoint of ann. He shows nothing, or all of it;
// the commits make him equal either way.
func TestPowerLossWhileAdopting(t *testing.T) {
	p := &promises{docs: map[string]string{}}
	disk := newCrashable(1, p)
	ann, bob := newDevice(t, "ann"), newDevice(t, "bob").flushing().on(disk)
	c, db := ann.found("fam")
	_, bobs := ann.join(c, bob)
	for i := range 60 {
		put(t, db, fmt.Sprintf("d%03d", i), fmt.Sprint("text ", i))
	}
	want := docs(t, db)
	id := newest(t, db)
	disk.wrecks = nil // joining is told elsewhere
	require.NoError(t, take(t, db, bobs, id, from(ann)))
	require.Equal(t, want, docs(t, bobs))
	bob.stop()
	require.Greater(t, len(disk.wrecks), 10)
	t.Logf("%d crash points", len(disk.wrecks))
	for _, w := range disk.wrecks {
		x := &device{t: t, name: bob.name, place: bob.place, fs: w.disk, id: bob.id, flush: bob.flush}
		require.NoError(t, x.open(), w.where)
		db2 := x.Database(db.id)
		require.NoError(t, db2.Damage(), w.where)
		if got := docs(t, db2); len(got) > 0 {
			require.Equal(t, want, got, w.where)
		}
		give(t, db, db2)
		require.Equal(t, want, docs(t, db2), w.where)
		x.restart()
		db2 = x.Database(db.id)
		require.Equal(t, want, docs(t, db2), w.where)
		require.NoError(t, db2.Alarm(), w.where)
		x.stop()
	}
}
