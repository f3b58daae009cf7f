package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/sample"
	"github.com/onbehalf/obo/jose"
)

// kept is what the files of logins hold. Nobody but their owner can read them.
func kept(t *testing.T, env map[string]string, n int) string {
	t.Helper()
	dir := filepath.Join(env["HOME"], ".local", "state", "obo", "logins")
	var all strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != n {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	for _, name := range append([]string{"."}, names(entries)...) {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
		if name != "." {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || info.Mode() != 0o600 {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
			all.Write(data)
		}
	}
	return all.String()
}

func names(entries []os.DirEntry) (out []string) {
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// TestLoginIsOfAServerAndAnOrg: a token is never shown to another server, nor used for another org. An operator's is, for all orgs
// that have no login of their own.
func TestLoginIsOfAServerAndAnOrg(t *testing.T) {
	t.Parallel()
	d, env := logins(t, nil)
	other := &door{ends: time.Now().Add(time.Minute)}
	elsewhere := with(env, "OBO_STS_GRPC", other.serve(t))
	for _, args := range [][]string{{"acme"}, {"globex"}} {
		if got := login(t, env, asAlice, args...); got.code != explain.OK {
			t.Fatalf("%+v", got)
		}
	}
	who := func(env map[string]string, org string) string {
		got := obo(t, with(env, "OBO_ORG", org), "", "org", "show")
		if got.code != explain.OK {
			return got.err
		}
		return d.callers[len(d.callers)-1]
	}
	for _, org := range []string{"acme", "globex"} {
		if got := who(env, org); got != "Bearer canary-of-"+org {
			t.Errorf("%s: %s", org, got)
		}
	}
	for name, got := range map[string]string{
		"another org": who(env, "initech"), "another server": who(elsewhere, "acme"),
		"the server itself": obo(t, with(env, "OBO_ORG", "acme"), "", "org", "list").err,
	} {
		if !strings.Contains(got, "obo login") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if len(other.callers) != 0 {
		t.Error("another server was shown a token")
	}
	if got := login(t, env, asAlice, "--operator"); got.code != explain.OK {
		t.Fatalf("%+v", got)
	}
	if got := who(env, "initech"); got != "Bearer canary-of-" {
		t.Errorf("an operator: %s", got)
	}
	if got := who(env, "acme"); got != "Bearer canary-of-acme" {
		t.Errorf("an operator who has a login of the org: %s", got)
	}
	got := obo(t, with(env, "OBO_ORG", "acme"), "", "org", "list")
	if last := d.callers[len(d.callers)-1]; got.code != explain.OK || last != "Bearer canary-of-" {
		t.Errorf("an operator who has a login of the org, to list orgs: %s, %+v", last, got)
	}
	// What is named goes first.
	file := filepath.Join(t.TempDir(), "admin")
	if err := os.WriteFile(file, []byte("named"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := who(with(env, "OBO_ADMIN_TOKEN_FILE", file), "acme"); got != "Bearer named" {
		t.Errorf("a file that is named: %s", got)
	}
	kept(t, env, 3)
}

// TestExpiredLogin: it is presented to nobody, and the error says what to do.
func TestExpiredLogin(t *testing.T) {
	t.Parallel()
	d, env := logins(t, nil)
	d.ends = time.Now().Add(-time.Second)
	env["OBO_ORG"] = "acme"
	if got := login(t, env, asAlice); got.code != explain.OK {
		t.Fatalf("%+v", got)
	}
	for _, args := range []string{"org show", "whoami"} {
		got := obo(t, env, "", strings.Fields(args)...)
		if got.code != explain.Refused || !strings.Contains(got.err, "obo login acme") || strings.Contains(got.err+got.out, "canary") {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if len(d.callers) != 0 {
		t.Error("the token was presented")
	}
}

// TestLoginThatOthersCanRead is used by nobody: they may have read it, or put it there.
func TestLoginThatOthersCanRead(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(dir, file string) error{
		"the file":   func(_, file string) error { return os.Chmod(file, 0o640) },
		"the folder": func(dir, _ string) error { return os.Chmod(dir, 0o755) },
		"a link": func(_, file string) error {
			return errors.Join(os.Rename(file, file+".real"), os.Symlink(file+".real", file))
		},
		"another's": func(_, file string) error {
			return os.WriteFile(file, []byte(`{"server":"x","org_id":"acme","token":"t"}`), 0o600)
		},
		"rubbish in it": func(_, file string) error { return os.WriteFile(file, []byte(`{`), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, env := logins(t, nil)
			env["OBO_ORG"] = "acme"
			if got := login(t, env, asAlice); got.code != explain.OK {
				t.Fatalf("%+v", got)
			}
			files, err := filepath.Glob(filepath.Join(env["HOME"], ".local/state/obo/logins/*.json"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			if err := spoil(filepath.Dir(files[0]), files[0]); err != nil {
				t.Fatal(err)
			}
			got := obo(t, env, "", "org", "show")
			if got.code != explain.Failed || !strings.Contains(got.err, "log in again") || len(d.callers) != 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestWhoami: who the servers would be shown, without the token.
func TestWhoami(t *testing.T) {
	t.Parallel()
	_, env := logins(t, nil)
	env["OBO_ORG"] = "acme"
	if got := obo(t, env, "", "whoami"); got.code != explain.Usage || !strings.Contains(got.err, "obo login") {
		t.Errorf("nobody: %+v", got)
	}
	if got := login(t, env, asAlice); got.code != explain.OK {
		t.Fatalf("%+v", got)
	}
	var w map[string]any
	got := obo(t, env, "", "whoami", "-o", "json")
	if err := json.Unmarshal([]byte(got.out), &w); err != nil || w["subject"] != "user:acme/sample|alice" || w["role"] != "policy-author" ||
		w["org_id"] != "acme" || w["server"] != env["OBO_STS_GRPC"] || w["from"] != "login" || w["expires"] == "" ||
		strings.Contains(got.out, "canary") {
		t.Errorf("%v: %s", err, got.out)
	}
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner("k", jose.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign("admin+jwt", []byte(`{"sub":"operator:okta|ann","role":"operator","org_id":"_platform","exp":4000000000}`))
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{token: "operator:okta|ann", "a credential": "operator:credential"} {
		file := filepath.Join(t.TempDir(), "admin")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got := obo(t, with(env, "OBO_ADMIN_TOKEN_FILE", file), "", "whoami")
		if got.code != explain.OK || !strings.Contains(got.out, want) || !strings.Contains(got.out, "the server itself") ||
			!strings.Contains(got.out, file) {
			t.Errorf("%s: %+v", want, got)
		}
	}
}

// TestLogout: the token is revoked and forgotten; when it cannot be revoked it is forgotten all the same, and that is said.
func TestLogout(t *testing.T) {
	t.Parallel()
	d, env := logins(t, nil)
	env["OBO_ORG"] = "acme"
	for _, refusal := range []error{nil, status.Error(codes.Unavailable, "away")} {
		d.closed = refusal
		if got := login(t, env, asAlice); got.code != explain.OK {
			t.Fatalf("%+v", got)
		}
		got := obo(t, env, "", "logout")
		if (got.code == explain.OK) != (refusal == nil) || len(d.out) == 0 || d.out[len(d.out)-1] != "canary-of-acme" ||
			strings.Contains(got.out+got.err, "canary") {
			t.Errorf("%v: %+v, out %q", refusal, got, d.out)
		}
		if text := kept(t, env, 1); strings.Contains(text, "canary") || !strings.Contains(text, sample.AdminClient) {
			t.Errorf("kept %s", text)
		}
		if got := obo(t, env, "", "org", "show"); got.code != explain.Usage {
			t.Errorf("after it: %+v", got)
		}
	}
	calls := len(d.out)
	if got := obo(t, env, "", "logout"); got.code != explain.OK || !strings.Contains(got.out, "nobody") || len(d.out) != calls {
		t.Errorf("once more: %+v", got)
	}
}

// TestLoginByFile: without a browser, and to standard output only when that is asked for.
func TestLoginByFile(t *testing.T) {
	t.Parallel()
	d, env := logins(t, nil)
	got := obo(t, env, "a.workloads.token\n", "login", "acme", "--token-file", "-", "--print")
	if got.code != explain.OK || got.out != "canary-of-acme\n" || d.seen[0].GetToken() != "a.workloads.token" {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(filepath.Join(env["HOME"], ".local")); err == nil {
		t.Error("something was kept")
	}
	got = obo(t, env, "a.workloads.token\n", "login", "acme", "--token-file", "-", "-o", "json")
	if got.code != explain.OK || strings.Contains(got.out, "canary") {
		t.Errorf("%+v", got)
	}
	kept(t, env, 1)
}
