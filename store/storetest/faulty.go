package storetest

import (
	"context"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// Call is one call of a store's method that may fail.
type Call struct {
	Method string           // for example "AppendAudit"
	Org    delegation.OrgID // empty for a method of the whole server
}

// Fault is how a call fails. The zero value lets it through.
type Fault struct {
	Before error  // the call returns it and changes nothing
	After  error  // the call takes effect and then returns it, as when the answer to a commit is lost
	Then   func() // runs when the call has taken effect; it may end the goroutine, as a crash does
}

// Hook chooses the fault of each call. It is asked once per call, from the caller's goroutine. A nil Hook lets all through.
type Hook func(Call) Fault

func do[T any](h Hook, c Call, f func() (T, error)) (T, error) {
	var fault Fault
	var none T
	if h != nil {
		fault = h(c)
	}
	if fault.Before != nil {
		return none, fault.Before
	}
	v, err := f()
	if fault.Then != nil {
		fault.Then()
	}
	if err == nil && fault.After != nil {
		return none, fault.After
	}
	return v, err
}

func doErr(h Hook, c Call, f func() error) error {
	_, err := do(h, c, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// FaultySTS is a token server's store whose methods fail as Hook says. Org and Close never do.
type FaultySTS[O STSOrg] struct {
	Store STS[O]
	Hook  Hook
}

// Org returns a handle that fails as Hook says.
func (f *FaultySTS[O]) Org(id delegation.OrgID) *FaultySTSOrg[O] {
	return &FaultySTSOrg[O]{org: f.Store.Org(id), id: id, hook: f.Hook}
}

// Orgs is STS.Orgs.
func (f *FaultySTS[O]) Orgs(ctx context.Context) ([]delegation.OrgID, error) {
	return do(f.Hook, Call{Method: "Orgs"}, func() ([]delegation.OrgID, error) { return f.Store.Orgs(ctx) })
}

// OrgsPage is STS.OrgsPage.
func (f *FaultySTS[O]) OrgsPage(ctx context.Context, after delegation.OrgID, limit int) ([]delegation.OrgID, error) {
	return do(f.Hook, Call{Method: "OrgsPage"}, func() ([]delegation.OrgID, error) { return f.Store.OrgsPage(ctx, after, limit) })
}

// Changes is STS.Changes.
func (f *FaultySTS[O]) Changes(ctx context.Context, after uint64, limit int) ([]store.Change, error) {
	return do(f.Hook, Call{Method: "Changes"}, func() ([]store.Change, error) { return f.Store.Changes(ctx, after, limit) })
}

// Head is STS.Head.
func (f *FaultySTS[O]) Head(ctx context.Context) (uint64, error) {
	return do(f.Hook, Call{Method: "Head"}, func() (uint64, error) { return f.Store.Head(ctx) })
}

// Notifications is STS.Notifications.
func (f *FaultySTS[O]) Notifications(ctx context.Context) (<-chan struct{}, error) {
	return do(f.Hook, Call{Method: "Notifications"}, func() (<-chan struct{}, error) { return f.Store.Notifications(ctx) })
}

// Revocations is STS.Revocations.
func (f *FaultySTS[O]) Revocations(ctx context.Context, after uint64, now time.Time, limit int) ([]store.Revocation, error) {
	return do(f.Hook, Call{Method: "Revocations"}, func() ([]store.Revocation, error) {
		return f.Store.Revocations(ctx, after, now, limit)
	})
}

// PutReplica is STS.PutReplica.
func (f *FaultySTS[O]) PutReplica(ctx context.Context, r store.Replica, forget time.Time) error {
	return doErr(f.Hook, Call{Method: "PutReplica"}, func() error { return f.Store.PutReplica(ctx, r, forget) })
}

// Replicas is STS.Replicas.
func (f *FaultySTS[O]) Replicas(ctx context.Context) ([]store.Replica, error) {
	return do(f.Hook, Call{Method: "Replicas"}, func() ([]store.Replica, error) { return f.Store.Replicas(ctx) })
}

// DeleteReplica is STS.DeleteReplica.
func (f *FaultySTS[O]) DeleteReplica(ctx context.Context, id string) error {
	return doErr(f.Hook, Call{Method: "DeleteReplica"}, func() error { return f.Store.DeleteReplica(ctx, id) })
}

// AppendAudit is STS.AppendAudit.
func (f *FaultySTS[O]) AppendAudit(ctx context.Context, records []store.AuditRecord) error {
	return doErr(f.Hook, Call{Method: "AppendAudit"}, func() error { return f.Store.AppendAudit(ctx, records) })
}

// SigningKeys is STS.SigningKeys.
func (f *FaultySTS[O]) SigningKeys(ctx context.Context) (keys []store.SigningKey, generation int64, err error) {
	keys, err = do(f.Hook, Call{Method: "SigningKeys"}, func() (k []store.SigningKey, err error) {
		k, generation, err = f.Store.SigningKeys(ctx)
		return k, err
	})
	if err != nil {
		generation = 0
	}
	return keys, generation, err
}

// PutSigningKeys is STS.PutSigningKeys.
func (f *FaultySTS[O]) PutSigningKeys(ctx context.Context, generation int64, keys []store.SigningKey) error {
	return doErr(f.Hook, Call{Method: "PutSigningKeys"}, func() error { return f.Store.PutSigningKeys(ctx, generation, keys) })
}

// PurgeExpired is STS.PurgeExpired.
func (f *FaultySTS[O]) PurgeExpired(ctx context.Context, now time.Time) error {
	return doErr(f.Hook, Call{Method: "PurgeExpired"}, func() error { return f.Store.PurgeExpired(ctx, now) })
}

// Ping is STS.Ping.
func (f *FaultySTS[O]) Ping(ctx context.Context) error {
	return doErr(f.Hook, Call{Method: "Ping"}, func() error { return f.Store.Ping(ctx) })
}

// Close closes the store beneath.
func (f *FaultySTS[O]) Close() error { return f.Store.Close() }

// FaultySTSOrg is one org's part of a FaultySTS.
type FaultySTSOrg[O STSOrg] struct {
	org  O
	id   delegation.OrgID
	hook Hook
}

// Config is STSOrg.Config.
func (f *FaultySTSOrg[O]) Config(ctx context.Context) (store.OrgConfig, error) {
	return do(f.hook, Call{"Config", f.id}, func() (store.OrgConfig, error) { return f.org.Config(ctx) })
}

// PutConfig is STSOrg.PutConfig.
func (f *FaultySTSOrg[O]) PutConfig(ctx context.Context, c store.OrgConfig) error {
	return doErr(f.hook, Call{"PutConfig", f.id}, func() error { return f.org.PutConfig(ctx, c) })
}

// ClientSecrets is STSOrg.ClientSecrets.
func (f *FaultySTSOrg[O]) ClientSecrets(ctx context.Context) ([]store.ClientSecret, error) {
	return do(f.hook, Call{"ClientSecrets", f.id}, func() ([]store.ClientSecret, error) { return f.org.ClientSecrets(ctx) })
}

// PutActivity is STSOrg.PutActivity.
func (f *FaultySTSOrg[O]) PutActivity(ctx context.Context, last map[string]time.Time) error {
	return doErr(f.hook, Call{"PutActivity", f.id}, func() error { return f.org.PutActivity(ctx, last) })
}

// Activity is STSOrg.Activity.
func (f *FaultySTSOrg[O]) Activity(ctx context.Context) ([]store.Activity, error) {
	return do(f.hook, Call{"Activity", f.id}, func() ([]store.Activity, error) { return f.org.Activity(ctx) })
}

// PutSignalCredential is STSOrg.PutSignalCredential.
func (f *FaultySTSOrg[O]) PutSignalCredential(ctx context.Context, c store.SignalCredential) error {
	return doErr(f.hook, Call{"PutSignalCredential", f.id}, func() error { return f.org.PutSignalCredential(ctx, c) })
}

// ResealSignalCredential is STSOrg.ResealSignalCredential.
func (f *FaultySTSOrg[O]) ResealSignalCredential(ctx context.Context, stream string, old, sealed []byte) error {
	return doErr(f.hook, Call{"ResealSignalCredential", f.id}, func() error { return f.org.ResealSignalCredential(ctx, stream, old, sealed) })
}

// SignalCredentials is STSOrg.SignalCredentials.
func (f *FaultySTSOrg[O]) SignalCredentials(ctx context.Context) ([]store.SignalCredential, error) {
	return do(f.hook, Call{"SignalCredentials", f.id}, func() ([]store.SignalCredential, error) { return f.org.SignalCredentials(ctx) })
}

// PutSignalPoll is STSOrg.PutSignalPoll.
func (f *FaultySTSOrg[O]) PutSignalPoll(ctx context.Context, p store.SignalPoll, now time.Time) error {
	return doErr(f.hook, Call{"PutSignalPoll", f.id}, func() error { return f.org.PutSignalPoll(ctx, p, now) })
}

// SignalPolls is STSOrg.SignalPolls.
func (f *FaultySTSOrg[O]) SignalPolls(ctx context.Context) ([]store.SignalPoll, error) {
	return do(f.hook, Call{"SignalPolls", f.id}, func() ([]store.SignalPoll, error) { return f.org.SignalPolls(ctx) })
}

// PutClientSecret is STSOrg.PutClientSecret.
func (f *FaultySTSOrg[O]) PutClientSecret(ctx context.Context, s store.ClientSecret, keep int) error {
	return doErr(f.hook, Call{"PutClientSecret", f.id}, func() error { return f.org.PutClientSecret(ctx, s, keep) })
}

// Consume is STSOrg.Consume.
func (f *FaultySTSOrg[O]) Consume(ctx context.Context, key [32]byte, until time.Time) error {
	return doErr(f.hook, Call{"Consume", f.id}, func() error { return f.org.Consume(ctx, key, until) })
}

// Revoke is STSOrg.Revoke.
func (f *FaultySTSOrg[O]) Revoke(ctx context.Context, r store.Revocation) (uint64, error) {
	return do(f.hook, Call{"Revoke", f.id}, func() (uint64, error) { return f.org.Revoke(ctx, r) })
}

// Revocations is STSOrg.Revocations.
func (f *FaultySTSOrg[O]) Revocations(ctx context.Context, now time.Time) ([]store.Revocation, error) {
	return do(f.hook, Call{"Revocations", f.id}, func() ([]store.Revocation, error) { return f.org.Revocations(ctx, now) })
}

// RevocationsPage is STSOrg.RevocationsPage.
func (f *FaultySTSOrg[O]) RevocationsPage(ctx context.Context, after uint64, now time.Time, limit int) ([]store.Revocation, error) {
	return do(f.hook, Call{"RevocationsPage", f.id}, func() ([]store.Revocation, error) {
		return f.org.RevocationsPage(ctx, after, now, limit)
	})
}

// AuditRecords is STSOrg.AuditRecords.
func (f *FaultySTSOrg[O]) AuditRecords(ctx context.Context, q store.AuditQuery) ([]store.AuditRecord, error) {
	return do(f.hook, Call{"AuditRecords", f.id}, func() ([]store.AuditRecord, error) { return f.org.AuditRecords(ctx, q) })
}

// Users is STSOrg.Users.
func (f *FaultySTSOrg[O]) Users(ctx context.Context, q store.UserQuery) (users []store.User, total int, err error) {
	users, err = do(f.hook, Call{"Users", f.id}, func() (u []store.User, err error) {
		u, total, err = f.org.Users(ctx, q)
		return u, err
	})
	return users, total, err
}

// PutUser is STSOrg.PutUser.
func (f *FaultySTSOrg[O]) PutUser(ctx context.Context, u store.User, end *store.Revocation) error {
	return doErr(f.hook, Call{"PutUser", f.id}, func() error { return f.org.PutUser(ctx, u, end) })
}

// DeleteUser is STSOrg.DeleteUser.
func (f *FaultySTSOrg[O]) DeleteUser(ctx context.Context, id string, version int64, end *store.Revocation) error {
	return doErr(f.hook, Call{"DeleteUser", f.id}, func() error { return f.org.DeleteUser(ctx, id, version, end) })
}

// Groups is STSOrg.Groups.
func (f *FaultySTSOrg[O]) Groups(ctx context.Context, q store.GroupQuery) (groups []store.Group, total int, err error) {
	groups, err = do(f.hook, Call{"Groups", f.id}, func() (g []store.Group, err error) {
		g, total, err = f.org.Groups(ctx, q)
		return g, err
	})
	return groups, total, err
}

// Members is STSOrg.Members.
func (f *FaultySTSOrg[O]) Members(ctx context.Context, group string, limit int) ([]string, error) {
	return do(f.hook, Call{"Members", f.id}, func() ([]string, error) { return f.org.Members(ctx, group, limit) })
}

// PutGroup is STSOrg.PutGroup.
func (f *FaultySTSOrg[O]) PutGroup(ctx context.Context, g store.Group, m store.Membership) error {
	return doErr(f.hook, Call{"PutGroup", f.id}, func() error { return f.org.PutGroup(ctx, g, m) })
}

// DeleteGroup is STSOrg.DeleteGroup.
func (f *FaultySTSOrg[O]) DeleteGroup(ctx context.Context, id string) error {
	return doErr(f.hook, Call{"DeleteGroup", f.id}, func() error { return f.org.DeleteGroup(ctx, id) })
}
