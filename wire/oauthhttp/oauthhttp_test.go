package oauthhttp_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/wire/oauthhttp"
)

const issuer = "https://sts.example"

// fake is an authorization server that remembers what it was asked and answers what it is told.
type fake struct {
	asked       int
	cred        exchange.Credential
	req         exchange.Request
	token, hint string
	signed      bool
	resp        exchange.Response
	told        exchange.Introspection
	err         error
	panic       bool
}

func (f *fake) Exchange(_ context.Context, cred exchange.Credential, req exchange.Request) (exchange.Response, error) {
	if f.panic {
		panic("broken: canary")
	}
	f.asked, f.cred, f.req = f.asked+1, cred, req
	return f.resp, f.err
}

func (f *fake) Introspect(_ context.Context, cred exchange.Credential, token string, signed bool) (exchange.Introspection, error) {
	f.asked, f.cred, f.token, f.signed = f.asked+1, cred, token, signed
	return f.told, f.err
}

func (f *fake) RevokeToken(_ context.Context, cred exchange.Credential, token, hint string) error {
	f.asked, f.cred, f.token, f.hint = f.asked+1, cred, token, hint
	return f.err
}

func (f *fake) TakeSignal(_ context.Context, org delegation.OrgID, stream, token string) error {
	f.asked, f.cred.ClientID, f.hint, f.token = f.asked+1, string(org), stream, token
	return f.err
}

