package postgres_test

import (
	"testing"

	"github.com/onbehalf/obo/store/postgres"
	"github.com/onbehalf/obo/store/storetest"
	"github.com/onbehalf/obo/store/storetest/pgtest"
)

func freshSTS(t testing.TB) storetest.Open[storetest.STS[*postgres.STSOrg]] {
	dsn := pgtest.DSN(t)
	return func(t testing.TB) storetest.STS[*postgres.STSOrg] {
		s, err := postgres.OpenSTS(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func freshExecutor(t testing.TB) storetest.Open[storetest.Executor[*postgres.ExecutorOrg]] {
	dsn := pgtest.DSN(t)
	return func(t testing.TB) storetest.Executor[*postgres.ExecutorOrg] {
		e, err := postgres.OpenExecutor(t.Context(), dsn)
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
