// Package exchangetest is a small ready-made world: three orgs, their agents, an identity provider, and a real
// exchange.Service over SQLite; and the table of logical cases that every door must answer alike (GR9).
package exchangetest

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/sqlite"
)

// What the world is made of.
const (
	Issuer   = "https://sts.test"      // ours
	Executor = "https://executor.test" // a resource of both orgs, with the logical name "executor"
	Reports  = "https://reports.test"  // another resource of acme, without a name

	Acme    delegation.OrgID = "acme"
	Globex  delegation.OrgID = "globex"
	Initech delegation.OrgID = "initech" // under the FAPI profile
)

// Clock is a clock that stands still until a test moves it.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *Clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// World is three orgs on one server. All trust the same identity provider, which tells their users apart by the claim
// "tenant", and all have a user alice.
//
// In acme, policy lets the orchestrator have every scope of the provider github for the group engineering, lets the
// researcher and the courier have those except github:admin behind somebody else, and forbids payments:transfer to all. Of
// authorization_details it allows what is no payment above 1000, which is 500 for a worker.
type World struct {
	Clock    *Clock
	Store    *sqlite.STS
	Dir      string // where the store's file is: sts.db
	Set      *revocation.Set
	Hub      *revocation.Hub
	Registry *registry.Registry
	Ring     *keys.Ring
	Key      seal.Key // key-encryption key
	Trail    *audit.Log
	Verifier *delegation.Verifier // for whatever audience
	Roles    *policy.Roles        // of administrators
	Service  *exchange.Service
	IDP      *IDP // okta, as both orgs call it

	Orchestrator Agent // of acme; registered for github:read, github:write, payments:transfer
	Researcher   Agent // of acme; the orchestrator is its controller; registered for github:read
	Courier      Agent // of acme; registered for nothing
	Retired      Agent // of acme; disabled
	Reporter     Agent // of acme; registered for every grant
	Guarded      Agent // of acme; as the orchestrator, with dpop_bound_access_tokens
	Pinned       Agent // of acme; as the orchestrator, with tls_client_certificate_bound_access_tokens
	Stranger     Agent // of globex
	Teller       Agent // of initech; has no secret
}

// NewWorld starts a world whose clock stands still until Advance moves it.
func NewWorld(t testing.TB) *World {
	t.Helper()
	w := &World{Clock: &Clock{now: time.Now().UTC().Truncate(time.Second)}}
	var err error
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	w.openStores(ctx, t)
	w.Roles, err = policy.NewRoles()
	must(t, err)
	w.IDP = newIDP(t, w.Clock)
	w.populate(ctx, t)
	w.follow(ctx, t)
	w.Service, err = exchange.New(w.Config())
	must(t, err)
	return w
}

func (w *World) openStores(ctx context.Context, t testing.TB) {
	t.Helper()
	dir := t.TempDir()
	w.Dir = dir
	var err error
	w.Store, err = sqlite.OpenSTS(ctx, filepath.Join(dir, "sts.db"))
	must(t, err)
	t.Cleanup(func() { _ = w.Store.Close() })
	w.Set = revocation.NewSet(0)
	must(t, seal.KeyFile{Path: filepath.Join(dir, "kek")}.Create(t.Context()))
	w.Key, err = seal.KeyFile{Path: filepath.Join(dir, "kek")}.Open(t.Context())
	must(t, err)
	w.Ring, err = keys.Open(ctx, keys.Config{
		Store: w.Store, Key: w.Key, Burnt: w.Set.Burnt, Now: w.Clock.Now,
		Policy: keys.Policy{Algorithm: jose.ES256, PublishAhead: time.Hour, ActiveFor: 30 * 24 * time.Hour, MaxTokenLife: time.Hour},
	})
	must(t, err)
	w.Trail, err = audit.Open(audit.Config{Store: w.Store, Now: w.Clock.Now})
	must(t, err)
	t.Cleanup(func() { _ = w.Trail.Close(context.Background()) })
}

