package dpop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/jose"
)

// TestProver: DP1, DP2, DP4, DP6, JW14: what we prove, we accept, with a key of each kind.
func TestProver(t *testing.T) {
	t.Parallel()
	nonces := dpop.NewNonces(newKey(t), "rs", 0)
	checker := newChecker(t, dpop.Config{Nonces: nonces})
	for _, alg := range []jose.Algorithm{jose.ES256, jose.Ed25519, jose.PS256} {
		t.Run(string(alg), func(t *testing.T) {
			t.Parallel()
			key, err := jose.Generate(alg)
			if err != nil {
				t.Fatal(err)
			}
			prover, err := dpop.NewProver(key, at(noon))
			if err != nil {
				t.Fatal(err)
			}
			seen := map[[32]byte]bool{}
			for range 3 {
				proof, err := prover.Proof("GET", "https://rs.example/a?b=c#d", issue(t, nonces, noon), rfcToken)
				if err != nil {
					t.Fatal(err)
				}
				p, err := checker.Check(dpop.Request{Proofs: []string{proof}, Method: "GET", URI: "https://rs.example/a?other", Token: rfcToken})
				if err != nil || p.JKT != prover.Thumbprint() {
					t.Fatalf("%v, %s", err, p.JKT)
				}
				seen[p.Key()] = true
			}
			if len(seen) != 3 {
				t.Error("DP3: a jti comes twice")
			}
		})
	}
}

// TestProverRefuses what would make a proof of nothing.
func TestProverRefuses(t *testing.T) {
	t.Parallel()
	if _, err := dpop.NewProver(nil, nil); err == nil {
		t.Error("no key")
	}
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dpop.NewProver(key, nil); err == nil {
		t.Error("a P-384 key")
	}
	good, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	prover, err := dpop.NewProver(good, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"", tokenEndpoint}, {"POST", ""}, {"POST", "/token"}, {"POST", "https://u@as.example/"}} {
		if proof, err := prover.Proof(c[0], c[1], "", ""); err == nil {
			t.Errorf("%q: %s", c, proof)
		}
	}
	proof, err := prover.Proof("POST", tokenEndpoint, "", "")
	if err != nil || strings.Count(proof, ".") != 2 {
		t.Error(proof, err)
	}
}
