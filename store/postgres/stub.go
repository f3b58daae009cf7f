package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

var errUnfinished = errors.New("postgres: not written yet")

// STS is the token server's store.
type STS struct{}

// Executor is the executor's store.
type Executor struct{}

// STSOrg is one org's part of the token server's store.
type STSOrg struct{}

// ExecutorOrg is one org's part of the executor's store.
type ExecutorOrg struct{}

func OpenSTS(ctx context.Context, dsn string) (*STS, error)           { return nil, errUnfinished }
func OpenExecutor(ctx context.Context, dsn string) (*Executor, error) { return nil, errUnfinished }

func (s *STS) Org(id delegation.OrgID) *STSOrg                      { return &STSOrg{} }
func (s *STS) Orgs(ctx context.Context) ([]delegation.OrgID, error) { return nil, errUnfinished }
func (s *STS) Changes(ctx context.Context, after uint64, limit int) ([]store.Change, error) {
	return nil, errUnfinished
}
func (s *STS) Head(ctx context.Context) (uint64, error)                   { return 0, errUnfinished }
func (s *STS) Notifications(ctx context.Context) (<-chan struct{}, error) { return nil, errUnfinished }
func (s *STS) Revocations(ctx context.Context, after uint64, now time.Time) ([]store.Revocation, error) {
	return nil, errUnfinished
}
func (s *STS) AppendAudit(ctx context.Context, records []store.AuditRecord) error {
	return errUnfinished
}
func (s *STS) SigningKeys(ctx context.Context) (keys []store.SigningKey, generation int64, err error) {
	return nil, 0, errUnfinished
}
func (s *STS) PutSigningKeys(ctx context.Context, generation int64, keys []store.SigningKey) error {
	return errUnfinished
}
func (s *STS) PurgeExpired(ctx context.Context, now time.Time) error { return errUnfinished }
func (s *STS) Ping(ctx context.Context) error                        { return errUnfinished }
func (s *STS) Close() error                                          { return errUnfinished }

func (o *STSOrg) Config(ctx context.Context) (store.OrgConfig, error) {
	return store.OrgConfig{}, errUnfinished
}
func (o *STSOrg) PutConfig(ctx context.Context, c store.OrgConfig) error { return errUnfinished }
func (o *STSOrg) ClientSecrets(ctx context.Context) ([]store.ClientSecret, error) {
	return nil, errUnfinished
}
func (o *STSOrg) PutClientSecret(ctx context.Context, s store.ClientSecret, keep int) error {
	return errUnfinished
}
func (o *STSOrg) Consume(ctx context.Context, key [32]byte, until time.Time) error {
	return errUnfinished
}
func (o *STSOrg) Revoke(ctx context.Context, r store.Revocation) (uint64, error) {
	return 0, errUnfinished
}
func (o *STSOrg) Revocations(ctx context.Context, now time.Time) ([]store.Revocation, error) {
	return nil, errUnfinished
}
func (o *STSOrg) AuditRecords(ctx context.Context, q store.AuditQuery) ([]store.AuditRecord, error) {
	return nil, errUnfinished
}

func (e *Executor) Org(id delegation.OrgID) *ExecutorOrg                 { return &ExecutorOrg{} }
func (e *Executor) Orgs(ctx context.Context) ([]delegation.OrgID, error) { return nil, errUnfinished }
func (e *Executor) AppendAudit(ctx context.Context, records []store.AuditRecord) error {
	return errUnfinished
}
func (e *Executor) Ping(ctx context.Context) error { return errUnfinished }
func (e *Executor) Close() error                   { return errUnfinished }

func (o *ExecutorOrg) DataKey(ctx context.Context) (store.DataKey, error) {
	return store.DataKey{}, errUnfinished
}
func (o *ExecutorOrg) CreateDataKey(ctx context.Context, k store.DataKey) error { return errUnfinished }
func (o *ExecutorOrg) DeleteDataKey(ctx context.Context) error                  { return errUnfinished }
func (o *ExecutorOrg) Connection(ctx context.Context, id string) (store.Connection, error) {
	return store.Connection{}, errUnfinished
}
func (o *ExecutorOrg) Connections(ctx context.Context) ([]store.Connection, error) {
	return nil, errUnfinished
}
func (o *ExecutorOrg) PutConnection(ctx context.Context, c store.Connection) error {
	return errUnfinished
}
func (o *ExecutorOrg) DeleteConnection(ctx context.Context, id string) error { return errUnfinished }
func (o *ExecutorOrg) Providers(ctx context.Context) ([]store.ProviderRecord, error) {
	return nil, errUnfinished
}
func (o *ExecutorOrg) PutProviders(ctx context.Context, records []store.ProviderRecord) error {
	return errUnfinished
}
func (o *ExecutorOrg) AuditRecords(ctx context.Context, q store.AuditQuery) ([]store.AuditRecord, error) {
	return nil, errUnfinished
}
