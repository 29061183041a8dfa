package e2e_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

// canary is put wherever a user can put text. It must not be compressible, nor
// occur by chance.
const canary = "xq7CanaryZ9vKp3w"

// The canary is found neither in a data directory nor in what libp2p streams
// carry. Built with the tag nosealing the same test must find it in both: that is
// how we know that it looks in the right places.
func TestCanaryIsNowhere(t *testing.T) {
	ctx := within(t)
	recorded, tape := hosttest.Record(hosttest.New(t, hosttest.TCP))
	a := &home{t: t, cfg: configOf(t)}
	a.cfg.Host = recorded
	a.cfg.User, a.cfg.Device = canary+"-ann", canary+"-laptop"
	a.start()
	b := newHome(t, canary+"-bob")

	team, err := a.CreateTeam(ctx, canary+"-team")
	require.NoError(t, err)
	onA, err := team.CreateDB(ctx, canary+"-db")
	require.NoError(t, err)
	nodetest.Join(t, b, nodetest.Invite(t, a, canary+"-team"), canary+"-member")
	onB, err := b.DB(ctx, canary+"-db")
	require.NoError(t, err)
	live := watching(ctx, onB)
	_, err = onA.Put(ctx, api.Doc{"_id": canary + "-id", canary + "-key": canary + "-value", "big": big()})
	require.NoError(t, err)
	<-live
	back := watching(ctx, onA)
	_, err = onB.Put(ctx, api.Doc{"_id": canary + "-back", "x": canary})
	require.NoError(t, err)
	<-back
	nodetest.Equal(ctx, t, canary+"-db", a, b)
	b.stop()
	puts(t, onA, canary, 50) // B will get these by sync and Bitswap
	b.start()
	nodetest.Equal(ctx, t, canary+"-db", a, b)
	a.stop()
	b.stop()

	onWire := tape.Contains([]byte(canary))
	onDisk := holds(t, a.cfg.Dir) || holds(t, b.cfg.Dir)
	require.NotEmpty(t, tape.Bytes(), "the recorder heard nothing")
	if unsealed {
		require.True(t, onWire, "without sealing the canary must show on the wire")
		require.True(t, onDisk, "without sealing the canary must show on disk")
		return
	}
	require.False(t, onWire, "the canary is on the wire")
	require.False(t, onDisk, "the canary is on disk")
}

// big is a value that stands out of line, in a block of its own.
func big() string {
	var b bytes.Buffer
	for b.Len() < 20<<10 {
		b.WriteString(canary)
	}
	return b.String()
}

// holds reports whether any file below dir contains the canary.
func holds(t *testing.T, dir string) (found bool) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		files++
		if bytes.Contains(data, []byte(canary)) {
			found = true
			t.Logf("canary in %s", path)
		}
		return err
	})
	require.NoError(t, err)
	require.NotZero(t, files)
	return found
}
