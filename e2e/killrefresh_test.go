//go:build slow

package e2e_test

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	obov1 "github.com/onbehalf/obo/gen/obo/v1"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/postgres"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/vault"
)

var (
	killSeed  = flag.Uint64("kill.seed", 0, "of the moments at which an executor is killed; 0 takes others each time")
	killTimes = flag.Int("kill.times", 50, "how often, on each engine")
)

const (
	users   = 8
	hot     = 40  // connections that are in use at a time
	seeded  = 600 // connections: those that a kill has caught are left alone until the end
	callers = 16
	patient = time.Second      // how long a caller waits
	lease   = 30 * time.Second // the life of a right to refresh
	keeping = time.Second      // by when whoever has a new token has stored it, on a busy machine
)

// TestKillRefreshing is the model of connection's TestRefreshCrashes with real processes: executors are killed at random moments while
// they refresh tokens that are good for one use. Nobody spends one twice, nobody hears that a grant is revoked, and no right to refresh
// stays taken. At the end, a connection works, or a process was killed while it spent the connection's token: then it says so.
func TestKillRefreshing(t *testing.T) {
	t.Parallel()
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d: make kill KILL='-kill.seed %d'", seed, seed)
	for name, store := range engines(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKilling(t, seed, store(t, "executor"), map[string]int{"sqlite": 1, "postgres": 2}[name])
			ctx, cancel := context.WithCancel(t.Context())
			var load sync.WaitGroup
			defer load.Wait()
			defer cancel()
			for i := range callers {
				load.Go(func() { k.call(ctx, i) })
			}
			for range *killTimes {
				k.kill()
			}
			calm := time.Now().Add(lease + time.Second)
			for _, x := range k.executors {
				x.await(t, x.address)
			}
			time.Sleep(time.Until(calm)) // the one thing that only time does: whoever was killed loses his right
			cancel()
			load.Wait()
			k.judge()
		})
	}
}

// killing is the executors, what they work on, and what is known of it.
type killing struct {
	*world
	t         *testing.T
	rnd       *rand.Rand
	provider  *strict
	executors []*victim
	tokens    []string // of the users
	org       refreshed
	vault     *vault.Vault
	moments   []moment

	mu   sync.Mutex
	hot  []string // connections in use
	used int      // of the seeded, from the first

	good, unavailable, unanswered, uncertain atomic.Int64 // answers
}

// victim is an executor that is killed.
type victim struct {
	*process
	address string
	client  obov1.ExecutorServiceClient
}

// moment is that of a kill: it fell between.
type moment struct{ before, after time.Time }

// refreshed is the org's part of the store.
type refreshed interface {
	vault.DataKeyStore
	Connection(ctx context.Context, id string) (store.Connection, error)
	PutConnection(ctx context.Context, c store.Connection, was string) error
	AcquireRefresh(ctx context.Context, connection string, now, until time.Time) (store.Refreshing, error)
}

