package peering

import (
	"errors"
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/record"
	"github.com/multiformats/go-multiaddr"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/ledger"
	"github.com/toftdb/toft/internal/message"
	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/wire"
)

// The address book: where each member was last seen, and what it signed about that.
// Members hand each other the signed records over sync, so that one who met nobody but
// the device that admitted it finds the rest of the team; what is new is dialled.

const (
	// maxAddrs bounds the addresses kept of one peer: it chooses what it claims.
	maxAddrs = 16
	// maxAddr bounds one of them, in bytes.
	maxAddr = 256
	// maxRecords bounds the bytes of records in one answer.
	maxRecords = 64 << 10
)

// page is what the address book holds of a member.
type page struct {
	Addrs  [][]byte `cbor:"1,keyasint,omitempty"` // packed multiaddrs, as seen by us
	Record []byte   `cbor:"2,keyasint,omitempty"` // signed by the member, a libp2p envelope
}

// maxPage bounds the stored form.
const maxPage = maxAddrs*(maxAddr+8) + message.MaxPeerRecord + 64

// kept reads a page; one without anything if there is none.
func (n *Network) kept(p peer.ID) (page, error) {
	data, err := n.o.Store.Get(store.Peer([]byte(p)))
	if errors.Is(err, store.ErrNotFound) {
		return page{}, nil
	}
	if err != nil {
		return page{}, err
	}
	return wire.Decode[page](data, maxPage)
}

// keep changes a page, and writes it if it is another then.
func (n *Network) keep(p peer.ID, change func(*page)) {
	n.bookMu.Lock()
	defer n.bookMu.Unlock()
	before, err := n.kept(p)
	if err != nil {
		before = page{} // it is only a hint, and is written anew
	}
	after := before
	change(&after)
	data := wire.Must(after)
	if slices.Equal(data, wire.Must(before)) {
		return
	}
	batch := n.o.Store.NewBatch()
	batch.Set(store.Peer([]byte(p)), data)
	if err := n.o.Store.Commit(n.ctx, batch); err != nil {
		n.o.Log.Warn("address not kept", "peer", p, "err", err)
	}
}

// keepAddrs remembers where a member listens, as identify has told.
func (n *Network) keepAddrs(p peer.ID) {
	var seen [][]byte
	for _, a := range n.host.Peerstore().Addrs(p) {
		if raw := a.Bytes(); len(raw) <= maxAddr && len(seen) < maxAddrs {
			seen = append(seen, raw)
		}
	}
	slices.SortFunc(seen, slices.Compare)
	signed := n.certified(p)
	n.keep(p, func(b *page) {
		if len(seen) > 0 {
			b.Addrs = seen
		}
		if newer(signed, b.Record) {
			b.Record = signed
		}
	})
}

// KeptAddrs returns where a member was last seen, or says it is.
func (n *Network) KeptAddrs(p peer.ID) ([]multiaddr.Multiaddr, error) {
	b, err := n.kept(p)
	if err != nil {
		return nil, err
	}
	var out []multiaddr.Multiaddr
	for _, raw := range b.Addrs {
		if a, err := multiaddr.NewMultiaddrBytes(raw); err == nil {
			out = append(out, a)
		}
	}
	if _, r, err := openRecord(b.Record); err == nil {
		for _, a := range r.Addrs[:min(len(r.Addrs), maxAddrs)] {
			if !slices.ContainsFunc(out, a.Equal) {
				out = append(out, a)
			}
		}
	}
	return out, nil
}

// openRecord checks a signed record: shape, bounds, and that the peer it is about has
// signed it.
func openRecord(data []byte) (peer.ID, *peer.PeerRecord, error) {
	if len(data) == 0 || len(data) > message.MaxPeerRecord {
		return "", nil, fmt.Errorf("peer record of %d bytes, at most %d", len(data), message.MaxPeerRecord)
	}
	env, rec, err := record.ConsumeEnvelope(data, peer.PeerRecordEnvelopeDomain)
	if err != nil {
		return "", nil, err
	}
	r, ok := rec.(*peer.PeerRecord)
	if !ok || !r.PeerID.MatchesPublicKey(env.PublicKey) {
		return "", nil, errors.New("peer record signed by another peer")
	}
	return r.PeerID, r, nil
}

// newer reports whether a record is to be kept in the place of another.
func newer(a, b []byte) bool {
	_, x, err := openRecord(a)
	if err != nil {
		return false
	}
	_, y, err := openRecord(b)
	return err != nil || x.Seq > y.Seq
}

// certified returns the record that libp2p has of a connected peer, or of us; nil if
// there is none.
func (n *Network) certified(p peer.ID) []byte {
	book, ok := peerstore.GetCertifiedAddrBook(n.host.Peerstore())
	if !ok {
		return nil
	}
	env := book.GetPeerRecord(p)
	if env == nil {
		return nil
	}
	data, err := env.Marshal()
	if err != nil || len(data) > message.MaxPeerRecord {
		return nil
	}
	return data
}

// records returns what a member may not know yet of where the others are: each record
// once per connection.
func (n *Network) records(c *ledger.Chain, to peer.ID) (out [][]byte) {
	size := 0
	give := func(p peer.ID, data []byte) {
		if len(data) == 0 || size+len(data) > maxRecords || len(out) == message.MaxPeers {
			return
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		k, sum := acquaintance{to, p}, block.Sum(data)
		if n.showed[k] == sum {
			return
		}
		n.showed[k] = sum
		size += len(data)
		out = append(out, data)
	}
	give(n.host.ID(), n.certified(n.host.ID()))
	for p := range n.gate.Members() {
		if p == to || !n.gate.Shares(p, c.ID()) {
			continue
		}
		if b, err := n.kept(p); err == nil {
			give(p, b.Record)
		}
	}
	return out
}

// acquaintance is a peer that another one was told of.
type acquaintance struct{ to, of peer.ID }

// meet takes records of members from a peer: what they signed, of this team, and newer
// than what is kept. What was not known is dialled.
func (n *Network) meet(c *ledger.Chain, records [][]byte) {
	for _, data := range records {
		p, _, err := openRecord(data)
		if err != nil || p == n.host.ID() || !n.gate.Shares(p, c.ID()) {
			continue
		}
		changed := false
		n.keep(p, func(b *page) {
			if changed = newer(data, b.Record); changed {
				b.Record = data
			}
		})
		if changed {
			n.dialSoon()
		}
	}
}
