package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// Events are numbered without gaps, and there is one for each change of status and for no other change.
func testConnectionEvents[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx, org, replica := t.Context(), a.Org("events"), b.Org("events")
	equal(t, got(org.ConnectionEvents(ctx, 0, 10))(t), nil)
	c := connection("c", 1)
	ok(t, org.PutConnection(ctx, c, ""))
	is(t, org.PutConnection(ctx, c, ""), store.ErrConflict) // and no event
	c.Version, c.Status = 2, "revoked"
	ok(t, replica.PutConnection(ctx, c, "active"))
	c.Version = 3
	ok(t, org.PutConnection(ctx, c, "revoked")) // no change of status
	is(t, org.DeleteConnection(ctx, "c", 2, at(8)), store.ErrConflict)
	ok(t, replica.DeleteConnection(ctx, "c", 3, at(9)))
	event := func(n uint64, before, after, reason string, when time.Time) store.ConnectionEvent {
		return store.ConnectionEvent{
			Sequence: n, Connection: "c", Provider: c.Provider, Subject: c.Subject, Before: before, After: after, Reason: reason, Time: when,
		}
	}
	want := []store.ConnectionEvent{
		event(1, "", "active", "because", at(1)), event(2, "active", "revoked", "because", at(1)), event(3, "revoked", "", "", at(9)),
	}
	equal(t, got(replica.ConnectionEvents(ctx, 0, 10))(t), want)
	equal(t, got(org.ConnectionEvents(ctx, 1, 1))(t), want[1:2])
	equal(t, got(org.ConnectionEvents(ctx, 3, 10))(t), nil)

	// Many at once: no number twice, none left out.
	replicas := []O{a.Org("events-race"), b.Org("events-race")}
	done := make(chan error)
	for i := range 20 {
		go func() { done <- replicas[i%2].PutConnection(ctx, connection(fmt.Sprintf("c%d", i), 1), "") }()
	}
	for range 20 {
		ok(t, <-done)
	}
	for i, e := range got(replicas[0].ConnectionEvents(ctx, 0, 100))(t) {
		equal(t, e.Sequence, uint64(i+1))
	}
}

// An org has one service account at a provider, by construction.
func testServiceAccounts[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx := t.Context()
	service := func(id string) store.Connection {
		c := connection(id, 1)
		c.Pattern = "service_account"
		return c
	}
	ok(t, a.Org("service").PutConnection(ctx, service("one"), ""))
	is(t, b.Org("service").PutConnection(ctx, service("two"), ""), store.ErrConflict)
	ok(t, b.Org("service").PutConnection(ctx, connection("two", 1), "")) // of another pattern
	ok(t, b.Org("service2").PutConnection(ctx, service("two"), ""))      // of another org
}

// One at a time refreshes a connection, each with a larger number, and what a holder left unsettled comes to the next.
func testRefreshes[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx, org, replica := t.Context(), a.Org("refreshes"), b.Org("refreshes")
	first := got(org.AcquireRefresh(ctx, "c", at(1), at(3)))(t)
	equal(t, first.Fence, 1)
	equal(t, len(first.Spent), 0)
	_, err := replica.AcquireRefresh(ctx, "c", at(2), at(5))
	is(t, err, store.ErrConflict)
	got(replica.AcquireRefresh(ctx, "other", at(2), at(5)))(t)
	ok(t, org.SpendRefresh(ctx, first, []byte("token"), at(2)))
	second := got(replica.AcquireRefresh(ctx, "c", at(3), at(5)))(t) // the first holder's time is over
	equal(t, second, store.Refreshing{Connection: "c", Fence: 2, Until: at(5), Spent: []byte("token"), SpentAt: at(2)})
	is(t, org.SpendRefresh(ctx, first, []byte("again"), at(3)), store.ErrConflict)
	is(t, org.ReleaseRefresh(ctx, first, true), store.ErrConflict)
	ok(t, replica.ReleaseRefresh(ctx, second, false)) // nobody knows yet
	third := got(org.AcquireRefresh(ctx, "c", at(3), at(6)))(t)
	equal(t, third.Fence, 3)
	equal(t, string(third.Spent), "token")
	ok(t, org.ReleaseRefresh(ctx, third, true))
	equal(t, len(got(org.AcquireRefresh(ctx, "c", at(3), at(6)))(t).Spent), 0)

	replicas := []O{org, replica}
	race(t, 50, func(i int) error {
		_, err := replicas[i%2].AcquireRefresh(ctx, "race", at(1), at(9))
		return err
	})
}

