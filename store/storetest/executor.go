package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// RunExecutor holds an executor's store to the contract.
func RunExecutor[O ExecutorOrg](t *testing.T, fresh Fresh[Executor[O]]) {
	open := fresh(t)
	a, b := handle(t, open), handle(t, open) // two replicas
	for name, f := range map[string]func(t *testing.T, a, b Executor[O]){
		"data key":          testDataKey[O],
		"dropped data key":  testDropDataKey[O],
		"dropped for all":   testDropEverywhere[O],
		"drop race":         testDropRace[O],
		"connections":       testConnections[O],
		"connections for":   testConnectionsFor[O],
		"connection race":   testConnectionRace[O],
		"providers":         testProviders[O],
		"connection events": testConnectionEvents[O],
		"service accounts":  testServiceAccounts[O],
		"refreshes":         testRefreshes[O],
		"clients":           testClients[O],
		"authorizations":    testAuthorizations[O],
		"webhook":           testWebhook[O],
		"theme":             testTheme[O],
		"delivery":          testDelivery[O],
		"single use":        func(t *testing.T, a, b Executor[O]) { testConsume(t, a.Org("consume"), b.Org("consume")) },
		"orgs are apart":    testExecutorApart[O],
		"audit":             func(t *testing.T, a, b Executor[O]) { testAudit(t, executorTrail(a), executorTrail(b)) },
		"audit in order":    func(t *testing.T, a, b Executor[O]) { testAuditInOrder(t, executorTrail(a), executorTrail(b)) },
		"audit all or not":  func(t *testing.T, a, b Executor[O]) { testAuditAtomic(t, executorTrail(a)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, a, b)
		})
	}
	for name, f := range map[string]func(t *testing.T, open Open[Executor[O]]){
		"orgs":   testExecutorOrgs[O],
		"purge":  testPurgeExecutor[O],
		"reopen": testReopenExecutor[O],
		"pages":  testConnectionPages[O],
		"due":    testDueConnections[O],
		"told":   testDueWebhooks[O],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, fresh(t))
		})
	}
}

func connection(id string, version int64) store.Connection {
	return store.Connection{
		ID: id, Provider: "github", Pattern: "api_key", Subject: "user:acme/okta|1", Status: "active", StatusReason: "because",
		Version: version, Sealed: []byte{0, 255, byte(version)}, Created: at(1), Updated: at(int(version)),
		Account: "alice@acme.example", Hint: "…9f3a", Scopes: []string{"a b", "ü"}, Settings: map[string]string{"host": "x"},
		Expires: at(100 + int(version)), Renew: at(90),
	}
}

func testDataKey[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx, org := t.Context(), a.Org("data-key")
	_, err := org.DataKey(ctx)
	is(t, err, store.ErrNotFound)
	is(t, org.DeleteDataKey(ctx), store.ErrNotFound)
	ok(t, org.CreateDataKey(ctx, store.DataKey{Sealed: []byte("one"), Version: 7}))
	is(t, b.Org("data-key").CreateDataKey(ctx, store.DataKey{Sealed: []byte("two"), Version: 8}), store.ErrConflict)
	equal(t, got(b.Org("data-key").DataKey(ctx))(t), store.DataKey{Sealed: []byte("one"), Version: 7})
	is(t, org.ResealDataKey(ctx, []byte("stale"), []byte("again")), store.ErrConflict)
	ok(t, org.ResealDataKey(ctx, []byte("one"), []byte("again")))
	equal(t, got(b.Org("data-key").DataKey(ctx))(t), store.DataKey{Sealed: []byte("again"), Version: 7})
	ok(t, org.DeleteDataKey(ctx))
	is(t, org.ResealDataKey(ctx, []byte("again"), []byte("back")), store.ErrConflict) // a shredded key does not come back
	_, err = b.Org("data-key").DataKey(ctx)
	is(t, err, store.ErrNotFound)

	// Two replicas that both make an org's first key: what one of them seals must not be lost.
	replicas := []O{org, b.Org("data-key")}
	race(t, 50, func(i int) error {
		return replicas[i%2].CreateDataKey(ctx, store.DataKey{Sealed: []byte{byte(i)}, Version: 1})
	})
}

// sealedBy makes a connection's credential one that a key has sealed, and answers with what it begins with.
func sealedBy(c *store.Connection, key byte) (prefix []byte) {
	c.Sealed = []byte{1, 0, 0, 0, key, 's'}
	return slices.Clone(c.Sealed[:5])
}

