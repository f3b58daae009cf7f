package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/executor"
)

const documentURL = "https://gateway.example/.well-known/oauth-protected-resource/executor"

// scripted admits as it is told, and remembers what it was shown.
type scripted struct {
	shown executor.Presented
	nonce string
	err   error
}

func (s *scripted) Admit(_ context.Context, p executor.Presented) (delegation.Verified, string, error) {
	s.shown = p
	return delegation.Verified{}, s.nonce, s.err
}

func door(t *testing.T, x admitter, change func(*config.Executor)) http.Handler {
	t.Helper()
	cfg := config.Executor{
		Audience: "https://gateway.example/executor", Issuer: "https://sts.example", ResourceMetadata: documentURL,
	}
	if change != nil {
		change(&cfg)
	}
	handler, err := newWeb(cfg, x, func() error { return nil }, http.NotFoundHandler())
	must(t, err)
	return handler
}

func ask(h http.Handler, method, target string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestResourceMetadata: MD7. The document is where RFC 9728 section 3.1 puts it, names the resource byte for byte, and leaves
// out what is empty.
func TestResourceMetadata(t *testing.T) {
	t.Parallel()
	got := ask(door(t, &scripted{}, nil), "GET", documentURL, nil)
	const want = `{"resource":"https://gateway.example/executor","resource_name":"obo executor",` +
		`"authorization_servers":["https://sts.example"],"bearer_methods_supported":["header"],` +
		`"dpop_signing_alg_values_supported":["ES256","EdDSA","Ed25519","PS256","RS256"]}`
	if got.Code != http.StatusOK || got.Header().Get("Content-Type") != "application/json" || got.Body.String() != want {
		t.Errorf("%d %v %s", got.Code, got.Header(), got.Body)
	}
	if got.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", got.Header())
	}
	strict := door(t, &scripted{}, func(c *config.Executor) {
		c.RequireDPoP, c.Listen.TLS = true, &config.ServerTLS{}
	})
	var document map[string]any
	must(t, json.Unmarshal(ask(strict, "GET", documentURL, nil).Body.Bytes(), &document))
	if document["dpop_bound_access_tokens_required"] != true || document["tls_client_certificate_bound_access_tokens"] != true {
		t.Errorf("%v", document)
	}
	without := door(t, &scripted{}, func(c *config.Executor) { c.ResourceMetadata, c.Audience = "", "urn:obo:executor" })
	refused := ask(without, "GET", documentURL, nil)
	if refused.Code != http.StatusUnauthorized || slices.ContainsFunc(refused.Header().Values("WWW-Authenticate"), func(v string) bool {
		return strings.Contains(v, "resource_metadata")
	}) {
		t.Errorf("an executor without a document: %d %v", refused.Code, refused.Header())
	}
}

