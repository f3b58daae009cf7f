package e2e_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/delegation/dpop"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/jose"
)

// project is a type of authorization_details that says where issues may be made.
func project(doc map[string]any) {
	doc["authorization_details_types"] = []any{map[string]any{
		"type":      "project",
		"schema":    schema(`{"type":"object","required":["project"],"properties":{"project":{"type":"string"},"title":{"type":"string"}}}`),
		"narrowing": map[string]string{"project": "equal", "title": "prefix"},
		"covers":    []any{map[string]any{"tool": "tracker.create_issue", "arguments": map[string]string{"project": "/project", "title": "/title"}}},
	}}
	for _, a := range doc["agents"].([]map[string]any) {
		a["authorization_details_types"] = []string{"project"}
	}
	doc["policies"] = append(doc["policies"].([]any), map[string]any{"name": "details.cedar", "text": `
@id("apollo-only")
permit (principal, action == Action::"detail.project", resource) when { context.detail.project == "apollo" };`})
}

// prover makes proofs with a fresh key.
func newProver(t *testing.T) *dpop.Prover {
	t.Helper()
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	p, err := dpop.NewProver(key, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// proven adds a proof for one call of a method at addr; of a token when there is one.
func proven(ctx context.Context, t *testing.T, p *dpop.Prover, addr, method, token string) context.Context {
	t.Helper()
	proof, err := p.Proof("POST", "http://"+addr+method, "", token)
	if err != nil {
		t.Fatal(err)
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "dpop", proof)
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "DPoP "+token)
	}
	return ctx
}

// TestBoundChain: ACT9, DP6, DP10, EX5, EX8, RA5. A chain of tokens that nobody can use but the agent that each is for, and only
// for what its details say.
func TestBoundChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.apply(t, "acme", project)
	sts, exec := dial(t, w.stsAddr), dial(t, w.execAddr)
	orchestrator, researcher := newProver(t), newProver(t)
	first := w.boundFirst(t, sts, orchestrator)
	second := w.boundSecond(t, sts, orchestrator, researcher, first)

	call := func(ctx context.Context, args string) error {
		_, err := obov1.NewExecutorServiceClient(exec).Execute(ctx, &obov1.ExecuteRequest{Tool: "tracker.create_issue", Arguments: args})
		return err
	}
	by := func(p *dpop.Prover) context.Context {
		return proven(t.Context(), t, p, w.execAddr, obov1.ExecutorService_Execute_FullMethodName, second)
	}
	w.awaitPolicyBound(t, exec, researcher, second)
	const allowed = `{"project":"apollo","title":"engine: too loud"}`
	once := by(researcher)
	for _, c := range []struct {
		name string
		ctx  context.Context
		args string
		want codes.Code
	}{
		{"DP6 the actor with its key", once, allowed, codes.OK},
		{"DP3 the same proof again", once, allowed, codes.Unauthenticated},
		{"DP6 as a bearer", bearer(t.Context(), second), allowed, codes.Unauthenticated},
		{"ACT9 the key of who handed over", by(orchestrator), allowed, codes.Unauthenticated},
		{"EX8 beyond the details", by(researcher), `{"project":"apollo","title":"brakes"}`, codes.PermissionDenied},
	} {
		if err := call(c.ctx, c.args); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	if n := w.tracker.count(); n != 1 {
		t.Errorf("the provider was called %d times, want 1: a refused call reached it", n)
	}
}

// boundFirst is a first hop that is bound to the orchestrator's key.
func (w *world) boundFirst(t *testing.T, conn *grpc.ClientConn, p *dpop.Prover) string {
	t.Helper()
	c, ctx := obov1.NewExchangeServiceClient(conn), basic(t.Context(), "acme.orchestrator", w.secrets["acme.orchestrator"])
	r := &obov1.ExchangeRequest{
		SubjectToken: w.idp.idToken(t, "acme"), SubjectTokenType: typeIDToken, Resource: []string{audience},
		Scope: "tracker:issues:write", AuthorizationDetails: `[{"type":"project","project":"zeus"}]`,
	}
	ctx = proven(ctx, t, p, w.stsAddr, obov1.ExchangeService_Exchange_FullMethodName, "")
	if _, err := c.Exchange(ctx, r); status.Code(err) != codes.PermissionDenied {
		t.Errorf("details that policy does not permit: %v", err)
	}
	r.AuthorizationDetails = `[{"type":"project","project":"apollo"}]`
	ctx = proven(basic(t.Context(), "acme.orchestrator", w.secrets["acme.orchestrator"]), t, p, w.stsAddr,
		obov1.ExchangeService_Exchange_FullMethodName, "")
	got, err := c.Exchange(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	if got.GetTokenType() != "DPoP" || got.GetAuthorizationDetails() != r.AuthorizationDetails {
		t.Errorf("token_type %q, authorization_details %s", got.GetTokenType(), got.GetAuthorizationDetails())
	}
	return got.GetAccessToken()
}

// boundSecond hands over to the researcher, who names its key in its own assertion.
func (w *world) boundSecond(t *testing.T, conn *grpc.ClientConn, holder, next *dpop.Prover, parent string) string {
	t.Helper()
	c, ctx := obov1.NewExchangeServiceClient(conn), basic(t.Context(), "acme.orchestrator", w.secrets["acme.orchestrator"])
	request := func() *obov1.ExchangeRequest {
		return &obov1.ExchangeRequest{
			SubjectToken: parent, SubjectTokenType: typeAccessToken, Resource: []string{audience},
			ActorToken: w.assertionBound(t, "acme.researcher", next.Thumbprint()), ActorTokenType: typeJWT,
			AuthorizationDetails: `[{"type":"project","project":"apollo","title":"engine"}]`,
		}
	}
	if _, err := c.Exchange(ctx, request()); err == nil {
		t.Error("a bound token was handed over without a proof of its key")
	}
	if _, err := c.Exchange(proven(ctx, t, next, w.stsAddr, obov1.ExchangeService_Exchange_FullMethodName, ""), request()); err == nil {
		t.Error("a bound token was handed over with a proof of another key")
	}
	got, err := c.Exchange(proven(ctx, t, holder, w.stsAddr, obov1.ExchangeService_Exchange_FullMethodName, ""), request())
	if err != nil {
		t.Fatal(err)
	}
	return got.GetAccessToken()
}

// awaitPolicyBound waits until the executor has the org's policy.
func (w *world) awaitPolicyBound(t *testing.T, conn *grpc.ClientConn, p *dpop.Prover, token string) {
	t.Helper()
	c := obov1.NewExecutorServiceClient(conn)
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		ctx := proven(t.Context(), t, p, w.execAddr, obov1.ExecutorService_ListTools_FullMethodName, token)
		if _, err = c.ListTools(ctx, &obov1.ListToolsRequest{}); err == nil {
			return
		}
	}
	t.Fatalf("the executor has no policy after 10 s: %v", err)
}
