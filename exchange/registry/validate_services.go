package registry

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/onbehalf/obo/delegation/rar"
)

// The limits of what the org's tokens may be about beside users and resources.
const (
	maxServiceAccounts      = 1_000
	maxAuthorizationServers = 64
)

// services checks service accounts, types of authorization_details and other servers.
func (v *validator) services() {
	d := v.doc
	v.require(len(d.ServiceAccounts) <= maxServiceAccounts, "service_accounts",
		"has %d entries; at most %d", len(d.ServiceAccounts), maxServiceAccounts)
	named := map[string]bool{}
	for i, s := range d.ServiceAccounts {
		path := "service_accounts/" + label(s.Name, i)
		v.require(isLabel(s.Name), path+"/name", "must be 1 to 63 of a-z, 0-9 and hyphen")
		v.require(!named[s.Name], path+"/name", "is used twice")
		named[s.Name] = true
		v.require(len(s.Scopes) > 0, path+"/scopes", "is missing: list the widest that its tokens may be")
		v.declared(path, s.Scopes)
		v.groups(path, s.Groups)
	}
	v.require(len(d.AuthorizationServers) <= maxAuthorizationServers, "authorization_servers",
		"has %d entries; at most %d", len(d.AuthorizationServers), maxAuthorizationServers)
	targets := map[string]bool{}
	for _, r := range d.Resources {
		targets[r.URI] = true
	}
	for i, s := range d.AuthorizationServers {
		v.authorizationServer(i, s, targets)
	}
	if td := d.TransactionTokens.TrustDomain; td != "" {
		v.require(isText(td) && !strings.ContainsAny(td, `"\ `), "transaction_tokens/trust_domain",
			"must be 1 to %d printable characters without space, quote and backslash", maxText)
		v.require(!targets[td], "transaction_tokens/trust_domain",
			"is a resource or an authorization server too: aud could not say which is meant")
	}
	_, err := rar.Compile(d.DetailTypes)
	if invalid, ok := errors.AsType[*rar.InvalidError](err); ok {
		for _, p := range invalid.Problems {
			path := "authorization_details_types"
			for _, part := range []string{p.Type, p.Field} {
				if part != "" {
					path += "/" + clip(part)
				}
			}
			v.add(path, "%s", p.Message)
		}
	} else if err != nil {
		v.add("authorization_details_types", "%v", err)
	}
}

// authorizationServer checks another server. targets are the audiences so far.
func (v *validator) authorizationServer(i int, s AuthorizationServer, targets map[string]bool) {
	path := "authorization_servers/" + label(s.Issuer, i)
	v.url(path+"/issuer", s.Issuer)
	v.require(len(s.Issuer) <= maxResource, path+"/issuer", "must be at most %d characters", maxResource)
	v.require(!targets[s.Issuer], path+"/issuer", "is registered twice, or is a resource too: aud could not say which is meant")
	targets[s.Issuer] = true
	v.require(len(s.Clients) > 0, path+"/clients", "is missing: list the agents that may go there, each with its client_id there")
	for _, agent := range slices.Sorted(maps.Keys(s.Clients)) {
		id := s.Clients[agent]
		v.require(v.names[agent], path+"/clients", "%q is not an agent of this document", clip(agent))
		v.require(isText(id), path+"/clients", "the client_id of %q must be 1 to %d printable characters", clip(agent), maxText)
	}
	v.declared(path, s.Scopes)
}
