package config

import "time"

// STS is the configuration of obo-sts.
type STS struct {
	// Issuer is the issuer identifier: the URL under which clients reach the token endpoint, and `iss` of every token
	// (RFC 8414 §2). https, or http on a loopback address; no query, fragment or trailing slash. Required.
	Issuer string `yaml:"issuer"`
	// Listen says where to serve. Required.
	Listen Listen `yaml:"listen"`
	// Store is the database. Required.
	Store Store `yaml:"store"`
	// KeyFile is the file with the key-encryption key, made by `obo-sts init`, mode 0600. Required.
	KeyFile string `yaml:"key_file"`
	// Admin is the operator's credential for AdminService and AuditService. Required.
	Admin Credential `yaml:"admin"`
	// Feed is the credential of executors and verifiers for FeedService; it must differ from the operator's. Required.
	Feed Credential `yaml:"feed"`
	// Signing says how tokens are signed. Optional.
	Signing Signing `yaml:"signing"`
	// Limits bounds what any org can ask for. Optional.
	Limits Limits `yaml:"limits"`
	// Egress says where the server may fetch issuer metadata and key sets from. Optional.
	Egress Egress `yaml:"egress"`
	// Log says what to log. Optional.
	Log Log `yaml:"log"`
}

// Signing says how tokens are signed.
type Signing struct {
	// Algorithm is the JOSE algorithm of new keys: ES256 (the default), EdDSA, PS256 or RS256.
	Algorithm string `yaml:"algorithm"`
}

// Limits bounds what any org can ask for.
type Limits struct {
	// DefaultLife is the life of a token when the request names none, such as 5m. Default 5m.
	DefaultLife time.Duration `yaml:"default_life"`
	// MaxLife is the longest life of a token, at most 1h. Default 15m.
	MaxLife time.Duration `yaml:"max_life"`
	// MaxDepth is the longest delegation chain, 1 to 10. Default 5.
	MaxDepth int `yaml:"max_depth"`
	// MaxConcurrent is how many exchanges run at once; more are told to come back. 1 to 100000. Default 256.
	MaxConcurrent int `yaml:"max_concurrent"`
}

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
	c.Log.setDefaults()
}

func (c *STS) check(p *problems) {
	p.issuer("issuer", c.Issuer)
	p.listen(c.Listen)
	p.store(c.Store)
	p.required("key_file", c.KeyFile, "name the file that `obo-sts init` made")
	p.required("admin.token_file", c.Admin.TokenFile, "name the file with the operator's credential")
	p.required("feed.token_file", c.Feed.TokenFile, "name the file with the follower credential")
	p.oneOf("signing.algorithm", c.Signing.Algorithm, "ES256", "EdDSA", "PS256", "RS256")
	p.duration("limits.max_life", c.Limits.MaxLife, 10*time.Second, time.Hour)
	p.duration("limits.default_life", c.Limits.DefaultLife, 10*time.Second, max(c.Limits.MaxLife, 10*time.Second))
	p.between("limits.max_depth", c.Limits.MaxDepth, 1, 10)
	p.between("limits.max_concurrent", c.Limits.MaxConcurrent, 1, 100_000)
	p.log(c.Log)
}

func (c *STS) checkFiles(p *problems) {
	p.secretFile("key_file", c.KeyFile)
	admin := p.tokenFile("admin.token_file", c.Admin.TokenFile)
	feed := p.tokenFile("feed.token_file", c.Feed.TokenFile)
	if admin != "" && admin == feed {
		p.add("feed.token_file", "holds the operator's credential; a follower must not be an operator: make another")
	}
	p.tlsFiles(c.Listen.TLS)
}

func (c *STS) storeURL() string { return c.Store.URL.Reveal() }