func newKilling(t *testing.T, seed uint64, url string, executors int) *killing {
	t.Helper()
	o := options{execStore: url}
	k := &killing{t: t, world: newWorld(t, o), rnd: rand.New(rand.NewPCG(seed, 0)), provider: newStrict(t, seed)}
	k.apply(t, "acme", func(doc map[string]any) {
		doc["providers"] = append(doc["providers"].([]any), strictPolicy)
		doc["policies"] = append(doc["policies"].([]any), map[string]any{"name": "notes.cedar", "text": strictPolicies})
		for _, a := range doc["agents"].([]map[string]any) {
			a["scopes"] = append(a["scopes"].([]string), "notes:read")
		}
	})
	ctx := bearer(t.Context(), k.admin)
	admin := obov1.NewExecutorAdminServiceClient(dial(t, k.execAddr))
	if _, err := admin.ApplyProviders(ctx, &obov1.ApplyProvidersRequest{OrgId: "acme", Providers: []*obov1.ProviderFile{
		{Name: "tracker.yaml", Text: k.tracker.record()}, {Name: "notes.yaml", Text: k.provider.record()},
	}}); err != nil {
		t.Fatal(err)
	}
	for _, client := range []*obov1.PutClientRequest{ // without both, no link to connect again is offered
		{OrgId: "acme", Name: "notes", ClientId: "client-1", Secret: "canary-client-secret"},
		{OrgId: "acme", Name: "issuer/idp", ClientId: "client-2", Settings: map[string]string{"issuer": k.idp.url}},
	} {
		if _, err := admin.PutClient(ctx, client); err != nil {
			t.Fatal(err)
		}
	}
	k.open(url)
	for i := range seeded {
		k.seed(i)
	}
	k.hot, k.used = connections(0, hot), hot

	exchange := obov1.NewExchangeServiceClient(dial(t, k.stsAddr))
	for i := range users {
		r, err := k.first(t.Context(), exchange, "acme", k.idp.idTokenOf(t, "acme", "obo", fmt.Sprintf("u%d", i)), "notes:read")
		if err != nil {
			t.Fatal(err)
		}
		k.tokens = append(k.tokens, r.GetAccessToken())
	}
	k.executors = append(k.executors, k.victim(k.executor, k.execAddr))
	for i := 1; i < executors; i++ {
		address := freeAddr(t)
		k.executors = append(k.executors, k.victim(k.startExecutor(t, o, fmt.Sprintf("executor%d", i), address), address))
	}
	for _, x := range k.executors {
		k.awaitPolicy(t, x.client, k.tokens[0])
	}
	return k
}

// victim talks to an executor, and again soon after it was killed.
func (k *killing) victim(p *process, address string) *victim {
	k.t.Helper()
	soon := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1, MaxDelay: 50 * time.Millisecond}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: soon, MinConnectTimeout: patient}))
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { conn.Close() })
	return &victim{p, address, obov1.NewExecutorServiceClient(conn)}
}

// open opens the executors' store and vault, as they do.
func (k *killing) open(url string) {
	k.t.Helper()
	ctx := k.t.Context()
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		db, err := sqlite.OpenExecutor(ctx, path)
		if err != nil {
			k.t.Fatal(err)
		}
		k.t.Cleanup(func() { db.Close() })
		k.org = db.Org("acme")
	} else {
		db, err := postgres.OpenExecutor(ctx, url)
		if err != nil {
			k.t.Fatal(err)
		}
		k.t.Cleanup(func() { db.Close() })
		k.org = db.Org("acme")
	}
	key, err := seal.KeyFile{Path: filepath.Join(k.dir, "executor.key")}.Open(ctx)
	if err != nil {
		k.t.Fatal(err)
	}
	k.vault, err = vault.Open(vault.Config{Org: func(delegation.OrgID) vault.DataKeyStore { return k.org }, Key: key})
	if err != nil {
		k.t.Fatal(err)
	}
}

func connectionOf(i int) string { return fmt.Sprintf("notes-%03d", i) }

// connections are some of the seeded.
func connections(from, to int) (ids []string) {
	for i := from; i < to; i++ {
		ids = append(ids, connectionOf(i))
	}
	return ids
}

// userOf is the number of the user whose connection it is.
func userOf(id string) (i int) {
	_, _ = fmt.Sscanf(id, "notes-%d", &i)
	return i % users
}

// seed stores a connection with a new grant whose access token has ended.
func (k *killing) seed(i int) {
	k.t.Helper()
	ctx, id, now := k.t.Context(), connectionOf(i), time.Now().UTC().Truncate(time.Microsecond)
	access, refresh := k.provider.grant(id)
	sealed, err := k.vault.Seal(ctx, "acme", id, 1, vault.NewGrant([]byte(access), []byte(refresh)))
	if err != nil {
		k.t.Fatal(err)
	}
	if err := k.org.PutConnection(ctx, store.Connection{
		ID: id, Provider: "notes", Pattern: string(connection.OAuth), Subject: fmt.Sprintf("user:acme/idp|u%d", userOf(id)),
		Status: connection.StatusActive, Version: 1, Sealed: sealed, Created: now, Updated: now, Expires: now,
	}, ""); err != nil {
		k.t.Fatal(err)
	}
}

