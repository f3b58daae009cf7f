package exchange_test

import (
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/revocation"
)

// TestServiceAccounts: TE10, AT3. What the configuration says of a service account counts at once.
func TestServiceAccounts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*registry.Document, *registry.Agent)
		want   exchange.Reason
	}{
		"TE10 the grant is withdrawn": {func(_ *registry.Document, a *registry.Agent) {
			a.Grants, a.ServiceAccount = []string{registry.GrantTokenExchange}, ""
		}, exchange.UnauthorizedClient},
		"TE12 the account loses the scope": {func(d *registry.Document, _ *registry.Agent) {
			d.ServiceAccounts[0].Scopes = []string{"github:write"}
		}, exchange.InvalidScope},
		"TE12 the agent loses the scope": {func(_ *registry.Document, a *registry.Agent) { a.Scopes = []string{"github:write"} }, exchange.InvalidScope},
		"TE12 policy sees the account's groups": {func(d *registry.Document, _ *registry.Agent) {
			d.ServiceAccounts[0].Groups = []string{"interns"}
		}, exchange.DelegationDenied},
		"TE10 the agent is disabled": {func(_ *registry.Document, a *registry.Agent) { a.Disabled = true }, exchange.InvalidClient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := exchangetest.NewWorld(t)
			want(t, reason(t, w, w.Reporter, exchangetest.ForService("github:read")), "")
			reporter(t, w, c.change)
			want(t, reason(t, w, w.Reporter, exchangetest.ForService("github:read")), c.want)
		})
	}
}

// reporter changes the registration of the reporter.
func reporter(t *testing.T, w *exchangetest.World, change func(*registry.Document, *registry.Agent)) {
	t.Helper()
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) {
		for i := range d.Agents {
			if d.Agents[i].Name == w.Reporter.Name {
				change(d, &d.Agents[i])
			}
		}
	})
}

// TestRevokedServiceAccount: TE10. A revocation stops what was issued for the account; the account itself is stopped by its
// registration.
func TestRevokedServiceAccount(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	token := w.Exchange(t, w.Reporter, exchangetest.ForService("github:read")).AccessToken
	w.Revoke(t, exchangetest.Acme, revocation.Subject, exchangetest.Service)
	want(t, reason(t, w, w.Reporter, exchangetest.Next(token, "")), exchange.SubjectTokenInvalid)
}

// TestAssertionReplicas: JG1, JG4. An assertion that one replica took is refused by the other.
func TestAssertionReplicas(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	other, err := exchange.New(w.Config())
	if err != nil {
		t.Fatal(err)
	}
	for name, assertion := range map[string]string{
		"JG1 an assertion":               w.IDP.Assertion(t, "alice", nil),
		"JG1 an assertion without a jti": w.IDP.Assertion(t, "alice", func(c exchangetest.Claims) { c["jti"] = nil }),
		"JG4 an ID-JAG":                  w.IDP.IDJAG(t, "alice", w.Reporter, nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := exchangetest.Asserted(assertion, "github:read")
			want(t, reason(t, w, w.Reporter, req), "")
			_, err := other.Exchange(t.Context(), w.Reporter.Credential(), req)
			want(t, exchange.ReasonOf(err), exchange.InvalidGrant)
		})
	}
}

// TestForgersConsumeNothing: JG1, JG4. An assertion that was refused is as good as before.
func TestForgersConsumeNothing(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	jti := func(c exchangetest.Claims) { c["jti"] = "the same" }
	forged := w.IDP.AssertionBy(t, w.Courier.Key, "alice", jti)
	want(t, reason(t, w, w.Reporter, exchangetest.Asserted(forged, "github:read")), exchange.InvalidGrant)
	stolen := w.IDP.IDJAG(t, "alice", w.Orchestrator, jti)
	want(t, reason(t, w, w.Reporter, exchangetest.Asserted(stolen, "github:read")), exchange.InvalidGrant)
	want(t, reason(t, w, w.Reporter, exchangetest.Asserted(w.IDP.Assertion(t, "alice", jti), "github:read")), "")
}

// TestAssertionResigned: JG1. Without a jti the statement is what is used once. Whoever has it can turn its ECDSA signature into
// another that verifies, with nobody's key.
func TestAssertionResigned(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	assertion := w.IDP.Assertion(t, "alice", func(c exchangetest.Claims) { c["jti"] = nil })
	dot := strings.LastIndexByte(assertion, '.')
	signature, err := base64.RawURLEncoding.DecodeString(assertion[dot+1:])
	if err != nil || len(signature) != 64 {
		t.Fatalf("not ES256: %d bytes, %v", len(signature), err)
	}
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	other := assertion[:dot+1] + base64.RawURLEncoding.EncodeToString(signature)
	want(t, reason(t, w, w.Reporter, exchangetest.Asserted(assertion, "github:read")), "")
	want(t, reason(t, w, w.Reporter, exchangetest.Asserted(other, "github:read")), exchange.InvalidGrant)
}

