package executorgrpc_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/executor/notify"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/vault"
	"github.com/onbehalf/obo/wire/executorgrpc"
	"github.com/onbehalf/obo/wire/grpcauth"
	"github.com/onbehalf/obo/wire/grpcerr"
)

const (
	operator    = "operator-credential-0123456789abcdef"
	metadataURL = "https://executor.test/.well-known/oauth-protected-resource"
)

// scripted is an executor that answers as it is told and remembers what it was asked.
type scripted struct {
	presented executor.Presented
	token     string // of presented
	request   executor.Request
	response  executor.Response
	tools     []executor.ToolInfo
	err       error
}

func (s *scripted) Execute(_ context.Context, p executor.Presented, r executor.Request) (executor.Response, error) {
	s.presented, s.token, s.request = p, p.Token, r
	return s.response, s.err
}

func (s *scripted) ListTools(_ context.Context, p executor.Presented) (executor.Tools, error) {
	s.presented, s.token = p, p.Token
	return executor.Tools{List: s.tools, Nonce: s.response.Nonce}, s.err
}

func dial(t *testing.T, x executorgrpc.Executor, a *executor.Admin, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	roles, err := policy.NewRoles()
	must(t, err)
	guard, err := grpcauth.New(grpcauth.Config{
		Bearer: map[string]telemetry.Secret{obov1.ExecutorAdminService_ServiceDesc.ServiceName: operator},
		Open:   []string{obov1.ExecutorService_ServiceDesc.ServiceName},
		Administrators: &grpcauth.Administrators{
			Services: []string{obov1.ExecutorAdminService_ServiceDesc.ServiceName}, Roles: roles, Log: slog.New(slog.DiscardHandler),
			Verify: func(context.Context, string) (delegation.Administrator, error) {
				return delegation.Administrator{}, delegation.ErrMalformed
			},
		},
	})
	must(t, err)
	g := grpcerr.NewServer(grpc.ChainUnaryInterceptor(grpcerr.Unary(slog.New(slog.DiscardHandler)), guard.Unary),
		grpc.ChainStreamInterceptor(grpcerr.Stream(slog.New(slog.DiscardHandler)), guard.Stream))
	executorgrpc.Register(g, executorgrpc.Config{Executor: x, Hosts: []string{"bufconn"}, ResourceMetadata: metadataURL})
	if a != nil {
		executorgrpc.RegisterAdmin(g, a, "https://connect.example/connect/callback")
	}
	l := bufconn.Listen(1 << 20)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient("passthrough:///bufconn", append(options, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))...)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// nobody is an identifier to whom nobody is anybody.
type nobody struct{}

func (nobody) Identify(context.Context, delegation.OrgID, string, string, string) (string, error) {
	return "", connection.ErrNobody
}

