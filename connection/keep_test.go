package connection_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/postgres"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/store/storetest"
	"github.com/onbehalf/obo/store/storetest/pgtest"
	"github.com/onbehalf/obo/vault"
)

// clock is the time of all processes of a test.
type clock struct{ micros atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.micros.Store(time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC).UnixMicro())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMicro(c.micros.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.micros.Add(d.Microseconds()) }

// onBothEngines runs a test on an executor's store of each engine.
func onBothEngines(t *testing.T, f func(t *testing.T, w *world)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		db, err := sqlite.OpenExecutor(t.Context(), filepath.Join(t.TempDir(), "executor.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		f(t, newWorld(t, worldStore[*sqlite.ExecutorOrg]{db}))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		db, err := postgres.OpenExecutor(t.Context(), pgtest.DSN(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		f(t, newWorld(t, worldStore[*postgres.ExecutorOrg]{db}))
	})
}

// faulty makes a process's own view of the store, which fails as its hook says.
type faulty interface {
	org(hook storetest.Hook) func(delegation.OrgID) orgStore
}

type worldStore[O storetest.ExecutorOrg] struct{ db storetest.Executor[O] }

func (w worldStore[O]) org(hook storetest.Hook) func(delegation.OrgID) orgStore {
	f := &storetest.FaultyExecutor[O]{Store: w.db, Hook: hook}
	return func(id delegation.OrgID) orgStore { return f.Org(id) }
}

type orgStore interface {
	connection.ConnectorStore
	connection.ClientStore
	connection.ProviderStore
	vault.DataKeyStore
	vault.RotateStore
}

// world is a database, a key and a clock that processes share.
type world struct {
	store faulty
	key   seal.Key
	clock *clock
}

func newWorld(t *testing.T, s faulty) *world {
	t.Helper()
	key, err := seal.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	return &world{store: s, key: key, clock: newClock()}
}

// process is one executor's part that keeps credentials.
type process struct {
	keeper  *connection.Keeper
	catalog *connection.Catalog
	vault   *vault.Vault
	org     func(delegation.OrgID) orgStore
}

