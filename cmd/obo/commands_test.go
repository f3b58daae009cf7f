package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
)

// fake is both servers at once. It remembers what came.
type fake struct {
	obov1.UnimplementedExchangeServiceServer
	obov1.UnimplementedExecutorServiceServer
	obov1.UnimplementedAuditServiceServer
	mu            sync.Mutex
	exchange      *obov1.ExchangeRequest
	authorization string
	proofs        []string // of every attempt
	revoked       string
}

// noted remembers a call's metadata. A proof without the nonce n-1 is refused, as a server does that demands nonces.
func (f *fake) noted(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	f.authorization = strings.Join(md.Get("authorization"), ",")
	for _, proof := range md.Get("dpop") {
		f.proofs = append(f.proofs, proof)
		if m, _, err := jose.ParseProof(proof); err != nil || !strings.Contains(string(m.UnverifiedPayload()), `"nonce":"n-1"`) {
			_ = grpc.SetTrailer(ctx, metadata.Pairs("dpop-nonce", "n-1"))
			return status.Error(codes.Unauthenticated, "use a nonce")
		}
	}
	return nil
}

func (f *fake) Introspect(_ context.Context, r *obov1.IntrospectRequest) (*obov1.IntrospectResponse, error) {
	if r.GetSigned() {
		return &obov1.IntrospectResponse{Jwt: "signed." + r.GetToken()}, nil
	}
	return &obov1.IntrospectResponse{Active: true, Claims: `{"active":true,"sub":"user:acme/s|alice"}`}, nil
}

func (f *fake) RevokeToken(_ context.Context, r *obov1.RevokeTokenRequest) (*obov1.RevokeTokenResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked = r.GetToken()
	return &obov1.RevokeTokenResponse{}, nil
}

func (f *fake) ListTools(ctx context.Context, _ *obov1.ListToolsRequest) (*obov1.ListToolsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &obov1.ListToolsResponse{Tools: []*obov1.Tool{{Name: "tracker.echo"}}}, f.noted(ctx)
}

func (f *fake) Exchange(ctx context.Context, r *obov1.ExchangeRequest) (*obov1.ExchangeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.exchange = r
	if err := f.noted(ctx); err != nil {
		return nil, err
	}
	if strings.Contains(r.GetScope(), "wide") {
		s, _ := status.New(codes.PermissionDenied, "the subject_token does not have: wide").WithDetails(&errdetails.ErrorInfo{
			Reason: "INVALID_SCOPE", Domain: "obo.dev", Metadata: map[string]string{"oauthError": "invalid_scope", "actionId": "txn.id"}})
		return nil, s.Err()
	}
	return &obov1.ExchangeResponse{AccessToken: "issued", Scope: r.GetScope(), AuthorizationDetails: r.GetAuthorizationDetails(),
		ActionId: "txn.id"}, nil
}

func (f *fake) Execute(_ context.Context, r *obov1.ExecuteRequest) (*obov1.ExecuteResponse, error) {
	if r.GetTool() == "tracker.broken" {
		return &obov1.ExecuteResponse{ActionId: "txn.c", Outcome: &obov1.ExecuteResponse_Error{Error: &obov1.ToolError{
			Kind: "revoked", Message: "the key is no longer good\x1b[2J", ReconnectUrl: "https://example.com/connect"}}}, nil
	}
	return &obov1.ExecuteResponse{ActionId: "txn.c", Outcome: &obov1.ExecuteResponse_Result{Result: &obov1.ToolResult{
		Data: r.GetArguments(), Status: 200}}}, nil
}

func (f *fake) ListRecords(_ context.Context, r *obov1.ListRecordsRequest) (*obov1.ListRecordsResponse, error) {
	out := &obov1.ListRecordsResponse{}
	if r.GetAfter() == 0 { // two pages
		out.Next = 1
	}
	out.Records = append(out.Records, &obov1.AuditRecord{Sequence: r.GetAfter() + 1, Time: timestamppb.Now(), ActionId: "txn.id",
		Kind: "exchange", Outcome: "refused", Reason: "INVALID_SCOPE", Detail: "wide\x1b]0;title\a", Subject: "user:acme/s|alice",
		Chain: []string{"agent:acme/b", "agent:acme/a"}, PolicyIds: []string{"org/no"}, PolicyVersion: "1"})
	return out, nil
}

