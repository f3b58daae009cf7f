//go:build slow

package e2e_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// scenarios set up, page by page, the bad situation that a runbook is about, run its commands, and hold what they lead to against
// what the page promises.
var scenarios = map[string]func(t *testing.T){
	"leaked-client-secret": leakedClientSecret,
	"leaked-signing-key":   leakedSigningKey,

	"leaked-key-encryption-key": leakedKeyEncryptionKey,

	"compromised-agent":     compromisedAgent,
	"departed-user":         departedUser,
	"lost-postgres-primary": lostPrimary,
	"restored-backup":       restoredBackup,
}

// TestRunbooks: every page has a scenario, every scenario a page, and every command of a page is run as it stands there.
func TestRunbooks(t *testing.T) {
	pages, err := filepath.Glob("../docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range pages {
		if name := strings.TrimSuffix(filepath.Base(p), ".md"); name != "README" {
			names = append(names, name)
		}
	}
	if known := slices.Sorted(maps.Keys(scenarios)); !slices.Equal(names, known) {
		t.Fatalf("pages %q, scenarios %q", names, known)
	}
	for _, name := range names {
		for _, part := range []string{"How it shows", "Do now", "It is over when", "Tell", "Afterwards"} {
			if !strings.Contains(page(t, name), "\n## "+part+"\n") {
				t.Errorf("%s.md has no part %q", name, part)
			}
		}
		t.Run(name, scenarios[name])
	}
}

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../docs/runbooks", name+".md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// follow runs all commands of a page, in one shell.
func follow(t *testing.T, name string, env map[string]string) {
	t.Helper()
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(page(t, name), -1) {
		script.WriteString(block[1])
	}
	if out, err := shell(t, env, script.String()); err != nil {
		t.Fatalf("%s.md: %v:\n%s", name, err, out)
	} else {
		t.Logf("%s.md:\n%s", name, out)
	}
}

func shell(t *testing.T, env map[string]string, script string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.WaitDelay = time.Second // what it has started in the background holds its output open
	cmd.Env = append(os.Environ(), "PATH="+binaries+string(filepath.ListSeparator)+env["PATH_MORE"]+string(filepath.ListSeparator)+os.Getenv("PATH"))
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// stage is obo dev, with what its env file says and a folder for what the commands write.
type stage struct {
	t     *testing.T
	dir   string
	state string // of obo dev
	env   map[string]string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, dir: t.TempDir(), state: startDev(t), env: map[string]string{}}
	text, err := os.ReadFile(filepath.Join(s.state, "env"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			s.env[name] = value
		}
	}
	s.env["EVIDENCE"] = filepath.Join(s.dir, "evidence.json")
	s.env["ORG_DIR"] = filepath.Join(s.state, "orgs", s.env["OBO_ORG"])
	return s
}

func (s *stage) file(name string) string { return filepath.Join(s.dir, name) }

// must runs a command that must go well.
func (s *stage) must(script string) {
	s.t.Helper()
	if out, err := shell(s.t, s.env, script); err != nil {
		s.t.Fatalf("%s: %v:\n%s", script, err, out)
	}
}

// refused runs a command that a server must refuse (exit code 3).
func (s *stage) refused(what, script string) {
	s.t.Helper()
	out, err := shell(s.t, s.env, script)
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != 3 {
		s.t.Errorf("%s: %v, want a refusal:\n%s", what, err, out)
	}
}

// soon repeats a command that goes well by and by: a login must be younger than a revocation, and iat counts seconds.
func (s *stage) soon(what, script string) {
	s.t.Helper()
	var out string
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if out, err = shell(s.t, s.env, script); err == nil {
			return
		}
	}
	s.t.Errorf("%s: %v:\n%s", what, err, out)
}

const (
	callWith   = `obo call tracker.list_issues --args '{"project":"apollo"}' --token-file `
	freshLogin = `obo dev token > "$OBO_USER_TOKEN_FILE"; `
)

// handedOn is a token of the orchestrator and one that it handed on to the researcher; both are good.
func (s *stage) handedOn() (first, second string) {
	s.t.Helper()
	first, second = s.file("first"), s.file("second")
	s.must(`cp "$OBO_USER_TOKEN_FILE" ` + s.file("login") + `
		obo exchange --scope "tracker:issues:read tracker:issues:write" > ` + first + `
		obo exchange --subject-token-file ` + first + ` --to researcher --scope tracker:issues:read > ` + second + "\n" +
		callWith + first + "\n" + callWith + second)
	return first, second
}

