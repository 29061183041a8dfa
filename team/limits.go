package team

import "github.com/toftdb/toft/block"

// Every bound of the room in one place, each with its reason. Bytes beyond them
// are refused before anything is allocated for them.
const (
	// MaxLink bounds the layers and the body of a link before they are decoded; the
	// link itself is bounded by block.
	MaxLink = block.MaxLinkSize
	// MaxDevices bounds the active devices of a team: every rotation seals one
	// lockbox of 1.2 KiB to each.
	MaxDevices = 4096
	// MaxName is the longest display name in bytes of UTF-8.
	MaxName = 64
	// MaxHeadDBs bounds the databases a removal carries data heads for.
	MaxHeadDBs = 1024
	// MaxDataHeads bounds the data heads of one database; a writer merges more
	// heads than block.MaxParents first.
	MaxDataHeads = 64
	// MaxRevoked bounds the invitations one removal revokes.
	MaxRevoked = 1024
	// MaxBaseKeys bounds the old generations a moved database brings along.
	MaxBaseKeys = 512
	// MaxAddrs and MaxAddr bound the packed addresses of a MEMBER_OF link, a share
	// and a code (which takes MaxCodeAddrs of them).
	MaxAddrs     = 16
	MaxAddr      = 128
	MaxCodeAddrs = 2
	// MaxUses is the largest use count of an invitation; 0 is unlimited.
	MaxUses = 1 << 20
	// maxRefused bounds the memory of refused links, so that their descendants are
	// refused at once instead of being asked for; forgetting one costs a fetch.
	maxRefused = 4096
	// maxViews bounds the cached states of single links.
	maxViews = 4096
	// maxUnder bounds the cached states under several heads.
	maxUnder = 64
)