// environment is a fake with the variables that point to it.
func environment(t *testing.T) (*fake, map[string]string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	s := grpc.NewServer()
	obov1.RegisterExchangeServiceServer(s, f)
	obov1.RegisterExecutorServiceServer(s, f)
	obov1.RegisterAuditServiceServer(s, f)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	dir := t.TempDir()
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	private, err := jose.MarshalPrivateJWK("k", jose.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"key": string(private), "token": "header.payload.signature\n", "admin": "operator"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f, map[string]string{
		"OBO_STS_GRPC": l.Addr().String(), "OBO_EXECUTOR_GRPC": l.Addr().String(), "OBO_ISSUER": "http://127.0.0.1:9",
		"OBO_ADMIN_TOKEN_FILE": filepath.Join(dir, "admin"), "OBO_ORG": "acme", "OBO_TOKEN_FILE": filepath.Join(dir, "token"),
		"OBO_USER_TOKEN_FILE": filepath.Join(dir, "token"), "OBO_EXECUTOR_AUDIENCE": "https://executor.example",
		"OBO_ORCHESTRATOR_ID": "acme.orchestrator", "OBO_ORCHESTRATOR_SECRET": "s3cret",
		"OBO_RESEARCHER_ID": "acme.researcher", "OBO_RESEARCHER_KEY": filepath.Join(dir, "key"),
	}
}

func TestExchangeHandsOnWithAFreshAssertion(t *testing.T) {
	t.Parallel()
	f, env := environment(t)
	got := obo(t, env, "", "exchange", "--subject-token-type", "access_token", "--to", "researcher", "--scope", "a b")
	if got.code != 0 || got.out != "issued\n" {
		t.Fatalf("exit %d\n%s%s", got.code, got.out, got.err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.exchange.GetSubjectToken() != "header.payload.signature" || f.exchange.GetResource()[0] != "https://executor.example" {
		t.Errorf("sent %v", f.exchange)
	}
	if !strings.HasPrefix(f.authorization, "Basic ") {
		t.Error("the client did not authenticate")
	}
	m, err := jose.Parse(f.exchange.GetActorToken())
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(m.UnverifiedPayload(), &claims); err != nil {
		t.Fatal(err)
	}
	// CA3, CA4: iss = sub = the client, aud is the issuer alone, a jti, at most 5 minutes.
	life := claims["exp"].(float64) - claims["iat"].(float64)
	if claims["iss"] != "acme.researcher" || claims["sub"] != "acme.researcher" || claims["aud"] != "http://127.0.0.1:9" ||
		claims["jti"] == "" || life > 300 {
		t.Errorf("assertion %v", claims)
	}
}

func TestRefusalIsExitCode3AndNamesTheReason(t *testing.T) {
	t.Parallel()
	_, env := environment(t)
	got := obo(t, env, "", "exchange", "--subject-token-type", "access_token", "--scope", "wide", "-o", "json")
	var doc struct{ Error explain.Problem }
	if err := json.Unmarshal([]byte(got.err), &doc); err != nil {
		t.Fatal(err, got.err)
	}
	if got.code != explain.Refused || doc.Error.Reason != "INVALID_SCOPE" || doc.Error.OAuth != "invalid_scope" ||
		doc.Error.Action != "txn.id" {
		t.Errorf("exit %d, %+v", got.code, doc.Error)
	}
	for _, secret := range []string{"s3cret", "header.payload.signature"} {
		if strings.Contains(got.err+got.out, secret) {
			t.Errorf("the output holds a secret: %s", got.err)
		}
	}
}

func TestCall(t *testing.T) {
	t.Parallel()
	_, env := environment(t)
	got := obo(t, env, `{"from":"stdin"}`, "call", "tracker.echo", "--args", "-")
	if got.code != 0 || got.out != `{"from":"stdin"}`+"\n" {
		t.Errorf("exit %d: %s%s", got.code, got.out, got.err)
	}
	got = obo(t, env, "", "call", "tracker.broken")
	if got.code != explain.ToolError || !strings.Contains(got.err, "https://example.com/connect") || strings.Contains(got.err, "\x1b") {
		t.Errorf("exit %d: %q", got.code, got.err)
	}
	got = obo(t, env, "", "call", "tracker.echo", "-o", "json")
	var doc struct {
		Result struct{ Status int }
	}
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || doc.Result.Status != 200 {
		t.Errorf("%v: %s", err, got.out)
	}
}

// What came from outside cannot steer the terminal, and there is no colour when it is none.
func TestAuditShowMergesBothServersAndIsClean(t *testing.T) {
	t.Parallel()
	_, env := environment(t)
	got := obo(t, env, "", "audit", "show", "txn.id")
	if got.code != 0 || strings.ContainsAny(got.out, "\x1b\a") {
		t.Fatalf("exit %d: %q %s", got.code, got.out, got.err)
	}
	for _, want := range []string{"user:acme/s|alice", "└─ agent:acme/a", "   └─ agent:acme/b", "org/no", "INVALID_SCOPE", "sts",
		"executor"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("lacks %q:\n%s", want, got.out)
		}
	}
	got = obo(t, env, "", "audit", "list", "-o", "json", "--limit", "0")
	var doc []struct{ Server string }
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || len(doc) != 4 {
		t.Errorf("%v: %s", err, got.out)
	}
}