func testDropDataKey[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx, org, other := t.Context(), a.Org("drop"), b.Org("drop")
	c := connection("c", 1)
	first := sealedBy(&c, 1)
	is(t, org.DropDataKey(ctx, []byte("both"), []byte("second"), first), store.ErrConflict)
	ok(t, org.CreateDataKey(ctx, store.DataKey{Sealed: []byte("both"), Version: 7}))
	ok(t, other.PutConnection(ctx, c, c.Status))
	is(t, org.DropDataKey(ctx, []byte("both"), []byte("second"), first), store.ErrConflict) // it would be lost
	equal(t, got(org.DataKey(ctx))(t), store.DataKey{Sealed: []byte("both"), Version: 7})
	c.Version = 2
	second := sealedBy(&c, 2)
	ok(t, other.PutConnection(ctx, c, c.Status))
	is(t, org.DropDataKey(ctx, []byte("stale"), []byte("second"), first), store.ErrConflict)
	ok(t, org.DropDataKey(ctx, []byte("both"), []byte("second"), first))
	equal(t, got(other.DataKey(ctx))(t), store.DataKey{Sealed: []byte("second"), Version: 7})

	// A writer that has sealed before and stores now: with an update, and with a new connection.
	late := c
	late.Version = 3
	sealedBy(&late, 1)
	is(t, other.PutConnection(ctx, late, late.Status), store.ErrConflict)
	late.ID, late.Version = "new", 1
	is(t, other.PutConnection(ctx, late, late.Status), store.ErrConflict)
	equal(t, got(org.Connections(ctx, "", 10))(t), []store.Connection{c})
	c.Version = 3
	ok(t, other.PutConnection(ctx, c, c.Status))
	c.Version, c.Sealed = 4, nil // ended: it has none
	ok(t, other.PutConnection(ctx, c, c.Status))
	ok(t, org.DropDataKey(ctx, []byte("second"), []byte("none"), second))
	ok(t, org.DropDataKey(ctx, []byte("none"), []byte("again"), second)) // what is dropped may be dropped again
}

// testDropEverywhere: what is sealed with data keys besides credentials holds a drop up too, and is not stored after it.
func testDropEverywhere[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx := t.Context()
	var c store.Connection
	prefix := sealedBy(&c, 1)
	client, attempt := store.Client{Name: "google", Version: 1, Sealed: c.Sealed}, authorization("a", 1)
	attempt.Sealed = c.Sealed
	hook := store.Webhook{Version: 1, Sealed: c.Sealed}
	for name, put := range map[string]struct{ store, free, again func(O) error }{
		"drop-client": {
			func(o O) error { return o.PutClient(ctx, client) },
			func(o O) error { return o.DeleteClient(ctx, client.Name, 1) },
			func(o O) error { return o.PutClient(ctx, client) },
		},
		"drop-attempt": {
			func(o O) error { return o.PutAuthorization(ctx, attempt) },
			func(o O) error { return o.ResealAuthorization(ctx, "a", attempt.Sealed, []byte("again")) },
			func(o O) error { return o.ResealAuthorization(ctx, "a", []byte("again"), attempt.Sealed) },
		},
		"drop-webhook": {
			func(o O) error { return o.PutWebhook(ctx, hook) },
			func(o O) error { return o.ResealWebhook(ctx, hook.Sealed, []byte("again")) },
			func(o O) error { return o.ResealWebhook(ctx, []byte("again"), hook.Sealed) },
		},
	} {
		org, other := a.Org(delegation.OrgID(name)), b.Org(delegation.OrgID(name))
		ok(t, org.CreateDataKey(ctx, store.DataKey{Sealed: []byte("both"), Version: 1}))
		ok(t, put.store(other))
		is(t, org.DropDataKey(ctx, []byte("both"), []byte("second"), prefix), store.ErrConflict)
		ok(t, put.free(other))
		ok(t, org.DropDataKey(ctx, []byte("both"), []byte("second"), prefix))
		is(t, put.again(other), store.ErrConflict)
	}
}

// testDropRace: of a writer that has sealed with a key and one who drops the key, one succeeds, and never both.
func testDropRace[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx := t.Context()
	for i := range 40 {
		id := delegation.OrgID(fmt.Sprintf("drop-race-%d", i))
		ok(t, a.Org(id).CreateDataKey(ctx, store.DataKey{Sealed: []byte("both"), Version: 1}))
		c := connection("c", 1)
		prefix := sealedBy(&c, 1)
		race(t, 2, func(who int) error {
			if who == 0 {
				return a.Org(id).PutConnection(ctx, c, c.Status)
			}
			return b.Org(id).DropDataKey(ctx, []byte("both"), []byte("second"), prefix)
		})
	}
}

