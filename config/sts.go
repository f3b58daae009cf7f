package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/telemetry"
)

// STS is the configuration of obo-sts.
type STS struct {
	// Issuer is the issuer identifier: the URL under which clients reach the token endpoint, and `iss` of every token
	// (RFC 8414 §2). https, or http on a loopback address; no query, fragment or trailing slash. Required.
	Issuer string `yaml:"issuer"`
	// Listen says where to serve. Required.
	Listen Listen `yaml:"listen"`
	// Store is the database. Required.
	Store Store `yaml:"store"`
	// KeyFile is the file with the key-encryption key, made by `obo-sts init`, mode 0600. What is in it is read again
	// at a reload. Required.
	KeyFile string `yaml:"key_file"`
	// KeyEncryption says what encrypts the key in that file. Default: nothing; the file's mode is all that protects it.
	KeyEncryption *KeyEncryption `yaml:"key_encryption"`
	// Admin is the operator's credential for AdminService and AuditService. Required.
	Admin Credential `yaml:"admin"`
	// Operators are the people who may sign in to operate the server, besides whoever has the operator's credential. Optional.
	Operators []Operator `yaml:"operators"`
	// Feed is the credential of executors and verifiers for FeedService and IdentityService; it must differ from the operator's.
	// Required.
	Feed Credential `yaml:"feed"`
	// Signing says how tokens are signed. Optional.
	Signing Signing `yaml:"signing"`
	// Limits bounds what any org can ask for. Optional.
	Limits Limits `yaml:"limits"`
	// DPoP says how proofs of possession are taken. Optional.
	DPoP DPoP `yaml:"dpop"`
	// MTLSURL is the URL below which the endpoints ask for a TLS client certificate, when it is not the issuer's own
	// (RFC 8705 §5): a name that reaches the HTTP listener without anything in between that ends the TLS. Default: the
	// issuer when listen.tls is set; otherwise no door asks, and the metadata speaks of no certificates.
	MTLSURL string `yaml:"mtls_url"`
	// Egress says where the server may fetch issuer metadata and key sets from. Optional.
	Egress Egress `yaml:"egress"`
	// Drain says how the server ends. Optional.
	Drain Drain `yaml:"drain"`
	// Log says what to log. Optional.
	Log Log `yaml:"log"`
}

// Operator is a person, or a group of people, that an OpenID Connect provider vouches for.
type Operator struct {
	// Name is a name for the provider: a-z, 0-9 and hyphens. It is part of the name by which the audit trail knows the person.
	// Required.
	Name string `yaml:"name"`
	// Issuer is the provider's issuer identifier, iss of its ID tokens. Discovery starts from it. Required.
	Issuer string `yaml:"issuer"`
	// Audience is the aud of the ID tokens: a client id that is for signing in to operate this server and for nothing else.
	// Required.
	Audience string `yaml:"audience"`
	// Subject is the person's sub. Either this or group is required.
	Subject string `yaml:"subject"`
	// Group is one of the groups in groups_claim. Either this or subject is required.
	Group string `yaml:"group"`
	// GroupsClaim is the claim of the ID token that has the groups, such as groups. Required with group.
	GroupsClaim string `yaml:"groups_claim"`
}

// Signing says how tokens are signed.
type Signing struct {
	// Algorithm is the JOSE algorithm of tokens for which an org has chosen none (its `signing_algorithm`). Default ES256.
	Algorithm string `yaml:"algorithm"`
	// Algorithms are further ones that orgs may choose. There is one signing key for each. Optional.
	Algorithms []string `yaml:"algorithms"`
	// Source is where new signing keys are made and kept: store, sealed with the key-encryption key, or pkcs11, in a device, or
	// awskms, in the AWS Key Management Service, neither of which they leave. Both need a binary that was built with that tag, and
	// make no EdDSA keys. Default store.
	Source string `yaml:"source"`
	// PKCS11 is the device, for keys that are made or imported there. Optional.
	PKCS11 *PKCS11 `yaml:"pkcs11"`
	// AWSKMS is the service, for keys that are made or imported there. Optional.
	AWSKMS *AWSKMS `yaml:"awskms"`
}

