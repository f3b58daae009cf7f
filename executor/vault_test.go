package executor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onbehalf/obo/audit"
	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/executor/notify"
	"github.com/onbehalf/obo/policy"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/store/postgres"
	"github.com/onbehalf/obo/store/sqlite"
	"github.com/onbehalf/obo/store/storetest"
	"github.com/onbehalf/obo/store/storetest/pgtest"
	"github.com/onbehalf/obo/vault"
)

// replica is a process that keeps credentials, on a store that it shares and that fails it as hook says.
type replica struct {
	admin executor.Session
	links *connection.Links
	vault *vault.Vault
	org   connection.Store // acme's
}

func newReplica[O storetest.ExecutorOrg](t *testing.T, db storetest.Executor[O], kek seal.Key, hook storetest.Hook) replica {
	t.Helper()
	faulty := &storetest.FaultyExecutor[O]{Store: db, Hook: hook}
	safe, err := vault.Open(vault.Config{Key: kek, Org: func(id delegation.OrgID) vault.DataKeyStore { return faulty.Org(id) }})
	must(t, err)
	keys, err := vault.NewRotator(safe, func(id delegation.OrgID) vault.RotateStore { return faulty.Org(id) })
	must(t, err)
	catalog, err := connection.NewCatalog(connection.CatalogConfig{
		Org: func(id delegation.OrgID) connection.ProviderStore { return faulty.Org(id) },
	})
	must(t, err)
	links, err := connection.NewLinks(connection.LinksConfig{
		Org: func(id delegation.OrgID) connection.Store { return faulty.Org(id) }, Providers: catalog, Vault: safe, Now: time.Now,
	})
	must(t, err)
	trail, err := audit.Open(audit.Config{Store: faulty})
	must(t, err)
	t.Cleanup(func() { _ = trail.Close(context.Background()) })
	events, err := executor.NewEvents(func(id delegation.OrgID) executor.EventStore { return faulty.Org(id) })
	must(t, err)
	webhooks, err := notify.NewWebhooks(notify.WebhooksConfig{
		Org: func(id delegation.OrgID) notify.Puts { return faulty.Org(id) }, Vault: safe, AllowLoopback: true, Now: time.Now,
		Send: notify.Sender{Vault: safe, HTTP: egress.NewClient(egress.Config{AllowPrivate: egress.Loopback(), Timeout: notify.Timeout})},
	})
	must(t, err)
	admin, err := executor.NewAdmin(executor.AdminConfig{
		Clients: new(connection.Clients), Themes: connection.Themes{Org: func(id delegation.OrgID) connection.ThemeStore { return faulty.Org(id) }, Now: time.Now}, Accounts: nobody{}, Release: nobody{}, Providers: catalog, Links: links, Keys: keys, Events: events, Webhooks: webhooks, Audit: trail, Now: time.Now})
	must(t, err)
	who := delegation.Administrator{Subject: "operator:credential", OrgID: store.PlatformOrg, Role: policy.RoleOperator}
	return replica{admin.As(who), links, safe, faulty.Org("acme")}
}

// put stores a secret under an id, whatever is in force.
func (r replica) put(ctx context.Context, id, secret string) error {
	p, err := r.links.Propose(ctx, "acme", connection.Link{
		ID: id, Provider: "github", Pattern: connection.APIKey, Subject: "user:acme/okta|alice",
		Credential: vault.NewCredential("", []byte(secret)),
	})
	if err != nil {
		return err
	}
	return r.links.Put(ctx, "acme", p)
}

// secret is what a connection holds, read as a call reads it: once more when it was written between the look and the opening.
func (r replica) secret(ctx context.Context, id string) (secret string, err error) {
	for version := int64(0); ; {
		c, err := r.org.Connection(ctx, id)
		if err != nil {
			return "", err
		}
		err = r.vault.Use(ctx, "acme", c, func(c vault.Credential) error {
			secret = string(c.Reveal())
			return nil
		})
		if err == nil || !errors.Is(err, vault.ErrOpen) || c.Version == version {
			return secret, err
		}
		version = c.Version
	}
}

func (r replica) rotate(ctx context.Context) error {
	_, err := r.admin.RotateDataKey(ctx, executor.RotateDataKeyRequest{Org: "acme", Told: func(int, int) {}})
	return err
}

