package exchangetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/telemetry"
)

// clientRefusals are about the caller's own credential, which every door carries.
func clientRefusals() []Case {
	with := func(cred func(testing.TB, *World) exchange.Credential) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
		return func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			return cred(t, w), FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
		}
	}
	secret := func(id func(*World) string, secret func(*World) string) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
		return with(func(_ testing.TB, w *World) exchange.Credential {
			return exchange.Credential{ClientID: id(w), Secret: telemetry.Secret(secret(w))}
		})
	}
	assertion := func(change func(*World, Claims)) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
		return with(func(t testing.TB, w *World) exchange.Credential {
			return w.Orchestrator.AssertionCredential(t, w, func(c Claims) { change(w, c) })
		})
	}
	own := func(w *World) string { return w.Orchestrator.Secret }
	cases := []Case{
		{Name: "TX16 no credential", Build: with(func(testing.TB, *World) exchange.Credential { return exchange.Credential{} })},
		{Name: "TE9 wrong secret", Build: secret(func(w *World) string { return w.Orchestrator.ClientID }, func(*World) string { return "wrong" })},
		{Name: "TE9 another agent's secret", Build: secret(func(w *World) string { return w.Researcher.ClientID }, own)},
		{Name: "TE9 unknown agent", Build: secret(func(*World) string { return "acme.nobody" }, own)},
		{Name: "TE9 unknown org", Build: secret(func(*World) string { return "nowhere.orchestrator" }, own)},
		{Name: "TE9 malformed client_id", Build: secret(func(*World) string { return "acme" }, own)},
		{Name: "peers a disabled agent", Build: secret(func(w *World) string { return w.Retired.ClientID }, func(w *World) string { return w.Retired.Secret })},
		{Name: "CA4 aud is the token endpoint", Build: assertion(func(_ *World, c Claims) { c["aud"] = Issuer + "/token" })},
		{Name: "CA4 aud is an array", Build: assertion(func(_ *World, c Claims) { c["aud"] = []string{Issuer} })},
		{Name: "CA3 no aud", Build: assertion(func(_ *World, c Claims) { c["aud"] = nil })},
		{Name: "CA3 iss is not sub", Build: assertion(func(w *World, c Claims) { c["iss"] = w.Researcher.ClientID })},
		{Name: "CA3 another client's name", Build: assertion(func(w *World, c Claims) { c["iss"], c["sub"] = w.Researcher.ClientID, w.Researcher.ClientID })},
		{Name: "CA3 expired", Build: assertion(func(w *World, c Claims) { c["exp"] = w.Clock.Now().Add(-time.Second).Unix() })},
		{Name: "CA3 no exp", Build: assertion(func(_ *World, c Claims) { c["exp"] = nil })},
		{Name: "CA3 exp more than 5 minutes ahead", Build: assertion(func(w *World, c Claims) { c["exp"] = w.Clock.Now().Add(6 * time.Minute).Unix() })},
		{Name: "CA3 from the future", Build: assertion(func(w *World, c Claims) { c["nbf"] = w.Clock.Now().Add(time.Minute).Unix() })},
		{Name: "CA3 no jti", Build: assertion(func(_ *World, c Claims) { c["jti"] = nil })},
		{Name: "CA5 typ of another kind", Build: assertion(func(_ *World, c Claims) { c["!typ"] = "at+jwt" })},
		{Name: "JW10 exp as a string", Build: assertion(func(w *World, c Claims) { c["exp"] = fmt.Sprint(c["exp"]) })},
		{Name: "CA3 replay", Build: with(func(t testing.TB, w *World) exchange.Credential {
			cred := w.Orchestrator.AssertionCredential(t, w, nil)
			if _, err := w.Service.Exchange(t.Context(), cred, FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")); err != nil {
				t.Fatal(err)
			}
			return cred
		})},
		{Name: "CA3 an unregistered key", Build: with(func(t testing.TB, w *World) exchange.Credential {
			thief := w.Orchestrator
			thief.Key = w.Stranger.Key
			return thief.AssertionCredential(t, w, nil)
		})},
		{Name: "JW8 not a JWT", Build: with(func(testing.TB, *World) exchange.Credential { return exchange.Credential{Assertion: "a.b.c"} })},
	}
	for i := range cases {
		cases[i].Want = exchange.InvalidClient
	}
	return cases
}

