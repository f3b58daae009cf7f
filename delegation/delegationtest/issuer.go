// Package delegationtest makes delegation tokens for tests: of a service that verifies them, and of anything that must
// refuse a bad one. Its issuer signs whatever it is told, so nothing but tests may use it.
package delegationtest

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
)

// What a token says when a test changes nothing.
const (
	IssuerURL = "https://sts.test"
	Audience  = "https://service.test"
	Org       = delegation.OrgID("acme")
	User      = "user:acme/okta|alice"
	Scope     = "issues:read issues:write"
)

// Issuer is an STS with one ES256 key, in memory.
type Issuer struct {
	// Now is the clock by which tokens are issued and verified. A test may set it before use.
	Now func() time.Time

	signer jose.Signer
}

// NewIssuer makes an issuer with a fresh key.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner("test-"+rand.Text()[:8], jose.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	return &Issuer{Now: time.Now, signer: signer}
}

// URL is the issuer's "iss".
func (i *Issuer) URL() string { return IssuerURL }

// Keys is the issuer's key set.
func (i *Issuer) Keys() jose.KeySet { return jose.NewKeySet(i.signer.Key()) }

// Signer signs as the issuer.
func (i *Issuer) Signer() jose.Signer { return i.signer }

// ServeKeys serves the key set on loopback until the test ends, and returns its URL.
func (i *Issuer) ServeKeys(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(i.Keys().JSON())
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// Claims are those of a good token of now: alice lets the orchestrator act, and it handed over to the researcher.
func (i *Issuer) Claims() delegation.Claims {
	scope, err := delegation.ParseScopes(Scope)
	if err != nil {
		panic(err) // a constant of this file
	}
	now := i.Now().UTC().Truncate(time.Second)
	return delegation.Claims{
		Issuer: IssuerURL, Audience: Audience, Subject: User, ClientID: delegation.ClientID(Org, "orchestrator"), OrgID: Org,
		Scope: scope, IssuedAt: now, Expiry: now.Add(5 * time.Minute), ID: rand.Text(), Transaction: rand.Text(),
		Lineage: []string{rand.Text()}, Actor: Chain(Org, "researcher", "orchestrator"),
	}
}

// Chain is a delegation chain of agents of an org, the current one first.
func Chain(org delegation.OrgID, agents ...string) *delegation.Actor {
	var chain *delegation.Actor
	for n := len(agents) - 1; n >= 0; n-- {
		chain = &delegation.Actor{Issuer: IssuerURL, Subject: delegation.AgentID(org, agents[n]), Act: chain}
	}
	return chain
}

// As makes a token speak of another org: that user of its issuer okta, and those agents, the current one first. Give it
// to Token.
func As(org delegation.OrgID, user string, agents ...string) func(*delegation.Claims) {
	return func(c *delegation.Claims) {
		c.OrgID = org
		c.Subject = "user:" + string(org) + "/okta|" + user
		c.ClientID = delegation.ClientID(org, agents[0])
		c.Actor = Chain(org, agents...)
		c.Lineage = nil
		for range agents[1:] {
			c.Lineage = append(c.Lineage, rand.Text())
		}
	}
}

// Token signs the claims of Claims, changed by mutate. A nil mutate changes nothing. The result may be as bad as the test
// wants it.
func (i *Issuer) Token(t testing.TB, mutate func(*delegation.Claims)) string {
	t.Helper()
	c := i.Claims()
	if mutate != nil {
		mutate(&c)
	}
	payload, err := c.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return i.Sign(t, delegation.TokenType, payload)
}

// Mint signs what the narrowing law allowed, as the STS does.
func (i *Issuer) Mint(t testing.TB, u delegation.Unsigned) string {
	t.Helper()
	payload, err := u.Payload()
	if err != nil {
		t.Fatal(err)
	}
	return i.Sign(t, delegation.TokenType, payload)
}

// Sign signs any payload under any typ.
func (i *Issuer) Sign(t testing.TB, typ string, payload []byte) string {
	t.Helper()
	token, err := i.signer.Sign(typ, payload)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Verifier verifies this issuer's tokens for an audience, or for any when it is empty. Nothing is revoked.
func (i *Issuer) Verifier(t testing.TB, audience string) *delegation.Verifier {
	t.Helper()
	v, err := delegation.NewVerifier(delegation.VerifierConfig{
		Issuer: IssuerURL, Audience: audience, AnyAudience: audience == "", Keys: delegation.StaticKeys(i.Keys()),
		Revocations: delegation.NoRevocations, Now: i.Now, AcceptBound: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Verified is a verified token, as Token makes it.
func (i *Issuer) Verified(t testing.TB, mutate func(*delegation.Claims)) delegation.Verified {
	t.Helper()
	v, err := i.Verifier(t, "").Verify(context.Background(), i.Token(t, mutate))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
