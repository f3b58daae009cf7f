package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/registry"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
)

// authority issues client certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCertificate(t *testing.T, template *x509.Certificate, by *authority) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	template.BasicConstraintsValid = true
	if !template.IsCA {
		template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func newAuthority(t *testing.T, uris ...*url.URL) *authority {
	t.Helper()
	c := newCertificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "CA"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign, URIs: uris,
	}, nil)
	return &authority{c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)}
}

// x5c is a key set with a certificate in it.
func x5c(t *testing.T, c tls.Certificate, kid, use string) map[string]any {
	t.Helper()
	k, err := jose.NewKey(kid, jose.ES256, c.Leaf.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	member := map[string]any{}
	if err := json.Unmarshal(k.JSON(), &member); err != nil {
		t.Fatal(err)
	}
	member["use"], member["x5c"] = use, []string{base64.StdEncoding.EncodeToString(c.Certificate[0])}
	if use != "sig" {
		delete(member, "alg")
	}
	return member
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestAgentsWithoutSecrets: CA7, CA10, WI3, MT1. Over real TLS and at both doors: agents that hold no secret authenticate by their
// certificate, and their tokens are bound to it.
func TestAgentsWithoutSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool := certificate(t, dir)
	b := startWith(t, "  tls: {cert_file: "+filepath.Join(dir, "cert.pem")+", key_file: "+filepath.Join(dir, "key.pem")+"}\n")
	provider := newIDP(t)

	spiffe := &url.URL{Scheme: "spiffe", Host: "acme.test", Path: "/pinned"}
	corporate, domain := newAuthority(t), newAuthority(t, &url.URL{Scheme: "spiffe", Host: "acme.test"})
	agents := map[string]tls.Certificate{
		"issued": newCertificate(t, &x509.Certificate{DNSNames: []string{"agent.acme.test"}}, corporate),
		"own":    newCertificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "own"}}, nil),
		"svid":   newCertificate(t, &x509.Certificate{URIs: []*url.URL{spiffe}}, domain),
	}
	doc := withoutSecrets(t, provider, agents, corporate, domain)
	admin := dialTLS(t, b, pool, nil)
	operator := bearer(t.Context(), b.token(t, adminFile))
	if _, err := obov1.NewAdminServiceClient(admin).ApplyOrg(operator, &obov1.ApplyOrgRequest{OrgId: "acme", Document: doc}); err != nil {
		t.Fatal(err)
	}
	for name, own := range agents {
		want := delegation.CertificateThumbprint(own.Leaf)
		for shown, c := range agents {
			for door, token := range map[string]string{
				"grpc": tokenGRPC(t, dialTLS(t, b, pool, &c), name, provider.token(t, "alice")),
				"http": tokenHTTP(t, b, pool, c, name, provider.token(t, "alice")),
			} {
				switch {
				case shown != name && token != "":
					t.Errorf("%s: %s got a token with the certificate of %s", door, name, shown)
				case shown == name && token == "":
					t.Errorf("%s: %s got no token with its own certificate: %s", door, name, b.text())
				case shown == name && boundTo(t, token) != want:
					t.Errorf("%s: the token of %s is bound to %q, not to its certificate", door, name, boundTo(t, token))
				}
			}
		}
	}
}

// withoutSecrets is an org of three agents: one whose certificate the org's own authority issued, one with a certificate of its
// own, and one with an X509-SVID.
func withoutSecrets(t *testing.T, p idp, agents map[string]tls.Certificate, corporate, domain *authority) []byte {
	t.Helper()
	entry := func(name string) registry.Agent {
		return registry.Agent{Name: name, Scopes: []string{"github:read"}, CertificateBound: true}
	}
	issued, own, svid := entry("issued"), entry("own"), entry("svid")
	issued.TLSClientAuth = &registry.TLSSubject{DNS: "agent.acme.test"}
	own.JWKS = encode(t, map[string]any{"keys": []any{x5c(t, agents["own"], "own", "sig")}})
	svid.SPIFFEID = "spiffe://acme.test/pinned"
	root := tls.Certificate{Certificate: [][]byte{domain.cert.Raw}, Leaf: domain.cert}
	return encode(t, registry.Document{
		Org: "acme", Agents: []registry.Agent{issued, own, svid},
		Issuers: []registry.Issuer{{
			Name: "okta", URL: p.url, Audiences: []string{"app"}, TokenTypes: []string{registry.TokenTypeID}, GroupsClaim: "groups",
		}},
		ClientCAs: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: corporate.cert.Raw})),
		TrustDomains: []registry.TrustDomain{{
			Name: "acme.test", Bundle: encode(t, map[string]any{"keys": []any{x5c(t, root, "root", "x509-svid")}}),
		}},
		Resources: []registry.Resource{{URI: executor, Name: "executor"}},
		Providers: []policy.Provider{{Name: "github", Scopes: []string{"github:read"}}},
		Policies: []policy.File{{Name: "acme.cedar", Text: `@id("engineers")
permit (principal, action == Action::"exchange", resource) when { context.subject in Group::"acme/engineering" };`}},
	})
}

func dialTLS(t *testing.T, b *binary, pool *x509.CertPool, c *tls.Certificate) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(b.grpc, grpc.WithTransportCredentials(credentials.NewTLS(secure(pool, c))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func secure(pool *x509.CertPool, c *tls.Certificate) *tls.Config {
	cfg := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if c != nil {
		cfg.Certificates = []tls.Certificate{*c}
	}
	return cfg
}

// tokenGRPC is empty when the client is refused.
func tokenGRPC(t *testing.T, conn *grpc.ClientConn, agent, idToken string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := obov1.NewExchangeServiceClient(conn).Exchange(metadata.AppendToOutgoingContext(ctx, "obo-client-id", "acme."+agent),
		&obov1.ExchangeRequest{SubjectToken: idToken, SubjectTokenType: exchange.TypeIDToken, Resource: []string{executor}, Scope: "github:read"})
	if err != nil {
		return ""
	}
	return out.GetAccessToken()
}

// tokenHTTP is empty when the client is refused.
func tokenHTTP(t *testing.T, b *binary, pool *x509.CertPool, c tls.Certificate, agent, idToken string) string {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: secure(pool, &c)}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).PostForm("https"+b.http[len("http"):]+"/token", url.Values{
		"grant_type": {exchange.GrantType}, "subject_token": {idToken}, "subject_token_type": {exchange.TypeIDToken},
		"resource": {executor}, "scope": {"github:read"}, "client_id": {"acme." + agent},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		Error       string `json:"error"`
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &out); err != nil || out.AccessToken == "" && out.Error != "invalid_client" ||
		out.AccessToken != "" && out.TokenType != "Bearer" {
		t.Errorf("%s: %s", agent, body)
	}
	return out.AccessToken
}

// boundTo is x5t#S256 of a token.
func boundTo(t *testing.T, token string) string {
	t.Helper()
	m, err := jose.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Confirmation map[string]string `json:"cnf"`
	}
	if err := json.Unmarshal(m.UnverifiedPayload(), &claims); err != nil {
		t.Fatal(err)
	}
	return claims.Confirmation["x5t#S256"]
}