func testClients[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx, org, replica := t.Context(), a.Org("clients"), b.Org("clients")
	client := func(name string, version int64) store.Client {
		return store.Client{
			Name: name, ClientID: "id", Settings: map[string]string{"tenant": "x"}, Version: version, Sealed: []byte{0, 1, byte(version)},
			Updated: at(int(version)),
		}
	}
	_, err := org.Client(ctx, "google")
	is(t, err, store.ErrNotFound)
	is(t, org.PutClient(ctx, client("google", 2)), store.ErrConflict)
	ok(t, org.PutClient(ctx, client("google", 1)))
	is(t, replica.PutClient(ctx, client("google", 1)), store.ErrConflict)
	equal(t, got(replica.Client(ctx, "google"))(t), client("google", 1))
	ok(t, replica.PutClient(ctx, client("google", 2)))
	ok(t, org.PutClient(ctx, client("asana", 1)))
	equal(t, got(org.Clients(ctx, "", 10))(t), []store.Client{client("asana", 1), client("google", 2)})
	equal(t, got(org.Clients(ctx, "asana", 10))(t), []store.Client{client("google", 2)})
	is(t, org.DeleteClient(ctx, "google", 1), store.ErrNotFound)
	ok(t, org.DeleteClient(ctx, "google", 2))
	is(t, org.DeleteClient(ctx, "google", 2), store.ErrNotFound)
	race(t, 20, func(i int) error { return []O{org, replica}[i%2].PutClient(ctx, client("asana", 2)) })
}

func authorization(id string, version int64) store.Authorization {
	return store.Authorization{
		ID: id, Connection: "c", Provider: "google", Subject: "user:acme/okta|1", Status: "pending", Reason: "r", Version: version,
		Scopes: []string{"a", "b"}, Agent: "agent:acme/x", Browser: []byte{1}, Sealed: []byte{2}, Created: at(1), Expires: at(2),
	}
}

func testAuthorizations[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx, org, replica := t.Context(), a.Org("authorizations"), b.Org("authorizations")
	_, err := org.Authorization(ctx, "x")
	is(t, err, store.ErrNotFound)
	is(t, org.PutAuthorization(ctx, authorization("x", 2)), store.ErrConflict)
	ok(t, org.PutAuthorization(ctx, authorization("x", 1)))
	is(t, org.PutAuthorization(ctx, authorization("x", 1)), store.ErrConflict)
	equal(t, got(replica.Authorization(ctx, "x"))(t), authorization("x", 1))
	second := authorization("x", 2)
	second.Status, second.Scopes, second.Browser, second.Sealed = "active", nil, []byte{}, []byte{}
	ok(t, replica.PutAuthorization(ctx, second))
	equal(t, got(org.Authorization(ctx, "x"))(t), second)
	race(t, 20, func(i int) error { return []O{org, replica}[i%2].PutAuthorization(ctx, authorization("x", 3)) })

	is(t, org.ResealAuthorization(ctx, "x", []byte("stale"), []byte("again")), store.ErrConflict)
	is(t, org.ResealAuthorization(ctx, "none", []byte{2}, []byte("again")), store.ErrConflict)
	ok(t, org.ResealAuthorization(ctx, "x", []byte{2}, []byte("again")))
	third := authorization("x", 3)
	third.Sealed = []byte("again")
	ok(t, org.PutAuthorization(ctx, authorization("a", 1)))
	equal(t, got(replica.Authorizations(ctx, "", 10))(t), []store.Authorization{authorization("a", 1), third})
	equal(t, got(replica.Authorizations(ctx, "", 1))(t), []store.Authorization{authorization("a", 1)})
	equal(t, got(replica.Authorizations(ctx, "a", 10))(t), []store.Authorization{third})
}

func testDueConnections[O ExecutorOrg](t *testing.T, open Open[Executor[O]]) {
	ctx, e := t.Context(), handle(t, open)
	put := func(org, id string, due time.Time) {
		c := connection(id, 1)
		c.Due = due
		ok(t, e.Org(delegation.OrgID(org)).PutConnection(ctx, c, ""))
	}
	put("a", "never", time.Time{})
	put("a", "late", at(3))
	put("b", "early", at(1))
	put("b", "soon", at(4))
	equal(t, got(e.DueConnections(ctx, at(3), 10))(t), []store.OrgConnection{{Org: "b", ID: "early"}, {Org: "a", ID: "late"}})
	equal(t, got(e.DueConnections(ctx, at(9), 1))(t), []store.OrgConnection{{Org: "b", ID: "early"}})
	equal(t, got(e.DueConnections(ctx, at(0), 10))(t), nil)
}

func testTheme[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx, org, replica := t.Context(), a.Org("theme"), b.Org("theme")
	theme := func(version int64) store.Theme {
		return store.Theme{Name: "Acme, Inc.", Accent: "#102030", Version: version, Updated: at(int(version))}
	}
	_, err := org.Theme(ctx)
	is(t, err, store.ErrNotFound)
	is(t, org.PutTheme(ctx, theme(2)), store.ErrConflict)
	ok(t, org.PutTheme(ctx, theme(1)))
	is(t, replica.PutTheme(ctx, theme(1)), store.ErrConflict)
	ok(t, replica.PutTheme(ctx, theme(2)))
	equal(t, got(org.Theme(ctx))(t), theme(2))
	race(t, 20, func(i int) error { return []O{org, replica}[i%2].PutTheme(ctx, theme(3)) })
}
