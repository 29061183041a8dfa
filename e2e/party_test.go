package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

var partyPeers = flag.Int("party.peers", partySize, "how many peers TestSimulatedParty has")

// TestSimulatedParty is the whole story of a team in one process: all join and write,
// the network falls into halves, in one of them a member of the other is removed,
// both halves go on, the network heals. Who is left is equal; what the removed one
// had written before stays, what it wrote afterwards shows nowhere, and it gets
// nothing that is newer.
func TestSimulatedParty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{world: newWorld(t), seed: 1, rng: rand.New(rand.NewPCG(1, 50)), running: map[*machine]bool{}, begun: time.Now()}
		c.net.Start()
		defer c.net.Close()
		defer c.stopAll()
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		c.gather(ctx, *partyPeers)
		founder, victim := c.all[0], c.all[len(c.all)-1]
		stay := c.all[:len(c.all)-1]

		for _, m := range c.all {
			c.put(ctx, m, "before")
		}
		c.equal(ctx, c.all, "before anything happens")

		half := len(c.all) / 2
		for _, a := range c.all[:half] {
			for _, b := range c.all[half:] {
				c.link(a, b, false)
			}
		}
		team, err := founder.Team(ctx, nodetest.Team)
		require.NoError(t, err)
		gone, err := team.Remove(ctx, api.RemoveRequest{Target: victim.name})
		require.NoError(t, err)
		require.Equal(t, len(stay), gone.Rekeys, "every device that stays gets the new key")
		for _, m := range c.all {
			c.put(ctx, m, "apart")
			time.Sleep(200 * time.Millisecond)
		}
		c.equal(ctx, c.all[:half], "the half of the founder")
		c.equal(ctx, c.all[half:], "the half of who was removed")

		c.mendAll()
		c.equal(ctx, stay, "healed")
		c.put(ctx, founder, "after")
		c.put(ctx, c.all[half], "after")
		c.equal(ctx, stay, "after")
		time.Sleep(time.Minute)

		for _, m := range stay {
			for _, o := range c.all {
				require.NoError(t, c.get(ctx, m, "before", o), "%s lacks what %s wrote before", m.name, o.name)
				err := c.get(ctx, m, "apart", o)
				if o == victim {
					require.ErrorIs(t, err, api.ErrNotFound, "%s shows what %s wrote after it was removed", m.name, o.name)
				} else {
					require.NoError(t, err, "%s lacks what %s wrote apart", m.name, o.name)
				}
			}
			require.NoError(t, c.get(ctx, m, "after", founder))
		}
		for _, o := range []*machine{founder, c.all[half]} {
			err := c.get(ctx, victim, "after", o)
			require.True(t, errors.Is(err, api.ErrNotFound), "%s was removed and got %s's news: %v", victim.name, o.name, err)
		}
		for _, m := range stay {
			s, err := m.Status(ctx)
			require.NoError(t, err)
			for _, w := range s.Warnings {
				require.NotEqual(t, api.Alarm, w.Severity, "%s: %s", m.name, w.Detail)
			}
		}
		t.Logf("%d peers: joined, wrote, fell into halves, removed one, healed; %s simulated", len(c.all), time.Since(c.begun).Round(time.Second))
	})
}

func (c *cluster) put(ctx context.Context, m *machine, when string) {
	c.t.Helper()
	db, err := m.DB(ctx, "notes")
	require.NoError(c.t, err, m.name)
	_, err = db.Put(ctx, api.Doc{"_id": when + "-" + m.name, "by": m.name})
	require.NoError(c.t, err, m.name)
}

func (c *cluster) get(ctx context.Context, m *machine, when string, by *machine) error {
	db, err := m.DB(ctx, "notes")
	if err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	_, err = db.Get(ctx, when+"-"+by.name)
	return err
}

// equal waits until some machines show the same, at most 30 simulated seconds.
func (c *cluster) equal(ctx context.Context, some []*machine, what string) {
	c.t.Helper()
	begun := time.Now()
	for why := differ(ctx, c.t, some); why != ""; why = differ(ctx, c.t, some) {
		require.Less(c.t, time.Since(begun), 30*time.Second, "%s: %s", what, why)
		time.Sleep(200 * time.Millisecond)
	}
	c.t.Logf("%s: %d equal after %s", what, len(some), time.Since(begun))
}
