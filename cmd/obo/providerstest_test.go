package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
)

// consent is standard error with a person beside it, who follows the link that it shows and grants access.
type consent struct {
	bytes.Buffer
	ctx  context.Context
	link *regexp.Regexp
	came chan error
}

func (c *consent) Write(p []byte) (int, error) {
	if m := c.link.FindSubmatch(p); m != nil {
		go func() { c.came <- c.grant(string(m[0])) }()
	}
	return c.Buffer.Write(p)
}

func (c *consent) grant(link string) error {
	u, err := url.Parse(link)
	if err != nil {
		return err
	}
	back := u.Query().Get("redirect_uri") + "?" + url.Values{"code": {"canary-code"}, "state": {u.Query().Get("state")}}.Encode()
	r, err := http.NewRequestWithContext(c.ctx, http.MethodGet, back, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}

const liveRecord = `name: live
base_url: AT
auth: {oauth: {style: bearer}, api_key: {style: bearer}, basic: {style: basic}}
scopes: {"live:read": Read.}
oauth:
  authorize: {url: "AT/authorize", pkce: S256}
  token: {url: "AT/token", client_auth: body, body: form}
  refresh: {rotation: unknown}
  no_revoke: Take the access away at AT.
  response: {}
  scopes: {"live:read": [read]}
tools:
  - {name: get, description: Get., method: GET, path: "/things/{id}", risk: read, scopes: ["live:read"],
     arguments: {type: object, additionalProperties: false, required: [id], properties: {id: {type: string, maxLength: 40}}}}
  - {name: list, description: List., method: GET, path: /things, risk: read, scopes: ["live:read"],
     arguments: {type: object, additionalProperties: false}}
  - {name: make, description: Make., method: POST, path: /things, risk: write, scopes: ["live:read"],
     arguments: {type: object, additionalProperties: false}}
`

// live is a provider with a record of it, and a folder with credentials.
func live(t *testing.T) (dir, record string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/token" && r.FormValue("code") == "canary-code" && r.FormValue("client_secret") == "canary-secret":
			fmt.Fprint(w, `{"access_token":"canary-key"}`)
		case r.URL.Path == "/things" && strings.Contains(r.Header.Get("Authorization"), "Bearer canary-key"):
			fmt.Fprint(w, `["canary"]`)
		default:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"no_good","error_description":"canary"}`)
		}
	}))
	t.Cleanup(s.Close)
	dir = t.TempDir()
	record = filepath.Join(dir, "live.yaml")
	for name, text := range map[string]string{record: strings.ReplaceAll(liveRecord, "AT", s.URL),
		filepath.Join(dir, "secret"): "canary-secret", filepath.Join(dir, "key"): "canary-key"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, record
}

// TestProvidersTestByBrowser: the whole command, with a loopback listener and a person.
func TestProvidersTestByBrowser(t *testing.T) {
	t.Parallel()
	dir, record := live(t)
	var out bytes.Buffer
	person := &consent{ctx: t.Context(), link: regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+/authorize\?\S+`), came: make(chan error, 1)}
	code := run(t.Context(), []string{"providers", "test", "live", "--file", record, "--client-id", "client-1", "--redirect-port", "0",
		"--client-secret-file", filepath.Join(dir, "secret"), "--no-browser", "--allow-loopback"}, strings.NewReader(""), &out, person,
		func(string) (string, bool) { return "", false })
	if code != explain.OK {
		t.Fatalf("exit %d\n%s%s", code, out.String(), person.String())
	}
	if err := <-person.came; err != nil {
		t.Error(err)
	}
	for _, want := range []string{"ok      authorize", "ok      exchange", "skipped probe", "ok      tool", "live.list", "skipped refresh", "Take the access away"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if !strings.Contains(person.String(), "must be registered with the redirect URI http://127.0.0.1:") {
		t.Errorf("%s", person.String())
	}
	if all := out.String() + person.String(); strings.Contains(all, "canary") || strings.Contains(all, "Paste") {
		t.Errorf("%s", all)
	}
}

