package oauthhttp_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/wire/oauthhttp"
)

// TestCredentialReachesExchange: every kind of client authentication is found, and nothing of it is judged here.
func TestCredentialReachesExchange(t *testing.T) {
	t.Parallel()
	leaf := &x509.Certificate{Raw: []byte("leaf")}
	none := url.Values{"client_id": nil, "client_secret": nil}
	assertion := func(kind string) string {
		return valid(url.Values{"client_secret": nil, "client_assertion": {"a.b.c"}, "client_assertion_type": {kind}})
	}
	for _, c := range []struct {
		name  string
		body  string
		leaf  *x509.Certificate
		head  []string
		check func(exchange.Credential) bool
	}{
		{"CA2 client_secret_post", valid(nil), nil, nil, func(c exchange.Credential) bool {
			return c.ClientID == "acme.orchestrator" && c.Secret.Reveal() == "s3cret"
		}},
		{"CA1 client_secret_basic", valid(none), nil, []string{"Authorization", basic("acme%2Ea", "a%3Ab+c")}, func(c exchange.Credential) bool {
			return c.ClientID == "acme.a" && c.Secret.Reveal() == "a:b c"
		}},
		{"CA3 private_key_jwt", assertion(exchange.ClientAssertionType), nil, nil, func(c exchange.Credential) bool {
			return c.Assertion == "a.b.c" && c.AssertionType == exchange.ClientAssertionType && c.ClientID == "acme.orchestrator"
		}},
		{"CA10 JWT-SVID", assertion(exchange.ClientAssertionSPIFFE), nil, nil, func(c exchange.Credential) bool {
			return c.Assertion == "a.b.c" && c.AssertionType == exchange.ClientAssertionSPIFFE
		}},
		{"CA7 a certificate and client_id", valid(url.Values{"client_secret": nil}), leaf, nil, func(c exchange.Credential) bool {
			return len(c.Certificates) == 1 && c.Certificates[0] == leaf && c.ClientID == "acme.orchestrator"
		}},
		{"MT2 a certificate beside an assertion", assertion(exchange.ClientAssertionType), leaf, nil, func(c exchange.Credential) bool {
			return len(c.Certificates) == 1 && c.Assertion == "a.b.c"
		}},
		{"CA8 a certificate in a header is nobody's", valid(nil), nil, []string{"X-Forwarded-Client-Cert", "x", "Client-Cert", ":eA==:", "X-Forwarded-For", "9.9.9.9"},
			func(c exchange.Credential) bool {
				return len(c.Certificates) == 0 && c.RemoteIP.String() == "192.0.2.1"
			}},
		{"DP1 a proof", valid(nil), nil, []string{"DPoP", "p.r.f"}, func(c exchange.Credential) bool {
			return slices.Equal(c.Proofs, []string{"p.r.f"}) && c.Method == http.MethodPost && c.URI == issuer+"/token"
		}},
		{"DP1 two proofs are seen", valid(nil), nil, []string{"DPoP", "a", "dpop", "b"}, func(c exchange.Credential) bool {
			return slices.Equal(c.Proofs, []string{"a", "b"})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := &fake{}
			r := post(c.body, c.head...)
			if c.leaf != nil {
				r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.leaf}}
			}
			got := do(handler(t, x, nil), r)
			if x.asked != 1 || got.StatusCode != http.StatusOK || !c.check(x.cred) {
				t.Errorf("got %d, asked %d times by %v with %d certificates and proofs %q", got.StatusCode, x.asked, x.cred, len(x.cred.Certificates), x.cred.Proofs)
			}
		})
	}
	t.Run("CA7 a certificate alone names nobody", func(t *testing.T) {
		t.Parallel()
		x := &fake{}
		r := post(valid(none))
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		if e := checkError(t, do(handler(t, x, nil), r)); e.Error != "invalid_client" || x.asked != 0 {
			t.Errorf("got %s", e.Error)
		}
	})
}

