package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/node/api"
)

func TestPlaces(t *testing.T) {
	for use, want := range map[string][][]string{
		"put DB [ID] JSON|@FILE|-":        {{"DB"}, {"ID", "JSON", "@FILE", "-"}, {"JSON", "@FILE", "-"}},
		"role [TEAM] MEMBER admin|reader": {{"TEAM", "MEMBER"}, {"MEMBER", "admin", "reader"}, {"admin", "reader"}},
		"leave [TEAM] --confirm NAME":     {{"TEAM"}, nil},
		"remove [TEAM] MEMBER|DEVICE":     {{"TEAM", "MEMBER", "DEVICE"}, {"MEMBER", "DEVICE"}},
		"status":                          {nil},
	} {
		for n, places := range want {
			require.Equal(t, places, placesAt(use, n), "%s, argument %d", use, n)
		}
	}
}

func TestCompletionKnowsWhatIsThere(t *testing.T) {
	d := newDesk(t)
	ann, bob := d.home("ann"), d.home("bob")
	d.run(ann, 0, "team", "create", "fam", "--db", "notes")
	d.run(ann, 0, "put", "notes", "milk", "{}")
	offered := func(args ...string) []string {
		r := d.run(ann, 0, append([]string{"__complete"}, args...)...)
		lines := strings.Split(strings.TrimSpace(r.out), "\n")
		return lines[:len(lines)-1] // the last says how to go on
	}
	require.Empty(t, offered("db", "show", ""), "no daemon: the store is not opened for a press of Tab")
	d.daemon(ann)
	d.daemon(bob)
	code := strings.TrimSpace(d.run(ann, 0, "invite").out)
	d.run(bob, 0, "join", code, "--as", "bob")
	require.Equal(t, []string{"notes"}, offered("db", "show", ""))
	require.Equal(t, []string{"milk"}, offered("get", "notes", "mi"))
	require.Empty(t, offered("get", "notes", "x"))
	require.Contains(t, offered("team", "show", ""), "fam")
	require.ElementsMatch(t, []string{"bob", "bobs"}, offered("team", "remove", "b"))
	require.Equal(t, []string{"reader"}, offered("team", "role", "fam", "bob", "r"))
	require.Equal(t, []string{code}, offered("team", "revoke", "inv-"))
}

func TestMembershipTalk(t *testing.T) {
	d := newDesk(t)
	ann, bob := d.home("ann"), d.home("bob")
	d.daemon(ann)
	d.daemon(bob)
	d.run(ann, 0, "team", "create", "fam", "--db", "notes")
	d.run(bob, 0, "join", strings.TrimSpace(d.run(ann, 0, "invite").out), "--as", "bob")
	open := strings.TrimSpace(d.run(bob, 0, "team", "invite", "device", "fam").out)

	require.Contains(t, d.run(ann, 64, "team", "leave").err, "needs its name once more")
	d.run(ann, 6, "team", "leave", "--confirm", "fam")
	d.run(ann, 64, "team", "role", "bob", "king")
	d.run(ann, 4, "team", "role", "zoe", "reader")
	d.run(bob, 6, "team", "remove", "ann")
	r := d.run(ann, 0, "team", "remove", "bob", "--dry-run")
	require.Equal(t, "would remove member bob\n  bobs of bob goes\n  invitation "+open+" ends\n  new key for 1 device\n  keeps what is here of 1 database\n", r.out)
	plan, err := api.Unmarshal[api.Removal]([]byte(d.run(ann, 0, "team", "remove", "bob", "--dry-run", "--json").out))
	require.NoError(t, err)
	require.True(t, plan.DryRun)
	require.Len(t, plan.Devices, 1)
	require.Contains(t, d.run(ann, 0, "team", "remove", "bob").out, "removed member bob\n")
	d.run(ann, 4, "team", "remove", "bob")
	require.Contains(t, d.run(ann, 0, "team", "log", "--graph").out, "REMOVE_MEMBER by")
	d.run(ann, 4, "team", "adopt", "bobs")
	require.Contains(t, d.run(ann, 0, "team", "verify").out, "all good")
	d.run(ann, 0, "team", "rename", "family")
	require.Contains(t, d.run(ann, 0, "team", "show", "family").out, "family")

	require.Contains(t, d.run(ann, 64, "db", "drop", "notes").err, "needs its name once more")
	d.run(ann, 64, "db", "add", "notes")
	d.run(ann, 0, "db", "rename", "notes", "jottings")
	require.Contains(t, d.run(ann, 0, "db", "drop", "jottings", "--confirm", "jottings").out, "dropped jottings")
	d.run(ann, 4, "db", "show", "jottings")
}

