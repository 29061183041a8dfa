// Command bench runs one workload against Toft and its peers, side by side in one
// process on one machine, and says how close each comes to what the hardware allows.
//
//	go run . -run 'put|get' -docs 10000
//	go run . -run 'cold' -sizes 1000,10000 -rtt 0,50ms
//
// Every measure is one line of JSON on stdout ([row]); after the systems of a
// scenario follow their ratios, and after its sizes the exponent of growth: 0 is
// "costs the same per document however many there are", 1 is "twice the documents,
// twice the cost of each". A figure alone means little, for machines differ; the
// ratios within one run are what is claimed.
//
// Each system lies on the same store (internal/store, Pebble) and on libp2p hosts
// made the same way. A file holds one family of scenarios; toft.go and dscrdt.go
// are the systems.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"
)

// config is what the command line chooses.
type config struct {
	run      *regexp.Regexp
	systems  []system
	profile  string
	dir      string // where stores are made; removed afterwards
	docs     int    // documents of local scenarios
	large    int    // documents of the random get, reopen and RSS
	sizes    []int  // of cold syncs, written one at a time
	bulk     []int  // of cold syncs and catch-ups, written in batches of 100
	rtts     []time.Duration
	peers    int // of converge
	each     int // documents each of them puts
	patience time.Duration
	settle   time.Duration // before bytes are read, and between looks at a store
}

// scenario is one measure over all systems.
type scenario struct {
	name string
	run  func(b *bench, ctx context.Context) error
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := 0
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		code = 1
	}
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) error {
	if len(args) == 3 && args[0] == "measure-open" {
		return measureOpen(ctx, args[1], args[2]) // a child of the rss scenario
	}
	c, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.dir, "toft-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if c.profile != "" {
		to, err := os.Create(c.profile)
		if err != nil {
			return err
		}
		defer to.Close()
		if err := pprof.StartCPUProfile(to); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	b := &bench{config: c, out: os.Stdout, tmp: dir}
	b.say(row{Scenario: "machine", Note: fmt.Sprintf("%s, %s/%s, %d cores, load %s, %s", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), load(), time.Now().UTC().Format(time.RFC3339))})
	for _, s := range scenarios() {
		if !c.run.MatchString(s.name) {
			continue
		}
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		b.summarize()
	}
	return nil
}

func scenarios() []scenario {
	var all []scenario
	all = append(all, limitScenarios()...)
	all = append(all, localScenarios()...)
	return append(all, networkScenarios()...)
}

func parse(args []string) (config, error) {
	c := config{settle: settled}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	pattern := f.String("run", ".", "scenarios whose name matches this expression")
	only := f.String("systems", "toft,go-ds-crdt", "systems to run")
	f.StringVar(&c.dir, "dir", "", "where to make stores (default: the temporary directory)")
	f.IntVar(&c.docs, "docs", 10_000, "documents of the local scenarios")
	f.IntVar(&c.large, "large", 100_000, "documents of the random get, reopen, disk and RSS")
	sizes := f.String("sizes", "1000,10000", "documents of cold syncs, written one at a time")
	bulk := f.String("bulk", "10000,100000", "documents of cold syncs and catch-ups, written in batches of 100")
	rtts := f.String("rtt", "0s,50ms", "round-trip times, by a delaying proxy")
	f.IntVar(&c.peers, "peers", 10, "peers of converge")
	f.IntVar(&c.each, "each", 100, "documents each of them puts")
	f.DurationVar(&c.patience, "patience", 3*time.Minute, "how long to wait for a sync before it counts as not finished")
	f.StringVar(&c.profile, "cpuprofile", "", "write a CPU profile of the whole run to this file")
	list := f.Bool("list", false, "print the scenarios and end")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if *list {
		for _, s := range scenarios() {
			fmt.Println(s.name)
		}
	}
	var err error
	if c.run, err = regexp.Compile(*pattern); err != nil {
		return c, err
	}
	if *list {
		c.run = regexp.MustCompile("^$")
	}
	for name := range strings.SplitSeq(*only, ",") {
		s, err := systemOf(name)
		if err != nil {
			return c, err
		}
		c.systems = append(c.systems, s)
	}
	if c.sizes, err = split(*sizes, strconv.Atoi); err != nil {
		return c, err
	}
	if c.bulk, err = split(*bulk, strconv.Atoi); err != nil {
		return c, err
	}
	c.rtts, err = split(*rtts, time.ParseDuration)
	return c, err
}

func split[T any](list string, parse func(string) (T, error)) ([]T, error) {
	var out []T
	for s := range strings.SplitSeq(list, ",") {
		v, err := parse(s)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
