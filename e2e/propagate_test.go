package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/internal/hosttest"
	"github.com/toftdb/toft/node/api"
	"github.com/toftdb/toft/node/nodetest"
)

// BenchmarkPutToWatch measures how long a put on one peer takes until a watch on
// another shows it, on loopback with real disks, and beside it, in the same run,
// what a bare GossipSub message of about the same size takes.
func BenchmarkPutToWatch(b *testing.B) {
	ctx := b.Context()
	_, _, onA, onB := pair(b)
	live := watching(ctx, onB)
	body := strings.Repeat("x", 180)
	var took []time.Duration
	i := 0
	for b.Loop() {
		start := time.Now()
		_, err := onA.Put(ctx, api.Doc{"_id": fmt.Sprintf("doc-%08d", i), "body": body, "n": i})
		require.NoError(b, err)
		<-live
		took = append(took, time.Since(start))
		i++
	}
	report(b, took)
}

// BenchmarkBareGossip is the floor of [BenchmarkPutToWatch]: no disk, no sealing,
// no signature, no database.
func BenchmarkBareGossip(b *testing.B) {
	ctx := b.Context()
	one, two := hosttest.New(b, hosttest.TCP), hosttest.New(b, hosttest.TCP)
	var topics []*pubsub.Topic
	var subs []*pubsub.Subscription
	options := []pubsub.Option{
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor(), pubsub.WithFloodPublish(true),
		pubsub.WithMessageIdFn(func(m *pb.Message) string { return string(m.Data[:8]) }), // without an author all have one id
	}
	ps1, err := pubsub.NewGossipSub(ctx, one, options...)
	require.NoError(b, err)
	ps2, err := pubsub.NewGossipSub(ctx, two, options...)
	require.NoError(b, err)
	for _, ps := range []*pubsub.PubSub{ps1, ps2} {
		topic, err := ps.Join("bare")
		require.NoError(b, err)
		sub, err := topic.Subscribe()
		require.NoError(b, err)
		topics, subs = append(topics, topic), append(subs, sub)
	}
	hosttest.Connect(b, one, two)
	nodetest.Until(ctx, b, "mesh", func() bool { return len(topics[0].ListPeers()) == 1 && len(topics[1].ListPeers()) == 1 })
	ping(ctx, b, topics[0], subs[1], 0)
	var took []time.Duration
	i := 1
	for b.Loop() {
		took = append(took, ping(ctx, b, topics[0], subs[1], i))
		i++
	}
	report(b, took)
}

// ping publishes ~900 bytes, as a put of ~250 does, and waits for them.
func ping(ctx context.Context, b *testing.B, topic *pubsub.Topic, sub *pubsub.Subscription, i int) time.Duration {
	msg := fmt.Appendf(nil, "%08d%s", i, strings.Repeat("x", 900))
	start := time.Now()
	require.NoError(b, topic.Publish(ctx, msg))
	_, err := sub.Next(ctx)
	require.NoError(b, err)
	return time.Since(start)
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
}
