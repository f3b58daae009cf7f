package exchange

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
)

// fixture is what Decide tests stand on: one org, compiled, and an issuer of tokens of ours.
type fixture struct {
	org    *registry.Org
	issuer *delegationtest.Issuer
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	agents := func(names ...string) (out []registry.Agent) {
		for _, n := range names {
			out = append(out, registry.Agent{Name: n, Scopes: []string{"issues:read", "issues:write", "money:move"}, Disabled: n == "retired"})
		}
		return out
	}
	doc := registry.Document{
		Org: "acme", Agents: agents("orchestrator", "researcher", "courier", "retired"),
		Limits:    registry.Limits{MaxDepth: 3, MaxLife: registry.Duration(10 * time.Minute)},
		Resources: []registry.Resource{{URI: "https://executor.test", Name: "executor"}, {URI: "https://reports.test"}},
		Providers: []policy.Provider{{Name: "p", Scopes: []string{"issues:read", "issues:write", "money:move"}}},
		Policies: []policy.File{{Name: "p.cedar", Text: `
@id("all") permit (principal, action == Action::"exchange", resource);
@id("no-money") forbid (principal, action == Action::"exchange", resource == Scope::"money:move");
@id("not-for-mallory") forbid (principal, action == Action::"exchange", resource) when { context.subject == User::"acme/okta|mallory" };`}},
	}
	if err := doc.Validate(); err != nil {
		t.Fatal(err)
	}
	data, err := jose.Encode(doc)
	if err != nil {
		t.Fatal(err)
	}
	org, err := registry.Compile(store.OrgConfig{Org: "acme", Version: 7, Document: data}, store.OrgConfig{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{org, delegationtest.NewIssuer(t)}
}

func (b fixture) agent(t *testing.T, name string) *registry.Client {
	t.Helper()
	c, ok := b.org.Client(name)
	if !ok {
		t.Fatalf("no agent %s", name)
	}
	return c
}

// login makes Facts of a first hop of alice to the orchestrator.
func (b fixture) login(t *testing.T) Facts {
	now := b.issuer.Now().UTC().Truncate(time.Second)
	return Facts{
		Issuer: delegationtest.IssuerURL, Limits: Limits{DefaultLife: 5 * time.Minute, MaxLife: 15 * time.Minute, MaxDepth: 5}, Now: now,
		Org: b.org, Client: b.agent(t, "orchestrator"), Actor: b.agent(t, "orchestrator"),
		Subject: Subject{login: &login{
			subject: delegation.Subject{ID: "user:acme/okta|alice", Expiry: now.Add(time.Hour)}, rawSub: "alice", issuedAt: now,
		}},
		Want:    Want{Resources: []string{"https://executor.test"}, AnyScope: true, IssuedType: TypeAccessToken},
		TokenID: "token-1", Transaction: "txn-1",
	}
}

// next makes Facts of a hand-over by the orchestrator to the researcher, of a token that change spoils.
func (b fixture) next(t *testing.T, change func(*delegation.Claims)) Facts {
	t.Helper()
	f := b.login(t)
	v, err := b.issuer.Verifier(t, "").Verify(context.Background(), b.issuer.Token(t, func(c *delegation.Claims) {
		delegationtest.As("acme", "alice", "orchestrator")(c)
		if change != nil {
			change(c)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	f.Subject = Subject{parent: v, claims: v.Claims()}
	f.Actor = b.agent(t, "researcher")
	return f
}

func scopes(t *testing.T, s string) delegation.Scopes {
	t.Helper()
	out, err := delegation.ParseScopes(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDecideApproves(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	pickable := func(c *delegation.Claims) {
		c.MayAct = &delegation.MayAct{Issuer: delegationtest.IssuerURL, Subject: "agent:acme/researcher"}
	}
	for _, c := range []struct {
		name         string
		facts        func() Facts
		hop          hop
		chain, scope string
		life         time.Duration
	}{
		{"first hop", func() Facts { return b.login(t) }, firstHop, "agent:acme/orchestrator", "issues:read issues:write", 5 * time.Minute},
		{"first hop, one scope", func() Facts {
			f := b.login(t)
			f.Want.Scope, f.Want.AnyScope = scopes(t, "issues:read"), false
			return f
		}, firstHop, "agent:acme/orchestrator", "issues:read", 5 * time.Minute},
		{"delegation", func() Facts { return b.next(t, nil) }, handOver,
			"agent:acme/researcher agent:acme/orchestrator", "issues:read issues:write", 5 * time.Minute},
		{"continuation", func() Facts {
			f := b.next(t, nil)
			f.Actor = f.Client
			return f
		}, continuation, "agent:acme/orchestrator", "issues:read issues:write", 5 * time.Minute},
		{"pick-up", func() Facts {
			f := b.next(t, pickable)
			f.Client = f.Actor
			return f
		}, pickUp, "agent:acme/researcher agent:acme/orchestrator", "issues:read issues:write", 5 * time.Minute},
		{"delegation to whom may_act names", func() Facts { return b.next(t, pickable) }, handOver,
			"agent:acme/researcher agent:acme/orchestrator", "issues:read issues:write", 5 * time.Minute},
		{"TX22 the org's limit of life", func() Facts {
			f := b.login(t)
			f.Want.Life = time.Hour
			return f
		}, firstHop, "agent:acme/orchestrator", "issues:read issues:write", 10 * time.Minute},
		{"TX22 the login's own expiry", func() Facts {
			f := b.login(t)
			f.Subject.login.subject.Expiry = f.Now.Add(time.Minute)
			return f
		}, firstHop, "agent:acme/orchestrator", "issues:read issues:write", time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, err := Decide(c.facts())
			if err != nil {
				t.Fatal(err)
			}
			got := a.unsigned.Claims()
			if a.hop != c.hop || strings.Join(got.Chain(), " ") != c.chain || got.Scope.String() != c.scope || got.Expiry.Sub(got.IssuedAt) != c.life {
				t.Errorf("%s, chain %q, scope %q, life %s", a.hop, got.Chain(), got.Scope, got.Expiry.Sub(got.IssuedAt))
			}
			if a.evidence.version != "7.0" || !slices.Equal(a.evidence.policies, []string{"org/all"}) {
				t.Errorf("evidence %+v", a.evidence)
			}
		})
	}
}

func TestDecideRefuses(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	login := func(change func(*Facts)) func() Facts {
		return func() Facts { f := b.login(t); change(&f); return f }
	}
	next := func(claims func(*delegation.Claims), change func(*Facts)) func() Facts {
		return func() Facts {
			f := b.next(t, claims)
			if change != nil {
				change(&f)
			}
			return f
		}
	}
	chainOf := func(agents ...string) func(*delegation.Claims) { return delegationtest.As("acme", "alice", agents...) }
	cases := []struct {
		name  string
		facts func() Facts
		want  Reason
		field string
	}{
		{"nothing was verified", login(func(f *Facts) { f.Subject = Subject{} }), DelegationDenied, ""},
		{"disabled client", login(func(f *Facts) { f.Client, f.Actor = b.agent(t, "retired"), b.agent(t, "retired") }), DelegationDenied, ""},
		{"disabled actor", next(nil, func(f *Facts) { f.Actor = b.agent(t, "retired") }), DelegationDenied, ""},
		{"TX24 actor of another org", next(nil, func(f *Facts) { f.Actor = &registry.Client{Org: "globex", Name: "x", ID: "agent:globex/x"} }), DelegationDenied, ""},
		{"TX24 token of another org", next(delegationtest.As("globex", "alice", "orchestrator"), nil), DelegationDenied, ""},
		{"DESIGN-5 first hop for another", login(func(f *Facts) { f.Actor = b.agent(t, "researcher") }), DelegationDenied, ""},
		{"ACT8 subject is the agent", login(func(f *Facts) { f.Subject.login.rawSub = "agent:acme/orchestrator" }), DelegationDenied, ""},
		{"ACT8 subject is the client", login(func(f *Facts) { f.Subject.login.rawSub = "acme.orchestrator" }), DelegationDenied, ""},
		{"TX17 foreign may_act", login(func(f *Facts) { f.Subject.login.mayAct = &mayAct{"sub": "somebody"} }), DelegationDenied, ""},
		{"TX17 foreign may_act without identity", login(func(f *Facts) { f.Subject.login.mayAct = &mayAct{} }), DelegationDenied, ""},
		{"TX17 foreign may_act, unknown member", login(func(f *Facts) {
			f.Subject.login.mayAct = &mayAct{"sub": "agent:acme/orchestrator", "email": "x"}
		}), DelegationDenied, ""},
		{"peers a disabled agent in the chain", next(chainOf("orchestrator", "retired"), nil), DelegationDenied, ""},
		{"peers an agent of the chain that is gone", next(chainOf("orchestrator", "nobody"), nil), DelegationDenied, ""},
		{"logto-9458 stolen", next(chainOf("courier"), func(f *Facts) { f.Actor = f.Client }), DelegationDenied, ""},
		{"DESIGN-5 hand-over by a stranger to the token", next(chainOf("courier"), nil), DelegationDenied, ""},
		{"TX17 may_act names another", next(func(c *delegation.Claims) {
			c.MayAct = &delegation.MayAct{Issuer: delegationtest.IssuerURL, Subject: "agent:acme/courier"}
		}, nil), DelegationDenied, ""},
		{"ACT6 too deep", next(chainOf("orchestrator", "courier", "researcher"), nil), DelegationDenied, ""},
		{"ACT9 bound parent", next(func(c *delegation.Claims) {
			c.Confirmation = &delegation.Confirmation{JKT: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
		}, nil), SubjectTokenInvalid, "subject_token"},
		{"TE14 no second is left", next(func(c *delegation.Claims) {
			c.IssuedAt, c.Expiry = c.IssuedAt.Add(-time.Minute), c.IssuedAt
		}, nil), SubjectTokenInvalid, "subject_token"},
		{"TX21 acr out of form", login(func(f *Facts) { f.Subject.login.subject.ACR = strings.Repeat("x", 300) }), SubjectTokenInvalid, "subject_token"},
		{"DESIGN-4 too large", login(func(f *Facts) {
			for i := range 60 {
				f.Subject.login.subject.Groups = append(f.Subject.login.subject.Groups, strings.Repeat(string(rune('a'+i%26)), 126)+string(rune('a'+i/26)))
			}
		}), DelegationDenied, ""},
		{"TX8 unknown resource", login(func(f *Facts) { f.Want.Resources = []string{"https://x.test"} }), InvalidTarget, ""},
		{"TX9 unknown audience", login(func(f *Facts) { f.Want.Resources, f.Want.Names = nil, []string{"x"} }), InvalidTarget, ""},
		{"TX10 no target", login(func(f *Facts) { f.Want.Resources = nil }), InvalidTarget, "resource"},
		{"TX10 two targets", login(func(f *Facts) {
			f.Want.Resources, f.Want.Names = []string{"https://reports.test"}, []string{"executor"}
		}), InvalidTarget, "resource"},
		{"may_act is nobody", login(func(f *Facts) { f.Want.MayAct = "acme.nobody" }), DelegationDenied, ""},
		{"may_act of another org", login(func(f *Facts) { f.Want.MayAct = "globex.researcher" }), DelegationDenied, ""},
		{"may_act is the actor", login(func(f *Facts) { f.Want.MayAct = "acme.orchestrator" }), InvalidRequest, "may_act"},
		{"TX23 beyond the registration", login(func(f *Facts) { f.Want.Scope, f.Want.AnyScope = scopes(t, "issues:delete"), false }), InvalidScope, ""},
		{"TX23 beyond the parent", next(nil, func(f *Facts) { f.Want.Scope, f.Want.AnyScope = scopes(t, "money:move"), false }), InvalidScope, ""},
		{"TX23 a parent without scope", next(func(c *delegation.Claims) { c.Scope = delegation.Scopes{} }, nil), InvalidScope, ""},
		{"DESIGN-6 policy refuses one scope", login(func(f *Facts) { f.Want.Scope, f.Want.AnyScope = scopes(t, "issues:read money:move"), false }), DelegationDenied, ""},
		{"DESIGN-6 policy refuses all", login(func(f *Facts) { f.Subject.login.subject.ID = "user:acme/okta|mallory" }), DelegationDenied, ""},
	}
	reached := map[Reason]bool{}
	for _, c := range cases {
		_, err := Decide(c.facts())
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Reason != c.want || e.Field != c.field || e.Description == "" {
			t.Errorf("%s: got %#v, want %s (field %q)", c.name, err, c.want, c.field)
			continue
		}
		reached[e.Reason] = true
	}
	want := []Reason{DelegationDenied, InvalidRequest, InvalidScope, InvalidTarget, SubjectTokenInvalid}
	if got := slices.Sorted(maps.Keys(reached)); !slices.Equal(got, want) {
		t.Errorf("reasons reached: %q", got)
	}
}

// TestPolicyRefusalNamesScopeAndPolicy: one scope is refused, and the refusal and its evidence say which, and by what.
func TestPolicyRefusalNamesScopeAndPolicy(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	f := b.login(t)
	f.Want.Scope, f.Want.AnyScope = scopes(t, "issues:read money:move"), false
	_, err := Decide(f)
	e, ok := errors.AsType[*Error](err)
	if !ok || !strings.Contains(e.Description, "money:move") || strings.Contains(e.Description, "issues:read") {
		t.Fatalf("got %v", err)
	}
	if e.evidence.version != "7.0" || !slices.Equal(e.evidence.policies, []string{"org/no-money"}) {
		t.Errorf("evidence %+v", e.evidence)
	}
}

// TestDecideIsPure: the same facts give the same token, and are left as they were.
func TestDecideIsPure(t *testing.T) {
	t.Parallel()
	b := newFixture(t)
	f := b.next(t, nil)
	first, err := Decide(f)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Decide(f)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := first.unsigned.Payload()
	two, _ := second.unsigned.Payload()
	if string(one) != string(two) {
		t.Errorf("%s\n%s", one, two)
	}
}

// TestOAuthCodes is GR3's column of OAuth codes, and TX7: a bad token or a policy's refusal is invalid_request.
func TestOAuthCodes(t *testing.T) {
	t.Parallel()
	for reason, want := range map[Reason]string{
		InvalidRequest: "invalid_request", SubjectTokenInvalid: "invalid_request", ActorTokenInvalid: "invalid_request",
		DelegationDenied: "invalid_request", InvalidTarget: "invalid_target", InvalidScope: "invalid_scope",
		InvalidAuthorizationDetails: "invalid_authorization_details", InvalidClient: "invalid_client",
		UnauthorizedClient: "unauthorized_client", DependencyUnavailable: "temporarily_unavailable",
		RateLimited: "temporarily_unavailable", Internal: "server_error", Reason("unheard of"): "server_error",
	} {
		if got := reason.OAuth(); got != want {
			t.Errorf("%s: got %s, want %s", reason, got, want)
		}
	}
}

// TestDescriptionsArePrintable: TE8, whatever is quoted.
func TestDescriptionsArePrintable(t *testing.T) {
	t.Parallel()
	e := denied("%s", "a\"b\\c\r\nd\x00é"+strings.Repeat("x", 1000))
	if strings.ContainsFunc(e.Description, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) || len(e.Description) > 310 {
		t.Errorf("%q", e.Description)
	}
}
