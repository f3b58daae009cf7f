package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Operation does one thing once. worker is below the number of workers, so that an operation may keep state for each.
type Operation func(ctx context.Context, worker int) error

// Result is what a run measured.
type Result struct {
	Rate     float64       `json:"rate"` // done without error, per second
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	P999     time.Duration `json:"p99_9_ns"`
	Max      time.Duration `json:"max_ns"`
	Done     uint64        `json:"done"`
	Errors   uint64        `json:"errors"`
	FirstErr string        `json:"first_error,omitempty"`
	Elapsed  time.Duration `json:"elapsed_ns"`
	CPU      time.Duration `json:"server_cpu_ns,omitempty"` // for each request; 0 when the server's process is not known
}

// tally is one worker's count.
type tally struct {
	h      Histogram
	errors uint64
	first  error
}

func (t *tally) record(d time.Duration, err error) {
	if err == nil {
		t.h.Record(d)
		return
	}
	t.errors++
	if t.first == nil {
		t.first = err
	}
}

func sum(tallies []tally, elapsed time.Duration) Result {
	var all Histogram
	r := Result{Elapsed: elapsed}
	for i := range tallies {
		all.Add(&tallies[i].h)
		r.Errors += tallies[i].errors
		if r.FirstErr == "" && tallies[i].first != nil {
			r.FirstErr = tallies[i].first.Error()
		}
	}
	r.Done = all.Count()
	r.Rate = float64(r.Done) / elapsed.Seconds()
	r.P50, r.P99, r.P999, r.Max = all.Quantile(.5), all.Quantile(.99), all.Quantile(.999), all.Max()
	return r
}

// Closed runs an operation in a closed loop: each worker starts the next as soon as its last is done. It shows what a server
// can do; its latencies are those of clients that wait for it. What is under way when the time is up is waited for and
// counts: cutting it off would hide the slowest.
func Closed(ctx context.Context, workers int, d time.Duration, op Operation) Result {
	tallies := make([]tally, workers)
	var wg sync.WaitGroup
	begin := time.Now()
	for w := range workers {
		wg.Go(func() {
			for ctx.Err() == nil && time.Since(begin) < d {
				start := time.Now()
				err := op(ctx, w)
				tallies[w].record(time.Since(start), err)
			}
		})
	}
	wg.Wait()
	return sum(tallies, time.Since(begin))
}

// Open runs an operation in an open loop: rate times a second, whether or not earlier ones are done, as independent clients
// do. Latency counts from the moment when an operation was due, not from when a worker was free to start it, so that a
// server that stalls is charged for all who waited (coordinated omission). Operations still due when the run ends are done,
// for at most as long as the run again; what then is left counts as errors.
func Open(ctx context.Context, workers int, d time.Duration, rate float64, op Operation) Result {
	ctx, cancel := context.WithTimeout(ctx, 2*d)
	defer cancel()
	total := int64(rate * d.Seconds())
	interval := float64(time.Second) / rate
	tallies := make([]tally, workers)
	var next atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for w := range workers {
		wg.Go(func() {
			for {
				n := next.Add(1) - 1
				if n >= total {
					return
				}
				due := begin.Add(time.Duration(float64(n) * interval))
				if !sleepUntil(ctx, due) {
					tallies[w].record(0, ctx.Err())
					continue
				}
				err := op(ctx, w)
				tallies[w].record(time.Since(due), err)
			}
		})
	}
	wg.Wait()
	return sum(tallies, max(time.Since(begin), d))
}

// sleepUntil waits until t; it is false when ctx ended first.
func sleepUntil(ctx context.Context, t time.Time) bool {
	if ctx.Err() != nil {
		return false
	}
	wait := time.Until(t)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
