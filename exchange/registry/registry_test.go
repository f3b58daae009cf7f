package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/store"
)

// fakeStore is a store of configurations with a gate and a count.
type fakeStore struct {
	mu      sync.Mutex
	configs map[delegation.OrgID]store.OrgConfig
	secrets []store.ClientSecret
	reads   atomic.Int64
	failing atomic.Bool
	gate    func() // called inside a read of a configuration, after it was read
}

var errAway = errors.New("the store is away")

func (s *fakeStore) put(t *testing.T, org delegation.OrgID, change func(*registry.Document)) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := registry.Parse([]byte(goodYAML))
	if err != nil {
		t.Fatal(err)
	}
	d.Org = org
	if change != nil {
		change(&d)
	}
	data, err := jose.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	s.configs[org] = store.OrgConfig{Org: org, Version: s.configs[org].Version + 1, Document: data}
}

func (s *fakeStore) list(context.Context) ([]delegation.OrgID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads.Add(1)
	if s.failing.Load() {
		return nil, errAway
	}
	var ids []delegation.OrgID
	for id := range s.configs {
		ids = append(ids, id)
	}
	return ids, nil
}

type fakeOrg struct {
	s  *fakeStore
	id delegation.OrgID
}

func (o fakeOrg) Config(context.Context) (store.OrgConfig, error) {
	o.s.reads.Add(1)
	o.s.mu.Lock()
	c, ok := o.s.configs[o.id]
	gate := o.s.gate
	o.s.mu.Unlock()
	if gate != nil && o.id != store.PlatformOrg {
		gate()
	}
	switch {
	case o.s.failing.Load():
		return store.OrgConfig{}, errAway
	case !ok:
		return store.OrgConfig{}, store.ErrNotFound
	}
	return c, nil
}

func (o fakeOrg) ClientSecrets(context.Context) ([]store.ClientSecret, error) {
	return slices.Clone(o.s.secrets), nil
}

