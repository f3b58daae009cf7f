package delegationhttp_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationhttp"
	"github.com/onbehalf/obo/delegation/delegationtest"
)

// revocations is a fake with one answer.
type revocations struct{ answer error }

func (r revocations) Check(*delegation.Claims, time.Time) error { return r.answer }

func (r revocations) CheckKey(string, time.Time) error { return nil }

// TestMiddleware: the answers of RFC 6750 §3.1 (MD8), and no token in any of them.
func TestMiddleware(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	good := i.Token(t, nil)
	stale := fmt.Errorf("%w: stale", delegation.ErrUnavailable)
	for name, c := range map[string]struct {
		authorization []string
		target        string
		revocations   error
		code          int
		challenge     string
	}{
		"good":             {[]string{"Bearer " + good}, "/", nil, 200, ""},
		"good, other case": {[]string{"bearer " + good}, "/", nil, 200, ""},
		"none":             {nil, "/", nil, 401, "Bearer"}, // no error code: nothing was tried
		"basic":            {[]string{"Basic YTpi"}, "/", nil, 401, "Bearer"},
		"DPoP":             {[]string{"DPoP " + good}, "/", nil, 401, "Bearer"},
		"in the URL (TE6)": {nil, "/?access_token=" + good, nil, 401, "Bearer"},
		"no token":         {[]string{"Bearer"}, "/", nil, 400, `Bearer error="invalid_request", error_description="no token after Bearer"`},
		"two headers":      {[]string{"Bearer " + good, "Bearer x"}, "/", nil, 400, `Bearer error="invalid_request", error_description="more than one Authorization header"`},
		"garbage":          {[]string{`Bearer "\x`}, "/", nil, 401, `Bearer error="invalid_token", error_description="malformed"`},
		"expired": {[]string{"Bearer " + i.Token(t, func(c *delegation.Claims) {
			c.IssuedAt, c.Expiry = c.IssuedAt.Add(-time.Hour), c.Expiry.Add(-time.Hour)
		})}, "/", nil, 401, `Bearer error="invalid_token", error_description="expired"`},
		"revoked":         {[]string{"Bearer " + good}, "/", delegation.ErrRevoked, 401, `Bearer error="invalid_token", error_description="revoked"`},
		"cannot be known": {[]string{"Bearer " + good}, "/", stale, 503, ""},
		"without scope": {[]string{"Bearer " + i.Token(t, func(c *delegation.Claims) { c.Scope = delegation.Scopes{} })}, "/", nil, 403,
			`Bearer error="insufficient_scope", error_description="the token lacks a scope", scope="issues:read"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := delegation.NewVerifier(delegation.VerifierConfig{
				Issuer: i.URL(), Audience: delegationtest.Audience, Keys: delegation.StaticKeys(i.Keys()), Revocations: revocations{c.revocations},
			})
			if err != nil {
				t.Fatal(err)
			}
			reached := false
			handler := delegationhttp.Middleware(v, delegationhttp.RequireScope("issues:read", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				token, ok := delegation.FromContext(r.Context())
				reached = ok && token.Actor() == "agent:acme/researcher"
			})))
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.target, nil)
			for _, value := range c.authorization {
				request.Header.Add("Authorization", value)
			}
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, request)
			if answer.Code != c.code || answer.Header().Get("WWW-Authenticate") != c.challenge || reached != (c.code == 200) {
				t.Errorf("%d %q, handler reached %t", answer.Code, answer.Header().Get("WWW-Authenticate"), reached)
			}
			if strings.Contains(answer.Body.String()+fmt.Sprint(answer.Header()), good) {
				t.Error("the token comes back")
			}
			if c.code == 503 && answer.Header().Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
			if c.code != 200 && answer.Header().Get("Cache-Control") != "no-store" {
				t.Error("a refusal may be cached")
			}
		})
	}
}

func TestRequireScopeWithoutToken(t *testing.T) {
	t.Parallel()
	answer := httptest.NewRecorder()
	delegationhttp.RequireScope("x", http.NotFoundHandler()).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if answer.Code != http.StatusUnauthorized || answer.Header().Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("%d", answer.Code)
	}
}

func TestNilPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("a nil Verifier takes everybody")
		}
	}()
	delegationhttp.Middleware(nil, http.NotFoundHandler())
}