// TestAssertionIsNoLogin: JW4, JG1. An assertion is used once, and for the scope and the resource that it names. As a subject_token
// it would be neither, where the org takes logins for this server from the same issuer too.
func TestAssertionIsNoLogin(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) {
		d.Issuers[0].Audiences = append(d.Issuers[0].Audiences, exchangetest.Issuer)
	})
	assertion := w.IDP.Assertion(t, "alice", func(c exchangetest.Claims) { c["resource"] = exchangetest.Reports })
	for _, label := range []string{exchange.TypeJWT, exchange.TypeIDToken} {
		r := exchangetest.FirstHop(assertion, "github:read")
		r.SubjectTokenType = label
		want(t, reason(t, w, w.Orchestrator, r), exchange.SubjectTokenInvalid)
	}
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.Issuers[0].TokenTypes = []string{registry.TokenTypeJWT} })
	r := exchangetest.FirstHop(assertion, "github:read")
	r.SubjectTokenType = exchange.TypeJWT
	want(t, reason(t, w, w.Orchestrator, r), "") // an issuer of logins alone
}

// TestAssertionIssuers: JG1, JG4, JG7. What an issuer may assert is in its registration.
func TestAssertionIssuers(t *testing.T) {
	t.Parallel()
	plain := func(t *testing.T, w *exchangetest.World) string { return w.IDP.Assertion(t, "alice", nil) }
	jag := func(t *testing.T, w *exchangetest.World) string { return w.IDP.IDJAG(t, "alice", w.Reporter, nil) }
	untenanted := func(t *testing.T, w *exchangetest.World) string {
		return w.IDP.IDJAG(t, "alice", w.Reporter, func(c exchangetest.Claims) { c["tenant"] = nil })
	}
	alone := func(i *registry.Issuer) { i.OrgClaim, i.OrgValue = "", "" }
	types := func(types ...string) func(*registry.Issuer) {
		return func(i *registry.Issuer) { i.TokenTypes = types }
	}
	for name, c := range map[string]struct {
		change    func(*registry.Issuer)
		assertion func(*testing.T, *exchangetest.World) string
		want      exchange.Reason
	}{
		"JG1 registered for logins alone":                      {types(registry.TokenTypeID), plain, exchange.InvalidGrant},
		"JG1 registered for ID-JAGs alone":                     {types(registry.TokenTypeID, registry.TokenTypeIDJAG), plain, exchange.InvalidGrant},
		"JG4 registered for plain assertions alone":            {types(registry.TokenTypeID, registry.TokenTypeAssertion), jag, exchange.InvalidGrant},
		"JG4 registered for ID-JAGs":                           {types(registry.TokenTypeID, registry.TokenTypeIDJAG), jag, ""},
		"JW1 another algorithm":                                {func(i *registry.Issuer) { i.Algorithms = []string{"RS256"} }, plain, exchange.InvalidGrant},
		"JG7 a tenant that the org said nothing about":         {alone, jag, exchange.InvalidGrant},
		"JG7 no tenant of an issuer of one org":                {alone, untenanted, ""},
		"JG7 a tenant by the issuer's own name for it":         {func(i *registry.Issuer) { i.OrgClaim = "tid" }, jag, ""},
		"TX24 no tenant by that name in a plain assertion":     {func(i *registry.Issuer) { i.OrgClaim = "tid" }, plain, exchange.InvalidGrant},
		"TX24 another tenant":                                  {func(i *registry.Issuer) { i.OrgValue = "initech" }, plain, exchange.InvalidGrant},
		"JG7 another tenant, of an ID-JAG":                     {func(i *registry.Issuer) { i.OrgValue = "initech" }, jag, exchange.InvalidGrant},
		"JG1 whatever the audiences of logins are: ours it is": {func(i *registry.Issuer) { i.Audiences = []string{exchangetest.Audience} }, plain, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := exchangetest.NewWorld(t)
			w.Apply(t, exchangetest.Acme, func(d *registry.Document) { c.change(&d.Issuers[0]) })
			want(t, reason(t, w, w.Reporter, exchangetest.Asserted(c.assertion(t, w), "github:read")), c.want)
		})
	}
}

