package peering

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/crdt"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/store"
)

// Receipts are how a device learns that others durably hold what it wrote:
//
//	commits applied ──▶ 20 ms ──▶ Receipt{heads} signed ──▶ to the heads' authors
//	                                  │ quiet for 1 s   ──▶ to everybody connected
//	                                  └ each later sync ──▶ handed on to whoever lacks it
//
// A receipt is kept per device and database, the newest only, so they are bounded
// by the roster. They travel as riders: in a request or response of sync that is
// under way anyhow, or in a request that asks nothing but whether both are equal.
// What a peer was given or gave is remembered while it is connected; equal peers
// with nothing new still need one round trip of a hundred bytes.
type receipts struct {
	mu      sync.Mutex
	of      map[block.DBID]map[block.Device]*receipt // newest, ours among them
	given   map[peer.ID]map[receiptKey]uint64        // counters that a peer is known to have
	parted  map[block.Device]time.Time               // when a member's last connection ended
	pending map[*ledger.Database]bool                // took something in since our last receipt
	unsaved map[receiptKey]bool
	counter uint64
	bell    chan struct{} // capacity 1: something to sign or to hand on
	changed chan struct{} // closed and replaced whenever somebody's standing is news
}

type receiptKey struct {
	db  block.DBID
	dev block.Device
}

// receipt is one that was verified, as it travels.
type receipt struct {
	message.Receipt
	data  []byte
	known []block.ID // heads of the newest one of which all are here
	heard time.Time  // when the device last said something, by our clock
}

const (
	// tellSoon is how long commits gather before they are receipted; it doubles while
	// they keep coming, up to tellLate: a long sync costs a receipt now and then.
	tellSoon = 20 * time.Millisecond
	tellLate = 640 * time.Millisecond
	// tellQuiet is how long nothing must come in before everybody is told.
	tellQuiet = time.Second
	// tellPeers bounds who is told at once; the others hear at the next sync.
	tellPeers = 8
	// receiptRoom is the space name of stored receipts: they can be asked for again.
	receiptRoom = "receipt/1/"
)

func newReceipts() *receipts {
	return &receipts{
		of: map[block.DBID]map[block.Device]*receipt{}, given: map[peer.ID]map[receiptKey]uint64{},
		parted: map[block.Device]time.Time{}, pending: map[*ledger.Database]bool{}, unsaved: map[receiptKey]bool{},
		bell: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

// news wakes those who wait for somebody's standing. The caller holds mu.
func (r *receipts) news() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Changed returns a channel that is closed when it is news what others hold.
func (n *Network) Changed() <-chan struct{} {
	n.receipts.mu.Lock()
	defer n.receipts.mu.Unlock()
	return n.receipts.changed
}

// standing wakes those who wait, after a device's standing or connection changed.
func (n *Network) standing() {
	n.receipts.mu.Lock()
	defer n.receipts.mu.Unlock()
	n.receipts.news()
}

// took notes that commits of others are durable here: a receipt is due.
func (n *Network) took(d *ledger.Database) {
	r := n.receipts
	r.mu.Lock()
	r.pending[d] = true
	r.mu.Unlock()
	r.ring()
}

// ring wakes the loop: there is something to sign, or to hand on.
func (r *receipts) ring() {
	select {
	case r.bell <- struct{}{}:
	default:
	}
}

// receiptLoop signs receipts for what came in, tells the authors, and when it is
// quiet everybody else.
func (n *Network) receiptLoop() {
	defer n.saveReceipts()
	pause, news := tellSoon, false
	timer := time.NewTimer(tellQuiet)
	defer timer.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.receipts.bell:
			if !news {
				news = true
				timer.Reset(pause)
			}
		case <-timer.C:
			if news {
				news, pause = false, min(2*pause, tellLate)
				n.tell(n.sign(), true)
				timer.Reset(tellQuiet)
				continue
			}
			pause = tellSoon
			n.tell(n.ledger.Chains(), false)
			n.saveReceipts()
		}
	}
}

// sign makes receipts for what came in since the last time and returns the teams
// they are for. A join that is not confirmed says nothing of itself.
func (n *Network) sign() (teams []*ledger.Chain) {
	r := n.receipts
	r.mu.Lock()
	pending := r.pending
	r.pending = map[*ledger.Database]bool{}
	r.mu.Unlock()
	for d := range pending {
		c := d.Team()
		if c.Provisional() {
			continue
		}
		said := message.Receipt{
			Team: c.ID(), DB: d.ID(), Actor: d.Actor().Bytes(), Heads: d.Heads().Heads, Chain: c.Heads(),
			Kind: message.ReceiptApplied, Time: n.ledger.Now(),
		}
		r.mu.Lock()
		// A counter that starts at the clock rises across restarts without a write.
		r.counter = max(r.counter+1, uint64(said.Time)<<10)
		said.Counter = r.counter
		r.mu.Unlock()
		data, err := said.Sign(func(msg []byte) block.Signature { return n.o.Identity.Sign(block.ForReceipt, msg) })
		if err != nil {
			n.o.Log.Debug("receipt not signed", "db", d.ID(), "err", err) // more heads than fit: merged soon
			continue
		}
		r.mu.Lock()
		r.keep(&receipt{Receipt: said, data: data, known: said.Heads, heard: n.o.Clock()})
		r.mu.Unlock()
		if !slices.Contains(teams, c) {
			teams = append(teams, c)
		}
	}
	return teams
}

