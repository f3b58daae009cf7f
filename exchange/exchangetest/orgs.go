package exchangetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/rar"
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
	w.Reporter = newAgent(t, Acme, "reporter")
	w.Guarded = newAgent(t, Acme, "guarded")
	w.Pinned = newAgent(t, Acme, "pinned")
	w.Stranger = newAgent(t, Globex, "assistant")
	w.Teller = newAgent(t, Initech, "teller")
	acme := w.acme()
	w.grants(&acme)
	for _, doc := range []registry.Document{acme, w.globex(), w.initech()} {
		must(t, doc.Validate())
		w.put(ctx, t, doc, 1)
	}
	for _, a := range []Agent{w.Orchestrator, w.Researcher, w.Courier, w.Retired, w.Reporter, w.Guarded, w.Pinned, w.Stranger} {
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
				DetailTypes: []string{"payment", "repository"},
			}),
			register(w.Researcher, registry.Agent{Groups: []string{"workers"}, Scopes: []string{"github:read"}, Controllers: []string{"orchestrator"}}),
			register(w.Courier, registry.Agent{Groups: []string{"workers"}}),
			register(w.Retired, registry.Agent{Groups: []string{"workers"}, Scopes: []string{"github:read"}, Disabled: true}),
			register(w.Guarded, registry.Agent{Groups: []string{"orchestrators"}, Scopes: []string{"github:read", "github:write"}, DPoPBound: true}),
			register(w.Pinned, registry.Agent{Groups: []string{"orchestrators"}, Scopes: []string{"github:read", "github:write"}, CertificateBound: true}),
		},
		Resources: []registry.Resource{{URI: Executor, Name: "executor"}, {URI: Reports}},
		Providers: []policy.Provider{
			{Name: "github", Scopes: []string{"github:read", "github:write", "github:admin"}},
			{Name: "payments", Scopes: []string{"payments:transfer"}},
		},
		Policies:    []policy.File{{Name: "acme.cedar", Text: acmePolicies}},
		DetailTypes: detailTypes(),
	}
}

// detailTypes are acme's types of authorization_details. No agent is registered for vault.
func detailTypes() []rar.Type {
	return []rar.Type{
		{
			Name: "payment",
			Schema: []byte(`{"type": "object", "required": ["amount", "currency"], "properties": {
				"amount": {"type": "integer", "minimum": 0}, "currency": {"type": "string"},
				"recipients": {"type": "array", "items": {"type": "string"}},
				"locations": {"type": "array", "items": {"type": "string"}}}}`),
			Narrowing: map[string]rar.Rule{"amount": rar.AtMost, "currency": rar.Equal, "recipients": rar.Subset, "locations": rar.Subset},
		},
		{
			Name: "repository",
			Schema: []byte(`{"type": "object", "required": ["name"], "properties": {
				"name": {"type": "string"}, "actions": {"type": "array", "items": {"type": "string"}}}}`),
			Narrowing: map[string]rar.Rule{"name": rar.Prefix, "actions": rar.Subset},
		},
		{
			Name: "vault", Schema: []byte(`{"type": "object", "properties": {"path": {"type": "string"}}}`),
			Narrowing: map[string]rar.Rule{"path": rar.Prefix},
		},
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

@id("details")
permit (principal, action in Action::"detail", resource)
when { context.subject in Group::"acme/engineering" };

@id("no-large-payments")
forbid (principal, action == Action::"detail.payment", resource)
when { context.detail.amount > 1000 };

@id("workers-pay-little")
forbid (principal in AgentGroup::"acme/workers", action == Action::"detail.payment", resource)
when { context.detail.amount > 500 };
`

// initech is an org under the FAPI profile.
func (w *World) initech() registry.Document {
	issuer := w.trust("initech")
	issuer.Algorithms = []string{string(jose.ES256)}
	return registry.Document{
		Org: Initech, Profile: registry.ProfileFAPI,
		Issuers:   []registry.Issuer{issuer},
		Agents:    []registry.Agent{register(w.Teller, registry.Agent{Scopes: []string{"github:read"}})},
		Resources: []registry.Resource{{URI: Executor, Name: "executor"}},
		Providers: []policy.Provider{{Name: "github", Scopes: []string{"github:read"}}},
		Policies: []policy.File{{Name: "initech.cedar", Text: `
@id("anybody")
permit (principal, action == Action::"exchange", resource);
`}},
	}
}

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
		Name: "okta", URL: w.IDP.URL, Audiences: []string{Audience, "obo-other-app"},
		TokenTypes: []string{registry.TokenTypeID, registry.TokenTypeJWT, registry.TokenTypeAssertion, registry.TokenTypeIDJAG},
		OrgClaim:   "tenant", OrgValue: tenant, GroupsClaim: "groups",
	}
}

func register(a Agent, r registry.Agent) registry.Agent {
	r.Name, r.JWKS = a.Name, jose.NewKeySet(a.Key.Key()).JSON()
	return r
}
