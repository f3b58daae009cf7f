// Package admin changes what orgs are made of. Every change is in the audit trail before it is made.
package admin

import (
	"context"
	"errors"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

// The reasons for which an administrator's request is refused. Compare with errors.Is. A document that is wrong is a
// *registry.InvalidError; anything else is a dependency that is away.
var (
	// ErrNotFound: no such org or agent.
	ErrNotFound = errors.New("admin: not found")
	// ErrConflict: the configuration in force is not the version that the caller saw, or somebody else was faster.
	ErrConflict = errors.New("admin: conflict")
	// ErrInvalid: a malformed argument; the text says which, and is safe to show.
	ErrInvalid = errors.New("admin: invalid")
)

// ConfigStore keeps one org's configuration. PutConfig MUST answer store.ErrConflict unless Version is one more than the
// stored one.
type ConfigStore interface {
	Config(ctx context.Context) (store.OrgConfig, error)
	PutConfig(ctx context.Context, c store.OrgConfig) error
	PutClientSecret(ctx context.Context, s store.ClientSecret, keep int) error
}

// RevocationStore keeps one org's revocations.
type RevocationStore interface {
	Revoke(ctx context.Context, r store.Revocation) (uint64, error)
	Revocations(ctx context.Context, now time.Time) ([]store.Revocation, error)
}

// Keys are the signing keys: *keys.Ring.
type Keys interface {
	Keys() []keys.Info
	Rotate(ctx context.Context) error
}

// GetOrgResult is the configuration in force.
type GetOrgResult struct {
	Document []byte // JSON
	Version  int64  // 0: the org does not exist
}

// ApplyOrgRequest is a whole configuration.
type ApplyOrgRequest struct {
	Org             delegation.OrgID
	Document        []byte // JSON or YAML
	ExpectedVersion int64  // 0 creates
	DryRun          bool
}

// ApplyOrgResult says what changed.
type ApplyOrgResult struct {
	Version int64
	Changes []registry.Change
}

// RotateClientSecretRequest names an agent.
type RotateClientSecretRequest struct {
	Org          delegation.OrgID
	Agent        string
	DropPrevious bool
}

// RotateClientSecretResult shows the secret once.
type RotateClientSecretResult struct {
	ClientID string
	Secret   telemetry.Secret
}

// RevokeRequest is one entry.
type RevokeRequest struct {
	Org    delegation.OrgID
	Kind   string
	ID     string
	Reason string
}

// Service administers. It is safe for many goroutines.
type Service struct{ cfg Config }

// Config is what a Service needs. Nothing may be left out.
type Config struct {
	Orgs        func(ctx context.Context) ([]delegation.OrgID, error)
	Config      func(delegation.OrgID) ConfigStore // store.PlatformOrg included
	Revocations func(delegation.OrgID) RevocationStore
	Registry    *registry.Registry
	Audit       Recorder
	Keys        Keys
	Sync        func(ctx context.Context) error // lets this replica see the change at once: (*revocation.Hub).Sync
	MaxLife     time.Duration                   // the longest life of any token, which bounds every revocation
	Now         func() time.Time
}

// Recorder is the audit trail. Record MUST NOT answer nil before the record is durable.
type Recorder interface {
	Record(ctx context.Context, r audit.Record) error
}

// New refuses a Config that lacks anything.
func New(cfg Config) (*Service, error) { return &Service{cfg: cfg}, nil }

var errUnfinished = errors.New("admin: not there yet")

// ListOrgs lists the orgs in id order.
func (s *Service) ListOrgs(ctx context.Context) ([]delegation.OrgID, error) {
	return nil, errUnfinished
}

// GetOrg is an org's configuration; the version of an org that does not exist is 0.
func (s *Service) GetOrg(ctx context.Context, org delegation.OrgID) (GetOrgResult, error) {
	return GetOrgResult{}, errUnfinished
}

// ApplyOrg replaces an org's configuration, or creates the org.
func (s *Service) ApplyOrg(ctx context.Context, req ApplyOrgRequest) (ApplyOrgResult, error) {
	return ApplyOrgResult{}, errUnfinished
}

// ApplyPlatform replaces the operator's policies and answers with their version.
func (s *Service) ApplyPlatform(ctx context.Context, policies []policy.File) (int64, error) {
	return 0, errUnfinished
}

// RotateClientSecret gives an agent a new client_secret.
func (s *Service) RotateClientSecret(ctx context.Context, req RotateClientSecretRequest) (RotateClientSecretResult, error) {
	return RotateClientSecretResult{}, errUnfinished
}

// Revoke refuses tokens of one key from now on, and answers with the entry as it is in force.
func (s *Service) Revoke(ctx context.Context, req RevokeRequest) (store.Revocation, error) {
	return store.Revocation{}, errUnfinished
}

// ListRevocations lists an org's live entries, oldest first.
func (s *Service) ListRevocations(ctx context.Context, org delegation.OrgID) ([]store.Revocation, error) {
	return nil, errUnfinished
}

// ListKeys lists the signing keys, newest first.
func (s *Service) ListKeys(ctx context.Context) ([]keys.Info, error) { return nil, errUnfinished }

// RotateKeys publishes a successor now and lists the keys, newest first.
func (s *Service) RotateKeys(ctx context.Context) ([]keys.Info, error) { return nil, errUnfinished }
