package audit

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onbehalf/obo/store"
)

// slow stands for a store whose commit takes a while, as an fsync does. What the stores themselves take is measured where
// they live.
type slow struct {
	commit  time.Duration
	commits atomic.Int64
}

func (s *slow) AppendAudit(context.Context, []store.AuditRecord) error {
	s.commits.Add(1)
	time.Sleep(s.commit)
	return nil
}

func benchmark(b *testing.B, commit time.Duration, callers int) {
	s := &slow{commit: commit}
	l, err := Open(Config{Store: s})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close(context.Background())
	r := full()
	b.ReportAllocs()
	b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Record(context.Background(), r); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/float64(s.commits.Load()), "records/commit")
}

func BenchmarkRecord(b *testing.B) {
	b.Run("free commit, 2 callers", func(b *testing.B) { benchmark(b, 0, 2) })
	b.Run("1ms commit, 2 callers", func(b *testing.B) { benchmark(b, time.Millisecond, 2) })
	b.Run("1ms commit, 64 callers", func(b *testing.B) { benchmark(b, time.Millisecond, 64) })
	b.Run("1ms commit, 512 callers", func(b *testing.B) { benchmark(b, time.Millisecond, 512) })
}

func BenchmarkEncode(b *testing.B) {
	r := full()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.encode(); err != nil {
			b.Fatal(err)
		}
	}
}
