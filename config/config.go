// Package config reads the YAML configuration of the two servers. An unknown key is an error with its line, every problem
// is reported at once with what to do about it, and the types are the reference: each field says what it means.
//
// A string value may hold references: ${env:NAME} stands for an environment variable, ${file:/path} for the content of a
// file without the newline at its end. A reference that leads nowhere is an error, never an empty value.
//
// A field with the tag reload:"true" takes effect at a reload (SIGHUP); any other needs a restart. docs/CONFIG.md is made of
// the fields, their comments and their checks.
package config

import (
	"log/slog"
	"strings"
	"time"

	"github.com/onbehalf/obo/telemetry"
)

// Listen says where to serve.
type Listen struct {
	// GRPC is the address of the gRPC listener, host:port. Required.
	GRPC string `yaml:"grpc"`
	// HTTP is the address of the HTTP listener, host:port. Required.
	HTTP string `yaml:"http"`
	// TLS is the certificate of both. Without it both must be loopback addresses: tokens never cross a network in clear.
	TLS *ServerTLS `yaml:"tls"`
	// Hosts are further names or addresses, without ports, under which clients reach the gRPC listener. The host of the
	// server's own identifier (issuer, audience) and a loopback address that it listens on are always among them. A DPoP proof
	// for a gRPC call must name one of them, or a server that is called by another name could pass on the proofs that it gets.
	// Optional.
	Hosts []string `yaml:"hosts"`
}

// Store is a database.
type Store struct {
	// URL is "sqlite:/absolute/path" or "postgres://user@host/database?...". A password is best written as a reference,
	// ${env:NAME} or ${file:/path}, in the URL or in its place. Required.
	URL telemetry.Secret `yaml:"url"`
}

// Credential is a secret that callers present.
type Credential struct {
	// TokenFile is a file with the credential, mode 0600: at least 32 bytes of printable ASCII; space around it is
	// ignored. A reload reads it again, also when its name is the same. Required.
	TokenFile string `yaml:"token_file" reload:"true"`
}

// Drain says how the server ends.
type Drain struct {
	// Delay is how long a server that was told to end goes on answering while its health says that it does not serve: long
	// enough for whatever spreads the load to notice, so that nobody meets a closed port. Set it to some periods of the load
	// balancer's probe. Default 0s, for a server that is alone or whose clients watch its health.
	Delay time.Duration `yaml:"delay" reload:"true"`
}

// Egress says where the server may go.
type Egress struct {
	// AllowLoopback lets it reach this machine, without TLS if the URL says so. For development only.
	AllowLoopback bool `yaml:"allow_loopback"`
}

// Log says what to log.
type Log struct {
	// Level is the least that is logged. Default info.
	Level string `yaml:"level" reload:"true"`
	// Format is that of a line. Default json.
	Format string `yaml:"format"`
}

// SQLitePath returns the path of an SQLite database, or false when the store is PostgreSQL.
func (s Store) SQLitePath() (string, bool) {
	return strings.CutPrefix(s.URL.Reveal(), "sqlite:")
}

// Token reads the credential from its file. It is read at each call, so nobody need keep it.
func (c Credential) Token() (telemetry.Secret, error) { return readToken(c.TokenFile) }

// SlogLevel returns the level for log/slog; what Validate refuses is info.
func (l Log) SlogLevel() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return slog.LevelInfo
	}
	return level
}
