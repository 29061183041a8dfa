package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

func networkScenarios() []scenario {
	return []scenario{
		{"propagate", (*bench).propagate},
		{"cold", (*bench).cold},
		{"catchup", (*bench).catchup},
		{"diverge", (*bench).diverge},
		{"converge", (*bench).converge},
	}
}

// meet runs f on n replicas of a fresh database that have met.
func (b *bench) meet(ctx context.Context, s system, n int, rtt time.Duration, f func(w *network, all []replica) error) error {
	w, err := newNetwork(n, rtt)
	if err != nil {
		return err
	}
	dir := b.fresh()
	all, err := s.Join(ctx, dir, w)
	if err == nil {
		err = f(w, all)
	}
	errs := []error{err}
	for i, r := range all {
		errs = append(errs, r.Close(), os.RemoveAll(fmt.Sprintf("%s-%d", dir, i)))
	}
	if err := errors.Join(append(errs, w.close())...); err != nil {
		return fmt.Errorf("%s: %w", s.Name(), err)
	}
	return nil
}

// unfinished turns a sync that did not finish into a row that says so.
func (b *bench) unfinished(r row, err error) error {
	if !errors.Is(err, errPatience) {
		return err
	}
	r.Note = err.Error()
	b.say(r)
	return nil
}

// propagate puts on one replica and waits until a reader of another sees it: alone,
// and 200 at once.
func (b *bench) propagate(ctx context.Context) error {
	for _, rtt := range b.rtts {
		for _, s := range b.systems {
			err := b.meet(ctx, s, 2, rtt, func(w *network, all []replica) error {
				if err := w.cut(); err != nil {
					return err
				}
				if err := w.connect(ctx, 1, 0); err != nil {
					return err
				}
				// The mesh forms after the connection; the first put takes longer.
				if _, err := b.singly(ctx, all, 0, 20); err != nil {
					return b.unfinished(row{Scenario: "propagate-warm", System: s.Name()}, err)
				}
				took, err := b.singly(ctx, all, 20, 100)
				label := row{Scenario: "propagate-rtt" + rtt.String(), System: s.Name()}
				if err != nil {
					return b.unfinished(label, err)
				}
				b.say(percentiles(label, took))
				return b.burst(ctx, w, all, row{Scenario: "propagate-burst200-rtt" + rtt.String(), System: s.Name()})
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// singly puts n documents, each once the one before has arrived.
func (b *bench) singly(ctx context.Context, all []replica, first, n int) ([]time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends what still waits
	var took []time.Duration
	for _, d := range documents(first, n) {
		seen, err := all[1].Seen(ctx, []string{d.key})
		if err != nil {
			return nil, err
		}
		begun := time.Now()
		if err := all[0].Put(ctx, []document{d}); err != nil {
			return nil, err
		}
		if err := b.wait(ctx, seen); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	return took, nil
}

// wait waits for a channel to be closed.
func (b *bench) wait(ctx context.Context, c <-chan struct{}) error {
	t := time.NewTimer(b.patience)
	defer t.Stop()
	select {
	case <-c:
		return nil
	case <-t.C:
		return fmt.Errorf("%w after %s", errPatience, b.patience)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// burst puts 200 documents by as many callers, and waits for the last to arrive.
func (b *bench) burst(ctx context.Context, w *network, all []replica, label row) error {
	const n = 200
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	docs := documents(1_000_000, n)
	keys := make([]string, n)
	for i, d := range docs {
		keys[i] = d.key
	}
	seen, err := all[1].Seen(ctx, keys)
	if err != nil {
		return err
	}
	before, m := w.bytes(b.settle), start()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range docs {
		wg.Go(func() { errs[i] = all[0].Put(ctx, docs[i:i+1]) })
	}
	wg.Wait()
	err = errors.Join(errs...)
	if err == nil {
		err = b.wait(ctx, seen)
	}
	if err != nil {
		return b.unfinished(label, err)
	}
	r := m.stop(label, n)
	r.WireBytes = round(float64(w.bytes(b.settle)-before) / n)
	b.say(r)
	return nil
}

// cold lets a replica that holds nothing meet one that holds everything.
func (b *bench) cold(ctx context.Context) error {
	for _, rtt := range b.rtts {
		for _, size := range []struct {
			name  string
			docs  []int
			batch int
		}{{"cold-single", b.sizes, 1}, {"cold-batches", b.bulk, batch}} {
			for _, n := range size.docs {
				if rtt > 0 && n > b.sizes[0] {
					continue // the line is measured once, not the machine again
				}
				for _, s := range b.systems {
					label := row{Scenario: size.name + "-rtt" + rtt.String(), System: s.Name(), Docs: n}
					err := b.meet(ctx, s, 2, rtt, func(w *network, all []replica) error {
						return b.behind(ctx, w, all, label, 0, n, size.batch)
					})
					if err != nil {
						return err
					}
					w, ok := s.(interface{ Whole() system })
					if !ok {
						continue
					}
					label.Scenario = size.name + "-history-rtt" + rtt.String()
					err = b.meet(ctx, w.Whole(), 2, rtt, func(w *network, all []replica) error {
						return b.behind(ctx, w, all, label, 0, n, size.batch)
					})
					if err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// catchup lets a replica that has missed 1,000 documents catch up, before a
// database of one size and of another: the cost should follow what it missed.
func (b *bench) catchup(ctx context.Context) error {
	const missed = 1000
	for _, n := range b.bulk {
		if n < 2*missed {
			continue
		}
		for _, s := range b.systems {
			label := row{Scenario: "catchup-1000", System: s.Name(), Docs: n}
			err := b.meet(ctx, s, 2, 0, func(w *network, all []replica) error {
				return b.behind(ctx, w, all, label, n-missed, missed, 1)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// behind brings two replicas to base documents, parts them, writes n more at the
// first, size at a time, and measures how long the second takes to have them all
// from the moment it dials.
func (b *bench) behind(ctx context.Context, w *network, all []replica, label row, base, n, size int) error {
	if err := fill(ctx, all[0], documents(0, base), batch); err != nil {
		return err
	}
	if err := until(ctx, all[1], base, b.patience); err != nil {
		label.Note = "before the parting: "
		return b.unfinished(label, err)
	}
	if err := w.cut(); err != nil {
		return err
	}
	if err := fill(ctx, all[0], documents(base, n), size); err != nil {
		return err
	}
	before, m := w.bytes(b.settle), start()
	if err := w.connect(ctx, 1, 0); err != nil {
		return err
	}
	if err := until(ctx, all[1], base+n, b.patience); err != nil {
		return b.unfinished(label, err)
	}
	r := m.stop(label, n)
	r.WireBytes = round(float64(w.bytes(b.settle)-before) / float64(n))
	b.say(r)
	return nil
}

// diverge lets two sides write apart, half of it on the same documents, and
// measures how long it takes from the moment they meet until both have it all.
func (b *bench) diverge(ctx context.Context) error {
	for _, n := range b.sizes {
		for _, s := range b.systems {
			label := row{Scenario: "diverge", System: s.Name(), Docs: n}
			err := b.meet(ctx, s, 2, 0, func(w *network, all []replica) error {
				if err := w.cut(); err != nil {
					return err
				}
				for i, r := range all {
					if err := fill(ctx, r, documents(i*n/2, n), 1); err != nil {
						return err
					}
				}
				m := start()
				if err := w.connect(ctx, 1, 0); err != nil {
					return err
				}
				for _, r := range all {
					if err := until(ctx, r, n+n/2, b.patience); err != nil {
						return b.unfinished(label, err)
					}
				}
				b.say(m.stop(label, 2*n))
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// converge lets everybody put at once and waits until everybody has everything.
func (b *bench) converge(ctx context.Context) error {
	for _, s := range b.systems {
		label := row{Scenario: fmt.Sprintf("converge-%dx%d", b.peers, b.each), System: s.Name()}
		err := b.meet(ctx, s, b.peers, 0, func(w *network, all []replica) error {
			before, said, m := w.bytes(b.settle), w.protocols(), start()
			errs := make([]error, len(all))
			var wg sync.WaitGroup
			for i, r := range all {
				wg.Go(func() { errs[i] = fill(ctx, r, documents(i*b.each, b.each), 1) })
			}
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				return err
			}
			total := len(all) * b.each
			for _, r := range all {
				if err := until(ctx, r, total, b.patience); err != nil {
					return b.unfinished(label, err)
				}
			}
			r := m.stop(label, total)
			r.Bytes, r.Protocols = w.bytes(b.settle)-before, since(w.protocols(), said)
			b.say(r)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
