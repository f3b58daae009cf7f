package e2e_test

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestLogin: a person signs in by a browser at the sample provider, administers as far as the role goes, is on the trail with how the
// provider knows who it is, and signs out, after which the token is refused.
func TestLogin(t *testing.T) {
	t.Parallel()
	state := startDev(t)
	home := t.TempDir()
	command := func(args ...string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), filepath.Join(binaries, "obo"), args...)
		c.Env = []string{"HOME=" + home, "OBO_ENV=" + filepath.Join(state, "env"), "OBO_ADMIN_TOKEN_FILE="}
		return c
	}
	obo := func(args ...string) (string, error) {
		text, err := command(args...).CombinedOutput()
		return string(text), err
	}
	if text, err := obo("org", "show", "acme"); err == nil {
		t.Fatalf("before the login: %s", text)
	}
	signIn(t, command("login", "acme", "--no-browser"), "alice of acme")
	for _, c := range []struct {
		args, want string
		ok         bool
	}{
		{"whoami", "user:acme/sample|alice", true},
		{"org show acme", `"org":`, true},
		{"revoke agent orchestrator --org acme", "role does not allow", false}, // a policy-author
		{"org show globex", "obo login", false},                                // a login of acme is used for no other org
		{"org list", "obo login --operator", false},                            // which is the server's
	} {
		text, err := obo(strings.Fields(c.args)...)
		if (err == nil) != c.ok || !strings.Contains(text, c.want) {
			t.Errorf("obo %s: %v, want %q\n%s", c.args, err, c.want, text)
		}
	}
	signIn(t, command("login", "acme", "--no-browser"), "bob of acme")
	trail, err := obo("audit", "list", "--org", "acme", "--limit", "0") // an auditor
	if err != nil || !strings.Contains(trail, "by user:acme/sample|alice (policy-author)") || !strings.Contains(trail, "amr pwd, acr urn:obo:sample:password") {
		t.Errorf("%v\n%s", err, trail)
	}
	token := filepath.Join(home, "stolen")
	kept, err := filepath.Glob(filepath.Join(home, ".local/state/obo/logins/*.json"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	text, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), `"token": "`)
	stolen, _, _ := strings.Cut(rest, `"`)
	if err := os.WriteFile(token, []byte(stolen), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := obo("org", "show", "acme", "--admin-token-file", token); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if text, err := obo("logout"); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if text, err := obo("org", "show", "acme", "--admin-token-file", token); err == nil {
		t.Errorf("the token outlives the logout:\n%s", text)
	}
}

// startDev runs obo dev until the test ends, and returns its state directory.
func startDev(t *testing.T) (state string) {
	t.Helper()
	state = filepath.Join(t.TempDir(), "state")
	dev := exec.Command(filepath.Join(binaries, "obo"), "dev", "--state", state)
	dev.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out strings.Builder
	dev.Stdout, dev.Stderr = &out, &out
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- dev.Wait() }()
	t.Cleanup(func() {
		_ = dev.Process.Signal(os.Interrupt)
		<-done
	})
	awaitFile(t, filepath.Join(state, "env"), done, &out)
	return state
}

// signIn runs obo login and is the browser: it chooses who to be on the provider's page.
func signIn(t *testing.T, login *exec.Cmd, user string) {
	t.Helper()
	stderr, err := login.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := login.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	lines := bufio.NewScanner(io.TeeReader(stderr, &said))
	for lines.Scan() {
		at := strings.TrimSpace(lines.Text())
		if !strings.HasPrefix(at, "http") {
			continue
		}
		resp, err := http.PostForm(at, url.Values{"user": {user}}) // the redirect leads to obo
		if err != nil {
			t.Fatal(err)
		}
		page, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(page), "Close this window") {
			t.Errorf("%s: %s", resp.Status, page)
		}
	}
	if err := login.Wait(); err != nil {
		t.Fatalf("obo login: %v\n%s", err, &said)
	}
}
