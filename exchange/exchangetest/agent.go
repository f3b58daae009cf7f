package exchangetest

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/telemetry"
)

// Agent is a registered agent with what it authenticates with.
type Agent struct {
	Org      delegation.OrgID
	Name     string // researcher
	ID       string // agent:acme/researcher
	ClientID string // acme.researcher
	Secret   string
	Key      jose.Signer // of its assertions

	possession possession
}

// Credential is the agent's client_secret.
func (a Agent) Credential() exchange.Credential {
	return exchange.Credential{ClientID: a.ClientID, Secret: telemetry.Secret(a.Secret)}
}

// Claims are the claims of an assertion or an ID token, to be changed before it is signed. A nil value removes a claim.
type Claims map[string]any

// Assertion is what signer says about the agent: by signer.Assertion(t, w, signer, nil) about itself, as for private_key_jwt.
func (a Agent) Assertion(t testing.TB, w *World, about Agent, change func(Claims)) string {
	t.Helper()
	now := w.Clock.Now()
	return sign(t, a.Key, "JWT", Claims{
		"iss": a.ClientID, "sub": about.ClientID, "aud": Issuer, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}, change)
}

// AssertionCredential is private_key_jwt.
func (a Agent) AssertionCredential(t testing.TB, w *World, change func(Claims)) exchange.Credential {
	t.Helper()
	return exchange.Credential{Assertion: a.Assertion(t, w, a, change)}
}

// sign signs claims under a typ, which change may replace as the claim "!typ".
func sign(t testing.TB, key jose.Signer, typ string, c Claims, change func(Claims)) string {
	t.Helper()
	if change != nil {
		change(c)
	}
	if other, ok := c["!typ"].(string); ok {
		typ = other
		delete(c, "!typ")
	}
	for name, value := range c {
		if value == nil {
			delete(c, name)
		}
	}
	payload, err := jose.Encode(map[string]any(c))
	must(t, err)
	token, err := key.Sign(typ, payload)
	must(t, err)
	return token
}

// Token is a token of ours that was never asked for, signed by the world's own key: for subject and actor tokens that the
// Service itself would not issue now. The grant that change gets is that of a first hop of alice to the agent.
func (w *World) Token(t testing.TB, a Agent, scope string, change func(*delegation.Subject, *delegation.Grant)) string {
	t.Helper()
	subject, err := delegation.UserID(a.Org, "okta", "alice")
	must(t, err)
	scopes, err := delegation.ParseScopes(scope)
	must(t, err)
	s := delegation.Subject{ID: subject, Groups: []string{"engineering"}}
	g := delegation.Grant{
		Issuer: Issuer, ClientID: a.ClientID, Org: a.Org, Actor: a.ID, Audience: Executor, Scope: scopes, ID: rand.Text(),
		Transaction: rand.Text(), Now: w.Clock.Now(), Life: 5 * time.Minute,
	}
	if change != nil {
		change(&s, &g)
	}
	u, err := delegation.Root(s, g)
	must(t, err)
	token, err := w.Ring.Sign(context.Background(), u)
	must(t, err)
	return token
}

// Exchange asks the Service, and fails the test when it refuses.
func (w *World) Exchange(t testing.TB, a Agent, req exchange.Request) exchange.Response {
	t.Helper()
	r, err := w.Service.Exchange(context.Background(), a.Credential(), req)
	if err != nil {
		t.Fatalf("exchange by %s: %v", a.Name, err)
	}
	return r
}

// FirstHop is the request of a user's login for the executor.
func FirstHop(idToken, scope string) exchange.Request {
	return exchange.Request{SubjectToken: idToken, SubjectTokenType: exchange.TypeIDToken, Resource: []string{Executor}, Scope: scope}
}

// Next is a request that goes on from a token of ours, for the executor.
func Next(token, scope string) exchange.Request {
	return exchange.Request{SubjectToken: token, SubjectTokenType: exchange.TypeAccessToken, Resource: []string{Executor}, Scope: scope}
}

// HandOver is Next with the next agent's own assertion.
func (w *World) HandOver(t testing.TB, token, scope string, to Agent) exchange.Request {
	t.Helper()
	r := Next(token, scope)
	r.ActorToken, r.ActorTokenType = to.Assertion(t, w, to, nil), exchange.TypeJWT
	return r
}
