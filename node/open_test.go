package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p"
	libp2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/config"
	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/node"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

// offline is a node in a directory, with nothing but the directory named.
func offline(dir string) node.Config { return node.Config{Config: config.Config{Dir: dir}} }

func open(t *testing.T, cfg node.Config) *node.Node {
	t.Helper()
	n, err := node.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

// refused opens a node that must not open, and checks that the directory is as it
// was.
func refused(t *testing.T, cfg node.Config, want *api.Error) {
	t.Helper()
	before := files(t, cfg.Dir)
	n, err := node.Open(t.Context(), cfg)
	require.Nil(t, n)
	require.ErrorIs(t, err, want)
	require.Equal(t, want.Code, api.ErrorOf(err).Code)
	require.NotEmpty(t, api.ErrorOf(err).Hint)
	require.Equal(t, before, files(t, cfg.Dir))
}

// files lists what lies in a directory, the engine's own files left out: an open
// store may tidy those.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() && e.Name() == "pebble" {
			return fs.SkipDir
		}
		if !e.IsDir() && e.Name() != "lock" {
			data, err := os.ReadFile(path)
			out[path] = string(data)
			return err
		}
		return nil
	}))
	return out
}

// team makes a team with one document in one database.
func team(t *testing.T, n *node.Node) api.DB {
	t.Helper()
	fam, err := n.CreateTeam(t.Context(), nodetest.Team)
	require.NoError(t, err)
	db, err := fam.CreateDB(t.Context(), "notes")
	require.NoError(t, err)
	_, err = db.Put(t.Context(), api.Doc{"_id": "milk", "n": int64(1)})
	require.NoError(t, err)
	return db
}

func TestADirectoryIsEnough(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	n := open(t, offline(dir))
	team(t, n)
	id, err := n.Identity(t.Context())
	require.NoError(t, err)
	_, err = n.Join(t.Context(), api.JoinRequest{Code: "no code"})
	require.ErrorIs(t, err, api.ErrInviteInvalid)
	_, err = n.Connect(t.Context(), "/ip4/127.0.0.1/tcp/1")
	require.ErrorIs(t, err, api.ErrNoDaemon)
	require.NoError(t, n.Close())

	again := open(t, offline(dir))
	same, err := again.Identity(t.Context())
	require.NoError(t, err)
	require.Equal(t, id.PeerID, same.PeerID)
	db, err := again.DB(t.Context(), "fam/notes")
	require.NoError(t, err)
	doc, err := db.Get(t.Context(), "milk")
	require.NoError(t, err)
	require.EqualValues(t, 1, doc["n"])
	_, err = node.Open(t.Context(), node.Config{})
	require.ErrorIs(t, err, api.ErrUsage)
}

func TestADirectoryHasOneNode(t *testing.T) {
	cfg := offline(t.TempDir())
	n := open(t, cfg)
	db := team(t, n)
	refused(t, cfg, api.ErrStoreLocked)
	_, err := db.Get(t.Context(), "milk")
	require.NoError(t, err, "the first goes on")
	require.NoError(t, n.Close())
	require.NoError(t, n.Close(), "twice is once")
	open(t, cfg)
}

// A node that is closed says so; it does not hang and does not panic.
func TestAClosedNodeSaysSo(t *testing.T) {
	n := open(t, offline(t.TempDir()))
	db := team(t, n)
	require.NoError(t, n.Close())
	_, err := db.Put(t.Context(), api.Doc{"_id": "late"})
	require.ErrorIs(t, err, api.ErrClosed)
	for _, err := range db.Watch(t.Context()) {
		if err != nil {
			require.ErrorIs(t, err, api.ErrClosed)
		}
	}
	for _, err := range db.Changes(t.Context(), api.ChangesOptions{Follow: true}) {
		if err != nil {
			require.ErrorIs(t, err, api.ErrClosed)
		}
	}
}

// Without its keystore a store is worth nothing, and a new key would hide that.
func TestALostOrRottenKeystoreIsNotReplaced(t *testing.T) {
	cfg := offline(t.TempDir())
	n := open(t, cfg)
	team(t, n)
	require.NoError(t, n.Close())
	path := cfg.Paths().Keystore
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	refused(t, cfg, api.ErrKeyLocked)

	for _, i := range []int{0, len(good) / 2, len(good) - 1} {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		refused(t, cfg, api.ErrKeyLocked)
	}
	require.NoError(t, os.WriteFile(path, good[:len(good)/2], 0o600))
	refused(t, cfg, api.ErrKeyLocked)
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	refused(t, cfg, api.ErrKeyLocked)

	require.NoError(t, os.WriteFile(path, good, 0o600))
	key, err := os.ReadFile(path + ".key")
	require.NoError(t, err)
	require.NoError(t, os.Remove(path+".key"))
	refused(t, cfg, api.ErrKeyLocked)
	require.NoError(t, os.WriteFile(path+".key", key, 0o600))
	open(t, cfg)
}

