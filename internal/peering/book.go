package peering

import (
	"errors"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/toftdb/toft/internal/store"
	"github.com/toftdb/toft/internal/wire"
)

// maxAddrs bounds the addresses kept of one peer: it chooses what it claims.
const maxAddrs = 16

// addrs is what the address book holds of a member: where it was last seen, as
// packed multiaddrs, so that devices find each other again after both restarted.
type addrs struct {
	Addrs [][]byte `cbor:"1,keyasint,omitempty"`
}

// maxBook bounds the stored form.
const maxBook = 8 << 10

// keepAddrs remembers where a member listens.
func (n *Network) keepAddrs(p peer.ID) {
	var book addrs
	for _, a := range n.host.Peerstore().Addrs(p) {
		if raw := a.Bytes(); len(raw) <= 256 && len(book.Addrs) < maxAddrs {
			book.Addrs = append(book.Addrs, raw)
		}
	}
	if len(book.Addrs) == 0 {
		return
	}
	slices.SortFunc(book.Addrs, slices.Compare)
	data := wire.Must(book)
	if old, err := n.o.Store.Get(store.Peer([]byte(p))); err == nil && slices.Equal(old, data) {
		return
	}
	batch := n.o.Store.NewBatch()
	batch.Set(store.Peer([]byte(p)), data)
	if err := n.o.Store.Commit(n.ctx, batch); err != nil {
		n.o.Log.Warn("address not kept", "peer", p, "err", err)
	}
}

// KeptAddrs returns where a member was last seen.
func (n *Network) KeptAddrs(p peer.ID) ([]multiaddr.Multiaddr, error) {
	data, err := n.o.Store.Get(store.Peer([]byte(p)))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	book, err := wire.Decode[addrs](data, maxBook)
	if err != nil {
		return nil, err
	}
	var out []multiaddr.Multiaddr
	for _, raw := range book.Addrs {
		if a, err := multiaddr.NewMultiaddrBytes(raw); err == nil {
			out = append(out, a)
		}
	}
	return out, nil
}
