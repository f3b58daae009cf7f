package exchangetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/onbehalf/obo/exchange"
)

// presenting is the reporter's request with an ID-JAG that change spoils.
func presenting(change func(testing.TB, *World, Claims)) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
	return byReporter(func(t testing.TB, w *World) exchange.Request {
		return Asserted(w.IDP.IDJAG(t, "alice", w.Reporter, func(c Claims) {
			if change != nil {
				change(t, w, c)
			}
		}), "github:read")
	})
}

// toOwnKey binds an ID-JAG to the reporter's DPoP key.
func toOwnKey(t testing.TB, w *World, c Claims) {
	c["cnf"] = map[string]string{"jkt": w.Reporter.JKT(t)}
}

// provenBy is a DPoP proof of an agent.
func provenBy(who func(*World) Agent) func(testing.TB, *World, string, string) []string {
	return func(t testing.TB, w *World, method, uri string) []string {
		return []string{who(w).Proof(t, w, method, uri, nil)}
	}
}

// idjagCases take ID-JAGs of another issuer.
func idjagCases() []Case {
	bad := func(name string, change func(testing.TB, *World, Claims)) Case {
		return Case{Name: name, Build: presenting(change), Want: exchange.InvalidGrant, Field: "assertion"}
	}
	claim := func(name, claim string, value any) Case {
		return bad(name, func(_ testing.TB, _ *World, c Claims) { c[claim] = value })
	}
	return []Case{
		{Name: "JG4 an ID-JAG", Build: presenting(nil), Check: func(t testing.TB, w *World, r exchange.Response) {
			c := w.Claims(t, r.AccessToken)
			same(t, "sub", c.Subject, "user:acme/okta|alice")
			same(t, "act", strings.Join(c.Chain(), " "), w.Reporter.ID)
		}},
		{Name: "JG4 an ID-JAG: aud is an array of one", Build: presenting(func(_ testing.TB, _ *World, c Claims) { c["aud"] = []string{Issuer} })},
		{Name: "JG7 an ID-JAG: aud_tenant is the org", Build: presenting(func(_ testing.TB, _ *World, c Claims) { c["aud_tenant"] = "acme" })},
		{Name: "JG4 an ID-JAG for that resource", Build: presenting(func(_ testing.TB, _ *World, c Claims) { c["resource"] = Executor })},
		{Name: "JG4 an ID-JAG for another resource", Build: presenting(func(_ testing.TB, _ *World, c Claims) { c["resource"] = []string{Reports} }),
			Want: exchange.InvalidTarget},
		claim("JG4 an ID-JAG: aud is the token endpoint", "aud", Issuer+"/token"),
		claim("JG4 an ID-JAG: aud has others too", "aud", []string{Issuer, "https://other.test"}),
		claim("JG4 an ID-JAG for another client", "client_id", "acme.orchestrator"),
		claim("JG4 an ID-JAG for no client", "client_id", nil),
		claim("JG4 an ID-JAG without jti", "jti", nil),
		claim("JG7 an ID-JAG of another tenant", "tenant", "globex"),
		claim("JG7 an ID-JAG of no tenant", "tenant", nil),
		claim("JG7 an ID-JAG for another org", "aud_tenant", "globex"),
		claim("JG4 an ID-JAG: a malformed resource", "resource", "not a URI"),
		claim("ACT7 an ID-JAG with act", "act", map[string]string{"sub": "somebody"}),
		claim("JG4 an ID-JAG by another typ", "!typ", "id-jag+jwt"),
		bad("JG5 a bound ID-JAG without a proof", toOwnKey),
		{Name: "JG5 a bound ID-JAG with the proof of another", Build: presenting(toOwnKey),
			Prove: provenBy(func(w *World) Agent { return w.Orchestrator }), Want: exchange.InvalidGrant, Field: "assertion"},
		{Name: "JG5 a bound ID-JAG with its proof", Build: presenting(toOwnKey), Prove: provenBy(func(w *World) Agent { return w.Reporter }),
			Check: func(t testing.TB, w *World, r exchange.Response) {
				_, c := w.Read(t, r.AccessToken)
				same(t, "token_type", r.TokenType, "DPoP")
				same(t, "jkt", c["cnf"].(map[string]any)["jkt"].(string), w.Reporter.JKT(t))
			}},
		bad("JG5 an ID-JAG bound in another way", func(_ testing.TB, w *World, c Claims) { c["cnf"] = map[string]string{"x5t#S256": w.Reporter.X5T()} }),
		{Name: "JG4 an ID-JAG is used once", Build: byReporter(func(t testing.TB, w *World) exchange.Request {
			r := Asserted(w.IDP.IDJAG(t, "alice", w.Reporter, nil), "github:read")
			w.Exchange(t, w.Reporter, r)
			return r
		}), Want: exchange.InvalidGrant, Field: "assertion"},
		{Name: "JG4 an ID-JAG that we issued", Build: byReporter(func(t testing.TB, w *World) exchange.Request {
			ours := w.Exchange(t, w.Reporter, ForPartner(w.IDP.IDToken(t, "alice", nil), "github:read")).AccessToken
			return Asserted(ours, "github:read")
		}), Want: exchange.InvalidGrant, Field: "assertion"},
		{Name: "JW4 an ID-JAG is no subject_token", Build: byReporter(func(t testing.TB, w *World) exchange.Request {
			r := FirstHop(w.IDP.IDJAG(t, "alice", w.Reporter, func(c Claims) { c["aud"] = Audience }), "github:read")
			r.SubjectTokenType = exchange.TypeJWT
			return r
		}), Want: exchange.SubjectTokenInvalid, Field: "subject_token"},
	}
}