func with(ctx context.Context, values ...string) context.Context {
	md := metadata.MD{}
	md.Append("authorization", values...)
	return metadata.NewOutgoingContext(ctx, md)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestErrors: GR1 to GR3. Each refusal has its code and exactly one ErrorInfo with the OAuth code.
func TestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err   *executor.Error
		code  codes.Code
		oauth string
	}{
		{&executor.Error{Reason: executor.InvalidToken, Description: "the token has expired"}, codes.Unauthenticated, "invalid_token"},
		{&executor.Error{Reason: executor.InvalidProof, Description: "old", ActionID: "t.c"}, codes.Unauthenticated, "invalid_dpop_proof"},
		{&executor.Error{Reason: executor.UseNonce, Nonce: "n", ActionID: "t.c"}, codes.Unauthenticated, "use_dpop_nonce"},
		{&executor.Error{Reason: executor.InsufficientScope, Scope: "tracker:write", ActionID: "t.c"}, codes.PermissionDenied, "insufficient_scope"},
		{&executor.Error{Reason: executor.AccessDenied}, codes.PermissionDenied, "access_denied"},
		{&executor.Error{Reason: executor.InvalidRequest, Field: "arguments/title"}, codes.InvalidArgument, "invalid_request"},
		{&executor.Error{Reason: executor.NotFound}, codes.NotFound, "invalid_request"},
		{&executor.Error{Reason: executor.Conflict}, codes.Aborted, "invalid_request"},
		{&executor.Error{Reason: executor.DependencyUnavailable, RetryAfter: time.Second}, codes.Unavailable, "temporarily_unavailable"},
		{&executor.Error{Reason: executor.InternalError}, codes.Internal, "server_error"},
	} {
		x := &scripted{err: c.err}
		conn := dial(t, x, nil)
		_, err := obov1.NewExecutorServiceClient(conn).Execute(with(t.Context(), "Bearer abc"), &obov1.ExecuteRequest{Tool: "a.b"})
		_, listErr := obov1.NewExecutorServiceClient(conn).ListTools(with(t.Context(), "Bearer abc"), &obov1.ListToolsRequest{})
		if status.Code(listErr) != c.code {
			t.Errorf("ListTools %s: %v", c.err.Reason, listErr)
		}
		s := status.Convert(err)
		if s.Code() != c.code {
			t.Errorf("%s: %s, want %s", c.err.Reason, s.Code(), c.code)
		}
		infos := 0
		for _, d := range s.Details() {
			switch d := d.(type) {
			case *errdetails.ErrorInfo:
				infos++
				if d.GetReason() != string(c.err.Reason) || d.GetDomain() != grpcerr.Domain || d.GetMetadata()[grpcerr.OAuthKey] != c.oauth ||
					d.GetMetadata()["scope"] != c.err.Scope || d.GetMetadata()["actionId"] != c.err.ActionID {
					t.Errorf("%s: %v", c.err.Reason, d)
				}
			case *errdetails.BadRequest:
				if d.GetFieldViolations()[0].GetField() != c.err.Field {
					t.Errorf("%s: %v", c.err.Reason, d)
				}
			case *errdetails.RetryInfo:
				if d.GetRetryDelay().AsDuration() != c.err.RetryAfter {
					t.Errorf("%s: %v", c.err.Reason, d)
				}
			}
		}
		if infos != 1 {
			t.Errorf("%s: %d ErrorInfo details", c.err.Reason, infos)
		}
	}
	conn := dial(t, &scripted{err: errors.New("the password is hunter2")}, nil)
	_, err := obov1.NewExecutorServiceClient(conn).Execute(with(t.Context(), "Bearer abc"), &obov1.ExecuteRequest{})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a bug: %v", err)
	}
}

