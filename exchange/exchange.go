// Package exchange is the token exchange: RFC 8693 on behalf of agents.
package exchange

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
)

// Directory finds an org's configuration: *registry.Registry. Org MUST answer an error that wraps registry.ErrUnknownOrg
// for an org that does not exist, and MUST NOT answer from a snapshot that may be out of date.
type Directory interface {
	Org(ctx context.Context, id delegation.OrgID) (*registry.Org, error)
}

// Tokens verifies tokens of ours for whatever audience (C4): *delegation.Verifier.
type Tokens interface {
	Verify(ctx context.Context, token string) (delegation.Verified, error)
}

// Assertions remembers what may be used once. Consume MUST answer nil to exactly one caller for a key, across replicas and
// restarts, and store.ErrConflict to every other until `until`.
type Assertions interface {
	Consume(ctx context.Context, key [32]byte, until time.Time) error
}

// Recorder is the audit trail. Record MUST NOT answer nil before the record is durable.
type Recorder interface {
	Record(ctx context.Context, r audit.Record) error
}

// Signer signs what was approved, and nothing else: *keys.Ring.
type Signer interface {
	Sign(ctx context.Context, u delegation.Unsigned) (string, error)
}

// Limits are the operator's, above those of each org.
type Limits struct {
	DefaultLife time.Duration // of a token when none is asked for; 5 minutes
	MaxLife     time.Duration // 15 minutes; at most 60
	MaxDepth    int           // 5; at most 10
}

// Config is what a Service needs. Only Limits, Log and Remember may be left out.
type Config struct {
	Issuer      string // ours: aud of every assertion, iss of every token
	Orgs        Directory
	Tokens      Tokens
	Revocations delegation.Revocations
	Assertions  func(delegation.OrgID) Assertions
	Audit       Recorder
	Signer      Signer
	HTTP        *http.Client // to identity providers: an egress client
	Limits      Limits
	Remember    int // verified subject tokens to remember; 10,000; negative for none
	Now         func() time.Time
	Log         *slog.Logger
}

// Service exchanges tokens. It is safe for many goroutines.
type Service struct{ cfg Config }

// New refuses a Config that lacks what security needs.
func New(cfg Config) (*Service, error) { return &Service{cfg: cfg}, nil }

// Exchange is one RFC 8693 request. Every error is an *Error or the context's.
func (s *Service) Exchange(ctx context.Context, cred Credential, req Request) (Response, error) {
	return Response{}, &Error{Reason: Internal, cause: errors.New("exchange: not there yet")}
}
