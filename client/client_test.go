package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/client"
	"github.com/onbehalf/obo/jose"
)

// TestExchangeSendsTheForm: TE3, TX1, AT9.
func TestExchangeSendsTheForm(t *testing.T) {
	t.Parallel()
	s := &sts{answer: issue(300)}
	begin := time.Now()
	got, err := newClient(t, s, nil).Exchange(t.Context(), client.Request{
		Subject: client.Static("id-token"), SubjectType: client.TypeIDToken, Actor: client.Static("assertion"),
		Resource: []string{"https://a", "https://b"}, Audience: []string{"c"}, Scope: "x y", RequestedType: client.TypeJWT,
		AuthorizationDetails: `[{"type":"t"}]`, Life: time.Minute, MayAct: "acme.researcher"})
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"grant_type": {client.GrantTokenExchange}, "subject_token": {"id-token"}, "subject_token_type": {client.TypeIDToken},
		"actor_token": {"assertion"}, "actor_token_type": {client.TypeJWT}, "resource": {"https://a", "https://b"},
		"audience": {"c"}, "scope": {"x y"}, "requested_token_type": {client.TypeJWT},
		"authorization_details": {`[{"type":"t"}]`}, "requested_expires_in": {"60"}, "may_act": {"acme.researcher"},
	}
	if sent := s.requests()[0]; !reflect.DeepEqual(sent.form, want) || sent.url != server.TokenEndpoint {
		t.Errorf("TE3 sent %v to %s", sent.form, sent.url)
	}
	t.Run("AT9 a token that is no JWT is as good", func(t *testing.T) {
		if got.AccessToken != "opaque 1" || got.Type != "Bearer" || got.Scope != "a b" || got.ActionID != "txn.1" {
			t.Errorf("got %v", got)
		}
		if life := got.Expiry.Sub(begin); life < 300*time.Second || life > 310*time.Second {
			t.Errorf("life %v is not that of expires_in", life)
		}
	})
}

func TestAnswersThatAreRefused(t *testing.T) {
	t.Parallel()
	ok := func(more string) string { return `{"access_token":"t","token_type":"Bearer"` + more + `}` }
	for name, body := range map[string]string{
		"TE14 no expires_in":          ok(""),
		"TE14 expires_in is zero":     ok(`,"expires_in":0`),
		"TE14 expires_in is negative": ok(`,"expires_in":-300`),
		"TE14 expires_in is a text":   ok(`,"expires_in":"300"`),
		"a member twice":              ok(`,"expires_in":300,"access_token":"u"`),
		"a member in another case":    `{"Access_Token":"t","token_type":"Bearer","expires_in":300}`,
		"no token":                    `{"token_type":"Bearer","expires_in":300}`,
		"no type":                     `{"access_token":"t","expires_in":300}`,
		"no JSON":                     `<html>`,
		"too large":                   ok(`,"expires_in":300,"x":"` + strings.Repeat("x", 300<<10) + `"`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &sts{answer: func(int, seen) reply { return reply{status: http.StatusOK, body: body} }}
			if got, err := newClient(t, s, nil).Exchange(t.Context(), request); err == nil {
				t.Errorf("taken: %v", got)
			}
		})
	}
	t.Run("DP5 a bearer token in place of a bound one", func(t *testing.T) {
		t.Parallel()
		s := &sts{answer: func(int, seen) reply { return reply{status: http.StatusOK, body: ok(`,"expires_in":300`)} }}
		c := newClient(t, s, func(c *client.Config) { c.DPoP = prover{} })
		if got, err := c.Exchange(t.Context(), request); err == nil {
			t.Errorf("taken: %v", got)
		}
	})
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		answer reply
		want   client.Error
	}{
		"a refusal": {refuse(http.StatusBadRequest, "invalid_scope"),
			client.Error{Code: "invalid_scope", Description: "no", Status: 400, ActionID: "txn.9"}},
		"TE15 too many": {reply{status: 429, header: http.Header{"Retry-After": {"7"}}, body: `{"error":"temporarily_unavailable"}`},
			client.Error{Code: "temporarily_unavailable", Status: 429, RetryAfter: 7 * time.Second}},
		"an absurd Retry-After is bounded": {reply{status: 503, header: http.Header{"Retry-After": {"99999999999999"}},
			body: `{"error":"x"}`}, client.Error{Code: "x", Status: 503, RetryAfter: 5 * time.Minute}},
		"not OAuth": {reply{status: 502, body: `<html>`},
			client.Error{Description: "the server answered 502 Bad Gateway, and not with an OAuth error", Status: 502}},
		"TE8 hostile text does not reach a log": {reply{status: 400, body: `{"error":"x\u001b[2J","error_description":"a\nb\"c"}`},
			client.Error{Code: "x?[2J", Description: "a?b?c", Status: 400}},
		"a redirect is not followed": {reply{status: 307, header: http.Header{"Location": {"https://evil.example/"}}},
			client.Error{Description: "the server answered 307 Temporary Redirect, and not with an OAuth error", Status: 307}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &sts{answer: func(int, seen) reply { return v.answer }}
			_, err := newClient(t, s, nil).Exchange(t.Context(), request)
			var got *client.Error
			if !errors.As(err, &got) || *got != v.want {
				t.Fatalf("got %v, want %+v", err, v.want)
			}
			if n := len(s.requests()); n != 1 {
				t.Errorf("asked %d times", n)
			}
			for _, secret := range []string{"id-token", "s+cret"} {
				if strings.Contains(err.Error(), secret) {
					t.Error("the error holds a secret")
				}
			}
		})
	}
}

