package gossip

import (
	"encoding/binary"
	"testing"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
)

func messageIDOf(s string) string { return messageID(&pb.Message{Data: []byte(s)}) }

// The follower of frames is at a boundary exactly between frames, however the
// bytes are cut.
func TestFrameBoundaries(t *testing.T) {
	var wire []byte
	ends := map[int]bool{0: true}
	for _, n := range []int{0, 1, 127, 128, 300, 20000} {
		wire = append(binary.AppendUvarint(wire, uint64(n)), make([]byte, n)...)
		ends[len(wire)] = true
	}
	for _, step := range []int{1, 2, 7, 129, len(wire)} {
		var f frame
		for at := 0; ; {
			if f.boundary() != ends[at] {
				t.Fatalf("step %d: boundary at %d is %v", step, at, f.boundary())
			}
			if at == len(wire) {
				break
			}
			n := min(step, len(wire)-at)
			f.advance(wire[at : at+n])
			at += n
		}
	}
}

func TestEmptyRPCIsOne(t *testing.T) {
	e := emptyRPC()
	n, k := binary.Uvarint(e)
	var rpc pb.RPC
	if int(n) != len(e)-k || rpc.Unmarshal(e[k:]) != nil || rpc.Control == nil {
		t.Fatalf("%x does not decode to an RPC with a control message", e)
	}
}
