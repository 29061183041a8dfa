package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// row is one line of the result. Zero fields are left out.
type row struct {
	Scenario  string  `json:"scenario"`
	System    string  `json:"system,omitempty"`
	Docs      int     `json:"docs,omitempty"`
	Seconds   float64 `json:"seconds,omitempty"`
	PerSecond float64 `json:"perSecond,omitempty"` // documents or operations
	P50       float64 `json:"p50ms,omitempty"`     // of single operations
	P99       float64 `json:"p99ms,omitempty"`
	WireBytes float64 `json:"wireBytesPerDoc,omitempty"` // both directions, libp2p's count
	CPUMicros float64 `json:"cpuMicrosPerDoc,omitempty"` // of the whole process: all peers
	Bytes     int64   `json:"bytes,omitempty"`
	// Protocols is what of Bytes or WireBytes went over which protocol; the rest is
	// framing and encryption of connections.
	Protocols   map[string]int64 `json:"protocols,omitempty"`
	BytesPerDoc float64          `json:"bytesPerDoc,omitempty"`
	Ratio       float64          `json:"ratio,omitempty"`    // of rates: above 1 the first is faster
	Exponent    *float64         `json:"exponent,omitempty"` // of the time per document over the number of documents
	Note        string           `json:"note,omitempty"`
}

// bench is one run.
type bench struct {
	config
	out  io.Writer
	tmp  string
	made int
	rows []row // since the last summary
}

// fresh makes a directory that nothing has used.
func (b *bench) fresh() string {
	b.made++
	return filepath.Join(b.tmp, fmt.Sprint(b.made))
}

func (b *bench) say(r row) {
	line, err := json.Marshal(r)
	if err != nil {
		panic(err) // a struct of numbers and text
	}
	fmt.Fprintf(b.out, "%s\n", line)
	b.rows = append(b.rows, r)
}

// rate is the measure by which rows compare: more is better.
func (r row) rate() float64 {
	switch {
	case r.PerSecond > 0:
		return r.PerSecond
	case r.P50 > 0:
		return 1000 / r.P50
	case r.Seconds > 0:
		return 1 / r.Seconds
	case r.Bytes > 0:
		return 1 / float64(r.Bytes)
	}
	return 0
}

// summarize prints how the first system compares to the others, scenario by
// scenario, and how each grows over its sizes.
func (b *bench) summarize() {
	rows := b.rows
	b.rows = nil
	for _, r := range rows {
		if r.System != "toft" || r.rate() == 0 {
			continue
		}
		for _, o := range rows {
			if o.Scenario == r.Scenario && o.Docs == r.Docs && o.System != r.System && o.rate() > 0 {
				b.say(row{Scenario: r.Scenario, System: "toft / " + o.System, Docs: r.Docs, Ratio: round(r.rate() / o.rate())})
			}
		}
	}
	var done []string
	for _, r := range rows {
		key := r.Scenario + " " + r.System
		if slices.Contains(done, key) || r.Docs == 0 {
			continue
		}
		done = append(done, key)
		for _, o := range rows {
			if o.Scenario == r.Scenario && o.System == r.System && o.Docs > r.Docs && r.rate() > 0 && o.rate() > 0 {
				e := round(math.Log(r.rate()/o.rate()) / math.Log(float64(o.Docs)/float64(r.Docs)))
				b.say(row{Scenario: r.Scenario, System: r.System, Exponent: &e, Note: fmt.Sprintf("from %d to %d", r.Docs, o.Docs)})
			}
		}
	}
	b.rows = nil
}

func round(x float64) float64 { return math.Round(x*1000) / 1000 }

// meter measures wall time and the process's CPU time.
type meter struct {
	begun time.Time
	cpu   time.Duration
}

func start() meter { return meter{time.Now(), cpuTime()} }

// stop fills in what n documents cost.
func (m meter) stop(r row, n int) row {
	wall := time.Since(m.begun).Seconds()
	r.Seconds = math.Round(wall*1e6) / 1e6
	r.PerSecond = math.Round(float64(n) / wall)
	r.CPUMicros = math.Round(float64((cpuTime()-m.cpu).Microseconds())/float64(n)*100) / 100
	return r
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// percentiles fills in the median and the 99th of some durations.
func percentiles(r row, all []time.Duration) row {
	slices.Sort(all)
	ms := func(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e3 }
	r.P50, r.P99 = ms(all[len(all)/2]), ms(all[len(all)*99/100])
	return r
}

// load is the load of the machine over the last minute: above a fraction, figures
// are those of a crowd.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(data), " ")
	return one
}