// TestProofURI: DP2. The htu of a proof is our own URL, whatever the caller says that our name is.
func TestProofURI(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"sts.example":       "https://sts.example/token",
		"evil.example":      "https://sts.example/token",
		"MTLS.sts.example":  "https://mtls.sts.example/token",
		"mtls.sts.example.": "https://sts.example/token",
	} {
		x := &fake{}
		r := post(valid(nil), "DPoP", "p")
		r.Host = host
		do(handler(t, x, func(c *oauthhttp.Config) { c.MTLS = "https://mtls.sts.example/" }), r)
		if x.cred.URI != want {
			t.Errorf("Host %s: got %s, want %s", host, x.cred.URI, want)
		}
	}
}

// TestGrantsReachExchange: TE10 and TE16 are decided behind the door, for both doors alike; TT3, JG1.
func TestGrantsReachExchange(t *testing.T) {
	t.Parallel()
	for _, grant := range []string{exchange.GrantType, exchange.GrantClientCredentials, exchange.GrantJWTBearer, "password"} {
		x := &fake{}
		do(handler(t, x, nil), post(valid(url.Values{"grant_type": {grant}, "assertion": {"a.s.s"}, "request_context": {"{}"}, "request_details": {`{"a":1}`}})))
		if r := x.req; r.Grant != grant || r.Assertion != "a.s.s" || r.RequestContext != "{}" || r.RequestDetails != `{"a":1}` {
			t.Errorf("%s: got %q %q %q", r.Grant, r.Assertion, r.RequestContext, r.RequestDetails)
		}
	}
}

// TestAnswerMembers: RA5 authorization_details come back as JSON; DP4, DP5 a bound token and the nonce for the next proof.
func TestAnswerMembers(t *testing.T) {
	t.Parallel()
	x := &fake{resp: exchange.Response{AccessToken: "at", IssuedTokenType: exchange.TypeAccessToken, TokenType: "DPoP", ExpiresIn: 60,
		Scope: "a", ActionID: "t.j", AuthorizationDetails: `[{"type":"payment"}]`, Nonce: "n2"}}
	got := do(handler(t, x, nil), post(valid(nil)))
	body, _ := io.ReadAll(got.Body)
	const want = `{"access_token":"at","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"DPoP",` +
		`"expires_in":60,"scope":"a","authorization_details":[{"type":"payment"}],"action_id":"t.j"}`
	if string(body) != want || !slices.Equal(got.Header.Values("DPoP-Nonce"), []string{"n2"}) {
		t.Errorf("got %s with nonces %q", body, got.Header.Values("DPoP-Nonce"))
	}
}

// TestCORS: TE17. A script may call everything that a client calls, with proofs, and read the nonce.
func TestCORS(t *testing.T) {
	t.Parallel()
	h := handler(t, &fake{}, nil)
	for _, path := range []string{"/token", "/introspect", "/revoke", "/jwks", "/.well-known/oauth-authorization-server"} {
		t.Run("TE17 preflight of "+path, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodOptions, path, nil)
			r.Header.Set("Origin", "https://app.example")
			r.Header.Set("Access-Control-Request-Method", "POST")
			r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,dpop")
			got := do(h, r)
			allowed := got.Header.Get("Access-Control-Allow-Headers")
			if got.StatusCode != http.StatusNoContent || got.Header.Get("Access-Control-Allow-Origin") != "*" ||
				!strings.Contains(allowed, "DPoP") || !strings.Contains(allowed, "Authorization") ||
				!strings.Contains(got.Header.Get("Access-Control-Allow-Methods"), "POST") {
				t.Errorf("got %d %v", got.StatusCode, got.Header)
			}
			if got.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("a browser's own credentials are let in")
			}
		})
	}
	t.Run("TE17 answers and refusals can be read", func(t *testing.T) {
		t.Parallel()
		for _, r := range []*http.Request{post(valid(nil)), post("x=1"), httptest.NewRequest(http.MethodGet, "/jwks", nil)} {
			got := do(h, r)
			if got.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(got.Header.Get("Access-Control-Expose-Headers"), "DPoP-Nonce") {
				t.Errorf("%s: %v", r.URL.Path, got.Header)
			}
		}
	})
	t.Run("TE17 nothing else", func(t *testing.T) {
		t.Parallel()
		if got := do(h, httptest.NewRequest(http.MethodGet, "/healthz", nil)); got.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("healthz: %v", got.Header)
		}
	})
}
