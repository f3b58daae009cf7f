package exchange_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/policy"
)

// TestShapeOfToken holds the very bytes of a token after two hops to RFC 8693 §4 and to what is said of it elsewhere.
func TestShapeOfToken(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	first := w.Exchange(t, w.Orchestrator, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read github:write"))
	second := w.Exchange(t, w.Orchestrator, w.HandOver(t, first.AccessToken, "github:read", w.Researcher))
	_, parent := w.Read(t, first.AccessToken)
	_, claims := w.Read(t, second.AccessToken)
	act := claims["act"].(map[string]any)
	for name, check := range map[string]func() bool{
		"TX18 the actor is visible":                  func() bool { return act["sub"] == "agent:acme/researcher" && claims["sub"] == "user:acme/okta|alice" },
		"ACT1 act is an object":                      func() bool { return len(act) == 3 },
		"ACT2 nothing in act but who":                func() bool { return slices.Equal(slices.Sorted(maps.Keys(act)), []string{"act", "iss", "sub"}) },
		"ACT3 the inbound act is kept as it was":     func() bool { return same(act["act"], parent["act"]) },
		"ACT5 an actor is a pair of iss and sub":     func() bool { return act["iss"] == exchangetest.Issuer && act["sub"] != "" },
		"ACT10 client_id is who asked, not who acts": func() bool { return claims["client_id"] == "acme.orchestrator" },
		"ACT11 scope is one string":                  func() bool { return claims["scope"] == "github:read" },
		"TX21 how the user signed in is copied": func() bool {
			return same(claims["auth_time"], parent["auth_time"]) && claims["acr"] == "urn:test:mfa" && same(claims["amr"], parent["amr"])
		},
		"TX24 org_id is that of the client":                func() bool { return claims["org_id"] == "acme" },
		"TX20 nothing is in a token that nobody asked for": func() bool { return same(names(claims), known) },
		"TE13 scope is always answered":                    func() bool { return first.Scope == "github:read github:write" && second.Scope == "github:read" },
		"TE14 expires_in is positive":                      func() bool { return first.ExpiresIn > 0 && second.ExpiresIn > 0 },
		"TX22 no longer than the parent":                   func() bool { return claims["exp"].(float64) <= parent["exp"].(float64) },
	} {
		t.Run(name, func(t *testing.T) {
			if !check() {
				t.Errorf("claims %v\nof the parent %v", claims, parent)
			}
		})
	}
}

// known are the claims of a token of ours that is neither bound nor detailed, after a second hop.
var known = []string{
	"acr", "act", "amr", "aud", "auth_time", "client_id", "exp", "groups", "iat", "iss", "jti", "lineage", "org_id", "scope", "sid", "sub",
	"subject_iat", "txn",
}

func names(c exchangetest.Claims) []string { return slices.Sorted(maps.Keys(c)) }

func same(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

// TestSubjectTokenIsNotConsumed: TX15. An exchange takes nothing from the token that it is made of, and the child outlives what
// becomes of it, but for a revocation, which reaches all that came of it.
func TestSubjectTokenIsNotConsumed(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	token := w.Token(t, w.Orchestrator, "github:read", nil)
	one := w.Exchange(t, w.Orchestrator, exchangetest.Next(token, "")).AccessToken
	two := w.Exchange(t, w.Orchestrator, exchangetest.Next(token, "")).AccessToken
	if w.Claims(t, one).ID == w.Claims(t, two).ID {
		t.Error("one token twice")
	}
}

// TestActorWithoutActorToken: TX19. Without an actor_token the client's one agent acts, and with one of its own the same.
func TestActorWithoutActorToken(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	for _, own := range []bool{false, true} {
		req := exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
		if own {
			req.ActorToken, req.ActorTokenType = w.Orchestrator.Assertion(t, w, w.Orchestrator, nil), exchange.TypeJWT
		}
		c := w.Claims(t, w.Exchange(t, w.Orchestrator, req).AccessToken)
		if got := strings.Join(c.Chain(), " "); got != w.Orchestrator.ID {
			t.Errorf("chain %s", got)
		}
	}
}

// TestPriorActorsAreNoAuthority: ACT4. A policy against an agent holds where it acts, and not where it handed over before.
func TestPriorActorsAreNoAuthority(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	first := w.Exchange(t, w.Orchestrator, w.HandOver(t, w.Token(t, w.Orchestrator, "github:read", nil), "", w.Courier)).AccessToken
	second := w.Exchange(t, w.Courier, w.HandOver(t, first, "", w.Researcher)).AccessToken
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) {
		d.Policies = append(d.Policies, policy.File{Name: "x.cedar", Text: `@id("no-courier") forbid (principal == Agent::"acme/courier", action, resource);`})
	})
	want(t, reason(t, w, w.Courier, exchangetest.Next(first, "")), exchange.DelegationDenied) // outermost
	want(t, reason(t, w, w.Researcher, exchangetest.Next(second, "")), "")                    // behind
	want(t, reason(t, w, w.Researcher, w.HandOver(t, second, "", w.Courier)), exchange.DelegationDenied)
}

