package storetest

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/onbehalf/obo/store"
)

// at is a time with all the digits that a store keeps.
func at(seconds int) time.Time {
	return time.Date(2026, 3, 4, 5, 6, 7, 123456000, time.UTC).Add(time.Duration(seconds) * time.Second)
}

func key(b byte) (k [32]byte) {
	k[0], k[31] = b, 1
	return k
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

// got passes a method's value on and fails the test on its error.
func got[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

// equal compares values, taking an empty list for a nil one, and demands UTC of every time.
func equal[T any](t testing.TB, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b time.Time) bool {
		return a.Equal(b) && a.Location() == b.Location()
	})); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
}

// race calls f from n goroutines at once, of which one must succeed and all others must meet store.ErrConflict.
func race(t testing.TB, n int, f func(i int) error) {
	t.Helper()
	start, errs := make(chan struct{}), make([]error, n)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wait.Wait()
	winners := 0
	for _, err := range errs {
		if err == nil {
			winners++
		} else if !errors.Is(err, store.ErrConflict) {
			t.Errorf("a loser got %v, want store.ErrConflict", err)
		}
	}
	if winners != 1 {
		t.Fatalf("%d of %d won, want 1", winners, n)
	}
}

// inOrder proves that numbers become visible in the order in which they are given: while n writers write, a reader that
// goes on from the last number it saw must in the end have seen every one.
func inOrder(t testing.TB, n int, write func(i int) error, read func(after uint64) ([]uint64, error)) {
	t.Helper()
	written := make(chan struct{})
	errs := make([]error, n)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { errs[i] = write(i) })
	}
	go func() {
		wait.Wait()
		close(written)
	}()
	var seen []uint64
	last := uint64(0)
	for done := false; ; {
		select {
		case <-written:
			done = true
		default:
		}
		page, err := read(last)
		ok(t, err)
		for _, sequence := range page {
			if sequence <= last {
				t.Fatalf("read %d after %d", sequence, last)
			}
			last = sequence
		}
		seen = append(seen, page...)
		if done && len(page) == 0 {
			break
		}
	}
	ok(t, errors.Join(errs...))
	if len(seen) != n {
		t.Fatalf("the reader saw %d of %d: a number was committed behind its back", len(seen), n)
	}
}

// cancelled calls every method of a handle with a context that has ended. Each must say so.
func cancelled(t *testing.T, handle any) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v := reflect.ValueOf(handle)
	for i := range v.NumMethod() {
		m, name := v.Method(i), v.Type().Method(i).Name
		kind := m.Type()
		if kind.NumIn() == 0 || kind.In(0) != reflect.TypeFor[context.Context]() {
			continue
		}
		args := []reflect.Value{reflect.ValueOf(ctx)}
		for j := 1; j < kind.NumIn(); j++ {
			arg := reflect.New(kind.In(j)).Elem()
			if arg.CanInt() {
				arg.SetInt(1)
			}
			args = append(args, arg)
		}
		out := m.Call(args)
		if err, _ := out[len(out)-1].Interface().(error); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: got error %v, want context.Canceled", name, err)
		}
	}
}

// uncovered lists the methods of O that have no case.
func uncovered[O, C any](cases map[string]C) (names []string) {
	kind := reflect.TypeFor[O]()
	for i := range kind.NumMethod() {
		if name := kind.Method(i).Name; reflect.ValueOf(cases[name]).IsZero() {
			names = append(names, name)
		}
	}
	return names
}

// covered fails for every method of O that has no case.
func covered[O, C any](t *testing.T, cases map[string]C) {
	t.Helper()
	if reflect.TypeFor[O]().NumMethod() == 0 {
		t.Fatalf("%v has no methods: the suite would prove nothing", reflect.TypeFor[O]())
	}
	for _, name := range uncovered[O](cases) {
		t.Errorf("method %v.%s has no case here: prove that it keeps orgs apart", reflect.TypeFor[O](), name)
	}
}