func handler(t testing.TB, x oauthhttp.Exchanger, change func(*oauthhttp.Config)) http.Handler {
	t.Helper()
	cfg := oauthhttp.Config{
		Issuer: issuer, Exchange: x, JWKS: func() []byte { return []byte(`{"keys":[]}`) }, JWKSMaxAge: 5 * time.Minute,
		ClientAlgorithms: []string{"ES256"}, Ready: func() error { return nil }, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	h, err := oauthhttp.NewHandler(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func do(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func post(body string, header ...string) *http.Request { return postTo("/token", body, header...) }

func postTo(path, body string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// valid is a good request's parameters, with changes: a nil value removes one.
func valid(changes url.Values) string {
	values := url.Values{
		"grant_type": {exchange.GrantType}, "subject_token": {"st"}, "subject_token_type": {exchange.TypeIDToken},
		"client_id": {"acme.orchestrator"}, "client_secret": {"s3cret"},
	}
	maps.Copy(values, changes)
	maps.DeleteFunc(values, func(_ string, v []string) bool { return v == nil })
	return values.Encode()
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func TestTokenRefusals(t *testing.T) {
	t.Parallel()
	withoutSecret := url.Values{"client_id": nil, "client_secret": nil}
	assertion := url.Values{"client_id": nil, "client_secret": nil, "client_assertion": {"a.b.c"},
		"client_assertion_type": {exchange.ClientAssertionType}}
	plus := func(v url.Values, name, value string) url.Values {
		v = maps.Clone(v)
		v[name] = []string{value}
		return v
	}
	get := httptest.NewRequest(http.MethodGet, "/token", nil)
	query := post(valid(nil))
	query.URL.RawQuery = "client_secret=s3cret"
	chunked := post(strings.Repeat("x", 1<<20))
	chunked.ContentLength = -1
	cases := []struct {
		name   string
		r      *http.Request
		status int
		code   string
	}{
		{"TE1 GET", get, 405, "invalid_request"},
		{"TE2 another media type", post(valid(nil), "Content-Type", "application/json"), 400, "invalid_request"},
		{"TE2 no media type", func() *http.Request { r := post(valid(nil)); r.Header.Del("Content-Type"); return r }(), 400, "invalid_request"},
		{"TE5 duplicate", post(valid(nil) + "&scope=a&scope=b"), 400, "invalid_request"},
		{"TE5 duplicate client_id", post(valid(nil) + "&client_id=acme.orchestrator"), 400, "invalid_request"},
		{"TE6 secret in the URI", query, 400, "invalid_request"},
		{"TE10 grant_type missing", post(valid(url.Values{"grant_type": nil})), 400, "invalid_request"},
		{"TE10 grant_type empty", post(valid(url.Values{"grant_type": {""}})), 400, "invalid_request"},
		{"TE11 Basic and body secret", post(valid(nil), "Authorization", basic("acme.orchestrator", "s3cret")), 400, "invalid_request"},
		{"TE11 Basic and assertion", post(valid(assertion), "Authorization", basic("a", "b")), 401, "invalid_client"},
		{"TE11 secret and assertion", post(valid(plus(assertion, "client_secret", "x"))), 401, "invalid_client"},
		{"two Authorization headers", post(valid(withoutSecret), "Authorization", basic("a", "b"), "Authorization", basic("c", "d")), 400, "invalid_request"},
		{"TX16 no credential", post(valid(withoutSecret)), 401, "invalid_client"},
		{"TX16 client_id alone", post(valid(url.Values{"client_secret": nil})), 401, "invalid_client"},
		{"secret without client_id", post(valid(url.Values{"client_id": nil})), 401, "invalid_client"},
		{"CA3 assertion without its type", post(valid(url.Values{"client_id": nil, "client_secret": nil, "client_assertion": {"a.b.c"}})), 401, "invalid_client"},
		{"CA3 the type of an assertion without one", post(valid(url.Values{"client_assertion_type": {exchange.ClientAssertionType}})), 401, "invalid_client"},
		{"CA3 another assertion type", post(valid(plus(assertion, "client_assertion_type", "urn:x"))), 401, "invalid_client"},
		{"Basic that is not base64", post(valid(withoutSecret), "Authorization", "Basic !!"), 401, "invalid_client"},
		{"Bearer on the token endpoint", post(valid(withoutSecret), "Authorization", "Bearer x"), 401, "invalid_client"},
		{"Basic and another client_id", post(valid(url.Values{"client_secret": nil, "client_id": {"other"}}), "Authorization", basic("a", "b")), 401, "invalid_client"},
		{"life is no number", post(valid(url.Values{"requested_expires_in": {"soon"}})), 400, "invalid_request"},
		{"life overflows", post(valid(url.Values{"requested_expires_in": {"99999999999999999999"}})), 400, "invalid_request"},
		{"10 MiB token", post(valid(url.Values{"subject_token": {strings.Repeat("a", 10<<20)}})), 400, "invalid_request"},
		{"1 MiB without a length", chunked, 400, "invalid_request"},
		{"compressed", post(valid(nil), "Content-Encoding", "gzip"), 400, "invalid_request"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.name == "TE2 another media type" {
				c.r.Header["Content-Type"] = []string{"application/json"}
			}
			x := &fake{}
			got := do(handler(t, x, nil), c.r)
			if e := checkError(t, got); e.Error != c.code || got.StatusCode != c.status {
				t.Errorf("got %d %s, want %d %s", got.StatusCode, e.Error, c.status, c.code)
			}
			if x.asked != 0 {
				t.Error("the exchange was asked")
			}
		})
	}
}

// checkError holds every refusal to TE8 and TE9.
func checkError(t testing.TB, r *http.Response) oauthError {
	t.Helper()
	h := r.Header
	if h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" {
		t.Errorf("headers %v (TE8)", h)
	}
	if (r.StatusCode == http.StatusUnauthorized) != (h.Get("WWW-Authenticate") != "") {
		t.Errorf("%d with WWW-Authenticate %q (TE9)", r.StatusCode, h.Get("WWW-Authenticate"))
	}
	if (r.StatusCode == http.StatusServiceUnavailable || r.StatusCode == http.StatusTooManyRequests) != (h.Get("Retry-After") != "") {
		t.Errorf("%d with Retry-After %q (TE15)", r.StatusCode, h.Get("Retry-After"))
	}
	var e oauthError
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
		t.Fatalf("body: %v", err)
	}
	if clean := regexp.MustCompile(`^[\x20-\x21\x23-\x5b\x5d-\x7e]+$`); !clean.MatchString(e.Error) || !clean.MatchString(e.Description+" ") {
		t.Errorf("%+v is not clean (TE8)", e)
	}
	return e
}

// TestReasons: the HTTP column of standards GR3, whatever the exchange answers; TE8, TE9, TE10, TE15, DP4.
func TestReasons(t *testing.T) {
	t.Parallel()
	hostile := "a\"b\\c\r\nSet-Cookie: x\x00\u00e9" + strings.Repeat("x", 10000)
	cases := []struct {
		err    error
		status int
		code   string
	}{
		{&exchange.Error{Reason: exchange.InvalidRequest, Description: hostile}, 400, "invalid_request"},
		{&exchange.Error{Reason: exchange.SubjectTokenInvalid, Description: hostile}, 400, "invalid_request"},
		{&exchange.Error{Reason: exchange.ActorTokenInvalid}, 400, "invalid_request"},
		{&exchange.Error{Reason: exchange.DelegationDenied}, 400, "invalid_request"},
		{&exchange.Error{Reason: exchange.InvalidTarget}, 400, "invalid_target"},
		{&exchange.Error{Reason: exchange.InvalidScope}, 400, "invalid_scope"},
		{&exchange.Error{Reason: exchange.InvalidAuthorizationDetails}, 400, "invalid_authorization_details"},
		{&exchange.Error{Reason: exchange.InvalidClient}, 401, "invalid_client"},
		{&exchange.Error{Reason: exchange.UnauthorizedClient}, 400, "unauthorized_client"},
		{&exchange.Error{Reason: exchange.InvalidGrant, Field: "assertion"}, 400, "invalid_grant"},
		{&exchange.Error{Reason: exchange.UnsupportedGrantType}, 400, "unsupported_grant_type"},
		{&exchange.Error{Reason: exchange.UnsupportedTokenType}, 400, "unsupported_token_type"},
		{&exchange.Error{Reason: exchange.InvalidProof, Description: hostile}, 400, "invalid_dpop_proof"},
		{&exchange.Error{Reason: exchange.UseNonce, Nonce: "n1"}, 400, "use_dpop_nonce"},
		{&exchange.Error{Reason: exchange.InteractionRequired}, 400, "insufficient_user_authentication"},
		{&exchange.Error{Reason: exchange.RateLimited, RetryAfter: 1500 * time.Millisecond}, 429, "temporarily_unavailable"},
		{&exchange.Error{Reason: exchange.DependencyUnavailable}, 503, "temporarily_unavailable"},
		{fmt.Errorf("wrapped: %w", &exchange.Error{Reason: exchange.InvalidScope}), 400, "invalid_scope"},
		{context.DeadlineExceeded, 503, "temporarily_unavailable"},
		{&exchange.Error{Reason: exchange.Internal, Description: "canary"}, 500, "server_error"},
		{errors.New("canary"), 500, "server_error"},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%T %.40q", c.err, c.err), func(t *testing.T) {
			t.Parallel()
			got := do(handler(t, &fake{err: c.err}, nil), post(valid(nil)))
			e := checkError(t, got)
			if e.Error != c.code || got.StatusCode != c.status {
				t.Errorf("got %d %s, want %d %s", got.StatusCode, e.Error, c.status, c.code)
			}
			if want := map[bool]int{true: 1}[c.code == "use_dpop_nonce"]; len(got.Header.Values("DPoP-Nonce")) != want {
				t.Errorf("DPoP-Nonce %q (DP4)", got.Header.Values("DPoP-Nonce"))
			}
			if strings.Contains(e.Description, "canary") || len(e.Description) > 512 {
				t.Errorf("the client is told %q", e.Description)
			}
		})
	}
}

func TestPanicTellsNothing(t *testing.T) {
	t.Parallel()
	got := do(handler(t, &fake{panic: true}, nil), post(valid(nil)))
	if e := checkError(t, got); got.StatusCode != http.StatusInternalServerError || e.Error != "server_error" || strings.Contains(e.Description, "canary") {
		t.Errorf("got %d %+v", got.StatusCode, e)
	}
}

// TestRequestReachesExchange: every parameter arrives, and every way to authenticate (CA1, CA2, CA3); TX12, TE7, TE13 and TE14 of the
// answer.
func TestRequestReachesExchange(t *testing.T) {
	t.Parallel()
	x := &fake{resp: exchange.Response{AccessToken: "at", IssuedTokenType: exchange.TypeAccessToken, TokenType: "Bearer",
		ExpiresIn: 300, Scope: "a b", ActionID: "t.j"}}
	h := handler(t, x, nil)
	got := do(h, post(valid(url.Values{
		"actor_token": {"ac"}, "actor_token_type": {exchange.TypeJWT}, "resource": {"https://a/?q", "https://b/"}, "audience": {"n"},
		"scope": {"a b"}, "requested_token_type": {exchange.TypeAccessToken}, "authorization_details": {"[]"},
		"requested_expires_in": {"60"}, "may_act": {"acme.researcher"}, "options": {"{}"}, "code": {""},
	})))
	want := exchange.Request{
		Grant: exchange.GrantType, SubjectToken: "st", SubjectTokenType: exchange.TypeIDToken, ActorToken: "ac", ActorTokenType: exchange.TypeJWT,
		Resource: []string{"https://a/?q", "https://b/"}, Audience: []string{"n"}, Scope: "a b",
		RequestedTokenType: exchange.TypeAccessToken, AuthorizationDetails: "[]", RequestedExpiresIn: 60, MayAct: "acme.researcher",
	}
	if !reflect.DeepEqual(x.req, want) {
		t.Errorf("the request did not arrive as it was sent: %v", x.req)
	}
	if x.cred.ClientID != "acme.orchestrator" || x.cred.Secret.Reveal() != "s3cret" || !x.cred.RemoteIP.IsValid() {
		t.Errorf("credential %v", x.cred)
	}
	body, _ := io.ReadAll(got.Body)
	if h := got.Header; h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" || h.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v (TE7)", h)
	}
	const golden = `{"access_token":"at","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer",` +
		`"expires_in":300,"scope":"a b","action_id":"t.j"}`
	if string(body) != golden {
		t.Errorf("body %s, want %s (TX12)", body, golden)
	}

	none := url.Values{"client_id": nil, "client_secret": nil}
	do(h, post(valid(none), "Authorization", basic("acme%2Eorchestrator", "a%3Ab+c")))
	if x.cred.ClientID != "acme.orchestrator" || x.cred.Secret.Reveal() != "a:b c" {
		t.Errorf("CA1: %v", x.cred)
	}
	do(h, post(valid(url.Values{"client_id": {"acme.researcher"}, "client_secret": nil, "client_assertion": {"a.b.c"},
		"client_assertion_type": {exchange.ClientAssertionType}})))
	if x.cred.Assertion != "a.b.c" || x.cred.ClientID != "acme.researcher" || x.cred.Secret != "" {
		t.Errorf("CA3: %v", x.cred)
	}
	if x.asked != 3 {
		t.Errorf("asked %d times", x.asked)
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	h := handler(t, &fake{}, func(c *oauthhttp.Config) {
		c.JWKS = func() []byte { return nil }
		c.Ready = func() error { return errors.New("canary") }
	})
	for path, status := range map[string]int{"/jwks": 503, "/healthz": 503} {
		got := do(h, httptest.NewRequest(http.MethodGet, path, nil))
		body, _ := io.ReadAll(got.Body)
		if got.StatusCode != status || strings.Contains(string(body), "canary") {
			t.Errorf("%s: %d %s", path, got.StatusCode, body)
		}
	}
	if got := do(handler(t, &fake{}, nil), httptest.NewRequest(http.MethodGet, "/healthz", nil)); got.StatusCode != http.StatusOK {
		t.Errorf("healthz: %d", got.StatusCode)
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/token", "/introspect", "/revoke", "/jwks", "/healthz", "/nowhere", "/.well-known/oauth-authorization-server"} {
		h := do(handler(t, &fake{}, nil), httptest.NewRequest(http.MethodGet, "https://sts.example"+path, nil)).Header
		for _, name := range []string{"X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy", "Strict-Transport-Security"} {
			if h.Get(name) == "" {
				t.Errorf("%s lacks %s", path, name)
			}
		}
	}
}

func TestNewHandlerRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]oauthhttp.Config{
		"nothing":                {},
		"issuer no URL":          {Issuer: "sts", Exchange: &fake{}, JWKS: func() []byte { return nil }, JWKSMaxAge: 1, Ready: func() error { return nil }, Log: slog.Default()},
		"issuer fragment":        {Issuer: issuer + "#x", Exchange: &fake{}, JWKS: func() []byte { return nil }, JWKSMaxAge: 1, Ready: func() error { return nil }, Log: slog.Default()},
		"MTLS without TLS":       {Issuer: issuer, MTLS: "http://mtls.example", Exchange: &fake{}, JWKS: func() []byte { return nil }, JWKSMaxAge: 1, Ready: func() error { return nil }, Log: slog.Default()},
		"MTLS with another path": {Issuer: issuer, MTLS: "https://mtls.example/t1", Exchange: &fake{}, JWKS: func() []byte { return nil }, JWKSMaxAge: 1, Ready: func() error { return nil }, Log: slog.Default()},
		"no exchange":            {Issuer: issuer, JWKS: func() []byte { return nil }, JWKSMaxAge: 1, Ready: func() error { return nil }, Log: slog.Default()},
	} {
		if _, err := oauthhttp.NewHandler(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