func TestAPassphraseLocksTheKeystore(t *testing.T) {
	cfg := offline(t.TempDir())
	cfg.PassphraseFile = filepath.Join(t.TempDir(), "pass")
	_, err := node.Open(t.Context(), cfg)
	require.ErrorIs(t, err, api.ErrKeyLocked) // no such file yet
	require.NoError(t, os.WriteFile(cfg.PassphraseFile, []byte("correct horse\r\nsecond line"), 0o600))
	require.NoError(t, open(t, cfg).Close())
	require.NoError(t, os.WriteFile(cfg.PassphraseFile, []byte("wrong horse"), 0o600))
	refused(t, cfg, api.ErrKeyLocked)
	cfg.PassphraseFile = ""
	refused(t, cfg, api.ErrKeyLocked)
}

func TestANewerFormatIsLeftAlone(t *testing.T) {
	cfg := offline(t.TempDir())
	require.NoError(t, open(t, cfg).Close())
	require.NoError(t, os.WriteFile(filepath.Join(cfg.Paths().Store, "format"), []byte("toft-store 99\n"), 0o600))
	refused(t, cfg, api.ErrFormat)
}

// A block of one database has rotten on disk: every way to read it says so, exit
// code 7; the other database works.
func TestADamagedDatabaseIsReported(t *testing.T) {
	cfg := offline(t.TempDir())
	cfg.FS = store.NewMem()
	n := open(t, cfg)
	db := team(t, n)
	fam, err := n.Team(t.Context(), nodetest.Team)
	require.NoError(t, err)
	_, err = fam.CreateDB(t.Context(), "other")
	require.NoError(t, err)
	res, err := db.Put(t.Context(), api.Doc{"_id": "bread"})
	require.NoError(t, err)
	require.NoError(t, n.Close())
	rot(t, cfg, res.Commit)

	n = open(t, cfg)
	db, err = n.DB(t.Context(), "fam/notes")
	require.NoError(t, err)
	_, err = db.Get(t.Context(), "milk")
	says := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, api.ErrVerify)
		require.Equal(t, 7, api.ErrorOf(err).Code)
		require.ErrorContains(t, err, res.Commit)
	}
	says(err)
	_, err = db.Put(t.Context(), api.Doc{"_id": "no"})
	says(err)
	for _, err := range db.All(t.Context(), api.Range{}) {
		says(err)
	}
	for _, err := range db.Changes(t.Context(), api.ChangesOptions{}) {
		says(err)
	}
	for _, err := range db.Watch(t.Context()) {
		says(err)
	}
	for _, err := range db.Conflicts(t.Context(), "") {
		says(err)
	}
	_, err = n.Status(t.Context())
	require.NoError(t, err)
	other, err := n.DB(t.Context(), "fam/other")
	require.NoError(t, err)
	_, err = other.Put(t.Context(), api.Doc{"_id": "yes"})
	require.NoError(t, err)
}

// A document becomes unreadable while somebody watches. He is told that, and not that it
// was removed.
func TestAWatchDoesNotTakeDamageForARemoval(t *testing.T) {
	cfg := offline(t.TempDir())
	cfg.FS = store.NewMem()
	n := open(t, cfg)
	db := team(t, n)
	_, err := db.Put(t.Context(), api.Doc{"_id": "large", "text": strings.Repeat("x", 20_000)})
	require.NoError(t, err)
	ready, failed := false, false
	for ev, err := range db.Watch(t.Context()) {
		switch {
		case err != nil:
			require.True(t, ready)
			failed = true
		case ev.Op == api.OpReady:
			ready = true
			spoilValues(t, node.StoreOf(n))
			_, err := db.Patch(t.Context(), "large", api.Doc{"n": int64(1)})
			require.NoError(t, err)
		default:
			require.Equal(t, api.OpInit, ev.Op)
		}
	}
	require.True(t, failed)
}

// spoilValues changes every value that stands in a block of its own.
func spoilValues(t *testing.T, s *store.Store) {
	t.Helper()
	b := s.NewBatch()
	for e, err := range s.Scan(store.Blocks()) {
		require.NoError(t, err)
		data := bytes.Clone(e.Value)
		if u, err := block.Parse(data); err == nil && u.Kind == block.KindValue {
			data[len(data)-1] ^= 1
			b.Set(e.Key, data)
		}
	}
	require.NotZero(t, b.Len())
	require.NoError(t, s.Commit(t.Context(), b))
}

