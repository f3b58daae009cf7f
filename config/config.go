// Package config reads the YAML configuration of the two servers. An unknown key is an error with its line, every problem
// is reported at once with what to do about it, and the types are the reference: each field says what it means.

// A string value may hold references: ${env:NAME} stands for an environment variable, ${file:/path} for the content of a
// file without the newline at its end. A reference that leads nowhere is an error, never an empty value.
package config

import (
	"log/slog"
	"strings"

	"github.com/onbehalf/obo/telemetry"
)

// Listen says where to serve.
type Listen struct {
	// GRPC is host:port of the gRPC listener. Required.
	GRPC string `yaml:"grpc"`
	// HTTP is host:port of the HTTP listener. Required.
	HTTP string `yaml:"http"`
	// TLS is the certificate of both. Without it both must be loopback addresses: tokens never cross a network in clear.
	TLS *ServerTLS `yaml:"tls"`
	// Hosts are further names or addresses, without ports, under which clients reach the gRPC listener. The host of the
	// server's own identifier (issuer, audience) and a loopback address that it listens on are always among them. A DPoP proof for a gRPC call must name one of them, or a
	// server that is called by another name could pass on the proofs that it gets. Optional.
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
	// ignored. Required.
	TokenFile string `yaml:"token_file"`
}

// Egress says where the server may go.
type Egress struct {
	// AllowLoopback lets it reach this machine, without TLS if the URL says so. For development only.
	AllowLoopback bool `yaml:"allow_loopback"`
}

// Log says what to log.
type Log struct {
	// Level is debug, info, warn or error. Default info.
	Level string `yaml:"level"`
	// Format is json or text. Default json.
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
