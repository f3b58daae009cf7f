package exchangetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
)

// Case is one logical request, to be sent through any door.
type Case struct {
	Name  string // begins with the rule or the threat that it guards
	Build func(t testing.TB, w *World) (exchange.Credential, exchange.Request)
	// Prove makes the DPoP proofs that go with the request, for the method and the URI of the door that it is sent through; nil:
	// none. The door puts them where it has them.
	Prove func(t testing.TB, w *World, method, uri string) []string
	Want  exchange.Reason                                   // "" for success
	Field string                                            // of a refusal: the parameter that is malformed, or empty
	Check func(t testing.TB, w *World, r exchange.Response) // of a success; may be nil
}

// Cases is the table. All of it can run in one World, in any order and at once.
func Cases() []Case {
	return slices.Concat(answers(), clientRefusals(), requestRefusals(), loginRefusals(), tokenRefusals(), actorRefusals(), decisions(),
		boundAnswers(), bindingRefusals(), proofRefusals(), detailAnswers(), detailRefusals(), clientCases(), grantCases())
}

// byOrchestrator is a request that the orchestrator makes with its client_secret.
func byOrchestrator(build func(testing.TB, *World) exchange.Request) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
	return func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
		return w.Orchestrator.Credential(), build(t, w)
	}
}

// login is the orchestrator's first hop with an ID token that change spoils.
func login(change func(Claims)) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
	return byOrchestrator(func(t testing.TB, w *World) exchange.Request {
		return FirstHop(w.IDP.IDToken(t, "alice", change), "github:read")
	})
}

// asking is the orchestrator's first hop of alice with a request that change spoils.
func asking(change func(*exchange.Request)) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
	return byOrchestrator(func(t testing.TB, w *World) exchange.Request {
		r := FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
		change(&r)
		return r
	})
}

