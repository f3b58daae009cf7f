package delegationtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/seal"
)

// BoundTo binds a token to the key of a prover. Give it to Token.
func BoundTo(p *dpop.Prover) func(*delegation.Claims) {
	return func(c *delegation.Claims) { c.Confirmation = &delegation.Confirmation{JKT: p.Thumbprint()} }
}

// BoundToCertificate binds a token to a TLS client certificate. Give it to Token.
func BoundToCertificate(c *x509.Certificate) func(*delegation.Claims) {
	return func(claims *delegation.Claims) {
		claims.Confirmation = &delegation.Confirmation{X5T: delegation.CertificateThumbprint(c)}
	}
}

// Prover makes DPoP proofs with a fresh key, by the issuer's clock.
func (i *Issuer) Prover(t testing.TB) *dpop.Prover {
	t.Helper()
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	p, err := dpop.NewProver(key, func() time.Time { return i.Now() })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Proof is a DPoP proof for one request with a token, without a nonce.
func Proof(t testing.TB, p *dpop.Prover, method, uri, token string) string {
	t.Helper()
	return ProofWithNonce(t, p, method, uri, "", token)
}

// ProofWithNonce is Proof with the nonce that the service gave.
func ProofWithNonce(t testing.TB, p *dpop.Prover, method, uri, nonce, token string) string {
	t.Helper()
	proof, err := p.Proof(method, uri, nonce, token)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

// Proofs verifies DPoP proofs by the issuer's clock and remembers a thousand. With nonces, it asks for them.
func (i *Issuer) Proofs(t testing.TB, nonces bool) *dpop.Verifier {
	t.Helper()
	config := dpop.Config{Now: func() time.Time { return i.Now() }}
	if nonces {
		key, err := seal.NewDataKey()
		if err != nil {
			t.Fatal(err)
		}
		config.Nonces = dpop.NewNonces(key, "rs", 0)
	}
	checker, err := dpop.NewChecker(config)
	if err != nil {
		t.Fatal(err)
	}
	v, err := dpop.NewVerifier(checker, dpop.NewMemory(1000))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Certificate makes a self-signed TLS certificate for a name, good for client and server, with its key and its Leaf.
func Certificate(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now() // of TLS itself, whatever the clock of a test
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
