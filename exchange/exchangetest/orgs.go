package exchangetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
)

// populate registers the orgs, their agents and their secrets.
func (w *World) populate(ctx context.Context, t testing.TB) {
	t.Helper()
	w.Orchestrator = newAgent(t, Acme, "orchestrator")
	w.Researcher = newAgent(t, Acme, "researcher")
	w.Courier = newAgent(t, Acme, "courier")
	w.Retired = newAgent(t, Acme, "retired")
	w.Stranger = newAgent(t, Globex, "assistant")
	acme, globex := w.acme(), w.globex()
	for _, doc := range []registry.Document{acme, globex} {
		must(t, doc.Validate())
		w.put(ctx, t, doc, 1)
	}
	for _, a := range []Agent{w.Orchestrator, w.Researcher, w.Courier, w.Retired, w.Stranger} {
		secret := store.ClientSecret{Agent: a.Name, Hash: sha256.Sum256([]byte(a.Secret)), Created: w.Clock.Now()}
		must(t, w.Store.Org(a.Org).PutClientSecret(ctx, secret, registry.MaxSecrets))
	}
}

func newAgent(t testing.TB, org delegation.OrgID, name string) Agent {
	t.Helper()
	key, err := jose.Generate(jose.ES256)
	must(t, err)
	signer, err := jose.NewSigner("key-of-"+name, jose.ES256, key)
	must(t, err)
	return Agent{
		Org: org, Name: name, ID: delegation.AgentID(org, name), ClientID: delegation.ClientID(org, name),
		Secret: rand.Text() + rand.Text(), Key: signer, possession: newPossession(t, name),
	}
}

func (w *World) acme() registry.Document {
	return registry.Document{
		Org:     Acme,
		Issuers: []registry.Issuer{w.trust("acme")},
		Agents: []registry.Agent{
			register(w.Orchestrator, registry.Agent{
				Groups: []string{"orchestrators"}, Owner: "ops@acme.test", Scopes: []string{"github:read", "github:write", "payments:transfer"},
			}),
			register(w.Researcher, registry.Agent{Groups: []string{"workers"}, Scopes: []string{"github:read"}, Controllers: []string{"orchestrator"}}),
			register(w.Courier, registry.Agent{Groups: []string{"workers"}}),
			register(w.Retired, registry.Agent{Groups: []string{"workers"}, Scopes: []string{"github:read"}, Disabled: true}),
		},
		Resources: []registry.Resource{{URI: Executor, Name: "executor"}, {URI: Reports}},
		Providers: []policy.Provider{
			{Name: "github", Scopes: []string{"github:read", "github:write", "github:admin"}},
			{Name: "payments", Scopes: []string{"payments:transfer"}},
		},
		Policies: []policy.File{{Name: "acme.cedar", Text: acmePolicies}},
	}
}

const acmePolicies = `
@id("orchestrators")
permit (principal in AgentGroup::"acme/orchestrators", action == Action::"exchange", resource)
when { context.subject in Group::"acme/engineering" };

@id("workers-behind-somebody")
permit (principal in AgentGroup::"acme/workers", action == Action::"exchange", resource in Provider::"github")
when { context.depth >= 2 && context.subject in Group::"acme/engineering" }
unless { resource == Scope::"github:admin" };

@id("no-transfers")
forbid (principal, action == Action::"exchange", resource == Scope::"payments:transfer");
`

func (w *World) globex() registry.Document {
	return registry.Document{
		Org:       Globex,
		Issuers:   []registry.Issuer{w.trust("globex")},
		Agents:    []registry.Agent{register(w.Stranger, registry.Agent{Scopes: []string{"github:read"}})},
		Resources: []registry.Resource{{URI: Executor, Name: "executor"}},
		Providers: []policy.Provider{{Name: "github", Scopes: []string{"github:read"}}},
		Policies: []policy.File{{Name: "globex.cedar", Text: `
@id("anybody")
permit (principal, action == Action::"exchange", resource);
`}},
	}
}

// trust is the registration of the shared identity provider.
func (w *World) trust(tenant string) registry.Issuer {
	return registry.Issuer{
		Name: "okta", URL: w.IDP.URL, Audiences: []string{Audience, "obo-other-app"}, TokenTypes: []string{registry.TokenTypeID, registry.TokenTypeJWT},
		OrgClaim: "tenant", OrgValue: tenant, GroupsClaim: "groups",
	}
}

func register(a Agent, r registry.Agent) registry.Agent {
	r.Name, r.JWKS = a.Name, jose.NewKeySet(a.Key.Key()).JSON()
	return r
}
