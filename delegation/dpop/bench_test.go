package dpop_test

import (
	"testing"

	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/jose"
)

func newProver(b *testing.B, alg jose.Algorithm) *dpop.Prover {
	b.Helper()
	key, err := jose.Generate(alg)
	if err != nil {
		b.Fatal(err)
	}
	p, err := dpop.NewProver(key, at(noon))
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// BenchmarkCheck is what a proof costs a server, by its key; most of it is the signature.
func BenchmarkCheck(b *testing.B) {
	for _, alg := range []jose.Algorithm{jose.ES256, jose.Ed25519, jose.PS256} {
		proof, err := newProver(b, alg).Proof("POST", tokenEndpoint, "", rfcToken)
		if err != nil {
			b.Fatal(err)
		}
		checker := newChecker(b, dpop.Config{})
		r := dpop.Request{Proofs: []string{proof}, Method: "POST", URI: tokenEndpoint, Token: rfcToken}
		b.Run(string(alg), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := checker.Check(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkProof is what a proof costs a client.
func BenchmarkProof(b *testing.B) {
	for _, alg := range []jose.Algorithm{jose.ES256, jose.Ed25519, jose.PS256} {
		p := newProver(b, alg)
		b.Run(string(alg), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Proof("POST", tokenEndpoint, "", rfcToken); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReplay is one use of a memory that is full of the living.
func BenchmarkReplay(b *testing.B) {
	memory := dpop.NewMemory(1 << 20)
	var key [32]byte
	b.ReportAllocs()
	for b.Loop() {
		for i := range key { // the next number
			if key[i]++; key[i] != 0 {
				break
			}
		}
		_, _ = memory(b.Context(), key, noon)
	}
}
