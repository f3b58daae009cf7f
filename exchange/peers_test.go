package exchange_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/revocation"
)

// The bugs of others, each as a test. Those that are one request are in exchangetest.Cases, under the name of their report;
// here are those that need time, a change of configuration or an outage.

func reason(t *testing.T, w *exchangetest.World, a exchangetest.Agent, req exchange.Request) exchange.Reason {
	t.Helper()
	_, err := w.Service.Exchange(t.Context(), a.Credential(), req)
	return exchange.ReasonOf(err)
}

func want(t *testing.T, got, want exchange.Reason) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// zeroid-197: the cascade missed children behind expired intermediates, and garbage collection cut the edges. Here a token
// names all that it descends from.
func TestCascadeThroughExpiredAncestors(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	first := w.Exchange(t, w.Orchestrator, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), ""))
	root := w.Claims(t, first.AccessToken).ID
	r := w.HandOver(t, first.AccessToken, "", w.Researcher)
	second := w.Exchange(t, w.Researcher, w.HandOver(t, w.Exchange(t, w.Orchestrator, r).AccessToken, "", w.Courier)).AccessToken
	w.Advance(t, 2*time.Minute)
	if err := w.Store.PurgeExpired(t.Context(), w.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	want(t, reason(t, w, w.Courier, exchangetest.Next(second, "")), "")
	w.Revoke(t, exchangetest.Acme, revocation.Token, root)
	want(t, reason(t, w, w.Courier, exchangetest.Next(second, "")), exchange.SubjectTokenInvalid)
}

// One revocation of an agent stops every token in whose chain it is, and every login that is older; a new login may start
// again, unless the agent is disabled.
func TestRevokedAgent(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	login := w.IDP.IDToken(t, "alice", nil)
	first := w.Exchange(t, w.Orchestrator, exchangetest.FirstHop(login, "")).AccessToken
	second := w.Exchange(t, w.Orchestrator, w.HandOver(t, first, "", w.Researcher)).AccessToken
	bystander := w.Token(t, w.Courier, "github:read", nil)
	w.Revoke(t, exchangetest.Acme, revocation.Agent, w.Orchestrator.ID)
	want(t, reason(t, w, w.Orchestrator, exchangetest.Next(first, "")), exchange.SubjectTokenInvalid)
	want(t, reason(t, w, w.Researcher, w.HandOver(t, second, "", w.Courier)), exchange.SubjectTokenInvalid)
	want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(login, "")), exchange.SubjectTokenInvalid)
	want(t, reason(t, w, w.Courier, w.HandOver(t, bystander, "", w.Researcher)), "")
	w.Advance(t, time.Minute)
	want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "")), "")
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.Agents[0].Disabled = true })
	want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "")), exchange.InvalidClient)
}

// A revoked user, session, client or org: the login that is older starts nothing, remembered or not.
func TestRevokedLogin(t *testing.T) {
	t.Parallel()
	for kind, id := range map[revocation.Kind]string{
		revocation.Subject: "user:acme/okta|alice", revocation.Session: "session-of-alice", revocation.Client: "acme.orchestrator", revocation.Org: "acme",
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := exchangetest.NewWorld(t)
			login := w.IDP.IDToken(t, "alice", nil)
			want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(login, "")), "")
			w.Revoke(t, exchangetest.Acme, kind, id)
			want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(login, "")), exchange.SubjectTokenInvalid)
			other := w.IDP.IDToken(t, "alice", func(c exchangetest.Claims) { c["tenant"] = "globex" })
			want(t, reason(t, w, w.Stranger, exchangetest.FirstHop(other, "")), "") // the same user name in another org
		})
	}
}

// keycloak: an agent that is disabled or deleted after it was given a token stops the chains that it is in.
func TestDisabledAgentInChain(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	first := w.Token(t, w.Orchestrator, "github:read", nil)
	second := w.Exchange(t, w.Orchestrator, w.HandOver(t, first, "", w.Researcher)).AccessToken
	third := w.Exchange(t, w.Researcher, w.HandOver(t, second, "", w.Courier)).AccessToken
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.Agents[1].Disabled = true })
	want(t, reason(t, w, w.Courier, exchangetest.Next(third, "")), exchange.DelegationDenied)
}

// Deny-list, policy or configuration out of reach: fail closed.
func TestStaleReplicaRefuses(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	req := exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "")
	want(t, reason(t, w, w.Orchestrator, req), "")
	cfg := w.Config()
	late := func() time.Time { return w.Clock.Now().Add(time.Minute) } // a minute in which nothing was heard
	cfg.Now = late
	orgs, err := registry.Open(registry.Config{
		Orgs: w.Store.Orgs, Org: func(id delegation.OrgID) registry.OrgStore { return w.Store.Org(id) }, Fresh: w.Set.Fresh, Now: late,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Orgs = orgs
	s, err := exchange.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Exchange(t.Context(), w.Orchestrator.Credential(), req)
	want(t, exchange.ReasonOf(err), exchange.DependencyUnavailable)
}

// TestForeignClaimsAreStripped: TX20, toolhive: claims of the subject's issuer that mean something here are never carried over.
func TestForeignClaimsAreStripped(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	login := w.IDP.IDToken(t, "alice", func(c exchangetest.Claims) {
		c["org_id"], c["txn"], c["lineage"], c["admin"], c["authorization_details"] = "globex", "x", []string{"y"}, true, []any{map[string]any{"type": "z"}}
	})
	c := w.Claims(t, w.Exchange(t, w.Orchestrator, exchangetest.FirstHop(login, "github:read")).AccessToken)
	if c.OrgID != "acme" || c.Transaction == "x" || len(c.Lineage) != 0 || c.AuthorizationDetails != nil {
		t.Errorf("%+v", c)
	}
	payload, err := c.MarshalJSON()
	if err != nil || strings.Contains(string(payload), "admin") {
		t.Errorf("%s, %v", payload, err)
	}
}

// The cap of the whole token holds on every path: groups that fit one by one do not fit together.
func TestTokenSizeIsCapped(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	groups := []string{"engineering"}
	for i := range 60 {
		groups = append(groups, fmt.Sprintf("%0100d", i))
	}
	login := w.IDP.IDToken(t, "alice", func(c exchangetest.Claims) { c["groups"] = groups })
	want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(login, "github:read")), exchange.DelegationDenied)
}

// octo-sts-1686: a refusal is not remembered. What is allowed again is allowed at once.
func TestRefusalsAreNotCached(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	req := exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
	var policies string
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) { policies, d.Policies[0].Text = d.Policies[0].Text, "" })
	want(t, reason(t, w, w.Orchestrator, req), exchange.DelegationDenied)
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.Policies[0].Text = policies })
	want(t, reason(t, w, w.Orchestrator, req), "")
}

// TestLoginWithDetails: RA3, TX6. An access token of another server that is held to authorization_details would, without them, be
// wider than what its issuer granted.
func TestLoginWithDetails(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	r := exchangetest.FirstHop(w.IDP.IDToken(t, "alice", func(c exchangetest.Claims) {
		c["authorization_details"] = []any{map[string]any{"type": "payment", "amount": 1, "currency": "EUR"}}
	}), "github:read")
	r.SubjectTokenType = exchange.TypeJWT
	want(t, reason(t, w, w.Orchestrator, r), exchange.SubjectTokenInvalid)
}
