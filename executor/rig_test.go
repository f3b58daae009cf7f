package executor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/executor/notify"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/store/storetest"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/vault"
)

const (
	audience = "https://executor.test"
	canary   = "canary-credential-7f3a9c"
	callURI  = "https://executor.test/obo.v1.ExecutorService/Execute"
)

const record = `
name: tracker
base_url: %s/v1
auth:
  api_key: {style: header, header: X-Api-Key}
  developer_secret: {style: bearer}
scopes: {"tracker:read": Read., "tracker:write": Write., "tracker:admin": All.}
answers: [{status: [503], kind: unavailable}]
timeout: 5s
tools:
  - name: list
    description: List issues.
    method: GET
    path: /projects/{project}/issues
    risk: read
    scopes: ["tracker:read"]
    arguments: {type: object, additionalProperties: false, required: [project], properties: {project: {type: string, maxLength: 40}}}
  - name: create
    description: Create an issue.
    method: POST
    path: /projects/{project}/issues
    body: {title: "{title}"}
    risk: write
    scopes: ["tracker:write"]
    arguments: {type: object, additionalProperties: false, required: [project, title], properties: {project: {type: string, maxLength: 40}, title: {type: string}}}
  - name: charge
    description: Take money.
    method: POST
    path: /charges
    body: {cents: "{cents}"}
    risk: write
    idempotency_header: Idempotency-Key
    scopes: ["tracker:write"]
    arguments: {type: object, additionalProperties: false, required: [cents], properties: {cents: {type: integer}}}
  - name: wipe
    description: Delete everything.
    method: DELETE
    path: /all
    risk: destructive
    scopes: ["tracker:admin", "tracker:write"]
    arguments: {type: object, additionalProperties: false}
`

const policies = `
@id("all-but-secret")
permit (principal, action in Action::"call", resource) when { context.subject in Org::"ORG" };
@id("not-payroll")
forbid (principal, action in [Action::"tracker.create", Action::"tracker.list"], resource) when { context.args.project == "payroll" };
`

// rig is an executor on a real store, with faults and a provider on loopback.
type rig struct {
	issuer   *delegationtest.Issuer
	db       *sqlite.Executor
	service  *executor.Service
	admin    executor.Session
	policies *executor.Policies
	set      *revocation.Set
	log      *lockedBuffer
	dir      string
	kek      seal.Key

	nonces      *dpop.Nonces // for build
	requireDPoP bool         // for build

	mu     sync.Mutex
	hook   storetest.Hook
	answer http.HandlerFunc
	seen   []string // requests as the provider got them
}

// nobody is an identifier to whom nobody is anybody.
type nobody struct{}

func (nobody) Identify(context.Context, delegation.OrgID, string, string, string) (string, error) {
	return "", connection.ErrNobody
}

func (nobody) Authorize(context.Context, delegation.OrgID, connection.Wish) (connection.Authorized, error) {
	return connection.Authorized{}, connection.ErrInvalid
}

func (nobody) Wait(context.Context, delegation.OrgID, string, string, time.Duration) (connection.Authorized, error) {
	return connection.Authorized{}, store.ErrNotFound
}