func requestRefusals() []Case {
	return []Case{
		{Name: "TX1 grant_type in another spelling", Build: asking(func(r *exchange.Request) { r.Grant = strings.ToUpper(exchange.GrantType) }),
			Want: exchange.UnsupportedGrantType},
		{Name: "TX1 grant_type of no grant of ours", Build: asking(func(r *exchange.Request) { r.Grant = "password" }), Want: exchange.UnsupportedGrantType},
		{Name: "TX2 no subject_token", Build: asking(func(r *exchange.Request) { r.SubjectToken = "" }), Want: exchange.InvalidRequest, Field: "subject_token"},
		{Name: "TX2 no subject_token_type", Build: asking(func(r *exchange.Request) { r.SubjectTokenType = "" }), Want: exchange.InvalidRequest, Field: "subject_token_type"},
		{Name: "TX4 subject_token_type that is not supported", Build: asking(func(r *exchange.Request) { r.SubjectTokenType = "urn:ietf:params:oauth:token-type:saml2" }),
			Want: exchange.InvalidRequest, Field: "subject_token_type"},
		{Name: "TX3 actor_token without its type", Build: asking(func(r *exchange.Request) { r.ActorToken = "a.b.c" }), Want: exchange.InvalidRequest, Field: "actor_token_type"},
		{Name: "TX3 actor_token_type alone", Build: asking(func(r *exchange.Request) { r.ActorTokenType = exchange.TypeJWT }), Want: exchange.InvalidRequest, Field: "actor_token"},
		{Name: "TX4 actor_token_type that is not supported", Build: asking(func(r *exchange.Request) { r.ActorToken, r.ActorTokenType = "a.b.c", exchange.TypeIDToken }),
			Want: exchange.InvalidRequest, Field: "actor_token_type"},
		{Name: "TX11 a type that is not issued", Build: asking(func(r *exchange.Request) { r.RequestedTokenType = "urn:ietf:params:oauth:token-type:refresh_token" }),
			Want: exchange.InvalidRequest, Field: "requested_token_type"},
		{Name: "JW16 a subject_token beyond all size", Build: asking(func(r *exchange.Request) { r.SubjectToken = strings.Repeat("a", 20_000) }),
			Want: exchange.InvalidRequest, Field: "subject_token"},
		{Name: "RA2 authorization_details of an unknown type", Build: asking(func(r *exchange.Request) { r.AuthorizationDetails = `[{"type":"x"}]` }),
			Want: exchange.InvalidAuthorizationDetails, Field: "authorization_details"},
		{Name: "TE12 malformed scope", Build: asking(func(r *exchange.Request) { r.Scope = "github:read  github:write" }), Want: exchange.InvalidScope, Field: "scope"},
		{Name: "TE8 control characters in scope", Build: asking(func(r *exchange.Request) { r.Scope = "a\x01b" }), Want: exchange.InvalidScope, Field: "scope"},
		{Name: "TX8 relative resource", Build: asking(func(r *exchange.Request) { r.Resource = []string{"/executor"} }), Want: exchange.InvalidTarget, Field: "resource"},
		{Name: "TX8 resource with a fragment", Build: asking(func(r *exchange.Request) { r.Resource = []string{Executor + "#x"} }), Want: exchange.InvalidTarget, Field: "resource"},
		{Name: "TX8 unknown resource", Build: asking(func(r *exchange.Request) { r.Resource = []string{"https://other.test"} }), Want: exchange.InvalidTarget},
		{Name: "RI5 a trailing slash is another resource", Build: asking(func(r *exchange.Request) { r.Resource = []string{Executor + "/"} }), Want: exchange.InvalidTarget},
		{Name: "TX9 unknown audience", Build: asking(func(r *exchange.Request) { r.Resource, r.Audience = nil, []string{"nobody"} }), Want: exchange.InvalidTarget},
		{Name: "TX10 two targets", Build: asking(func(r *exchange.Request) { r.Resource = []string{Executor, Reports} }), Want: exchange.InvalidTarget, Field: "resource"},
		{Name: "TX10 no target", Build: asking(func(r *exchange.Request) { r.Resource = nil }), Want: exchange.InvalidTarget, Field: "resource"},
		{Name: "RI4 another org's resource", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			r := FirstHop(w.IDP.IDToken(t, "alice", tenant("globex")), "github:read")
			r.Resource = []string{Reports}
			return w.Stranger.Credential(), r
		}, Want: exchange.InvalidTarget},
		{Name: "TE14 a negative life", Build: asking(func(r *exchange.Request) { r.RequestedExpiresIn = -1 }), Want: exchange.InvalidRequest, Field: "requested_expires_in"},
		{Name: "8693-4.4 malformed may_act", Build: asking(func(r *exchange.Request) { r.MayAct = "researcher" }), Want: exchange.InvalidRequest, Field: "may_act"},
		{Name: "TX24 may_act of another org", Build: asking(func(r *exchange.Request) { r.MayAct = "globex.assistant" }), Want: exchange.DelegationDenied},
		{Name: "8693-4.4 may_act names nobody", Build: asking(func(r *exchange.Request) { r.MayAct = "acme.nobody" }), Want: exchange.DelegationDenied},
		{Name: "8693-4.4 may_act names a disabled agent", Build: asking(func(r *exchange.Request) { r.MayAct = "acme.retired" }), Want: exchange.DelegationDenied},
		{Name: "8693-4.4 may_act names the actor", Build: asking(func(r *exchange.Request) { r.MayAct = "acme.orchestrator" }), Want: exchange.InvalidRequest, Field: "may_act"},
	}
}

