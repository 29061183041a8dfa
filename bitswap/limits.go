package bitswap

import (
	"time"

	"github.com/toftdb/toft/block"
)

// Every bound of this package, each with its reason.
const (
	// maxMessage bounds one Bitswap message on the wire, in bytes: a message of
	// targetMessage, and one block of the largest size that came on top of it, fit.
	maxMessage = 2 << 20

	// strangerMessage bounds one of a peer that has nothing to expect: some wants of
	// somebody who was admitted a moment ago, of which we have not heard.
	strangerMessage = 16 << 10

	// targetMessage is where a server stops adding blocks to a message. Larger
	// ones save little and delay the first block.
	targetMessage = 128 << 10

	// maxWants is how many wants a client has standing at one server; maxLedger is
	// how many a server keeps of one client. Above its limit a server drops wants
	// without a word, so ours is twice the clients', for cancels still on their way.
	maxWants  = 2048
	maxLedger = 2 * maxWants

	// wantRate is how many wants and cancels of one peer are read in a second, and at once;
	// beyond, it is not read from for a while. One costs about 1.5 µs; the fastest client
	// stays below half of it.
	wantRate = 200_000

	// firstWindow is how many wants are sent before any block has shown how large
	// they are; later the window follows readyBudget and the mean size. Over a line
	// of 50 ms a window of 1,024 small blocks is 20,000 blocks a second.
	firstWindow = 1024
	minWindow   = 16

	// readyBudget is how many bytes of blocks may wait for a slow consumer of one
	// GetMany before nothing more is asked. At twice that, arriving blocks are
	// dropped and asked for again later: a consumer cannot make us hold more.
	readyBudget = 16 << 20

	// maxStanding is how many wants that a peer has answered with DONT_HAVE are
	// left standing, to be served when the block comes; more are cancelled, so
	// that they do not use up maxWants.
	maxStanding = 256

	// maxWaiting is how many blocks we remember to have been asked for in vain.
	// Beyond, an asker learns of the block only when it asks again.
	maxWaiting = 16 << 10

	// maxInbound streams are accepted from one peer, of the 75 libp2p allows by
	// default; honest peers use two. The oldest is reset.
	maxInbound = 4

	// maxGarbage bytes that nobody asked for, beyond those that were asked for,
	// end the stream they came on. What was asked for twice, or cancelled, makes
	// some: at most about one budget.
	maxGarbage = 2 * readyBudget

	// senders is how many messages a server writes at once. A peer that does not
	// read holds two of them, being owed at most maxOutstanding bytes in messages
	// of targetMessage; the others go on.
	senders        = 128
	maxOutstanding = 2 * targetMessage

	// tick is how often running fetches are looked at.
	tick = 200 * time.Millisecond
	// stall is how long a peer may be silent while it owes us blocks, before they
	// are asked elsewhere or anew; after maxStrikes it is left, and tried once more
	// after rest by fetches that are patient enough.
	stall      = 1500 * time.Millisecond
	maxStrikes = 3
	rest       = 2 * time.Second
	// doubleAfter is the age at which a want is sent to a second, idle peer, up to
	// doubleBytes of them at a time as far as sizes are known.
	doubleAfter = 500 * time.Millisecond
	doubleBytes = 1 << 20
	// minReask doubles up to maxReask while peers say that they have nothing.
	minReask = 200 * time.Millisecond
	maxReask = 2 * time.Second
	// DefaultPatience is how long a fetch goes on when nobody has anything for it.
	DefaultPatience = time.Second

	// writeChunk bytes must be taken by the peer within writeTimeout.
	writeChunk   = 64 << 10
	writeTimeout = 5 * time.Second
	// stuckTime is how long a peer that took nothing is not written to: those who
	// would wait for it are the senders of all peers.
	stuckTime = 10 * time.Second
)

// MaxBlock is the size of the largest block, in bytes.
const MaxBlock = block.MaxSize
