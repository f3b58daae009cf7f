package registry

import (
	"slices"

	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/jose"
)

func (o *Org) indexServices() {
	o.services = make(map[string]*ServiceAccount, len(o.doc.ServiceAccounts))
	for _, s := range o.doc.ServiceAccounts {
		o.services[s.Name] = &s
	}
	o.servers = make(map[string]*AuthorizationServer, len(o.doc.AuthorizationServers))
	for _, s := range o.doc.AuthorizationServers {
		o.servers[s.Issuer] = &s
	}
}

// SigningAlgorithm is the one that the org's tokens are signed with, or empty: the operator's choice.
func (o *Org) SigningAlgorithm() jose.Algorithm { return jose.Algorithm(o.doc.SigningAlgorithm) }

// FAPI reports whether the org is held to the FAPI 2.0 security profile.
func (o *Org) FAPI() bool { return o.doc.Profile == ProfileFAPI }

// ServiceAccount finds a service account by its name. The caller must not change it.
func (o *Org) ServiceAccount(name string) (*ServiceAccount, bool) {
	s, ok := o.services[name]
	return s, ok
}

// AuthorizationServer finds another authorization server by its issuer, byte for byte. The caller must not change it.
func (o *Org) AuthorizationServer(issuer string) (*AuthorizationServer, bool) {
	s, ok := o.servers[issuer]
	return s, ok
}

// DetailTypes are the types of authorization_details that the org registered.
func (o *Org) DetailTypes() rar.Types { return o.policy.DetailTypes() }

// TransactionDomain is the trust domain that transaction tokens are issued for; empty: none are.
func (o *Org) TransactionDomain() string { return o.doc.TransactionTokens.TrustDomain }

// MayIntrospect reports whether an agent may introspect the tokens for a resource (IN3).
func (o *Org) MayIntrospect(uri, agent string) bool {
	return slices.Contains(o.resources[uri].Introspectors, agent)
}

// Rate is the org's own limit of requests a second, 0 when it has none.
func (o *Org) Rate() int { return o.doc.Limits.Rate }

// AgentRate is the org's own limit of requests a second for each agent, 0 when it has none.
func (o *Org) AgentRate() int { return o.doc.Limits.AgentRate }