func tenant(name string) func(Claims) { return func(c Claims) { c["tenant"] = name } }

// loginRefusals are about tokens of the identity provider.
func loginRefusals() []Case {
	several := make([]string, 65)
	for i := range several {
		several[i] = fmt.Sprintf("group-%d", i)
	}
	cases := []Case{
		{Name: "TX7 an issuer that is not trusted", Build: login(func(c Claims) { c["iss"] = "https://elsewhere.test" })},
		{Name: "TX7 another audience", Build: login(func(c Claims) { c["aud"] = "another" })},
		{Name: "TX7 no audience", Build: login(func(c Claims) { c["aud"] = nil })},
		{Name: "OIDC several audiences without azp", Build: login(func(c Claims) { c["aud"] = []string{Audience, "another"} })},
		{Name: "OIDC several audiences and a foreign azp", Build: login(func(c Claims) { c["aud"], c["azp"] = []string{Audience, "another"}, "another" })},
		{Name: "TX7 expired", Build: login(func(c Claims) { c["iat"], c["exp"] = c["iat"].(int64)-7200, c["iat"].(int64)-3600 })},
		{Name: "RV7 a login older than revocations are remembered", Build: login(func(c Claims) { c["iat"] = c["iat"].(int64) - 25*3600 })},
		{Name: "TX7 no exp", Build: login(func(c Claims) { c["exp"] = nil })},
		{Name: "JW11 iat in the future", Build: login(func(c Claims) { c["iat"] = c["iat"].(int64) + 61 })},
		{Name: "JW11 nbf in the future", Build: login(func(c Claims) { c["nbf"] = c["iat"].(int64) + 61 })},
		{Name: "JW10 iat as a string", Build: login(func(c Claims) { c["iat"] = fmt.Sprint(c["iat"]) })},
		{Name: "OIDC no sub", Build: login(func(c Claims) { c["sub"] = nil })},
		{Name: "OIDC sub with control characters", Build: login(func(c Claims) { c["sub"] = "alice\nadmin" })},
		{Name: "JW4 typ of an access token", Build: login(func(c Claims) { c["!typ"] = "at+jwt" })},
		{Name: "JW4 typ of a logout token", Build: login(func(c Claims) { c["!typ"] = "logout+jwt" })},
		{Name: "TX6 an access token called id_token", Build: login(func(c Claims) { c["scope"] = "openid" })},
		{Name: "TX6 a refresh token by its typ claim", Build: login(func(c Claims) { c["typ"] = "Refresh" })},
		{Name: "TX6 a logout token by its events", Build: login(func(c Claims) { c["events"] = map[string]any{} })},
		{Name: "TX6 an id_token called jwt", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			r := FirstHop(w.IDP.IDToken(t, "alice", func(c Claims) { c["nonce"] = "n" }), "github:read")
			r.SubjectTokenType = exchange.TypeJWT
			return r
		})},
		{Name: "ACT1 a foreign act claim that is a string", Build: login(func(c Claims) { c["act"] = "bot" })},
		{Name: "ACT7 a foreign act claim", Build: login(func(c Claims) { c["act"] = map[string]any{"sub": "bot"} })},
		{Name: "ACT7 a foreign act claim that is null", Build: login(func(c Claims) { c["act"] = (*int)(nil) })},
		{Name: "JG5 a foreign bound token", Build: login(func(c Claims) { c["cnf"] = map[string]any{"jkt": "x"} })},
		{Name: "DESIGN-6 more groups than a token carries", Build: login(func(c Claims) { c["groups"] = several })},
		{Name: "JW3 signed by another key", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			return FirstHop(w.IDP.SignedBy(t, w.Stranger.Key, "alice", nil), "github:read")
		})},
		{Name: "TX7 a bad signature", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			return FirstHop(spoil(w.IDP.IDToken(t, "alice", nil)), "github:read")
		})},
		{Name: "TX5 a foreign token called access_token", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			return Next(w.IDP.IDToken(t, "alice", nil), "github:read")
		})},
		{Name: "TX6 our token called id_token", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			return FirstHop(w.Token(t, w.Orchestrator, "github:read", nil), "github:read")
		})},
		{Name: "JW8 not a JWT", Build: byOrchestrator(func(testing.TB, *World) exchange.Request { return FirstHop("not a token", "github:read") })},
	}
	for i := range cases {
		cases[i].Want, cases[i].Field = exchange.SubjectTokenInvalid, "subject_token"
	}
	return append(cases,
		Case{Name: "CVE-2026-18215 a user of another tenant of the provider", Build: login(tenant("globex")), Want: exchange.DelegationDenied},
		Case{Name: "CVE-2026-18215 a user of no tenant", Build: login(func(c Claims) { c["tenant"] = nil }), Want: exchange.DelegationDenied},
		Case{Name: "TX17 the provider lets another party act", Build: login(func(c Claims) { c["may_act"] = map[string]any{"sub": "agent:acme/researcher"} }),
			Want: exchange.DelegationDenied},
		Case{Name: "TX17 every identity member must match", Build: login(func(c Claims) {
			c["may_act"] = map[string]any{"sub": "agent:acme/orchestrator", "iss": "https://elsewhere.test"}
		}), Want: exchange.DelegationDenied},
		Case{Name: "ACT8 the subject is the actor", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			return FirstHop(w.IDP.IDToken(t, "acme.orchestrator", nil), "github:read")
		}), Want: exchange.DelegationDenied},
	)
}