// pick is a connection in use, any.
func (k *killing) pick() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.hot[rand.IntN(len(k.hot))]
}

// leave puts another connection in the place of one that makes its callers wait.
func (k *killing) leave(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.hot {
		if k.hot[i] == id && k.used < seeded {
			k.hot[i] = connectionOf(k.used)
			k.used++
		}
	}
}

// call calls an executor all the time, until ctx ends.
func (k *killing) call(ctx context.Context, i int) {
	x := k.executors[i%len(k.executors)]
	for ctx.Err() == nil {
		id := k.pick()
		what, err := k.once(ctx, x, id, patient)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			k.t.Errorf("a caller of %s: %v", id, err)
			return
		case what == noAnswer:
			k.unanswered.Add(1)
			k.leave(id)
		case what == string(connection.Uncertain):
			k.uncertain.Add(1)
			k.leave(id)
		case what == string(connection.Unavailable):
			k.unavailable.Add(1)
			time.Sleep(50 * time.Millisecond) // the process is down
		default:
			k.good.Add(1)
		}
	}
}

const noAnswer = "no answer"

// once calls, and says what came of it: "", a kind of failure, or noAnswer. What nobody may hear while executors are killed is an error.
func (k *killing) once(ctx context.Context, x *victim, id string, wait time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	r, err := x.client.Execute(bearer(ctx, k.tokens[userOf(id)]), &obov1.ExecuteRequest{Tool: "notes.me", Connection: id})
	switch status.Code(err) {
	case codes.OK:
	case codes.DeadlineExceeded, codes.Canceled:
		return noAnswer, nil
	case codes.Unavailable:
		return string(connection.Unavailable), nil
	default:
		return "", err
	}
	e := r.GetError()
	switch connection.Kind(e.GetKind()) {
	case "":
		if want := fmt.Sprintf(`{"id":%q}`, id); r.GetResult().GetData() != want {
			return "", fmt.Errorf("the answer is %s, want %s", r.GetResult().GetData(), want)
		}
	case connection.Unavailable:
	case connection.Uncertain:
		if e.GetReconnectUrl() == "" {
			return "", fmt.Errorf("uncertain, with no link to connect again")
		}
	default:
		return "", fmt.Errorf("%s: %s", e.GetKind(), e.GetMessage())
	}
	return e.GetKind(), nil
}

// kill kills an executor at some moment of its life, often an early one, and starts it again.
func (k *killing) kill() {
	x := k.executors[k.rnd.IntN(len(k.executors))]
	x.await(k.t, x.address)
	time.Sleep(time.Duration(k.rnd.ExpFloat64() * float64(200*time.Millisecond)))
	m := moment{before: time.Now()}
	x.kill()
	m.after = time.Now()
	k.moments = append(k.moments, m)
	x.start(k.t)
}

