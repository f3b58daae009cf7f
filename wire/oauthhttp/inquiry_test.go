package oauthhttp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/onbehalf/obo/exchange"
)

const (
	asJSON = "application/json"
	asJWT  = "application/token-introspection+jwt"
)

var good = []string{"Authorization", basic("acme.executor", "s3cret")}

// TestIntrospectionEndpoint: IN1, IN7, IN8. JSON, or a JWT for who asks for one; no cache keeps either.
func TestIntrospectionEndpoint(t *testing.T) {
	t.Parallel()
	told := exchange.Introspection{Active: true, Claims: []byte(`{"active":true,"sub":"x"}`), JWT: "a.b.c"}
	for _, c := range []struct {
		name, accept string
		signed       bool
	}{
		{"IN2 nothing said: JSON", "", false},
		{"IN2 JSON asked for", "application/json", false},
		{"IN2 anything", "*/*", false},
		{"IN2 refused by weight", asJWT + ";q=0, application/json", false},
		{"IN2 a weight that is none", asJWT + ";q=x", false},
		{"IN7 a JWT asked for", asJWT, true},
		{"IN7 among others, in any case", "text/html, Application/Token-Introspection+JWT; q=0.9", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := &fake{told: told}
			r := postTo("/introspect", "token=t&token_type_hint=refresh_token", append(good, "Accept", c.accept)...)
			got := do(handler(t, x, nil), r)
			body, _ := io.ReadAll(got.Body)
			wantBody, wantType := string(told.Claims), asJSON
			if c.signed {
				wantBody, wantType = told.JWT, asJWT
			}
			if got.StatusCode != http.StatusOK || string(body) != wantBody || got.Header.Get("Content-Type") != wantType {
				t.Errorf("got %d %s %s", got.StatusCode, got.Header.Get("Content-Type"), body)
			}
			if got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("IN8: headers %v", got.Header)
			}
			if x.token != "t" || x.signed != c.signed || x.cred.ClientID != "acme.executor" || x.cred.URI != issuer+"/introspect" {
				t.Errorf("IN4: asked %q, signed %v, by %v at %s", x.token, x.signed, x.cred, x.cred.URI)
			}
		})
	}
}

func TestIntrospectionRefusals(t *testing.T) {
	t.Parallel()
	unknown := &exchange.Error{Reason: exchange.InvalidClient}
	for _, c := range []struct {
		name   string
		r      *http.Request
		err    error
		status int
		code   string
	}{
		{"IN1 GET", httptest.NewRequest(http.MethodGet, "/introspect", nil), nil, 405, "invalid_request"},
		{"IN1 no form", postTo("/introspect", "token=t", append(good, "Content-Encoding", "gzip")...), nil, 400, "invalid_request"},
		{"IN1 token twice", postTo("/introspect", "token=t&token=u", good...), nil, 400, "invalid_request"},
		{"TE6 token in the URI", postTo("/introspect?token=t", "", good...), nil, 400, "invalid_request"},
		{"IN1 nobody", postTo("/introspect", "token=t"), nil, 401, "invalid_client"},
		{"IN1 a bearer", postTo("/introspect", "token=t", "Authorization", "Bearer x"), nil, 401, "invalid_client"},
		{"IN1 an unknown client", postTo("/introspect", "token=t", good...), unknown, 401, "invalid_client"},
		{"IN7 nobody, for a JWT", postTo("/introspect", "token=t", "Accept", asJWT), nil, 400, "invalid_client"},
		{"IN7 an unknown client, for a JWT", postTo("/introspect", "token=t", append(good, "Accept", asJWT)...), unknown, 400, "invalid_client"},
		{"IN7 another error, for a JWT", postTo("/introspect", "token=t", append(good, "Accept", asJWT)...),
			&exchange.Error{Reason: exchange.DependencyUnavailable}, 503, "temporarily_unavailable"},
		{"IN3 what cannot be known is not inactive", postTo("/introspect", "token=t", good...),
			&exchange.Error{Reason: exchange.DependencyUnavailable}, 503, "temporarily_unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := do(handler(t, &fake{err: c.err}, nil), c.r)
			if e := checkError(t, got); e.Error != c.code || got.StatusCode != c.status {
				t.Errorf("got %d %s, want %d %s", got.StatusCode, e.Error, c.status, c.code)
			}
		})
	}
}

func TestRevocationEndpoint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		r      *http.Request
		err    error
		status int
		code   string
	}{
		{"RV1 done", postTo("/revoke", "token=t&token_type_hint=h", good...), nil, 200, ""},
		{"RV1 GET", httptest.NewRequest(http.MethodGet, "/revoke", nil), nil, 405, "invalid_request"},
		{"RV2 nobody", postTo("/revoke", "token=t"), nil, 401, "invalid_client"},
		{"RV2 another's token", postTo("/revoke", "token=t", good...), &exchange.Error{Reason: exchange.InvalidGrant}, 400, "invalid_grant"},
		{"RV4 a kind that cannot be", postTo("/revoke", "token=t", good...), &exchange.Error{Reason: exchange.UnsupportedTokenType}, 400, "unsupported_token_type"},
		{"RV5 not now", postTo("/revoke", "token=t", good...), &exchange.Error{Reason: exchange.DependencyUnavailable}, 503, "temporarily_unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := &fake{err: c.err}
			got := do(handler(t, x, nil), c.r)
			if c.code == "" {
				body, _ := io.ReadAll(got.Body)
				if got.StatusCode != c.status || len(body) != 0 || got.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("got %d %q %v", got.StatusCode, body, got.Header)
				}
				if x.token != "t" || x.hint != "h" || x.cred.URI != issuer+"/revoke" {
					t.Errorf("asked %q %q at %s", x.token, x.hint, x.cred.URI)
				}
				return
			}
			if e := checkError(t, got); e.Error != c.code || got.StatusCode != c.status {
				t.Errorf("got %d %s, want %d %s", got.StatusCode, e.Error, c.status, c.code)
			}
		})
	}
}