// spoil changes the signature of a token.
func spoil(token string) string {
	i := len(token) - 10
	other := byte('A')
	if token[i] == 'A' {
		other = 'B'
	}
	return token[:i] + string(other) + token[i+1:]
}

// tokenRefusals are about subject tokens of ours.
func tokenRefusals() []Case {
	own := func(change func(*World, *delegation.Subject, *delegation.Grant)) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
		return byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			return Next(w.Token(t, w.Orchestrator, "github:read", func(s *delegation.Subject, g *delegation.Grant) { change(w, s, g) }), "github:read")
		})
	}
	revoked := func(kind revocation.Kind, id func(*delegation.Subject, *delegation.Grant) string) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
		return byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			var key string
			token := w.Token(t, w.Orchestrator, "github:read", func(s *delegation.Subject, g *delegation.Grant) {
				s.ID, s.SessionID = "user:acme/okta|revoked-"+g.ID, "session-"+g.ID
				key = id(s, g)
			})
			w.Revoke(t, Acme, kind, key)
			return Next(token, "github:read")
		})
	}
	cases := []Case{
		{Name: "TX7 a bad signature", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			return Next(spoil(w.Token(t, w.Orchestrator, "github:read", nil)), "github:read")
		})},
		{Name: "TX7 expired", Build: own(func(w *World, _ *delegation.Subject, g *delegation.Grant) {
			g.Now = w.Clock.Now().Add(-10 * time.Minute)
		})},
		{Name: "TE14 about to expire", Build: own(func(w *World, _ *delegation.Subject, g *delegation.Grant) {
			g.Now = w.Clock.Now().Add(-g.Life) // within the leeway, but no second is left
		})},
		{Name: "RV7 revoked by jti", Build: revoked(revocation.Token, func(_ *delegation.Subject, g *delegation.Grant) string { return g.ID })},
		{Name: "RV7 revoked by txn", Build: revoked(revocation.Transaction, func(_ *delegation.Subject, g *delegation.Grant) string { return g.Transaction })},
		{Name: "RV7 revoked by sub", Build: revoked(revocation.Subject, func(s *delegation.Subject, _ *delegation.Grant) string { return s.ID })},
		{Name: "RV7 revoked by sid", Build: revoked(revocation.Session, func(s *delegation.Subject, _ *delegation.Grant) string { return s.SessionID })},
		{Name: "keycloak-51633 a revoked root stops its descendants", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			var root string
			first := w.Token(t, w.Orchestrator, "github:read", func(_ *delegation.Subject, g *delegation.Grant) { root = g.ID })
			second := w.Exchange(t, w.Orchestrator, w.HandOver(t, first, "", w.Researcher)).AccessToken
			third := w.Exchange(t, w.Researcher, w.HandOver(t, second, "", w.Courier)).AccessToken
			w.Revoke(t, Acme, revocation.Token, root)
			return w.Courier.Credential(), Next(third, "")
		}},
	}
	for i := range cases {
		cases[i].Want, cases[i].Field = exchange.SubjectTokenInvalid, "subject_token"
	}
	return append(cases,
		Case{Name: "TX24 a token of another org", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			return Next(w.Token(t, w.Stranger, "github:read", nil), "github:read")
		}), Want: exchange.DelegationDenied},
		Case{Name: "logto-9458 a stolen token of another agent", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			return w.Researcher.Credential(), Next(w.Token(t, w.Orchestrator, "github:read", nil), "github:read")
		}, Want: exchange.DelegationDenied},
		Case{Name: "keycloak-52691 no laundering by leaving actor_token out", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			token := w.Exchange(t, w.Orchestrator, w.HandOver(t, w.Token(t, w.Orchestrator, "github:read", nil), "", w.Researcher)).AccessToken
			return w.Courier.Credential(), Next(token, "github:read")
		}, Want: exchange.DelegationDenied},
		Case{Name: "TX17 a pick-up by an agent that may_act does not name", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			token := w.Exchange(t, w.Orchestrator, mayAct(FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"), w.Courier)).AccessToken
			return w.Researcher.Credential(), Next(token, "github:read")
		}, Want: exchange.DelegationDenied},
		Case{Name: "TX17 a hand-over to an agent that may_act does not name", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			token := w.Exchange(t, w.Orchestrator, mayAct(FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"), w.Courier)).AccessToken
			return w.HandOver(t, token, "github:read", w.Researcher)
		}), Want: exchange.DelegationDenied},
	)
}

