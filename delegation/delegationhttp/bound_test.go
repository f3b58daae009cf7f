package delegationhttp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationhttp"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/delegation/dpop"
)

const (
	baseURL  = "https://service.test/api"
	metadata = "https://service.test/.well-known/oauth-protected-resource/api"
	algs     = `algs="ES256 EdDSA Ed25519 PS256 RS256"`
	about    = `resource_metadata="` + metadata + `"`
)

// service is a handler behind the middleware, and what reached it.
type service struct {
	handler http.Handler
	reached []string // actors
}

func newService(t *testing.T, config delegationhttp.Config) *service {
	t.Helper()
	accept, err := delegationhttp.New(config)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{}
	s.handler = accept(delegationhttp.RequireScope("issues:read", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if v, ok := delegation.FromContext(r.Context()); ok {
			s.reached = append(s.reached, v.Actor())
		}
	})))
	return s
}

// call asks for /issues with a query. Proofs and authorization are header values.
func (s *service) call(t *testing.T, authorization, proofs []string, change func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/issues?page=1", nil)
	r.Header["Authorization"] = authorization
	r.Header["Dpop"] = proofs
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w.Result()
}

func wantAnswer(t *testing.T, answer *http.Response, code int, challenges ...string) {
	t.Helper()
	if got := answer.Header.Values("WWW-Authenticate"); answer.StatusCode != code || !slices.Equal(got, challenges) {
		t.Errorf("%d %q\nwant %d %q", answer.StatusCode, got, code, challenges)
	}
	if code != http.StatusOK && answer.Header.Get("Cache-Control") != "no-store" {
		t.Error("a refusal may be cached")
	}
}

// TestDPoP: DP1, DP2, DP6, MD7, MD8: what a service answers that takes both schemes.
func TestDPoP(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	prover, thief := i.Prover(t), i.Prover(t)
	bound, bearer := i.Token(t, delegationtest.BoundTo(prover)), i.Token(t, nil)
	unscoped := i.Token(t, func(c *delegation.Claims) {
		delegationtest.BoundTo(prover)(c)
		c.Scope = delegation.Scopes{}
	})
	const url = baseURL + "/issues"
	proof := func(p *dpop.Prover, method, uri, token string) []string {
		return []string{delegationtest.Proof(t, p, method, uri, token)}
	}
	bad := func(description string) []string {
		return []string{`DPoP error="invalid_dpop_proof", error_description="proof refused: ` + description + `", ` + algs + `, ` + about, `Bearer ` + about}
	}
	mismatch := []string{`DPoP error="invalid_token", error_description="bound to a key that was not proven, or to none", ` + algs + `, ` + about, `Bearer ` + about}
	for name, c := range map[string]struct {
		authorization string
		proofs        []string
		code          int
		challenges    []string
	}{
		"DP6 good":                         {"DPoP " + bound, proof(prover, "GET", url, bound), 200, nil},
		"DP6 good, scheme in other case":   {"dpop " + bound, proof(prover, "GET", url, bound), 200, nil},
		"DP2 good, URI in other spelling":  {"DPoP " + bound, proof(prover, "GET", "HTTPS://SERVICE.test:443/api/x/../%69ssues", bound), 200, nil},
		"a bearer's token, as bearer":      {"Bearer " + bearer, nil, 200, nil},
		"MD8 MD7 no credentials":           {"", nil, 401, []string{`DPoP ` + algs + `, ` + about, `Bearer ` + about}},
		"MD8 a proof and no token":         {"", proof(prover, "GET", url, ""), 401, []string{`DPoP ` + algs + `, ` + about, `Bearer ` + about}},
		"MD8 Basic":                        {"Basic YTpi", nil, 401, []string{`DPoP ` + algs + `, ` + about, `Bearer ` + about}},
		"MD8 no token behind DPoP":         {"DPoP ", nil, 400, []string{`DPoP error="invalid_request", error_description="no token after DPoP", ` + algs + `, ` + about, `Bearer ` + about}},
		"DP1 no proof":                     {"DPoP " + bound, nil, 401, bad("there is none")},
		"DP1 two proofs":                   {"DPoP " + bound, append(proof(prover, "GET", url, bound), proof(prover, "GET", url, bound)...), 401, bad("there are several: want exactly one")},
		"DP1 a token for a proof":          {"DPoP " + bound, []string{bound}, 401, bad("its header: want typ dpop+jwt, an asymmetric alg that is offered, and a public jwk for it")},
		"DP2 another method":               {"DPoP " + bound, proof(prover, "POST", url, bound), 401, bad("htm is not the method of the request")},
		"DP2 another path":                 {"DPoP " + bound, proof(prover, "GET", baseURL+"/users", bound), 401, bad("htu is not the URI of the request")},
		"DP2 another host":                 {"DPoP " + bound, proof(prover, "GET", "https://example.com/issues", bound), 401, bad("htu is not the URI of the request")},
		"DP6 no ath":                       {"DPoP " + bound, proof(prover, "GET", url, ""), 401, bad("ath is not the hash of the access token")},
		"DP6 ath of another token":         {"DPoP " + bound, proof(prover, "GET", url, bearer), 401, bad("ath is not the hash of the access token")},
		"DP6 a thief's key":                {"DPoP " + bound, proof(thief, "GET", url, bound), 401, mismatch},
		"DP6 a bearer's token with DPoP":   {"DPoP " + bearer, proof(prover, "GET", url, bearer), 401, mismatch},
		"DP6 a bound token as bearer":      {"Bearer " + bound, nil, 401, []string{`DPoP ` + algs + `, ` + about, `Bearer error="invalid_token", error_description="bound to a key that was not proven, or to none", ` + about}},
		"DP6 bound, as bearer, with proof": {"Bearer " + bound, proof(prover, "GET", url, bound), 401, []string{`DPoP ` + algs + `, ` + about, `Bearer error="invalid_token", error_description="bound to a key that was not proven, or to none", ` + about}},
		"MD8 without the scope":            {"DPoP " + unscoped, proof(prover, "GET", url, unscoped), 403, []string{`DPoP error="insufficient_scope", error_description="the token lacks a scope", scope="issues:read", ` + algs + `, ` + about, `Bearer ` + about}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, delegationhttp.Config{
				Verifier: i.Verifier(t, delegationtest.Audience), DPoP: i.Proofs(t, false), BaseURL: baseURL + "/", ResourceMetadata: metadata,
			})
			var authorization []string
			if c.authorization != "" {
				authorization = []string{c.authorization}
			}
			answer := s.call(t, authorization, c.proofs, nil)
			wantAnswer(t, answer, c.code, c.challenges...)
			if want := c.code == 200; want != (len(s.reached) == 1) {
				t.Errorf("reached by %q", s.reached)
			}
			if answer.Header.Get("DPoP-Nonce") != "" {
				t.Error("a nonce that nobody asks for")
			}
		})
	}
}