func testConnections[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx, org := t.Context(), a.Org("connections")
	_, err := org.Connection(ctx, "c")
	is(t, err, store.ErrNotFound)
	is(t, org.DeleteConnection(ctx, "c", 0, at(9)), store.ErrNotFound)
	is(t, org.DeleteConnection(ctx, "c", 1, at(9)), store.ErrNotFound)
	equal(t, got(org.Connections(ctx, "", 100))(t), nil)
	is(t, org.PutConnection(ctx, connection("c", 2), ""), store.ErrConflict)
	is(t, org.PutConnection(ctx, connection("c", 0), ""), store.ErrConflict)
	ok(t, org.PutConnection(ctx, connection("c", 1), ""))
	is(t, org.PutConnection(ctx, connection("c", 1), ""), store.ErrConflict)
	is(t, org.PutConnection(ctx, connection("c", 3), ""), store.ErrConflict)
	equal(t, got(b.Org("connections").Connection(ctx, "c"))(t), connection("c", 1))
	second := connection("c", 2)
	second.Status, second.Sealed = "revoked", nil
	ok(t, b.Org("connections").PutConnection(ctx, second, ""))
	equal(t, got(org.Connection(ctx, "c"))(t), second)

	ok(t, org.PutConnection(ctx, connection("C", 1), "")) // another id
	ok(t, org.PutConnection(ctx, connection("a", 1), ""))
	equal(t, got(org.Connections(ctx, "", 100))(t), []store.Connection{connection("C", 1), connection("a", 1), second})
	read := got(org.Connection(ctx, "a"))(t)
	read.Sealed[0] = 9 // a copy
	equal(t, got(org.Connection(ctx, "a"))(t), connection("a", 1))
	is(t, b.Org("connections").DeleteConnection(ctx, "c", 1, at(9)), store.ErrConflict) // that version is gone
	equal(t, got(org.Connection(ctx, "c"))(t), second)
	ok(t, org.DeleteConnection(ctx, "c", 2, at(9)))
	is(t, org.DeleteConnection(ctx, "c", 0, at(9)), store.ErrNotFound)
	is(t, org.PutConnection(ctx, connection("c", 3), ""), store.ErrConflict) // a writer that did not see the deletion
	equal(t, len(got(org.Connections(ctx, "", 100))(t)), 2)
}

func testConnectionsFor[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx, org := t.Context(), a.Org("connections-for")
	const alice, bob = "user:acme/okta|alice", "user:acme/okta|bob"
	put := func(id, provider, subject string) store.Connection {
		c := connection(id, 1)
		c.Provider, c.Subject = provider, subject
		ok(t, org.PutConnection(ctx, c, ""))
		return c
	}
	b1 := put("b", "github", alice)
	a1 := put("a", "github", alice)
	shared := put("aa", "github", "")
	capital := put("C", "GitHub", "user:acme/okta|ALICE") // ids are compared byte for byte
	bobs := put("bobs", "github", bob)
	other := put("other", "slack", alice)
	for _, c := range []struct {
		provider, subject string
		want              []store.Connection
	}{
		{"github", alice, []store.Connection{a1, shared, b1}},
		{"github", bob, []store.Connection{shared, bobs}},
		{"github", "", []store.Connection{shared}}, // no subject is not everybody
		{"github", "%", []store.Connection{shared}},
		{"slack", alice, []store.Connection{other}},
		{"slack", bob, nil},
		{"GitHub", "user:acme/okta|ALICE", []store.Connection{capital}},
		{"", alice, nil},
	} {
		equal(t, got(b.Org("connections-for").ConnectionsFor(ctx, c.provider, c.subject))(t), c.want)
	}
	moved := bobs
	moved.Subject, moved.Version = alice, 2
	ok(t, org.PutConnection(ctx, moved, ""))
	ok(t, org.DeleteConnection(ctx, "a", 0, at(9)))
	equal(t, got(org.ConnectionsFor(ctx, "github", alice))(t), []store.Connection{shared, b1, moved})
	equal(t, got(org.ConnectionsFor(ctx, "github", bob))(t), []store.Connection{shared})

	full := a.Org("connections-full")
	for i := range store.MaxPage + 1 {
		ok(t, full.PutConnection(ctx, connection(fmt.Sprintf("c-%04d", i), 1), ""))
	}
	page := got(full.ConnectionsFor(ctx, connection("", 1).Provider, connection("", 1).Subject))(t)
	if len(page) != store.MaxPage || page[0].ID != "c-0000" || page[store.MaxPage-1].ID != fmt.Sprintf("c-%04d", store.MaxPage-1) {
		t.Errorf("%d connections, want the first %d", len(page), store.MaxPage)
	}
}

