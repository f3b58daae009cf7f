package admin_test

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

func start(t *testing.T) (*exchangetest.World, admin.Session) {
	t.Helper()
	w := exchangetest.NewWorld(t)
	s, err := admin.New(w.Admin())
	if err != nil {
		t.Fatal(err)
	}
	return w, s.As(operator())
}

func operator() delegation.Administrator {
	return delegation.Administrator{Subject: "operator:credential", OrgID: store.PlatformOrg, Role: policy.RoleOperator}
}

// edit is the org's document in force, changed.
func edit(t *testing.T, s admin.Session, org delegation.OrgID, change func(*registry.Document)) admin.ApplyOrgRequest {
	t.Helper()
	got, err := s.GetOrg(t.Context(), org)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := registry.Parse(got.Document)
	if err != nil {
		t.Fatal(err)
	}
	change(&doc)
	data, err := jose.Encode(doc)
	if err != nil {
		t.Fatal(err)
	}
	return admin.ApplyOrgRequest{Org: org, Document: data, ExpectedVersion: got.Version}
}

func TestNewRefusesHoles(t *testing.T) {
	t.Parallel()
	if _, err := admin.New(admin.Config{}); err == nil {
		t.Error("accepted")
	}
}

func TestApplyOrg(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	req := edit(t, s, "acme", func(d *registry.Document) { d.Agents[0].Disabled = true })

	dry := req
	dry.DryRun = true
	r, err := s.ApplyOrg(t.Context(), dry)
	if err != nil || r.Version != 1 || len(r.Changes) != 1 || r.Changes[0].Path != "agents/orchestrator" || len(w.Records(t, "acme")) != 0 {
		t.Fatalf("dry run: %+v, %v", r, err)
	}
	works(t, w, w.Orchestrator.Credential(), "")

	r, err = s.ApplyOrg(t.Context(), req)
	if err != nil || r.Version != 2 || len(r.Changes) != 1 {
		t.Fatalf("apply: %+v, %v", r, err)
	}
	works(t, w, w.Orchestrator.Credential(), exchange.InvalidClient) // at once, on this replica
	record := w.Records(t, "acme")[1]                                // after the exchange of the dry run
	if record.Kind != audit.KindAdmin || record.Outcome != audit.OutcomeApproved || record.Detail != "configuration 2: change agents/orchestrator" {
		t.Errorf("%+v", record)
	}

	if _, err = s.ApplyOrg(t.Context(), req); !errors.Is(err, admin.ErrConflict) {
		t.Errorf("an old version: %v", err)
	}
	req.ExpectedVersion = 2
	if r, err = s.ApplyOrg(t.Context(), req); err != nil || r.Version != 2 || len(r.Changes) != 0 {
		t.Errorf("nothing to do: %+v, %v", r, err)
	}
}