// TestSeveralTokens: DP6, MD8: two Authorization headers are 400 whatever is in them.
func TestSeveralTokens(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	prover := i.Prover(t)
	bound := i.Token(t, delegationtest.BoundTo(prover))
	s := newService(t, delegationhttp.Config{Verifier: i.Verifier(t, delegationtest.Audience), DPoP: i.Proofs(t, false), BaseURL: baseURL})
	answer := s.call(t, []string{"DPoP " + bound, "Bearer " + bound}, []string{delegationtest.Proof(t, prover, "GET", baseURL+"/issues", bound)}, nil)
	wantAnswer(t, answer, 400, `DPoP error="invalid_request", error_description="more than one Authorization header", `+algs, "Bearer")
	if len(s.reached) != 0 {
		t.Error("let in")
	}
}

// TestProofIsUsedOnce: DP3: with a good token; a proof that comes with a bad one is not remembered.
func TestProofIsUsedOnce(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	prover := i.Prover(t)
	bound := i.Token(t, delegationtest.BoundTo(prover))
	expired := i.Token(t, func(c *delegation.Claims) {
		delegationtest.BoundTo(prover)(c)
		c.IssuedAt, c.Expiry = c.IssuedAt.Add(-time.Hour), c.Expiry.Add(-time.Hour)
	})
	uses := 0
	checker, err := dpop.NewChecker(dpop.Config{})
	if err != nil {
		t.Fatal(err)
	}
	memory := dpop.NewMemory(10)
	proofs, err := dpop.NewVerifier(checker, func(ctx context.Context, key [32]byte, until time.Time) (bool, error) {
		uses++
		return memory(ctx, key, until)
	})
	if err != nil {
		t.Fatal(err)
	}
	s := newService(t, delegationhttp.Config{Verifier: i.Verifier(t, delegationtest.Audience), DPoP: proofs, BaseURL: baseURL})
	wantAnswer(t, s.call(t, []string{"DPoP " + expired}, []string{delegationtest.Proof(t, prover, "GET", baseURL+"/issues", expired)}, nil), 401,
		`DPoP error="invalid_token", error_description="expired", `+algs, "Bearer")
	if uses != 0 {
		t.Error("the proof of a stranger is remembered")
	}
	proof := delegationtest.Proof(t, prover, "GET", baseURL+"/issues", bound)
	wantAnswer(t, s.call(t, []string{"DPoP " + bound}, []string{proof}, nil), 200)
	wantAnswer(t, s.call(t, []string{"DPoP " + bound}, []string{proof}, nil), 401,
		`DPoP error="invalid_dpop_proof", error_description="proof refused: it was used before", `+algs, "Bearer")
	if len(s.reached) != 1 || uses != 2 {
		t.Errorf("reached %d times, remembered %d times", len(s.reached), uses)
	}
}