// TestProvidersTestOfAKey: standard input, a failure with what to paste, JSON.
func TestProvidersTestOfAKey(t *testing.T) {
	t.Parallel()
	dir, record := live(t)
	args := []string{"providers", "test", "live", "--file", record, "--pattern", "api_key", "--allow-loopback"}
	if got := obo(t, nil, "canary-key\n", args...); got.code != explain.OK || strings.Contains(got.out+got.err, "canary") {
		t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
	}
	args = append(args, "--secret-file", filepath.Join(dir, "key"), "--tool", "get", "--args", `{"id":"canary-thing"}`)
	got := obo(t, nil, "", args...)
	for _, want := range []string{"FAILED  tool", "Paste this into an issue", "GET 127.0.0.1:", "/things/{id}", "no_good", "text(6)", "bad_request"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("%q is not in\n%s", want, got.out)
		}
	}
	if got.code != explain.Failed || strings.Contains(got.out+got.err, "canary") || !strings.Contains(got.err, "1 of 2 steps failed") {
		t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
	}
	got = obo(t, nil, "", append(args, "-o", "json")...)
	var doc struct {
		Provider, Digest, Report string
		Steps                    []struct{ Step, Status string }
	}
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || got.code != explain.Failed || doc.Provider != "live" ||
		!strings.HasPrefix(doc.Digest, "sha256:") || len(doc.Steps) != 2 || doc.Steps[1].Status != "failed" || !strings.Contains(doc.Report, "no_good") {
		t.Errorf("%v\n%s", err, got.out)
	}
	if strings.Contains(got.out, "canary") {
		t.Errorf("%s", got.out)
	}
	// The strict client does not go to this machine.
	if got := obo(t, nil, "canary-key", "providers", "test", "live", "--file", record, "--pattern", "api_key"); got.code != explain.Failed ||
		!strings.Contains(got.out, "--allow-loopback") {
		t.Errorf("exit %d\n%s", got.code, got.out)
	}
}

func TestProvidersTestMisuse(t *testing.T) {
	t.Parallel()
	_, record := live(t)
	for name, c := range map[string]struct {
		args string
		code int
		want string
	}{
		"no such provider":  {"nobody", explain.Failed, "obo providers list"},
		"no such pattern":   {"live --file R --pattern service_account", explain.Usage, "oauth"},
		"another's record":  {"other --file R", explain.Usage, "is of live"},
		"not a record":      {"live --file /nonexistent", explain.Failed, "obo providers lint"},
		"no client":         {"live --file R", explain.Usage, "--client-id"},
		"no user":           {"live --file R --pattern basic", explain.Usage, "--username"},
		"no such setting":   {"live --file R --setting a=b", explain.Usage, "setting a"},
		"a setting missing": {"oauth2 --client-id x", explain.Usage, "--setting NAME=VALUE"},
		"no such tool":      {"live --file R --pattern api_key --tool nothing", explain.Usage, "live.nothing"},
		"a tool that makes": {"live --file R --pattern api_key --tool make", explain.Usage, "its risk is write"},
		"bad arguments":     {"live --file R --pattern api_key --tool get", explain.Usage, "--args"},
		"no such scope":     {"live --file R --scope x", explain.Usage, "obo providers show live"},
		"no key":            {"live --file R --pattern api_key", explain.Failed, "standard input is empty"},
		"no secret":         {"live --file R --client-id x", explain.Failed, "standard input is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"providers", "test"}, strings.Fields(strings.ReplaceAll(c.args, " R", " "+record))...)
			if got := obo(t, nil, "", args...); got.code != c.code || !strings.Contains(got.err, c.want) {
				t.Errorf("exit %d, want %d with %q\n%s", got.code, c.code, c.want, got.err)
			}
		})
	}
}
