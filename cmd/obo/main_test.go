package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
)

// ran is what a command line came to.
type ran struct {
	code     int
	out, err string
}

func obo(t *testing.T, env map[string]string, stdin string, args ...string) ran {
	t.Helper()
	var out, errOut bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(stdin), &out, &errOut, func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	})
	return ran{code, out.String(), errOut.String()}
}

// leaves lists every command as words.
func leaves(t *testing.T) []*kong.Node {
	t.Helper()
	parser, err := kong.New(&grammar{})
	if err != nil {
		t.Fatal(err)
	}
	var out []*kong.Node
	if err := kong.Visit(parser.Model, func(n kong.Visitable, next kong.Next) error {
		if node, ok := n.(*kong.Node); ok && node.Type == kong.CommandNode && !node.Hidden {
			out = append(out, node)
		}
		return next(nil)
	}); err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("found %d commands", len(out))
	}
	return out
}

func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	t.Parallel()
	for _, node := range leaves(t) {
		var args []string
		for n := node; n != nil && n.Type == kong.CommandNode; n = n.Parent {
			args = append([]string{n.Name}, args...)
		}
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			got := obo(t, nil, "", append(args, "--help")...)
			if got.code != explain.OK || !strings.Contains(got.out, "Example") || !strings.Contains(got.out, "  obo "+args[0]) {
				t.Errorf("exit %d\n%s", got.code, got.out)
			}
		})
	}
}

// A secret on a command line can be read by every process of the machine: secrets come from files and standard input.
func TestNoFlagTakesASecret(t *testing.T) {
	t.Parallel()
	secret := regexp.MustCompile(`secret|token|password|credential|key$`)
	for _, node := range leaves(t) {
		for _, f := range node.Flags {
			if f.IsBool() || !secret.MatchString(f.Name) {
				continue
			}
			if !strings.Contains(f.PlaceHolder, "FILE") && f.Enum == "" {
				t.Errorf("%s --%s takes a secret, not a file with it", node.Path(), f.Name)
			}
		}
	}
}

func TestErrorsSayWhatToDoAndHaveAnExitCode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("not-a-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	dead := map[string]string{"OBO_STS_GRPC": "127.0.0.1:1", "OBO_EXECUTOR_GRPC": "127.0.0.1:1", "OBO_ADMIN_TOKEN_FILE": token,
		"OBO_ORG": "acme"}
	for name, c := range map[string]struct {
		env  map[string]string
		args string
		code int
		want string
	}{
		"unknown command":         {nil, "frobnicate", explain.Usage, "obo --help"},
		"missing argument":        {nil, "call", explain.Usage, "obo call --help"},
		"unknown kind":            {dead, "revoke sausage x", explain.Usage, "transaction"},
		"no server known":         {nil, "org list", explain.Usage, "OBO_STS_GRPC"},
		"no operator":             {map[string]string{"OBO_STS_GRPC": "127.0.0.1:1"}, "org list", explain.Usage, "OBO_ADMIN_TOKEN_FILE"},
		"no org":                  {map[string]string{"OBO_STS_GRPC": "127.0.0.1:1"}, "revocations", explain.Usage, "OBO_ORG"},
		"server away":             {dead, "org list", explain.Unavailable, "obo dev"},
		"executor away":           {dead, "tools --token-file " + token, explain.Unavailable, "obo dev"},
		"no such file":            {dead, "tools --token-file /nonexistent", explain.Failed, "standard input"},
		"no such env file":        {nil, "org list --env /nonexistent", explain.Usage, "obo dev"},
		"not a token":             {dead, "token inspect --file " + token, explain.Failed, "base64url"},
		"after both servers":      {dead, "audit list --after 3", explain.Usage, "--server"},
		"shred without saying":    {dead, "vault shred acme", explain.Usage, "--yes"},
		"credential from nowhere": {dead, "signals credential acme events", explain.Usage, "--from-file"},
		"no org directory":        {dead, "diff -f /nonexistent", explain.Failed, "org.yaml"},
		"two from one stdin":      {dead, "call x.y --args -", explain.Usage, "--token-file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := obo(t, c.env, "", strings.Fields(c.args)...)
			if got.code != c.code || !strings.Contains(got.err, c.want) || !strings.Contains(got.err, "obo: ") {
				t.Errorf("exit %d, want %d with %q\n%s", got.code, c.code, c.want, got.err)
			}
			asJSON := obo(t, c.env, "", append(strings.Fields(c.args), "--output", "json")...)
			var doc struct{ Error explain.Problem }
			if err := json.Unmarshal([]byte(asJSON.err), &doc); err != nil || doc.Error.Code != c.code || doc.Error.What == "" {
				t.Errorf("JSON: %v\n%s", err, asJSON.err)
			}
		})
	}
}

func TestEnvFileIsUnderTheEnvironment(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("# comment\nOBO_ORG=fromfile\nOBO_STS_GRPC=127.0.0.1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set := func(name string) (string, bool) { return "fromenv", name == "OBO_ORG" }
	env, err := withEnvFile([]string{"org", "--env", file}, set)
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := env("OBO_ORG"); v != "fromenv" {
		t.Errorf("OBO_ORG is %q: what is set must win", v)
	}
	if v, _ := env("OBO_STS_GRPC"); v != "127.0.0.1:1" {
		t.Errorf("OBO_STS_GRPC is %q", v)
	}
}

// TestMissingEnvFile: obo dev writes the file that OBO_ENV names, so it cannot want it to be there; everybody else can.
func TestMissingEnvFile(t *testing.T) {
	t.Parallel()
	gone := filepath.Join(t.TempDir(), "env")
	set := func(name string) (string, bool) { return gone, name == "OBO_ENV" }
	for _, c := range []struct {
		args []string
		ok   bool
	}{
		{[]string{"dev"}, true}, {[]string{"demo"}, true}, {[]string{"dev-issuer", "--x"}, true}, {[]string{"org", "list"}, false}, {nil, false},
		{[]string{"dev", "--env", gone}, false},
	} {
		if _, err := withEnvFile(c.args, set); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.args, err)
		}
	}
}

func TestInterruptedIsItsOwnExitCode(t *testing.T) {
	t.Parallel()
	if p := explain.Of("x", context.Canceled); p.Code != explain.Interrupted {
		t.Errorf("exit %d", p.Code)
	}
}
