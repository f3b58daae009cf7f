package e2e_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestConnectInDev: what docs/CONNECTIONS.md proposes to try. A call without an account brings a link; whoever opens it as another person
// gets nowhere; its user signs in and allows it, and what another tool needs when that is called; ends it at the provider; and connects again.
func TestConnectInDev(t *testing.T) {
	t.Parallel()
	env := filepath.Join(startDev(t), "env")
	obo := func(args ...string) (string, error) {
		c := exec.CommandContext(t.Context(), filepath.Join(binaries, "obo"), args...)
		c.Env = []string{"HOME=" + t.TempDir(), "OBO_ENV=" + env}
		var said strings.Builder
		c.Stderr = &said
		text, err := c.Output()
		return string(text) + said.String(), err
	}
	must := func(args ...string) string {
		text, err := obo(args...)
		if err != nil {
			t.Fatalf("obo %v: %v\n%s", args, err, text)
		}
		return text
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(must("exchange", "--scope", "tracker:issues:read tracker:issues:write tracker:issues:close")), 0o600); err != nil {
		t.Fatal(err)
	}
	call := func(tool, args string) (data, kind, link string) {
		text, _ := obo("call", "tracker."+tool, "--args", args, "--token-file", token, "--output", "json")
		var answer struct {
			Result struct{ Data string }
			Error  struct {
				Kind string
				Link string `json:"reconnect_url"`
			}
		}
		if err := json.NewDecoder(strings.NewReader(text)).Decode(&answer); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		return answer.Result.Data, answer.Error.Kind, answer.Error.Link
	}
	list := func() (data, kind, link string) { return call("list_issues", `{"project":"apollo"}`) }
	if data, kind, _ := list(); !strings.Contains(data, "1202") {
		t.Fatalf("with a key: %s", kind)
	}
	must("connect", "delete", "alice-tracker")

	_, kind, link := list()
	if kind != "no_connection" || link == "" {
		t.Fatalf("without an account: %s %s", kind, link)
	}
	if page, _ := browse(t, link, "bob of acme", "issues:read"); !strings.Contains(page, "somebody else") {
		t.Errorf("bob sees\n%s", page)
	}
	if trail := must("audit", "list", "--server", "executor"); !strings.Contains(trail, "NOT_THE_USER") {
		t.Errorf("on the trail:\n%s", trail)
	}
	_, tracker := browse(t, link, "alice of acme", "issues:read")
	if data, kind, _ := list(); !strings.Contains(data, "1202") {
		t.Fatalf("connected: %s", kind)
	}
	if accounts := must("connect", "list"); !strings.Contains(accounts, "alice of acme") {
		t.Errorf("whose account it is:\n%s", accounts)
	}
	refused, _ := obo("call", "tracker.create_issue", "--args", `{"project":"apollo","title":"One"}`, "--token-file", token)
	if !strings.Contains(refused, "policy refuses this call") {
		t.Errorf("what policy does not allow, nobody is asked to grant:\n%s", refused)
	}
	if _, kind, link = call("close_issue", `{"project":"apollo","number":1}`); kind != "needs_consent" || link == "" {
		t.Fatalf("a tool that needs more: %s %s", kind, link)
	}
	browse(t, link, "alice of acme", "issues:read", "issues:close")
	if data, kind, _ := call("close_issue", `{"project":"apollo","number":1}`); !strings.Contains(data, "closed") {
		t.Fatalf("with more allowed: %s", kind)
	}

	grants := tracker + "/oauth/grants"
	for _, id := range regexp.MustCompile(`name="grant" value="([^"]+)"`).FindAllStringSubmatch(string(get(t, grants)), -1) {
		resp, err := http.PostForm(grants, url.Values{"grant": {id[1]}})
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if _, kind, link = list(); kind != "revoked" || link == "" {
		t.Fatalf("ended at the provider: %s %s", kind, link)
	}
	browse(t, link, "alice of acme", "issues:read", "issues:close")
	if data, kind, _ := list(); !strings.Contains(data, "1202") {
		t.Fatalf("connected again: %s", kind)
	}
}

// TestRecordInDev: what docs/PROVIDERS.md proposes to try. A record is held against the sample tracker, step by step.
func TestRecordInDev(t *testing.T) {
	t.Parallel()
	record := filepath.Join(startDev(t), "orgs", "acme", "providers", "sample.yaml")
	trial := exec.CommandContext(t.Context(), filepath.Join(binaries, "obo"), "providers", "test", "tracker", "--file", record,
		"--client-id", "obo-sample-test", "--allow-loopback", "--tool", "list_issues", "--args", `{"project":"apollo"}`,
		"--no-browser", "--redirect-port", port(t))
	trial.Env = []string{"HOME=" + t.TempDir()}
	var steps strings.Builder
	trial.Stdout = &steps
	said, err := trial.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := trial.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(said); lines.Scan(); {
		if at := strings.TrimSpace(lines.Text()); strings.HasPrefix(at, "http") {
			browse(t, at, "alice of acme", "issues:read")
		}
	}
	if err := trial.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &steps)
	}
	for _, step := range []string{"authorize", "exchange", "probe", "tool", "refresh", "revoke", "revoked"} {
		if !regexp.MustCompile(`(?m)^ok +` + step + `$`).MatchString(steps.String()) {
			t.Errorf("%s is not ok:\n%s", step, &steps)
		}
	}
}

// port is that of a free address.
func port(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// browse opens a link in a new browser and presses on, as somebody who allows some scopes, until nothing is left to press. It returns the
// last page, and where the provider is.
func browse(t *testing.T, link, user string, scopes ...string) (page, provider string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	button := regexp.MustCompile(`<form method="post"(?: action="([^"]+)")?|<a class="button" href="([^"]+)"`)
	next := func(resp *http.Response, err error) *http.Response {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		page = string(text)
		return resp
	}
	resp := next(browser.Get(link))
	for range 10 {
		at := resp.Request.URL
		if strings.Contains(page, "Sample tracker") {
			provider = at.Scheme + "://" + at.Host
		}
		press := button.FindStringSubmatch(page)
		if press == nil {
			return page, provider
		}
		to, err := at.Parse(press[1] + press[2])
		if err != nil {
			t.Fatal(err)
		}
		if press[2] != "" {
			resp = next(browser.Get(to.String()))
		} else {
			resp = next(browser.PostForm(to.String(), url.Values{"user": {user}, "scope": scopes}))
		}
	}
	t.Fatalf("there is no end of pages; the last:\n%s", page)
	return "", ""
}
