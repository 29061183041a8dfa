// Package crdt is the data of Toft: documents that many devices edit without
// asking each other, and the rule by which all of them end up reading the same.
//
// # Documents
//
// A database is a set of JSON objects with ids. Each field stands for itself: a
// path is a list of keys, and two devices that write different paths never disturb
// each other. Two that write one path at the same time both keep their value;
// everybody shows the one with the greater stamp (time, actor, seq) and lists the
// other in [Replica.Conflicts], until a put or a patch of that path settles it.
//
// # State
//
// Whatever a device writes at once is a commit, and a commit has a name that no
// other has: its dot, the pair (actor, seq). A document is kept as an entry: for
// each path the values that stand there, each under the dot of the commit that put
// it there. An operation has one form, whatever the verb: it drops assignments by
// name, and it asserts others under its own dot.
//
//	A:1  put {"title":"milk","n":1}        B:1  patch {"title":"oat milk"}
//	        drops nothing                          drops  title of A:1, alive of A:1
//	        sets  title, n; alive                  sets   title; alive
//	        │                                      │
//	        ▼                                      ▼
//	entry   title  A:1 "milk"          ⟶   title  B:1 "oat milk"
//	        n      A:1 1                   n      A:1 1
//	        life   A:1 alive               life   B:1 alive
//
// A commit can only drop what its author had seen. That is the whole merge: what
// nobody has dropped stays, so concurrent edits survive, an edit concurrent with a
// delete brings the document back (alive is one more assignment), and a removal
// takes exactly what it saw. Two states join by keeping what both hold, and what
// one side holds and the other has never seen; the laws (commutative, associative,
// idempotent, join of states = union of commits) are property tests here, and a
// model in Python made the vectors in testdata.
//
// Counters are the exception: {"$inc": n} in a patch keeps a running total per
// actor, and whoever assigns or removes the path clears exactly the totals it saw.
//
// # History
//
// Commits name their parents and so form a graph ([Replica.Add], [Replica.Heads],
// [Replica.Since], [Replica.Missing]). Each carries the digest of the state it leads
// to: a set hash over the entries, updated in the cost of what changed, so that two
// replicas which disagree find out at once and know whose commit it was.
//
// Some commits are void: the team chain says so ([Validity]), or they name what
// their author cannot have seen, or their actor wrote twice under one seq (a copied
// disk) and the twin with the lower ID stands. They stay in the graph, their
// operations are skipped, and where honest work had dropped something of theirs, it
// drops what they had dropped. [Replica.Rejudge] settles verdicts that arrive late.
//
// # Memory
//
// What nobody touches leaves memory. Documents that did not change since the last
// [Flush] stand in a search tree (package tree), whose nodes are loaded as they are
// needed; commits that were applied keep only their place in the graph, and their
// operations come back through a [Source] in the rare case that a verdict changes.
// What a flush writes is a checkpoint: [Replica.Restore] goes on from there. A history
// may begin at one ([Replica.SetFloor]): of the commits below only rows of the graph are
// known, and what is played again begins at the state there. The same
// replica with neither ([NewReplica]) keeps everything in memory, and shows the same.
//
// # What it refuses to know
//
// No disk, network, clock, randomness or key: a [Replica] is filled by the caller,
// what it stores goes through interfaces handed in ([Config]), and so do keyed hashes
// ([Keys]). It does not seal or sign:
// [Replica.Draft] gives plaintext, [ParseCommit] takes it. It knows no team; a
// verdict on each commit is handed in with it.
package crdt