func (nobody) Release(context.Context, delegation.OrgID, store.Connection) (bool, string) {
	return false, ""
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func newRig(t testing.TB) *rig { return newRigThatHeard(t, time.Now()) }

// newRigThatHeard is a rig whose feed was last heard of at a time.
func newRigThatHeard(t testing.TB, at time.Time) *rig {
	t.Helper()
	r := &rig{issuer: delegationtest.NewIssuer(t), log: &lockedBuffer{}, dir: t.TempDir(), set: revocation.NewSet(time.Hour)}
	r.answer = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"ok":true}`) }
	provider := httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(provider.Close)
	var err error
	if r.db, err = sqlite.OpenExecutor(t.Context(), filepath.Join(r.dir, "executor.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.db.Close() })
	r.set.Heard(at)
	r.build(t)
	for _, org := range []string{"acme", "globex"} {
		r.setUp(t, org, fmt.Sprintf(record, provider.URL))
	}
	return r
}

func (r *rig) build(t testing.TB) {
	t.Helper()
	log := telemetry.NewLogger(r.log, slog.LevelDebug, "json")
	faulty := &storetest.FaultyExecutor[*sqlite.ExecutorOrg]{Store: r.db, Hook: func(c storetest.Call) storetest.Fault {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.hook == nil {
			return storetest.Fault{}
		}
		return r.hook(c)
	}}
	key, err := seal.NewDataKey()
	must(t, err)
	r.kek = key
	safe, err := vault.Open(vault.Config{Key: key, Org: func(id delegation.OrgID) vault.DataKeyStore { return faulty.Org(id) }})
	must(t, err)
	trail, err := audit.Open(audit.Config{Store: faulty})
	must(t, err)
	t.Cleanup(func() { trail.Close(context.Background()) })
	catalog, err := connection.NewCatalog(connection.CatalogConfig{
		Org: func(id delegation.OrgID) connection.ProviderStore { return faulty.Org(id) }, AllowLoopback: true,
	})
	must(t, err)
	links, err := connection.NewLinks(connection.LinksConfig{
		Org: func(id delegation.OrgID) connection.Store { return faulty.Org(id) }, Providers: catalog, Vault: safe, Now: time.Now,
	})
	must(t, err)
	keys, err := vault.NewRotator(safe, func(id delegation.OrgID) vault.RotateStore { return faulty.Org(id) })
	must(t, err)
	events, err := executor.NewEvents(func(id delegation.OrgID) executor.EventStore { return faulty.Org(id) })
	must(t, err)
	out := egress.NewClient(egress.Config{AllowPrivate: egress.Loopback(), Timeout: 10 * time.Second, MaxResponse: connection.MaxAnswer})
	keeper, err := connection.NewKeeper(connection.KeeperConfig{
		Org: func(id delegation.OrgID) connection.KeeperStore { return faulty.Org(id) }, Providers: catalog, Vault: safe, HTTP: out,
		RedirectURI: "http://127.0.0.1/connect/callback", Now: time.Now, Log: log,
	})
	must(t, err)
	accounts, err := connection.NewConnector(connection.ConnectorConfig{
		Org: func(id delegation.OrgID) connection.ConnectorStore { return faulty.Org(id) }, Providers: catalog, Links: links, Vault: safe, Keeper: keeper,
		Identify: nobody{}, HTTP: out, Origin: "http://127.0.0.1", Audit: trail, Now: time.Now, Log: log,
	})
	must(t, err)
	clients, err := connection.NewClients(connection.ClientsConfig{
		Org: func(id delegation.OrgID) connection.ClientStore { return faulty.Org(id) }, Providers: catalog, Vault: safe, Now: time.Now,
	})
	must(t, err)
	webhooks, err := notify.NewWebhooks(notify.WebhooksConfig{
		Org: func(id delegation.OrgID) notify.Puts { return faulty.Org(id) }, Vault: safe, AllowLoopback: true, Now: time.Now,
		Send: notify.Sender{Vault: safe, HTTP: egress.NewClient(egress.Config{AllowPrivate: egress.Loopback(), Timeout: notify.Timeout})},
	})
	must(t, err)
	admin, err := executor.NewAdmin(executor.AdminConfig{
		Clients: clients, Themes: connection.Themes{Org: func(id delegation.OrgID) connection.ThemeStore { return faulty.Org(id) }, Now: time.Now}, Accounts: accounts, Release: keeper, Providers: catalog, Links: links, Keys: keys, Events: events, Webhooks: webhooks, Audit: trail, Now: time.Now})
	r.admin = admin.As(delegation.Administrator{Subject: "operator:credential", OrgID: store.PlatformOrg, Role: policy.RoleOperator})
	must(t, err)
	verifier, err := delegation.NewVerifier(delegation.VerifierConfig{
		Issuer: r.issuer.URL(), Audience: audience, Keys: delegation.StaticKeys(r.issuer.Keys()), Revocations: r.set,
		AcceptBound: true,
	})
	must(t, err)
	checker, err := dpop.NewChecker(dpop.Config{Now: time.Now, Nonces: r.nonces})
	must(t, err)
	r.policies = executor.NewPolicies(log)
	r.service, err = executor.New(executor.Config{
		Verifier: verifier, Checker: checker, RequireDPoP: r.requireDPoP,
		Proofs:      func(id delegation.OrgID) executor.Proofs { return faulty.Org(id) },
		Revocations: r.set, Policies: r.policies, Providers: catalog,
		Connections: func(id delegation.OrgID) executor.Connections { return faulty.Org(id) },
		Vault:       safe, Credentials: keeper, Reconnect: accounts, Audit: trail, Now: time.Now, Log: log, HTTP: out,
	})
	must(t, err)
}

// setUp gives an org the tracker, a policy, and connections for its alice and bob.
func (r *rig) setUp(t testing.TB, org, record string) {
	t.Helper()
	_, err := r.admin.ApplyProviders(t.Context(), executor.ApplyProvidersRequest{
		Org: org, Records: []store.ProviderRecord{{Name: "tracker.yaml", Text: []byte(record)}},
	})
	must(t, err)
	r.permit(t, org, record)
	for _, user := range []string{"alice", "bob"} {
		_, err := r.admin.PutConnection(t.Context(), executor.PutConnectionRequest{Org: org, Link: connection.Link{
			ID: user, Provider: "tracker", Pattern: connection.APIKey, Subject: "user:" + org + "/okta|" + user,
			Credential: vault.NewCredential("", []byte(canary+"-"+org+"-"+user)),
		}})
		must(t, err)
	}
}

// permit gives an org its policy.
func (r *rig) permit(t testing.TB, org, record string, change ...func(*policy.Bundle)) {
	t.Helper()
	p, err := connection.ParseProvider("tracker.yaml", []byte(record))
	must(t, err)
	b := policy.Bundle{
		Org: delegation.OrgID(org), Version: "1", Providers: []policy.Provider{p.PolicyProvider()},
		Policies: []policy.File{{Name: "org.cedar", Text: strings.ReplaceAll(policies, "ORG", org)}},
		Agents:   []policy.Agent{{Name: "researcher"}, {Name: "orchestrator"}}, Resources: []string{audience},
	}
	for _, f := range change {
		f(&b)
	}
	r.apply(t, b)
}

func (r *rig) apply(t testing.TB, b policy.Bundle) {
	t.Helper()
	document, err := json.Marshal(b)
	must(t, err)
	r.policies.Apply(revocation.Policy{Org: b.Org, Version: b.Version, Document: document})
}

func (r *rig) serve(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.seen = append(r.seen, fmt.Sprintf("%s %s %v %s", req.Method, req.URL, req.Header, body))
	answer := r.answer
	r.mu.Unlock()
	answer(w, req)
}

func (r *rig) calls() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

func (r *rig) answers(f http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *rig) faults(h storetest.Hook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hook = h
}

// token is one of acme's alice, acting researcher, for this executor, with these scopes.
func (r *rig) token(t testing.TB, scope string, more ...func(*delegation.Claims)) string {
	t.Helper()
	scopes, err := delegation.ParseScopes(scope)
	must(t, err)
	return r.issuer.Token(t, func(c *delegation.Claims) {
		c.Audience, c.Scope = audience, scopes
		for _, f := range more {
			f(c)
		}
	})
}

// bearer presents a token alone.
func bearer(token string) executor.Presented {
	return executor.Presented{Scheme: "Bearer", Token: token, Method: "POST", URI: callURI}
}

func (r *rig) execute(ctx context.Context, token string, req executor.Request) (executor.Response, error) {
	return r.service.Execute(ctx, bearer(token), req)
}

func (r *rig) tools(ctx context.Context, token string) ([]executor.ToolInfo, error) {
	tools, err := r.service.ListTools(ctx, bearer(token))
	return tools.List, err
}

func (r *rig) trail(t testing.TB, org delegation.OrgID) []audit.Record {
	t.Helper()
	stored, err := r.db.Org(org).AuditRecords(t.Context(), store.AuditQuery{Limit: 1000})
	must(t, err)
	var out []audit.Record
	for _, s := range stored {
		rec, err := audit.Decode(s)
		must(t, err)
		if rec.Kind != audit.KindAdmin {
			out = append(out, rec)
		}
	}
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
