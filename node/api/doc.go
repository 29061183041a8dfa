// Package api is the door of a Toft node: one interface, [API], with two
// implementations, *node.Node in this process and [*Client] over the socket of a
// running daemon. Whatever holds an API cannot tell which it is: same calls,
// same nouns, same errors.
//
//	   cmd/toft ──┐
//	your program ─┼──▶ api.API ──┬── *node.Node                        in process
//	   dashboard ─┘              └── *api.Client ──▶ DIR/api.sock ──▶ node/api/server
//
// A worked example; it reads the same with a node and with a client:
//
//	a, err := api.Dial(ctx, socket)
//	fam, err := a.CreateTeam(ctx, "fam")
//	notes, err := fam.CreateDB(ctx, "notes")
//	res, err := notes.Put(ctx, api.Doc{"title": "milk"})
//	for ev, err := range notes.Watch(ctx) { … }
//	inv, err := fam.InviteMember(ctx, api.MemberInvite{MaxUses: 1})
//	… on the other device: b.Join(ctx, api.JoinRequest{Code: inv.Code, Name: "bob"})
//
// The nouns ([Status], [TeamInfo], [Invite], …) are the JSON of the command line
// and of HTTP, field by field; they only ever gain fields. Identities cross the
// door as text, because people type and read them here.
//
// Errors are [*Error]; each sentinel stands for one exit code of the command line,
// one HTTP status and one problem type (RFC 9457), and errors.Is finds it on
// either side of the socket:
//
//	_, err := notes.Put(ctx, doc, api.Cond{IfRev: rev})
//	if errors.Is(err, api.ErrConflict) { … }
//
// Reads are iter.Seq2: a range loop that ends early ends the read. An error is
// the last thing a sequence yields, and its value is then zero. No iterator holds
// a lock of the node while it yields: a reader that stops costs nobody else.
//
// The package refuses to know how any of it is done: it imports neither libp2p
// nor the node, nor any room of the house.
package api
