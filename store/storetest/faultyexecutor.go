package storetest

import (
	"context"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// FaultyExecutor is an executor's store whose methods fail as Hook says. Org and Close never do.
type FaultyExecutor[O ExecutorOrg] struct {
	Store Executor[O]
	Hook  Hook
}

// Org returns a handle that fails as Hook says.
func (f *FaultyExecutor[O]) Org(id delegation.OrgID) *FaultyExecutorOrg[O] {
	return &FaultyExecutorOrg[O]{org: f.Store.Org(id), id: id, hook: f.Hook}
}

// Orgs is Executor.Orgs.
func (f *FaultyExecutor[O]) Orgs(ctx context.Context) ([]delegation.OrgID, error) {
	return do(f.Hook, Call{Method: "Orgs"}, func() ([]delegation.OrgID, error) { return f.Store.Orgs(ctx) })
}

// DueConnections is Executor.DueConnections.
func (f *FaultyExecutor[O]) DueConnections(ctx context.Context, now time.Time, limit int) ([]store.OrgConnection, error) {
	return do(f.Hook, Call{Method: "DueConnections"}, func() ([]store.OrgConnection, error) { return f.Store.DueConnections(ctx, now, limit) })
}

// DueWebhooks is Executor.DueWebhooks.
func (f *FaultyExecutor[O]) DueWebhooks(ctx context.Context, now time.Time, limit int) ([]delegation.OrgID, error) {
	return do(f.Hook, Call{Method: "DueWebhooks"}, func() ([]delegation.OrgID, error) { return f.Store.DueWebhooks(ctx, now, limit) })
}

// AppendAudit is Executor.AppendAudit.
func (f *FaultyExecutor[O]) AppendAudit(ctx context.Context, records []store.AuditRecord) error {
	return doErr(f.Hook, Call{Method: "AppendAudit"}, func() error { return f.Store.AppendAudit(ctx, records) })
}

// PurgeExpired is Executor.PurgeExpired.
func (f *FaultyExecutor[O]) PurgeExpired(ctx context.Context, now time.Time) error {
	return doErr(f.Hook, Call{Method: "PurgeExpired"}, func() error { return f.Store.PurgeExpired(ctx, now) })
}

// Ping is Executor.Ping.
func (f *FaultyExecutor[O]) Ping(ctx context.Context) error {
	return doErr(f.Hook, Call{Method: "Ping"}, func() error { return f.Store.Ping(ctx) })
}

// Close closes the store beneath.
func (f *FaultyExecutor[O]) Close() error { return f.Store.Close() }

// FaultyExecutorOrg is one org's part of a FaultyExecutor.
type FaultyExecutorOrg[O ExecutorOrg] struct {
	org  O
	id   delegation.OrgID
	hook Hook
}

// DataKey is ExecutorOrg.DataKey.
func (f *FaultyExecutorOrg[O]) DataKey(ctx context.Context) (store.DataKey, error) {
	return do(f.hook, Call{"DataKey", f.id}, func() (store.DataKey, error) { return f.org.DataKey(ctx) })
}

// CreateDataKey is ExecutorOrg.CreateDataKey.
func (f *FaultyExecutorOrg[O]) CreateDataKey(ctx context.Context, k store.DataKey) error {
	return doErr(f.hook, Call{"CreateDataKey", f.id}, func() error { return f.org.CreateDataKey(ctx, k) })
}

// DropDataKey is ExecutorOrg.DropDataKey.
func (f *FaultyExecutorOrg[O]) DropDataKey(ctx context.Context, old, sealed, prefix []byte) error {
	return doErr(f.hook, Call{"DropDataKey", f.id}, func() error { return f.org.DropDataKey(ctx, old, sealed, prefix) })
}

// ResealDataKey is ExecutorOrg.ResealDataKey.
func (f *FaultyExecutorOrg[O]) ResealDataKey(ctx context.Context, old, sealed []byte) error {
	return doErr(f.hook, Call{"ResealDataKey", f.id}, func() error { return f.org.ResealDataKey(ctx, old, sealed) })
}

// DeleteDataKey is ExecutorOrg.DeleteDataKey.
func (f *FaultyExecutorOrg[O]) DeleteDataKey(ctx context.Context) error {
	return doErr(f.hook, Call{"DeleteDataKey", f.id}, func() error { return f.org.DeleteDataKey(ctx) })
}

// Connection is ExecutorOrg.Connection.
func (f *FaultyExecutorOrg[O]) Connection(ctx context.Context, id string) (store.Connection, error) {
	return do(f.hook, Call{"Connection", f.id}, func() (store.Connection, error) { return f.org.Connection(ctx, id) })
}

// Connections is ExecutorOrg.Connections.
func (f *FaultyExecutorOrg[O]) Connections(ctx context.Context, after string, limit int) ([]store.Connection, error) {
	return do(f.hook, Call{"Connections", f.id}, func() ([]store.Connection, error) { return f.org.Connections(ctx, after, limit) })
}

// ConnectionsFor is ExecutorOrg.ConnectionsFor.
func (f *FaultyExecutorOrg[O]) ConnectionsFor(ctx context.Context, provider, subject string) ([]store.Connection, error) {
	return do(f.hook, Call{"ConnectionsFor", f.id}, func() ([]store.Connection, error) {
		return f.org.ConnectionsFor(ctx, provider, subject)
	})
}

// PutConnection is ExecutorOrg.PutConnection.
func (f *FaultyExecutorOrg[O]) PutConnection(ctx context.Context, c store.Connection, was string) error {
	return doErr(f.hook, Call{"PutConnection", f.id}, func() error { return f.org.PutConnection(ctx, c, was) })
}

// DeleteConnection is ExecutorOrg.DeleteConnection.
func (f *FaultyExecutorOrg[O]) DeleteConnection(ctx context.Context, id string, version int64, now time.Time) error {
	return doErr(f.hook, Call{"DeleteConnection", f.id}, func() error { return f.org.DeleteConnection(ctx, id, version, now) })
}

// ConnectionEvents is ExecutorOrg.ConnectionEvents.
func (f *FaultyExecutorOrg[O]) ConnectionEvents(ctx context.Context, after uint64, limit int) ([]store.ConnectionEvent, error) {
	return do(f.hook, Call{"ConnectionEvents", f.id}, func() ([]store.ConnectionEvent, error) {
		return f.org.ConnectionEvents(ctx, after, limit)
	})
}

// AcquireRefresh is ExecutorOrg.AcquireRefresh.
func (f *FaultyExecutorOrg[O]) AcquireRefresh(ctx context.Context, connection string, now, until time.Time) (store.Refreshing, error) {
	return do(f.hook, Call{"AcquireRefresh", f.id}, func() (store.Refreshing, error) {
		return f.org.AcquireRefresh(ctx, connection, now, until)
	})
}

// SpendRefresh is ExecutorOrg.SpendRefresh.
func (f *FaultyExecutorOrg[O]) SpendRefresh(ctx context.Context, r store.Refreshing, spent []byte, now time.Time) error {
	return doErr(f.hook, Call{"SpendRefresh", f.id}, func() error { return f.org.SpendRefresh(ctx, r, spent, now) })
}

// ReleaseRefresh is ExecutorOrg.ReleaseRefresh.
func (f *FaultyExecutorOrg[O]) ReleaseRefresh(ctx context.Context, r store.Refreshing, settled bool) error {
	return doErr(f.hook, Call{"ReleaseRefresh", f.id}, func() error { return f.org.ReleaseRefresh(ctx, r, settled) })
}

// Client is ExecutorOrg.Client.
func (f *FaultyExecutorOrg[O]) Client(ctx context.Context, name string) (store.Client, error) {
	return do(f.hook, Call{"Client", f.id}, func() (store.Client, error) { return f.org.Client(ctx, name) })
}

// Clients is ExecutorOrg.Clients.
func (f *FaultyExecutorOrg[O]) Clients(ctx context.Context, after string, limit int) ([]store.Client, error) {
	return do(f.hook, Call{"Clients", f.id}, func() ([]store.Client, error) { return f.org.Clients(ctx, after, limit) })
}

// PutClient is ExecutorOrg.PutClient.
func (f *FaultyExecutorOrg[O]) PutClient(ctx context.Context, c store.Client) error {
	return doErr(f.hook, Call{"PutClient", f.id}, func() error { return f.org.PutClient(ctx, c) })
}

// DeleteClient is ExecutorOrg.DeleteClient.
func (f *FaultyExecutorOrg[O]) DeleteClient(ctx context.Context, name string, version int64) error {
	return doErr(f.hook, Call{"DeleteClient", f.id}, func() error { return f.org.DeleteClient(ctx, name, version) })
}

// Authorization is ExecutorOrg.Authorization.
func (f *FaultyExecutorOrg[O]) Authorization(ctx context.Context, id string) (store.Authorization, error) {
	return do(f.hook, Call{"Authorization", f.id}, func() (store.Authorization, error) { return f.org.Authorization(ctx, id) })
}

// Theme is ExecutorOrg.Theme.
func (f *FaultyExecutorOrg[O]) Theme(ctx context.Context) (store.Theme, error) {
	return do(f.hook, Call{"Theme", f.id}, func() (store.Theme, error) { return f.org.Theme(ctx) })
}

// PutTheme is ExecutorOrg.PutTheme.
func (f *FaultyExecutorOrg[O]) PutTheme(ctx context.Context, t store.Theme) error {
	return doErr(f.hook, Call{"PutTheme", f.id}, func() error { return f.org.PutTheme(ctx, t) })
}

// PutAuthorization is ExecutorOrg.PutAuthorization.
func (f *FaultyExecutorOrg[O]) PutAuthorization(ctx context.Context, a store.Authorization) error {
	return doErr(f.hook, Call{"PutAuthorization", f.id}, func() error { return f.org.PutAuthorization(ctx, a) })
}

// Authorizations is ExecutorOrg.Authorizations.
func (f *FaultyExecutorOrg[O]) Authorizations(ctx context.Context, after string, limit int) ([]store.Authorization, error) {
	return do(f.hook, Call{"Authorizations", f.id}, func() ([]store.Authorization, error) { return f.org.Authorizations(ctx, after, limit) })
}

// ResealAuthorization is ExecutorOrg.ResealAuthorization.
func (f *FaultyExecutorOrg[O]) ResealAuthorization(ctx context.Context, id string, old, sealed []byte) error {
	return doErr(f.hook, Call{"ResealAuthorization", f.id}, func() error { return f.org.ResealAuthorization(ctx, id, old, sealed) })
}

// Providers is ExecutorOrg.Providers.
func (f *FaultyExecutorOrg[O]) Providers(ctx context.Context) ([]store.ProviderRecord, error) {
	return do(f.hook, Call{"Providers", f.id}, func() ([]store.ProviderRecord, error) { return f.org.Providers(ctx) })
}

// PutProviders is ExecutorOrg.PutProviders.
func (f *FaultyExecutorOrg[O]) PutProviders(ctx context.Context, seen, records []store.ProviderRecord) error {
	return doErr(f.hook, Call{"PutProviders", f.id}, func() error { return f.org.PutProviders(ctx, seen, records) })
}

// Consume is ExecutorOrg.Consume.
func (f *FaultyExecutorOrg[O]) Consume(ctx context.Context, key [32]byte, until time.Time) error {
	return doErr(f.hook, Call{"Consume", f.id}, func() error { return f.org.Consume(ctx, key, until) })
}

// AuditRecords is ExecutorOrg.AuditRecords.
func (f *FaultyExecutorOrg[O]) AuditRecords(ctx context.Context, q store.AuditQuery) ([]store.AuditRecord, error) {
	return do(f.hook, Call{"AuditRecords", f.id}, func() ([]store.AuditRecord, error) { return f.org.AuditRecords(ctx, q) })
}

// ConnectionHead is ExecutorOrg.ConnectionHead.
func (f *FaultyExecutorOrg[O]) ConnectionHead(ctx context.Context) (uint64, error) {
	return do(f.hook, Call{"ConnectionHead", f.id}, func() (uint64, error) { return f.org.ConnectionHead(ctx) })
}

// Webhook is ExecutorOrg.Webhook.
func (f *FaultyExecutorOrg[O]) Webhook(ctx context.Context) (store.Webhook, error) {
	return do(f.hook, Call{"Webhook", f.id}, func() (store.Webhook, error) { return f.org.Webhook(ctx) })
}

// PutWebhook is ExecutorOrg.PutWebhook.
func (f *FaultyExecutorOrg[O]) PutWebhook(ctx context.Context, w store.Webhook) error {
	return doErr(f.hook, Call{"PutWebhook", f.id}, func() error { return f.org.PutWebhook(ctx, w) })
}

// ResealWebhook is ExecutorOrg.ResealWebhook.
func (f *FaultyExecutorOrg[O]) ResealWebhook(ctx context.Context, old, sealed []byte) error {
	return doErr(f.hook, Call{"ResealWebhook", f.id}, func() error { return f.org.ResealWebhook(ctx, old, sealed) })
}

// DeleteWebhook is ExecutorOrg.DeleteWebhook.
func (f *FaultyExecutorOrg[O]) DeleteWebhook(ctx context.Context, version int64) error {
	return doErr(f.hook, Call{"DeleteWebhook", f.id}, func() error { return f.org.DeleteWebhook(ctx, version) })
}

// AcquireWebhook is ExecutorOrg.AcquireWebhook.
func (f *FaultyExecutorOrg[O]) AcquireWebhook(ctx context.Context, now, until time.Time) (store.Webhook, error) {
	return do(f.hook, Call{"AcquireWebhook", f.id}, func() (store.Webhook, error) { return f.org.AcquireWebhook(ctx, now, until) })
}

// PutDelivery is ExecutorOrg.PutDelivery.
func (f *FaultyExecutorOrg[O]) PutDelivery(ctx context.Context, w store.Webhook) error {
	return doErr(f.hook, Call{"PutDelivery", f.id}, func() error { return f.org.PutDelivery(ctx, w) })
}
