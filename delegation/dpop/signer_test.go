package dpop_test

import (
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/jose"
)

// TestSignerProver: a key that was read from a file proves as well as one that was just made (DP1).
func TestSignerProver(t *testing.T) {
	t.Parallel()
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner("mine", jose.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	prover, err := dpop.NewSignerProver(signer, nil)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := prover.Proof("POST", "https://as.example/token", "", "")
	if err != nil {
		t.Fatal(err)
	}
	checker, err := dpop.NewChecker(dpop.Config{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	got, err := checker.Check(dpop.Request{Proofs: []string{proof}, Method: "POST", URI: "https://as.example/token"})
	if err != nil || got.JKT != signer.Key().Thumbprint() || got.JKT != prover.Thumbprint() {
		t.Errorf("%q, %v", got.JKT, err)
	}
	if _, err := dpop.NewSignerProver(jose.Signer{}, nil); err == nil {
		t.Error("no key was taken")
	}
}