// TestRotationConverges: two who rotate an org's data key and crash wherever the store is called, among administrators who write and
// callers who borrow at other replicas. Every credential opens at every moment, none is lost or turned back, and in the end nothing is
// sealed with the key of before, on both engines.
func TestRotationConverges(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T, seed uint64){
		"sqlite": func(t *testing.T, seed uint64) {
			db, err := sqlite.OpenExecutor(t.Context(), filepath.Join(t.TempDir(), "executor.db"))
			must(t, err)
			defer db.Close()
			rotationConverges(t, db, seed)
		},
		"postgres": func(t *testing.T, seed uint64) {
			db, err := postgres.OpenExecutor(t.Context(), pgtest.DSN(t))
			must(t, err)
			defer db.Close()
			rotationConverges(t, db, seed)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 2 {
				seed := rand.Uint64()
				t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { open(t, seed) })
			}
		})
	}
}

// crashes are faults at random calls of those that a rotation makes.
type crashes struct {
	mu    sync.Mutex
	dice  *rand.Rand
	n     atomic.Int64
	paces chan struct{} // of the others: about a step of theirs for each call, so that they are always between two, and do not spin
}

var errCrash = errors.New("crashed")

func (c *crashes) hook(storetest.Call) (f storetest.Fault) {
	select {
	case c.paces <- struct{}{}:
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.dice.IntN(80) {
	case 0:
		f.Before = errCrash
	case 1:
		f.After = errCrash
	default:
		return f
	}
	c.n.Add(1)
	return f
}

func rotationConverges[O storetest.ExecutorOrg](t *testing.T, db storetest.Executor[O], seed uint64) {
	ctx := t.Context()
	kek, err := seal.NewDataKey()
	must(t, err)
	sound := newReplica(t, db, kek, nil)
	const connections = 102 // two pages of a walk
	secrets := make([]atomic.Pointer[string], connections)
	ids := make([]string, connections)
	for i := range ids {
		ids[i] = fmt.Sprintf("c-%03d", i)
		secret := canary + ids[i]
		must(t, sound.put(ctx, ids[i], secret))
		secrets[i].Store(&secret)
	}
	org := db.Org("acme")
	client := store.Client{Name: "google", ClientID: "x", Version: 1}
	client.Sealed, err = sound.vault.Seal(ctx, "acme", vault.ForClient("google"), 1, vault.NewCredential("", []byte(canary)))
	must(t, err)
	must(t, org.PutClient(ctx, client))
	attempt := store.Authorization{ID: "a", Version: 1, Expires: time.Now().Add(time.Hour)}
	attempt.Sealed, err = sound.vault.Seal(ctx, "acme", vault.ForAuthorization("a"), 1, vault.NewCredential("", []byte(canary)))
	must(t, err)
	must(t, org.PutAuthorization(ctx, attempt))
	hook := store.Webhook{Version: 1}
	hook.Sealed, err = sound.vault.Seal(ctx, "acme", vault.ForWebhook, 1, vault.NewCredential("", []byte(canary)))
	must(t, err)
	must(t, org.PutWebhook(ctx, hook))
	const sealed = connections + 3
	before, err := sound.admin.Vault(ctx, "acme")
	must(t, err)

	var busy, done sync.WaitGroup
	stop := make(chan struct{})
	c := &crashes{dice: rand.New(rand.NewPCG(seed, 1)), paces: make(chan struct{}, 4)}
	until := func(f func(n int, dice *rand.Rand)) {
		dice := rand.New(rand.NewPCG(seed, rand.Uint64()))
		busy.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-c.paces:
					f(n, dice)
				}
			}
		})
	}
	writer := newReplica(t, db, kek, nil)
	until(func(n int, dice *rand.Rand) { // the only writer of the even ones
		i := 2 * dice.IntN(connections/2)
		secret := fmt.Sprintf("%s-%s-%d", canary, ids[i], n)
		switch err := writer.put(ctx, ids[i], secret); {
		case err == nil:
			secrets[i].Store(&secret)
		case !errors.Is(err, store.ErrConflict): // a rotation was faster; it is tried again with what follows
			t.Error(err)
		}
	})
	caller := newReplica(t, db, kek, nil)
	var borrowed atomic.Int64
	until(func(_ int, dice *rand.Rand) {
		i := dice.IntN(connections)
		got, err := caller.secret(ctx, ids[i])
		if err != nil || !strings.HasPrefix(got, canary) {
			t.Errorf("%s does not open: %q, %v", ids[i], got, err)
		}
		if i%2 == 1 && got != *secrets[i].Load() {
			t.Errorf("%s holds %q", ids[i], got)
		}
		borrowed.Add(1)
	})
	for range 2 {
		done.Go(func() {
			for { // a new process after each crash
				err := newReplica(t, db, kek, c.hook).rotate(ctx)
				if refused, ok := errors.AsType[*executor.Error](err); ok && refused.Reason != executor.DependencyUnavailable {
					t.Errorf("%v", err)
				}
				if err == nil || ctx.Err() != nil {
					return
				}
			}
		})
	}
	done.Wait()
	close(stop)
	busy.Wait()
	must(t, sound.rotate(ctx)) // what the last of the two left, or once more
	after, err := sound.admin.Vault(ctx, "acme")
	if err != nil || len(after.Keys) != 1 || after.Keys[0] == before.Keys[0] || after.Sealed[after.Keys[0]] != sealed || len(after.Sealed) != 1 {
		t.Errorf("it stands at %+v, %v", after, err)
	}
	for i, id := range ids {
		if got, err := sound.secret(ctx, id); err != nil || got != *secrets[i].Load() {
			t.Errorf("%s holds %q, %v; want %q", id, got, err, *secrets[i].Load())
		}
	}
	client, err = org.Client(ctx, "google")
	must(t, err)
	attempt, err = org.Authorization(ctx, "a")
	must(t, err)
	if attempt.Version != 1 {
		t.Errorf("the attempt has version %d: whoever takes its next step is refused", attempt.Version)
	}
	hook, err = org.Webhook(ctx)
	must(t, err)
	for _, c := range []store.Connection{
		{ID: vault.ForWebhook, Version: 1, Sealed: hook.Sealed},
		{ID: vault.ForClient("google"), Version: client.Version, Sealed: client.Sealed},
		{ID: vault.ForAuthorization("a"), Version: attempt.Version, Sealed: attempt.Sealed},
	} {
		if err := sound.vault.Use(ctx, "acme", c, func(vault.Credential) error { return nil }); err != nil {
			t.Error(err)
		}
	}
	if c.n.Load() == 0 || borrowed.Load() == 0 {
		t.Errorf("%d crashes, %d credentials borrowed: nothing was shown", c.n.Load(), borrowed.Load())
	}
	t.Logf("%d crashes, %d credentials borrowed meanwhile", c.n.Load(), borrowed.Load())
}

