package registry

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/rar"
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

	Profile              string                `json:"profile,omitempty" yaml:"profile,omitempty"`                     // empty, or ProfileFAPI
	SigningAlgorithm     string                `json:"signing_algorithm,omitempty" yaml:"signing_algorithm,omitempty"` // empty: the operator's choice
	ServiceAccounts      []ServiceAccount      `json:"service_accounts,omitempty" yaml:"service_accounts,omitempty"`
	WorkloadIssuers      []WorkloadIssuer      `json:"workload_issuers,omitempty" yaml:"workload_issuers,omitempty"`
	TrustDomains         []TrustDomain         `json:"trust_domains,omitempty" yaml:"trust_domains,omitempty"`
	ClientCAs            string                `json:"client_cas,omitempty" yaml:"client_cas,omitempty"` // PEM: who issues certificates for tls_client_auth
	DetailTypes          []rar.Type            `json:"authorization_details_types,omitempty" yaml:"authorization_details_types,omitempty"`
	AuthorizationServers []AuthorizationServer `json:"authorization_servers,omitempty" yaml:"authorization_servers,omitempty"`
	TransactionTokens    TransactionTokens     `json:"transaction_tokens,omitzero" yaml:"transaction_tokens,omitempty"`
	Administrators       []Administrator       `json:"administrators,omitempty" yaml:"administrators,omitempty"`
	SignalStreams        []SignalStream        `json:"signal_streams,omitempty" yaml:"signal_streams,omitempty"`
	Directory            Directory             `json:"directory,omitzero" yaml:"directory,omitempty"`
}

// ProfileFAPI is the FAPI 2.0 security profile (FA1 to FA6): no client secrets, only sender-constrained tokens, and only
// PS256, ES256 and EdDSA.
const ProfileFAPI = "fapi"

// The grants that an agent may be registered for.
const (
	GrantTokenExchange     = "token-exchange"
	GrantClientCredentials = "client_credentials"
	GrantJWTBearer         = "jwt-bearer"
)

// ServiceAccount is a subject that is no person: an agent that is registered for it starts a chain on its behalf with
// client_credentials.
type ServiceAccount struct {
	Name   string   `json:"name" yaml:"name"`
	Scopes []string `json:"scopes" yaml:"scopes"`                     // the widest that its tokens can be
	Groups []string `json:"groups,omitempty" yaml:"groups,omitempty"` // as policy sees them
}

// WorkloadIssuer vouches for workloads: a Kubernetes cluster, a CI system, a cloud. An agent's WorkloadRule says which of its
// tokens are that agent's credential, so that the agent needs no secret at rest.
type WorkloadIssuer struct {
	Name       string          `json:"name" yaml:"name"`
	URL        string          `json:"url" yaml:"url"`                                   // iss, byte for byte
	Audience   string          `json:"audience,omitempty" yaml:"audience,omitempty"`     // of its tokens; empty: our issuer
	JWKS       json.RawMessage `json:"jwks,omitempty" yaml:"-"`                          // its keys; empty: by discovery from URL
	Algorithms []string        `json:"algorithms,omitempty" yaml:"algorithms,omitempty"` // as Issuer.Algorithms
}

// TrustDomain is a SPIFFE trust domain with its bundle (JWK set with x509-svid and jwt-svid keys).
type TrustDomain struct {
	Name   string          `json:"name" yaml:"name"`
	Bundle json.RawMessage `json:"bundle" yaml:"-"`
}

// AuthorizationServer is another authorization server, for which identity assertion grants (ID-JAG) may be issued.
type AuthorizationServer struct {
	Issuer  string            `json:"issuer" yaml:"issuer"`
	Clients map[string]string `json:"clients" yaml:"clients"`                   // agent name to its client_id there
	Scopes  []string          `json:"scopes,omitempty" yaml:"scopes,omitempty"` // of this document, that may be asserted there
}

// Administrator gives a role to a person, to a group of people, or to a workload. Exactly one of Subject, Group and Workload is
// set.
type Administrator struct {
	Role   string `json:"role" yaml:"role"`                         // org-admin, policy-author or auditor
	Issuer string `json:"issuer,omitempty" yaml:"issuer,omitempty"` // Issuer.Name, of a person or a group
	// Audience is the aud of their ID tokens: a client id for signing in to administer, and never one of an issuer's audiences. Else
	// an agent that a person logs in to could sign in in their place.
	Audience string        `json:"audience,omitempty" yaml:"audience,omitempty"`
	Subject  string        `json:"subject,omitempty" yaml:"subject,omitempty"` // sub
	Group    string        `json:"group,omitempty" yaml:"group,omitempty"`     // one of the issuer's groups_claim
	Workload *WorkloadRule `json:"workload,omitempty" yaml:"workload,omitempty"`
}