func TestBearer(t *testing.T) {
	t.Parallel()
	x := &scripted{}
	client := obov1.NewExecutorServiceClient(dial(t, x, nil))
	for name, values := range map[string][]string{
		"none": nil, "empty": {"Bearer "}, "another scheme": {"Basic abc"}, "no scheme": {"abc"},
	} {
		_, err := client.Execute(with(t.Context(), values...), &obov1.ExecuteRequest{})
		if status.Code(err) != codes.Unauthenticated || x.token != "" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := client.ListTools(with(t.Context(), values...), &obov1.ListToolsRequest{}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	two := with(t.Context(), "Bearer abc", "DPoP abc") // DP6
	if _, err := client.Execute(two, &obov1.ExecuteRequest{}); status.Code(err) != codes.InvalidArgument || x.token != "" {
		t.Errorf("two: %v", err)
	}
	if _, err := client.Execute(with(t.Context(), "bearer abc"), &obov1.ExecuteRequest{}); err != nil || x.token != "abc" {
		t.Errorf("%q %v", x.token, err)
	}
	big := &obov1.ExecuteRequest{Arguments: strings.Repeat("a", connection.MaxArguments+8<<10)}
	if _, err := client.Execute(with(t.Context(), "Bearer abc"), big); status.Code(err) != codes.InvalidArgument {
		t.Errorf("arguments that are too large: %v", err)
	}
}

func TestExecuteTranslates(t *testing.T) {
	t.Parallel()
	x := &scripted{
		response: executor.Response{ActionID: "t.c", Result: &executor.Result{Data: []byte(`{"a":1}`), Status: 201}},
		tools:    []executor.ToolInfo{{Name: "a.b", Description: "Do.", InputSchema: []byte(`{}`), OutputSchema: []byte(`{"x":1}`), Risk: "read", Scopes: []string{"a:r"}}},
	}
	client := obov1.NewExecutorServiceClient(dial(t, x, nil))
	ctx := with(t.Context(), "Bearer abc")
	got, err := client.Execute(ctx, &obov1.ExecuteRequest{Tool: "a.b", Arguments: `{"x":2}`, Connection: "c"})
	if err != nil || got.GetActionId() != "t.c" || got.GetResult().GetData() != `{"a":1}` || got.GetResult().GetStatus() != 201 || got.GetError() != nil {
		t.Errorf("%v %v", got, err)
	}
	if x.request.Tool != "a.b" || string(x.request.Arguments) != `{"x":2}` || x.request.Connection != "c" {
		t.Errorf("%+v", x.request)
	}
	x.response = executor.Response{ActionID: "t.d", Error: &executor.ToolError{
		Kind: connection.RateLimited, Message: "Slow down.", Retryable: true, RetryAfter: time.Minute, ReconnectURL: "https://x.example",
	}}
	got, err = client.Execute(ctx, &obov1.ExecuteRequest{Tool: "a.b"})
	e := got.GetError()
	if err != nil || got.GetResult() != nil || e.GetKind() != "rate_limited" || e.GetMessage() != "Slow down." || !e.GetRetryable() ||
		e.GetRetryAfter().AsDuration() != time.Minute || e.GetReconnectUrl() != "https://x.example" {
		t.Errorf("%v %v", got, err)
	}
	tools, err := client.ListTools(ctx, &obov1.ListToolsRequest{})
	if err != nil || len(tools.GetTools()) != 1 || tools.GetTools()[0].GetOutputSchema() != `{"x":1}` || tools.GetTools()[0].GetRisk() != "read" {
		t.Errorf("%v %v", tools, err)
	}
}

// notes is a provider record.
const notes = `
name: notes
base_url: https://notes.example.com
auth: {api_key: {style: bearer}}
scopes: {"notes:read": Read.}
tools:
  - {name: ping, description: Ping., method: GET, path: /ping, risk: read, scopes: ["notes:read"],
     arguments: {type: object, additionalProperties: false}}
`

// TestAdmin: the operator's door, from the wire to the store and back. Credentials go in and never come out.
func TestAdmin(t *testing.T) {
	t.Parallel()
	client := obov1.NewExecutorAdminServiceClient(dial(t, &scripted{}, newAdmin(t)))
	if _, err := client.ListConnections(t.Context(), &obov1.ListConnectionsRequest{OrgId: "acme"}); status.Code(err) != codes.Unauthenticated {
		t.Fatalf("without a credential: %v", err)
	}
	if _, err := client.ShredOrg(with(t.Context(), "Bearer "+operator+"x"), &obov1.ShredOrgRequest{OrgId: "acme"}); status.Code(err) != codes.Unauthenticated {
		t.Fatalf("with a wrong credential: %v", err)
	}
	ctx := with(t.Context(), "Bearer "+operator)
	files := []*obov1.ProviderFile{{Name: "notes.yaml", Text: notes}}
	for _, dry := range []bool{true, false} {
		got, err := client.ApplyProviders(ctx, &obov1.ApplyProvidersRequest{OrgId: "acme", Providers: files, DryRun: dry})
		if err != nil || !slices.Contains(got.GetProviders(), "notes") || len(got.GetProviders()) != len(connection.Builtin())+1 {
			t.Fatalf("%v %v", got, err)
		}
		own, err := client.GetProviders(ctx, &obov1.GetProvidersRequest{OrgId: "acme"})
		if err != nil || len(own.GetProviders()) != map[bool]int{true: 0, false: 1}[dry] {
			t.Errorf("dry %v: %v %v", dry, own, err)
		}
	}
	files[0].Text = strings.Replace(notes, "GET", "TRACE", 1)
	_, err := client.ApplyProviders(ctx, &obov1.ApplyProvidersRequest{OrgId: "acme", Providers: files})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "tools/ping/method") || !strings.Contains(err.Error(), "notes.yaml") {
		t.Errorf("a bad record: %v", err)
	}
	put := &obov1.PutConnectionRequest{OrgId: "acme", Connection: "alice", Provider: "notes", Pattern: "api_key", Subject: "user:acme/okta|alice", Secret: "canary-credential"}
	for version := int64(1); version < 3; version++ {
		got, err := client.PutConnection(ctx, put)
		if err != nil || got.GetConnection().GetVersion() != version || got.GetConnection().GetStatus() != "active" || strings.Contains(got.String(), "canary") {
			t.Errorf("%v %v", got, err)
		}
	}
	put.Subject = "user:globex/okta|alice"
	if _, err := client.PutConnection(ctx, put); status.Code(err) != codes.InvalidArgument || strings.Contains(err.Error(), "canary") {
		t.Errorf("another org's user: %v", err)
	}
	list, err := client.ListConnections(ctx, &obov1.ListConnectionsRequest{OrgId: "acme"})
	if err != nil || len(list.GetConnections()) != 1 || list.GetConnections()[0].GetCreated().AsTime().IsZero() || strings.Contains(list.String(), "canary") {
		t.Errorf("%v %v", list, err)
	}
	lost, err := client.ShredOrg(ctx, &obov1.ShredOrgRequest{OrgId: "acme"})
	if err != nil || lost.GetConnections() != 1 {
		t.Errorf("%v %v", lost, err)
	}
	if _, err := client.DeleteConnection(ctx, &obov1.DeleteConnectionRequest{OrgId: "acme", Connection: "alice"}); err != nil {
		t.Error(err)
	}
	if _, err := client.DeleteConnection(ctx, &obov1.DeleteConnectionRequest{OrgId: "acme", Connection: "alice"}); status.Code(err) != codes.NotFound {
		t.Errorf("deleted twice: %v", err)
	}
}

func newAdmin(t *testing.T) *executor.Admin {
	t.Helper()
	a, _, _ := openAdmin(t)
	return a
}

// openAdmin makes an Admin, and says where what it has stored is.
func openAdmin(t *testing.T) (a *executor.Admin, db *sqlite.Executor, path string) {
	t.Helper()
	path = t.TempDir() + "/executor.db"
	db, err := sqlite.OpenExecutor(t.Context(), path)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	key, err := seal.NewDataKey()
	must(t, err)
	safe, err := vault.Open(vault.Config{Key: key, Org: func(id delegation.OrgID) vault.DataKeyStore { return db.Org(id) }})
	must(t, err)
	catalog, err := connection.NewCatalog(connection.CatalogConfig{Org: func(id delegation.OrgID) connection.ProviderStore { return db.Org(id) }})
	must(t, err)
	links, err := connection.NewLinks(connection.LinksConfig{
		Org: func(id delegation.OrgID) connection.Store { return db.Org(id) }, Providers: catalog, Vault: safe, Now: time.Now,
	})
	must(t, err)
	trail, err := audit.Open(audit.Config{Store: db})
	must(t, err)
	t.Cleanup(func() { trail.Close(context.Background()) })
	keys, err := vault.NewRotator(safe, func(id delegation.OrgID) vault.RotateStore { return db.Org(id) })
	must(t, err)
	events, err := executor.NewEvents(func(id delegation.OrgID) executor.EventStore { return db.Org(id) })
	must(t, err)
	log := slog.New(slog.DiscardHandler)
	keeper, err := connection.NewKeeper(connection.KeeperConfig{
		Org: func(id delegation.OrgID) connection.KeeperStore { return db.Org(id) }, Providers: catalog, Vault: safe, HTTP: http.DefaultClient,
		Now: time.Now, Log: log,
	})
	must(t, err)
	accounts, err := connection.NewConnector(connection.ConnectorConfig{
		Org: func(id delegation.OrgID) connection.ConnectorStore { return db.Org(id) }, Providers: catalog, Links: links, Vault: safe, Keeper: keeper,
		Identify: nobody{}, HTTP: http.DefaultClient, Origin: "https://connect.example", Audit: trail, Now: time.Now, Log: log,
	})
	must(t, err)
	clients, err := connection.NewClients(connection.ClientsConfig{
		Org: func(id delegation.OrgID) connection.ClientStore { return db.Org(id) }, Providers: catalog, Vault: safe, Now: time.Now,
	})
	must(t, err)
	webhooks, err := notify.NewWebhooks(notify.WebhooksConfig{
		Org: func(id delegation.OrgID) notify.Puts { return db.Org(id) }, Vault: safe, AllowLoopback: true, Now: time.Now,
		Send: notify.Sender{Vault: safe, HTTP: egress.NewClient(egress.Config{AllowPrivate: egress.Loopback(), Timeout: notify.Timeout})},
	})
	must(t, err)
	a, err = executor.NewAdmin(executor.AdminConfig{
		Providers: catalog, Links: links, Clients: clients, Themes: connection.Themes{Org: func(id delegation.OrgID) connection.ThemeStore { return db.Org(id) }, Now: time.Now}, Accounts: accounts, Release: keeper, Keys: keys, Events: events, Webhooks: webhooks, Audit: trail,
		Now: time.Now,
	})
	must(t, err)
	return a, db, path
}
