package exchange_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"

	gojose "github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
)

// authority is a certificate authority.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newECKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key := newECKey(t, elliptic.P256())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(1000 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return authority{certify(t, template, template, &key.PublicKey, key), key}
}

func certify(t *testing.T, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pem is the authority as client_cas has it.
func (a authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

// leaf issues a certificate for clients that is good for an hour, with what change makes of it.
func (a authority) leaf(t *testing.T, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key := newECKey(t, elliptic.P256())
	template := clientTemplate()
	change(template)
	return certify(t, template, a.certificate, &key.PublicKey, a.key)
}

func clientTemplate() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
}

// svidLeaf issues an X509-SVID.
func (a authority) svidLeaf(t *testing.T, id string, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	return a.leaf(t, func(c *x509.Certificate) {
		c.URIs = []*url.URL{mustURL(t, id)}
		if change != nil {
			change(c)
		}
	})
}

func mustURL(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// bundle writes a trust domain's bundle.
func bundle(t *testing.T, domain string, authorities []*x509.Certificate, keys map[string]crypto.PublicKey) json.RawMessage {
	t.Helper()
	b := spiffebundle.New(spiffeid.RequireTrustDomainFromString(domain))
	for _, c := range authorities {
		b.AddX509Authority(c)
	}
	for kid, key := range keys {
		if err := b.AddJWTAuthority(kid, key); err != nil {
			t.Fatal(err)
		}
	}
	data, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// signSVID makes a JWT-SVID by a library that is not ours.
func signSVID(t *testing.T, key crypto.PrivateKey, alg gojose.SignatureAlgorithm, header map[gojose.HeaderKey]any, claims map[string]any) string {
	t.Helper()
	options := &gojose.SignerOptions{}
	for name, value := range header {
		options = options.WithHeader(name, value)
	}
	signer, err := gojose.NewSigner(gojose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range claims {
		if value == nil {
			delete(claims, name)
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// withX5C is a JWK set of a key with a self-signed certificate (RFC 8705 §2.2).
func withX5C(t *testing.T, key jose.Key, c *x509.Certificate) json.RawMessage {
	t.Helper()
	members := map[string]any{}
	if err := json.Unmarshal(key.JSON(), &members); err != nil {
		t.Fatal(err)
	}
	members["x5c"] = []string{base64.StdEncoding.EncodeToString(c.Raw)}
	data, err := json.Marshal(map[string]any{"keys": []any{members}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// change changes the registration of acme's orchestrator.
func change(t *testing.T, w *exchangetest.World, f func(*registry.Document, *registry.Agent)) {
	t.Helper()
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) {
		for i := range d.Agents {
			if d.Agents[i].Name == w.Orchestrator.Name {
				f(d, &d.Agents[i])
			}
		}
	})
}

// byCertificates is a connection with certificates, and the client_id of the orchestrator.
func byCertificates(w *exchangetest.World, chain ...*x509.Certificate) exchange.Credential {
	return exchange.Credential{ClientID: w.Orchestrator.ClientID, Certificates: chain}
}