// AWSKMS is the AWS Key Management Service. Credentials are found as its clients find them: a role of the workload, the
// environment, a profile.
type AWSKMS struct {
	// Region is that of the keys, such as eu-central-1. Required.
	Region string `yaml:"region"`
	// Endpoint is the https URL of a VPC endpoint; http on loopback. Default: the region's.
	Endpoint string `yaml:"endpoint"`
}

// PKCS11 is a token of a PKCS#11 device, such as an HSM.
type PKCS11 struct {
	// Module is the path of the vendor's library. Required.
	Module string `yaml:"module"`
	// TokenLabel is the label of the token in it. Required.
	TokenLabel string `yaml:"token_label"`
	// PIN is that of the token's user, best written as a reference, ${env:NAME} or ${file:/path}. Required.
	PIN telemetry.Secret `yaml:"pin"`
}

// Limits bounds what any org can ask for.
type Limits struct {
	// DefaultLife is the life of a token when the request names none, such as 5m. Default 5m.
	DefaultLife time.Duration `yaml:"default_life"`
	// MaxLife is the longest life of a token. Keys and revocations are kept for as long, so it needs a restart. Default 15m.
	MaxLife time.Duration `yaml:"max_life"`
	// MaxDepth is the longest delegation chain. Default 5.
	MaxDepth int `yaml:"max_depth"`
	// MaxConcurrent is how many exchanges run at once; more are told to come back. Default 256.
	MaxConcurrent int `yaml:"max_concurrent" reload:"true"`
	// OrgRate is how many requests a second all clients of one org may make at one replica, with bursts of twice as many;
	// more are told when to come back. An org's own limit, if lower, counts. 0 (the default) is no bound but the org's own.
	OrgRate int `yaml:"org_rate" reload:"true"`
	// AgentRate is the same for one client. 0 (the default) is no bound but the org's own.
	AgentRate int `yaml:"agent_rate" reload:"true"`
}

// Hosts are those that a DPoP proof for a gRPC call may name.
func (c *STS) Hosts() []string { return c.Listen.hosts(c.Issuer) }

// Server is the configuration of one of the two servers.
type Server interface{ STS | Executor }

// LoadSTS reads and validates the configuration of obo-sts, with its defaults filled in.
func LoadSTS(path string) (STS, error) {
	var c STS
	if err := load(path, &c); err != nil {
		return STS{}, err
	}
	return c, nil
}

// Validate reports everything that is wrong, as an *InvalidError.
func (c *STS) Validate() error {
	var p problems
	c.check(&p)
	return p.err("")
}

func (c *STS) setDefaults() {
	if c.Signing.Algorithm == "" {
		c.Signing.Algorithm = "ES256"
	}
	if c.Signing.Source == "" {
		c.Signing.Source = "store"
	}
	l := &c.Limits
	if l.MaxLife == 0 {
		l.MaxLife = 15 * time.Minute
	}
	if l.DefaultLife == 0 {
		l.DefaultLife = min(5*time.Minute, l.MaxLife)
	}
	if l.MaxDepth == 0 {
		l.MaxDepth = 5
	}
	if l.MaxConcurrent == 0 {
		l.MaxConcurrent = 256
	}
	if c.MTLSURL == "" && c.Listen.TLS != nil && strings.HasPrefix(c.Issuer, "https:") {
		c.MTLSURL = c.Issuer
	}
	c.DPoP.setDefaults()
	c.Log.setDefaults()
}