func TestSharingTalk(t *testing.T) {
	d := newDesk(t)
	ann, bob := d.home("ann"), d.home("bob")
	d.daemon(ann)
	d.daemon(bob)
	d.run(ann, 0, "team", "create", "fam")
	token := d.run(bob, 0, "share", "token", "--qr")
	did := strings.TrimSpace(token.out)
	require.Regexp(t, `^did:key:z6Mk\S+$`, did)
	shared := d.run(ann, 0, "share", "with", did, "--name", "bob", "--role", "reader")
	lines := strings.Split(strings.TrimSpace(shared.out), "\n")
	require.Len(t, lines, 2)
	require.Equal(t, "toft:share/"+lines[0], lines[1])
	words := strings.Join(fingerprintOf(d, bob), " ")
	require.Contains(t, token.err, words, "both screens show the same words")
	require.Contains(t, shared.err, words)
	d.run(ann, 64, "share", "with", "did:key:nobody")
	d.run(ann, 5, "share", "with", did)
	d.run(ann, 8, "share", "join", lines[1])
	joined := d.run(bob, 0, "share", "join", lines[0])
	require.Contains(t, joined.out, "joined fam as reader, admitted by ann")
}

func fingerprintOf(d *desk, dir string) []string {
	id, err := d.nodes[dir].Identity(d.t.Context())
	require.NoError(d.t, err)
	return id.Words
}

func TestSeedsAndPassphrasesAreNoArguments(t *testing.T) {
	d := newDesk(t)
	ann, bob := d.home("ann"), d.home("bob")
	d.daemon(ann)
	d.daemon(bob)
	d.run(ann, 0, "team", "create", "fam")
	file := filepath.Join(t.TempDir(), "seed")
	require.NoError(t, os.WriteFile(file, []byte("little pony\r\nsecond line"), 0o600))
	r := d.run(ann, 64, "invite", "--seed-file", file, "--expires", "12h")
	require.Contains(t, r.err, "weak seed")
	inv := d.run(ann, 0, "invite", "--seed-file", file, "--expires", "12h", "--allow-weak-seed")
	require.Contains(t, inv.err, "the seed is not in the code")
	code := strings.TrimSpace(inv.out)
	d.run(bob, 8, "join", code)
	r = d.runIn(t.Context(), bob, "Little PONY\n", "join", code, "--seed-file", "-")
	require.Equal(t, 0, r.code, r.err)
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	d.run(ann, 64, "invite", "--seed-file", file)

	d.run(ann, 64, "keys", "lock") // no terminal here
	d.typed = []string{"correct horse", "correct house"}
	require.Contains(t, d.run(ann, 64, "keys", "lock").err, "not the same")
	d.typed = []string{"correct horse", "correct horse"}
	d.run(ann, 0, "keys", "lock")
	d.typed = []string{"battery staple"}
	d.run(ann, 13, "keys", "unlock")
	r = d.runIn(t.Context(), ann, "correct horse\n", "keys", "unlock", "--passphrase-file", "-")
	require.Equal(t, 0, r.code, r.err)
}

func TestKitsAreReadBack(t *testing.T) {
	kit := api.RecoveryKit{User: "ann", Words: []api.Secret{"acid", "acorn"}, Teams: []api.KitTeam{
		{ID: "team-a", Name: "fam ily", Addrs: []string{"/ip4/1.2.3.4/tcp/1/p2p/x"}}, {ID: "team-b", Name: "work"},
	}}
	got, err := parseKit(kitText(kit))
	require.NoError(t, err)
	got.User = "ann"
	require.Equal(t, kit, got)
	loose, err := parseKit("acid acorn\nacre\n")
	require.NoError(t, err)
	require.Equal(t, []api.Secret{"acid", "acorn", "acre"}, loose.Words)

	d := newDesk(t)
	ann, bob := d.home("ann"), d.home("bob")
	d.daemon(ann)
	d.daemon(bob)
	d.run(ann, 0, "team", "create", "fam")
	file := filepath.Join(t.TempDir(), "kit")
	r := d.run(ann, 0, "keys", "export", file, "--keep")
	require.Empty(t, r.out+r.err)
	d.run(ann, 64, "keys", "export", file) // never over what is there
	require.Contains(t, d.run(ann, 0, "keys", "export", "-").out, "words: acid")
	d.run(ann, 4, "keys", "export", "-")
	d.run(bob, 64, "keys", "import", filepath.Join(t.TempDir(), "none"))
	require.Contains(t, d.runIn(t.Context(), bob, "acid acorn", "keys", "import", "-").err, "names no team")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	r = d.runIn(t.Context(), bob, string(text), "keys", "import", "-", "--team", teamOf(d, ann))
	require.Equal(t, 0, r.code, r.err)
	require.Contains(t, r.out, "back in fam as admin")
}
