package storetest_test

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/store/storetest"
)

type (
	stsOrg      = storetest.FaultySTSOrg[*sqlite.STSOrg]
	executorOrg = storetest.FaultyExecutorOrg[*sqlite.ExecutorOrg]
)

func openSTS(t testing.TB, path string, hook storetest.Hook) *storetest.FaultySTS[*sqlite.STSOrg] {
	s, err := sqlite.OpenSTS(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &storetest.FaultySTS[*sqlite.STSOrg]{Store: s, Hook: hook}
}

func openExecutor(t testing.TB, path string, hook storetest.Hook) *storetest.FaultyExecutor[*sqlite.ExecutorOrg] {
	e, err := sqlite.OpenExecutor(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return &storetest.FaultyExecutor[*sqlite.ExecutorOrg]{Store: e, Hook: hook}
}

// Without a fault the wrappers change nothing: the whole contract holds through them.
func TestFaultyKeepsTheContract(t *testing.T) {
	t.Parallel()
	none := func(storetest.Call) storetest.Fault { return storetest.Fault{} }
	t.Run("sts", func(t *testing.T) {
		storetest.RunSTS(t, func(t testing.TB) storetest.Open[storetest.STS[*stsOrg]] {
			path := filepath.Join(t.TempDir(), "a.db")
			return func(t testing.TB) storetest.STS[*stsOrg] { return openSTS(t, path, none) }
		})
	})
	t.Run("executor", func(t *testing.T) {
		storetest.RunExecutor(t, func(t testing.TB) storetest.Open[storetest.Executor[*executorOrg]] {
			path := filepath.Join(t.TempDir(), "a.db")
			return func(t testing.TB) storetest.Executor[*executorOrg] { return openExecutor(t, path, nil) }
		})
	})
}

func TestFaultBeforeAndAfter(t *testing.T) {
	t.Parallel()
	ctx, broken := t.Context(), errors.New("broken")
	var fault storetest.Fault
	s := openSTS(t, filepath.Join(t.TempDir(), "a.db"), func(c storetest.Call) storetest.Fault {
		if c.Method == "PutConfig" && c.Org == "acme" {
			return fault
		}
		return storetest.Fault{}
	})
	version := func() int64 {
		c, err := s.Org("acme").Config(ctx)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		return c.Version
	}
	put := func(version int64) error { return s.Org("acme").PutConfig(ctx, store.OrgConfig{Version: version}) }

	fault = storetest.Fault{Before: broken}
	if err := put(1); !errors.Is(err, broken) || version() != 0 {
		t.Errorf("before: error %v, version %d; want broken, 0", err, version())
	}
	fault = storetest.Fault{After: broken}
	if err := put(1); !errors.Is(err, broken) || version() != 1 {
		t.Errorf("after: error %v, version %d; want broken, 1", err, version())
	}
	if err := put(1); !errors.Is(err, store.ErrConflict) {
		t.Errorf("what fails by itself keeps its own error: got %v", err)
	}
	if err := s.Org("other").PutConfig(ctx, store.OrgConfig{Version: 1}); err != nil {
		t.Errorf("another org: %v", err)
	}
}

// A method that the hook cannot reach would leave a hole in every fault table.
func TestEveryMethodAsksTheHook(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	var mu sync.Mutex
	asked := map[string]int{}
	hook := func(c storetest.Call) storetest.Fault {
		mu.Lock()
		defer mu.Unlock()
		asked[c.Method]++
		return storetest.Fault{Before: broken}
	}
	s := openSTS(t, filepath.Join(t.TempDir(), "a.db"), hook)
	e := openExecutor(t, filepath.Join(t.TempDir(), "b.db"), hook)
	for _, handle := range []any{s, s.Org("acme"), e, e.Org("acme")} {
		v := reflect.ValueOf(handle)
		for i := range v.NumMethod() {
			m, name := v.Method(i), v.Type().Method(i).Name
			if name == "Org" || name == "Close" {
				continue
			}
			before := asked[name]
			args := []reflect.Value{reflect.ValueOf(context.Background())}
			for j := 1; j < m.Type().NumIn(); j++ {
				args = append(args, reflect.Zero(m.Type().In(j)))
			}
			out := m.Call(args)
			if err, _ := out[len(out)-1].Interface().(error); !errors.Is(err, broken) || asked[name] != before+1 {
				t.Errorf("%T.%s: error %v, the hook was asked %d times for this name", handle, name, err, asked[name]-before)
			}
		}
	}
}