// TestNonces: DP4: 401 use_dpop_nonce with exactly one DPoP-Nonce, which is then taken; and each good answer has one for the next.
func TestNonces(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	prover := i.Prover(t)
	bound := i.Token(t, delegationtest.BoundTo(prover))
	s := newService(t, delegationhttp.Config{Verifier: i.Verifier(t, delegationtest.Audience), DPoP: i.Proofs(t, true), BaseURL: baseURL})
	call := func(nonce string) *http.Response {
		proof := delegationtest.ProofWithNonce(t, prover, "GET", baseURL+"/issues", nonce, bound)
		return s.call(t, []string{"DPoP " + bound}, []string{proof}, nil)
	}
	asked := `DPoP error="use_dpop_nonce", error_description="the proof needs the nonce of this answer", ` + algs
	first := call("")
	wantAnswer(t, first, 401, asked, "Bearer")
	nonces := first.Header.Values("DPoP-Nonce")
	if len(nonces) != 1 || nonces[0] == "" {
		t.Fatalf("nonces %q", nonces)
	}
	second := call(nonces[0])
	wantAnswer(t, second, 200)
	next := second.Header.Values("DPoP-Nonce")
	if len(next) != 1 || next[0] == "" {
		t.Fatalf("nonces %q", next)
	}
	wantAnswer(t, call(next[0]), 200)
	wantAnswer(t, call("made-up"), 401, asked, "Bearer")
	if bearer := s.call(t, []string{"Bearer " + i.Token(t, nil)}, nil, nil); bearer.StatusCode != http.StatusOK || bearer.Header.Get("DPoP-Nonce") != "" {
		t.Error("a bearer is offered a nonce")
	}
}

// TestRequireDPoP: DP6, MD8: a service that takes proofs only says so, and no bearer gets in.
func TestRequireDPoP(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	s := newService(t, delegationhttp.Config{
		Verifier: i.Verifier(t, delegationtest.Audience), DPoP: i.Proofs(t, false), BaseURL: baseURL, RequireDPoP: true,
	})
	wantAnswer(t, s.call(t, nil, nil, nil), 401, "DPoP "+algs)
	wantAnswer(t, s.call(t, []string{"Bearer " + i.Token(t, nil)}, nil, nil), 401,
		`DPoP error="invalid_token", error_description="this service takes tokens with a DPoP proof only", `+algs)
	prover := i.Prover(t)
	bound := i.Token(t, delegationtest.BoundTo(prover))
	wantAnswer(t, s.call(t, []string{"DPoP " + bound}, []string{delegationtest.Proof(t, prover, "GET", baseURL+"/issues", bound)}, nil), 200)
}

// TestMutualTLS: MT1, MT2, MT4: a token that is bound to a certificate is good on a connection with that certificate, in the
// one-line form too; the certificate's own chain does not matter.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	own, renewed := delegationtest.Certificate(t, "agent.test"), delegationtest.Certificate(t, "agent.test")
	bound, bearer := i.Token(t, delegationtest.BoundToCertificate(own.Leaf)), i.Token(t, nil)
	over := func(certificates ...tls.Certificate) func(*http.Request) {
		return func(r *http.Request) {
			r.TLS = &tls.ConnectionState{}
			for _, c := range certificates {
				r.TLS.PeerCertificates = append(r.TLS.PeerCertificates, c.Leaf)
			}
		}
	}
	refused := `Bearer error="invalid_token", error_description="bound to a key that was not proven, or to none"`
	for name, c := range map[string]struct {
		token  string
		change func(*http.Request)
		code   int
	}{
		"MT2 its certificate":             {bound, over(own), 200},
		"MT2 a bearer with a certificate": {bearer, over(own), 200},
		"MT2 no certificate":              {bound, over(), 401},
		"MT2 no TLS":                      {bound, nil, 401},
		"MT4 a renewed certificate":       {bound, over(renewed), 401},
		"MT2 its certificate as the CA":   {bound, over(renewed, own), 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, delegationhttp.Config{Verifier: i.Verifier(t, delegationtest.Audience)})
			answer := s.call(t, []string{"Bearer " + c.token}, nil, c.change)
			if c.code == 200 {
				wantAnswer(t, answer, 200)
			} else {
				wantAnswer(t, answer, c.code, refused)
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			r.Header.Set("Authorization", "Bearer "+c.token)
			if c.change != nil {
				c.change(r)
			}
			w := httptest.NewRecorder()
			delegationhttp.Middleware(i.Verifier(t, delegationtest.Audience), http.NotFoundHandler()).ServeHTTP(w, r)
			if want := c.code == 200; want != (w.Code == http.StatusNotFound) {
				t.Errorf("in one line: %d", w.Code)
			}
		})
	}
}

