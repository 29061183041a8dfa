package crdt

import "github.com/toftdb/toft/block"

// Bounds of documents and of everything that travels, each with its reason. What
// exceeds one is refused before it is written or, from outside, before it is
// allocated.
const (
	// MaxDocument is the largest document as canonical CBOR. Larger data belongs
	// into files; one document must fit a block with room to spare.
	MaxDocument = 256 << 10
	// MaxDepth is the deepest nesting of objects and arrays; the document itself
	// is 1. Recursion over documents is bounded by it.
	MaxDepth = 64
	// MaxKey is the longest key in bytes of UTF-8.
	MaxKey = 512
	// MaxID is the longest document id in bytes of UTF-8.
	MaxID = 1024
	// MaxJSON is the longest JSON text of one document: escapes and white space
	// make JSON larger than the 256 KiB it may mean, but not without end.
	MaxJSON = 2 << 20

	// MaxInline is the largest field value that stands in an operation or an
	// entry; a larger one is a block of its own, fetched when it is read.
	MaxInline = 16 << 10
	// MaxInlineEntry is the largest entry that stands in a tree node.
	MaxInlineEntry = 64 << 10
	// MaxInlineOps is the largest operation list that stands in a commit, so that
	// one commit fits an announcement or at least a sync answer.
	MaxInlineOps = 256 << 10
	// MaxOps is the most documents one commit may touch.
	MaxOps = 65_536
	// MaxOpBlocks bounds the linked operation blocks of one commit, and with them
	// the memory it takes to apply a batch atomically (64 MiB).
	MaxOpBlocks = 64
	// maxPlain is the largest plaintext of any block here: the largest body that
	// sealing pads to itself, less its marker.
	maxPlain = 1_032_191
	// opBlockSize is where the author starts a new operation block.
	opBlockSize = 512 << 10
	// maxEntry bounds one entry. Nobody can refuse the commit that makes one too large,
	// for which one that is depends on the order of arrival; so this is what a leaf can
	// name of pieces, and reached only by a gigabyte written to one document.
	maxEntry = 1 << 30

	// MaxTeamHeads bounds the team heads a commit names.
	MaxTeamHeads = 64
	// MaxActors bounds a frontier.
	MaxActors = 65_536
	// maxSeq and maxLife keep counters exact in every JSON reader and leave room
	// to count on.
	maxSeq  = 1 << 53
	maxLife = 1 << 53

	// MaxParked and MaxParkedBytes bound the commits that wait for a parent: a
	// peer can send any number of them whose parents do not exist.
	MaxParked      = 8192
	MaxParkedBytes = 64 << 20
	// MaxVoids bounds the void commits a checkpoint can carry.
	MaxVoids = 65_536

	// maxLinks leaves room for the parents of a commit among its links.
	maxLinks = block.MaxLinks - block.MaxParents
	// maxFileText bounds a media type; file names are keys.
	maxFileText = 255
)
