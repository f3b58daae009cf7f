package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/onbehalf/obo/exchange"
)

// TestLimiter: TE15. So many at once over all that the doors let in, and no queue.
func TestLimiter(t *testing.T) {
	t.Parallel()
	l := newLimiter(nil)
	l.most.Store(1)
	if !l.enter() { // one exchange runs
		t.Fatal("no place for the first")
	}
	for name, f := range map[string]func() error{
		"exchange": func() error {
			_, err := l.Exchange(t.Context(), exchange.Credential{}, exchange.Request{})
			return err
		},
		"introspection": func() error {
			_, err := l.Introspect(t.Context(), exchange.Credential{}, "token", false)
			return err
		},
		"revocation": func() error { return l.RevokeToken(t.Context(), exchange.Credential{}, "token", "") },
	} {
		if e, ok := errors.AsType[*exchange.Error](f()); !ok || e.Reason != exchange.RateLimited || e.RetryAfter <= 0 {
			t.Errorf("%s: got %v", name, e)
		}
	}
}

// TestTLS: TX20, DP9, MT3. Both doors of the binary speak TLS, and neither speaks anything else.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool := certificate(t, dir)
	b := startWith(t, "  tls: {cert_file: "+filepath.Join(dir, "cert.pem")+", key_file: "+filepath.Join(dir, "key.pem")+"}\n"+
		"mtls_url: https://mtls.sts.example\ndpop: {require_nonce: true}\n")
	secure := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: secure, ForceAttemptHTTP2: true}}
	resp, err := client.Get("https" + b.http[len("http"):] + "/healthz")
	if err != nil || resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Fatalf("https: %v, %v", resp, err)
	}
	_ = resp.Body.Close()
	if resp.Header.Get("Strict-Transport-Security") == "" {
		t.Error("https without Strict-Transport-Security")
	}
	checkMetadata(t, client, "https"+b.http[len("http"):]+"/.well-known/oauth-authorization-server")
	conn, err := grpc.NewClient(b.grpc, grpc.WithTransportCredentials(credentials.NewTLS(secure)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Errorf("gRPC with TLS: %v", err)
	}
	if _, err := grpc_health_v1.NewHealthClient(b.dial(t)).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err == nil {
		t.Error("gRPC answered in plaintext")
	}
	if resp, err := http.Get(b.http + "/healthz"); err == nil && resp.StatusCode == http.StatusOK {
		t.Error("http answered in plaintext")
	}
}

// checkMetadata: what this binary can do is what its metadata says.
func checkMetadata(t *testing.T, client *http.Client, url string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var m struct {
		Proofs  []string          `json:"dpop_signing_alg_values_supported"`
		Bound   bool              `json:"tls_client_certificate_bound_access_tokens"`
		Aliases map[string]string `json:"mtls_endpoint_aliases"`
		Signed  []string          `json:"introspection_signing_alg_values_supported"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	if len(m.Proofs) != 5 || !m.Bound || !strings.HasPrefix(m.Aliases["token_endpoint"], "https://mtls.sts.example/") ||
		!slices.Equal(m.Signed, []string{"ES256"}) {
		t.Errorf("DP9, MT3: metadata %+v", m)
	}
}

// certificate writes cert.pem and key.pem for 127.0.0.1, and returns whom to trust.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool
}
