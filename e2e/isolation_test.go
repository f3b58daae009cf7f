package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/policy"
)

// adminAudience is the client id with which people sign in to administer. No agent presents logins of it.
const adminAudience = "obo-admin"

// rpc is one method of the administrators' services, at the server that has it.
type rpc struct {
	desc protoreflect.MethodDescriptor
	conn *grpc.ClientConn
}

// full is the name as gRPC has it.
func (m rpc) full() string {
	return fmt.Sprintf("/%s/%s", m.desc.Parent().FullName(), m.desc.Name())
}

// call makes the call, and answers with what comes back and the whole status.
func (m rpc) call(ctx context.Context, t *testing.T, in proto.Message) (proto.Message, *status.Status) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out := dynamicpb.NewMessage(m.desc.Output())
	if !m.desc.IsStreamingServer() && !m.desc.IsStreamingClient() {
		return out, status.Convert(m.conn.Invoke(ctx, m.full(), in, out))
	}
	stream, err := m.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, m.full())
	if err == nil {
		err = stream.SendMsg(in)
	}
	if err == nil {
		_ = stream.CloseSend()
		err = stream.RecvMsg(out)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return out, status.Convert(err)
}

// methods lists every method of the administrators' services by reflection over what the .proto files say, so that one that is
// added is tried too.
func (w *world) methods(t *testing.T) (out []rpc) {
	sts, executor := dial(t, w.stsAddr), dial(t, w.execAddr)
	for _, s := range []struct {
		file protoreflect.FileDescriptor
		name protoreflect.Name
		at   *grpc.ClientConn
	}{
		{obov1.File_obo_v1_admin_proto, "AdminService", sts}, {obov1.File_obo_v1_admin_proto, "ExecutorAdminService", executor},
		{obov1.File_obo_v1_audit_proto, "AuditService", sts}, {obov1.File_obo_v1_audit_proto, "AuditService", executor},
	} {
		service := s.file.Services().ByName(s.name)
		if service == nil {
			t.Fatalf("there is no %s", s.name)
		}
		for i := range service.Methods().Len() {
			out = append(out, rpc{service.Methods().Get(i), s.at})
		}
	}
	return out
}

// signIn signs a person of an org in to administer it, and answers with a context that has the token.
func (w *world) signIn(ctx context.Context, t *testing.T, org, sub string) (context.Context, error) {
	t.Helper()
	got, err := obov1.NewSignInServiceClient(dial(t, w.stsAddr)).SignIn(ctx,
		&obov1.SignInRequest{OrgId: org, Token: w.idp.idTokenOf(t, org, adminAudience, sub)})
	return bearer(ctx, got.GetToken()), err
}

// administrators gives each role to a person of that name.
func administrators(doc map[string]any) {
	var list []any
	for _, role := range policy.OrgRoles() {
		list = append(list, map[string]any{"role": role, "issuer": "idp", "audience": adminAudience, "subject": role})
	}
	doc["administrators"] = list
}

// TestAdministratorsStayInTheirOrg: every method of every administrators' service, found by reflection, is tried by an
// administrator of each role of acme against globex, against an org that does not exist and against the server itself, each request
// with all of its fields set to what is globex's. All are refused in the very same words, so nothing can be read, listed, counted,
// guessed or changed (threat: tenant mix-up). What the role may do in its own org, it may; and a request about its own org that names
// what is globex's, down to the token of a page, shows and changes nothing of globex.
func TestAdministratorsStayInTheirOrg(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	roles, err := policy.NewRoles()
	if err != nil {
		t.Fatal(err)
	}
	operator := bearer(t.Context(), w.admin)
	w.apply(t, "acme", administrators)
	w.apply(t, "globex")
	theirs := w.foreign(operator, t, "globex")
	before := w.snapshot(operator, t, "globex")
	methods := w.methods(t)
	if len(methods) < 19 {
		t.Fatalf("%d methods", len(methods))
	}
	for i, role := range policy.OrgRoles() {
		ctx, err := w.signIn(t.Context(), t, "acme", role)
		if err != nil {
			t.Fatalf("%s: %v", role, err)
		}
		for _, m := range methods {
			act := strings.TrimPrefix(string(m.desc.Parent().FullName())+"."+string(m.desc.Name()), "obo.v1.")
			if i == 0 && !slices.Contains(roles.Actions(), act) {
				t.Errorf("policy/roles does not classify %s: nobody can call it", act)
			}
			_, want := m.call(ctx, t, theirs.request(m, "nobody"))
			for _, org := range []string{"globex", "_platform", "", "GLOBEX", "acme/../globex"} {
				if _, got := m.call(ctx, t, theirs.request(m, org)); got.Code() != codes.PermissionDenied || !proto.Equal(got.Proto(), want.Proto()) {
					t.Errorf("%s, %s of %q: %v, and of an org that is none %v", role, act, org, got, want)
				}
			}
			allowed := roles.Decide(role, "acme", act, "acme").Allowed
			hasOrg := m.desc.Input().Fields().ByName("org_id") != nil
			if !hasOrg || act == "ExecutorAdminService.ShredOrg" || m.desc.IsStreamingServer() {
				continue // the first are the server's; a tail ends with the call
			}
			out, got := m.call(ctx, t, theirs.request(m, "acme"))
			if (got.Code() == codes.PermissionDenied) == allowed {
				t.Errorf("%s, %s of its own org: %v, want allowed %v", role, act, got, allowed)
			}
			if text := protojson.Format(out); strings.Contains(text, "globex") {
				t.Errorf("%s, %s of its own org shows what is globex's: %s", role, act, text)
			}
			if m.desc.Input().Fields().ByName("page_token") != nil && allowed && got.Code() != codes.InvalidArgument {
				t.Errorf("%s, %s of its own org took the token of a page of globex: %v", role, act, got)
			}
		}
	}
	if after := w.snapshot(operator, t, "globex"); after != before {
		t.Errorf("globex changed:\n%s\n%s", before, after)
	}
}

