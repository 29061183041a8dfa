//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

// lan is a switch in a network namespace of its own, and machines in theirs: what
// crosses it is what crosses a cable.
//
//	┌ toft-7-a ┐        ┌───── toft-7-sw ─────┐        ┌ toft-7-b ┐
//	│ 10.77.0.1├─ veth ─┤ a      br0        b ├─ veth ─┤ 10.77.0.2│
//	└──────────┘        └─────────────────────┘        └──────────┘
type lan struct {
	t    testing.TB
	name string
	n    int
}

// newLAN makes the switch, or skips the test and says why.
func newLAN(t testing.TB) *lan {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces did not run: they need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("network namespaces did not run: there is no ip command (iproute2)")
	}
	l := &lan{t: t, name: fmt.Sprintf("toft-%d", os.Getpid())}
	if out, err := exec.Command("ip", "netns", "add", l.name+"-sw").CombinedOutput(); err != nil {
		t.Skipf("network namespaces did not run: this machine allows none: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", l.name+"-sw").Run() })
	l.ip("-n", l.name+"-sw", "link", "add", "br0", "type", "bridge")
	l.ip("-n", l.name+"-sw", "link", "set", "br0", "up")
	return l
}

func (l *lan) ip(args ...string) {
	l.t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	require.NoError(l.t, err, "ip %s: %s", strings.Join(args, " "), out)
}

// machine starts a daemon in a namespace of its own, plugged into the switch.
func (l *lan) machine(name string) *process {
	l.t.Helper()
	l.n++
	ns, sw := l.name+"-"+name, l.name+"-sw"
	l.ip("netns", "add", ns)
	l.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
	l.ip("-n", ns, "link", "set", "lo", "up")
	l.ip("-n", ns, "link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", sw)
	l.ip("-n", ns, "addr", "add", fmt.Sprintf("10.77.0.%d/24", l.n), "dev", "eth0")
	l.ip("-n", ns, "link", "set", "eth0", "up")
	l.ip("-n", sw, "link", "set", "dev", name, "master", "br0", "up")
	p := &process{t: l.t, dir: l.t.TempDir(), within: []string{"ip", "netns", "exec", ns}, listen: fmt.Sprintf("/ip4/10.77.0.%d/tcp/4001", l.n)}
	p.start()
	l.t.Cleanup(p.kill)
	return p
}

// plug puts the cable of a machine in or pulls it.
func (l *lan) plug(name string, in bool) {
	l.t.Helper()
	state := map[bool]string{true: "up", false: "down"}[in]
	l.ip("-n", l.name+"-sw", "link", "set", "dev", name, state)
}

// Three real processes on a switch. The cable of one is pulled: both sides go on
// writing, the two that are left hear each other, and when the cable is back all
// three are equal. Once more with the process killed while its cable is out.
func TestCableIsPulledAndPutBack(t *testing.T) {
	l := newLAN(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*deadline)
	defer cancel()
	a, b, c := l.machine("a"), l.machine("b"), l.machine("c")
	_, err := a.CreateTeam(ctx, nodetest.Team)
	require.NoError(t, err)
	onA := nodetest.DB(t, a, "notes")
	nodetest.Join(t, b, nodetest.Invite(t, a, nodetest.Team), "bob")
	nodetest.Join(t, c, nodetest.Invite(t, a, nodetest.Team), "carol")
	onB, onC := nodetest.Arrived(ctx, t, b, "notes"), nodetest.Arrived(ctx, t, c, "notes")
	writes := 0
	write := func(dbs ...api.DB) {
		for _, db := range dbs {
			writes++
			_, err := db.Put(ctx, api.Doc{"_id": fmt.Sprintf("doc-%03d", writes), "n": writes})
			require.NoError(t, err)
		}
	}
	write(onA, onB, onC)
	nodetest.Equal(ctx, t, "notes", a, b, c)

	l.plug("c", false)
	write(onA, onB, onC, onA, onB, onC)
	nodetest.Equal(ctx, t, "notes", a, b)
	require.NotEqual(t, nodetest.Digest(ctx, t, a, "notes"), nodetest.Digest(ctx, t, c, "notes"), "the cable is out")
	mended := time.Now()
	l.plug("c", true)
	nodetest.Equal(ctx, t, "notes", a, b, c)
	short := time.Since(mended)

	l.plug("c", false)
	write(onC, onA)
	c.kill()
	write(onB)
	c.start()
	onC = nodetest.Arrived(ctx, t, c, "notes")
	write(onC)
	mended = time.Now()
	l.plug("c", true)
	nodetest.Equal(ctx, t, "notes", a, b, c)
	long := time.Since(mended)
	for _, p := range []*process{a, b, c} {
		n, _ := p.docs(ctx)
		require.EqualValues(t, writes, n)
	}
	t.Logf("%d writes; equal %s after a short cut, %s after a restart behind it", writes, short.Round(time.Millisecond), long.Round(time.Millisecond))
}
