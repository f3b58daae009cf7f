package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/registry"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/identitygrpc"
)

const executor = "https://executor.example"

// TestBinary: from `init` to a token over both doors, the trail, the revocation, and a drain.
func TestBinary(t *testing.T) {
	t.Parallel()
	b, provider := start(t), newIDP(t)
	conn := b.dial(t)
	operator := bearer(t.Context(), b.token(t, adminFile))
	secret := applyOrg(operator, t, conn, provider)
	idToken := provider.token(t, "alice")

	overGRPC := exchangeGRPC(t, conn, secret, idToken)
	overHTTP := exchangeHTTP(t, b, secret, idToken)
	for door, token := range map[string]string{"grpc": overGRPC, "http": overHTTP} {
		got := verify(t, b, token)
		if got.Subject != "user:acme/okta|alice" || got.Actor.Subject != "agent:acme/orchestrator" || got.Scope.String() != "github:read" {
			t.Errorf("%s: %+v", door, got)
		}
	}
	checkTrail(operator, t, conn)
	checkAccess(t, b, conn)
	checkIdentity(t, b, provider)

	if _, err := obov1.NewAdminServiceClient(conn).Revoke(operator, &obov1.RevokeRequest{OrgId: "acme", Kind: "agent", Id: "orchestrator"}); err != nil {
		t.Fatal(err)
	}
	_, err := obov1.NewExchangeServiceClient(conn).Exchange(basic(t.Context(), secret), &obov1.ExchangeRequest{
		SubjectToken: overGRPC, SubjectTokenType: exchange.TypeAccessToken, Resource: []string{executor},
	})
	if err == nil {
		t.Error("a revoked agent's token was exchanged")
	}

	follow, err := obov1.NewFeedServiceClient(conn).Follow(bearer(t.Context(), b.token(t, feedFile)))
	if err != nil {
		t.Fatal(err)
	}
	hello := &obov1.Hello{Name: "test", Instance: rand.Text(), StaleAfter: durationpb.New(time.Minute)}
	if err := follow.Send(&obov1.FollowRequest{Event: &obov1.FollowRequest_Hello{Hello: hello}}); err != nil {
		t.Fatal(err)
	}
	if _, err := follow.Recv(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if code := b.stop(t); code != 0 || time.Since(begin) > drainFor/2 {
		t.Errorf("SIGTERM with an open feed: exit code %d after %s: %s", code, time.Since(begin), b.text())
	}
	for name, canary := range map[string]string{
		"client secret": secret, "ID token": idToken, "token": overGRPC, "operator's credential": b.token(t, adminFile),
	} {
		if strings.Contains(b.text(), canary) {
			t.Errorf("the log holds the %s", name)
		}
	}
}

// applyOrg registers acme and returns the orchestrator's secret.
func applyOrg(ctx context.Context, t *testing.T, conn *grpc.ClientConn, p idp) string {
	t.Helper()
	document, err := jose.Encode(registry.Document{
		Org: "acme",
		Issuers: []registry.Issuer{{
			Name: "okta", URL: p.url, Audiences: []string{"app"}, TokenTypes: []string{registry.TokenTypeID}, GroupsClaim: "groups",
		}},
		Agents:    []registry.Agent{{Name: "orchestrator", Scopes: []string{"github:read"}}},
		Resources: []registry.Resource{{URI: executor, Name: "executor"}},
		Providers: []policy.Provider{{Name: "github", Scopes: []string{"github:read"}}},
		Policies: []policy.File{{Name: "acme.cedar", Text: `@id("engineers")
permit (principal, action == Action::"exchange", resource) when { context.subject in Group::"acme/engineering" };`}},
	})
	if err != nil {
		t.Fatal(err)
	}
	admin := obov1.NewAdminServiceClient(conn)
	if _, err := admin.ApplyOrg(ctx, &obov1.ApplyOrgRequest{OrgId: "acme", Document: document}); err != nil {
		t.Fatal(err)
	}
	rotated, err := admin.RotateClientSecret(ctx, &obov1.RotateClientSecretRequest{OrgId: "acme", Agent: "orchestrator"})
	if err != nil {
		t.Fatal(err)
	}
	return rotated.GetClientSecret()
}

func exchangeGRPC(t *testing.T, conn *grpc.ClientConn, secret, idToken string) string {
	t.Helper()
	out, err := obov1.NewExchangeServiceClient(conn).Exchange(basic(t.Context(), secret), &obov1.ExchangeRequest{
		SubjectToken: idToken, SubjectTokenType: exchange.TypeIDToken, Resource: []string{executor}, Scope: "github:read",
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.GetAccessToken()
}

func exchangeHTTP(t *testing.T, b *binary, secret, idToken string) string {
	t.Helper()
	resp, err := http.PostForm(b.http+"/token", url.Values{
		"grant_type": {exchange.GrantType}, "subject_token": {idToken}, "subject_token_type": {exchange.TypeIDToken},
		"audience": {"executor"}, "scope": {"github:read"}, "client_id": {"acme.orchestrator"}, "client_secret": {secret},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out struct {
		AccessToken string `json:"access_token"`
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &out); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	return out.AccessToken
}

// verify is what a consumer of tokens does, from the JWKS alone.
func verify(t *testing.T, b *binary, token string) delegation.Claims {
	t.Helper()
	keys, err := delegation.NewRemoteKeys(delegation.RemoteKeysConfig{URL: b.http + "/jwks", Client: http.DefaultClient, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	v, err := delegation.NewVerifier(delegation.VerifierConfig{
		Issuer: "http://127.0.0.1:8080", Audience: executor, Keys: keys, Revocations: delegation.NoRevocations, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return got.Claims()
}

func checkTrail(ctx context.Context, t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	out, err := obov1.NewAuditServiceClient(conn).ListRecords(ctx, &obov1.ListRecordsRequest{OrgId: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, r := range out.GetRecords() {
		kinds[r.GetKind()+"/"+r.GetOutcome()]++
	}
	if kinds["exchange/approved"] != 2 || kinds["admin/approved"] < 2 {
		t.Errorf("the trail has %v", kinds)
	}
}

// checkAccess: each credential opens its own door only, and health and reflection (a development server) need none.
func checkAccess(t *testing.T, b *binary, conn *grpc.ClientConn) {
	t.Helper()
	follower := bearer(t.Context(), b.token(t, feedFile))
	for name, ctx := range map[string]context.Context{"no credential": t.Context(), "the follower's": follower} {
		_, err := obov1.NewAdminServiceClient(conn).ListOrgs(ctx, &obov1.ListOrgsRequest{})
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("admin with %s: %v", name, err)
		}
	}
	for _, name := range []string{"", "obo.v1.ExchangeService", "obo.v1.AdminService", "obo.v1.FeedService", "obo.v1.AuditService",
		"obo.v1.IdentityService"} {
		got, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: name})
		if err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("GR8 health of %q: %v %v", name, got, err)
		}
	}
	_, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "nothing"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("GR8 health of an unknown service: %v", err)
	}
}

// checkIdentity: an executor, which has the follower's credential, learns who signed in at an issuer. The operator's opens nothing here.
func checkIdentity(t *testing.T, b *binary, provider idp) {
	t.Helper()
	ask := func(file, nonce string) (string, error) {
		c := identitygrpc.Client{Endpoints: []identitygrpc.Endpoint{{Address: b.grpc}},
			Token: func() (telemetry.Secret, error) { return telemetry.Secret(b.token(t, file)), nil }}
		token := provider.sign(t, map[string]any{"sub": "alice", "nonce": "right"})
		return c.Identify(t.Context(), "acme", telemetry.Secret(token), "app", nonce)
	}
	if got, err := ask(feedFile, "right"); err != nil || got != "user:acme/okta|alice" {
		t.Errorf("who signed in: %q, %v", got, err)
	}
	if got, err := ask(feedFile, "wrong"); got != "" || !errors.Is(err, identitygrpc.ErrRefused) {
		t.Errorf("the wrong nonce: %q, %v", got, err)
	}
	if got, err := ask(adminFile, "right"); got != "" || !errors.Is(err, identitygrpc.ErrUnavailable) {
		t.Errorf("the operator's credential: %q, %v", got, err)
	}
}

// TestInitIsValid: what init writes can be served as it is.
func TestInitIsValid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := command(t, "init", "--dir", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := command(t, "-check-config", "-c", filepath.Join(dir, configFile)).CombinedOutput(); err != nil {
		t.Errorf("-check-config of the sample: %v: %s", err, out)
	}
}

func TestBadStartIsOneClearLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(file, []byte("isuer: https://sts.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"an unknown key": {"-check-config", "-c", file},
		"no file":        {"-c", filepath.Join(dir, "none.yaml")},
	} {
		out, err := command(t, args...).CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), "obo-sts: ") || strings.Contains(string(out), "goroutine") {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

func bearer(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func basic(ctx context.Context, secret string) context.Context {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth("acme.orchestrator", secret)
	return metadata.AppendToOutgoingContext(ctx, "authorization", r.Header.Get("Authorization"))
}
