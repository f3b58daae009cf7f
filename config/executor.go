package config

import "time"

// Executor is the configuration of obo-executor.
type Executor struct {
	// Audience is the executor's resource identifier: `aud` of every token that it takes (RFC 8707 §2). An absolute URI
	// without fragment. Required.
	Audience string `yaml:"audience"`
	// Issuer is the issuer identifier of the token server, exactly as it stands in `iss`. Required.
	Issuer string `yaml:"issuer"`
	// JWKSURL is where the token server's key set is. Default: as the issuer's metadata says (RFC 8414 §3).
	JWKSURL string `yaml:"jwks_url"`
	// Feed is the token server's feed of revocations and policy. Required.
	Feed Feed `yaml:"feed"`
	// Listen says where to serve. Required.
	Listen Listen `yaml:"listen"`
	// Store is the database; never the token server's. Required.
	Store Store `yaml:"store"`
	// KeyFile is the file with the key-encryption key, made by `obo-executor init`, mode 0600. Required.
	KeyFile string `yaml:"key_file"`
	// Admin is the operator's credential for ExecutorAdminService and AuditService. Required.
	Admin Credential `yaml:"admin"`
	// Egress says where calls to providers may go. Optional.
	Egress Egress `yaml:"egress"`
	// Log says what to log. Optional.
	Log Log `yaml:"log"`
}

// Feed is the way to the token server's feed.
type Feed struct {
	// Address is host:port of the token server's gRPC listener. Required.
	Address string `yaml:"address"`
	// TokenFile is a file with the follower credential, mode 0600, at least 32 bytes. Required.
	TokenFile string `yaml:"token_file"`
	// StaleAfter is how long the executor goes on without hearing from the feed before it refuses every call, 1s to 60s.
	// Default 5s.
	StaleAfter time.Duration `yaml:"stale_after"`
	// TLS says whom to trust. Without it, a loopback address is spoken to in plaintext and any other with TLS and the
	// system's roots. Optional.
	TLS *ClientTLS `yaml:"tls"`
}

// ClientTLS says which server a client trusts.
type ClientTLS struct {
	// CAFile is a PEM file with the certificate authorities to trust. Default: the system's.
	CAFile string `yaml:"ca_file"`
	// ServerName is the name to expect in the certificate. Default: the host of the address.
	ServerName string `yaml:"server_name"`
}
