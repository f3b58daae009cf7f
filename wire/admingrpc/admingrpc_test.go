package admingrpc_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/exchangetest"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/admingrpc"
	"github.com/onbehalf/obo/wire/grpcauth"
	"github.com/onbehalf/obo/wire/grpcerr"
)

// dial serves the world's administration; change may break a part of it.
func dial(t *testing.T, w *exchangetest.World, change func(*admin.Config)) obov1.AdminServiceClient {
	t.Helper()
	roster, err := revocation.NewRoster(revocation.RosterConfig{Store: w.Store, Hub: w.Hub, Name: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return dialWith(t, w, change, roster)
}

// dialWith is dial with another roster.
func dialWith(t *testing.T, w *exchangetest.World, change func(*admin.Config), roster admingrpc.Roster) obov1.AdminServiceClient {
	t.Helper()
	return obov1.NewAdminServiceClient(connect(t, w, change, roster))
}

// connect serves the world's administration, and makes every call with the operator's credential.
func connect(t *testing.T, w *exchangetest.World, change func(*admin.Config), roster admingrpc.Roster) *grpc.ClientConn {
	t.Helper()
	cfg := w.Admin()
	if change != nil {
		change(&cfg)
	}
	service, err := admin.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	const credential = "operator-0123456789abcdef0123456789abcdef"
	log := slog.New(slog.DiscardHandler)
	guard, err := grpcauth.New(grpcauth.Config{
		Bearer: map[string]telemetry.Secret{obov1.AdminService_ServiceDesc.ServiceName: credential},
		Administrators: &grpcauth.Administrators{
			Services: []string{obov1.AdminService_ServiceDesc.ServiceName}, Verify: w.Verifier.VerifyAdministrator, Roles: w.Roles, Log: log,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l := bufconn.Listen(1 << 20)
	s := grpcerr.NewServer(grpc.ChainUnaryInterceptor(grpcerr.Unary(log), guard.Unary), grpc.MaxRecvMsgSize(8<<20))
	admingrpc.Register(s, service, roster)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, in, out any, c *grpc.ClientConn, next grpc.UnaryInvoker,
			o ...grpc.CallOption) error {
			return next(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+credential), method, in, out, c, o...)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestRevokeWithoutAnOrg: what is of no org is an operator of the server, and nothing else.
func TestRevokeWithoutAnOrg(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	client := dial(t, w, nil)
	got, err := client.Revoke(t.Context(), &obov1.RevokeRequest{Kind: "subject", Id: "operator:corp|root"})
	if err != nil || got.GetSequence() == 0 {
		t.Errorf("an operator: %v, %v", got, err)
	}
	for _, in := range []*obov1.RevokeRequest{
		{Kind: "agent", Id: "researcher"}, {Kind: "subject", Id: "user:acme/okta|00u1"}, {Kind: "org", Id: "_platform"},
		{OrgId: "_platform", Kind: "subject", Id: "operator:corp|root"}, {OrgId: "acme", Kind: "subject", Id: "operator:corp|root"},
	} {
		if _, err := client.Revoke(t.Context(), in); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", in, err)
		}
	}
	listed, err := client.ListRevocations(t.Context(), &obov1.ListRevocationsRequest{})
	if err != nil || len(listed.GetRevocations()) != 1 || listed.GetRevocations()[0].GetId() != "operator:corp|root" {
		t.Errorf("the server's own: %v, %v", listed, err)
	}
}

// TestOperator: every method once, as an operator would go about it.
func TestOperator(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	client, ctx := dial(t, w, nil), t.Context()

	orgs, err := client.ListOrgs(ctx, &obov1.ListOrgsRequest{})
	if err != nil || strings.Join(orgs.GetOrgIds(), " ") != "acme globex initech" {
		t.Fatalf("ListOrgs: %v, %v", orgs, err)
	}
	got, err := client.GetOrg(ctx, &obov1.GetOrgRequest{OrgId: "acme"})
	if err != nil || got.GetVersion() != 1 {
		t.Fatalf("GetOrg: version %d, %v", got.GetVersion(), err)
	}
	changed := []byte(strings.Replace(string(got.GetDocument()), "ops@acme.test", "other@acme.test", 1))
	for _, dry := range []bool{true, false} {
		applied, err := client.ApplyOrg(ctx, &obov1.ApplyOrgRequest{OrgId: "acme", Document: changed, ExpectedVersion: 1, DryRun: dry})
		want := int64(2)
		if dry {
			want = 1
		}
		if err != nil || applied.GetVersion() != want || len(applied.GetChanges()) != 1 || applied.GetChanges()[0].GetKind() != "change" {
			t.Fatalf("ApplyOrg (dry %v): %v, %v", dry, applied, err)
		}
	}
	if out, err := client.ApplyPlatform(ctx, &obov1.ApplyPlatformRequest{Policies: []*obov1.PolicyFile{{
		Name: "guard.cedar", Text: `@id("guard") forbid (principal, action == Action::"exchange", resource) when { context.depth > 4 };`,
	}}}); err != nil || out.GetVersion() != 1 {
		t.Errorf("ApplyPlatform: %v, %v", out, err)
	}
	secret, err := client.RotateClientSecret(ctx, &obov1.RotateClientSecretRequest{OrgId: "acme", Agent: "researcher"})
	if err != nil || secret.GetClientId() != "acme.researcher" || len(secret.GetClientSecret()) < 43 {
		t.Errorf("RotateClientSecret: %q, %d characters, %v", secret.GetClientId(), len(secret.GetClientSecret()), err)
	}
	revoked, err := client.Revoke(ctx, &obov1.RevokeRequest{OrgId: "acme", Kind: "subject", Id: "user:acme/okta|alice", Reason: "left"})
	if err != nil || revoked.GetSequence() == 0 || revoked.GetRevocation().GetBefore() == nil {
		t.Errorf("Revoke: %v, %v", revoked, err)
	}
	entries, err := client.ListRevocations(ctx, &obov1.ListRevocationsRequest{OrgId: "acme"})
	if err != nil || len(entries.GetRevocations()) != 1 || entries.GetRevocations()[0].GetReason() != "left" {
		t.Errorf("ListRevocations: %v, %v", entries, err)
	}
	before, err := client.ListKeys(ctx, &obov1.ListKeysRequest{})
	if err != nil || len(before.GetKeys()) == 0 || before.GetKeys()[0].GetPublished() == nil {
		t.Fatalf("ListKeys: %v, %v", before, err)
	}
	after, err := client.RotateKeys(ctx, &obov1.RotateKeysRequest{})
	if err != nil || len(after.GetKeys()) <= len(before.GetKeys()) {
		t.Errorf("RotateKeys: %v, %v", after, err)
	}
}

type deaf struct{}

func (deaf) Record(context.Context, audit.Record) error { return errors.New("disk full: canary") }

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	client, broken := dial(t, w, nil), dial(t, w, func(c *admin.Config) { c.Audit = deaf{} })
	ctx := t.Context()
	apply := func(c obov1.AdminServiceClient, org, document string, version int64) error {
		_, err := c.ApplyOrg(ctx, &obov1.ApplyOrgRequest{OrgId: org, Document: []byte(document), ExpectedVersion: version})
		return err
	}
	revoke := func(c obov1.AdminServiceClient, kind string) error {
		_, err := c.Revoke(ctx, &obov1.RevokeRequest{OrgId: "acme", Kind: kind, Id: "researcher"})
		return err
	}
	_, noOrg := client.GetOrg(ctx, &obov1.GetOrgRequest{OrgId: "_platform"})
	_, noAgent := client.RotateClientSecret(ctx, &obov1.RotateClientSecretRequest{OrgId: "acme", Agent: "nobody"})
	_, badPolicy := client.ApplyPlatform(ctx, &obov1.ApplyPlatformRequest{Policies: []*obov1.PolicyFile{{
		Name: "bad.cedar", Text: "@id(\"x\")\npermit (principal, action == Action::\"exchange\", resource) when { context.detph > 4 };",
	}}})
	_, deep := client.ApplyPlatform(ctx, &obov1.ApplyPlatformRequest{Policies: []*obov1.PolicyFile{{
		Name: "deep.cedar", Text: strings.Repeat("(", 400000),
	}}})
	cases := []struct {
		name    string
		err     error
		code    codes.Code
		mention string // somewhere in the violations
	}{
		{"an org id that is none", noOrg, codes.InvalidArgument, "org_id"},
		{"no such agent", noAgent, codes.NotFound, ""},
		{"a kind that is none", revoke(client, "everything"), codes.InvalidArgument, ""},
		{"no document", apply(client, "acme", "", 1), codes.InvalidArgument, ""},
		{"an unknown member", apply(client, "acme", `{"org":"acme","isuers":[]}`, 1), codes.InvalidArgument, "isuers"},
		{"all problems at once", apply(client, "acme", `{"org":"acme","agents":[{"name":"A"},{"name":"B"}]}`, 1), codes.InvalidArgument, "agents"},
		{"GR3 another version is in force", apply(client, "acme", `{"org":"acme"}`, 7), codes.Aborted, ""},
		{"a document of 5 MiB", apply(client, "acme", strings.Repeat(" ", 5<<20), 1), codes.InvalidArgument, "document"},
		{"a wrong attribute in a policy, with its line", badPolicy, codes.InvalidArgument, "bad.cedar:2"},
		{"400,000 nested parentheses", deep, codes.InvalidArgument, "deep.cedar"},
		{"no record, no change", revoke(broken, "agent"), codes.Unavailable, ""},
	}
	for _, c := range cases {
		s := status.Convert(c.err)
		text := fmt.Sprint(s.Details())
		if s.Code() != c.code || !strings.Contains(text, c.mention) || strings.Contains(s.Message()+text, "canary") {
			t.Errorf("%s: got %s %q %s, want %s", c.name, s.Code(), s.Message(), text, c.code)
		}
		infos := 0
		for _, d := range s.Details() {
			if _, ok := d.(*errdetails.ErrorInfo); ok {
				infos++
			}
		}
		if infos != 1 {
			t.Errorf("%s: %d ErrorInfo (GR2)", c.name, infos)
		}
	}
	entries, err := client.ListRevocations(ctx, &obov1.ListRevocationsRequest{OrgId: "acme"})
	if err != nil || len(entries.GetRevocations()) != 0 {
		t.Errorf("without a record there is %v, %v", entries, err)
	}
}
