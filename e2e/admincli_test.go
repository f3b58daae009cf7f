package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/policy"
)

// obo runs the program as somebody who holds a token of both servers, and answers with its exit code and what it printed.
func (w *world) obo(t *testing.T, token string, args ...string) (code int, out string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), filepath.Join(binaries, "obo"), args...)
	c.Env = append(os.Environ(), "OBO_STS_GRPC="+w.stsAddr, "OBO_EXECUTOR_GRPC="+w.execAddr, "OBO_ADMIN_TOKEN_FILE="+file,
		"OBO_EXECUTOR_ADMIN_TOKEN_FILE=", "OBO_ORG=acme", "OBO_ENV=", "NO_COLOR=1")
	var text bytes.Buffer
	c.Stdout, c.Stderr = &text, &text
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), text.String()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, text.String()
}

// tokenOf signs a person of acme in, and answers with the token.
func (w *world) tokenOf(t *testing.T, sub string) string {
	t.Helper()
	got, err := obov1.NewSignInServiceClient(dial(t, w.stsAddr)).SignIn(t.Context(),
		&obov1.SignInRequest{OrgId: "acme", Token: w.idp.idTokenOf(t, "acme", adminAudience, sub)})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetToken()
}

// orgDir writes acme's files: as it is in force, and what a test makes of them.
func (w *world) orgDir(t *testing.T, more map[string]string, change func(doc map[string]any)) string {
	t.Helper()
	got, err := obov1.NewAdminServiceClient(dial(t, w.stsAddr)).GetOrg(bearer(t.Context(), w.admin), &obov1.GetOrgRequest{OrgId: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(got.GetDocument(), &doc); err != nil {
		t.Fatal(err)
	}
	delete(doc, "policies") // both have files of their own, and what is in force stays
	delete(doc, "providers")
	if change != nil {
		change(doc)
	}
	org, err := json.Marshal(doc) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"org.yaml":               string(org),
		"providers/tracker.yaml": w.tracker.record(),
	}
	maps.Copy(files, more)
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestRolesAtThePlan: an auditor and a policy-author see how files differ from what is in force, whatever differs. The auditor carries
// nothing out, the policy-author policies alone, the org-admin all of it.
func TestRolesAtThePlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.apply(t, "acme", administrators)
	auditor, author, admin := w.tokenOf(t, policy.RoleAuditor), w.tokenOf(t, policy.RolePolicyAuthor), w.tokenOf(t, policy.RoleOrgAdmin)
	const refused, differs = 3, 6
	if code, out := w.obo(t, admin, "apply", "-f", w.orgDir(t, nil, nil), "--yes"); code != 0 {
		t.Fatalf("exit %d, %s", code, out)
	}
	const more = `@id("more") forbid (principal, action == Action::"exchange", resource) when { context.depth > 7 };`
	policies := w.orgDir(t, map[string]string{"policies/more.cedar": more}, nil)
	everything := w.orgDir(t, map[string]string{
		"policies/more.cedar": more, "providers/tracker.yaml": w.tracker.record() + "\n# another text\n",
	}, func(doc map[string]any) { doc["limits"] = map[string]any{"max_depth": 4} })
	for role, token := range map[string]string{"auditor": auditor, "policy-author": author, "org-admin": admin} {
		code, out := w.obo(t, token, "diff", "-f", everything, "--exit-code")
		if code != differs || !strings.Contains(out, "+ policies/more.cedar") || !strings.Contains(out, "+ limits/max_depth") ||
			!strings.Contains(out, "~ providers/tracker.yaml") {
			t.Errorf("diff as %s: exit %d, %s", role, code, out)
		}
	}
	for _, c := range []struct {
		who, token, dir, says string
		code                  int
	}{
		{"an auditor", auditor, policies, "role does not allow", refused},
		{"a policy-author, of more", author, everything, "role does not allow", refused},
		{"a policy-author, of policies", author, policies, "applied acme", 0},
		{"a policy-author, again", author, policies, "nothing to do", 0},
		{"an org-admin", admin, everything, "applied acme", 0},
	} {
		if code, out := w.obo(t, c.token, "apply", "-f", c.dir, "--yes"); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("apply as %s: exit %d, %s", c.who, code, out)
		}
	}
	if code, out := w.obo(t, auditor, "diff", "-f", everything, "--exit-code"); code != 0 {
		t.Errorf("in the end: exit %d, %s", code, out)
	}
}

// TestFollowersOfARealServer: the executor is listed, and a revocation that waits comes back when the executor has it in force.
func TestFollowersOfARealServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.apply(t, "acme")
	client := obov1.NewAdminServiceClient(dial(t, w.stsAddr))
	ctx := bearer(t.Context(), w.admin)
	revoked, err := client.Revoke(ctx, &obov1.RevokeRequest{OrgId: "acme", Kind: "agent", Id: "researcher"})
	if err != nil {
		t.Fatal(err)
	}
	await := &obov1.AwaitSequenceRequest{Sequence: revoked.GetSequence(), Timeout: durationpb.New(20 * time.Second)}
	done, err := client.AwaitSequence(ctx, await)
	if err != nil || !done.GetComplete() || len(done.GetReplicas()) != 1 || len(done.GetReplicas()[0].GetFollowers()) != 1 {
		t.Fatalf("%v, %v", done, err)
	}
	if f := done.GetReplicas()[0].GetFollowers()[0]; f.GetSequence() < revoked.GetSequence() || f.GetLost() != nil {
		t.Errorf("%v", f)
	}
	code, out := w.obo(t, w.admin, "followers")
	if code != 0 || !strings.Contains(out, "current") || !strings.Contains(out, "seen ") {
		t.Errorf("exit %d, %s", code, out)
	}
	code, out = w.obo(t, w.admin, "revoke", "agent", "orchestrator", "--wait", "--wait-for", "20s", "-o", "json")
	var answer struct{ Followers json.RawMessage }
	i := strings.Index(out, "{") // the line before is for people
	if code != 0 || i < 0 || json.Unmarshal([]byte(out[i:]), &answer) != nil {
		t.Fatalf("exit %d, %s", code, out)
	}
	var waited obov1.AwaitSequenceResponse
	if err := protojson.Unmarshal(answer.Followers, &waited); err != nil || !waited.GetComplete() || len(waited.GetReplicas()) != 1 ||
		len(waited.GetReplicas()[0].GetFollowers()) != 1 {
		t.Errorf("%v, %s", err, out)
	}
}