// keep replaces an older receipt of the same device; false if it is not newer. The
// caller holds mu.
func (r *receipts) keep(in *receipt) bool {
	dev := in.Device()
	if r.of[in.DB] == nil {
		r.of[in.DB] = map[block.Device]*receipt{}
	}
	if old := r.of[in.DB][dev]; old != nil {
		if old.Counter >= in.Counter {
			return false
		}
		if in.known == nil {
			in.known = old.known
		}
	}
	r.of[in.DB][dev] = in
	r.unsaved[receiptKey{in.DB, dev}] = true
	return true
}

// tell gives receipts to connected members of teams who lack them: to the authors
// of what stands there now, or to some of everybody.
func (n *Network) tell(teams []*ledger.Chain, authors bool) {
	for _, c := range teams {
		var wg sync.WaitGroup
		room, wrote := tellPeers, map[block.Device]bool{}
		if authors {
			wrote = headAuthors(c)
		}
		for _, p := range n.host.Network().Peers() {
			dev, ok := DeviceOf(p)
			if room == 0 || !ok || !n.gate.Shares(p, c.ID()) || authors && !wrote[dev] || !n.owes(c, p) {
				continue
			}
			room--
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(n.ctx, dialTime)
				defer cancel()
				if _, err := n.Compare(ctx, c, p); err != nil {
					n.o.Log.Debug("receipts not given", "peer", p, "err", err)
				}
			})
		}
		wg.Wait()
	}
}

// headAuthors returns the authors of the heads of a team's databases.
func headAuthors(c *ledger.Chain) map[block.Device]bool {
	wrote := map[block.Device]bool{}
	for _, d := range c.Databases() {
		heads := d.Heads().Heads
		for dev, newest := range d.Newest() {
			wrote[dev] = wrote[dev] || slices.ContainsFunc(newest, func(c *crdt.Commit) bool { return slices.Contains(heads, c.ID) })
		}
	}
	return wrote
}

