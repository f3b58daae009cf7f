package storetest

import (
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/onbehalf/obo/store"
)

// BenchSTS measures what an exchange asks of a store. A record is as large as one of an exchange of two hops.
func BenchSTS[O STSOrg](b *testing.B, fresh Fresh[STS[O]]) {
	s := handle(b, fresh(b))
	org := s.Org("bench")
	ok(b, org.PutConfig(b.Context(), store.OrgConfig{Version: 1, Document: make([]byte, 4<<10)}))
	ok(b, org.PutClientSecret(b.Context(), store.ClientSecret{Agent: "a", Hash: key(1)}, 1))
	for _, size := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("AppendAudit/group=%d", size), func(b *testing.B) {
			group := make([]store.AuditRecord, size)
			for b.Loop() {
				for i := range group {
					transaction := uuid.Must(uuid.NewV7()).String() // ordered by time, as the exchange makes them
					group[i] = store.AuditRecord{
						Org: "bench", Transaction: transaction, ActionID: transaction + "." + rand.Text(),
						Time: at(0), Body: make([]byte, 800),
					}
				}
				ok(b, s.AppendAudit(b.Context(), group))
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "µs/record")
		})
	}
	b.Run("Config", func(b *testing.B) {
		for b.Loop() {
			got(org.Config(b.Context()))(b)
		}
	})
	b.Run("ClientSecrets", func(b *testing.B) {
		for b.Loop() {
			got(org.ClientSecrets(b.Context()))(b)
		}
	})
	b.Run("Consume", func(b *testing.B) {
		for b.Loop() {
			ok(b, org.Consume(b.Context(), fill(), at(0)))
		}
	})
	b.Run("Consume/parallel", func(b *testing.B) {
		b.SetParallelism(16)
		var failures atomic.Int64
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if org.Consume(b.Context(), fill(), at(0)) != nil {
					failures.Add(1)
				}
			}
		})
		if n := failures.Load(); n > 0 {
			b.Fatalf("%d failed", n)
		}
	})
}

// fill makes a key that was not used before.
func fill() (k [32]byte) {
	_, _ = rand.Read(k[:]) // it never fails
	return k
}