// asserter is the reporter's request for an ID-JAG for the partner, with what change makes of it.
func asserter(change func(testing.TB, *World, *exchange.Request)) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
	return byReporter(func(t testing.TB, w *World) exchange.Request {
		r := ForPartner(w.IDP.IDToken(t, "alice", nil), "github:read")
		if change != nil {
			change(t, w, &r)
		}
		return r
	})
}

// partnerCases issue ID-JAGs for another authorization server.
func partnerCases() []Case {
	refused := func(name string, want exchange.Reason, field string, change func(testing.TB, *World, *exchange.Request)) Case {
		return Case{Name: name, Build: asserter(change), Want: want, Field: field}
	}
	return []Case{
		{Name: "JG3 an ID-JAG is issued", Build: asserter(nil), Check: checkIDJAG},
		{Name: "AT8 an ID-JAG names the org as tenant", Build: asserter(nil), Check: func(t testing.TB, w *World, r exchange.Response) {
			_, c := w.Read(t, r.AccessToken)
			if c["tenant"] != "acme" || c["org_id"] != nil || c["lineage"] != nil || c["groups"] != nil {
				t.Errorf("claims %v", c)
			}
		}},
		{Name: "TX13 an ID-JAG is no access token", Build: asserter(nil), Check: func(t testing.TB, _ *World, r exchange.Response) {
			same(t, "token_type", r.TokenType, "N_A")
			same(t, "issued_token_type", r.IssuedTokenType, exchange.TypeIDJAG)
		}},
		{Name: "JG3 an ID-JAG for a resource of the partner", Build: asserter(func(_ testing.TB, _ *World, r *exchange.Request) {
			r.Resource = []string{"https://api.partner.test"}
		}), Check: func(t testing.TB, w *World, r exchange.Response) {
			_, c := w.Read(t, r.AccessToken)
			same(t, "resource", c["resource"].(string), "https://api.partner.test")
		}},
		{Name: "TE12 an ID-JAG without scope: what may be asserted there", Build: asserter(func(_ testing.TB, _ *World, r *exchange.Request) { r.Scope = "" }),
			Check: func(t testing.TB, _ *World, r exchange.Response) { same(t, "scope", r.Scope, "github:read") }},
		refused("JG3 an ID-JAG of a scope that may not be asserted", exchange.InvalidScope, "",
			func(_ testing.TB, _ *World, r *exchange.Request) { r.Scope = "github:write" }),
		refused("JG3 an ID-JAG without audience", exchange.InvalidTarget, "audience", func(_ testing.TB, _ *World, r *exchange.Request) { r.Audience = nil }),
		refused("JG3 an ID-JAG for two", exchange.InvalidTarget, "audience",
			func(_ testing.TB, _ *World, r *exchange.Request) { r.Audience = append(r.Audience, "executor") }),
		refused("JG3 an ID-JAG for nobody known", exchange.InvalidTarget, "",
			func(_ testing.TB, _ *World, r *exchange.Request) { r.Audience = []string{"https://as.other.test"} }),
		refused("JG3 an ID-JAG of an access token", exchange.InvalidRequest, "subject_token_type", func(t testing.TB, w *World, r *exchange.Request) {
			r.SubjectToken, r.SubjectTokenType = w.Token(t, w.Reporter, "github:read", nil), exchange.TypeAccessToken
		}),
		refused("JG3 an ID-JAG of a login to another application", exchange.DelegationDenied, "", func(t testing.TB, w *World, r *exchange.Request) {
			r.SubjectToken = w.IDP.IDToken(t, "alice", func(c Claims) { c["aud"] = "obo-other-app" })
		}),
		refused("JG3 an ID-JAG of a login that another application had issued to it", exchange.DelegationDenied, "",
			func(t testing.TB, w *World, r *exchange.Request) {
				r.SubjectToken = w.IDP.IDToken(t, "alice", func(c Claims) { c["aud"], c["azp"] = []string{Audience, "obo-other-app"}, "obo-other-app" })
			}),
		refused("JG7 an ID-JAG beside an actor_token", exchange.InvalidRequest, "actor_token", func(t testing.TB, w *World, r *exchange.Request) {
			r.ActorToken, r.ActorTokenType = w.Courier.Assertion(t, w, w.Courier, nil), exchange.TypeJWT
		}),
		refused("JG3 nobody picks an ID-JAG up", exchange.InvalidRequest, "may_act",
			func(_ testing.TB, w *World, r *exchange.Request) { r.MayAct = w.Courier.ClientID }),
		refused("JG2 a jwt for another server", exchange.InvalidTarget, "audience",
			func(_ testing.TB, _ *World, r *exchange.Request) { r.RequestedTokenType = exchange.TypeJWT }),
		{Name: "JG3 an ID-JAG of an agent without audiences of its own", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			return ForPartner(w.IDP.IDToken(t, "alice", nil), "github:read")
		}), Want: exchange.SubjectTokenInvalid, Field: "subject_token"},
		{Name: "JG3 an ID-JAG of an agent that is unknown there", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			return w.Researcher.Credential(), ForPartner(w.IDP.IDToken(t, "alice", nil), "github:read")
		}, Want: exchange.InvalidTarget},
		{Name: "JW4 an ID-JAG is no access token of ours", Build: byReporter(func(t testing.TB, w *World) exchange.Request {
			return Next(w.Exchange(t, w.Reporter, ForPartner(w.IDP.IDToken(t, "alice", nil), "github:read")).AccessToken, "github:read")
		}), Want: exchange.SubjectTokenInvalid, Field: "subject_token"},
	}
}

func checkIDJAG(t testing.TB, w *World, r exchange.Response) {
	typ, c := w.Read(t, r.AccessToken)
	same(t, "typ", typ, "oauth-id-jag+jwt")
	same(t, "claims", names(c), "acr act amr aud auth_time client_id exp iat iss jti scope sub tenant")
	same(t, "iss", c["iss"].(string), Issuer)
	same(t, "sub", c["sub"].(string), "user:acme/okta|alice")
	same(t, "aud", c["aud"].(string), Partner)
	same(t, "client_id", c["client_id"].(string), PartnerClient)
	same(t, "scope", c["scope"].(string), "github:read")
	same(t, "act", c["act"].(map[string]any)["sub"].(string), w.Reporter.ID)
	if life := c["exp"].(float64) - c["iat"].(float64); life != float64(r.ExpiresIn) || life > 300 {
		t.Errorf("lives %v s, expires_in %d", life, r.ExpiresIn)
	}
}

// names are the claims of a token, sorted.
func names(c Claims) string {
	var all []string
	for name := range c {
		all = append(all, name)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
