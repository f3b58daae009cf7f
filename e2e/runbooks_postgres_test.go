//go:build slow

package e2e_test

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store/storetest/pgtest"
)

// revokeToken revokes a token at a replica, confirmed.
func (w *world) revokeToken(t *testing.T, address, token string) {
	t.Helper()
	request := &obov1.RevokeRequest{OrgId: "acme", Kind: "token", Id: claimsOf(t, token)["jti"].(string)}
	if _, err := obov1.NewAdminServiceClient(dial(t, address)).Revoke(bearer(t.Context(), w.admin), request); err != nil {
		t.Fatal(err)
	}
}

// good is a new token of the orchestrator.
func (w *world) good(t *testing.T) string {
	t.Helper()
	c := obov1.NewExchangeServiceClient(dial(t, w.stsAddr))
	r, err := w.first(t.Context(), c, "acme", w.idp.idToken(t, "acme"), "tracker:issues:read")
	if err != nil {
		t.Fatal(err)
	}
	return r.GetAccessToken()
}

// within waits for what must become so by itself.
func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so after 30 s", what)
		}
	}
}

// lostPrimary: the primary is gone the moment after a revocation was confirmed, and nothing is lost.
func lostPrimary(t *testing.T) {
	primary, err := pgtest.Start(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = primary.Stop() })
	dsn := primary.Database(t) // goes with the server: nothing can be dropped once that is gone
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Stop() })
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = url.Values{"host": {primary.Socket() + "," + standby.Socket()}, "target_session_attrs": {"read-write"}}.Encode()
	w := newWorld(t, options{stsStore: u.String(), replica: true, noExecutor: true})
	w.apply(t, "acme")
	v := w.newVerifier(t, w.address2)
	bad, fine := w.good(t), w.good(t)
	says := func(token string, want verdict) func() bool {
		return func() bool { got, _ := v.judge(t.Context(), token); return got == want }
	}
	within(t, "a good token", says(bad, accepted))

	w.revokeToken(t, w.stsAddr, bad)
	if err := primary.Crash(); err != nil {
		t.Fatal(err)
	}
	within(t, "nobody is let in on an old state", says(fine, unavailable))

	env := w.operator()
	env["STANDBY"], env["PATH_MORE"] = standby.DSN(), standby.Bin()
	follow(t, "lost-postgres-primary", env)
	within(t, "good again by itself", says(fine, accepted))
	if got, err := v.judge(t.Context(), bad); err != nil || got != revoked {
		t.Errorf("the token that was revoked just before: %s, %v", got, err)
	}
	w.revokeToken(t, w.address2, fine)
	within(t, "a revocation on the new primary", says(fine, revoked))
	w.good(t)
}