// follow starts the hub, and what hangs on it.
func (w *World) follow(ctx context.Context, t testing.TB) {
	t.Helper()
	var err error
	w.Registry, err = registry.Open(registry.Config{
		Orgs: w.Store.Orgs, Org: func(id delegation.OrgID) registry.OrgStore { return w.Store.Org(id) }, Fresh: w.Set.Fresh, Now: w.Clock.Now,
	})
	must(t, err)
	w.Hub, err = revocation.NewHub(revocation.HubConfig{
		Store: w.Store, Set: w.Set, Now: w.Clock.Now, Log: slog.New(slog.DiscardHandler), OnChange: w.Registry.Changed,
	})
	must(t, err)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(done)
		_ = w.Hub.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	<-w.Hub.Ready()
	w.Verifier, err = delegation.NewVerifier(delegation.VerifierConfig{
		Issuer: Issuer, AnyAudience: true, Keys: w.Ring, Revocations: w.Set, Now: w.Clock.Now,
		AcceptBound: true, // the Service holds a binding to ACT9 itself
	})
	must(t, err)
}

// Config is what the world's Service was made from, for tests that want to break a part of it.
func (w *World) Config() exchange.Config {
	return exchange.Config{
		Issuer: Issuer, Orgs: w.Registry, Tokens: w.Verifier, Revocations: w.Set,
		Assertions: func(id delegation.OrgID) exchange.Assertions { return w.Store.Org(id) },
		Audit:      w.Trail, Signer: w.Ring, HTTP: egress.NewClient(egress.Config{AllowPrivate: egress.Loopback()}),
		Users: func(id delegation.OrgID) exchange.UserStore { return w.Store.Org(id) },
		Log:   slog.New(slog.DiscardHandler), Now: w.Clock.Now,
	}
}

// Advance moves the clock, and lets the server hear from its store again.
func (w *World) Advance(t testing.TB, d time.Duration) {
	t.Helper()
	w.Clock.advance(d)
	must(t, w.Hub.Sync(context.Background()))
}

// Revoke revokes from now on.
func (w *World) Revoke(t testing.TB, org delegation.OrgID, kind revocation.Kind, id string) {
	t.Helper()
	ctx := context.Background()
	_, err := w.Store.Org(org).Revoke(ctx, revocation.New(org, kind, id, "a test", w.Clock.Now(), time.Hour))
	must(t, err)
	must(t, w.Hub.Sync(ctx))
}

// Apply replaces an org's configuration by what change makes of it.
func (w *World) Apply(t testing.TB, org delegation.OrgID, change func(*registry.Document)) {
	t.Helper()
	ctx := context.Background()
	old, err := w.Store.Org(org).Config(ctx)
	must(t, err)
	doc, err := registry.Parse(old.Document)
	must(t, err)
	change(&doc)
	must(t, doc.Validate())
	w.put(ctx, t, doc, old.Version+1)
	must(t, w.Hub.Sync(ctx))
}

func (w *World) put(ctx context.Context, t testing.TB, doc registry.Document, version int64) {
	t.Helper()
	data, err := jose.Encode(doc)
	must(t, err)
	must(t, w.Store.Org(doc.Org).PutConfig(ctx, store.OrgConfig{Org: doc.Org, Version: version, Document: data, Created: w.Clock.Now()}))
}

// Records is the trail of an org, oldest first.
func (w *World) Records(t testing.TB, org delegation.OrgID) []audit.Record {
	t.Helper()
	var out []audit.Record
	for after := uint64(0); ; {
		stored, err := w.Store.Org(org).AuditRecords(context.Background(), store.AuditQuery{After: after, Limit: 1000})
		must(t, err)
		for _, s := range stored {
			r, err := audit.Decode(s)
			must(t, err)
			out = append(out, r)
			after = s.Sequence
		}
		if len(stored) < 1000 {
			return out
		}
	}
}

// Claims verifies a token that the Service issued, and answers with what it says.
func (w *World) Claims(t testing.TB, token string) delegation.Claims {
	t.Helper()
	v, err := w.Verifier.Verify(context.Background(), token)
	must(t, err)
	return v.Claims()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