func (c *STS) check(p *problems) {
	p.issuer("issuer", c.Issuer)
	p.listen(c.Listen)
	p.store(c.Store)
	p.required("key_file", c.KeyFile, "name the file that `obo-sts init` made")
	p.required("admin.token_file", c.Admin.TokenFile, "name the file with the operator's credential")
	p.required("feed.token_file", c.Feed.TokenFile, "name the file with the follower credential")
	p.keyEncryption(c.KeyEncryption)
	p.oneOf("signing.algorithm", c.Signing.Algorithm, "ES256", "EdDSA", "PS256", "RS256")
	p.signing(c.Signing)
	for i, alg := range c.Signing.Algorithms {
		p.oneOf(fmt.Sprintf("signing.algorithms[%d]", i), alg, "ES256", "EdDSA", "PS256", "RS256")
	}
	p.duration("limits.max_life", c.Limits.MaxLife, 10*time.Second, time.Hour)
	p.duration("limits.default_life", c.Limits.DefaultLife, 10*time.Second, max(c.Limits.MaxLife, 10*time.Second))
	p.between("limits.max_depth", c.Limits.MaxDepth, 1, 10)
	p.between("limits.max_concurrent", c.Limits.MaxConcurrent, 1, 100_000)
	p.between("limits.org_rate", c.Limits.OrgRate, 0, 1_000_000)
	p.between("limits.agent_rate", c.Limits.AgentRate, 0, 1_000_000)
	p.operators(c)
	p.mtls(c)
	p.dpop(c.DPoP)
	p.drain(c.Drain)
	p.log(c.Log)
}

func (c *STS) checkFiles(p *problems) {
	p.secretFile("key_file", c.KeyFile)
	admin := p.tokenFile("admin.token_file", c.Admin.TokenFile)
	feed := p.tokenFile("feed.token_file", c.Feed.TokenFile)
	if admin != "" && admin == feed {
		p.add("feed.token_file", "holds the operator's credential", "and a follower must not be an operator", "make another")
	}
	p.serverTLS(c.Listen.TLS)
}

func (c *STS) storeURL() string { return c.Store.URL.Reveal() }

// mtls wants a URL that a client certificate can reach.
// operators wants each of them to be told from everybody else whom the provider knows.
func (p *problems) operators(c *STS) {
	const why = "else everybody whom the provider knows would be an operator, or nobody"
	for i, o := range c.Operators {
		path := fmt.Sprintf("operators[%d].", i)
		p.required(path+"name", o.Name, "name the provider, such as okta")
		p.issuer(path+"issuer", o.Issuer)
		p.required(path+"audience", o.Audience, "register a client id at the provider that is for signing in here")
		if (o.Subject == "") == (o.Group == "") {
			p.add(strings.TrimSuffix(path, "."), "has both a subject and a group, or neither", why, "name either a sub or a group")
		}
		if (o.Group == "") != (o.GroupsClaim == "") {
			p.add(path+"groups_claim", "does not go with group", why, "give both, or neither")
		}
		for _, before := range c.Operators[:i] {
			if before.Issuer == o.Issuer && (before.Name != o.Name || before.GroupsClaim != o.GroupsClaim) {
				p.add(path+"name", "or groups_claim is not as in an earlier entry of the same issuer", "a person would have two names",
					"give both entries the same")
			}
		}
	}
}

func (p *problems) mtls(c *STS) {
	switch {
	case c.MTLSURL == "" || c.MTLSURL == c.Issuer && c.Listen.TLS != nil: // the issuer was checked
	case c.Listen.TLS == nil:
		p.add("mtls_url", "needs listen.tls", "because a certificate that another server asked for cannot be passed on",
			"set listen.tls, or remove mtls_url")
	default:
		u := p.webURL("mtls_url", c.MTLSURL)
		issuer, err := url.Parse(c.Issuer)
		if u != nil && err == nil && (u.Scheme != "https" || u.Path != issuer.Path || strings.ContainsAny(c.MTLSURL, "?#")) {
			p.add("mtls_url", "is no https URL with the issuer's path and without a query", "",
				"write one such as https://mtls.sts.example")
		}
	}
}

// signing wants a device for keys that are made in one.
func (p *problems) signing(s Signing) {
	p.oneOf("signing.source", s.Source, "store", "pkcs11", "awskms")
	p.awskms("signing.awskms", s.AWSKMS, s.Source == "awskms")
	p.pkcs11("signing.pkcs11", s.PKCS11, s.Source == "pkcs11")
	if s.Source != "store" && (s.Algorithm == "EdDSA" || slices.Contains(s.Algorithms, "EdDSA")) {
		p.oneOf("signing.algorithm", "EdDSA", "ES256", "PS256", "RS256")
	}
}