func actorRefusals() []Case {
	acting := func(kind string, token func(testing.TB, *World) string) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
		return byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			r := Next(w.Token(t, w.Orchestrator, "github:read", nil), "github:read")
			r.ActorToken, r.ActorTokenType = token(t, w), kind
			return r
		})
	}
	researcher := func(change func(*World, Claims)) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
		return acting(exchange.TypeJWT, func(t testing.TB, w *World) string {
			return w.Researcher.Assertion(t, w, w.Researcher, func(c Claims) { change(w, c) })
		})
	}
	cases := []Case{
		{Name: "7523 expired", Build: researcher(func(w *World, c Claims) { c["exp"] = w.Clock.Now().Unix() })},
		{Name: "7523 exp more than 5 minutes ahead", Build: researcher(func(w *World, c Claims) { c["exp"] = w.Clock.Now().Add(6 * time.Minute).Unix() })},
		{Name: "7523 another audience", Build: researcher(func(_ *World, c Claims) { c["aud"] = Executor })},
		{Name: "7523 no jti", Build: researcher(func(_ *World, c Claims) { c["jti"] = nil })},
		{Name: "7523 a signer that is no controller", Build: acting(exchange.TypeJWT, func(t testing.TB, w *World) string {
			return w.Courier.Assertion(t, w, w.Researcher, nil)
		})},
		{Name: "7523 a signer that is disabled", Build: acting(exchange.TypeJWT, func(t testing.TB, w *World) string {
			return w.Retired.Assertion(t, w, w.Retired, nil)
		})},
		{Name: "7523 an unknown actor", Build: researcher(func(_ *World, c Claims) { c["iss"], c["sub"] = "acme.nobody", "acme.nobody" })},
		{Name: "JW4 an assertion for client authentication", Build: researcher(func(_ *World, c Claims) { c["!typ"] = "client-authentication+jwt" })},
		{Name: "JW4 a client assertion that was overheard", Build: acting(exchange.TypeJWT, func(t testing.TB, w *World) string {
			cred := w.Researcher.AssertionCredential(t, w, nil)
			_, _ = w.Service.Exchange(t.Context(), cred, exchange.Request{})
			return cred.Assertion
		})},
		{Name: "zeroid-282 an assertion that was used", Build: acting(exchange.TypeJWT, func(t testing.TB, w *World) string {
			r := w.HandOver(t, w.Token(t, w.Orchestrator, "github:read", nil), "github:read", w.Researcher)
			w.Exchange(t, w.Orchestrator, r)
			return r.ActorToken
		})},
		{Name: "7523 another agent's key", Build: acting(exchange.TypeJWT, func(t testing.TB, w *World) string {
			thief := w.Researcher
			thief.Key = w.Courier.Key
			return thief.Assertion(t, w, thief, nil)
		})},
		{Name: "TX6 an ID token called access_token", Build: acting(exchange.TypeAccessToken, func(t testing.TB, w *World) string { return w.IDP.IDToken(t, "alice", nil) })},
		{Name: "TX7 a bad signature", Build: acting(exchange.TypeAccessToken, func(t testing.TB, w *World) string {
			return spoil(w.Token(t, w.Researcher, "github:read", nil))
		})},
		{Name: "TX7 revoked", Build: acting(exchange.TypeAccessToken, func(t testing.TB, w *World) string {
			var id string
			token := w.Token(t, w.Researcher, "github:read", func(_ *delegation.Subject, g *delegation.Grant) { id = g.ID })
			w.Revoke(t, Acme, revocation.Token, id)
			return token
		})},
		{Name: "TX6 a bearer token that a resource was shown", Build: acting(exchange.TypeAccessToken, func(t testing.TB, w *World) string {
			return w.Token(t, w.Researcher, "github:read", nil)
		})},
		{Name: "JW8 not a JWT", Build: acting(exchange.TypeJWT, func(testing.TB, *World) string { return "x" })},
	}
	for i := range cases {
		cases[i].Want, cases[i].Field = exchange.ActorTokenInvalid, "actor_token"
	}
	return append(cases,
		Case{Name: "TX24 an agent of another org by its assertion", Build: acting(exchange.TypeJWT, func(t testing.TB, w *World) string {
			return w.Stranger.Assertion(t, w, w.Stranger, nil)
		}), Want: exchange.DelegationDenied},
		Case{Name: "TX24 an agent of another org by its token", Build: acting(exchange.TypeAccessToken, func(t testing.TB, w *World) string {
			return w.Token(t, w.Stranger, "github:read", nil)
		}), Want: exchange.DelegationDenied},
		Case{Name: "peers a disabled agent by its token", Build: acting(exchange.TypeAccessToken, func(t testing.TB, w *World) string {
			return w.Token(t, w.Retired, "github:read", toServer)
		}), Want: exchange.DelegationDenied},
		Case{Name: "DESIGN-5 a first hop for another agent", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			r := FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
			r.ActorToken, r.ActorTokenType = w.Researcher.Assertion(t, w, w.Researcher, nil), exchange.TypeJWT
			return r
		}), Want: exchange.DelegationDenied},
		Case{Name: "DESIGN-5 a hand-over by who does not hold the token", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			return w.Courier.Credential(), w.HandOver(t, w.Token(t, w.Orchestrator, "github:read", nil), "github:read", w.Researcher)
		}, Want: exchange.DelegationDenied},
	)
}