// TestChallenges: what is not public needs a token, and each refusal says how to get in.
func TestChallenges(t *testing.T) {
	t.Parallel()
	const (
		algs   = `algs="ES256 EdDSA Ed25519 PS256 RS256"`
		where  = `resource_metadata="` + documentURL + `"`
		bearer = "Bearer " + where
		dpop   = "DPoP " + algs + ", " + where
	)
	headers := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Add(pairs[i], pairs[i+1])
		}
		return h
	}
	for _, c := range []struct {
		name   string
		header http.Header
		target string
		err    error
		nonce  string // of the answer
		status int
		want   []string
	}{
		{name: "MD8 no credentials", status: 401, want: []string{bearer, dpop}},
		{name: "MD8 another scheme is none", header: headers("Authorization", "Basic YTpi"), status: 401, want: []string{bearer, dpop}},
		{name: "MD8 a scheme without a token", header: headers("Authorization", "Bearer "), status: 401, want: []string{bearer, dpop}},
		{name: "FA4 a token in the query is none", target: "/?access_token=abc", status: 401, want: []string{bearer, dpop}},
		{
			name: "DP6 two authorization methods", header: headers("Authorization", "Bearer abc", "Authorization", "DPoP abc"), status: 400,
		},
		{
			name: "MD8 a token that is not taken", header: headers("Authorization", "Bearer abc"), status: 401,
			err:  &executor.Error{Reason: executor.InvalidToken, Description: `it "expired"`},
			want: []string{`Bearer error="invalid_token", error_description="it 'expired'", ` + where, dpop},
		},
		{
			name: "DP6 a key that is not the token's", header: headers("Authorization", "dpop abc", "DPoP", "p"), status: 401,
			err:  &executor.Error{Reason: executor.InvalidToken, Description: "another key"},
			want: []string{bearer, `DPoP error="invalid_token", error_description="another key", ` + algs + ", " + where},
		},
		{
			name: "DP6 a bad proof", header: headers("Authorization", "DPoP abc", "DPoP", "p"), status: 401,
			err:  &executor.Error{Reason: executor.InvalidProof, Description: "old"},
			want: []string{bearer, `DPoP error="invalid_dpop_proof", error_description="old", ` + algs + ", " + where},
		},
		{
			name: "DP4 a proof without the nonce", header: headers("Authorization", "DPoP abc", "DPoP", "p"), status: 401, nonce: "n1",
			err:  &executor.Error{Reason: executor.UseNonce, Description: "again", Nonce: "n1"},
			want: []string{bearer, `DPoP error="use_dpop_nonce", error_description="again", ` + algs + ", " + where},
		},
		{
			name: "EX4 nobody knows what is revoked", header: headers("Authorization", "Bearer abc"), status: 503,
			err: &executor.Error{Reason: executor.DependencyUnavailable, RetryAfter: time.Millisecond},
		},
		{name: "a bug", header: headers("Authorization", "Bearer abc"), status: 500, err: errors.New("the password is hunter2")},
		{name: "DP4 a good token, and the next nonce", header: headers("Authorization", "DPoP abc", "DPoP", "p"), status: 404, nonce: "n2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := &scripted{err: c.err}
			if c.err == nil {
				x.nonce = c.nonce
			}
			target := c.target
			if target == "" {
				target = "/executor"
			}
			got := ask(door(t, x, nil), "POST", target, c.header)
			if got.Code != c.status || !slices.Equal(got.Header().Values("WWW-Authenticate"), c.want) {
				t.Errorf("%d %q\nwant %d %q", got.Code, got.Header().Values("WWW-Authenticate"), c.status, c.want)
			}
			if got.Header().Get("DPoP-Nonce") != c.nonce || strings.Contains(got.Body.String(), "hunter2") {
				t.Errorf("%v %s", got.Header(), got.Body)
			}
			if (got.Header().Get("Retry-After") == "1") != (c.status == 503) || got.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%v", got.Header())
			}
			if c.target != "" && x.shown.Token != "" {
				t.Error("the token was read")
			}
		})
	}
}

// TestPresentedOverHTTP: DP6, CA8. The URI that a proof must name is the resource's own, whatever Host says; a certificate is
// that of the connection, whatever a header says.
func TestPresentedOverHTTP(t *testing.T) {
	t.Parallel()
	x := &scripted{}
	h := door(t, x, nil)
	header := http.Header{"Authorization": {"DPoP abc"}, "Dpop": {"p", "q"}}
	for _, name := range []string{"X-Client-Cert", "X-Forwarded-Client-Cert", "Client-Cert", "Ssl-Client-Cert"} {
		header.Set(name, "MIIB")
	}
	ask(h, "PUT", "http://evil.example/executor/x%2fy?a=b", header)
	p := x.shown
	if p.URI != "https://gateway.example/executor/x%2fy" || p.Method != http.MethodPut || p.Scheme != "DPoP" || p.Token != "abc" ||
		!slices.Equal(p.Proofs, []string{"p", "q"}) || p.Certificates != nil {
		t.Errorf("%+v", struct {
			URI, Method string
			Proofs      []string
		}{p.URI, p.Method, p.Proofs})
	}
}