func works(t *testing.T, w *exchangetest.World, cred exchange.Credential, want exchange.Reason) {
	t.Helper()
	_, err := w.Service.Exchange(t.Context(), cred, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
	if got := exchange.ReasonOf(err); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestApplyCreatesAnOrg(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	r, err := s.ApplyOrg(t.Context(), admin.ApplyOrgRequest{Org: "hooli", Document: []byte("org: hooli\nagents: [{name: bot}]")})
	if err != nil || r.Version != 1 || len(r.Changes) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	ids, err := s.ListOrgs(t.Context(), "", 10)
	if err != nil || !slices.Equal(ids, []delegation.OrgID{"acme", "globex", "hooli", "initech"}) {
		t.Errorf("%q, %v", ids, err)
	}
	secret, err := s.RotateClientSecret(t.Context(), admin.RotateClientSecretRequest{Org: "hooli", Agent: "bot"})
	if err != nil || secret.ClientID != "hooli.bot" {
		t.Fatalf("%+v, %v", secret, err)
	}
	works(t, w, exchange.Credential{ClientID: "hooli.bot", Secret: secret.Secret}, exchange.SubjectTokenInvalid) // known, and trusts no issuer
	if r, err = s.ApplyOrg(t.Context(), admin.ApplyOrgRequest{Org: "hooli", Document: []byte("org: hooli")}); !errors.Is(err, admin.ErrConflict) {
		t.Errorf("created twice: %+v, %v", r, err)
	}
}

func TestApplyOrgRefuses(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	invalid := func(req admin.ApplyOrgRequest, about string) {
		t.Helper()
		_, err := s.ApplyOrg(t.Context(), req)
		if _, ok := errors.AsType[*registry.InvalidError](err); !ok || !strings.Contains(err.Error(), about) {
			t.Errorf("%s: got %v", about, err)
		}
	}
	invalid(admin.ApplyOrgRequest{Org: "acme", Document: []byte("x: 1")}, "x")
	invalid(admin.ApplyOrgRequest{Org: "hooli", Document: []byte("org: acme")}, "org")
	invalid(edit(t, s, "acme", func(d *registry.Document) { d.Limits.MaxDepth = 99 }), "limits/max_depth")
	invalid(edit(t, s, "acme", func(d *registry.Document) { d.Policies[0].Text += "permit (" }), "acme.cedar")
	// CVE-2026-18215: a shared identity provider without the claim, or with the value of another org.
	invalid(edit(t, s, "acme", func(d *registry.Document) { d.Issuers[0].OrgClaim, d.Issuers[0].OrgValue = "", "" }), "org globex trusts this issuer too")
	invalid(edit(t, s, "acme", func(d *registry.Document) { d.Issuers[0].OrgValue = "globex" }), "issuers/okta/org_claim")
	// A user can have both claims, and would be of both orgs.
	invalid(edit(t, s, "acme", func(d *registry.Document) { d.Issuers[0].OrgClaim = "department" }), "the same org_claim")
	if _, err := s.ApplyOrg(t.Context(), admin.ApplyOrgRequest{Org: "_platform", Document: []byte("{}")}); !errors.Is(err, admin.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if got, err := s.GetOrg(t.Context(), "acme"); err != nil || got.Version != 1 || len(w.Records(t, "acme")) != 0 {
		t.Errorf("something changed: %d, %v", got.Version, err)
	}
	if got, err := s.GetOrg(t.Context(), "nobody"); err != nil || got.Version != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestStreamsOfTwoOrgs: threat: tenant mix-up. What a transmitter says to one org cannot be repeated to another.
func TestStreamsOfTwoOrgs(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	w.Listen(t, nil)
	add := func(audience string) error {
		_, err := s.ApplyOrg(t.Context(), edit(t, s, "globex", func(d *registry.Document) {
			d.SignalStreams = []registry.SignalStream{{Name: "events", Issuer: d.Issuers[0].Name, Transmitter: w.IDP.URL, Audience: audience}}
		}))
		return err
	}
	if err := add(exchangetest.StreamAudience); err == nil || !strings.Contains(err.Error(), "signal_streams/events/audience: org acme") {
		t.Errorf("got %v", err)
	}
	if err := add("globex-events"); err != nil {
		t.Error(err)
	}
}

func TestApplyPlatform(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	guard := policy.File{Name: "guard.cedar", Text: `@id("nobody") forbid (principal, action == Action::"exchange", resource);`}
	apply := func(files ...policy.File) (admin.ApplyOrgResult, error) {
		return s.ApplyPlatform(t.Context(), admin.ApplyPlatformRequest{Policies: files})
	}
	done, err := apply(guard)
	if err != nil || done.Version != 1 || len(done.Changes) != 1 || done.Changes[0].Kind != "add" {
		t.Fatal(done, err)
	}
	if again, err := apply(guard); err != nil || again.Version != 1 || len(again.Changes) != 0 {
		t.Errorf("a set that changes nothing: %+v, %v", again, err)
	}
	for _, saw := range []int64{0, 2} {
		_, err := s.ApplyPlatform(t.Context(), admin.ApplyPlatformRequest{ExpectedVersion: &saw})
		if !errors.Is(err, admin.ErrConflict) || !strings.Contains(err.Error(), "version 1 is in force") {
			t.Errorf("version %d was seen: %v", saw, err)
		}
	}
	works(t, w, w.Orchestrator.Credential(), exchange.DelegationDenied) // an org cannot permit what the operator forbids
	_, err = apply(policy.File{Name: "bad.cedar", Text: `@id("x") permit (principal, action, resource) when { principal.nothing };`})
	if _, ok := errors.AsType[*registry.InvalidError](err); !ok || !strings.Contains(err.Error(), "org acme") || !strings.Contains(err.Error(), "bad.cedar") {
		t.Errorf("got %v", err)
	}
	misspelt := policy.File{Name: "guard.cedar", Text: `@id("g") forbid (principal, action == Action::"tracker.delte_all", resource);`}
	_, err = apply(misspelt) // it would guard nothing, in silence
	if !errors.Is(err, admin.ErrInvalid) || !strings.Contains(err.Error(), "tracker.delte_all") {
		t.Errorf("got %v", err)
	}
	if done, err = apply(); err != nil || done.Version != 2 {
		t.Error(done, err)
	}
	works(t, w, w.Orchestrator.Credential(), "")
	if records := w.Records(t, store.PlatformOrg); len(records) != 2 {
		t.Errorf("%+v", records)
	}
}

// TestAgents: who exists, who owns it, what it can do and why, when it last acted; page by page. One that has expired is as if
// disabled, and no token outlives it.
func TestAgents(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	ends := w.Clock.Now().Add(2 * time.Minute)
	if _, err := s.ApplyOrg(t.Context(), edit(t, s, "acme", func(d *registry.Document) {
		i := slices.IndexFunc(d.Agents, func(a registry.Agent) bool { return a.Name == "orchestrator" })
		d.Agents[i].Owner, d.Agents[i].Purpose, d.Agents[i].Expires = "ops@acme.test", "plans work", ends
	})); err != nil {
		t.Fatal(err)
	}
	activity, err := exchange.NewActivity(func(id delegation.OrgID) exchange.ActivityStore { return w.Store.Org(id) }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	cfg := w.Config()
	cfg.Activity = activity
	if w.Service, err = exchange.New(cfg); err != nil {
		t.Fatal(err)
	}
	got, err := w.Service.Exchange(t.Context(), w.Orchestrator.Credential(), exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
	if err != nil || got.ExpiresIn != 120 {
		t.Fatalf("life %d s, %v: want what is left of the agent's", got.ExpiresIn, err)
	}
	activity.Flush(t.Context())
	var all []admin.Agent
	for after, more := "", true; more; {
		var page []admin.Agent
		if page, more, err = s.ListAgents(t.Context(), "acme", after, 2); err != nil || len(page) == 0 || len(page) > 2 {
			t.Fatalf("%d agents, %v", len(page), err)
		}
		all, after = append(all, page...), page[len(page)-1].Name
	}
	byName := func(name string) admin.Agent {
		i := slices.IndexFunc(all, func(a admin.Agent) bool { return a.Name == name })
		if i < 0 {
			t.Fatalf("%s is not listed", name)
		}
		return all[i]
	}
	o := byName("orchestrator")
	if o.Off != "" || !o.Last.Equal(w.Clock.Now()) || !slices.Contains(o.Credentials, "client_secret_basic") {
		t.Errorf("%+v", o)
	}
	i := slices.IndexFunc(o.Rights, func(r admin.Right) bool { return r.Scope == "github:read" })
	if i < 0 || len(o.Rights[i].Policies) == 0 || !strings.HasPrefix(o.Rights[i].Policies[0], "org/") {
		t.Errorf("rights %+v", o.Rights)
	}
	if r := byName("retired"); r.Off != "disabled" || !r.Last.IsZero() {
		t.Errorf("%+v", r)
	}
	w.Advance(t, 2*time.Minute)
	works(t, w, w.Orchestrator.Credential(), exchange.InvalidClient)
	if page, _, err := s.ListAgents(t.Context(), "acme", "", 1000); err != nil || len(page) != len(all) {
		t.Errorf("%d agents, %v", len(page), err)
	}
	if _, _, err := s.ListAgents(t.Context(), "nobody", "", 10); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestRotateClientSecret(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	with := func(secret telemetry.Secret) exchange.Credential {
		return exchange.Credential{ClientID: w.Orchestrator.ClientID, Secret: secret}
	}
	w.Advance(t, time.Second)
	first, err := s.RotateClientSecret(t.Context(), admin.RotateClientSecretRequest{Org: "acme", Agent: "orchestrator"})
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`).MatchString(first.Secret.Reveal()) { // CA1, 256 bits
		t.Error("the secret has another form")
	}
	works(t, w, with(first.Secret), "")
	works(t, w, w.Orchestrator.Credential(), "")
	w.Advance(t, time.Second)
	second, err := s.RotateClientSecret(t.Context(), admin.RotateClientSecretRequest{Org: "acme", Agent: "orchestrator", DropPrevious: true})
	if err != nil {
		t.Fatal(err)
	}
	works(t, w, with(second.Secret), "")
	works(t, w, with(first.Secret), exchange.InvalidClient)
	works(t, w, w.Orchestrator.Credential(), exchange.InvalidClient)
	for _, bad := range []admin.RotateClientSecretRequest{{Org: "acme", Agent: "nobody"}, {Org: "nowhere", Agent: "x"}} {
		if _, err := s.RotateClientSecret(t.Context(), bad); !errors.Is(err, admin.ErrNotFound) {
			t.Errorf("%+v: got %v", bad, err)
		}
	}
	for _, r := range w.Records(t, "acme") {
		if strings.Contains(r.Detail, first.Secret.Reveal()) || strings.Contains(r.Detail, second.Secret.Reveal()) {
			t.Error("a secret is on the trail")
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	before, err := s.ListKeys(t.Context())
	if err != nil || len(before) != 1 {
		t.Fatalf("%+v, %v", before, err)
	}
	for _, dry := range []bool{true, false} {
		got, err := s.RotateKeys(t.Context(), dry)
		after := got.Keys
		if err != nil || len(after) != 2 || after[1].KID != before[0].KID || after[0].State != "published" || (after[0].KID == "") != dry {
			t.Errorf("dry %v: %+v, %v", dry, after, err)
		}
		if len(got.Changes) != 2 { // the new one, and when the old one ends
			t.Errorf("dry %v: %+v", dry, got.Changes)
		}
	}
	if r := w.Records(t, store.PlatformOrg); len(r) != 1 || r[0].Resource != "keys" {
		t.Errorf("%+v", r)
	}
}

// TestNoChangeWithoutRecord: when the trail cannot take the record, nothing is changed, whatever it is.
func TestNoChangeWithoutRecord(t *testing.T) {
	t.Parallel()
	w, healthy := start(t)
	cfg := w.Admin()
	cfg.Audit = noTrail{}
	deaf, err := admin.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := deaf.As(operator())
	if _, err := healthy.RotateKeys(t.Context(), false); err != nil { // one that can be retired
		t.Fatal(err)
	}
	if err := w.Hub.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, head := len(w.Ring.Keys()), w.Hub.Head()
	_, applied := s.ApplyOrg(t.Context(), edit(t, healthy, "acme", func(d *registry.Document) { d.Agents[0].Disabled = true }))
	_, platform := s.ApplyPlatform(t.Context(), admin.ApplyPlatformRequest{Policies: []policy.File{
		{Name: "g.cedar", Text: `@id("g") forbid (principal, action == Action::"exchange", resource);`},
	}})
	_, rotated := s.RotateClientSecret(t.Context(), admin.RotateClientSecretRequest{Org: "acme", Agent: "courier"})
	_, revoked := s.Revoke(t.Context(), admin.RevokeRequest{Org: "acme", Kind: "agent", ID: "courier"})
	_, rolled := s.RotateKeys(t.Context(), false)
	_, retired := s.RetireKey(t.Context(), w.Ring.Keys()[1].KID, false)
	_, burnt := s.BurnKeys(t.Context(), admin.BurnRequest{KIDs: []string{w.Ring.Keys()[0].KID}})
	token := w.Token(t, w.Orchestrator, "github:read", nil)
	given := s.RevokeToken(t.Context(), verified(t, w, token), w.Orchestrator.ClientID)
	for _, err := range []error{applied, platform, rotated, revoked, rolled, retired, burnt, given} {
		if !errors.Is(err, errTrail) {
			t.Errorf("got %v", err)
		}
	}
	if err := w.Hub.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.Hub.Head() != head || len(w.Ring.Keys()) != keys || !w.Alive(token) {
		t.Error("something changed")
	}
}

var errTrail = errors.New("the trail is away")

type noTrail struct{}

func (noTrail) Record(context.Context, audit.Record) error { return errTrail }