// roundTrip is a transport that a test made.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (w *world) process(t *testing.T, hook storetest.Hook, transport http.RoundTripper) *process {
	t.Helper()
	org := w.store.org(hook)
	v, err := vault.Open(vault.Config{Org: func(id delegation.OrgID) vault.DataKeyStore { return org(id) }, Key: w.key})
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := connection.NewCatalog(connection.CatalogConfig{
		Org: func(id delegation.OrgID) connection.ProviderStore { return org(id) }, AllowLoopback: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	k, err := connection.NewKeeper(connection.KeeperConfig{
		Org: func(id delegation.OrgID) connection.KeeperStore { return org(id) }, Providers: catalog, Vault: v,
		HTTP: &http.Client{Transport: transport}, RedirectURI: "http://127.0.0.1/connect/callback", Now: w.clock.now,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &process{keeper: k, catalog: catalog, vault: v, org: org}
}

// setUp registers the authority's record and client in an org.
func (p *process) setUp(t *testing.T, org delegation.OrgID, a *authority) {
	t.Helper()
	ctx := t.Context()
	if err := p.org(org).PutProviders(ctx, nil, []store.ProviderRecord{{Name: "notes.yaml", Text: a.record()}}); err != nil {
		t.Fatal(err)
	}
	sealed, err := p.vault.Seal(ctx, org, "client/notes", 1, vault.NewCredential("", []byte("canary-client-secret")))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.org(org).PutClient(ctx, store.Client{Name: "notes", ClientID: "client-1", Version: 1, Sealed: sealed}); err != nil {
		t.Fatal(err)
	}
}

// connect stores a connection with a new grant of the authority's whose access token has ended, unless it is changed before.
func (p *process) connect(
	t *testing.T, org delegation.OrgID, id string, a *authority, expires time.Time, change ...func(*store.Connection),
) (store.Connection, string) {
	t.Helper()
	access, refresh := a.grant(string(org) + id)
	c := store.Connection{
		ID: id, Provider: "notes", Pattern: string(connection.OAuth), Subject: "user:" + string(org) + "/okta|alice",
		Status: connection.StatusActive, Version: 1, Created: expires, Updated: expires, Expires: expires,
	}
	for _, f := range change {
		f(&c)
	}
	var err error
	if c.Sealed, err = p.vault.Seal(t.Context(), org, id, 1, vault.NewGrant([]byte(access), []byte(refresh))); err != nil {
		t.Fatal(err)
	}
	if err := p.org(org).PutConnection(t.Context(), c, ""); err != nil {
		t.Fatal(err)
	}
	return c, refresh
}

// tokens opens a connection.
func (p *process) tokens(t *testing.T, org delegation.OrgID, c store.Connection) (access, refresh string) {
	t.Helper()
	err := p.vault.Use(t.Context(), org, c, func(credential vault.Credential) error {
		access, refresh = string(credential.Reveal()), string(credential.Refresh())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return access, refresh
}

// crashing is a process that ends at its nth step, before it takes effect or after. A step is a call of the store or of the provider.
type crashing struct {
	mu    sync.Mutex
	at    int
	after bool
	steps []string
	done  bool // it makes no other step
	dead  bool // and its last one has taken effect, where it is to
}

// step notes a step, and says whether it is the last, to be followed by die. It ends the goroutine of a process that is no more, as a
// crash does: without a word to anybody.
func (c *crashing) step(name string) (last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		runtime.Goexit()
	}
	c.steps = append(c.steps, name)
	c.done = len(c.steps)-1 == c.at
	if c.done && !c.after {
		c.dead = true
		runtime.Goexit()
	}
	return c.done
}

func (c *crashing) die() {
	c.mu.Lock()
	c.dead = true
	c.mu.Unlock()
	runtime.Goexit()
}

// has reports whether a step was made, and whether it took effect.
func (c *crashing) has(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.steps, name)
	return i >= 0 && (i != c.at || c.after)
}

func (c *crashing) hook(call storetest.Call) storetest.Fault {
	if c.step(call.Method) {
		return storetest.Fault{Then: c.die}
	}
	return storetest.Fault{}
}

func (c *crashing) transport(inner http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		last := c.step("HTTP " + r.URL.Path)
		response, err := inner.RoundTrip(r)
		if last {
			if err == nil {
				response.Body.Close()
			}
			c.die()
		}
		return response, err
	})
}

// TestRefreshCrashes is the model of a refresher that ends at every step, under contention: two processes, each with callers, and
// one of them ends. Whatever happens, no single-use token is sent twice; a new token is lost only when the process ended with it in
// its hands; the lease is free again; and what nobody can know has a name.
func TestRefreshCrashes(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct {
		rotation string
		reuse    time.Duration
		ahead    bool // the access token is good still: nobody waits for the refresh, and none may suffer from it
	}{
		{"single_use", 0, false}, {"single_use", 10 * time.Minute, false}, {"never", 0, false}, {"kept", 0, false},
		{"single_use", 0, true}, {"single_use", 10 * time.Minute, true},
	} {
		t.Run(fmt.Sprintf("%s %s ahead %t", kind.rotation, kind.reuse, kind.ahead), func(t *testing.T) {
			t.Parallel()
			onBothEngines(t, func(t *testing.T, w *world) {
				a := newAuthority(t, kind.rotation, kind.reuse, w.clock.now)
				first := w.process(t, nil, http.DefaultTransport)
				first.setUp(t, "acme", a)
				ended := 0
				for at := 0; ; at++ {
					over := true
					for _, after := range []bool{false, true} {
						c := &crashing{at: at, after: after}
						crashRound(t, w, a, first, c, fmt.Sprintf("c%d%v", at, after), kind.ahead)
						if c.done {
							over = false
							ended++
						}
					}
					if over {
						break
					}
				}
				if ended < 16 {
					t.Errorf("only %d crashes: the steps of a refresh were not all met", ended)
				}
			})
		})
	}
}

func crashRound(t *testing.T, w *world, a *authority, first *process, crash *crashing, id string, ahead bool) {
	t.Helper()
	c, refresh := first.connect(t, "acme", id, a, w.clock.now(), func(c *store.Connection) {
		if ahead {
			c.Expires, c.Renew = c.Expires.Add(24*time.Hour), c.Expires
		}
	})
	w.clock.advance(time.Second)
	doomed := w.process(t, crash.hook, crash.transport(http.DefaultTransport))
	other := w.process(t, nil, http.DefaultTransport)

	stop := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() { // time goes on, so that leases end
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				w.clock.advance(5 * time.Second)
			}
		}
	})
	var callers sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	doomedCtx, gone := context.WithCancel(ctx)
	outs := make(chan connection.Outcome, 8)
	callers.Go(func() { doomed.keeper.Ready(doomedCtx, "acme", c, nil) })
	callers.Go(func() { doomed.keeper.Ready(doomedCtx, "acme", c, nil) })
	for !crash.isDead() && !crash.has("ReleaseRefresh") {
		time.Sleep(time.Millisecond)
	}
	for range 3 {
		callers.Go(func() {
			_, out := other.keeper.Ready(ctx, "acme", c, nil)
			outs <- out
		})
	}
	for range 3 {
		out := <-outs
		mayFail := !ahead && (out.Result == connection.ResultUncertain || out.Result == connection.ResultTransient)
		if !out.Good() && !mayFail {
			t.Errorf("%s: a caller beside it got %s: %s", id, out.Result, out.Evidence)
		}
	}
	gone()
	callers.Wait()
	cancel()
	close(stop)
	ticking.Wait()

	// No lease is stuck: after the time of one, another process gets through.
	w.clock.advance(time.Minute)
	final := w.process(t, nil, http.DefaultTransport)
	stored, err := final.org("acme").Connection(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if ahead && stored.Status != connection.StatusActive {
		t.Errorf("%s: status %s (%s), while its access token is good", id, stored.Status, stored.StatusReason)
	}
	stored, out := final.keeper.Renew(t.Context(), "acme", stored, nil)
	current, access, alive := a.current(refresh)
	strict := a.rotation == "single_use" && a.reuse == 0
	couldKeep := !crash.has("SpendRefresh") || crash.has("PutConnection")
	if couldKeep && stored.Status == connection.StatusError && stored.Version == c.Version+1 {
		// The other process was first to write: the lease had ended, and the doomed one found that out and ended with the new token in hand.
		_, still := final.tokens(t, "acme", stored)
		couldKeep = still != refresh
	}
	switch {
	case out.Good():
		gotAccess, gotRefresh := final.tokens(t, "acme", stored)
		if !alive || gotAccess != access || gotRefresh != current {
			t.Errorf("%s: stored tokens are not the provider's", id)
		}
	case out.Result == connection.ResultUncertain && strict && !couldKeep:
		if stored.Status != connection.StatusError {
			t.Errorf("%s: status %s", id, stored.Status)
		}
	default:
		t.Errorf("%s (steps %v): the connection is lost: %s, %s", id, crash.steps, out.Result, out.Evidence)
	}
	if times, _ := a.most(); strict && times > 1 {
		t.Fatalf("%s (steps %v): a single-use token was sent %d times", id, crash.steps, times)
	}
}

func (c *crashing) isDead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}
