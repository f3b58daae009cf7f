package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/store/storetest"
)

func freshSTS(t testing.TB) storetest.Open[storetest.STS[*sqlite.STSOrg]] {
	path := filepath.Join(t.TempDir(), "sts.db")
	return func(t testing.TB) storetest.STS[*sqlite.STSOrg] {
		s, err := sqlite.OpenSTS(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func freshExecutor(t testing.TB) storetest.Open[storetest.Executor[*sqlite.ExecutorOrg]] {
	path := filepath.Join(t.TempDir(), "executor.db")
	return func(t testing.TB) storetest.Executor[*sqlite.ExecutorOrg] {
		e, err := sqlite.OpenExecutor(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
}

func TestSTS(t *testing.T) {
	t.Parallel()
	storetest.RunSTS(t, freshSTS)
}

func TestExecutor(t *testing.T) {
	t.Parallel()
	storetest.RunExecutor(t, freshExecutor)
}

func BenchmarkSTS(b *testing.B) { storetest.BenchSTS(b, freshSTS) }