func answers() []Case {
	return []Case{
		{Name: "D1 first hop: sub is the user, act the agent", Build: login(nil), Check: func(t testing.TB, w *World, r exchange.Response) {
			c := w.Claims(t, r.AccessToken)
			same(t, "sub", c.Subject, "user:acme/okta|alice")
			same(t, "act", strings.Join(c.Chain(), " "), "agent:acme/orchestrator")
			same(t, "aud", c.Audience, Executor)
			same(t, "scope", r.Scope, "github:read")
			same(t, "acr", c.ACR, "urn:test:mfa") // TX21
			same(t, "groups", strings.Join(c.Groups, " "), "engineering staff")
			same(t, "token_type", r.TokenType, "Bearer")
			same(t, "issued_token_type", r.IssuedTokenType, exchange.TypeAccessToken) // TX12
			if r.ExpiresIn != 300 || r.ActionID != c.Transaction+"."+c.ID {
				t.Errorf("expires_in %d, action_id %q", r.ExpiresIn, r.ActionID)
			}
		}},
		{Name: "CA3 private_key_jwt", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			return w.Orchestrator.AssertionCredential(t, w, nil), FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
		}},
		{Name: "CA5 private_key_jwt, typed", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			return w.Orchestrator.AssertionCredential(t, w, func(c Claims) { c["!typ"] = "client-authentication+jwt" }),
				FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
		}},
		{Name: "TX4 a foreign JWT that is no ID token", Build: asking(func(r *exchange.Request) { r.SubjectTokenType = exchange.TypeJWT })},
		{Name: "TX11 a jwt is issued when asked for", Build: asking(func(r *exchange.Request) { r.RequestedTokenType = exchange.TypeJWT }),
			Check: func(t testing.TB, _ *World, r exchange.Response) {
				same(t, "issued_token_type", r.IssuedTokenType, exchange.TypeJWT)
			}},
		{Name: "TX9 audience by name", Build: asking(func(r *exchange.Request) { r.Resource, r.Audience = nil, []string{"executor"} })},
		{Name: "TX10 resource and audience that name the same", Build: asking(func(r *exchange.Request) { r.Audience = []string{"executor"} })},
		{Name: "RI5 scheme and host in any case", Build: asking(func(r *exchange.Request) { r.Resource = []string{"HTTPS://Executor.test"} }),
			Check: func(t testing.TB, w *World, r exchange.Response) {
				same(t, "aud", w.Claims(t, r.AccessToken).Audience, Executor)
			}},
		{Name: "TE12 no scope: all that policy allows of the registration", Build: asking(func(r *exchange.Request) { r.Scope = "" }),
			Check: func(t testing.TB, _ *World, r exchange.Response) {
				same(t, "scope", r.Scope, "github:read github:write")
			}},
		{Name: "TX22 a long life is cut to the limit", Build: asking(func(r *exchange.Request) { r.RequestedExpiresIn = 1 << 30 }),
			Check: func(t testing.TB, _ *World, r exchange.Response) {
				if r.ExpiresIn != 900 {
					t.Errorf("expires_in %d", r.ExpiresIn)
				}
			}},
		{Name: "JW10 fractional dates", Build: login(func(c Claims) { c["iat"], c["exp"] = float64(c["iat"].(int64))+0.5, float64(c["exp"].(int64))+0.5 })},
		{Name: "OIDC several audiences with an azp of ours", Build: login(func(c Claims) { c["aud"], c["azp"] = []string{Audience, "another"}, Audience })},
		{Name: "ACT3 delegation by the next agent's assertion", Build: handOver("github:read", func(w *World) Agent { return w.Researcher }),
			Check: func(t testing.TB, w *World, r exchange.Response) {
				c := w.Claims(t, r.AccessToken)
				same(t, "chain", strings.Join(c.Chain(), " "), "agent:acme/researcher agent:acme/orchestrator")
				same(t, "sub", c.Subject, "user:acme/okta|alice")
				if len(c.Lineage) != 1 {
					t.Errorf("lineage %q", c.Lineage)
				}
			}},
		{Name: "7523 delegation by the controller's assertion", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			r := Next(w.Token(t, w.Orchestrator, "github:read", nil), "github:read")
			r.ActorToken, r.ActorTokenType = w.Orchestrator.Assertion(t, w, w.Researcher, nil), exchange.TypeJWT
			return r
		})},
		{Name: "TX4 delegation by the next agent's access token", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			r := Next(w.Token(t, w.Orchestrator, "github:read", nil), "github:read")
			r.ActorToken, r.ActorTokenType = w.Token(t, w.Courier, "github:read", toServer), exchange.TypeAccessToken
			return r
		}), Check: func(t testing.TB, w *World, r exchange.Response) {
			same(t, "chain", strings.Join(w.Claims(t, r.AccessToken).Chain(), " "), "agent:acme/courier agent:acme/orchestrator")
		}},
		{Name: "8693-4.4 pick-up by the agent that may_act names", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			token := w.Exchange(t, w.Orchestrator, mayAct(FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"), w.Courier)).AccessToken
			return w.Courier.Credential(), Next(token, "")
		}, Check: func(t testing.TB, w *World, r exchange.Response) {
			same(t, "chain", strings.Join(w.Claims(t, r.AccessToken).Chain(), " "), "agent:acme/courier agent:acme/orchestrator")
		}},
		{Name: "ACT8 a continuation keeps the chain", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			return Next(w.Token(t, w.Orchestrator, "github:read github:write", nil), "github:read")
		}), Check: func(t testing.TB, w *World, r exchange.Response) {
			same(t, "chain", strings.Join(w.Claims(t, r.AccessToken).Chain(), " "), "agent:acme/orchestrator")
		}},
		{Name: "keycloak-53040 later hops need no may_act", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			second := w.Exchange(t, w.Orchestrator, w.HandOver(t, w.Token(t, w.Orchestrator, "github:read", nil), "", w.Researcher)).AccessToken
			return w.Researcher.Credential(), w.HandOver(t, second, "", w.Courier)
		}},
		{Name: "peers circular A to B to A is a chain of three", Build: func(t testing.TB, w *World) (exchange.Credential, exchange.Request) {
			first := w.Exchange(t, w.Orchestrator, w.HandOver(t, w.Token(t, w.Orchestrator, "github:read", nil), "", w.Researcher)).AccessToken
			second := w.Exchange(t, w.Researcher, w.HandOver(t, first, "", w.Courier)).AccessToken
			return w.Courier.Credential(), w.HandOver(t, second, "", w.Researcher)
		}, Check: func(t testing.TB, w *World, r exchange.Response) {
			same(t, "chain", strings.Join(w.Claims(t, r.AccessToken).Chain(), " "),
				"agent:acme/researcher agent:acme/courier agent:acme/researcher agent:acme/orchestrator")
		}},
		{Name: "TX22 a child ends with its parent", Build: byOrchestrator(func(t testing.TB, w *World) exchange.Request {
			r := Next(w.Exchange(t, w.Orchestrator, withLife(FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"), 60)).AccessToken, "")
			return withLife(r, 600)
		}), Check: func(t testing.TB, _ *World, r exchange.Response) {
			if r.ExpiresIn > 60 {
				t.Errorf("expires_in %d", r.ExpiresIn)
			}
		}},
	}
}

// handOver is the orchestrator's delegation of a token of alice to another agent.
func handOver(scope string, to func(*World) Agent) func(testing.TB, *World) (exchange.Credential, exchange.Request) {
	return byOrchestrator(func(t testing.TB, w *World) exchange.Request {
		return w.HandOver(t, w.Token(t, w.Orchestrator, "github:read github:write", nil), scope, to(w))
	})
}

// toServer makes a token one for the server itself.
func toServer(_ *delegation.Subject, g *delegation.Grant) { g.Audience = Issuer }

func mayAct(r exchange.Request, a Agent) exchange.Request {
	r.MayAct = a.ClientID
	return r
}

func withLife(r exchange.Request, seconds int) exchange.Request {
	r.RequestedExpiresIn = seconds
	return r
}

func same(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