func testConnectionRace[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx, replicas := t.Context(), []O{a.Org("connection-race"), b.Org("connection-race")}
	for version := range int64(2) {
		race(t, 50, func(i int) error {
			c := connection("c", version+1)
			c.Status = fmt.Sprint(i)
			return replicas[i%2].PutConnection(ctx, c, "")
		})
	}
}

func testProviders[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx, org := t.Context(), a.Org("providers")
	equal(t, got(org.Providers(ctx))(t), nil)
	records := []store.ProviderRecord{{Name: "B.yaml", Text: []byte("b: 1\n")}, {Name: "a.yaml", Text: []byte("a: 1\n")}}
	ok(t, org.PutProviders(ctx, nil, records))
	equal(t, got(b.Org("providers").Providers(ctx))(t), records) // byte order
	twice := []store.ProviderRecord{{Name: "x"}, {Name: "x"}}
	is(t, org.PutProviders(ctx, records, twice), store.ErrConflict)
	for _, seen := range [][]store.ProviderRecord{nil, records[:1], {records[0], {Name: "a.yaml", Text: []byte("a: 2\n")}}} {
		is(t, b.Org("providers").PutProviders(ctx, seen, nil), store.ErrConflict) // somebody else's set is in force
	}
	equal(t, got(org.Providers(ctx))(t), records) // and it changed nothing
	ok(t, org.PutProviders(ctx, records, records[1:]))
	equal(t, got(org.Providers(ctx))(t), records[1:])
	ok(t, org.PutProviders(ctx, records[1:], nil))
	equal(t, got(org.Providers(ctx))(t), nil)

	// Of many who saw the same set, one replaces it.
	replicas := []O{org, b.Org("providers")}
	race(t, 50, func(i int) error {
		return replicas[i%2].PutProviders(ctx, nil, []store.ProviderRecord{{Name: fmt.Sprint(i), Text: []byte("x: 1\n")}})
	})
}

func testExecutorOrgs[O ExecutorOrg](t *testing.T, open Open[Executor[O]]) {
	ctx, e := t.Context(), handle(t, open)
	cancelled(t, e)
	cancelled(t, e.Org("cancelled"))
	equal(t, got(e.Orgs(ctx))(t), nil) // a context that had ended changed nothing
	ok(t, e.Org("cancelled").Consume(ctx, [32]byte{}, at(1)))
	ok(t, e.Org("b").CreateDataKey(ctx, store.DataKey{}))
	ok(t, e.Org("a").PutConnection(ctx, connection("c", 1), ""))
	ok(t, e.Org("B").PutProviders(ctx, nil, []store.ProviderRecord{{Name: "x"}}))
	ok(t, e.Org("b").PutConnection(ctx, connection("c", 1), ""))
	equal(t, got(e.Orgs(ctx))(t), []delegation.OrgID{"B", "a", "b"})
	ok(t, e.Ping(ctx))
}

// A method that returned nil has made its write durable.
func testReopenExecutor[O ExecutorOrg](t *testing.T, open Open[Executor[O]]) {
	ctx, e := t.Context(), handle(t, open)
	org := e.Org("reopen")
	ok(t, org.CreateDataKey(ctx, store.DataKey{Sealed: []byte("k"), Version: 1}))
	ok(t, org.PutConnection(ctx, connection("c", 1), ""))
	ok(t, org.PutProviders(ctx, nil, []store.ProviderRecord{{Name: "x", Text: []byte("y")}}))
	ok(t, org.Consume(ctx, key(1), at(1)))
	ok(t, e.AppendAudit(ctx, []store.AuditRecord{{Org: "reopen", ActionID: "a"}}))
	ok(t, errors.Join(e.Close(), e.Close())) // closing twice is no error

	org = handle(t, open).Org("reopen")
	equal(t, got(org.DataKey(ctx))(t), store.DataKey{Sealed: []byte("k"), Version: 1})
	is(t, org.Consume(ctx, key(1), at(1)), store.ErrConflict)
	equal(t, got(org.Connection(ctx, "c"))(t), connection("c", 1))
	equal(t, got(org.Providers(ctx))(t), []store.ProviderRecord{{Name: "x", Text: []byte("y")}})
	equal(t, len(got(org.AuditRecords(ctx, store.AuditQuery{Limit: 9}))(t)), 1)
}
