package registry

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
)

// MaxSecrets is how many client secrets of an agent are live at once: the newest, and the one before while it is rotated.
const MaxSecrets = 2

// Client is a registered agent, as a client and as an actor. It never changes.
type Client struct {
	Org         delegation.OrgID
	Name        string            // researcher
	ID          string            // agent:acme/researcher
	ClientID    string            // acme.researcher
	Disabled    bool              //
	Controllers []string          // names of the agents that may assert for it
	Scopes      delegation.Scopes // of its registration
	Keys        jose.KeySet       // its public keys
	Secrets     [][32]byte        // SHA-256 of its live client secrets, at most MaxSecrets
	FAPI        bool              // its org is held to the FAPI profile

	Registration Agent      // as the document has it
	Certificates [][32]byte // SHA-256 of its self-signed certificates (x5c of its JWKS; RFC 8705 §2.2)

	subject *subject // of tls_client_auth; nil when it has none
}

// Off says why the agent may do nothing at now: "disabled", "expired", or nothing when it may.
func (c *Client) Off(now time.Time) string {
	switch expires := c.Registration.Expires; {
	case c.Disabled:
		return "disabled"
	case !expires.IsZero() && !now.Before(expires):
		return "expired"
	}
	return ""
}

// Credentials are the ways in which the agent can authenticate, by the names of OAuth's client metadata (RFC 7591 §2).
func (c *Client) Credentials() []string {
	var out []string
	for _, way := range []struct {
		has  bool
		name string
	}{
		{len(c.Secrets) > 0 && !c.FAPI, "client_secret_basic"},
		{len(c.Registration.JWKS) > 0, "private_key_jwt"},
		{c.Registration.TLSClientAuth != nil, "tls_client_auth"},
		{len(c.Certificates) > 0, "self_signed_tls_client_auth"},
		{c.Registration.SPIFFEID != "", "spiffe"},
		{len(c.Registration.Workloads) > 0, "workload"},
	} {
		if way.has {
			out = append(out, way.name)
		}
	}
	return out
}

// Grant reports whether the agent is registered for a grant: GrantTokenExchange alone, unless its registration says otherwise
// (TE10).
func (c *Client) Grant(name string) bool {
	if len(c.Registration.Grants) == 0 {
		return name == GrantTokenExchange
	}
	return slices.Contains(c.Registration.Grants, name)
}

// Trust is one registered issuer, made ready. It never changes.
type Trust struct {
	Issuer
	fapi bool
}

// AcceptsAlgorithm reports whether the issuer may sign with it.
func (t *Trust) AcceptsAlgorithm(alg jose.Algorithm) bool { return accepts(t.Algorithms, alg, t.fapi) }

// accepts is the algorithms that are listed, all when none are; and under the FAPI profile never RS256 (FA6).
func accepts(listed []string, alg jose.Algorithm, fapi bool) bool {
	if alg == jose.Ed25519 {
		alg = jose.EdDSA // the name that a document has for it (JW14)
	}
	switch {
	case fapi && alg == jose.RS256:
		return false
	case len(listed) == 0:
		return slices.Contains(subjectAlgorithms, alg)
	}
	return slices.Contains(listed, string(alg))
}

// AcceptsType reports whether subject tokens of that type (TokenTypeID, TokenTypeJWT) are taken from the issuer.
func (t *Trust) AcceptsType(tokenType string) bool {
	if len(t.TokenTypes) == 0 {
		return tokenType == TokenTypeID
	}
	return slices.Contains(t.TokenTypes, tokenType)
}

// Org is one version of an org's configuration, made ready for deciding. It never changes.
type Org struct {
	doc       Document
	version   int64
	bundle    policy.Bundle
	policy    *policy.Set
	clients   map[string]*Client
	issuers   map[string]*Trust
	resources map[string]Resource // by URI
	names     map[string]string   // of resources, to URI
	services  map[string]*ServiceAccount
	workloads map[string]*Workload // by URL
	domains   map[string]*Domain
	members   map[string]*Client   // by SPIFFE ID
	runners   map[string][]*Client // who has rules for a workload issuer, by its name
	servers   map[string]*AuthorizationServer
	clientCAs *x509.CertPool // nil when there are none
	streams   map[string]*Stream
	scim      [][32]byte // SHA-256 of the live tokens of its directory's provider, at most MaxSecrets
}

