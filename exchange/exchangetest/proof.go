package exchangetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"testing"
	"time"

	"github.com/onbehalf/obo/jose"
)

// Where the doors of a world are, for proofs of requests that go through none.
const (
	TokenURI    = Issuer + "/token"
	TokenMethod = "POST"
)

// possession is what an agent can prove that it has: a DPoP key, and a certificate with the key of its assertions.
type possession struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func newPossession(t testing.TB, name string) possession {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	certificate, err := x509.ParseCertificate(der)
	must(t, err)
	return possession{key, certificate}
}

// jwk is the public key with its required members.
func (p possession) jwk(t testing.TB) Claims {
	t.Helper()
	point, err := p.key.PublicKey.Bytes() // 4, x, y
	must(t, err)
	return Claims{"kty": "EC", "crv": "P-256", "x": base64url(point[1:33]), "y": base64url(point[33:])}
}

// JKT is the thumbprint of the agent's DPoP key (RFC 7638), as in "cnf".
func (a Agent) JKT(t testing.TB) string {
	t.Helper()
	jwk := a.possession.jwk(t)
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + jwk["x"].(string) + `","y":"` + jwk["y"].(string) + `"}`))
	return base64url(sum[:])
}

// X5T is the thumbprint of the agent's certificate, as in "cnf" (MT1).
func (a Agent) X5T() string {
	sum := sha256.Sum256(a.possession.certificate.Raw)
	return base64url(sum[:])
}

// Certificate is the agent's self-signed TLS client certificate.
func (a Agent) Certificate() *x509.Certificate { return a.possession.certificate }

// Proof is a DPoP proof of the agent for a request, written here by hand from RFC 9449 §4.2, with what change makes of its
// header and its claims. A nil value removes a member.
func (a Agent) Proof(t testing.TB, w *World, method, uri string, change func(header, claims Claims)) string {
	t.Helper()
	header := Claims{"typ": "dpop+jwt", "alg": "ES256", "jwk": a.possession.jwk(t)}
	claims := Claims{"jti": rand.Text(), "htm": method, "htu": uri, "iat": w.Clock.Now().Unix()}
	if change != nil {
		change(header, claims)
	}
	signed := encode(t, header) + "." + encode(t, claims)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, a.possession.key, sum[:])
	must(t, err)
	return signed + "." + base64url(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func encode(t testing.TB, c Claims) string {
	t.Helper()
	for name, value := range c {
		if value == nil {
			delete(c, name)
		}
	}
	data, err := jose.Encode(map[string]any(c))
	must(t, err)
	return base64url(data)
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
