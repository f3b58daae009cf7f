package exchangetest

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/exchange"
)

// grantCases are those of the grants beside token exchange, and of the tokens that are no access tokens.
func grantCases() []Case {
	return slices.Concat(grantRefusals(), serviceCases(), assertionCases(), assertionRefusals(), idjagCases(), partnerCases(), transactionCases(),
		transactionRefusals(), replacementCases())
}

// byReporter is a request that the reporter makes with its client_secret.
func byReporter(build func(testing.TB, *World) exchange.Request) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
	return func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
		return w.Reporter.Credential(), build(t, w)
	}
}

// request is one that needs nothing of the world.
func request(r exchange.Request, change func(*exchange.Request)) func(testing.TB, *World) exchange.Request {
	return func(testing.TB, *World) exchange.Request {
		r := r
		if change != nil {
			change(&r)
		}
		return r
	}
}

func grantRefusals() []Case {
	by := func(who func(*World) Agent, r exchange.Request) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
		return func(_ testing.TB, w *World) (exchange.Credential, exchange.Request) { return who(w).Credential(), r }
	}
	orchestrator := func(w *World) Agent { return w.Orchestrator }
	return []Case{
		{Name: "TE10 client_credentials of an agent that is not registered for it", Build: by(orchestrator, ForService("github:read")),
			Want: exchange.UnauthorizedClient},
		{Name: "TE10 jwt-bearer of an agent that is not registered for it", Build: by(orchestrator, Asserted("x.y.z", "github:read")),
			Want: exchange.UnauthorizedClient},
		{Name: "TE10 an unknown grant", Build: by(orchestrator, exchange.Request{Grant: "urn:example:grant"}), Want: exchange.UnsupportedGrantType},
		{Name: "TE16 a password grant", Build: by(orchestrator, exchange.Request{Grant: "password"}), Want: exchange.UnsupportedGrantType},
		{Name: "TX14 a refresh_token grant", Build: by(orchestrator, exchange.Request{Grant: "refresh_token"}), Want: exchange.UnsupportedGrantType},
	}
}

func serviceCases() []Case {
	refused := func(name string, change func(*exchange.Request), want exchange.Reason, field string) Case {
		return Case{Name: name, Build: byReporter(request(ForService("github:read"), change)), Want: want, Field: field}
	}
	return []Case{
		{Name: "AT3 client_credentials: sub is the service account", Build: byReporter(request(ForService("github:read"), nil)),
			Check: func(t testing.TB, w *World, r exchange.Response) {
				c := w.Claims(t, r.AccessToken)
				same(t, "sub", c.Subject, Service)
				same(t, "token_type", r.TokenType, "Bearer")
				same(t, "issued_token_type", r.IssuedTokenType, exchange.TypeAccessToken)
			}},
		{Name: "TX18 client_credentials: the agent is the actor", Build: byReporter(request(ForService("github:read"), nil)),
			Check: func(t testing.TB, w *World, r exchange.Response) {
				same(t, "act", strings.Join(w.Claims(t, r.AccessToken).Chain(), " "), w.Reporter.ID)
			}},
		{Name: "TE12 client_credentials without scope: what account, agent and policy all allow",
			Build: byReporter(request(ForService(""), nil)), Check: func(t testing.TB, _ *World, r exchange.Response) {
				same(t, "scope", r.Scope, "github:read")
			}},
		{Name: "TX22 client_credentials: five minutes at most",
			Build: byReporter(request(ForService("github:read"), func(r *exchange.Request) { r.RequestedExpiresIn = 900 })),
			Check: func(t testing.TB, _ *World, r exchange.Response) {
				if r.ExpiresIn != 300 {
					t.Errorf("expires_in %d", r.ExpiresIn)
				}
			}},
		{Name: "ACT3 a service account's token is the subject of a chain", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			token := w.Exchange(t, w.Reporter, ForService("github:read")).AccessToken
			return w.Reporter.Credential(), w.HandOver(t, token, "github:read", w.Courier)
		}, Check: func(t testing.TB, w *World, r exchange.Response) {
			c := w.Claims(t, r.AccessToken)
			same(t, "sub", c.Subject, Service)
			same(t, "act", strings.Join(c.Chain(), " "), w.Courier.ID+" "+w.Reporter.ID)
		}},
		refused("TE12 client_credentials: beyond the account", func(r *exchange.Request) { r.Scope = "github:write" }, exchange.InvalidScope, ""),
		refused("TE12 client_credentials: beyond policy", func(r *exchange.Request) { r.Scope = "github:admin" }, exchange.DelegationDenied, ""),
		refused("TX9 client_credentials for nobody", func(r *exchange.Request) { r.Resource = nil }, exchange.InvalidTarget, "resource"),
		refused("TX2 client_credentials beside a subject_token", func(r *exchange.Request) {
			r.SubjectToken, r.SubjectTokenType = "x.y.z", exchange.TypeIDToken
		}, exchange.InvalidRequest, "subject_token"),
		refused("TX11 client_credentials: no ID-JAG", func(r *exchange.Request) {
			r.RequestedTokenType, r.Resource, r.Audience = exchange.TypeIDJAG, nil, []string{Partner}
		}, exchange.InvalidRequest, "requested_token_type"),
	}
}

