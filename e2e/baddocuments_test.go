package e2e_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
)

func base64URL(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// documents are what operators apply and agents pass as arguments.
func (b *badWorld) documents(t *testing.T) []bad {
	t.Helper()
	apply := func(document string) func(*testing.T) (string, string) {
		return func(*testing.T) (string, string) {
			return call(b.operator(), b.sts, "AdminService/ApplyOrg", &obov1.ApplyOrgRequest{OrgId: "acme", Document: []byte(document)})
		}
	}
	policy := func(text string) func(*testing.T) (string, string) {
		document, err := jose.Encode(map[string]any{"org": "acme", "policies": []any{map[string]any{"name": "deep.cedar", "text": text}}})
		if err != nil {
			t.Fatal(err)
		}
		return apply(string(document))
	}
	provider := func(text string) func(*testing.T) (string, string) {
		return func(*testing.T) (string, string) {
			return call(b.operator(), b.exec, "ExecutorAdminService/ApplyProviders", &obov1.ApplyProvidersRequest{
				OrgId: "acme", Providers: []*obov1.ProviderFile{{Name: "bad.yaml", Text: text}},
			})
		}
	}
	execute := func(arguments string) func(*testing.T) (string, string) {
		return func(*testing.T) (string, string) {
			return call(bearer(context.Background(), b.token), b.exec, "ExecutorService/Execute",
				&obov1.ExecuteRequest{Tool: "tracker.list_issues", Arguments: arguments})
		}
	}
	parentheses := func(n int) string {
		return `@id("deep") permit (principal, action, resource) when { ` + strings.Repeat("(", n) + "true" + strings.Repeat(")", n) + " };"
	}
	const begin = "permit (principal, action, resource) when { "
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	return []bad{
		{"GR1 a policy with 400,000 parentheses", policy(parentheses(400_000)), badRequest, "at most 65536"},
		{"GR1 a policy with 60,000 parentheses, 30,000 deep", policy(parentheses(30_000)), badRequest, "nested"},
		{"GR1 a policy with 60,000 open parentheses", policy(begin + strings.Repeat("(", 60_000)), badRequest, "nested"},
		{"GR1 a policy with 60,000 negations", policy(begin + strings.Repeat("!", 60_000) + "true };"), badRequest, "in a row"},
		{"GR1 a document nested 1,000,000 deep", apply(`{"org":"acme","agents":` + nested(1_000_000) + "}"), badRequest, "configuration"},
		{"GR1 a YAML document nested 100,000 deep", apply("org: acme\nagents: " + nested(100_000)), badRequest, "configuration"},
		{"GR1 a YAML document of aliases", apply(aliases("org: acme\n")), badRequest, "configuration"},
		{"GR5 a document of 10 MiB", apply(strings.Repeat(" ", huge)), tooLarge, ""},
		{"GR1 a document just over 4 MiB", apply(strings.Repeat(" ", 4<<20+1)), badRequest, "4 MiB"},
		{"GR1 a provider record of 300 KiB", provider(b.tracker.record() + "#" + strings.Repeat("x", 300<<10)), badRequest, "262144"},
		{"GR5 a provider record of 10 MiB", provider(strings.Repeat("#", huge)), tooLarge, ""},
		{"GR1 a provider record nested 100,000 deep", provider("name: bad\ntools: " + nested(100_000)), badRequest, ""},
		{"GR1 a provider record of aliases", provider(aliases("name: bad\n")), badRequest, ""},
		{"EX8 arguments nested 10,000 deep", execute(`{"project":` + nested(10_000) + `}`), badRequest, "nested"},
		{"EX8 objects nested 10,000 deep", execute(strings.Repeat(`{"project":`, 10_000)), badRequest, "nested"},
		{"EX8 arguments with 100,000 values", execute(`{"project":[` + strings.Repeat("1,", 100_000) + `1]}`), badRequest, ""},
		{"EX8 a number that takes long to read", execute(`{"project":1e999999999}`), badRequest, ""},
		{"EX8 a name twice", execute(`{"project":"apollo","project":"zeus"}`), badRequest, "twice"},
		{"EX8 arguments of 1 MiB", execute(`{"project":"` + strings.Repeat("x", 1<<20) + `"}`), badRequest, "larger"},
		{"GR5 arguments of 10 MiB", execute(strings.Repeat("x", huge)), tooLarge, ""},
	}
}

// aliases is a YAML document that would unfold to 10^9 values.
func aliases(head string) string {
	var b strings.Builder
	b.WriteString(head + "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return b.String()
}

// method is one call that takes strings, with a request that is in order but for the one that is replaced.
type method struct {
	conn    *grpc.ClientConn
	name    string
	ctx     context.Context
	request proto.Message
}

// controls puts control characters into every string field of every request, one at a time.
func (b *badWorld) controls() []bad {
	operator, agent := b.operator(), bearer(context.Background(), b.token)
	methods := []method{
		{b.sts, "ExchangeService/Exchange", b.client(), &obov1.ExchangeRequest{
			SubjectToken: b.token, SubjectTokenType: typeAccessToken, ActorTokenType: typeJWT, ActorToken: b.token,
			Resource: []string{audience}, Scope: "tracker:issues:read",
		}},
		{b.exec, "ExecutorService/Execute", agent, &obov1.ExecuteRequest{Tool: "tracker.list_issues", Arguments: `{"project":"apollo"}`}},
		{b.sts, "AdminService/GetOrg", operator, &obov1.GetOrgRequest{}},
		{b.sts, "AdminService/ApplyOrg", operator, &obov1.ApplyOrgRequest{OrgId: "acme", Document: []byte(`{"org":"acme"}`), DryRun: true}},
		{b.sts, "AdminService/ApplyPlatform", operator, &obov1.ApplyPlatformRequest{Policies: []*obov1.PolicyFile{{Name: "x.cedar"}}}},
		{b.sts, "AdminService/RotateClientSecret", operator, &obov1.RotateClientSecretRequest{OrgId: "acme", Agent: "orchestrator"}},
		{b.sts, "AdminService/PutSignalCredential", operator, &obov1.PutSignalCredentialRequest{OrgId: "acme", Stream: "x", Credential: "x"}},
		{b.sts, "AdminService/ListSignalStreams", operator, &obov1.ListSignalStreamsRequest{}},
		{b.sts, "AdminService/Revoke", operator, &obov1.RevokeRequest{OrgId: "acme", Kind: "token", Id: "x", Reason: "x"}},
		{b.sts, "AdminService/ListRevocations", operator, &obov1.ListRevocationsRequest{}},
		{b.sts, "AuditService/ListRecords", operator, &obov1.ListRecordsRequest{OrgId: "acme", ActionId: "x"}},
		{b.exec, "AuditService/ListRecords", operator, &obov1.ListRecordsRequest{OrgId: "acme", ActionId: "x"}},
		{b.exec, "ExecutorAdminService/ApplyProviders", operator, &obov1.ApplyProvidersRequest{
			OrgId: "acme", DryRun: true, Providers: []*obov1.ProviderFile{{Name: "tracker.yaml", Text: b.tracker.record()}},
		}},
		{b.exec, "ExecutorAdminService/GetProviders", operator, &obov1.GetProvidersRequest{}},
		{b.exec, "ExecutorAdminService/PutConnection", operator, &obov1.PutConnectionRequest{
			OrgId: "acme", Connection: "new", Provider: "tracker", Pattern: "api_key", Subject: user("acme"), Secret: "canary-credential",
		}},
		{b.exec, "ExecutorAdminService/ListConnections", operator, &obov1.ListConnectionsRequest{}},
		{b.exec, "ExecutorAdminService/DeleteConnection", operator, &obov1.DeleteConnectionRequest{OrgId: "acme", Connection: "new"}},
		{b.exec, "ExecutorAdminService/ShredOrg", operator, &obov1.ShredOrgRequest{}},
	}
	var rows []bad
	for _, m := range methods {
		for field, request := range spoilt(m.request) {
			want := badRequest
			if special := controlCodes[m.name+" "+field]; special != "" {
				want = special
			}
			rows = append(rows, bad{"GR1 TE8 " + m.name + " " + field, func(*testing.T) (string, string) {
				return call(m.ctx, m.conn, m.name, request)
			}, want, ""})
		}
	}
	for name, oauth := range map[string]string{
		"grant_type": "unsupported_grant_type", "subject_token": "invalid_request", "subject_token_type": "invalid_request",
		"actor_token_type": "invalid_request", "resource": "invalid_target", "audience": "invalid_target", "scope": "invalid_scope",
		"requested_token_type": "invalid_request", "authorization_details": "invalid_authorization_details", "may_act": "invalid_request",
		"requested_expires_in": "invalid_request", "client_assertion_type": "invalid_client", "client_id": "invalid_client",
	} {
		status := "400 "
		if oauth == "invalid_client" {
			status = "401 "
		}
		rows = append(rows, bad{"GR9 TE8 form " + name, func(t *testing.T) (string, string) {
			form := b.form(t)
			form.Set(name, controls)
			return b.post(t, "", formType, strings.NewReader(form.Encode()), nil)
		}, status + oauth, ""})
	}
	return rows
}

const controls = "\x00\x1b[31m\r\nSet-Cookie: x\x7f\u202e\u0085"

// controlCodes are the answers that are not INVALID_REQUEST.
var controlCodes = map[string]string{
	"ExchangeService/Exchange grant_type":            "Unimplemented UNSUPPORTED_GRANT_TYPE",
	"ExchangeService/Exchange subject_token":         badSubject,
	"ExchangeService/Exchange resource":              "InvalidArgument INVALID_TARGET",
	"ExchangeService/Exchange audience":              "InvalidArgument INVALID_TARGET",
	"ExchangeService/Exchange scope":                 "InvalidArgument INVALID_SCOPE",
	"ExchangeService/Exchange actor_token":           "InvalidArgument ACTOR_TOKEN_INVALID",
	"ExchangeService/Exchange authorization_details": "InvalidArgument INVALID_AUTHORIZATION_DETAILS",
	"ExecutorService/Execute tool":                   "NotFound NOT_FOUND",
	"ExecutorService/Execute connection":             "OK -", // a tool error: the user has no such connection
	"AdminService/RotateClientSecret agent":          "NotFound NOT_FOUND",
	"AdminService/PutSignalCredential stream":        "NotFound NOT_FOUND",
	"AdminService/PutSignalCredential credential":    "NotFound NOT_FOUND", // of a stream that is not there
	"ExecutorAdminService/ApplyProviders etag":       "Aborted CONFLICT",
}

// spoilt are copies of a request, each with control characters in one field, by the field's name.
func spoilt(request proto.Message) map[string]proto.Message {
	out := map[string]proto.Message{}
	fields := request.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		copied := proto.Clone(request)
		m := copied.ProtoReflect()
		switch {
		case f.Kind() == protoreflect.StringKind && f.IsList():
			m.Mutable(f).List().Append(protoreflect.ValueOfString(controls))
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(controls))
		case f.Kind() == protoreflect.BytesKind:
			m.Set(f, protoreflect.ValueOfBytes([]byte(controls)))
		case f.Kind() == protoreflect.MessageKind && f.IsList() && m.Get(f).List().Len() > 0:
			for name, inner := range spoilt(m.Get(f).List().Get(0).Message().Interface()) {
				whole := proto.Clone(request)
				whole.ProtoReflect().Mutable(f).List().Set(0, protoreflect.ValueOfMessage(inner.ProtoReflect()))
				out[string(f.Name())+"."+name] = whole
			}
			continue
		default:
			continue
		}
		out[string(f.Name())] = copied
	}
	return out
}