// rot flips a bit of a block in the store of a node that is not running.
func rot(t *testing.T, cfg node.Config, commit string) {
	t.Helper()
	id, err := block.ParseID(commit)
	require.NoError(t, err)
	s, err := store.Open(cfg.Paths().Store, store.Options{FS: cfg.FS})
	require.NoError(t, err)
	data, err := s.Get(store.Block(id))
	require.NoError(t, err)
	data[len(data)-1] ^= 1
	b := s.NewBatch()
	b.Set(store.Block(id), data)
	require.NoError(t, s.Commit(t.Context(), b))
	require.NoError(t, s.Close())
}

// A borrowed host is the device: its key, for ever, and it stays its owner's.
func TestABorrowedHostIsTheDevice(t *testing.T) {
	h := hosttest.New(t, hosttest.TCP)
	cfg := nodetest.Config(t)
	cfg.Host = h
	n := open(t, cfg)
	id, err := n.Identity(t.Context())
	require.NoError(t, err)
	require.Equal(t, h.ID().String(), id.PeerID)
	require.NoError(t, n.Close())
	require.NotEmpty(t, h.Network().ListenAddresses(), "the host is still open")
	require.Empty(t, toftProtocols(h), "and serves nothing of ours")

	other := hosttest.New(t, hosttest.TCP)
	cfg.Host = other
	_, err = node.Open(t.Context(), cfg)
	require.ErrorContains(t, err, h.ID().String())
	require.NotEmpty(t, other.Network().ListenAddresses())

	cfg.Host = h
	require.NoError(t, open(t, cfg).Close())
}

func toftProtocols(h host.Host) (out []string) {
	for _, p := range h.Mux().Protocols() {
		if len(p) > 6 && p[:6] == "/toft/" {
			out = append(out, string(p))
		}
	}
	return out
}

func TestAHostWithoutAnEd25519KeyIsRefused(t *testing.T) {
	key, _, err := libp2pcrypto.GenerateSecp256k1Key(rand.Reader)
	require.NoError(t, err)
	h, err := libp2p.New(libp2p.Identity(key), libp2p.NoListenAddrs, libp2p.DisableRelay(), libp2p.DisableMetrics())
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.Close() })
	cfg := nodetest.Config(t)
	cfg.Host = h
	_, err = node.Open(t.Context(), cfg)
	require.ErrorContains(t, err, "Ed25519")
	_, err = os.Stat(cfg.Paths().Keystore)
	require.ErrorIs(t, err, fs.ErrNotExist, "no key was made")
}

// leaksOfLibp2p are goroutines that libp2p.New leaves behind when it cannot listen:
// it returns no host that could be closed.
func leaksOfLibp2p() (out []goleak.Option) {
	for _, fn := range []string{
		"host/peerstore/pstoremem.(*memoryAddrBook).background",
		"net/connmgr.(*BasicConnMgr).background",
		"net/connmgr.(*decayer).process",
		"net/swarm.(*connectionEventsEmitter).runEmitter",
		"net/swarm.(*DialBackoff).background",
	} {
		out = append(out, goleak.IgnoreTopFunction("github.com/libp2p/go-libp2p/p2p/"+fn))
	}
	return out
}

// An online node leaves no goroutine, however it ends.
func TestCloseLeaksNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for name, end := range map[string]func(node.Config){
		"after work": func(cfg node.Config) {
			n, err := node.Open(context.Background(), cfg)
			require.NoError(t, err)
			db := team(t, n)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			for ev, err := range db.Watch(ctx) {
				require.True(t, err != nil || ev.Op != "")
				cancel()
			}
			require.NoError(t, n.Close())
		},
		"at once": func(cfg node.Config) {
			n, err := node.Open(context.Background(), cfg)
			require.NoError(t, err)
			require.NoError(t, n.Close())
		},
		"never up": func(cfg node.Config) {
			cfg.Listen = []string{"/ip4/203.0.113.1/tcp/0"} // not an address of this machine
			_, err := node.Open(context.Background(), cfg)
			require.Error(t, err)
		},
		"locked out": func(cfg node.Config) {
			require.NoError(t, os.WriteFile(cfg.Paths().Keystore, []byte("rot"), 0o600))
			_, err := node.Open(context.Background(), cfg)
			require.ErrorIs(t, err, api.ErrKeyLocked)
		},
	} {
		t.Run(name, func(t *testing.T) { end(nodetest.Config(t)) })
	}
	goleak.VerifyNone(t, append(leaksOfLibp2p(), before)...)
}
