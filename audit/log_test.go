package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/onbehalf/obo/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errStore = errors.New("disk on fire")

// disk is an appender in memory with faults of both kinds.
type disk struct {
	mu     sync.Mutex
	groups [][]store.AuditRecord // what is durable
	calls  int
	before func(call int, ctx context.Context) error // fails before it takes effect
	after  func(call int) error                      // persists, then fails
}

func (d *disk) AppendAudit(ctx context.Context, records []store.AuditRecord) error {
	d.mu.Lock()
	d.calls++
	call := d.calls
	d.mu.Unlock()
	if d.before != nil {
		if err := d.before(call, ctx); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.groups = append(d.groups, slices.Clone(records))
	if d.after != nil {
		return d.after(call)
	}
	return nil
}

func (d *disk) has(action string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(slices.Concat(d.groups...), func(r store.AuditRecord) bool { return r.ActionID == action })
}

func (d *disk) sizes() (out []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.groups {
		out = append(out, len(g))
	}
	return out
}

func record(action string) Record {
	return Record{ActionID: action, Kind: KindExchange, Outcome: OutcomeApproved, Org: "acme", Transaction: "t"}
}

func open(t *testing.T, c Config) *Log {
	t.Helper()
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func shut(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestOneRecordIsOneCommitAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		l := open(t, Config{Store: d})
		start := time.Now()
		for i := range 3 {
			if err := l.Record(t.Context(), record(fmt.Sprint("t.", i))); err != nil {
				t.Fatal(err)
			}
			if !d.has(fmt.Sprint("t.", i)) {
				t.Fatal("Record returned before the record was durable")
			}
		}
		if got := d.sizes(); !slices.Equal(got, []int{1, 1, 1}) || time.Since(start) != 0 {
			t.Errorf("groups %v after %s", got, time.Since(start))
		}
		shut(t, l)
	})
}

func TestAGroupFormsWhileTheOneBeforeCommits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := &disk{before: func(int, context.Context) error { <-release; return nil }}
		l := open(t, Config{Store: d, MaxGroup: 8})
		var wg sync.WaitGroup
		for i := range 13 {
			wg.Go(func() {
				if err := l.Record(t.Context(), record(fmt.Sprint("t.", i))); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		close(release)
		wg.Wait()
		if got := d.sizes(); !slices.Equal(got, []int{1, 8, 4}) {
			t.Errorf("groups %v", got)
		}
		for i, r := range slices.Concat(d.groups...) {
			if want := fmt.Sprint("t.", i); r.ActionID != want {
				t.Errorf("place %d holds %s: order is lost", i, r.ActionID)
			}
		}
		shut(t, l)
	})
}

// TestFaults: whatever the store does, nil means durable, and each caller gets the error of its own group.
func TestFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		disk    *disk
		durable []bool // records 0, 1, 2: one group each
		failed  []bool
	}{
		{"fails before", &disk{before: second}, []bool{true, false, true}, []bool{false, true, false}},
		{"persists, then fails", &disk{after: func(n int) error { return second(n, nil) }}, []bool{true, true, true}, []bool{false, true, false}},
	}
	for _, tt := range tests {
		l := open(t, Config{Store: tt.disk})
		for i := range 3 {
			action := fmt.Sprint("t.", i)
			err := l.Record(t.Context(), record(action))
			if (err != nil) != tt.failed[i] || err != nil && !errors.Is(err, errStore) || tt.disk.has(action) != tt.durable[i] {
				t.Errorf("%s: record %d: error %v, durable %v", tt.name, i, err, tt.disk.has(action))
			}
		}
		if tt.disk.calls != 3 {
			t.Errorf("%s: %d calls: a failed group must not be written again", tt.name, tt.disk.calls)
		}
		shut(t, l)
	}
}

func second(call int, _ context.Context) error {
	if call == 2 {
		return errStore
	}
	return nil
}

func TestAStoreThatHangsFailsItsGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &disk{before: func(call int, ctx context.Context) error {
			if call > 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}}
		l := open(t, Config{Store: d, Timeout: 3 * time.Second})
		start := time.Now()
		err := l.Record(t.Context(), record("t.0"))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		if err := l.Record(t.Context(), record("t.1")); err != nil {
			t.Errorf("the next group: %v", err)
		}
		shut(t, l)
	})
}

func TestAFullQueueRefusesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := &disk{before: func(int, context.Context) error { <-release; return nil }}
		l := open(t, Config{Store: d, MaxQueue: 2})
		var wg sync.WaitGroup
		for i := range 3 { // one in flight, two waiting
			wg.Go(func() {
				if err := l.Record(t.Context(), record(fmt.Sprint("t.", i))); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		if err := l.Record(t.Context(), record("t.3")); !errors.Is(err, ErrFull) {
			t.Errorf("error %v", err)
		}
		close(release)
		wg.Wait()
		shut(t, l)
		if d.has("t.3") {
			t.Error("a refused record was written")
		}
	})
}

// TestACallerThatLeaves gets an error, and its place in the next group is given up; others are not disturbed.
func TestACallerThatLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := &disk{before: func(int, context.Context) error { <-release; return nil }}
		l := open(t, Config{Store: d})
		var wg sync.WaitGroup
		leave := func(action string) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := l.Record(ctx, record(action)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", action, err)
			}
		}
		wg.Go(func() { leave("t.inflight") })
		synctest.Wait()
		wg.Go(func() { leave("t.waiting") })
		wg.Go(func() {
			if err := l.Record(t.Context(), record("t.stays")); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(2 * time.Second)
		close(release)
		wg.Wait()
		shut(t, l)
		if !d.has("t.inflight") || d.has("t.waiting") || !d.has("t.stays") {
			t.Errorf("durable: %v", d.groups)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Record(gone, record("t.gone")); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that is gone: %v", err)
		}
	})
}

func TestCloseDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := &disk{before: func(int, context.Context) error { <-release; return nil }}
		l := open(t, Config{Store: d})
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				if err := l.Record(t.Context(), record(fmt.Sprint("t.", i))); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		wg.Go(func() { shut(t, l) })
		synctest.Wait()
		if err := l.Record(t.Context(), record("t.late")); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		close(release)
		wg.Wait()
		if n := len(slices.Concat(d.groups...)); n != 5 {
			t.Errorf("%d records are durable", n)
		}
		shut(t, l) // again is harmless
	})
}

func TestCloseGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &disk{before: func(_ int, ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		l := open(t, Config{Store: d, Timeout: time.Hour})
		failed := make(chan error, 1)
		go func() { failed <- l.Record(t.Context(), record("t.0")) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller that waited: %v", err)
		}
	})
}

// TestNilMeansDurable walks through random faults under concurrency.
func TestNilMeansDurable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		faults := rapid.SliceOfN(rapid.IntRange(0, 2), 64, 64).Draw(t, "faults")
		fault := func(kind int) func(int) error {
			return func(call int) error {
				if faults[call%len(faults)] == kind {
					return errStore
				}
				return nil
			}
		}
		d := &disk{after: fault(2)}
		d.before = func(call int, _ context.Context) error { return fault(1)(call) }
		l, err := Open(Config{Store: d, MaxGroup: rapid.IntRange(1, 4).Draw(t, "group")})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range rapid.IntRange(1, 32).Draw(t, "records") {
			wg.Go(func() {
				action := fmt.Sprint("t.", i)
				if err := l.Record(context.Background(), record(action)); err == nil && !d.has(action) {
					t.Errorf("%s: nil, and not durable", action)
				} else if err != nil && !errors.Is(err, errStore) {
					t.Errorf("%s: %v", action, err)
				}
			})
		}
		wg.Wait()
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestOpenRefusesNoStore(t *testing.T) {
	t.Parallel()
	if l, err := Open(Config{}); err == nil || l != nil {
		t.Errorf("Open = %v, %v", l, err)
	}
}

func TestAnInvalidRecordNeverReachesTheGroup(t *testing.T) {
	t.Parallel()
	d := &disk{}
	l := open(t, Config{Store: d})
	defer shut(t, l)
	r := record("t.0")
	r.Subject = strings.Repeat("a", 10_000)
	if err := l.Record(t.Context(), r); !errors.Is(err, ErrInvalid) || d.calls != 0 {
		t.Errorf("error %v after %d calls", err, d.calls)
	}
}