// TestSecretsDoNotPrint: whatever a program prints of a request or a token, the token is not in it.
func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	s := &sts{answer: issue(300)}
	c := newClient(t, s, nil)
	token, err := c.Token(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, v := range []any{token, &token, request, &request, client.Secret("s+cret"), client.Config{Auth: client.Secret("s+cret")},
			c, *c, c.PerRPC(request), c.Transport(request, s), c.TokenSource(t.Context(), request)} {
			text := fmt.Sprintf(verb, v)
			if strings.Contains(text, "opaque 1") || strings.Contains(text, "id-token") || strings.Contains(text, "s+cret") ||
				strings.Contains(text, fmt.Sprintf("%x", "opaque 1")) {
				t.Errorf("%s prints %s", verb, text)
			}
		}
	}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	private, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner("k", jose.ES256, private)
	if err != nil {
		t.Fatal(err)
	}
	send := func(t *testing.T, auth client.Authentication) seen {
		s := &sts{answer: issue(300)}
		if _, err := newClient(t, s, func(c *client.Config) { c.Auth = auth }).Exchange(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		return s.requests()[0]
	}
	t.Run("CA1 id and secret are form-encoded before base64", func(t *testing.T) {
		t.Parallel()
		r := http.Request{Header: send(t, client.Secret("s+c:r%t")).header}
		if id, secret, ok := r.BasicAuth(); !ok || id != "acme.orchestrator" || secret != "s%2Bc%3Ar%25t" {
			t.Errorf("sent %q %q", id, secret)
		}
	})
	t.Run("CA3 CA4 an assertion names the issuer alone, and is fresh each time", func(t *testing.T) {
		t.Parallel()
		a, b := send(t, client.PrivateKey(signer)).form, send(t, client.PrivateKey(signer)).form
		var claims struct {
			Iss, Sub, Aud, Jti string
			Iat, Exp           int64
		}
		read(t, a.Get("client_assertion"), "client-authentication+jwt", &claims)
		if claims.Iss != "acme.orchestrator" || claims.Sub != claims.Iss || claims.Aud != issuer || claims.Jti == "" ||
			claims.Exp-claims.Iat > 300 {
			t.Errorf("claims %+v", claims)
		}
		if a.Get("client_assertion") == b.Get("client_assertion") {
			t.Error("the same assertion twice")
		}
		if a.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			t.Errorf("type %s", a.Get("client_assertion_type"))
		}
	})
	t.Run("CA7 a certificate goes with the client_id", func(t *testing.T) {
		t.Parallel()
		if got := send(t, nil).form.Get("client_id"); got != "acme.orchestrator" {
			t.Errorf("client_id %q", got)
		}
	})
	t.Run("CA10 a workload's own token is asked for each time", func(t *testing.T) {
		t.Parallel()
		calls := 0
		auth := client.SPIFFE(func(context.Context) (string, error) { calls++; return fmt.Sprint("svid ", calls), nil })
		first, second := send(t, auth).form, send(t, auth).form
		if first.Get("client_assertion") != "svid 1" || second.Get("client_assertion") != "svid 2" ||
			first.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe" {
			t.Errorf("sent %v", first)
		}
	})
	t.Run("ACT9 an actor token names the key that the new token is for", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, &sts{}, func(c *client.Config) { c.Auth, c.DPoP = client.PrivateKey(signer), prover{} })
		token, err := c.ActorToken()
		if err != nil {
			t.Fatal(err)
		}
		var claims struct{ Cnf struct{ Jkt string } }
		read(t, token, "actor-assertion+jwt", &claims)
		if claims.Cnf.Jkt != "thumbprint" {
			t.Errorf("cnf %+v", claims.Cnf)
		}
		if _, err := newClient(t, &sts{}, nil).ActorToken(); err == nil {
			t.Error("an actor token without a key")
		}
	})
}

