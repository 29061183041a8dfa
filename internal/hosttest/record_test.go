package hosttest

import (
	"context"
	"io"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
)

// A needle written in two pieces is found on both ends, one never written is not.
func TestRecorderFindsWhatStreamsCarry(t *testing.T) {
	a, ra := Record(New(t))
	b, rb := Record(New(t))
	done := make(chan struct{})
	b.SetStreamHandler("/echo", func(s network.Stream) {
		defer close(done)
		defer s.Close()
		_, _ = io.Copy(s, s)
	})
	Connect(t, a, b)
	s, err := a.NewStream(context.Background(), b.ID(), "/echo")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"can", "ary"} {
		if _, err := s.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.CloseWrite()
	if back, err := io.ReadAll(s); err != nil || string(back) != "canary" {
		t.Fatalf("echo: %q, %v", back, err)
	}
	<-done
	for name, r := range map[string]*Recorder{"a": ra, "b": rb} {
		if !r.Contains([]byte("canary")) {
			t.Errorf("%s: canary not found", name)
		}
		if r.Contains([]byte("parrot")) {
			t.Errorf("%s: found what was never sent", name)
		}
		if n := r.Bytes()["/echo"]; n != 12 {
			t.Errorf("%s: %d bytes under /echo, want 12", name, n)
		}
	}
}