// asserting is the reporter's jwt-bearer request with an assertion that change spoils.
func asserting(scope string, change func(Claims)) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
	return byReporter(func(t testing.TB, w *World) exchange.Request {
		return Asserted(w.IDP.Assertion(t, "alice", change), scope)
	})
}

// withoutID makes an assertion without a jti that says something that no other said.
func withoutID(c Claims) { c["jti"], c["sid"] = nil, rand.Text() }

func assertionCases() []Case {
	return []Case{
		{Name: "JG1 jwt-bearer: sub is the user, act the agent", Build: asserting("github:read", nil),
			Check: func(t testing.TB, w *World, r exchange.Response) {
				c := w.Claims(t, r.AccessToken)
				same(t, "sub", c.Subject, "user:acme/okta|alice")
				same(t, "act", strings.Join(c.Chain(), " "), w.Reporter.ID)
				same(t, "token_type", r.TokenType, "Bearer")
			}},
		{Name: "JG1 jwt-bearer: aud is the token endpoint", Build: asserting("github:read", func(c Claims) { c["aud"] = Issuer + "/token" })},
		{Name: "JG1 jwt-bearer: aud is this server among others",
			Build: asserting("github:read", func(c Claims) { c["aud"] = []string{"https://other.test", Issuer} })},
		{Name: "JW5 jwt-bearer: an assertion without typ", Build: asserting("github:read", func(c Claims) { c["!typ"] = "" })},
		{Name: "JG1 jwt-bearer: jti is optional", Build: asserting("github:read", withoutID)},
		{Name: "TX22 jwt-bearer: no longer than the assertion",
			Build: asserting("github:read", func(c Claims) { c["exp"] = c["iat"].(int64) + 60 }),
			Check: func(t testing.TB, _ *World, r exchange.Response) {
				if r.ExpiresIn != 60 {
					t.Errorf("expires_in %d", r.ExpiresIn)
				}
			}},
		{Name: "TX23 jwt-bearer: no wider than the scope of the assertion",
			Build: asserting("", func(c Claims) { c["scope"] = "github:read payments:transfer" }),
			Check: func(t testing.TB, _ *World, r exchange.Response) { same(t, "scope", r.Scope, "github:read") }},
		{Name: "TX23 jwt-bearer: beyond the scope of the assertion",
			Build: asserting("github:write", func(c Claims) { c["scope"] = "github:read" }), Want: exchange.InvalidScope},
	}
}

