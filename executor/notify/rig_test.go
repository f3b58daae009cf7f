package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/postgres"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/store/storetest"
	"github.com/onbehalf/obo/store/storetest/pgtest"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/vault"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/onbehalf/obo/store/storetest/pgtest.(*Cluster).run.func1"))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// key is the secret of every webhook here, which must be found nowhere.
var key = []byte("canary-webhook-secret-5d8a21")

func secret() telemetry.Secret {
	return telemetry.Secret(secretPrefix + base64.StdEncoding.EncodeToString(key))
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 5, 6, 7, 8, 9, 123456000, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
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

func (b *lockedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

// got is one message as the receiver got it.
type got struct {
	id       string
	sequence uint64
	body     string
}

// receiver takes messages, and checks each signature with its own hands and with the library.
type receiver struct {
	*httptest.Server
	t      *testing.T
	mu     sync.Mutex
	all    []got
	answer func(n int, w http.ResponseWriter) // of the n-th; nil: 204
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t}
	r.Server = httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(r.Close)
	return r
}

// asked is an answer, and when whoever waits for it has gone.
type asked struct {
	http.ResponseWriter
	gone <-chan struct{}
}

func (r *receiver) take(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		r.t.Error(err)
	}
	id := req.Header.Get("webhook-id")
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, req.Header.Get("webhook-timestamp"), body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); req.Header.Get("webhook-signature") != want {
		r.t.Errorf("signature %q, want %q", req.Header.Get("webhook-signature"), want)
	}
	verifier, err := standardwebhooks.NewWebhook(secret().Reveal())
	if err == nil {
		err = verifier.VerifyIgnoringTimestamp(body, req.Header)
	}
	if err != nil || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s %v: %v", req.Method, req.Header, err)
	}
	var m struct {
		Type string
		Data changed
	}
	if err := json.Unmarshal(body, &m); err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	r.all = append(r.all, got{id, m.Data.Sequence, string(body)})
	n, answer := len(r.all), r.answer
	r.mu.Unlock()
	if answer != nil {
		answer(n, asked{w, req.Context().Done()})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) got() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

func (r *receiver) answers(f func(n int, w http.ResponseWriter)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

// rig is one database, and what is needed to deliver from it.
type rig[O storetest.ExecutorOrg] struct {
	t     *testing.T
	db    storetest.Executor[O]
	kek   seal.Key
	clock *clock
	log   *lockedBuffer
	http  *http.Client
}

func newRig[O storetest.ExecutorOrg](t *testing.T, db storetest.Executor[O]) *rig[O] {
	t.Helper()
	kek, err := seal.NewDataKey()
	must(t, err)
	client := egress.NewClient(egress.Config{AllowPrivate: egress.Loopback(), Timeout: time.Second, MaxResponse: MaxAnswer})
	t.Cleanup(client.CloseIdleConnections)
	return &rig[O]{t: t, db: db, kek: kek, clock: newClock(), log: &lockedBuffer{}, http: client}
}

func openSQLite(t *testing.T) (*sqlite.Executor, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "executor.db")
	db, err := sqlite.OpenExecutor(t.Context(), path)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return db, path
}

func openPostgres(t *testing.T) *postgres.Executor {
	t.Helper()
	db, err := postgres.OpenExecutor(t.Context(), pgtest.DSN(t))
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

// process is one that delivers, on a store that fails it as hook says.
func (r *rig[O]) process(hook storetest.Hook) *Notifier {
	r.t.Helper()
	faulty := &storetest.FaultyExecutor[O]{Store: r.db, Hook: hook}
	n, err := New(Config{
		Due: faulty.DueWebhooks, Org: func(id delegation.OrgID) Store { return faulty.Org(id) }, Send: r.sender(), Now: r.clock.Now,
		Log: telemetry.NewLogger(r.log, slog.LevelDebug, "json"),
	})
	must(r.t, err)
	return n
}

func (r *rig[O]) sender() Sender {
	r.t.Helper()
	safe, err := vault.Open(vault.Config{Key: r.kek, Org: func(id delegation.OrgID) vault.DataKeyStore { return r.db.Org(id) }})
	must(r.t, err)
	return Sender{Vault: safe, HTTP: r.http}
}

func (r *rig[O]) webhooks() *Webhooks {
	r.t.Helper()
	send := r.sender()
	k, err := NewWebhooks(WebhooksConfig{
		Org: func(id delegation.OrgID) Puts { return r.db.Org(id) }, Vault: send.Vault.(*vault.Vault), Send: send, AllowLoopback: true,
		Now: r.clock.Now,
	})
	must(r.t, err)
	return k
}

// put gives acme a webhook with the secret of all here.
func (r *rig[O]) put(address string) {
	r.t.Helper()
	k := r.webhooks()
	p, err := k.Propose(r.t.Context(), "acme", address, secret())
	must(r.t, err)
	must(r.t, k.Put(r.t.Context(), "acme", p))
}

// happen makes events: connections from one number to another are new.
func (r *rig[O]) happen(from, to int) {
	r.t.Helper()
	for n := from; n <= to; n++ {
		must(r.t, r.db.Org("acme").PutConnection(r.t.Context(), store.Connection{
			ID: fmt.Sprintf("c-%03d", n), Provider: "github", Pattern: "api_key", Subject: "user:acme/okta|alice", Status: "active",
			StatusReason: "because", Version: 1, Account: "label-of-the-account", Hint: "hint", Updated: r.clock.Now(),
		}, ""))
	}
}

func (r *rig[O]) webhook() store.Webhook {
	r.t.Helper()
	w, err := r.db.Org("acme").Webhook(r.t.Context())
	must(r.t, err)
	return w
}

// inOrder wants each event from one number to another, the first time in order, and each time with the same id and body.
func inOrder(t *testing.T, all []got, from, to uint64) {
	t.Helper()
	first := map[uint64]got{}
	next := from
	for _, g := range all {
		if before, seen := first[g.sequence]; seen {
			if before != g {
				t.Errorf("event %d came as %v, and again as %v", g.sequence, before, g)
			}
			continue
		}
		if g.sequence != next {
			t.Errorf("event %d came where %d was to come", g.sequence, next)
		}
		first[g.sequence] = g
		next = g.sequence + 1
	}
	if next != to+1 {
		t.Errorf("the last event is %d, want %d", next-1, to)
	}
}

// engines runs a test on both, of which two handles are two replicas.
func engines(t *testing.T, onSQLite func(t *testing.T, r *rig[*sqlite.ExecutorOrg]), onPostgres func(t *testing.T, r *rig[*postgres.ExecutorOrg])) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		db, _ := openSQLite(t)
		onSQLite(t, newRig[*sqlite.ExecutorOrg](t, db))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		onPostgres(t, newRig[*postgres.ExecutorOrg](t, openPostgres(t)))
	})
}

// run lets a process work until stopped.
func run(ctx context.Context, n *Notifier) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}
