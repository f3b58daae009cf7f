package jose_test

import (
	"testing"

	"github.com/onbehalf/obo/jose"
)

// payload has the size of a delegation token's claims two hops down.
var payload = []byte(`{"iss":"https://sts.example","aud":"https://executor.example","sub":"user:acme/okta|00u1","client_id":` +
	`"acme.orchestrator","org_id":"acme","scope":"github:issues:write","iat":1767225600,"exp":1767225900,"jti":"0",` +
	`"txn":"1","act":{"iss":"https://sts.example","sub":"agent:acme/researcher","act":{"iss":"https://sts.example",` +
	`"sub":"agent:acme/orchestrator"}},"lineage":["2"]}`)

func BenchmarkSign(b *testing.B) {
	for _, alg := range []jose.Algorithm{jose.ES256, jose.Ed25519, jose.PS256, jose.RS256} {
		s := newSigner(b, "k", alg)
		b.Run(string(alg), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Sign("at+jwt", payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, alg := range []jose.Algorithm{jose.ES256, jose.Ed25519, jose.PS256, jose.RS256} {
		s := newSigner(b, "k", alg)
		token, err := s.Sign("at+jwt", payload)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(string(alg), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m, err := jose.Parse(token)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := m.Verify(s.Key()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