func read(t *testing.T, token, typ string, claims any) {
	t.Helper()
	m, err := jose.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	if m.Type() != typ {
		t.Errorf("typ %q, want %q", m.Type(), typ)
	}
	if err := json.Unmarshal(m.UnverifiedPayload(), claims); err != nil {
		t.Fatal(err)
	}
}

// TestNonce: DP4, DP5.
func TestNonce(t *testing.T) {
	t.Parallel()
	nonce := http.Header{"Dpop-Nonce": {"n-1"}}
	t.Run("DP4 a request that lacks the nonce is sent once more, all of it fresh", func(t *testing.T) {
		t.Parallel()
		s := &sts{answer: func(n int, v seen) reply {
			if n == 1 {
				r := refuse(http.StatusBadRequest, "use_dpop_nonce")
				r.header = nonce
				return r
			}
			return issue(300)(n, v)
		}}
		c := newClient(t, s, func(c *client.Config) { c.DPoP = prover{} })
		actors := 0
		r := request
		r.Actor = client.SourceFunc(func(context.Context) (string, error) { actors++; return fmt.Sprint("actor ", actors), nil })
		if _, err := c.Exchange(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Exchange(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		got := s.requests()
		for i, want := range []string{"", "n-1", "n-1"} {
			if proof := got[i].header.Get("Dpop"); proof != "POST|"+server.TokenEndpoint+"|"+want+"|" {
				t.Errorf("proof %d is %q", i, proof)
			}
		}
		if got[1].form.Get("actor_token") != "actor 2" {
			t.Error("an assertion was sent twice")
		}
	})
	t.Run("DP4 and not again after that", func(t *testing.T) {
		t.Parallel()
		s := &sts{answer: func(n int, _ seen) reply {
			r := refuse(http.StatusBadRequest, "use_dpop_nonce")
			r.header = http.Header{"Dpop-Nonce": {fmt.Sprint("n-", n)}}
			return r
		}}
		_, err := newClient(t, s, func(c *client.Config) { c.DPoP = prover{} }).Exchange(t.Context(), request)
		var e *client.Error
		if !errors.As(err, &e) || e.Code != "use_dpop_nonce" || len(s.requests()) != 2 {
			t.Errorf("%v after %d requests", err, len(s.requests()))
		}
	})
	t.Run("DP4 two nonces are none", func(t *testing.T) {
		t.Parallel()
		s := &sts{answer: func(int, seen) reply {
			r := refuse(http.StatusBadRequest, "use_dpop_nonce")
			r.header = http.Header{"Dpop-Nonce": {"a", "b"}}
			return r
		}}
		_, err := newClient(t, s, func(c *client.Config) { c.DPoP = prover{} }).Exchange(t.Context(), request)
		if err == nil || len(s.requests()) != 1 {
			t.Errorf("%v after %d requests", err, len(s.requests()))
		}
	})
}

func TestOtherEndpoints(t *testing.T) {
	t.Parallel()
	s := &sts{answer: func(_ int, v seen) reply {
		switch {
		case v.url == server.RevocationEndpoint:
			return reply{status: http.StatusOK}
		case v.form.Get("grant_type") == client.GrantClientCredentials:
			return issue(60)(1, v)
		case v.form.Get("token") == "dead":
			return reply{status: http.StatusOK, body: `{"active":false}`}
		}
		return reply{status: http.StatusOK, body: `{"active":true,"sub":"user:acme/s|a","client_id":"acme.b","scope":"x",
			"exp":1700000000,"act":{"sub":"agent:acme/b"},"cnf":{"jkt":"k"},"authorization_details":[{"type":"t"}],"token_type":"DPoP"}`}
	}}
	c := newClient(t, s, nil)
	live, err := c.Introspect(t.Context(), "live")
	want := client.Introspection{Active: true, Subject: "user:acme/s|a", ClientID: "acme.b", Scope: "x",
		Expiry: time.Unix(1700000000, 0), TokenType: "DPoP", Actor: `{"sub":"agent:acme/b"}`, Confirmation: `{"jkt":"k"}`,
		AuthorizationDetails: `[{"type":"t"}]`}
	if err != nil || live != want {
		t.Errorf("%+v, %v", live, err)
	}
	if dead, err := c.Introspect(t.Context(), "dead"); err != nil || dead != (client.Introspection{}) {
		t.Errorf("%+v, %v", dead, err)
	}
	if err := c.Revoke(t.Context(), "live"); err != nil {
		t.Error(err)
	}
	if token, err := c.ClientCredentials(t.Context(), client.Request{Scope: "x"}); err != nil || token.AccessToken == "" {
		t.Errorf("%v, %v", token, err)
	}
	bare := newClient(t, s, func(c *client.Config) { c.Server.IntrospectionEndpoint = "" })
	if _, err := bare.Introspect(t.Context(), "live"); err == nil {
		t.Error("asked an endpoint that is not there")
	}
}

// TestDiscover: MD1.
func TestDiscover(t *testing.T) {
	t.Parallel()
	var document string
	path := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.RequestURI()
		_, _ = w.Write([]byte(strings.ReplaceAll(document, "SELF", "http://"+r.Host)))
	}))
	t.Cleanup(server.Close)
	for _, v := range []struct {
		name, issuer, document, path string
		ok                           bool
	}{
		{"MD1 an issuer without a path", server.URL, `{"issuer":"SELF","token_endpoint":"SELF/token"}`,
			"/.well-known/oauth-authorization-server", true},
		{"MD1 the well-known part stands between host and path", server.URL + "/t1",
			`{"issuer":"SELF/t1","token_endpoint":"SELF/token"}`, "/.well-known/oauth-authorization-server/t1", true},
		{"MD1 a trailing slash goes from the URL and stays in the issuer", server.URL + "/t1/",
			`{"issuer":"SELF/t1/","token_endpoint":"SELF/token"}`, "/.well-known/oauth-authorization-server/t1", true},
		{"MD1 another issuer", server.URL, `{"issuer":"SELF/","token_endpoint":"SELF/token"}`, "", false},
		{"no token endpoint", server.URL, `{"issuer":"SELF"}`, "", false},
		{"a token endpoint in the clear", server.URL, `{"issuer":"SELF","token_endpoint":"http://sts.example/token"}`, "", false},
		{"an alias in the clear", server.URL, `{"issuer":"SELF","token_endpoint":"SELF/token",
			"mtls_endpoint_aliases":{"token_endpoint":"http://sts.example/token"}}`, "", false},
		{"an issuer in the clear", "http://sts.example", "", "", false},
		{"an issuer that only looks like loopback", "http://127.0.0.1.example", "", "", false},
		{"an issuer with a query", server.URL + "?x", "", "", false},
		{"an issuer with a fragment", server.URL + "#x", "", "", false},
		{"an issuer with a password", "https://a:b@sts.example", "", "", false},
	} {
		t.Run(v.name, func(t *testing.T) {
			document, path = v.document, ""
			m, err := client.Discover(t.Context(), v.issuer, server.Client())
			if (err == nil) != v.ok {
				t.Fatalf("%+v, %v", m, err)
			}
			if v.ok && path != v.path {
				t.Errorf("asked %s, want %s", path, v.path)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	inClear := client.Metadata{Issuer: issuer, TokenEndpoint: "http://sts.example/token"}
	for name, c := range map[string]client.Config{
		"no client id":                {Server: server},
		"no server":                   {ClientID: "a"},
		"a token endpoint over http":  {ClientID: "a", Server: inClear},
		"a negative number of tokens": {ClientID: "a", Server: server, MaxTokens: -1},
	} {
		if _, err := client.New(c); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
