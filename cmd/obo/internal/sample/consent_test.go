package sample

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// allowed lets the client into alice's account at a tracker, and returns what a code brings.
func allowed(t *testing.T, at string, scopes ...string) map[string]any {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	q := authorization(verifier, func(q url.Values) {
		q.Set("client_id", TrackerClient)
		q.Set("redirect_uri", "http://127.0.0.1:40000/connect/callback")
		q.Set("scope", "issues:read issues:close")
	})
	resp, err := noRedirects.PostForm(at+"/oauth/authorize?"+q.Encode(), url.Values{"user": {"alice of acme"}, "scope": scopes})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil || to.Query().Get("iss") != at {
		t.Fatal(resp.Status, to, err)
	}
	if to.Query().Get("error") != "" {
		return map[string]any{"error": to.Query().Get("error")}
	}
	return spend(t, at, url.Values{"grant_type": {"authorization_code"}, "code": to.Query()["code"], "code_verifier": {verifier},
		"redirect_uri": q["redirect_uri"]})
}

func spend(t *testing.T, at string, form url.Values) (out map[string]any) {
	t.Helper()
	form.Set("client_id", TrackerClient)
	resp, err := http.PostForm(at+"/oauth/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func refreshed(t *testing.T, at string, grant map[string]any) map[string]any {
	t.Helper()
	return spend(t, at, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {grant["refresh_token"].(string)}})
}

// TestTrackerGrants: RFC 6749 §6 and RFC 9700 §4.14.2: an access token ends, a refresh token is good once, and its second use ends the
// grant; RFC 7009: so does a revocation.
func TestTrackerGrants(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	_, server := tracker(t, func() time.Time { return time.Now().Add(time.Duration(later.Load())) })
	call := func(method, path string, grant map[string]any) (status int, text string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+grant["access_token"].(string))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b strings.Builder
		_ = resp.Write(&b)
		return resp.StatusCode, b.String()
	}
	const issues = "/v1/projects/apollo/issues"
	first := allowed(t, server.URL, "issues:read")
	if status, text := call("GET", "/v1/account", first); status != http.StatusOK || !strings.Contains(text, "alice of acme") {
		t.Errorf("%d %s", status, text)
	}
	if status, text := call("GET", issues, first); status != http.StatusOK || first["scope"] != "issues:read" {
		t.Errorf("%d %s %v", status, text, first)
	}
	if status, text := call("POST", issues+"/1/close", first); status != http.StatusForbidden || !strings.Contains(text, "insufficient_scope") {
		t.Errorf("%d %s", status, text)
	}
	later.Store(int64(accessLife))
	if status, text := call("GET", issues, first); status != http.StatusUnauthorized || !strings.Contains(text, "invalid_token") {
		t.Errorf("after its time: %d %s", status, text)
	}
	second := refreshed(t, server.URL, first)
	if status, text := call("GET", issues, second); status != http.StatusOK {
		t.Errorf("refreshed: %d %s", status, text)
	}
	if again := refreshed(t, server.URL, first); again["error"] != "invalid_grant" {
		t.Errorf("a refresh token was good twice: %v", again)
	}
	if status, _ := call("GET", issues, second); status != http.StatusUnauthorized {
		t.Errorf("the grant outlived a second use: %d", status)
	}
	third := allowed(t, server.URL, "issues:read", "issues:close")
	resp, err := http.PostForm(server.URL+"/oauth/revoke", url.Values{"client_id": {TrackerClient}, "token": {third["refresh_token"].(string)}})
	if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	if status, _ := call("GET", issues, third); status != http.StatusUnauthorized {
		t.Errorf("the grant outlived its revocation: %d", status)
	}
	for name, scopes := range map[string][]string{"nothing": nil, "more than was asked": {"issues:read", "issues:write"}} {
		if got := allowed(t, server.URL, scopes...); got["error"] != "access_denied" {
			t.Errorf("%s allowed: %v", name, got)
		}
	}
}