// SignalStream is a stream of security events about an issuer's users (SSF): what its transmitter reports ends their tokens.
type SignalStream struct {
	Name        string          `json:"name" yaml:"name"`
	Issuer      string          `json:"issuer" yaml:"issuer"`                             // Issuer.Name: whose users it tells of
	Transmitter string          `json:"transmitter" yaml:"transmitter"`                   // iss of its SETs, byte for byte
	Audience    string          `json:"audience" yaml:"audience"`                         // aud of its SETs
	StreamID    string          `json:"stream_id,omitempty" yaml:"stream_id,omitempty"`   // the transmitter's own; empty: not compared
	Algorithms  []string        `json:"algorithms,omitempty" yaml:"algorithms,omitempty"` // as Issuer.Algorithms
	JWKS        json.RawMessage `json:"jwks,omitempty" yaml:"-"`                          // its keys; empty: by discovery from Transmitter
	Subject     string          `json:"subject,omitempty" yaml:"subject,omitempty"`       // SubjectOpaque, or empty
	// PollEndpoint is where the transmitter keeps SETs for us to fetch (RFC 8936); empty: it pushes them. The credential for it is no
	// part of the document.
	PollEndpoint string `json:"poll_endpoint,omitempty" yaml:"poll_endpoint,omitempty"`
	// CriticalSubjectMembers are as the transmitter's metadata has them: an event whose subject has one of them that is not understood
	// here is discarded.
	CriticalSubjectMembers []string `json:"critical_subject_members,omitempty" yaml:"critical_subject_members,omitempty"`
}

// SubjectOpaque says that a stream's opaque sub_id is the sub of the issuer's logins.
const SubjectOpaque = "opaque"

// TransactionTokens is the switch for transaction tokens: the trust domain for which they are issued; empty: none are.
type TransactionTokens struct {
	TrustDomain string `json:"trust_domain,omitempty" yaml:"trust_domain,omitempty"`
}

// Limits narrow what the operator allows; they cannot widen it.
type Limits struct {
	MaxDepth int      `json:"max_depth,omitzero" yaml:"max_depth,omitempty"` // agents in a chain; 0: the operator's
	MaxLife  Duration `json:"max_life,omitzero" yaml:"max_life,omitempty"`   // of a token, such as "10m"; 0: the operator's
	// Rate and AgentRate are requests a second, of the whole org and of each agent; 0: the operator's.
	Rate      int `json:"rate,omitzero" yaml:"rate,omitempty"`
	AgentRate int `json:"agent_rate,omitzero" yaml:"agent_rate,omitempty"`
}

// The token types that an issuer's registration may allow, by the last part of their URN (TX4).
const (
	TokenTypeID  = "id_token"
	TokenTypeJWT = "jwt"
	// TokenTypeAssertion is an authorization grant of RFC 7523 §2.1, and TokenTypeIDJAG one of the profile ID-JAG.
	TokenTypeAssertion = "jwt-bearer"
	TokenTypeIDJAG     = "id-jag"
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
	// SubjectClaim is the claim that tells its users apart in place of sub: one that is never given to somebody else, such as the
	// "oid" of Microsoft Entra, whose sub is another one for each client.
	SubjectClaim string `json:"subject_claim,omitempty" yaml:"subject_claim,omitempty"`
}

// Directory is where an identity provider keeps its users and groups up to date by SCIM 2.0 (RFC 7644).
type Directory struct {
	Issuer  string `json:"issuer" yaml:"issuer"`                       // Issuer.Name: whose users they are
	Subject string `json:"subject,omitempty" yaml:"subject,omitempty"` // the attribute that is the sub of their logins; empty: externalId
	// AllowUnknown lets people log in whom the directory does not have, while it is being filled.
	AllowUnknown bool `json:"allow_unknown,omitzero" yaml:"allow_unknown,omitempty"`
}

// The attributes of a user that can be the sub of its logins.
const (
	AttributeExternalID = "externalId"
	AttributeUserName   = "userName"
)

