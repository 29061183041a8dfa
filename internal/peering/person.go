package peering

import (
	"cmp"
	"fmt"

	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/team"
)

// Standing tells what concerns a person about one of his teams: that he is out of it,
// not yet in, cannot read all of it, or needs a newer toft for it. net is nil while
// offline.
func Standing(l *ledger.Ledger, net *Network, c *ledger.Chain) (out []api.Check) {
	st, name := c.State(), c.State().Name()
	say := func(id string, s api.Severity, title, fix, detail string, args ...string) {
		v := make([]any, len(args))
		for i, a := range args {
			v[i] = a
		}
		out = append(out, api.Check{ID: id, Severity: s, Title: title, Detail: fmt.Sprintf(detail, v...), Fix: fix})
	}
	self, known := st.Device(l.Me())
	told, by := toldOut(l, net, c)
	switch {
	case !known:
	case self.Status == team.StatusSuspended:
		say("suspended", api.Warning, "this device is suspended", "an admin lets it in: toft share with "+l.Me().DID(),
			"the invitation it came to %q by was used up elsewhere at the same time; it reads and writes nothing new until an admin lets it in", name)
	case self.Status == team.StatusRemoved, told && self.Status == team.StatusActive:
		say("removed", api.Info, "this device is no longer in a team", "",
			"%q%s: what it could read until then stays here; it reads and writes nothing new", name, by)
	case self.Status != team.StatusActive:
		say("admission_void", api.Warning, "the admission of this device does not count", "ask an admin for a new invitation", "team %q: toft team log shows why", name)
	}
	if known && self.Status != team.StatusActive || told {
		return out
	}
	if c.Provisional() {
		say("join_provisional", api.Info, "the join is not confirmed yet", "",
			"what you write in %q stays on this device until a second member shows the same team", name)
	}
	if KeyMissing(l, c) {
		say("key_missing", api.Warning, "a key has not arrived", "let another member come online; it comes by itself",
			"team %q has a key that this device was not given yet: what is sealed under it cannot be read or written here", name)
	}
	switch needed, readOnly := st.Upgrade(); {
	case readOnly:
		say("upgrade_needed", api.Warning, "a newer toft is needed", "upgrade toft", "an admin of %q uses what this version does not know; its data is read-only here until you upgrade", name)
	case needed:
		say("upgrade_needed", api.Info, "a newer toft is needed", "upgrade toft", "members of %q use what this version does not know; that part does nothing here", name)
	}
	return out
}

// toldOut reports whether this device is out of a team, as the chain has it or as a
// member has told, and who put it out: ", removed by ann" or "".
func toldOut(l *ledger.Ledger, net *Network, c *ledger.Chain) (out bool, by string) {
	if net == nil {
		return false, ""
	}
	r, out := net.RemovedBy(c)
	st := c.State()
	d, known := st.Device(r.By)
	if self, _ := st.Device(l.Me()); !out || !known || d.Member == self.Member && d.Key == self.Key {
		return out, ""
	}
	m, _ := st.Member(d.Member)
	return out, ", removed by " + cmp.Or(m.Name, m.ID.String())
}

// KeyMissing reports whether the team writes under a key that is not here.
func KeyMissing(l *ledger.Ledger, c *ledger.Chain) bool {
	for _, g := range c.State().Generations() {
		if g.Good && !l.Keys().Has(c.ID(), g.ID) {
			return true
		}
	}
	return false
}
