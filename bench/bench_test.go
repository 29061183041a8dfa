package main

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"testing"
	"time"

	libp2pnet "github.com/libp2p/go-libp2p/core/network"
)

// Every scenario runs to its end with every system, small enough to be a test.
func TestEveryScenario(t *testing.T) {
	var out bytes.Buffer
	b := &bench{out: &out, tmp: t.TempDir(), config: config{
		run: regexp.MustCompile("."), systems: []system{toft{}, dsCRDT{}},
		docs: 100, sizes: []int{10, 20}, bulk: []int{2000}, rtts: []time.Duration{0, 10 * time.Millisecond},
		peers: 3, each: 5, patience: time.Minute, settle: time.Millisecond,
	}}
	for _, s := range scenarios() {
		if slices.Contains([]string{"large", "propagate", "catchup"}, s.name) {
			continue // a process of its own; a thousand puts of the slower system
		}
		if err := s.run(b, t.Context()); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		b.summarize()
	}
	seen := map[string][]string{}
	for line := range bytes.Lines(out.Bytes()) {
		var r row
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if r.Exponent == nil && r.Ratio == 0 && r.rate() == 0 {
			t.Errorf("no figure: %s", line)
		}
		seen[r.Scenario] = append(seen[r.Scenario], r.System)
	}
	for _, name := range []string{"put-fsync", "put-64-writers-fsync", "get-cached", "cold-single-rtt0s", "cold-single-rtt10ms", "diverge", "converge-3x5"} {
		for _, s := range []string{"toft", "go-ds-crdt", "toft / go-ds-crdt"} {
			if !slices.Contains(seen[name], s) {
				t.Errorf("%s has no row of %q, only %v", name, s, seen[name])
			}
		}
	}
}

// The workload is the same in every run and for every system.
func TestDocumentsAreOfOneSize(t *testing.T) {
	for i, d := range documents(0, 1000) {
		if len(d.json) != docSize || !json.Valid(d.json) || d.key != key(i) {
			t.Fatalf("%s has %d bytes: %s", d.key, len(d.json), d.json)
		}
		if again := documentAt(i, 0); !bytes.Equal(again.json, d.json) {
			t.Fatalf("two runs, two documents:\n%s\n%s", d.json, again.json)
		}
	}
	if bytes.Equal(documentAt(7, 1).json, documentAt(7, 2).json) {
		t.Error("an update changes nothing")
	}
}

// The delaying proxy delays what it says, once per direction.
func TestProxyDelays(t *testing.T) {
	const rtt = 100 * time.Millisecond
	w, err := newNetwork(2, rtt)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	w.hosts[0].SetStreamHandler("/echo", func(s libp2pnet.Stream) {
		buf := make([]byte, 1)
		for {
			if _, err := s.Read(buf); err != nil {
				return
			}
			if _, err := s.Write(buf); err != nil {
				return
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := w.connect(ctx, 1, 0); err != nil {
		t.Fatal(err)
	}
	s, err := w.hosts[1].NewStream(ctx, w.hosts[0].ID(), "/echo")
	if err != nil {
		t.Fatal(err)
	}
	echo := func() {
		if _, err := s.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	echo() // protocol negotiation
	begun := time.Now()
	echo()
	if took := time.Since(begun); took < rtt {
		t.Errorf("a round trip took %s, not at least %s", took, rtt)
	}
}
