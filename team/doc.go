// Package team decides who is on a team and what they may do, from nothing but the
// team's chain: signed links in, a state out.
//
// A chain is a DAG. A link names all heads its author knew as its parents, and does
// one thing: it admits a device, changes a role, removes somebody, makes a key
// generation. The first link, CREATE, is the team: its hash is the team's id.
//
//	G ── +bob(admin) ──┬── remove alice (by bob) ──┬── …
//	   (by alice)      └── remove bob (by alice) ──┘
//
// Nobody is online with everybody, so two links may contradict each other. Every
// device applies the same rules to the same links and gets the same state, whatever
// the order in which they arrived. Above, alice is senior: bob is out, and his
// removal of alice is void.
//
// # Walk of a link
//
//	block.Parse → Verify      envelope and signature            (package block)
//	Parse(block, layers)      content of both layers, bounds    → *UnverifiedLink
//	Chain.Add                 parents known, seat and cited links in its past,
//	                          allowed in its own past (rule 1)  → stored, or refused
//	Chain.State               rules 2 to 5 over all links       → *State, immutable
//
// A link that is not allowed is refused for ever, with all its descendants. An
// allowed one is stored for ever, and counts or is void as the others say.
//
// # Words
//
// A seat is (link, key): the link that admitted a device, and its key. CREATE seats
// the founder's device and maybe his recovery words; ADMIT, ADD_MEMBER, ADD_DEVICE
// seat one device and maybe recovery words. The member seat of CREATE, ADD_MEMBER
// and a member's ADMIT is the link itself, of a device's ADMIT the inviter's, of
// ADD_DEVICE its author's. A member's id is the key of the first device of his
// member seat. view(L) is the state of everything below L. depth is the longest
// path from genesis. "Later" and "older" compare (depth, hash). The rank of a seat
// is (age of its member seat, age of the seat, recovery words before the device of
// the same link): older is more senior. A cut is REMOVE_MEMBER, REMOVE_DEVICE,
// REMOVE_REPLICA, REVOKE, or a SET_ROLE that lowers the role held in view or that
// confirms another. REMOVE_DB is no cut: it takes no link away.
//
// # Rules
//
//  1. A link is allowed if in its view the author's seat is active, his role is
//     enough, and it has an effect. need is the least role that would have been
//     enough. (rules.go)
//  2. A cut never takes what is in its own past. A removal takes every other link
//     by the seats it ends; a demotion what is concurrent and needed more than the
//     role left; a revocation every ADMIT through the invitation. (resolve.go)
//  3. Cuts are visited seniors first, each after the cuts in its past; one is in
//     force if no cut in force takes it, it is authorised, and an active admin
//     remains. (resolve.go)
//  4. A cut counts if it is in force; another link if no cut in force takes it, its
//     seat and invitation count, and its author's role then sufficed. (resolve.go)
//  5. A seat is active if it counts, is not ended, not suspended, and no more
//     senior member holds its key. (settle.go)
//
// # Settled here, because the design left it open
//
//   - Parents are an antichain: a parent below another is refused.
//   - REMOVE_MEMBER ends the seats of every membership of that id whose member seat
//     does not have the cut in its past, so also a device added later.
//   - A confirmation names, in confirms, a cut of the same action and target that is
//     in force in its view; the target must be out there (for SET_ROLE: out, or of
//     that very role). Confirmations of confirmations go back to the first: its
//     descendants are spared.
//   - Rule 3c looks at links that do not have the cut in their past. Otherwise an
//     admin made later could put an old cut in force that all have seen fail.
//   - Uses of an invitation are counted, like cuts, each ADMIT after those in its
//     past, else by rank of the admitter, depth, hash. A use stays used when the
//     device is removed. Suspending a member's admission suspends all his devices.
//   - A removal revokes all invitations it lists, open or not: what had closed one
//     may fall. REVOKE itself needs one that is open and not used up.
//   - A device invitation needs its inviter on the team, has one use and no role.
//   - Two invitations with one id: the second is not allowed; concurrent ones stand.
//   - A link seals under, and boxes hand out, generations made in its past, with
//     their commitments. BOX names its recipients, who must be active.
//   - Who knows a generation knows those it follows: it opens them. So one that does
//     not count still spoils a good one below it for whoever had it and is out.
//   - ROTATE needs an admin unless no current generation is good in its view.
//   - Names, HPKE keys and MEMBER_OF: of counting links the latest speaks.
//   - A database is in the team while a counting ADD_DB is not followed by a
//     counting REMOVE_DB. Its secret is that of the latest ADD_DB among these.
//   - A confirmation may revoke invitations like the removal it repeats.
//   - A replica's roster follows no cut that only an unchecked seat, or a role given
//     by one, stands for (roster.go).
//   - The critical bit on anybody's link but an admin's makes it not allowed.
//   - Genesis has no time: the founder joined when he first gave a name.
//   - Who may revoke: the inviter is the inviter's member, with any device.
//
// # Two folds
//
// [NewChain] is the member fold and needs both layers. [NewRosterChain] is what
// blind replicas compute from the roster layer; see roster.go for what it takes on
// trust. [Chain.Roster] gives it to members.
//
// # Cost
//
// A link that every other is comparable with settles what is below it, so a chain
// is resolved bubble by bubble, and states share what did not change (vec.go):
// adding a link on top of all heads costs the same at the tenth and at the hundred
// thousandth. A bubble of b links and c cuts costs about b·(b/64 + c).
//
// The package knows no clock (expiry is the admitter's to check), no randomness, no
// key that is secret, no network, no disk, and no documents: of a commit it judges
// who wrote it and when, never what.
package team
