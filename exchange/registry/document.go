package registry

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
)

// Document is all that belongs to an org, as `obo apply` sends it: one versioned whole (docs/adr/0002). It holds no secret.
type Document struct {
	Org       delegation.OrgID  `json:"org" yaml:"org"`
	Limits    Limits            `json:"limits,omitzero" yaml:"limits,omitempty"`
	Issuers   []Issuer          `json:"issuers,omitempty" yaml:"issuers,omitempty"`
	Agents    []Agent           `json:"agents,omitempty" yaml:"agents,omitempty"`
	Resources []Resource        `json:"resources,omitempty" yaml:"resources,omitempty"`
	Providers []policy.Provider `json:"providers,omitempty" yaml:"providers,omitempty"`
	Policies  []policy.File     `json:"policies,omitempty" yaml:"policies,omitempty"`
}

// Limits narrow what the operator allows; they cannot widen it.
type Limits struct {
	MaxDepth int      `json:"max_depth,omitzero" yaml:"max_depth,omitempty"` // agents in a chain; 0: the operator's
	MaxLife  Duration `json:"max_life,omitzero" yaml:"max_life,omitempty"`   // of a token, such as "10m"; 0: the operator's
}

// The token types that an issuer's registration may allow, by the last part of their URN (TX4).
const (
	TokenTypeID  = "id_token"
	TokenTypeJWT = "jwt"
)

// subjectAlgorithms are the algorithms that an issuer may sign with; never a symmetric one (JW1).
var subjectAlgorithms = []jose.Algorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}

// Issuer is an identity provider that the org lets vouch for its users.
//
// When several orgs share a provider's URL, each must name the claim that tells its own users apart (OrgClaim): without it
// every user of the provider would be a user of the org.
type Issuer struct {
	Name        string   `json:"name" yaml:"name"`                                     // within the org; part of every user's id
	URL         string   `json:"url" yaml:"url"`                                       // iss, byte for byte; discovery starts from it
	Audiences   []string `json:"audiences" yaml:"audiences"`                           // accepted aud: the org's client ids there
	Algorithms  []string `json:"algorithms,omitempty" yaml:"algorithms,omitempty"`     // of RS256 PS256 ES256 EdDSA; empty: all
	TokenTypes  []string `json:"token_types,omitempty" yaml:"token_types,omitempty"`   // of id_token jwt; empty: id_token
	OrgClaim    string   `json:"org_claim,omitempty" yaml:"org_claim,omitempty"`       // such as "tid" or "hd"
	OrgValue    string   `json:"org_value,omitempty" yaml:"org_value,omitempty"`       // what it must be, exactly
	GroupsClaim string   `json:"groups_claim,omitempty" yaml:"groups_claim,omitempty"` // such as "groups"; empty: no groups
}

// Agent is an AI workload of the org: a client, and an actor.
type Agent struct {
	Name        string          `json:"name" yaml:"name"`
	Owner       string          `json:"owner,omitempty" yaml:"owner,omitempty"` // who answers for it
	External    bool            `json:"external,omitzero" yaml:"external,omitempty"`
	Groups      []string        `json:"groups,omitempty" yaml:"groups,omitempty"`
	Scopes      []string        `json:"scopes,omitempty" yaml:"scopes,omitempty"`           // the widest that a first hop can be
	Controllers []string        `json:"controllers,omitempty" yaml:"controllers,omitempty"` // agents that may assert for it
	JWKS        json.RawMessage `json:"jwks,omitempty" yaml:"-"`                            // its public keys
	Disabled    bool            `json:"disabled,omitzero" yaml:"disabled,omitempty"`
}

// Resource is what a token may be for.
type Resource struct {
	URI  string `json:"uri" yaml:"uri"`                       // aud: absolute, no fragment, no trailing slash
	Name string `json:"name,omitempty" yaml:"name,omitempty"` // logical name, for the audience parameter
}

// Duration is a time.Duration written as "90s" or "10m".
type Duration time.Duration

// MarshalText writes Go's notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads Go's notation.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 90s or 10m", text)
	}
	*d = Duration(v)
	return nil
}

// bundle is what a policy set is compiled from.
func (d Document) bundle(version string, platform []policy.File) policy.Bundle {
	b := policy.Bundle{Org: d.Org, Version: version, Platform: platform, Policies: d.Policies, Providers: d.Providers}
	for _, a := range d.Agents {
		b.Agents = append(b.Agents, policy.Agent{Name: a.Name, Groups: a.Groups, Owner: a.Owner, External: a.External})
	}
	for _, r := range d.Resources {
		b.Resources = append(b.Resources, r.URI)
	}
	return b
}
