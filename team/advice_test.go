package team

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/block"
)

func TestAdviceOnRemoval(t *testing.T) {
	w := newSalted(t, "a", "", true).draw(`G -> +b -> b2 -> one -> many -> bi -> adm -> rep -> r`, steps{
		"+b": by("a", add("b", RoleAdmin)), "b2": by("b", device("b2", "b")),
		"one": by("a", invite("one", InviteMember, RoleMember, 1)), "many": by("a", invite("many", InviteMember, RoleMember, 0)),
		"bi": by("b", invite("bi", InviteMember, RoleMember, 1)), "adm": by("b", admit("bi", "c", "b")),
		"rep": by("a", invite("rep", InviteReplica, RoleReplica, 1)), "r": by("a", admit("rep", "rep", "a")),
	})
	s := w.chain.State()
	names := func(ds []Device) (out []string) {
		for _, d := range ds {
			out = append(out, nameOfDev(d.Key))
		}
		return out
	}
	gone := RemoveMember{Removal{Target: dev("b").dev, Keys: &newKeys}}
	require.Equal(t, []string{"a-words", "a", "c", "rep"}, names(s.Remaining(gone)))
	require.Equal(t, []string{"a-words", "a", "b", "c", "rep"}, names(s.Remaining(RemoveDevice{Removal{Target: dev("b2").dev}})))
	require.Equal(t, 0, s.RotationRank(dev("a").dev), "words on paper do not rotate")
	require.Equal(t, 3, s.RotationRank(dev("c").dev))
	require.Equal(t, -1, s.RotationRank(dev("rep").dev))

	var revoked []string
	for _, id := range w.chain.Revokes(dev("a").dev, gone) {
		revoked = append(revoked, w.nameOf(id))
	}
	require.ElementsMatch(t, []string{"bi", "many"}, revoked)
	require.Empty(t, w.chain.Revokes(dev("c").dev, RemoveMember{Removal{Target: dev("c").dev}}), "c may revoke his own only")
	gone.Revokes = w.chain.Revokes(dev("a").dev, gone)
	require.NoError(t, w.chain.Check(dev("a").dev, gone))

	require.ElementsMatch(t, []block.Device{dev("b2").dev, dev("c").dev}, w.chain.BroughtIn(dev("b").dev))
}

// b removes the founder's friend e, who is senior to b: until a confirms it, e
// could come back with a link on old heads.
func TestAdviceToConfirm(t *testing.T) {
	w := newWorld(t, "a").draw(`G -> db -> +e -> +b -> b-e`, steps{
		"db": by("a", addDB("x")), "+e": by("a", add("e", RoleAdmin)), "+b": by("a", add("b", RoleAdmin)),
		"b-e": by("b", vouching(remove("e"), headsOf("x", 1))),
	})
	require.Empty(t, w.chain.Confirmations(dev("b").dev), "b is junior to e")
	todo := w.chain.Confirmations(dev("a").dev)
	require.Len(t, todo, 1)
	require.Equal(t, headsOf("x", 1), todo[0].(RemoveMember).Heads)
	w.add("conf", by("a", func(*world, []*UnverifiedLink) Content { return todo[0] }), "b-e")
	w.taken("conf")
	require.Empty(t, w.chain.Confirmations(dev("a").dev), "once is enough")
	w.draw(`+b -> e-b`, steps{"e-b": by("e", remove("b"))})
	w.settled("a:admin b:admin")

	wider, ok := w.chain.Adopt(dev("e").dev, headsOf("x", 1, 2))
	require.True(t, ok)
	require.NoError(t, w.chain.Check(dev("b").dev, wider))
	_, ok = w.chain.Adopt(dev("a").dev, nil)
	require.False(t, ok)

	w = newWorld(t, "a").draw(`G -> +e -> +b -> down`, steps{
		"+e": by("a", add("e", RoleAdmin)), "+b": by("a", add("b", RoleAdmin)), "down": by("b", role("e", RoleReader)),
	})
	require.Equal(t, []Content{SetRole{Member: dev("e").dev, Role: RoleReader, Confirms: w.named["down"].ID}}, w.chain.Confirmations(dev("a").dev))
}