// judge calls with every connection that was used, twice, with a forced refresh between, and looks at what is stored.
func (k *killing) judge() {
	k.t.Helper()
	ids := connections(0, k.used)
	uncertain := k.each(ids, "")
	time.Sleep(expiresIn - 10*time.Second)
	var alive []string
	for _, id := range ids {
		if !uncertain[id] {
			alive = append(alive, id)
		}
	}
	before := map[string]string{}
	for _, id := range alive {
		_, before[id] = k.stored(id)
	}
	again := k.each(alive, "after it had worked")
	var unsent, unanswered, unkept int
	var slowestKept time.Duration
	for _, id := range ids {
		c, refresh := k.stored(id)
		was, family, known := k.provider.of(refresh)
		now := time.Now().UTC()
		right, err := k.org.AcquireRefresh(k.t.Context(), id, now, now)
		switch {
		case err != nil:
			k.t.Errorf("%s: the right to refresh is still taken: %v", id, err)
		case !known:
			k.t.Errorf("%s is %s (%s), and has no token of the provider's", id, c.Status, c.StatusReason)
		case again[id]:
			k.t.Errorf("%s works, and then it does not", id)
		case !uncertain[id]:
			if family.refresh != refresh || family.dead || c.Status != connection.StatusActive || refresh == before[id] {
				k.t.Errorf("%s works (%s), but its token is %s; the provider takes %s", id, c.Status, refresh, family.refresh)
			}
		default:
			sum := sha256.Sum256([]byte(refresh))
			if c.Status != connection.StatusError || !strings.HasPrefix(c.StatusReason, string(connection.ResultUncertain)) ||
				string(right.Spent) != string(sum[:]) {
				k.t.Errorf("%s is uncertain, but its record says %s: %s", id, c.Status, c.StatusReason)
			}
			end := right.SpentAt
			if was.answered.After(end) {
				end = was.answered
			}
			m, killed := k.killed(right.SpentAt, end.Add(keeping))
			switch {
			case !killed:
				k.t.Errorf("%s is uncertain, but nobody was killed while its token was spent, from %s to %s", id, right.SpentAt, end)
			case was.times == 0:
				unsent++
			case was.answered.IsZero() || m.before.Before(was.answered):
				unanswered++
			default:
				unkept++
				slowestKept = max(slowestKept, m.before.Sub(was.answered))
			}
		}
	}
	presented, twice := k.provider.count()
	if len(twice) > 0 {
		k.t.Errorf("presented more than once: %v", twice)
	}
	k.t.Logf("%d kills, %d refreshes; answers: %d good, %d unavailable, %d uncertain, %d none in time", len(k.moments), presented,
		k.good.Load(), k.unavailable.Load(), k.uncertain.Load(), k.unanswered.Load())
	k.t.Logf("%d connections, of which %d are uncertain: %d were killed before the token was sent, %d before the answer, %d before it was "+
		"stored (at most %s)", len(ids), len(uncertain), unsent, unanswered, unkept, slowestKept)
	if presented < 10*len(k.moments) || len(uncertain) < len(k.moments)/10 {
		k.t.Error("the load is too small to show anything")
	}
}

// each calls with connections until the answer is one or the other, and says which are uncertain.
func (k *killing) each(ids []string, when string) map[string]bool {
	var mu sync.Mutex
	uncertain := map[string]bool{}
	queue := make(chan string)
	var group sync.WaitGroup
	for i := range callers {
		x := k.executors[i%len(k.executors)]
		group.Go(func() {
			for id := range queue {
				what, err := noAnswer, error(nil)
				for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && err == nil; {
					if what, err = k.once(k.t.Context(), x, id, time.Until(end)); what != string(connection.Unavailable) {
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				switch {
				case err != nil:
					k.t.Errorf("%s %s: %v", id, when, err)
				case what == string(connection.Uncertain):
					mu.Lock()
					uncertain[id] = true
					mu.Unlock()
				case what != "":
					k.t.Errorf("%s %s: %s, long after the last kill", id, when, what)
				}
			}
		})
	}
	for _, id := range ids {
		queue <- id
	}
	close(queue)
	group.Wait()
	return uncertain
}

// killed is the first kill in a time.
func (k *killing) killed(from, to time.Time) (moment, bool) {
	i := slices.IndexFunc(k.moments, func(m moment) bool { return m.after.After(from) && m.before.Before(to) })
	if i < 0 {
		return moment{}, false
	}
	return k.moments[i], true
}

// stored is a connection, and its refresh token, empty when it has lost it.
func (k *killing) stored(id string) (c store.Connection, refresh string) {
	k.t.Helper()
	c, err := k.org.Connection(k.t.Context(), id)
	if err == nil && connection.Holds(c) {
		err = k.vault.Use(k.t.Context(), "acme", c, func(credential vault.Credential) error {
			refresh = string(credential.Refresh())
			return nil
		})
	}
	if err != nil {
		k.t.Fatalf("%s: %v", id, err)
	}
	return c, refresh
}
