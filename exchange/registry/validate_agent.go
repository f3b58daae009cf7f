package registry

import (
	"slices"
	"strings"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/rar"
	"github.com/onbehalf/obo/jose"
)

func (v *validator) agent(i int, a Agent) {
	path := "agents/" + label(a.Name, i)
	v.require(isLabel(a.Name), path+"/name", "must be 1 to 63 of a-z, 0-9 and hyphen")
	v.require(!v.agents[a.Name], path+"/name", "is used twice")
	v.agents[a.Name] = true
	v.require(a.Owner == "" || isText(a.Owner), path+"/owner", "must be at most %d printable characters", maxText)
	v.require(a.Purpose == "" || isText(a.Purpose), path+"/purpose", "must be at most %d printable characters", maxText)
	v.require(a.Expires.IsZero() || a.Expires.Year() >= 1970 && a.Expires.Year() < 10000, path+"/expires",
		"must be a time such as 2027-01-31T00:00:00Z")
	v.groups(path, a.Groups)
	v.declared(path, a.Scopes)
	for _, c := range a.Controllers {
		v.require(v.names[c] && c != a.Name, path+"/controllers", "%q must be another agent of this document", clip(c))
	}
	v.jwks(path+"/jwks", a.JWKS)
	v.x5c(path+"/jwks", a.JWKS)
	v.grants(path, a)
	v.presents(path, a)
	v.workloads(path, a)
	v.require(!a.TokenEndpointAudience || v.doc.Profile != ProfileFAPI, path+"/token_endpoint_audience",
		"the profile fapi takes assertions for the issuer alone (FAPI 2.0 section 5.3.2.1): leave it out")
	v.require(!a.DPoPBound || !a.CertificateBound, path+"/tls_client_certificate_bound_access_tokens",
		"comes without dpop_bound_access_tokens: a token is bound to one key, never to two")
}

func (v *validator) groups(path string, groups []string) {
	v.require(len(groups) <= 64, path+"/groups", "has %d entries; at most 64", len(groups))
	for _, g := range groups {
		v.require(isText(g) && !strings.ContainsAny(g, `/"\ `), path+"/groups",
			"%q must be 1 to %d printable characters without slash, quote, backslash and space", clip(g), maxText)
	}
}

// declared wants scopes of the document's providers.
func (v *validator) declared(path string, scopes []string) {
	if _, err := delegation.NewScopes(scopes...); err != nil {
		v.add(path+"/scopes", "must be at most 100 scopes of at most 128 characters (RFC 6749 section 3.3)")
	}
	for _, s := range scopes {
		v.require(v.scopes[s], path+"/scopes", "%q is not a scope of any provider of this document", clip(s))
	}
}

var grants = []string{GrantTokenExchange, GrantClientCredentials, GrantJWTBearer}

func (v *validator) grants(path string, a Agent) {
	for i, g := range a.Grants {
		v.require(slices.Contains(grants, g), path+"/grants", "%q is not one of %s", clip(g), strings.Join(grants, ", "))
		v.require(!slices.Contains(a.Grants[:i], g), path+"/grants", "%q is listed twice", clip(g))
	}
	if slices.Contains(a.Grants, GrantClientCredentials) {
		v.require(a.ServiceAccount != "", path+"/service_account", "is missing: it is who the agent acts for with client_credentials")
	} else {
		v.require(a.ServiceAccount == "", path+"/service_account", "comes with the grant client_credentials: list it in grants")
	}
	known := slices.ContainsFunc(v.doc.ServiceAccounts, func(s ServiceAccount) bool { return s.Name == a.ServiceAccount })
	v.require(a.ServiceAccount == "" || known, path+"/service_account", "%q is not in service_accounts", clip(a.ServiceAccount))
	v.require(len(a.Audiences) <= 16, path+"/audiences", "has %d entries; at most 16", len(a.Audiences))
	for _, aud := range a.Audiences {
		known := slices.ContainsFunc(v.doc.Issuers, func(i Issuer) bool { return slices.Contains(i.Audiences, aud) })
		v.require(known, path+"/audiences", "%q is not among the audiences of any issuer of this document", clip(aud))
	}
	for _, t := range a.DetailTypes {
		known := slices.ContainsFunc(v.doc.DetailTypes, func(d rar.Type) bool { return d.Name == t })
		v.require(known, path+"/authorization_details_types", "%q is not in authorization_details_types of this document", clip(t))
	}
}

// jwks wants every key to be of use: a key that is passed over in silence (private, symmetric, weak) would be found out only
// when the agent cannot log in.
func (v *validator) jwks(path string, data []byte) {
	if len(data) == 0 {
		return
	}
	var listed struct {
		Keys []any `json:"keys"`
	}
	set, err := jose.ParseKeySet(data)
	if err == nil {
		err = jose.Decode(data, &listed)
	}
	if err != nil || len(listed.Keys) > 16 {
		v.add(path, `must be a JWK set, {"keys":[...]}, of at most 16 keys (RFC 7517)`)
		return
	}
	v.require(len(set.Keys()) == len(listed.Keys), path,
		"%d of %d keys cannot be used: each must be public, for signatures, P-256, Ed25519 or RSA of at least 2048 bits",
		len(listed.Keys)-len(set.Keys()), len(listed.Keys))
	seen := map[string]bool{}
	for _, k := range set.Keys() {
		v.require(v.doc.Profile != ProfileFAPI || k.Algorithm() != jose.RS256, path,
			"kid %q is for RS256, which the profile fapi does not have: use PS256, ES256 or EdDSA", clip(k.KeyID()))
		v.require(!seen[k.KeyID()], path, "kid %q is used twice", clip(k.KeyID()))
		seen[k.KeyID()] = true
	}
}