// TestRotationChangesTheSealAlone: a revocation ends what was put before it, so a connection must not look newer for having been
// sealed again. The trail has both steps before they are made.
func TestRotationChangesTheSealAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	org := r.db.Org("acme")
	before, err := org.Connection(ctx, "alice")
	must(t, err)
	row, err := org.DataKey(ctx)
	must(t, err)
	changes, err := r.admin.RotateDataKey(ctx, executor.RotateDataKeyRequest{Org: "acme", Told: func(int, int) {}})
	if err != nil || len(changes) != 1 {
		t.Fatal(changes, err)
	}
	after, err := org.Connection(ctx, "alice")
	must(t, err)
	if bytes.Equal(after.Sealed, before.Sealed) || after.Version != before.Version+1 {
		t.Errorf("from %+v to %+v", before, after)
	}
	after.Sealed, after.Version = before.Sealed, before.Version
	if fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("from %+v to %+v", before, after)
	}
	if r.onDisk(t, row.Sealed) {
		t.Error("the data key of before is still on disk")
	}
	var said []string
	stored, err := org.AuditRecords(ctx, store.AuditQuery{Limit: 1000})
	must(t, err)
	for _, s := range stored {
		rec, err := audit.Decode(s)
		must(t, err)
		if strings.Contains(rec.Detail, "data key") {
			said = append(said, rec.Outcome+": "+rec.Detail)
		}
	}
	if len(said) != 2 || !strings.HasSuffix(said[0], "seals from now on") || !strings.Contains(said[1], ": drop data key") ||
		!strings.Contains(said[1], "2 credentials") {
		t.Errorf("on record: %q", said)
	}
}

// TestRotationOfNothing: an org without a data key has nothing to rotate, and gets none by it.
func TestRotationOfNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	must(t, r.db.Org("acme").DeleteDataKey(t.Context()))
	changes, err := r.admin.RotateDataKey(t.Context(), executor.RotateDataKeyRequest{Org: "acme", Told: func(int, int) {}})
	if err != nil || len(changes) != 0 {
		t.Errorf("%v, %v", changes, err)
	}
	s, err := r.admin.Vault(t.Context(), "acme")
	if err != nil || len(s.Keys) != 0 || s.Destroyed() != 2 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestRotationKeepsWhatDoesNotOpen: a credential that does not open keeps its key, and the operator hears which it is.
func TestRotationKeepsWhatDoesNotOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, org := t.Context(), r.db.Org("acme")
	c, err := org.Connection(ctx, "bob")
	must(t, err)
	c.Version++ // bound to the version before
	must(t, org.PutConnection(ctx, c, c.Status))
	rotate := func() error {
		_, err := r.admin.RotateDataKey(ctx, executor.RotateDataKeyRequest{Org: "acme", Told: func(int, int) {}})
		return err
	}
	for range 2 {
		refused, ok := errors.AsType[*executor.Error](rotate())
		if !ok || refused.Reason != executor.InvalidRequest || !strings.Contains(refused.Description, `"bob"`) {
			t.Errorf("%v", refused)
		}
	}
	s, err := r.admin.Vault(ctx, "acme")
	if err != nil || len(s.Keys) != 2 || s.Left() != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	must(t, org.DeleteConnection(ctx, "bob", 0, time.Now()))
	must(t, rotate())
	if s, err = r.admin.Vault(ctx, "acme"); err != nil || len(s.Keys) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestCallAcrossARotation: a call that has read its connection, and whose data key is replaced before it borrows the credential, is
// made all the same; one whose connection was changed in more than its seal is not.
func TestCallAcrossARotation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	between := func(f func()) { // after the connection was chosen, before the credential is borrowed
		var once sync.Once
		r.faults(func(c storetest.Call) storetest.Fault {
			if c.Method == "AppendAudit" {
				once.Do(f)
			}
			return storetest.Fault{}
		})
	}
	token := r.token(t, "tracker:read tracker:write")
	other := newReplica(t, r.db, r.kek, nil)
	between(func() { must(t, other.rotate(ctx)) })
	got, err := r.execute(ctx, token, executor.Request{Tool: "tracker.create", Arguments: []byte(create)})
	if err != nil || got.Result == nil {
		t.Errorf("across a rotation: %+v, %v", got.Error, err)
	}
	between(func() {
		must(t, other.rotate(ctx))
		c, err := r.db.Org("acme").Connection(ctx, "alice")
		must(t, err)
		must(t, other.links.End(ctx, "acme", c, "it was revoked"))
	})
	got, err = r.execute(ctx, token, executor.Request{Tool: "tracker.create", Arguments: []byte(create)})
	if err != nil || got.Error == nil || len(r.calls()) != 1 {
		t.Errorf("across a rotation and an end: %+v, %v", got, err)
	}
}

// TestShredOfARunningExecutor: crypto-shredding. After it no call of the org spends anything, the data key is not in the database's
// files any more, and another org does not notice.
func TestShredOfARunningExecutor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	must(t, newReplica(t, r.db, r.kek, nil).rotate(ctx)) // a key that was rotated goes like any other
	row, err := r.db.Org("acme").DataKey(ctx)
	must(t, err)
	if !r.onDisk(t, row.Sealed) {
		t.Fatal("the data key is not on disk: the test would show nothing")
	}
	conn, err := r.db.Org("acme").Connection(ctx, "alice")
	must(t, err)
	mine := r.token(t, "tracker:read tracker:write")
	theirs := r.token(t, "tracker:read tracker:write", func(c *delegation.Claims) {
		c.OrgID, c.Subject, c.ClientID = "globex", "user:globex/okta|alice", "globex.researcher"
		c.Actor = &delegation.Actor{Issuer: c.Actor.Issuer, Subject: "agent:globex/researcher"}
	})
	for _, token := range []string{mine, theirs} {
		got, err := r.execute(ctx, token, executor.Request{Tool: "tracker.create", Arguments: []byte(create)})
		if err != nil || got.Result == nil {
			t.Fatalf("before: %+v, %v", got.Error, err)
		}
	}
	lost, err := r.admin.ShredOrg(ctx, "acme", false)
	if err != nil || lost != 2 {
		t.Fatal(lost, err)
	}
	if r.onDisk(t, row.Sealed) {
		t.Error("the data key is still on disk")
	}
	calls := len(r.calls())
	for _, v := range []replica{newReplica(t, r.db, r.kek, nil), newReplica(t, r.db, r.kek, nil)} {
		err := v.vault.Use(ctx, "acme", conn, func(vault.Credential) error { return nil })
		if !errors.Is(err, vault.ErrDestroyed) {
			t.Errorf("another process: %v", err)
		}
	}
	if got, err := r.execute(ctx, mine, executor.Request{Tool: "tracker.create", Arguments: []byte(create)}); got.Result != nil || len(r.calls()) != calls {
		t.Errorf("a call was made: %+v, %v", got, err)
	}
	if got, err := r.execute(ctx, theirs, executor.Request{Tool: "tracker.create", Arguments: []byte(create)}); err != nil || got.Result == nil {
		t.Errorf("another org: %+v, %v", got.Error, err)
	}
}

// onDisk reports whether bytes are in a file of the database.
func (r *rig) onDisk(t *testing.T, want []byte) (found bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, "*"))
	must(t, err)
	for _, name := range files {
		data, err := os.ReadFile(name)
		must(t, err)
		found = found || bytes.Contains(data, want)
	}
	return found
}