// TestScopeFollowsTheResource: RI3, AT5, TE13. Of what is not named, what the resource may have is granted, and the answer says
// so; a scope that is named and means nothing there is refused.
func TestScopeFollowsTheResource(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) {
		d.Policies = append(d.Policies, policy.File{Name: "x.cedar", Text: `
@id("reports-read") forbid (principal, action == Action::"exchange", resource == Scope::"github:write")
when { context.audience == Resource::"acme/https://reports.test" };`})
	})
	for resource, scope := range map[string]string{exchangetest.Executor: "github:read github:write", exchangetest.Reports: "github:read"} {
		req := exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "")
		req.Resource = []string{resource}
		r := w.Exchange(t, w.Orchestrator, req)
		if r.Scope != scope || w.Claims(t, r.AccessToken).Scope.String() != scope {
			t.Errorf("RI3 %s: %q", resource, r.Scope)
		}
	}
	req := exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:write")
	req.Resource = []string{exchangetest.Reports}
	want(t, reason(t, w, w.Orchestrator, req), exchange.DelegationDenied)
}

// TestResourceOfEveryGrant: RI1, RI2. Each grant holds its resource to the same rules.
func TestResourceOfEveryGrant(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	for name, req := range map[string]func() exchange.Request{
		"token exchange":     func() exchange.Request { return exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read") },
		"client_credentials": func() exchange.Request { return exchangetest.ForService("github:read") },
		"jwt-bearer":         func() exchange.Request { return exchangetest.Asserted(w.IDP.Assertion(t, "alice", nil), "github:read") },
	} {
		t.Run(name, func(t *testing.T) {
			for rule, resource := range map[string][]string{
				"RI1 relative": {"/x"}, "RI1 with a fragment": {exchangetest.Executor + "#x"}, "RI1 unknown": {"https://unknown.test"}, "RI1 missing": nil,
				"TX10 two": {exchangetest.Executor, exchangetest.Reports},
			} {
				r := req()
				r.Resource = resource
				if got := reason(t, w, w.Reporter, r); got != exchange.InvalidTarget {
					t.Errorf("%s: got %q", rule, got)
				}
			}
			want(t, reason(t, w, w.Reporter, req()), "")
		})
	}
}

// TestOtherApplicationsLogins: JG3 for access tokens too. An agent with audiences in its registration starts no chain from a
// login that was issued to another application of the org's.
func TestOtherApplicationsLogins(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	login := func(change func(exchangetest.Claims)) exchange.Request {
		return exchangetest.FirstHop(w.IDP.IDToken(t, "alice", change), "github:read")
	}
	other := func(c exchangetest.Claims) { c["aud"] = "obo-other-app" }
	both := func(party string) func(exchangetest.Claims) {
		return func(c exchangetest.Claims) {
			c["aud"], c["azp"] = []string{exchangetest.Audience, "obo-other-app"}, party
		}
	}
	want(t, reason(t, w, w.Reporter, login(nil)), "")
	want(t, reason(t, w, w.Reporter, login(other)), exchange.DelegationDenied)
	want(t, reason(t, w, w.Reporter, login(both(exchangetest.Audience))), "")
	want(t, reason(t, w, w.Reporter, login(both("obo-other-app"))), exchange.DelegationDenied)
	want(t, reason(t, w, w.Orchestrator, login(other)), "") // registered for no audience: for all of the issuer's
}

// TestGrantsWordsForRefusals: D2. The same user is refused as invalid_request in an exchange and as invalid_grant in an assertion.
func TestGrantsWordsForRefusals(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	marketing := func(c exchangetest.Claims) { c["groups"] = []string{"marketing"} }
	for name, c := range map[string]struct {
		req  exchange.Request
		want exchange.Reason
	}{
		"D2 policy refuses an exchange":     {exchangetest.FirstHop(w.IDP.IDToken(t, "alice", marketing), "github:read"), exchange.DelegationDenied},
		"D2 policy refuses an assertion":    {exchangetest.Asserted(w.IDP.Assertion(t, "alice", marketing), "github:read"), exchange.InvalidGrant},
		"D2 an assertion with a bound cnf":  {exchangetest.Asserted(w.IDP.Assertion(t, "alice", bound), "github:read"), exchange.InvalidGrant},
		"D2 a login with a bound cnf":       {exchangetest.FirstHop(w.IDP.IDToken(t, "alice", bound), "github:read"), exchange.SubjectTokenInvalid},
		"D2 policy refuses service account": {exchangetest.ForService("github:admin"), exchange.DelegationDenied},
	} {
		t.Run(name, func(t *testing.T) { want(t, reason(t, w, w.Reporter, c.req), c.want) })
	}
}

func bound(c exchangetest.Claims) { c["cnf"] = exchangetest.Claims{"jkt": strings.Repeat("A", 43)} }

// TestTokenLivesNoLongerThanAsked: TE14, TX22.
func TestTokenLivesNoLongerThanAsked(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	parent := w.Token(t, w.Orchestrator, "github:read", func(_ *delegation.Subject, g *delegation.Grant) { g.Life = 90 * time.Second })
	for asked, got := range map[int]int{0: 90, 1: 1, 60: 60, 600: 90} {
		r := exchangetest.Next(parent, "")
		r.RequestedExpiresIn = asked
		if answer := w.Exchange(t, w.Orchestrator, r); answer.ExpiresIn != got {
			t.Errorf("asked %d: got %d, want %d", asked, answer.ExpiresIn, got)
		}
	}
}