// Compile makes an Org of a document, the operator's policies and the org's client secrets. The document is not validated
// again, but what cannot be compiled is an error.
func Compile(c store.OrgConfig, platform store.OrgConfig, secrets []store.ClientSecret) (*Org, error) {
	doc, err := Parse(c.Document)
	if err != nil {
		return nil, fmt.Errorf("registry: configuration %d of org %s: %w", c.Version, c.Org, err)
	}
	if doc.Org != c.Org {
		return nil, fmt.Errorf("registry: configuration %d of org %s names org %s", c.Version, c.Org, doc.Org)
	}
	var guardrails []policy.File
	if platform.Version > 0 {
		if guardrails, err = ParsePlatform(platform.Document); err != nil {
			return nil, fmt.Errorf("registry: platform policies %d: %w", platform.Version, err)
		}
	}
	o := &Org{
		doc: doc, version: c.Version, bundle: doc.bundle(fmt.Sprintf("%d.%d", c.Version, platform.Version), guardrails),
		clients: make(map[string]*Client, len(doc.Agents)), issuers: make(map[string]*Trust, len(doc.Issuers)),
		resources: make(map[string]Resource, len(doc.Resources)), names: make(map[string]string, len(doc.Resources)),
	}
	if o.policy, err = policy.Compile(o.bundle); err != nil {
		return nil, fmt.Errorf("registry: policies of org %s: %w", c.Org, err)
	}
	for _, a := range doc.Agents {
		if o.clients[a.Name], err = newClient(&doc, a, secrets); err != nil {
			return nil, fmt.Errorf("registry: agent %s of org %s: %w", a.Name, c.Org, err)
		}
	}
	for _, i := range doc.Issuers {
		o.issuers[i.URL] = &Trust{Issuer: i, fapi: o.FAPI()}
	}
	for _, r := range doc.Resources {
		o.resources[r.URI] = r
		if r.Name != "" {
			o.names[r.Name] = r.URI
		}
	}
	if err := o.trustWorkloads(); err != nil {
		return nil, fmt.Errorf("registry: workloads of org %s: %w", c.Org, err)
	}
	if err := o.openStreams(); err != nil {
		return nil, fmt.Errorf("registry: signal streams of org %s: %w", c.Org, err)
	}
	o.indexServices()
	o.scim = newest(secrets, ScimClient)
	return o, nil
}

func newClient(doc *Document, a Agent, secrets []store.ClientSecret) (*Client, error) {
	c := &Client{
		Org: doc.Org, Name: a.Name, ID: delegation.AgentID(doc.Org, a.Name), ClientID: delegation.ClientID(doc.Org, a.Name),
		Disabled: a.Disabled, FAPI: doc.Profile == ProfileFAPI, Controllers: a.Controllers, Registration: a,
	}
	var err error
	if c.Scopes, err = delegation.NewScopes(a.Scopes...); err != nil {
		return nil, err
	}
	if len(a.JWKS) > 0 {
		if c.Keys, err = jose.ParseKeySet(a.JWKS); err != nil {
			return nil, err
		}
		if c.Certificates, err = certificates(a.JWKS); err != nil {
			return nil, err
		}
	}
	if a.TLSClientAuth != nil {
		if c.subject, err = newSubject(*a.TLSClientAuth); err != nil {
			return nil, err
		}
	}
	c.Secrets = newest(secrets, a.Name)
	return c, nil
}

// newest are the hashes of a client's live secrets.
func newest(secrets []store.ClientSecret, client string) [][32]byte {
	own := slices.DeleteFunc(slices.Clone(secrets), func(s store.ClientSecret) bool { return s.Agent != client })
	slices.SortStableFunc(own, func(x, y store.ClientSecret) int { return y.Created.Compare(x.Created) })
	var out [][32]byte
	for _, s := range own[:min(len(own), MaxSecrets)] {
		out = append(out, s.Hash)
	}
	return out
}

// ID is the org's id.
func (o *Org) ID() delegation.OrgID { return o.doc.Org }

// Version counts the versions of the configuration. Secrets and platform policies have numbers of their own.
func (o *Org) Version() int64 { return o.version }

// Document is the configuration. The caller must not change it.
func (o *Org) Document() Document { return o.doc }

// Policy is the org's compiled policy set, the operator's own included.
func (o *Org) Policy() *policy.Set { return o.policy }

// Client finds an agent by its name within the org.
func (o *Org) Client(name string) (*Client, bool) { c, ok := o.clients[name]; return c, ok }

// Issuer finds the registration of an issuer by its URL, compared byte for byte.
func (o *Org) Issuer(url string) (*Trust, bool) { t, ok := o.issuers[url]; return t, ok }

// Resource reports whether a URI, as NormalURI gave it, is registered.
func (o *Org) Resource(uri string) bool { _, ok := o.resources[uri]; return ok }

// ResourceNamed finds the URI of a resource by its logical name.
func (o *Org) ResourceNamed(name string) (string, bool) { uri, ok := o.names[name]; return uri, ok }

// MaxDepth is the org's own limit, 0 when it has none.
func (o *Org) MaxDepth() int { return o.doc.Limits.MaxDepth }

// MaxLife is the org's own limit, 0 when it has none.
func (o *Org) MaxLife() time.Duration { return time.Duration(o.doc.Limits.MaxLife) }