// TestMutualTLSOnTheWire: MT2: with a real handshake, a self-signed certificate, and a server that asks for any.
func TestMutualTLSOnTheWire(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	own := delegationtest.Certificate(t, "agent.test")
	s := newService(t, delegationhttp.Config{Verifier: i.Verifier(t, delegationtest.Audience)})
	server := httptest.NewUnstartedServer(s.handler)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	for _, c := range []struct {
		certificates []tls.Certificate
		code         int
	}{{nil, 401}, {[]tls.Certificate{own}, 200}} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: c.certificates}}
		t.Cleanup(transport.CloseIdleConnections)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+i.Token(t, delegationtest.BoundToCertificate(own.Leaf)))
		answer, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != c.code {
			t.Errorf("%d certificates: %d", len(c.certificates), answer.StatusCode)
		}
	}
}

// TestCannotBeKnown: DP3, MD8: a memory that cannot be asked is 503 with Retry-After, and no challenge.
func TestCannotBeKnown(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	prover := i.Prover(t)
	bound := i.Token(t, delegationtest.BoundTo(prover))
	checker, err := dpop.NewChecker(dpop.Config{})
	if err != nil {
		t.Fatal(err)
	}
	broken, err := dpop.NewVerifier(checker, func(context.Context, [32]byte, time.Time) (bool, error) {
		return false, errors.New("secret host is down")
	})
	if err != nil {
		t.Fatal(err)
	}
	noKey, err := dpop.NewChecker(dpop.Config{Nonces: dpop.NewNonces(nil, "rs", 0)})
	if err != nil {
		t.Fatal(err)
	}
	noNonce, err := dpop.NewVerifier(noKey, dpop.NewMemory(1))
	if err != nil {
		t.Fatal(err)
	}
	for name, proofs := range map[string]*dpop.Verifier{"memory": broken, "nonces": noNonce} {
		s := newService(t, delegationhttp.Config{Verifier: i.Verifier(t, delegationtest.Audience), DPoP: proofs, BaseURL: baseURL})
		answer := s.call(t, []string{"DPoP " + bound}, []string{delegationtest.Proof(t, prover, "GET", baseURL+"/issues", bound)}, nil)
		wantAnswer(t, answer, 503)
		if answer.Header.Get("Retry-After") == "" || answer.Header.Get("DPoP-Nonce") != "" || len(s.reached) != 0 {
			t.Errorf("%s: %v, reached %d times", name, answer.Header, len(s.reached))
		}
	}
}

// TestNewRefuses: a configuration that would let nobody in, or that no proof could name.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	v, p := i.Verifier(t, delegationtest.Audience), i.Proofs(t, false)
	for name, c := range map[string]delegationhttp.Config{
		"no verifier":            {},
		"DPoP without a URL":     {Verifier: v, DPoP: p},
		"a path for a URL":       {Verifier: v, DPoP: p, BaseURL: "/api"},
		"another scheme":         {Verifier: v, DPoP: p, BaseURL: "ftp://service.test"},
		"a query":                {Verifier: v, DPoP: p, BaseURL: "https://service.test?x"},
		"a user":                 {Verifier: v, DPoP: p, BaseURL: "https://u@service.test"},
		"required and not there": {Verifier: v, RequireDPoP: true},
		"metadata with a quote":  {Verifier: v, ResourceMetadata: `https://service.test/"`},
		"metadata with no host":  {Verifier: v, ResourceMetadata: "https:///x"},
	} {
		if _, err := delegationhttp.New(c); err == nil || !strings.HasPrefix(err.Error(), "delegationhttp: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	accept, err := delegationhttp.New(delegationhttp.Config{Verifier: v})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("no handler, and no complaint")
		}
	}()
	accept(nil)
}