// snapshot is all that can be seen of an org.
func (w *world) snapshot(ctx context.Context, t *testing.T, org string) string {
	t.Helper()
	sts, executor := dial(t, w.stsAddr), dial(t, w.execAddr)
	config, err1 := obov1.NewAdminServiceClient(sts).GetOrg(ctx, &obov1.GetOrgRequest{OrgId: org})
	revoked, err2 := obov1.NewAdminServiceClient(sts).ListRevocations(ctx, &obov1.ListRevocationsRequest{OrgId: org})
	trail, err3 := obov1.NewAuditServiceClient(sts).ListRecords(ctx, &obov1.ListRecordsRequest{OrgId: org})
	calls, err4 := obov1.NewAuditServiceClient(executor).ListRecords(ctx, &obov1.ListRecordsRequest{OrgId: org})
	links, err5 := obov1.NewExecutorAdminServiceClient(executor).ListConnections(ctx, &obov1.ListConnectionsRequest{OrgId: org})
	hook, err6 := obov1.NewExecutorAdminServiceClient(executor).GetWebhook(ctx, &obov1.GetWebhookRequest{OrgId: org})
	for _, err := range []error{err1, err2, err3, err4, err5, err6} {
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal([]any{config, revoked, trail, calls, links, hook})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSignIn: who may sign in, and what a token is good for. Whoever may not learns nothing of why.
func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.apply(t, "acme", administrators)
	w.apply(t, "globex")
	ctx := t.Context()
	c := obov1.NewSignInServiceClient(dial(t, w.stsAddr))
	admin := obov1.NewAdminServiceClient(dial(t, w.stsAddr))
	good, err := c.SignIn(ctx, &obov1.SignInRequest{OrgId: "acme", Token: w.idp.idTokenOf(t, "acme", adminAudience, policy.RoleAuditor)})
	if err != nil || good.GetRole() != policy.RoleAuditor || good.GetSubject() != "user:acme/idp|auditor" || time.Until(good.GetExpires().AsTime()) > 15*time.Minute {
		t.Fatalf("%v, %v", good, err)
	}
	if _, err := admin.GetOrg(bearer(ctx, good.GetToken()), &obov1.GetOrgRequest{OrgId: "acme"}); err != nil {
		t.Error(err)
	}
	var refusals []*status.Status
	for name, in := range map[string]*obov1.SignInRequest{
		"an agent's login of the same person": {OrgId: "acme", Token: w.idp.idToken(t, "acme")},
		"a person of another tenant":          {OrgId: "acme", Token: w.idp.idTokenOf(t, "globex", adminAudience, policy.RoleAuditor)},
		"an org without administrators":       {OrgId: "globex", Token: w.idp.idTokenOf(t, "globex", adminAudience, policy.RoleAuditor)},
		"an org that is none":                 {OrgId: "nobody", Token: w.idp.idTokenOf(t, "acme", adminAudience, policy.RoleAuditor)},
		"the server itself":                   {Token: w.idp.idTokenOf(t, "acme", adminAudience, policy.RoleAuditor)},
		"an administrator's token":            {OrgId: "acme", Token: good.GetToken()},
		"no token":                            {OrgId: "acme", Token: "abc"},
	} {
		got, err := c.SignIn(ctx, in)
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		refusals = append(refusals, status.Convert(err))
	}
	for _, s := range refusals[1:] {
		if !proto.Equal(s.Proto(), refusals[0].Proto()) {
			t.Errorf("refused in different words: %v, and %v", s, refusals[0])
		}
	}
	// JW4: an administrator's token is no subject, and no access token is an administrator's.
	x := obov1.NewExchangeServiceClient(dial(t, w.stsAddr))
	if _, err := w.first(ctx, x, "acme", good.GetToken(), "tracker:read"); err == nil {
		t.Error("an administrator's token was exchanged")
	}
	// Signing out ends one token, at both servers.
	second, err := c.SignIn(ctx, &obov1.SignInRequest{OrgId: "acme", Token: w.idp.idTokenOf(t, "acme", adminAudience, policy.RoleAuditor)})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is no token any more, which is no error
		if _, err := c.SignOut(ctx, &obov1.SignOutRequest{Token: second.GetToken()}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin.GetOrg(bearer(ctx, second.GetToken()), &obov1.GetOrgRequest{OrgId: "acme"}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("signed out, and %v", err)
	}
	if _, err := admin.GetOrg(bearer(ctx, good.GetToken()), &obov1.GetOrgRequest{OrgId: "acme"}); err != nil {
		t.Errorf("another token of the same person: %v", err)
	}
	// Revoking the person ends the token, at both servers.
	if _, err := admin.Revoke(bearer(ctx, w.admin), &obov1.RevokeRequest{OrgId: "acme", Kind: "subject", Id: good.GetSubject()}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.GetOrg(bearer(ctx, good.GetToken()), &obov1.GetOrgRequest{OrgId: "acme"}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("revoked, and %v", err)
	}
}
