package exchange_test

import (
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
)

// BenchmarkExchange is a warm exchange without a door: client_secret, a subject_token that was seen before, Cedar for two
// scopes, the durable record, one ES256 signature. The parallel ones share fsyncs.
func BenchmarkExchange(b *testing.B) {
	w := exchangetest.NewWorld(b)
	root := w.Token(b, w.Orchestrator, "github:read github:write", nil)
	for _, c := range []struct {
		name string
		req  exchange.Request
	}{
		{"first-hop", exchangetest.FirstHop(w.IDP.IDToken(b, "alice", nil), "github:read github:write")},
		{"continuation", exchangetest.Next(root, "github:read github:write")},
	} {
		cred := w.Orchestrator.Credential()
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Service.Exchange(b.Context(), cred, c.req); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"-parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := w.Service.Exchange(b.Context(), cred, c.req); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkPossession is a continuation of a bound token: one more proof to verify, and one more durable write.
func BenchmarkPossession(b *testing.B) {
	w := exchangetest.NewWorld(b)
	root := w.Token(b, w.Orchestrator, "github:read", func(_ *delegation.Subject, g *delegation.Grant) {
		g.Confirmation = &delegation.Confirmation{JKT: w.Orchestrator.JKT(b)}
	})
	cred, req := w.Orchestrator.Credential(), exchangetest.Next(root, "")
	cred.Method, cred.URI = exchangetest.TokenMethod, exchangetest.TokenURI
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer() // making the proof is the client's work
		cred.Proofs = []string{w.Orchestrator.Proof(b, w, cred.Method, cred.URI, nil)}
		b.StartTimer()
		if _, err := w.Service.Exchange(b.Context(), cred, req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDetails is a continuation with two details that are read, compared, and asked of policy.
func BenchmarkDetails(b *testing.B) {
	w := exchangetest.NewWorld(b)
	req := exchangetest.Next(w.Detailed(b, `[{"type":"payment","amount":100,"currency":"EUR"},{"type":"repository","name":"acme/"}]`), "")
	req.AuthorizationDetails = `[{"type":"payment","amount":20,"currency":"EUR"},{"type":"repository","name":"acme/web"}]`
	cred := w.Orchestrator.Credential()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Service.Exchange(b.Context(), cred, req); err != nil {
			b.Fatal(err)
		}
	}
}
