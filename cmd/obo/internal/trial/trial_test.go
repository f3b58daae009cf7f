package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/vault"
)

// went is the steps as words: upper case is failed, in brackets is skipped.
func went(steps []Step) string {
	var out []string
	for _, s := range steps {
		name := map[Status]string{OK: s.Name, Failed: strings.ToUpper(s.Name), Skipped: "(" + s.Name + ")"}[s.Status]
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

func document(t *testing.T, tr Trial, steps []Step) string {
	t.Helper()
	text, err := json.Marshal(steps)
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n" + tr.Report(steps, Origin{Version: "v1"})
}

const html = "<html>canary</html>"

// TestSteps: each step fails in turn, what depends on it is skipped, the rest goes on, and nothing that is printed has a value in it.
func TestSteps(t *testing.T) {
	t.Parallel()
	secretCode := instead{400, "application/json", nil, `{"error":"canary-client-secret","canary@example.com":{"code":"canary1"}}`}
	for name, c := range map[string]struct {
		instead map[string]instead
		browser func(url.Values)
		record  []string
		server  func(*authority)
		trial   func(*Trial)
		want    string
		says    []string
		served  string // the last place that was asked
	}{
		"all": {want: "authorize exchange probe tool refresh (rotation) revoke revoked", says: []string{
			"PKCE: S256", "iss: came, and is the record's", "scopes granted: profile read", "lives 1h0m0s", "c…m (18 characters)",
			"refresh token: a new one; the record says rotation single_use", "understood: revoked (HTTP 400, invalid_grant)", `text(18)`,
		}},
		"another's state": {browser: func(q url.Values) { q.Set("state", "x") },
			want: "AUTHORIZE (exchange) (probe) (tool) (refresh) (rotation) (revoke) (revoked)", says: []string{"not to this request"}},
		"an answer twice": {browser: func(q url.Values) { q.Add("code", "canary") },
			want: "AUTHORIZE (exchange) (probe) (tool) (refresh) (rotation) (revoke) (revoked)", says: []string{"twice"}},
		"another's iss": {browser: func(q url.Values) { q.Set("iss", "https://canary.example") },
			want: "AUTHORIZE (exchange) (probe) (tool) (refresh) (rotation) (revoke) (revoked)", says: []string{"another server's (RFC 9207)"}},
		"no": {browser: func(q url.Values) { q.Set("error", "access_denied"); q.Set("error_description", "canary") },
			want: "AUTHORIZE (exchange) (probe) (tool) (refresh) (rotation) (revoke) (revoked)",
			says: []string{"said no: access_denied", "\"error\": \"access_denied\""}},
		"no code": {browser: func(q url.Values) { q.Del("code") },
			want: "AUTHORIZE (exchange) (probe) (tool) (refresh) (rotation) (revoke) (revoked)"},
		"nobody": {browser: func(q url.Values) { q.Set("never", "1") },
			want: "AUTHORIZE (exchange) (probe) (tool) (refresh) (rotation) (revoke) (revoked)", says: []string{"must be registered"}},
		"no issuer in the record": {record: []string{`, issuer: "https://notes.example"`, ""},
			want: "authorize exchange probe tool refresh (rotation) revoke revoked", says: []string{"worth adding"}},
		"client refused": {trial: func(tr *Trial) { tr.Client.ID = "client-2" },
			want: "authorize EXCHANGE (probe) (tool) (refresh) (rotation) (revoke) (revoked)", says: []string{
				"revoked (HTTP 400, invalid_grant)", "parameters code code_verifier grant_type redirect_uri", `"error_description": "text(21)"`,
				"record:     notes (a file), sha256:", "obo:        v1", "/token",
			}},
		"a code that is a secret": {instead: map[string]instead{"exchange": secretCode},
			want: "authorize EXCHANGE (probe) (tool) (refresh) (rotation) (revoke) (revoked)", says: []string{"name(18)"}},
		"no JSON": {instead: map[string]instead{"exchange": {200, "text/html", nil, html}},
			want: "authorize EXCHANGE (probe) (tool) (refresh) (rotation) (revoke) (revoked)", says: []string{"HTTP 200 text/html", "19 bytes that are not JSON"}},
		"a form": {instead: map[string]instead{"exchange": {200, formType, nil, "access_token=canary&scope=canary"}},
			want: "authorize EXCHANGE (probe) (tool) (refresh) (rotation) (revoke) (revoked)", says: []string{`"access_token": "text(6)"`}},
		"no answer": {instead: map[string]instead{"exchange": {}},
			want: "authorize EXCHANGE (probe) (tool) (refresh) (rotation) (revoke) (revoked)", says: []string{"answer:     none: EOF"}},
		"a redirect is not followed": {instead: map[string]instead{"exchange": {302, "text/html", http.Header{"Location": {"/canary"}}, ""}},
			want: "authorize EXCHANGE (probe) (tool) (refresh) (rotation) (revoke) (revoked)", says: []string{"headers location"}, served: "exchange"},
		"a scope that is something else": {record: []string{"  revoke: {", "  response: {scope: /id_token}\n  revoke: {"},
			instead: map[string]instead{"exchange": {200, "application/json", nil, `{"access_token":"canary-1","id_token":"canary1canary1"}`}},
			want:    "authorize EXCHANGE probe tool (refresh) (rotation) revoke revoked", says: []string{"scopes granted: text(14)"}},
		"fewer scopes": {instead: map[string]instead{"exchange": {200, "application/json", nil, `{"access_token":"canary-1","scope":"profile"}`}},
			want: "authorize EXCHANGE probe tool (refresh) (rotation) revoke revoked", says: []string{"granted without read", "by notes.items: there is no refresh token"}},
		"probe refused": {instead: map[string]instead{"me": {403, "application/json", http.Header{"Www-Authenticate": {`Bearer realm="canary", error="insufficient_scope"`}}, `{"code":"canary01"}`}},
			want: "authorize exchange PROBE tool refresh (rotation) revoke revoked",
			says: []string{"not accepted", "headers www-authenticate", "error=insufficient_scope", "/{site}/me", `"code": "text(8)"`}},
		"probe is broken": {instead: map[string]instead{"me": {500, "text/html", nil, html}},
			want: "authorize exchange PROBE tool refresh (rotation) revoke revoked"},
		"probe without the name": {instead: map[string]instead{"me": {200, "application/json", nil, `{"user":{"mail":"canary"}}`}},
			want: "authorize exchange PROBE tool refresh (rotation) revoke revoked", says: []string{"where probe/account of the record points", `"mail": "text(6)"`}},
		"no probe": {record: []string{"probe: {method: GET, url: /me, account: /email}", ""},
			want: "authorize exchange (probe) tool refresh (rotation) revoke revoked"},
		"tool refused": {instead: map[string]instead{"items": {429, "application/json", http.Header{"X-Ratelimit-Reset": {"1"}}, `{"status":"quota.exceeded"}`}},
			want: "authorize exchange probe TOOL refresh (rotation) revoke revoked",
			says: []string{"rate_limited", "x-ratelimit-reset", "quota.exceeded"}},
		"tool without JSON": {instead: map[string]instead{"items": {200, "text/html", nil, html}},
			want: "authorize exchange probe TOOL refresh (rotation) revoke revoked", says: []string{"is not JSON that can be read"}},
		"no tool": {trial: func(tr *Trial) { tr.Tool, tr.Arguments = nil, connection.Arguments{} },
			want: "authorize exchange probe (tool) refresh (rotation) revoke revoked", says: []string{"--tool and --args"}},
		"refresh refused": {instead: map[string]instead{"refresh": {400, "application/json", nil, `{"error":"unsupported_grant_type"}`}},
			want: "authorize exchange probe tool REFRESH (rotation) revoke revoked", says: []string{"operator_config (HTTP 400, unsupported_grant_type)"}},
		"rotated though never": {record: []string{"single_use", "never"},
			want: "authorize exchange probe tool REFRESH (rotation) revoke revoked", says: []string{"never rotated"}},
		"never rotated": {record: []string{"single_use", "never"}, server: func(a *authority) { a.rotates = false },
			want: "authorize exchange probe tool refresh (rotation) revoke revoked", says: []string{"refresh token: the same"}},
		"less than it says": {server: func(a *authority) { a.rotates = false },
			want: "authorize exchange probe tool refresh (rotation) revoke revoked", says: []string{"no harm"}},
		"reuse": {trial: func(tr *Trial) { tr.Reuse = true },
			want: "authorize exchange probe tool refresh rotation revoke revoked", says: []string{"outlives a reuse"}},
		"reuse ends the grant": {trial: func(tr *Trial) { tr.Reuse = true }, server: func(a *authority) { a.strict = true },
			want: "authorize exchange probe tool refresh rotation (revoke) (revoked)", says: []string{"a reuse ends the grant"}},
		"reuse is allowed": {trial: func(tr *Trial) { tr.Reuse = true }, server: func(a *authority) { a.kept = true },
			want: "authorize exchange probe tool refresh rotation revoke revoked", says: []string{"still good", "oauth/refresh/reuse"}},
		"reuse refused though kept": {trial: func(tr *Trial) { tr.Reuse = true }, record: []string{"single_use", "kept"},
			want: "authorize exchange probe tool refresh ROTATION revoke revoked", says: []string{"stays good"}},
		"revoke refused": {instead: map[string]instead{"revoke": {403, "application/json", nil, `{"reason":"not_allowed"}`}},
			want: "authorize exchange probe tool refresh (rotation) REVOKE (revoked)", says: []string{"oauth/revoke/done", "not_allowed"}},
		"kept": {trial: func(tr *Trial) { tr.Keep = true },
			want: "authorize exchange probe tool refresh (rotation) (revoke) (revoked)", served: "refresh"},
		"revoked looks otherwise": {instead: map[string]instead{"revoked": {400, "application/json", nil, `{"error":"token_gone","error_description":"canary"}`}},
			want: "authorize exchange probe tool refresh (rotation) revoke REVOKED", says: []string{"unavailable (HTTP 400, token_gone)", "expected:   revoked"}},
		"not revoked at all": {instead: map[string]instead{"revoked": {200, "application/json", nil, `{"access_token":"canary-2"}`}},
			want: "authorize exchange probe tool refresh (rotation) revoke REVOKED", says: []string{"still works"}},
		"a setting is missing": {trial: func(tr *Trial) { tr.Client.Settings = nil },
			want: "authorize exchange PROBE TOOL refresh (rotation) revoke revoked", says: []string{"setting site of provider notes is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			for place, x := range c.instead {
				a.instead[place] = x
			}
			if c.server != nil {
				c.server(a)
			}
			tr := a.trial(t, a.record(t, c.record...), c.browser)
			if c.trial != nil {
				c.trial(&tr)
			}
			var shown []Step
			tr.Show = func(s Step) { shown = append(shown, s) }
			steps := tr.Run(t.Context())
			if got := went(steps); got != c.want || went(shown) != got {
				t.Errorf("went   %s\nwanted %s", got, c.want)
			}
			text := document(t, tr, steps)
			for _, want := range c.says {
				if !strings.Contains(text, want) && !strings.Contains(text, strings.ReplaceAll(want, `"`, `\"`)) {
					t.Errorf("%q is not in\n%s", want, text)
				}
			}
			if strings.Contains(text, "canary") {
				t.Errorf("a value came through:\n%s", text)
			}
			if failed := slices.ContainsFunc(steps, func(s Step) bool { return s.Status == Failed }); failed != (tr.Report(steps, Origin{}) != "") {
				t.Error("a report belongs to a failure")
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			if c.served != "" && a.served[len(a.served)-1] != c.served {
				t.Errorf("asked %v", a.served)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	tr := a.trial(t, a.record(t), nil)
	tr.Pattern, tr.Credential = connection.APIKey, vault.NewCredential("", []byte("canary-key"))
	steps := tr.Run(t.Context())
	if got := went(steps); got != "probe tool" {
		t.Errorf("went %s", got)
	}
	tr.Credential = vault.NewCredential("", []byte("unwelcome"))
	steps = tr.Run(t.Context())
	if got, text := went(steps), document(t, tr, steps); got != "PROBE TOOL" || strings.Contains(text, "canary") || strings.Contains(text, "unwelcome") ||
		!strings.Contains(text, "api_key") {
		t.Errorf("went %s\n%s", got, text)
	}
}

func TestServiceAccount(t *testing.T) {
	t.Parallel()
	change := []string{"\nauth:\n", "\nauth:\n  service_account: {style: bearer}\n", "probe:", `service:
  grant: client_credentials
  token: {url: "AT/mint", client_auth: basic, body: form}
  response: {}
  scopes: {"notes:read": [read]}
probe:`}
	for name, c := range map[string]struct {
		answer instead
		want   string
	}{
		"minted":  {instead{200, "application/json", nil, `{"access_token":"canary-minted","expires_in":60}`}, "mint probe tool"},
		"refused": {instead{401, "application/json", nil, `{"error":"invalid_client","error_description":"canary"}`}, "MINT (probe) (tool)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			a.instead["mint"] = c.answer
			here := slices.Clone(change)
			here[3] = strings.ReplaceAll(here[3], "AT", a.URL)
			tr := a.trial(t, a.record(t, here...), nil)
			tr.Pattern, tr.Credential = connection.ServiceAccount, vault.NewCredential("account", []byte("canary-account-secret"))
			steps := tr.Run(t.Context())
			if got, text := went(steps), document(t, tr, steps); got != c.want || strings.Contains(text, "canary") {
				t.Errorf("went %s\n%s", got, text)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	ctx, cancel := context.WithCancel(t.Context())
	tr := a.trial(t, a.record(t), nil)
	tr.Show = func(s Step) {
		if s.Name == "exchange" {
			cancel()
		}
	}
	if got := went(tr.Run(ctx)); got != "authorize exchange (probe) (tool) (refresh) (rotation) (revoke) (revoked)" {
		t.Errorf("went %s", got)
	}
}

// TestShape: of a body nothing stays but its form and what is surely a code.
func TestShape(t *testing.T) {
	t.Parallel()
	same := func(s string) string { return s }
	for _, c := range []struct {
		body, want string
		failed     bool
	}{
		{`{"error":"invalid_grant"}`, `{"error":"invalid_grant"}`, false},
		{`{"error":"eyJhbGciOi1"}`, `{"error":"text(11)"}`, false},
		{`{"error":"Hello, Alice"}`, `{"error":"text(12)"}`, true},
		{`{"code":"Alice"}`, `{"code":"text(5)"}`, false},
		{`{"code":"NOT_FOUND","status":404}`, `{"code":"NOT_FOUND","status":404}`, true},
		{`{"id":4155551234,"ok":true,"x":null,"expires_in":3600}`, `{"expires_in":3600,"id":"number","ok":true,"x":null}`, false},
		{`{"alice@example.com":{"+14155551234":"x"}}`, `{"name(17)":{"name(12)":"text(1)"}}`, false},
		{`["a","b","c"]`, `["text(1)","text(1)","1 more"]`, false},
		{`{"a":1} {"b":2}`, `"15 bytes that are not JSON"`, false},
		{``, `"nothing"`, true},
	} {
		if got := oneLine(shape([]byte(c.body), "application/json", c.failed, same)); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.body, got, c.want)
		}
	}
	deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	if got := oneLine(shape([]byte(deep), "", false, same)); len(got) > 100 {
		t.Errorf("%s", got)
	}
	wide := map[string]int{}
	for i := range 500 {
		wide[fmt.Sprintf("%c%c%c", 'a'+i%26, 'a'+i/26%26, 'z')] = i
	}
	text, err := json.Marshal(wide)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := shape(text, "", false, same).(map[string]any); !ok || len(got) != maxFields+1 {
		t.Errorf("%d fields", len(got))
	}
}

// TestPlaces: what an argument or a setting puts into a URL does not go out.
func TestPlaces(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.Close() // nobody answers
	p := a.record(t, "path: /items", `path: "/{whose}/{number}"`, "type: object, additionalProperties: false",
		"type: object, additionalProperties: false, required: [whose, number], properties: {whose: {type: string}, number: {type: integer}}")
	tr := a.trial(t, p, nil)
	tool := p.Tools()[0]
	args, err := tool.Arguments([]byte(`{"whose":"canary @ home:1","number":4155551234}`))
	if err != nil {
		t.Fatal(err)
	}
	tr.Tool, tr.Arguments, tr.Pattern, tr.Credential = &tool, args, connection.APIKey, vault.NewCredential("", []byte("canary-key"))
	steps := tr.Run(t.Context())
	text := document(t, tr, steps)
	if went(steps) != "PROBE TOOL" || !strings.Contains(text, "/{site}/{whose}/{number}") || strings.Contains(text, "canary") ||
		strings.Contains(text, "4155551234") || !strings.Contains(text, "connection refused") || strings.Contains(text, "dial") {
		t.Errorf("went %s\n%s", went(steps), text)
	}
}