// TestAssertionsOverTime: D2, JG1, JG4. What is wrong with an assertion, or with whom it is about, is an invalid_grant.
func TestAssertionsOverTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*testing.T, *exchangetest.World)
		want   exchange.Reason
	}{
		"D2 its user was revoked": {func(t *testing.T, w *exchangetest.World) {
			w.Revoke(t, exchangetest.Acme, revocation.Subject, "user:acme/okta|alice")
		}, exchange.InvalidGrant},
		"D2 its agent was revoked": {func(t *testing.T, w *exchangetest.World) {
			w.Revoke(t, exchangetest.Acme, revocation.Agent, w.Reporter.ID)
		}, exchange.InvalidGrant},
		"D2 it expired":            {func(t *testing.T, w *exchangetest.World) { w.Advance(t, 6*time.Minute) }, exchange.InvalidGrant},
		"D2 its issuer lost trust": {untrust, exchange.InvalidGrant},
		"JG1 its issuer is away":   {func(_ *testing.T, w *exchangetest.World) { w.IDP.Down.Store(true) }, exchange.DependencyUnavailable},
		"JW3 its key was withdrawn": {func(t *testing.T, w *exchangetest.World) {
			w.IDP.Publish(jose.NewKeySet(newSigner(t, "idp-2", jose.ES256).Key()))
		}, exchange.InvalidGrant},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := exchangetest.NewWorld(t)
			req := exchangetest.Asserted(w.IDP.IDJAG(t, "alice", w.Reporter, nil), "github:read")
			c.change(t, w)
			want(t, reason(t, w, w.Reporter, req), c.want)
		})
	}
}

// TestGrantFaults: JG1, TE15. When single use cannot be known, nothing is issued and nothing is blamed on the assertion.
func TestGrantFaults(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	for _, when := range []string{"before", "after"} {
		var signed []string
		s := broken(t, w, fault{"single use", when}, &signed)
		_, err := s.Exchange(t.Context(), w.Reporter.Credential(), exchangetest.Asserted(w.IDP.Assertion(t, "alice", nil), "github:read"))
		want(t, exchange.ReasonOf(err), exchange.DependencyUnavailable)
		if len(signed) != 0 {
			t.Errorf("%s: signed %v", when, signed)
		}
	}
	var signed []string
	s := broken(t, w, fault{"audit", "before"}, &signed)
	for _, req := range []exchange.Request{
		exchangetest.ForService("github:read"), exchangetest.ForPartner(w.IDP.IDToken(t, "alice", nil), "github:read"),
		exchangetest.ForTransaction(w.Token(t, w.Reporter, "github:read", nil), exchange.TypeAccessToken, "github:read"),
	} {
		_, err := s.Exchange(t.Context(), w.Reporter.Credential(), req)
		want(t, exchange.ReasonOf(err), exchange.DependencyUnavailable)
	}
	if len(signed) != 0 {
		t.Errorf("signed without a record: %v", signed)
	}
}

// TestGrantsOnTheTrail: the record of every grant says for whom, by whom, for what, and of which kind the token is; and none has
// a token in it (TT6).
func TestGrantsOnTheTrail(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	for name, c := range map[string]struct {
		req    exchange.Request
		holds  audit.Record
		detail string
	}{
		"AT3 client_credentials": {exchangetest.ForService("github:read"),
			audit.Record{Subject: exchangetest.Service, Resource: exchangetest.Executor}, "first hop"},
		"JG3 an ID-JAG": {exchangetest.ForPartner(w.IDP.IDToken(t, "alice", nil), "github:read"),
			audit.Record{Subject: "user:acme/okta|alice", Resource: exchangetest.Partner}, "oauth-id-jag+jwt"},
		"TT6 a transaction token": {exchangetest.ForTransaction(w.IDP.IDToken(t, "alice", nil), exchange.TypeIDToken, "github:read"),
			audit.Record{Subject: "user:acme/okta|alice", Resource: exchangetest.TrustDomain}, "txntoken+jwt"},
	} {
		t.Run(name, func(t *testing.T) {
			response := w.Exchange(t, w.Reporter, c.req)
			r := last(t, w)
			if r.ActionID != response.ActionID || r.Subject != c.holds.Subject || r.Resource != c.holds.Resource || !strings.Contains(r.Detail, c.detail) {
				t.Errorf("%+v", r)
			}
			if strings.Contains(fmt.Sprintf("%+v", r), response.AccessToken) {
				t.Error("the token is on the trail")
			}
		})
	}
}

// TestNoRefreshTokens: TX14, JG4, TT4. There is none to be had: an answer has no place for one.
func TestNoRefreshTokens(t *testing.T) {
	t.Parallel()
	response := reflect.TypeFor[exchange.Response]()
	for i := range response.NumField() {
		if name := response.Field(i).Name; strings.Contains(strings.ToLower(name), "refresh") {
			t.Errorf("Response has %s", name)
		}
	}
}

