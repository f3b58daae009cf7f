package exchangetest

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
)

// What acme has for the grants beside token exchange.
const (
	Partner       = "https://as.partner.test" // another authorization server
	PartnerClient = "reporter-at-partner"     // the reporter's client_id there
	TrustDomain   = "acme.internal"           // of its transaction tokens
	Service       = "service:acme/reporting"  // its service account, registered for github:read and github:admin
)

// grants adds to acme what the other grants need: the reporter is registered for all of them, for github:read, github:write and
// github:admin, and for the logins of obo-app. Policy lets it have those except github:admin.
func (w *World) grants(doc *registry.Document) {
	doc.Agents = append(doc.Agents, register(w.Reporter, registry.Agent{
		Groups: []string{"reporters"}, Scopes: []string{"github:admin", "github:read", "github:write"},
		Grants:         []string{registry.GrantTokenExchange, registry.GrantClientCredentials, registry.GrantJWTBearer},
		ServiceAccount: "reporting", Audiences: []string{Audience},
	}))
	doc.ServiceAccounts = []registry.ServiceAccount{
		{Name: "reporting", Scopes: []string{"github:admin", "github:read"}, Groups: []string{"engineering"}},
	}
	doc.AuthorizationServers = []registry.AuthorizationServer{{
		Issuer: Partner, Clients: map[string]string{"reporter": PartnerClient, "orchestrator": "orchestrator-at-partner"},
		Scopes: []string{"github:read"},
	}}
	doc.TransactionTokens = registry.TransactionTokens{TrustDomain: TrustDomain}
	doc.Policies = append(doc.Policies, policy.File{Name: "reporters.cedar", Text: `
@id("reporters")
permit (principal in AgentGroup::"acme/reporters", action == Action::"exchange", resource in Provider::"github")
when { context.subject in Group::"acme/engineering" }
unless { resource == Scope::"github:admin" };
`})
}

// Assertion is what the identity provider says about a user of acme for the jwt-bearer grant (RFC 7523 §2.1), with what change
// makes of it.
func (p *IDP) Assertion(t testing.TB, user string, change func(Claims)) string {
	t.Helper()
	return p.AssertionBy(t, p.Key, user, change)
}

// AssertionBy is Assertion signed with any key.
func (p *IDP) AssertionBy(t testing.TB, key jose.Signer, user string, change func(Claims)) string {
	t.Helper()
	now := p.clock.Now()
	return sign(t, key, "JWT", Claims{
		"iss": p.URL, "sub": user, "aud": Issuer, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"tenant": "acme", "groups": []string{"engineering"},
	}, change)
}

// IDJAG is an identity assertion authorization grant of the identity provider for a client of ours.
func (p *IDP) IDJAG(t testing.TB, user string, client Agent, change func(Claims)) string {
	t.Helper()
	return p.Assertion(t, user, func(c Claims) {
		c["!typ"], c["client_id"], c["scope"] = delegation.TypeIDJAG, client.ClientID, "github:read"
		if change != nil {
			change(c)
		}
	})
}

// Asserted is a request of the jwt-bearer grant for the executor.
func Asserted(assertion, scope string) exchange.Request {
	return exchange.Request{Grant: exchange.GrantJWTBearer, Assertion: assertion, Resource: []string{Executor}, Scope: scope}
}

// ForService is a request of client_credentials for the executor.
func ForService(scope string) exchange.Request {
	return exchange.Request{Grant: exchange.GrantClientCredentials, Resource: []string{Executor}, Scope: scope}
}

// ForPartner asks for an ID-JAG for the partner's authorization server.
func ForPartner(idToken, scope string) exchange.Request {
	return exchange.Request{
		SubjectToken: idToken, SubjectTokenType: exchange.TypeIDToken, RequestedTokenType: exchange.TypeIDJAG,
		Audience: []string{Partner}, Scope: scope,
	}
}

// ForTransaction asks for a transaction token.
func ForTransaction(token, tokenType, scope string) exchange.Request {
	return exchange.Request{
		SubjectToken: token, SubjectTokenType: tokenType, RequestedTokenType: exchange.TypeTxnToken,
		Audience: []string{TrustDomain}, Scope: scope,
	}
}

// Read is the header and the claims of a token that the Service signed, whatever its kind.
func (w *World) Read(t testing.TB, token string) (typ string, claims Claims) {
	t.Helper()
	m, err := jose.Parse(token)
	must(t, err)
	key, err := w.Ring.Key(t.Context(), m.KeyID(), m.Algorithm())
	must(t, err)
	payload, err := m.Verify(key)
	must(t, err)
	must(t, jose.Decode(payload, &claims))
	return m.Type(), claims
}
