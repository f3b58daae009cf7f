// Package storetest holds every store engine to the contract of package store. RunSTS and RunExecutor are the suites,
// generic over an engine's org handle. FaultySTS and FaultyExecutor wrap an engine for the tests of those who use a store:
// they fail a chosen method before it takes effect, or after.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// STS is the token server's store, O the engine's org handle. Code outside tests declares the few methods that it needs.
type STS[O STSOrg] interface {
	Orgs(ctx context.Context) ([]delegation.OrgID, error)
	OrgsPage(ctx context.Context, after delegation.OrgID, limit int) ([]delegation.OrgID, error)
	Org(id delegation.OrgID) O
	Changes(ctx context.Context, after uint64, limit int) ([]store.Change, error)
	Head(ctx context.Context) (uint64, error)
	Notifications(ctx context.Context) (<-chan struct{}, error)
	Revocations(ctx context.Context, after uint64, now time.Time, limit int) ([]store.Revocation, error)
	PutReplica(ctx context.Context, r store.Replica, forget time.Time) error
	Replicas(ctx context.Context) ([]store.Replica, error)
	DeleteReplica(ctx context.Context, id string) error
	AppendAudit(ctx context.Context, records []store.AuditRecord) error
	SigningKeys(ctx context.Context) (keys []store.SigningKey, generation int64, err error)
	PutSigningKeys(ctx context.Context, generation int64, keys []store.SigningKey) error
	PurgeExpired(ctx context.Context, now time.Time) error
	Ping(ctx context.Context) error
	Close() error
}

// STSOrg is one org's part of the token server's store.
type STSOrg interface {
	Config(ctx context.Context) (store.OrgConfig, error)
	PutConfig(ctx context.Context, c store.OrgConfig) error
	ClientSecrets(ctx context.Context) ([]store.ClientSecret, error)
	PutClientSecret(ctx context.Context, s store.ClientSecret, keep int) error
	PutActivity(ctx context.Context, last map[string]time.Time) error
	Activity(ctx context.Context) ([]store.Activity, error)
	PutSignalCredential(ctx context.Context, c store.SignalCredential) error
	SignalCredentials(ctx context.Context) ([]store.SignalCredential, error)
	ResealSignalCredential(ctx context.Context, stream string, old, sealed []byte) error
	PutSignalPoll(ctx context.Context, p store.SignalPoll, now time.Time) error
	SignalPolls(ctx context.Context) ([]store.SignalPoll, error)
	Consume(ctx context.Context, key [32]byte, until time.Time) error
	Revoke(ctx context.Context, r store.Revocation) (uint64, error)
	Revocations(ctx context.Context, now time.Time) ([]store.Revocation, error)
	RevocationsPage(ctx context.Context, after uint64, now time.Time, limit int) ([]store.Revocation, error)
	AuditRecords(ctx context.Context, q store.AuditQuery) ([]store.AuditRecord, error)
	Users(ctx context.Context, q store.UserQuery) ([]store.User, int, error)
	PutUser(ctx context.Context, u store.User, end *store.Revocation) error
	DeleteUser(ctx context.Context, id string, version int64, end *store.Revocation) error
	Groups(ctx context.Context, q store.GroupQuery) ([]store.Group, int, error)
	Members(ctx context.Context, group string, limit int) ([]string, error)
	PutGroup(ctx context.Context, g store.Group, m store.Membership) error
	DeleteGroup(ctx context.Context, id string) error
}

// Executor is the executor's store, O the engine's org handle.
type Executor[O ExecutorOrg] interface {
	Orgs(ctx context.Context) ([]delegation.OrgID, error)
	Org(id delegation.OrgID) O
	DueConnections(ctx context.Context, now time.Time, limit int) ([]store.OrgConnection, error)
	DueWebhooks(ctx context.Context, now time.Time, limit int) ([]delegation.OrgID, error)
	AppendAudit(ctx context.Context, records []store.AuditRecord) error
	PurgeExpired(ctx context.Context, now time.Time) error
	Ping(ctx context.Context) error
	Close() error
}

// ExecutorOrg is one org's part of the executor's store.
type ExecutorOrg interface {
	DataKey(ctx context.Context) (store.DataKey, error)
	CreateDataKey(ctx context.Context, k store.DataKey) error
	ResealDataKey(ctx context.Context, old, sealed []byte) error
	DropDataKey(ctx context.Context, old, sealed, prefix []byte) error
	DeleteDataKey(ctx context.Context) error
	Connection(ctx context.Context, id string) (store.Connection, error)
	Connections(ctx context.Context, after string, limit int) ([]store.Connection, error)
	ConnectionsFor(ctx context.Context, provider, subject string) ([]store.Connection, error)
	PutConnection(ctx context.Context, c store.Connection, was string) error
	DeleteConnection(ctx context.Context, id string, version int64, now time.Time) error
	ConnectionEvents(ctx context.Context, after uint64, limit int) ([]store.ConnectionEvent, error)
	ConnectionHead(ctx context.Context) (uint64, error)
	Webhook(ctx context.Context) (store.Webhook, error)
	PutWebhook(ctx context.Context, w store.Webhook) error
	ResealWebhook(ctx context.Context, old, sealed []byte) error
	DeleteWebhook(ctx context.Context, version int64) error
	AcquireWebhook(ctx context.Context, now, until time.Time) (store.Webhook, error)
	PutDelivery(ctx context.Context, w store.Webhook) error
	AcquireRefresh(ctx context.Context, connection string, now, until time.Time) (store.Refreshing, error)
	SpendRefresh(ctx context.Context, r store.Refreshing, spent []byte, now time.Time) error
	ReleaseRefresh(ctx context.Context, r store.Refreshing, settled bool) error
	Client(ctx context.Context, name string) (store.Client, error)
	Clients(ctx context.Context, after string, limit int) ([]store.Client, error)
	PutClient(ctx context.Context, c store.Client) error
	DeleteClient(ctx context.Context, name string, version int64) error
	Authorization(ctx context.Context, id string) (store.Authorization, error)
	PutAuthorization(ctx context.Context, a store.Authorization) error
	Theme(ctx context.Context) (store.Theme, error)
	PutTheme(ctx context.Context, t store.Theme) error
	Authorizations(ctx context.Context, after string, limit int) ([]store.Authorization, error)
	ResealAuthorization(ctx context.Context, id string, old, sealed []byte) error
	Providers(ctx context.Context) ([]store.ProviderRecord, error)
	PutProviders(ctx context.Context, seen, records []store.ProviderRecord) error
	Consume(ctx context.Context, key [32]byte, until time.Time) error
	AuditRecords(ctx context.Context, q store.AuditQuery) ([]store.AuditRecord, error)
}

// Open opens one database. Each call gives another handle on it: another replica, or the same server after a restart. The
// suite closes the handles.
type Open[S any] func(t testing.TB) S

// Fresh makes a new, empty database that lives as long as t.
type Fresh[S any] func(t testing.TB) Open[S]

// closer is what handle needs of a store.
type closer interface{ Close() error }

// handle opens a database and closes it when the test ends.
func handle[S closer](t testing.TB, open Open[S]) S {
	t.Helper()
	s := open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}