// TestReplacementsOverTime: TT5. What stops the tokens of a tree stops the replacement of its transaction tokens.
func TestReplacementsOverTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*testing.T, *exchangetest.World, exchangetest.Claims)
		want   exchange.Reason
	}{
		"TT5 nothing happened": {func(*testing.T, *exchangetest.World, exchangetest.Claims) {}, ""},
		"TT5 it expired": {func(t *testing.T, w *exchangetest.World, _ exchangetest.Claims) { w.Advance(t, 6*time.Minute) },
			exchange.SubjectTokenInvalid},
		"TT5 its transaction was revoked": {func(t *testing.T, w *exchangetest.World, c exchangetest.Claims) {
			w.Revoke(t, exchangetest.Acme, revocation.Transaction, c["txn"].(string))
		}, exchange.SubjectTokenInvalid},
		"RV7 what it was made of was revoked": {func(t *testing.T, w *exchangetest.World, c exchangetest.Claims) {
			w.Revoke(t, exchangetest.Acme, revocation.Token, c["lineage"].([]any)[0].(string))
		}, exchange.SubjectTokenInvalid},
		"TT5 its session was revoked": {func(t *testing.T, w *exchangetest.World, c exchangetest.Claims) {
			w.Revoke(t, exchangetest.Acme, revocation.Session, c["sid"].(string))
		}, exchange.SubjectTokenInvalid},
		"TT5 its agent is disabled": {func(t *testing.T, w *exchangetest.World, _ exchangetest.Claims) {
			reporter(t, w, func(_ *registry.Document, a *registry.Agent) { a.Disabled = true })
		}, exchange.DelegationDenied},
		"TT5 the trust domain is another": {func(t *testing.T, w *exchangetest.World, _ exchangetest.Claims) {
			w.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.TransactionTokens.TrustDomain = "other.internal" })
		}, exchange.InvalidTarget},
		"TT3 there are none any more": {func(t *testing.T, w *exchangetest.World, _ exchangetest.Claims) {
			w.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.TransactionTokens.TrustDomain = "" })
		}, exchange.InvalidRequest},
		"TT5 policy changed its mind": {func(t *testing.T, w *exchangetest.World, _ exchangetest.Claims) {
			w.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.Policies = d.Policies[1:] })
		}, exchange.DelegationDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := exchangetest.NewWorld(t)
			first := w.Exchange(t, w.Reporter, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")).AccessToken
			token := w.Exchange(t, w.Reporter, exchangetest.ForTransaction(first, exchange.TypeAccessToken, "github:read")).AccessToken
			_, claims := w.Read(t, token)
			c.change(t, w, claims)
			want(t, reason(t, w, w.Researcher, exchangetest.ForTransaction(token, exchange.TypeTxnToken, "github:read")), c.want)
		})
	}
}

// TestReplacementOfDetails: TT5, RA3. A replacement keeps what the token says, so policy must allow the workload all of it.
func TestReplacementOfDetails(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	for name, c := range map[string]struct {
		amount string
		want   exchange.Reason
	}{
		"RA3 what policy allows the workload":  {"400", ""},
		"RA3 what policy refuses the workload": {"600", exchange.InvalidAuthorizationDetails},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := w.Detailed(t, `[{"type":"payment","amount":`+c.amount+`,"currency":"EUR"}]`)
			token := w.Exchange(t, w.Orchestrator, exchangetest.ForTransaction(first, exchange.TypeAccessToken, "github:read")).AccessToken
			want(t, reason(t, w, w.Researcher, exchangetest.ForTransaction(token, exchange.TypeTxnToken, "github:read")), c.want)
		})
	}
}

// TestReplacementForAnotherDomain: TT5. The audience of a replacement is that of the token, even when the org has moved on.
func TestReplacementForAnotherDomain(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	token := w.Exchange(t, w.Reporter, exchangetest.ForTransaction(w.IDP.IDToken(t, "alice", nil), exchange.TypeIDToken, "github:read")).AccessToken
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.TransactionTokens.TrustDomain = "other.internal" })
	req := exchangetest.ForTransaction(token, exchange.TypeTxnToken, "github:read")
	req.Audience = []string{"other.internal"}
	_, err := w.Service.Exchange(t.Context(), w.Researcher.Credential(), req)
	if e, ok := errors.AsType[*exchange.Error](err); !ok || e.Reason != exchange.SubjectTokenInvalid || e.Field != "subject_token" {
		t.Errorf("%v", err)
	}
}

// TestOwnAssertion: JG4. An ID-JAG that we issued buys nothing here, not even in an org that trusts us as an identity provider.
func TestOwnAssertion(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) {
		d.Issuers = append(d.Issuers, registry.Issuer{
			Name: "ourselves", URL: exchangetest.Issuer, Audiences: []string{"x"}, TokenTypes: []string{registry.TokenTypeIDJAG},
		})
	})
	ours := w.Exchange(t, w.Reporter, exchangetest.ForPartner(w.IDP.IDToken(t, "alice", nil), "github:read")).AccessToken
	want(t, reason(t, w, w.Reporter, exchangetest.Asserted(ours, "github:read")), exchange.InvalidGrant)
}
