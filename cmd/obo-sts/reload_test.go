package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/config"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
)

// hup writes a configuration, asks for a reload, and waits for the next line of the log that says want.
func (b *binary) hup(t *testing.T, text, want string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, configFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	before := len(b.text())
	if err := b.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(b.text()[before:], want) {
			return
		}
	}
	t.Fatalf("the log does not say %q: %s", want, b.text()[before:])
}

// TestReload: SIGHUP puts all of a new configuration in force, or nothing, and says which keys stood in the way.
func TestReload(t *testing.T) {
	t.Parallel()
	b := start(t)
	conn := b.dial(t)
	secret := applyOrg(bearer(t.Context(), b.token(t, adminFile)), t, conn, newIDP(t))
	read, err := os.ReadFile(filepath.Join(b.dir, configFile))
	if err != nil {
		t.Fatal(err)
	}
	sound := string(read)
	admits := func(credential string) bool {
		_, err := obov1.NewAdminServiceClient(conn).ListOrgs(bearer(t.Context(), credential), &obov1.ListOrgsRequest{})
		if code := status.Code(err); code != codes.OK && code != codes.Unauthenticated {
			t.Fatal(err)
		}
		return err == nil
	}
	exchange := func() codes.Code { // a refusal by the throttle comes before that of the token
		_, err := obov1.NewExchangeServiceClient(conn).Exchange(basic(t.Context(), secret), &obov1.ExchangeRequest{SubjectToken: "x"})
		return status.Code(err)
	}
	limited := func() bool {
		for range 4 {
			if exchange() == codes.ResourceExhausted {
				return true
			}
		}
		return false
	}
	first := b.token(t, adminFile)
	second := strings.Repeat("operator-", 5)
	if err := os.WriteFile(filepath.Join(b.dir, adminFile), []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	if !admits(first) || admits(second) || limited() {
		t.Fatal("something is in force that nobody asked for")
	}

	changed := sound + "limits: {agent_rate: 1}\n"
	b.hup(t, "signing: {algorithm: EdDSA}\n"+changed, `"need_restart":"[signing.algorithm]"`)
	b.hup(t, changed+"nonsense: 1\n", "unknown key")
	b.hup(t, changed+"drain: {delay: 1h}\n", "drain.delay: is 1h: use 0s to 5m")
	if !admits(first) || admits(second) || limited() {
		t.Error("part of a refused configuration is in force")
	}
	b.hup(t, strings.Replace(changed, "level: debug", "level: info", 1), `"changed":"[limits.agent_rate log.level]"`)
	if admits(first) || !admits(second) || !limited() {
		t.Error("the new configuration is not in force")
	}
	b.hup(t, sound, "configuration reloaded")
	if limited() {
		t.Error("the limit is still in force")
	}
	if strings.Contains(b.text(), second) || strings.Contains(b.text(), first) {
		t.Error("the log holds a credential")
	}
	if code := b.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestCheckConfig: everything that is wrong, at once, for people and for programs.
func TestCheckConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := filepath.Join(dir, configFile)
	if out, err := command(t, "init", "--dir", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("isuer: x\nlog: {level: loud}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(file string) (out checkedConfig, code int) {
		t.Helper()
		cmd := command(t, "-check-config", "-c", file, "--output", "json")
		text, _ := cmd.Output()
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return out, cmd.ProcessState.ExitCode()
	}
	if out, code := check(good); code != 0 || !out.Valid || len(out.Problems) != 0 || out.File != good {
		t.Errorf("a sound file: %d %+v", code, out)
	}
	out, code := check(bad)
	if code != 1 || out.Valid || len(out.Problems) < 8 {
		t.Errorf("a bad file: %d %+v", code, out)
	}
	for _, p := range out.Problems {
		if p.What == "" || p.Do == "" {
			t.Errorf("%+v", p)
		}
	}
	if out, code := check(filepath.Join(dir, "none")); code != 1 || len(out.Problems) != 1 || out.Problems[0].Do == "" {
		t.Errorf("no file: %d %+v", code, out)
	}
	text, err := command(t, "-check-config", "-c", bad).CombinedOutput()
	if err == nil || !strings.Contains(string(text), `unknown key "isuer"`) || !strings.Contains(string(text), "log.level") {
		t.Errorf("for people: %v %s", err, text)
	}
}

type checkedConfig struct {
	File     string
	Valid    bool
	Problems []config.Problem
}