// restoredBackup: a backup from before a revocation, a disabled agent and a replaced secret is restored under running replicas.
func restoredBackup(t *testing.T) {
	cluster, err := pgtest.Start(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Stop() })
	dsn := cluster.Database(t)
	w := newWorld(t, options{stsStore: dsn, replica: true})
	w.apply(t, "acme")
	v := w.newVerifier(t, w.stsAddr)
	says := func(token string, want verdict) func() bool {
		return func() bool { got, _ := v.judge(t.Context(), token); return got == want }
	}
	env := w.operator()
	env["PATH_MORE"], env["DUMP"] = cluster.Bin(), filepath.Join(w.dir, "dump")
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	env["SERVER"], env["DATABASE"], env["ROLE"] = cluster.DSN(), strings.TrimPrefix(u.Path, "/"), u.User.Username()
	u.User = url.User("obo_test_admin")
	env["WHOLE"] = u.String()
	if out, err := shell(t, env, `pg_dump -Fc -f "$DUMP" -d "$WHOLE"`); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	// Since the backup: a token is revoked, the orchestrator's secret has leaked and is replaced, the researcher is disabled.
	bad, fine, login := w.good(t), w.good(t), w.idp.idToken(t, "acme")
	w.revokeToken(t, w.stsAddr, bad)
	within(t, "revoked", says(bad, revoked))
	id := "acme.orchestrator"
	leaked := w.secrets[id]
	admin := obov1.NewAdminServiceClient(dial(t, w.stsAddr))
	if _, err := admin.RotateClientSecret(bearer(t.Context(), w.admin),
		&obov1.RotateClientSecretRequest{OrgId: "acme", Agent: "orchestrator", DropPrevious: true}); err != nil {
		t.Fatal(err)
	}
	w.change(t, admin, func(doc map[string]any) { doc["agents"].([]any)[1].(map[string]any)["disabled"] = true })
	env["ORG_DIRS"] = w.orgFolder(t, admin)

	restore := `psql -q "$SERVER" -c "DROP DATABASE $DATABASE WITH (FORCE)" -c "CREATE DATABASE $DATABASE OWNER $ROLE"
		pg_restore --exit-on-error -d "$WHOLE" "$DUMP"`
	if out, err := shell(t, env, restore); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, p := range []*process{w.sts, w.second} {
		within(t, "a running replica notices and ends", func() bool { return ended(p.pid()) })
		if log, err := os.ReadFile(p.log); err != nil || !strings.Contains(string(log), "the store went back in time") {
			t.Errorf("%s does not say why it ended: %v", p.log, err)
		}
		p.kill()
	}

	w.write(t, "start", `nohup "$STS_BINARY" serve -c "$STS_CONFIG" >> "$STS_CONFIG.log" 2>&1 &
echo $! > "$STS_CONFIG.pid"
until curl -fs "$OBO_ISSUER/healthz"; do sleep 0.1; done
`)
	env["START_STS"] = "bash " + filepath.Join(w.dir, "start")
	env["STS_BINARY"], env["STS_CONFIG"] = w.sts.binary, w.sts.config
	env["LEAKED"], env["SECRET_DIR"] = "acme/orchestrator", t.TempDir()
	t.Cleanup(func() {
		if text, err := os.ReadFile(w.sts.config + ".pid"); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	follow(t, "restored-backup", env)

	within(t, "the token whose revocation was lost", says(bad, revoked))
	within(t, "every other token of before", says(fine, revoked))
	secret, err := os.ReadFile(filepath.Join(env["SECRET_DIR"], "acme.orchestrator"))
	if err != nil {
		t.Fatal(err)
	}
	c := obov1.NewExchangeServiceClient(dial(t, w.stsAddr))
	first := func(secret, login string) (string, codes.Code) {
		w.secrets[id] = secret
		r, err := w.first(t.Context(), c, "acme", login, "tracker:issues:read")
		return r.GetAccessToken(), status.Code(err)
	}
	if _, code := first(leaked, w.idp.idToken(t, "acme")); code != codes.Unauthenticated {
		t.Errorf("the secret that had leaked: %s", code)
	}
	fresh := strings.TrimSpace(string(secret))
	if _, code := first(fresh, login); code == codes.OK {
		t.Error("a login of before starts something")
	}
	var token string
	within(t, "a new login with the new secret", func() bool {
		var code codes.Code
		token, code = first(fresh, w.idp.idToken(t, "acme"))
		return code == codes.OK
	})
	within(t, "the new token", says(token, accepted))
	if _, err := w.delegate(t.Context(), t, c, "acme", token, "tracker:issues:read"); err == nil {
		t.Error("the disabled agent gets a token")
	}
}

// ended reports whether a child has ended; nobody has waited for it yet.
func ended(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(text), ") Z ")
}

// orgFolder is acme as its people have it in version control.
func (w *world) orgFolder(t *testing.T, admin obov1.AdminServiceClient) string {
	t.Helper()
	now, err := admin.GetOrg(bearer(t.Context(), w.admin), &obov1.GetOrgRequest{OrgId: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(now.GetDocument(), &doc); err != nil {
		t.Fatal(err)
	}
	delete(doc, "providers")
	delete(doc, "policies")
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("org")
	for name, content := range map[string]string{
		"org.yaml": string(text), "policies/org.cedar": strings.ReplaceAll(policies, "ORG", "acme"), "providers/tracker.yaml": w.tracker.record(),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(w.dir, dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		w.write(t, filepath.Join(dir, name), content)
	}
	return filepath.Join(w.dir, dir)
}
