package message

import "github.com/toftdb/toft/block"

// Version is the first byte of every message.
const Version = 0x01

// The stream protocols. A message that changes gets a new number.
const (
	SyncProtocol = "/toft/sync/1"
	JoinProtocol = "/toft/join/1"
)

// Bounds, each with its reason. A message beyond one is refused, by its sender
// before it is sent and by its receiver before it is believed.
const (
	// MaxFrame bounds one message of a sync stream: a frontier of 65,536 actors
	// takes 3.7 MiB, and nothing honest is larger.
	MaxFrame = 4 << 20
	// MaxJoinFrame bounds one message of a join stream, which strangers may open:
	// the largest carries a hybrid HPKE key, two names and two signatures.
	MaxJoinFrame = 4 << 10
	// MaxAnnouncement bounds an announcement as published; GossipSub drops larger
	// ones without a word.
	MaxAnnouncement = 64 << 10
	// MaxAnnouncementPlain bounds CBOR ‖ signature before sealing. Sealing pads to
	// a multiple of 2,048 in this range and adds 24 + 16 bytes, the envelope 9:
	// 31 × 2,048 is the largest size that fits, less one byte of pad marker.
	MaxAnnouncementPlain = 31*2048 - 1
	// MaxItems bounds the data items of one message, whatever their kind. It
	// bounds what decoding allocates to some tens of MiB: the decoder makes room
	// for a whole array at its declared length.
	MaxItems = 160_000
	// MaxNesting is the depth of arrays and maps in the deepest message, a
	// response: message, teams, team, dbs, db, ids.
	MaxNesting = 6
	// MaxTeams bounds the teams of one sync message; a device with more asks in
	// several.
	MaxTeams = 256
	// MaxDBs bounds the databases of one team in one message.
	MaxDBs = 1024
	// MaxHeads bounds the heads of one database or chain in one message. A commit
	// merges 64; after a long partition many devices may each have left one.
	MaxHeads = 1024
	// MaxLacking bounds the IDs of one answer; the rest follows in the next (More).
	MaxLacking = 65_536
	// MaxLinks and MaxInlineLinks bound the chain links of one answer, by count and
	// by bytes; the rest follows in the next (MoreLinks).
	MaxLinks       = 4096
	MaxInlineLinks = 1 << 20
	// MaxLink is the largest link (docs/format.md, Team).
	MaxLink = 64 << 10
	// MaxInline bounds the bytes of commits inline in one response, over all of its
	// databases: enough for any live edit, too little to replace Bitswap.
	MaxInline = 256 << 10
	// MaxInlineCommits bounds their number.
	MaxInlineCommits = 1024
	// MaxRows bounds the rows of the graph in one response, MaxOffers for how many
	// databases it tells of a checkpoint: with the checkpoint, the commits inline and
	// the frontiers they must fit a frame.
	MaxRows   = 512 << 10
	MaxOffers = 1
	// MaxPeers and MaxPeerRecord bound the signed peer records of one team.
	MaxPeers      = 256
	MaxPeerRecord = 4 << 10
	// MaxReceipts bounds the receipts of one team in one message.
	MaxReceipts = 1024
	// MaxReceipt bounds one receipt: two lists of heads.
	MaxReceipt = 2*MaxHeads*34 + 512
	// MaxName bounds a display name (docs/format.md, Team).
	MaxName = 64
	// MaxDetail bounds the sentence that goes with an error.
	MaxDetail = 512
	// MaxFrontier bounds an encoded frontier; what it says is crdt's to judge.
	MaxFrontier = MaxFrame - 4096
)

// maxCommit is the largest commit a message carries.
const maxCommit = block.MaxSize
