package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	libp2pnet "github.com/libp2p/go-libp2p/core/network"
)

// Limits are what the machine can do: the same bytes without a database.
func limitScenarios() []scenario {
	return []scenario{
		{"limit-pebble", (*bench).limitPebble},
		{"limit-crypto", (*bench).limitCrypto},
		{"limit-stream", (*bench).limitStream},
		{"limit-bitswap", (*bench).limitBitswap},
	}
}

// blockSize is what a document of the workload takes as a commit of its own:
// header, padding, signature.
const blockSize = 768

// limitPebble writes documents with one fsync each, and with one for a hundred.
func (b *bench) limitPebble(context.Context) error {
	for _, size := range []int{1, batch} {
		dir := b.fresh()
		db, err := pebble.Open(dir, &pebble.Options{Logger: quiet{}})
		if err != nil {
			return err
		}
		docs := documents(0, b.docs)
		m := start()
		for rest := docs; len(rest) > 0; {
			n := min(size, len(rest))
			w := db.NewBatch()
			for _, d := range rest[:n] {
				if err := w.Set([]byte(d.key), d.json, nil); err != nil {
					return errors.Join(err, db.Close())
				}
			}
			if err := w.Commit(pebble.Sync); err != nil {
				return errors.Join(err, db.Close())
			}
			rest = rest[n:]
		}
		b.say(m.stop(row{Scenario: fmt.Sprintf("limit-pebble-sync-batch%d", size), System: "limit"}, b.docs))
		if err := errors.Join(db.Close(), os.RemoveAll(dir)); err != nil {
			return err
		}
	}
	return nil
}

// quiet is no log.
type quiet struct{}

func (quiet) Infof(string, ...any)      {}
func (quiet) Errorf(string, ...any)     {}
func (quiet) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

// limitCrypto measures what a document cannot do without.
func (b *bench) limitCrypto(context.Context) error {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	data := make([]byte, blockSize)
	sig := ed25519.Sign(priv, data)
	k, iv := make([]byte, 32), make([]byte, aes.BlockSize)
	c, err := aes.NewCipher(k)
	if err != nil {
		return err
	}
	for _, one := range []struct {
		name string
		n    int
		do   func()
	}{
		{"limit-ed25519-sign", 10_000, func() { ed25519.Sign(priv, data) }},
		{"limit-ed25519-verify", 10_000, func() { ed25519.Verify(pub, data, sig) }},
		{"limit-hmac-sha256-256B", 200_000, func() { m := hmac.New(sha256.New, k); m.Write(data[:docSize]); m.Sum(nil) }},
		{"limit-sha256-768B", 200_000, func() { sha256.Sum256(data) }},
		{"limit-aes256ctr-256B", 200_000, func() { cipher.NewCTR(c, iv).XORKeyStream(data[:docSize], data[:docSize]) }},
	} {
		m := start()
		for range one.n {
			one.do()
		}
		b.say(m.stop(row{Scenario: one.name, System: "limit"}, one.n))
	}
	return nil
}

// limitStream sends the bytes of a cold sync over one bare libp2p stream.
func (b *bench) limitStream(ctx context.Context) error {
	for _, rtt := range b.rtts {
		w, err := newNetwork(2, rtt)
		if err != nil {
			return err
		}
		for _, n := range b.sizes {
			if err := b.copyStream(ctx, w, row{Scenario: "limit-stream-rtt" + rtt.String(), System: "limit", Docs: n}); err != nil {
				return errors.Join(err, w.close())
			}
		}
		if err := w.close(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) copyStream(ctx context.Context, w *network, label row) error {
	const proto = "/bench/copy/1"
	block := make([]byte, blockSize)
	w.hosts[0].SetStreamHandler(proto, func(s libp2pnet.Stream) {
		for range label.Docs {
			if _, err := s.Write(block); err != nil {
				break // the reader sees it
			}
		}
		_ = s.Close() // likewise
	})
	m := start()
	if err := w.connect(ctx, 1, 0); err != nil {
		return err
	}
	s, err := w.hosts[1].NewStream(ctx, w.hosts[0].ID(), proto)
	if err != nil {
		return err
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, s)
	if err == nil && n != int64(label.Docs)*blockSize {
		err = fmt.Errorf("%d bytes came", n)
	}
	if err != nil {
		return err
	}
	b.say(m.stop(label, label.Docs))
	return w.cut()
}

// limitBitswap fetches as many blocks as a cold sync by boxo's Bitswap, all asked
// for at once, from memory.
func (b *bench) limitBitswap(ctx context.Context) error {
	for _, rtt := range b.rtts {
		for _, n := range b.sizes {
			if rtt > 0 && n > b.sizes[0] {
				continue
			}
			if err := b.swap(ctx, rtt, row{Scenario: "limit-bitswap-rtt" + rtt.String(), System: "limit", Docs: n}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) swap(ctx context.Context, rtt time.Duration, label row) (err error) {
	w, err := newNetwork(2, rtt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	ctx, cancel := context.WithTimeout(ctx, b.patience)
	defer cancel()
	var stores [2]blockstore.Blockstore
	var swaps [2]*bitswap.Bitswap
	for i, h := range w.hosts {
		stores[i] = blockstore.NewBlockstore(dssync.MutexWrap(ds.NewMapDatastore()))
		swaps[i] = bitswap.New(ctx, bsnet.NewFromIpfsHost(h), nil, stores[i])
		defer swaps[i].Close()
	}
	ids := make([]cid.Cid, label.Docs)
	for i := range ids {
		data := make([]byte, blockSize)
		_, _ = rand.Read(data) // never fails
		blk := blocks.NewBlock(data)
		ids[i] = blk.Cid()
		if err := stores[0].Put(ctx, blk); err != nil {
			return err
		}
	}
	m := start()
	if err := w.connect(ctx, 1, 0); err != nil {
		return err
	}
	got, err := swaps[1].NewSession(ctx).GetBlocks(ctx, ids)
	if err != nil {
		return err
	}
	n := 0
	for range got {
		n++
	}
	if n < len(ids) {
		label.Note = fmt.Sprintf("%d of %d came in %s", n, len(ids), b.patience)
		b.say(label)
		return nil
	}
	b.say(m.stop(label, n))
	return nil
}
