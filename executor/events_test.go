package executor_test

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

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/store"
)

// eventLog is a store of one org's events that counts how often it is read.
type eventLog struct {
	mu     sync.Mutex
	gone   uint64 // as many are not kept
	head   uint64
	reads  int
	broken error
}

func (l *eventLog) ConnectionEvents(_ context.Context, after uint64, limit int) (out []store.ConnectionEvent, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	for n := max(after, l.gone) + 1; n <= l.head && len(out) < limit; n++ {
		out = append(out, store.ConnectionEvent{Sequence: n, Connection: fmt.Sprint("c", n)})
	}
	return out, l.broken
}

func (l *eventLog) ConnectionHead(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head, l.broken
}

func (l *eventLog) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func newEvents(t *testing.T, l *eventLog) *executor.Events {
	t.Helper()
	e, err := executor.NewEvents(func(delegation.OrgID) executor.EventStore { return l })
	must(t, err)
	return e
}

// watcher is one that runs.
type watcher struct {
	mu   sync.Mutex
	seen []uint64
	done chan error
	stop context.CancelFunc
}

func watch(t *testing.T, e *executor.Events, after *uint64) *watcher {
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{done: make(chan error, 1), stop: cancel}
	go func() {
		w.done <- e.Watch(ctx, "acme", after, func() error { return nil }, func(e store.ConnectionEvent) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.seen = append(w.seen, e.Sequence)
			return nil
		})
	}()
	return w
}

func (w *watcher) saw() []uint64 {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

func numbers(from, to uint64) (out []uint64) {
	for n := from; n <= to; n++ {
		out = append(out, n)
	}
	return out
}

// TestWatch: every event after the number, once and in order, across pages; without one, those from now on; and all who have seen
// everything cost the store one look a second.
func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &eventLog{head: 1200}
		e := newEvents(t, l)
		all, some, fresh := watch(t, e, new(uint64(0))), watch(t, e, new(uint64(1198))), watch(t, e, nil)
		time.Sleep(3 * time.Second)
		if got := all.saw(); !slices.Equal(got, numbers(1, 1200)) {
			t.Errorf("%d events from the beginning", len(got))
		}
		if got := some.saw(); !slices.Equal(got, numbers(1199, 1200)) {
			t.Errorf("%v after 1198", got)
		}
		if got := fresh.saw(); len(got) != 0 {
			t.Errorf("%v from now on", got)
		}
		l.change(func() { l.reads = 0 })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		l.change(func() {
			if l.reads > 11 {
				t.Errorf("three who wait read the store %d times in 10 s", l.reads)
			}
			l.head = 2400 // more than a page
		})
		time.Sleep(3 * time.Second)
		for _, w := range []*watcher{all, some, fresh} {
			if got := w.saw(); len(got) < 1200 || !slices.Equal(got[len(got)-1200:], numbers(1201, 2400)) {
				t.Errorf("%d events", len(got))
			}
			w.stop()
			if err := <-w.done; !errors.Is(err, context.Canceled) {
				t.Errorf("it ends with %v", err)
			}
		}
	})
}

// TestWatchPassesNothingOver: what is not kept any more, or is not of this database, is said, at the start and later.
func TestWatchPassesNothingOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refused := func(l *eventLog, after uint64, want string) {
			t.Helper()
			err := newEvents(t, l).Watch(t.Context(), "acme", &after, func() error { return nil }, func(store.ConnectionEvent) error { return nil })
			if e, ok := errors.AsType[*executor.Error](err); !ok || e.Reason != executor.InvalidRequest || e.Field != "after" ||
				!strings.Contains(e.Description, want) {
				t.Errorf("after %d of %d, %d gone: %v", after, l.head, l.gone, err)
			}
		}
		refused(&eventLog{head: 9, gone: 3}, 0, "events 1 to 3 are not kept any more: an event is kept for 30 days")
		refused(&eventLog{head: 9, gone: 3}, 2, "go on after 3")
		refused(&eventLog{head: 9, gone: 9}, 4, "events 5 to 9")
		refused(&eventLog{head: 9}, 10, "no event has number 10: the newest is 9")

		l := &eventLog{head: 9, gone: 9}
		w := watch(t, newEvents(t, l), new(uint64(9))) // all that there was
		synctest.Wait()
		l.change(func() { l.head, l.gone = 20, 12 }) // it was paused for long
		time.Sleep(2 * time.Second)
		if e, ok := errors.AsType[*executor.Error](<-w.done); !ok || !strings.Contains(e.Description, "events 10 to 12") {
			t.Errorf("ends with %v", e)
		}
		l.broken = errors.New("away")
		err := newEvents(t, l).Watch(t.Context(), "acme", nil, func() error { return nil }, nil)
		if e, ok := errors.AsType[*executor.Error](err); !ok || e.Reason != executor.DependencyUnavailable {
			t.Errorf("without its store: %v", err)
		}
	})
}

// TestWatchIsBounded: who comes too late is refused, and let in when another has left.
func TestWatchIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEvents(t, &eventLog{})
		var all []*watcher
		for range 16 {
			all = append(all, watch(t, e, nil))
		}
		synctest.Wait()
		late := watch(t, e, nil)
		if e, ok := errors.AsType[*executor.Error](<-late.done); !ok || e.Reason != executor.RateLimited {
			t.Errorf("one too many: %v", e)
		}
		all[0].stop()
		<-all[0].done
		again := watch(t, e, nil)
		synctest.Wait()
		select {
		case err := <-again.done:
			t.Errorf("refused after another had left: %v", err)
		default:
		}
		for _, w := range append(all[1:], again) {
			w.stop()
			<-w.done
		}
	})
}