func leakedClientSecret(t *testing.T) {
	s := newStage(t)
	first, second := s.handedOn()
	s.must(`printf %s "$OBO_ORCHESTRATOR_SECRET" > ` + s.file("leaked"))
	s.env["AGENT"], s.env["SECRET_FILE"] = "orchestrator", s.file("secret")
	exchange := `obo exchange --client-id "$OBO_ORCHESTRATOR_ID" --client-secret-file `
	s.must(exchange + s.file("leaked") + " > " + s.file("stolen"))
	follow(t, "leaked-client-secret", s.env)
	s.refused("the leaked secret", freshLogin+exchange+s.file("leaked"))
	s.refused("what was got with it", callWith+s.file("stolen"))
	s.refused("the agent's token of before", callWith+first)
	s.refused("what it had handed on", callWith+second)
	s.soon("the new secret", freshLogin+exchange+s.file("secret")+" > "+s.file("new")+"; "+callWith+s.file("new"))
}

func leakedSigningKey(t *testing.T) {
	s := newStage(t)
	first, second := s.handedOn()
	before := string(get(t, s.env["OBO_ISSUER"]+"/jwks"))
	follow(t, "leaked-signing-key", s.env)
	s.refused("a token of before", callWith+first)
	s.refused("what was handed on", callWith+second)
	s.refused("an exchange of it", "obo exchange --subject-token-file "+first)
	for _, kid := range regexp.MustCompile(`"kid":"([^"]+)"`).FindAllStringSubmatch(before, -1) {
		if strings.Contains(string(get(t, s.env["OBO_ISSUER"]+"/jwks")), kid[1]) {
			t.Errorf("the key %s is still published", kid[1])
		}
	}
	s.soon("a new token", freshLogin+"obo exchange > "+s.file("new")+"; "+callWith+s.file("new"))
}

func leakedKeyEncryptionKey(t *testing.T) {
	s := newStage(t)
	first, _ := s.handedOn()
	s.env["ORGS"] = s.env["OBO_ORG"]
	for _, server := range []string{"sts", "executor"} {
		config := filepath.Join(s.state, server, "dev.yaml")
		s.env[strings.ToUpper(server)+"_CONFIG"] = config
		s.env["RELOAD_"+strings.ToUpper(server)] = "pkill -HUP -f 'obo-" + server + " serve -c " + config + "'; sleep 1"
	}
	lists := func() (ids []string) {
		for _, server := range []string{"sts", "executor"} {
			out, err := shell(t, s.env, "obo-"+server+` key list -c "$`+strings.ToUpper(server)+`_CONFIG" | awk 'NR > 1 {print $1}'`)
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			ids = append(ids, strings.Fields(out)...)
		}
		return ids
	}
	before := lists()
	s.must("obo connection list | grep alice-tracker")
	follow(t, "leaked-key-encryption-key", s.env)
	if after := lists(); len(before) != 2 || len(after) != 2 || slices.ContainsFunc(after, func(id string) bool { return slices.Contains(before, id) }) {
		t.Errorf("the keys were %q and are %q", before, after)
	}
	s.refused("a token of before", callWith+first)
	s.soon("a new token", freshLogin+"obo exchange > "+s.file("new"))
	// The executor takes the new token once it has the new key; then there is nothing to call with (exit code 5).
	s.soon("a call finds no credential", "code=0; "+callWith+s.file("new")+" || code=$?; [ $code = 5 ]")
}

func compromisedAgent(t *testing.T) {
	s := newStage(t)
	first, second := s.handedOn()
	s.env["AGENT"] = "orchestrator"
	follow(t, "compromised-agent", s.env)
	s.refused("its token", callWith+first)
	s.refused("what it handed on", callWith+second)
	s.refused("a new one", freshLogin+"obo exchange")
	s.soon("another org's agent goes on", other(s))
}

// other is an exchange in the second org.
func other(s *stage) string {
	return `obo dev token --org "$OBO_ORG2" > ` + s.file("other") +
		`; obo --org "$OBO_ORG2" exchange --as org2-agent --subject-token-file ` + s.file("other")
}

func departedUser(t *testing.T) {
	s := newStage(t)
	first, second := s.handedOn()
	s.env["SUBJECT"], s.env["CONNECTIONS"] = "user:"+s.env["OBO_ORG"]+"/sample|alice", "alice-tracker"
	s.must("obo connection list | grep alice-tracker")
	follow(t, "departed-user", s.env)
	s.refused("a token in the user's name", callWith+first)
	s.refused("what was handed on", callWith+second)
	s.refused("the login of before", "obo exchange --subject-token-file "+s.file("login"))
	s.soon("another org's user of that name goes on", other(s))
}

// operator is the environment of somebody who operates a world.
func (w *world) operator() map[string]string {
	return map[string]string{
		"OBO_STS_GRPC": w.stsAddr, "OBO_ISSUER": w.issuer, "OBO_EXECUTOR_GRPC": w.execAddr, "OBO_ORG": "acme",
		"OBO_ADMIN_TOKEN_FILE": filepath.Join(w.dir, "admin"), "REPLICAS": fmt.Sprint(w.issuer, " ", w.replica), "ORGS": "acme",
	}
}