func assertionRefusals() []Case {
	bad := func(name string, change func(Claims)) Case {
		return Case{Name: name, Build: asserting("github:read", change), Want: exchange.InvalidGrant, Field: "assertion"}
	}
	without := func(claim string) Case {
		return bad("JG1 jwt-bearer without "+claim, func(c Claims) { c[claim] = nil })
	}
	cases := []Case{
		without("iss"), without("sub"), without("aud"), without("exp"), without("iat"),
		bad("JG1 jwt-bearer for another server", func(c Claims) { c["aud"] = "https://other.test" }),
		bad("D2 jwt-bearer: an expired assertion", func(c Claims) { c["exp"] = c["iat"].(int64) - 1 }),
		bad("JW11 jwt-bearer: an assertion of the future", func(c Claims) { c["iat"] = c["iat"].(int64) + 120 }),
		bad("JG1 jwt-bearer: an assertion of a day", func(c Claims) { c["exp"] = c["iat"].(int64) + int64(24*time.Hour/time.Second) }),
		bad("D2 jwt-bearer: an issuer that nobody trusts", func(c Claims) { c["iss"] = "https://evil.test" }),
		bad("TX24 jwt-bearer: a user of another org", func(c Claims) { c["tenant"] = "globex" }),
		bad("TX24 jwt-bearer: a user of no org", func(c Claims) { c["tenant"] = nil }),
		bad("ACT7 jwt-bearer: an assertion with act", func(c Claims) { c["act"] = map[string]string{"sub": "somebody"} }),
		bad("JW4 jwt-bearer: an access token by its typ", func(c Claims) { c["!typ"] = "at+jwt" }),
		bad("JW4 jwt-bearer: a transaction token by its typ", func(c Claims) { c["!typ"] = "txntoken+jwt" }),
		bad("JW4 jwt-bearer: a client's assertion by its typ", func(c Claims) { c["!typ"] = "client-authentication+jwt" }),
		bad("JW4 jwt-bearer: an access token by its claims", func(c Claims) { c["client_id"] = "acme.reporter" }),
		bad("JW4 jwt-bearer: an ID token by its claims", func(c Claims) { c["nonce"] = "n" }),
		bad("JW4 jwt-bearer: a security event", func(c Claims) { c["events"] = map[string]any{} }),
		bad("RA3 jwt-bearer: details that would be lost", func(c Claims) { c["authorization_details"] = []any{map[string]string{"type": "x"}} }),
		bad("JG5 jwt-bearer: a bound assertion that is no ID-JAG", func(c Claims) { c["cnf"] = map[string]string{"jkt": "x"} }),
		{Name: "D2 jwt-bearer: signed by another", Build: byReporter(func(t testing.TB, w *World) exchange.Request {
			return Asserted(w.IDP.AssertionBy(t, w.Reporter.Key, "alice", nil), "github:read")
		}), Want: exchange.InvalidGrant, Field: "assertion"},
		{Name: "D2 jwt-bearer: no JWT", Build: byReporter(request(Asserted("x.y.z", "github:read"), nil)), Want: exchange.InvalidGrant, Field: "assertion"},
		{Name: "D2 the same as a subject_token is an invalid_request", Build: byReporter(func(t testing.TB, w *World) exchange.Request {
			return FirstHop(w.IDP.IDToken(t, "alice", func(c Claims) { c["iss"] = "https://evil.test" }), "github:read")
		}), Want: exchange.SubjectTokenInvalid, Field: "subject_token"},
		{Name: "JG1 jwt-bearer without an assertion", Build: byReporter(request(Asserted("", "github:read"), nil)),
			Want: exchange.InvalidRequest, Field: "assertion"},
		{Name: "TX2 jwt-bearer beside a subject_token", Build: byReporter(func(t testing.TB, w *World) exchange.Request {
			r := Asserted(w.IDP.Assertion(t, "alice", nil), "github:read")
			r.SubjectToken, r.SubjectTokenType = w.IDP.IDToken(t, "alice", nil), exchange.TypeIDToken
			return r
		}), Want: exchange.InvalidRequest, Field: "subject_token"},
		{Name: "JG7 jwt-bearer beside an actor_token", Build: byReporter(func(t testing.TB, w *World) exchange.Request {
			r := Asserted(w.IDP.IDJAG(t, "alice", w.Reporter, nil), "github:read")
			r.ActorToken, r.ActorTokenType = w.Courier.Assertion(t, w, w.Courier, nil), exchange.TypeJWT
			return r
		}), Want: exchange.InvalidRequest, Field: "actor_token"},
	}
	for _, jti := range []any{"once", nil} {
		cases = append(cases, Case{Name: "JG1 jwt-bearer: an assertion is used once, with a jti and without",
			Build: byReporter(func(t testing.TB, w *World) exchange.Request {
				r := Asserted(w.IDP.Assertion(t, "alice", func(c Claims) {
					if jti == nil {
						withoutID(c)
					}
				}), "github:read")
				w.Exchange(t, w.Reporter, r)
				return r
			}), Want: exchange.InvalidGrant, Field: "assertion"})
	}
	return cases
}
