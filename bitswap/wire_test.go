package bitswap

import (
	"bytes"
	"context"
	"encoding/hex"
	"testing"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-msgio"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/hosttest"
)

// The bytes on the wire, as docs/format.md shows them.
func TestWireBytes(t *testing.T) {
	data := []byte("toft")
	id := block.Sum(data)
	cidHex := hex.EncodeToString([]byte(prefix)) + hex.EncodeToString(id[:])
	want, cancel := wantlists([]op{{id: id}})[0], wantlists([]op{{id: id, cancel: true}})[0]
	blk, err := blocks.NewBlockWithCid(data, cidOf(id))
	if err != nil {
		t.Fatal(err)
	}
	got, none := bsmsg.New(false), bsmsg.New(false)
	got.AddBlock(blk)
	none.AddDontHave(cidOf(id))
	for name, c := range map[string]struct {
		m   bsmsg.BitSwapMessage
		hex string
	}{
		"want":      {want, "32" + "0a30" + "0a2e" + "0a24" + cidHex + "10feffffff07" + "2801"},
		"cancel":    {cancel, "2c" + "0a2a" + "0a28" + "0a24" + cidHex + "1801"},
		"block":     {got, "10" + "0a00" + "1a0c" + "0a0401551220" + "1204" + hex.EncodeToString(data)},
		"dont have": {none, "2c" + "0a00" + "2228" + "0a24" + cidHex + "1001"},
	} {
		var b bytes.Buffer
		if err := c.m.ToNetV1(&b); err != nil {
			t.Fatal(err)
		}
		if h := hex.EncodeToString(b.Bytes()); h != c.hex {
			t.Errorf("%s:\n got %s\nwant %s", name, h, c.hex)
		}
	}
}

// Of several entries about one block the last one counts, and order is priority.
func TestWantlistsFoldEntries(t *testing.T) {
	x, y, z := block.ID{1}, block.ID{2}, block.ID{3}
	list := wantlists([]op{{id: x}, {id: y}, {id: x, cancel: true}, {id: z, cancel: true}, {id: z}})
	if len(list) != 1 {
		t.Fatalf("%d messages", len(list))
	}
	cancels, priority := map[block.ID]bool{}, map[block.ID]int32{}
	for _, e := range list[0].Wantlist() {
		id, _ := idOf(e.Cid)
		cancels[id], priority[id] = e.Cancel, e.Priority
	}
	if len(cancels) != 3 || !cancels[x] || cancels[y] || cancels[z] || priority[y] <= priority[z] {
		t.Errorf("cancels %v, priorities %v", cancels, priority)
	}
	var many []op
	for i := range 2*maxWants + 1 {
		many = append(many, op{id: block.ID{byte(i), byte(i >> 8), 1}})
	}
	if list := wantlists(many); len(list) != 3 || len(list[2].Wantlist()) != 1 {
		t.Errorf("%d messages for %d entries", len(list), len(many))
	}
}

// Whatever a peer sends is either handled or ends its stream.
func FuzzReceive(f *testing.F) {
	id := block.Sum([]byte("toft"))
	for _, m := range []bsmsg.BitSwapMessage{wantlists([]op{{id: id}})[0], wantlists([]op{{id: id, cancel: true}})[0]} {
		var b bytes.Buffer
		_ = m.ToNetV1(&b)
		f.Add(b.Bytes())
	}
	m := bsmsg.New(true)
	blk, _ := blocks.NewBlockWithCid([]byte("toft"), cidOf(id))
	m.AddBlock(blk)
	m.AddDontHave(cidOf(block.ID{1}))
	m.AddHave(cidOf(block.ID{2}))
	var b bytes.Buffer
	_ = m.ToNetV1(&b)
	f.Add(b.Bytes())
	f.Add([]byte{0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})

	n := open(f, hosttest.New(f))
	n.disk.add([]byte("toft"))
	ctx, cancel := context.WithCancel(context.Background())
	f.Cleanup(cancel)
	go func() { _, _ = n.Get(ctx, block.ID{9}, nil) }()
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := msgio.NewVarintReaderSize(bytes.NewReader(wire), maxMessage)
		for {
			m, _, err := bsmsg.FromMsgReader(r)
			if err != nil || n.receive("peer", m) != nil {
				return
			}
		}
	})
}