func open(t *testing.T, s *fakeStore, fresh func(time.Time) error) *registry.Registry {
	t.Helper()
	if s.configs == nil {
		s.configs = map[delegation.OrgID]store.OrgConfig{}
		s.put(t, "acme", nil)
	}
	if fresh == nil {
		fresh = func(time.Time) error { return nil }
	}
	r, err := registry.Open(registry.Config{
		Orgs: s.list, Org: func(id delegation.OrgID) registry.OrgStore { return fakeOrg{s, id} }, Fresh: fresh, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOpenRefusesNothing(t *testing.T) {
	t.Parallel()
	if _, err := registry.Open(registry.Config{}); err == nil {
		t.Error("accepted")
	}
}

func TestOrgIsLoadedOnce(t *testing.T) {
	t.Parallel()
	s := &fakeStore{}
	r := open(t, s, nil)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if o, err := r.Org(t.Context(), "acme"); err != nil || o.ID() != "acme" {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := s.reads.Load(); n != 3 { // the list, the org, the platform
		t.Errorf("%d reads", n)
	}
	before := s.reads.Load()
	if _, err := r.Org(t.Context(), "acme"); err != nil || s.reads.Load() != before {
		t.Errorf("read again: %v", err)
	}
}

// TestUnknownOrgsCostNothing: a stranger who makes up orgs causes no read and fills no memory.
func TestUnknownOrgsCostNothing(t *testing.T) {
	t.Parallel()
	s := &fakeStore{}
	r := open(t, s, nil)
	for i := range 1000 {
		if _, err := r.Org(t.Context(), delegation.OrgID(fmt.Sprintf("org-%d", i))); !errors.Is(err, registry.ErrUnknownOrg) {
			t.Fatal(err)
		}
	}
	if n := s.reads.Load(); n != 1 {
		t.Errorf("%d reads", n)
	}
	if n := r.Known(); n != 1 {
		t.Errorf("%d orgs in memory", n)
	}
	// A change of an org that turns out not to be there leaves nothing either.
	r.Changed(store.Change{Kind: store.ChangeConfig, Org: "ghost"})
	if _, err := r.Org(t.Context(), "ghost"); !errors.Is(err, registry.ErrUnknownOrg) || r.Known() != 1 {
		t.Errorf("%v, %d orgs in memory", err, r.Known())
	}
}

func TestChangesInvalidate(t *testing.T) {
	t.Parallel()
	s := &fakeStore{}
	r := open(t, s, nil)
	version := func(id delegation.OrgID) string {
		o, err := r.Org(t.Context(), id)
		if err != nil {
			return err.Error()
		}
		return o.Policy().Version()
	}
	check := func(id delegation.OrgID, expected string) {
		t.Helper()
		if got := version(id); got != expected {
			t.Errorf("%s: got %s, want %s", id, got, expected)
		}
	}
	check("acme", "1.0")
	s.put(t, "acme", nil)
	check("acme", "1.0") // by changes alone, never by time
	r.Changed(store.Change{Kind: store.ChangeRevocation, Org: "acme"})
	check("acme", "1.0")
	r.Changed(store.Change{Kind: store.ChangeConfig, Org: "acme"})
	check("acme", "2.0")
	s.put(t, "globex", nil)
	check("globex", registry.ErrUnknownOrg.Error())
	r.Changed(store.Change{Kind: store.ChangeConfig, Org: "globex"}) // a new org
	check("globex", "1.0")
	data, err := registry.EncodePlatform([]policy.File{{Name: "p", Text: `@id("p") forbid (principal, action == Action::"exchange", resource);`}})
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.configs[store.PlatformOrg] = store.OrgConfig{Org: store.PlatformOrg, Version: 3, Document: data}
	s.mu.Unlock()
	r.Changed(store.Change{Kind: store.ChangeConfig, Org: store.PlatformOrg})
	check("acme", "2.3")
	check("globex", "1.3")
	if _, err := r.Org(t.Context(), store.PlatformOrg); !errors.Is(err, registry.ErrUnknownOrg) {
		t.Errorf("the platform is no org: %v", err)
	}
}

// TestChangeDuringLoad: a change that arrives while the org is being read must not be lost behind what was read before it.
func TestChangeDuringLoad(t *testing.T) {
	t.Parallel()
	s := &fakeStore{}
	r := open(t, s, nil)
	var once sync.Once
	s.gate = func() {
		once.Do(func() {
			s.put(t, "acme", nil)
			r.Changed(store.Change{Kind: store.ChangeConfig, Org: "acme"})
		})
	}
	o, err := r.Org(t.Context(), "acme")
	if err != nil || o.Version() != 2 {
		t.Fatalf("%v, %+v", err, o)
	}
}

// TestStaleServesNothing: a replica that may have missed changes does not answer from memory.
func TestStaleServesNothing(t *testing.T) {
	t.Parallel()
	var stale atomic.Bool
	s := &fakeStore{}
	r := open(t, s, func(time.Time) error {
		if stale.Load() {
			return delegation.ErrUnavailable
		}
		return nil
	})
	if _, err := r.Org(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	stale.Store(true)
	if _, err := r.Org(t.Context(), "acme"); !errors.Is(err, delegation.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// TestFailuresAreNotRemembered: when the store is away every read fails, and the first after it is back succeeds.
func TestFailuresAreNotRemembered(t *testing.T) {
	t.Parallel()
	s := &fakeStore{}
	r := open(t, s, nil)
	s.failing.Store(true)
	for range 2 {
		if _, err := r.Org(t.Context(), "acme"); !errors.Is(err, errAway) {
			t.Errorf("got %v", err)
		}
	}
	s.failing.Store(false)
	if _, err := r.Org(t.Context(), "acme"); err != nil {
		t.Error(err)
	}
}

// TestFirstCallerLeaves: the load goes on for those who wait for it.
func TestFirstCallerLeaves(t *testing.T) {
	t.Parallel()
	s := &fakeStore{}
	r := open(t, s, nil)
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.gate = func() {
		once.Do(func() { close(entered) })
		<-release
	}
	ctx, leave := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := r.Org(ctx, "acme")
		first <- err
	}()
	<-entered
	second := make(chan error, 1)
	go func() {
		_, err := r.Org(t.Context(), "acme")
		second <- err
	}()
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	if err := <-second; err != nil {
		t.Error(err)
	}
}

func TestCompile(t *testing.T) {
	t.Parallel()
	key, err := jose.Generate(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner("k", jose.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	d := parse(t, goodYAML)
	d.Agents[0].JWKS = jose.NewKeySet(signer.Key()).JSON()
	data, err := jose.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	var secrets []store.ClientSecret
	for i := range 3 {
		secrets = append(secrets, store.ClientSecret{Agent: "orchestrator", Hash: [32]byte{byte(i)}, Created: time.Unix(int64(i), 0)})
	}
	secrets = append(secrets, store.ClientSecret{Agent: "researcher", Hash: [32]byte{9}})
	o, err := registry.Compile(store.OrgConfig{Org: "acme", Version: 5, Document: data}, store.OrgConfig{}, secrets)
	if err != nil {
		t.Fatal(err)
	}
	c, ok := o.Client("orchestrator")
	if !ok || c.ID != "agent:acme/orchestrator" || c.ClientID != "acme.orchestrator" || len(c.Keys.Keys()) != 1 || c.Scopes.String() != "github:read" {
		t.Errorf("%+v", c)
	}
	if !slices.Equal(c.Secrets, [][32]byte{{2}, {1}}) { // the two newest
		t.Errorf("%v", c.Secrets)
	}
	trust, ok := o.Issuer("https://acme.okta.test")
	if !ok || !trust.AcceptsAlgorithm(jose.PS256) || !trust.AcceptsAlgorithm(jose.Ed25519) || trust.AcceptsAlgorithm("HS256") ||
		!trust.AcceptsType("id_token") || trust.AcceptsType("jwt") {
		t.Errorf("%+v", trust)
	}
	uri, ok := o.ResourceNamed("executor")
	if !ok || !o.Resource(uri) || o.Resource("https://x.test") || o.MaxDepth() != 4 || o.MaxLife() != 10*time.Minute || o.Version() != 5 {
		t.Errorf("%q, %d, %s", uri, o.MaxDepth(), o.MaxLife())
	}
	if _, err := registry.Compile(store.OrgConfig{Org: "globex", Version: 5, Document: data}, store.OrgConfig{}, nil); err == nil {
		t.Error("another org's document was accepted")
	}
}

// TestBundle: what the feed sends decides as the snapshot does, and holds no secret and no key.
func TestBundle(t *testing.T) {
	t.Parallel()
	s := &fakeStore{secrets: []store.ClientSecret{{Agent: "orchestrator", Hash: [32]byte{1, 2, 3}}}}
	r := open(t, s, nil)
	version, document, err := r.Bundle(t.Context(), "acme")
	if err != nil || version != "1.0" {
		t.Fatal(version, err)
	}
	var b policy.Bundle
	if err := jose.DecodeClosed(document, &b); err != nil {
		t.Fatal(err)
	}
	set, err := policy.Compile(b)
	if err != nil || set.Version() != "1.0" || set.Org() != "acme" {
		t.Fatal(err)
	}
	if strings.Contains(string(document), "jwks") || strings.Contains(string(document), "okta") {
		t.Errorf("%s", document)
	}
	if _, _, err := r.Bundle(t.Context(), "nobody"); !errors.Is(err, registry.ErrUnknownOrg) {
		t.Error(err)
	}
}

func BenchmarkOrg(b *testing.B) {
	s := &fakeStore{configs: map[delegation.OrgID]store.OrgConfig{}}
	d, err := registry.Parse([]byte(goodYAML))
	if err != nil {
		b.Fatal(err)
	}
	data, err := jose.Encode(d)
	if err != nil {
		b.Fatal(err)
	}
	s.configs["acme"] = store.OrgConfig{Org: "acme", Version: 1, Document: data}
	r, err := registry.Open(registry.Config{
		Orgs: s.list, Org: func(id delegation.OrgID) registry.OrgStore { return fakeOrg{s, id} },
		Fresh: func(time.Time) error { return nil }, Now: time.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Org(context.Background(), "acme"); err != nil {
			b.Fatal(err)
		}
	}
}
