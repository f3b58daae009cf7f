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
