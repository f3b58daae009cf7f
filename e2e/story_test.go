package e2e_test

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver that reads the database from outside
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/store/storetest/pgtest"
)

// TestStoryAndCanaries runs the main job and its refusals at debug level, then looks for secrets everywhere that they must
// not be: logs, errors, audit records, database files, and what reached the provider.
func TestStoryAndCanaries(t *testing.T) {
	t.Parallel()
	for name, store := range engines(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testStory(t, options{stsStore: store(t, "sts"), execStore: store(t, "executor")})
		})
	}
}

func testStory(t *testing.T, o options) {
	w := newWorld(t, o)
	w.apply(t, "acme")
	w.apply(t, "globex")
	sts := obov1.NewExchangeServiceClient(dial(t, w.stsAddr))
	executor := obov1.NewExecutorServiceClient(dial(t, w.execAddr))
	ctx := t.Context()
	subject := w.idp.idToken(t, "acme")
	var errs []string
	refused := func(what string, err error, code codes.Code, words string) {
		t.Helper()
		if status.Code(err) != code || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %v, want %s with %q", what, err, code, words)
		}
		if err != nil {
			errs = append(errs, err.Error())
		}
	}

	first, err := w.first(ctx, sts, "acme", subject, "tracker:issues:read tracker:issues:write")
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.delegate(ctx, t, sts, "acme", first.GetAccessToken(), "tracker:issues:read tracker:issues:write")
	if err != nil {
		t.Fatal(err)
	}
	w.awaitPolicy(t, executor, second.GetAccessToken())
	call := func(token, tool, args string) (*obov1.ExecuteResponse, error) {
		return executor.Execute(bearer(ctx, token), &obov1.ExecuteRequest{Tool: tool, Arguments: args})
	}
	got, err := call(second.GetAccessToken(), "tracker.create_issue", `{"project":"apollo","title":"engine"}`)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got.GetResult().GetData(), "engine") {
		t.Errorf("the provider's answer did not come back: %v", got)
	}
	if strings.Contains(got.GetResult().GetData(), "canary-credential") {
		t.Errorf("a provider's echo brought the credential to the agent: %s", got.GetResult().GetData())
	}

	narrow, err := w.delegate(ctx, t, sts, "acme", first.GetAccessToken(), "tracker:issues:read")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.delegate(ctx, t, sts, "acme", first.GetAccessToken(), "tracker:issues:read tracker:admin")
	refused("a wider scope", err, codes.PermissionDenied, "tracker:admin")
	_, err = w.first(ctx, sts, "globex", subject, "tracker:issues:read")
	refused("another org's user", err, codes.PermissionDenied, "another org")
	_, err = w.first(ctx, sts, "globex", first.GetAccessToken(), "tracker:issues:read")
	refused("another org's token under a false label", err, codes.InvalidArgument, "")
	_, err = call(second.GetAccessToken(), "tracker.create_issue", `{"project":"zeus","title":"no"}`)
	refused("a forbidden argument", err, codes.PermissionDenied, "")
	_, err = call(narrow.GetAccessToken(), "tracker.create_issue", `{"project":"apollo","title":"no"}`)
	refused("a scope the token lacks", err, codes.PermissionDenied, "tracker:issues:write")
	_, err = call(subject, "tracker.list_issues", `{"project":"apollo"}`)
	refused("an ID token at the executor", err, codes.Unauthenticated, "")
	_, err = sts.Exchange(basic(ctx, "acme.orchestrator", w.secrets["acme.orchestrator"]+"x"), &obov1.ExchangeRequest{SubjectToken: subject, SubjectTokenType: typeIDToken})
	refused("a wrong secret", err, codes.Unauthenticated, "")
	if n := w.tracker.count(); n != 1 {
		t.Errorf("the provider was called %d times, want 1: a refused call reached it", n)
	}

	// A verifier that nobody here wrote takes our token, from the metadata and the JWKS alone.
	provider := oidc.NewRemoteKeySet(ctx, w.issuer+"/jwks")
	verifier := oidc.NewVerifier(w.issuer, provider, &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{"ES256"}})
	if _, err := verifier.Verify(ctx, second.GetAccessToken()); err != nil {
		t.Errorf("go-oidc refuses our token: %v", err)
	}

	trail := append(w.records(t, w.stsAddr, "acme"), w.records(t, w.execAddr, "acme")...)
	intents := 0
	for _, r := range trail {
		if r.GetActionId() == got.GetActionId() {
			intents++
		}
	}
	if intents != 2 {
		t.Errorf("the call has %d records, want an intent and an outcome", intents)
	}

	canaries := map[string]string{
		"the subject token": subject, "a delegation token": second.GetAccessToken(),
		"alice's credential": w.tracker.key("acme"), "the orchestrator's secret": w.secrets["acme.orchestrator"],
	}
	places := map[string]string{"errors": strings.Join(errs, "\n")}
	for _, r := range trail {
		places["audit records"] += r.String() + "\n"
	}
	w.sts.kill()
	w.executor.kill()
	for _, file := range []string{w.sts.log, w.executor.log} {
		places[filepath.Base(file)] = read(t, file)
	}
	for what, url := range map[string]string{"the token server's database": o.stsStore, "the executor's database": o.execStore} {
		places[what] = contents(t, url)
		if !strings.Contains(places[what], "acme") {
			t.Fatalf("%s does not even name the org: it was not read", what)
		}
	}
	for what, secret := range canaries {
		for where, text := range places {
			if strings.Contains(text, secret) || strings.Contains(text, hex.EncodeToString([]byte(secret))) {
				t.Errorf("%s is in %s", what, where)
			}
		}
	}
	w.tracker.mu.Lock()
	defer w.tracker.mu.Unlock()
	for _, seen := range w.tracker.seen {
		if strings.Contains(seen, second.GetAccessToken()) {
			t.Error("MC3: the provider saw the inbound token")
		}
	}
}

// contents is all that a database holds: the bytes of SQLite's files, or every row of every table as text, blobs as hex.
func contents(t *testing.T, url string) string {
	t.Helper()
	var out strings.Builder
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		for _, suffix := range []string{"", "-wal"} {
			out.WriteString(read(t, path+suffix))
		}
		return out.String()
	}
	db, err := sql.Open("pgx", pgtest.Admin(t, url))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT relname FROM pg_stat_user_tables")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var table string
		var text sql.NullString
		if err := rows.Scan(&table); err != nil {
			t.Fatal(err)
		}
		if err := db.QueryRowContext(t.Context(), fmt.Sprintf("SELECT string_agg(r::text, ' ') FROM %q r", table)).Scan(&text); err != nil {
			t.Fatal(err)
		}
		out.WriteString(text.String)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// awaitPolicy waits until the executor has heard of the org: a bundle travels by the feed.
func (w *world) awaitPolicy(t *testing.T, c obov1.ExecutorServiceClient, token string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err = c.ListTools(bearer(t.Context(), token), &obov1.ListToolsRequest{}); err == nil {
			return
		}
	}
	t.Fatalf("the executor still refuses after 10 s: %v", err)
}