// Agent is an AI workload of the org: a client, and an actor.
type Agent struct {
	Name        string          `json:"name" yaml:"name"`
	Owner       string          `json:"owner,omitempty" yaml:"owner,omitempty"`     // who answers for it
	Purpose     string          `json:"purpose,omitempty" yaml:"purpose,omitempty"` // what it is there for
	Expires     time.Time       `json:"expires,omitzero" yaml:"expires,omitempty"`  // from when on it is as if disabled; zero: never
	External    bool            `json:"external,omitzero" yaml:"external,omitempty"`
	Groups      []string        `json:"groups,omitempty" yaml:"groups,omitempty"`
	Scopes      []string        `json:"scopes,omitempty" yaml:"scopes,omitempty"`           // the widest that a first hop can be
	Controllers []string        `json:"controllers,omitempty" yaml:"controllers,omitempty"` // agents that may assert for it
	JWKS        json.RawMessage `json:"jwks,omitempty" yaml:"-"`                            // its public keys
	Disabled    bool            `json:"disabled,omitzero" yaml:"disabled,omitempty"`

	Grants         []string       `json:"grants,omitempty" yaml:"grants,omitempty"`                   // empty: token-exchange
	ServiceAccount string         `json:"service_account,omitempty" yaml:"service_account,omitempty"` // of client_credentials
	Audiences      []string       `json:"audiences,omitempty" yaml:"audiences,omitempty"`             // aud of the logins that it may present; empty: the issuer's
	DetailTypes    []string       `json:"authorization_details_types,omitempty" yaml:"authorization_details_types,omitempty"`
	TLSClientAuth  *TLSSubject    `json:"tls_client_auth,omitempty" yaml:"tls_client_auth,omitempty"`
	SPIFFEID       string         `json:"spiffe_id,omitempty" yaml:"spiffe_id,omitempty"`
	Workloads      []WorkloadRule `json:"workloads,omitempty" yaml:"workloads,omitempty"`
	// TokenEndpointAudience also accepts the token endpoint's URL as aud of this agent's assertions (CA4), for old clients.
	TokenEndpointAudience bool `json:"token_endpoint_audience,omitzero" yaml:"token_endpoint_audience,omitempty"`
	// DPoPBound and CertificateBound are the client metadata of RFC 9449 §5.2 and RFC 8705 §3.4: no token but a bound one.
	DPoPBound        bool `json:"dpop_bound_access_tokens,omitzero" yaml:"dpop_bound_access_tokens,omitempty"`
	CertificateBound bool `json:"tls_client_certificate_bound_access_tokens,omitzero" yaml:"tls_client_certificate_bound_access_tokens,omitempty"`
}

// TLSSubject is the one expected subject of an agent's certificate (RFC 8705 §2.1.2). Exactly one member is set.
type TLSSubject struct {
	DN    string `json:"subject_dn,omitempty" yaml:"subject_dn,omitempty"` // RFC 4514
	DNS   string `json:"san_dns,omitempty" yaml:"san_dns,omitempty"`
	URI   string `json:"san_uri,omitempty" yaml:"san_uri,omitempty"`
	IP    string `json:"san_ip,omitempty" yaml:"san_ip,omitempty"`
	Email string `json:"san_email,omitempty" yaml:"san_email,omitempty"`
}

// WorkloadRule maps tokens of a workload issuer to an agent: every claim must be there and be exactly the value. A value that
// ends in * stands for all that begin with what is before it.
type WorkloadRule struct {
	Issuer string            `json:"issuer" yaml:"issuer"` // WorkloadIssuer.Name
	Claims map[string]string `json:"claims" yaml:"claims"` // "sub" among them; a nested claim by JSON pointer, such as /kubernetes.io/namespace
}

// Resource is what a token may be for.
type Resource struct {
	URI  string `json:"uri" yaml:"uri"`                       // aud: absolute, no fragment, no trailing slash
	Name string `json:"name,omitempty" yaml:"name,omitempty"` // logical name, for the audience parameter
	// Introspectors are the agents that may introspect tokens for this resource (RFC 7662): the resource server's own client.
	Introspectors []string `json:"introspectors,omitempty" yaml:"introspectors,omitempty"`
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
	b := policy.Bundle{
		Org: d.Org, Version: version, Platform: platform, Policies: d.Policies, Providers: d.Providers,
		DetailTypes: d.DetailTypes,
	}
	for _, a := range d.Agents {
		b.Agents = append(b.Agents, policy.Agent{Name: a.Name, Groups: a.Groups, Owner: a.Owner, External: a.External})
	}
	for _, r := range d.Resources {
		b.Resources = append(b.Resources, r.URI)
	}
	for _, s := range d.AuthorizationServers { // an audience of ID-JAGs, which policy is asked about like any other
		b.Resources = append(b.Resources, s.Issuer)
	}
	if td := d.TransactionTokens.TrustDomain; td != "" {
		b.Resources = append(b.Resources, td)
	}
	return b
}