// Compare asks a member whether it holds the same of a team, and gives it the
// receipts it lacks.
func (n *Network) Compare(ctx context.Context, c *ledger.Chain, p peer.ID) (equal bool, err error) {
	s, err := n.open(ctx, p, message.SyncProtocol)
	if err != nil {
		return false, err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	return n.compare(s, c, p)
}

func (n *Network) compare(s network.Stream, c *ledger.Chain, p peer.ID) (equal bool, err error) {
	room := maxRiders
	riders := n.ungiven(c, p, &room)
	resp, err := ask(s, message.Request{Teams: []message.TeamRequest{{Team: c.ID(), Summary: c.Summary(), Receipts: encoded(riders)}}})
	if err != nil || len(resp.Teams) != 1 || resp.Teams[0].Team != c.ID() {
		return false, err
	}
	n.gave(p, riders)
	if out := resp.Teams[0].Removed; len(out) > 0 {
		n.dismissed(n.ctx, p, c, out)
		return false, nil
	}
	if equal = resp.Teams[0].Equal; equal {
		n.agreed(c, p)
	}
	n.receive(c, p, resp.Teams[0].Receipts)
	return equal, nil
}

// ungiven returns the receipts of a team that a peer is not known to have, newest
// of each device, as many as there is room for bytes.
func (n *Network) ungiven(c *ledger.Chain, p peer.ID, room *int) (out []*receipt) {
	if c.Provisional() {
		return nil
	}
	to, _ := DeviceOf(p)
	r := n.receipts
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range c.Databases() {
		for dev, in := range r.of[d.ID()] {
			if dev == to || r.given[p][receiptKey{d.ID(), dev}] >= in.Counter {
				continue
			}
			if *room -= len(in.data); len(out) == message.MaxReceipts || *room < 0 {
				return out
			}
			out = append(out, in)
		}
	}
	return out
}

// owes reports whether a peer lacks a receipt that we have.
func (n *Network) owes(c *ledger.Chain, p peer.ID) bool {
	room := maxRiders
	return len(n.ungiven(c, p, &room)) > 0
}

// encoded returns receipts as they travel.
func encoded(in []*receipt) (out [][]byte) {
	for _, r := range in {
		out = append(out, r.data)
	}
	return out
}

// maxRiders bounds the bytes of receipts that travel with one message; the rest
// follows with the next.
const maxRiders = 256 << 10

// gave notes that a peer has got receipts.
func (n *Network) gave(p peer.ID, riders []*receipt) {
	n.receipts.mu.Lock()
	defer n.receipts.mu.Unlock()
	for _, in := range riders {
		n.receipts.has(p, in)
	}
}

// has notes that a peer holds a receipt. The caller holds mu.
func (r *receipts) has(p peer.ID, in *receipt) {
	if r.given[p] == nil {
		r.given[p] = map[receiptKey]uint64{}
	}
	k := receiptKey{in.DB, in.Device()}
	r.given[p][k] = max(r.given[p][k], in.Counter)
}

// receive takes in what a peer hands on: receipts of active devices of the team,
// each signed by its device, newer than what we have.
func (n *Network) receive(c *ledger.Chain, p peer.ID, riders [][]byte) {
	st, came := c.State(), false
	for _, data := range riders {
		u, err := message.ParseReceipt(data)
		if err == nil && n.receipts.stale(p, u, data) {
			continue
		}
		var said message.Receipt
		if err == nil {
			said, err = u.Verify()
		}
		if err != nil {
			n.blame(p, err)
			continue
		}
		d := n.ledger.Database(said.DB)
		if said.Team != c.ID() || d == nil || d.Team() != c || !st.Active(said.Device()) || said.Device() == n.ledger.Me() {
			continue // perhaps of links or databases that we lack yet
		}
		in := &receipt{Receipt: said, data: data, heard: n.o.Clock()}
		if _, all := d.Within(said.Heads, nil); all {
			in.known = said.Heads
		}
		n.receipts.mu.Lock()
		n.receipts.has(p, in)
		came = n.receipts.keep(in) || came
		n.receipts.mu.Unlock()
	}
	if came {
		n.standing()
		n.receipts.ring() // others may lack them too
	}
}

// stale reports whether a receipt says nothing that a verified one has not said. In a
// crowd most are: everybody hands on what it has.
func (r *receipts) stale(p peer.ID, u *message.UnverifiedReceipt, data []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.of[u.DB][u.Device]
	if old == nil || old.Counter < u.Counter {
		return false
	}
	if bytes.Equal(old.data, data) {
		r.has(p, old)
	}
	return true
}

// riders returns receipts to go with an answer, and notes that they went: if it is
// lost so is the connection, and with it the note.
func (n *Network) riders(c *ledger.Chain, p peer.ID, room *int) [][]byte {
	out := n.ungiven(c, p, room)
	n.gave(p, out)
	return encoded(out)
}

// parted forgets what a peer was given, for it may have lost it, and remembers when
// a member was last here.
func (n *Network) parted(p peer.ID) {
	n.receipts.mu.Lock()
	if dev, ok := DeviceOf(p); ok && n.gate.known(p) {
		n.receipts.parted[dev] = n.o.Clock()
	}
	delete(n.receipts.given, p)
	n.receipts.news()
	n.receipts.mu.Unlock()
}

// saveReceipts keeps receipts over a restart. They can be had again, so nothing
// waits for it.
func (n *Network) saveReceipts() {
	r := n.receipts
	batch := n.o.Store.NewBatch()
	r.mu.Lock()
	for k := range r.unsaved {
		in := r.of[k.db][k.dev]
		batch.Set(receiptAt(k), append(binary.BigEndian.AppendUint64(nil, uint64(in.heard.UnixMilli())), in.data...))
	}
	saved := r.unsaved
	r.unsaved = map[receiptKey]bool{}
	r.mu.Unlock()
	if len(saved) == 0 {
		return
	}
	if err := n.o.Store.Commit(context.WithoutCancel(n.ctx), batch); err != nil {
		n.o.Log.Debug("receipts not kept", "err", err)
		r.mu.Lock()
		maps.Copy(r.unsaved, saved)
		r.mu.Unlock()
	}
}

func receiptAt(k receiptKey) []byte {
	return store.Derived(slices.Concat([]byte(receiptRoom), k.db[:], k.dev[:]))
}

// loadReceipts reads what was kept. What does not read is dropped.
func (n *Network) loadReceipts() error {
	r := n.receipts
	for e, err := range n.o.Store.Scan(store.Derived([]byte(receiptRoom))) {
		if err != nil {
			return err
		}
		if len(e.Value) < 8 {
			continue
		}
		said, err := message.VerifyReceipt(e.Value[8:])
		d := n.ledger.Database(said.DB)
		if err != nil || d == nil || d.Team().ID() != said.Team {
			continue
		}
		in := &receipt{Receipt: said, data: slices.Clone(e.Value[8:]), heard: time.UnixMilli(int64(binary.BigEndian.Uint64(e.Value)))}
		if _, all := d.Within(said.Heads, nil); all {
			in.known = said.Heads
		}
		r.mu.Lock()
		r.keep(in)
		if said.Device() == n.ledger.Me() { // what others count is theirs to say
			r.counter = max(r.counter, said.Counter)
		}
		r.mu.Unlock()
	}
	r.mu.Lock()
	clear(r.unsaved)
	r.mu.Unlock()
	return nil
}