// decisions are refusals of requests in which everything is proven.
func decisions() []Case {
	return []Case{
		{Name: "DESIGN-6 policy refuses the scope that was named", Build: asking(func(r *exchange.Request) { r.Scope = "github:read payments:transfer" }),
			Want: exchange.DelegationDenied},
		{Name: "DESIGN-6 policy refuses the user", Build: login(func(c Claims) { c["groups"] = []string{"marketing"} }), Want: exchange.DelegationDenied},
		{Name: "DESIGN-6 a user without groups", Build: login(func(c Claims) { c["groups"] = nil }), Want: exchange.DelegationDenied},
		{Name: "DESIGN-6 policy allows none of all", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			return w.Researcher.Credential(), FirstHop(w.IDP.IDToken(t, "alice", nil), "") // a worker at depth 1
		}, Want: exchange.DelegationDenied},
		{Name: "TX23 wider than the registration", Build: asking(func(r *exchange.Request) { r.Scope = "github:admin" }), Want: exchange.InvalidScope},
		{Name: "TX23 an agent registered for nothing", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			return w.Courier.Credential(), FirstHop(w.IDP.IDToken(t, "alice", nil), "")
		}, Want: exchange.InvalidScope},
		{Name: "keycloak-43931 wider than the parent", Build: handOver("github:admin", func(w *World) Agent { return w.Researcher }), Want: exchange.InvalidScope},
		{Name: "TX23 a parent without scope gives none", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			return Next(w.Token(t, w.Orchestrator, "", nil), "")
		}), Want: exchange.InvalidScope},
		{Name: "ACT6 deeper than the limit", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			token, from, to := w.Token(t, w.Orchestrator, "github:read", nil), w.Orchestrator, w.Researcher
			for range 4 {
				token = w.Exchange(t, from, w.HandOver(t, token, "", to)).AccessToken
				if from, to = to, w.Courier; from.Name == to.Name {
					to = w.Researcher
				}
			}
			return from.Credential(), w.HandOver(t, token, "", to)
		}, Want: exchange.DelegationDenied},
	}
}
