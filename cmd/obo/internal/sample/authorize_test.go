package sample

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
)

const callback = "http://127.0.0.1:40000/callback"

// noRedirects sees where a browser would be sent.
var noRedirects = http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func authorization(verifier string, change func(url.Values)) url.Values {
	q := url.Values{
		"response_type": {"code"}, "client_id": {AdminClient}, "redirect_uri": {callback}, "scope": {"openid"}, "state": {"s"}, "nonce": {"n"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}
	if change != nil {
		change(q)
	}
	return q
}

// choose posts the page's form and returns the answer to the client.
func choose(t *testing.T, at string, q url.Values, user string) url.Values {
	t.Helper()
	resp, err := noRedirects.PostForm(at+"/authorize?"+q.Encode(), url.Values{"user": {user}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		t.Fatal(resp.Status, err)
	}
	if !strings.HasPrefix(to.String(), q.Get("redirect_uri")+"?") {
		t.Fatalf("sent to %s", to)
	}
	return to.Query()
}

func redeem(t *testing.T, at string, form url.Values) (int, map[string]any) {
	t.Helper()
	resp, err := http.PostForm(at+"/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, out
}

// TestAuthorizationCode: RFC 6749 §4.1, RFC 7636, RFC 9207: a code is good once, for its client, its redirect URI and its verifier.
func TestAuthorizationCode(t *testing.T) {
	t.Parallel()
	server, _ := issuer(t)
	verifier := oauth2.GenerateVerifier()
	for name, c := range map[string]struct {
		change func(url.Values)
		ok     bool
	}{
		"good":                    {nil, true},
		"another verifier":        {func(f url.Values) { f.Set("code_verifier", oauth2.GenerateVerifier()) }, false},
		"no verifier":             {func(f url.Values) { f.Del("code_verifier") }, false},
		"another port":            {func(f url.Values) { f.Set("redirect_uri", "http://127.0.0.1:40001/callback") }, false},
		"another client":          {func(f url.Values) { f.Set("client_id", PagesClient) }, false},
		"another code":            {func(f url.Values) { f.Set("code", "x") }, false},
		"the implicit grant type": {func(f url.Values) { f.Set("grant_type", "implicit") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := choose(t, server.URL, authorization(verifier, nil), "alice of acme")
			if got.Get("state") != "s" || got.Get("iss") != server.URL || got.Get("code") == "" {
				t.Fatalf("answered %v", got)
			}
			form := url.Values{"grant_type": {"authorization_code"}, "client_id": {AdminClient}, "redirect_uri": {callback},
				"code": got["code"], "code_verifier": {verifier}}
			if c.change != nil {
				c.change(form)
			}
			status, out := redeem(t, server.URL, form)
			if (status == http.StatusOK) != c.ok || (out["id_token"] != nil) != c.ok {
				t.Fatalf("%d %v", status, out)
			}
			if !c.ok {
				return
			}
			var keys jose.JSONWebKeySet
			fetch(t, server.URL+"/jwks", &keys)
			token, err := jwt.ParseSigned(out["id_token"].(string), []jose.SignatureAlgorithm{jose.RS256})
			if err != nil {
				t.Fatal(err)
			}
			var claims struct {
				Nonce    string `json:"nonce"`
				Subject  string `json:"sub"`
				Audience string `json:"aud"`
			}
			if err := token.Claims(keys, &claims); err != nil || claims.Nonce != "n" || claims.Subject != "alice" || claims.Audience != AdminClient {
				t.Errorf("%v, %+v", err, claims)
			}
			if status, out := redeem(t, server.URL, form); status == http.StatusOK {
				t.Errorf("the code was good twice: %v", out)
			}
		})
	}
}

// TestAuthorizationRefused: what is wrong with the client or the redirect URI goes nowhere but to the browser (RFC 6749 §4.1.2.1);
// what else is wrong goes back to the client.
func TestAuthorizationRefused(t *testing.T) {
	t.Parallel()
	server, _ := issuer(t)
	for name, c := range map[string]struct {
		change func(url.Values)
		want   string // the error; empty: it is sent nowhere
	}{
		"nobody":               {nil, "access_denied"},
		"no PKCE":              {func(q url.Values) { q.Del("code_challenge") }, "invalid_request"},
		"plain PKCE":           {func(q url.Values) { q.Set("code_challenge_method", "plain") }, "invalid_request"},
		"the implicit flow":    {func(q url.Values) { q.Set("response_type", "id_token") }, "unsupported_response_type"},
		"no openid":            {func(q url.Values) { q.Set("scope", "profile") }, "invalid_scope"},
		"no client":            {func(q url.Values) { q.Set("client_id", "other") }, ""},
		"another's redirect":   {func(q url.Values) { q.Set("client_id", PagesClient) }, ""},
		"another host":         {func(q url.Values) { q.Set("redirect_uri", "http://evil.test:1/callback") }, ""},
		"localhost":            {func(q url.Values) { q.Set("redirect_uri", "http://localhost:1/callback") }, ""},
		"another path":         {func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1:1/callback/x") }, ""},
		"another scheme":       {func(q url.Values) { q.Set("redirect_uri", "https://127.0.0.1:1/callback") }, ""},
		"a user in it":         {func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1:1@evil.test:2/callback") }, ""},
		"a query in it":        {func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1:1/callback?x=y") }, ""},
		"a fragment in it":     {func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1:1/callback#x") }, ""},
		"no port":              {func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1/callback") }, ""},
		"nowhere to be sent":   {func(q url.Values) { q.Del("redirect_uri") }, ""},
		"the host as a prefix": {func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1.evil.test:1/callback") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := authorization(oauth2.GenerateVerifier(), c.change)
			if c.want == "" {
				resp, err := noRedirects.PostForm(server.URL+"/authorize?"+q.Encode(), url.Values{"user": {"alice of acme"}})
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Location") != "" {
					t.Errorf("%s, sent to %q", resp.Status, resp.Header.Get("Location"))
				}
				return
			}
			if got := choose(t, server.URL, q, ""); got.Get("error") != c.want || got.Get("state") != "s" || got.Has("code") {
				t.Errorf("answered %v", got)
			}
		})
	}
}

// TestAuthorizationPage: it names everybody, cannot be framed, and is not served under a name that was rebound to loopback.
func TestAuthorizationPage(t *testing.T) {
	t.Parallel()
	server, _ := issuer(t)
	at := server.URL + "/authorize?" + authorization(oauth2.GenerateVerifier(), nil).Encode()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{"": http.StatusOK, "evil.test": http.StatusMisdirectedRequest} {
		req.Host = host
		resp, err := noRedirects.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		_ = resp.Write(&b)
		_ = resp.Body.Close()
		if resp.StatusCode != want || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") ||
			(want == http.StatusOK) != strings.Contains(b.String(), `value="bob of acme"`) {
			t.Errorf("host %q: %s", host, b.String())
		}
	}
}
