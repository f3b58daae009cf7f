package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/onbehalf/obo/store"
)

// A credential is replaced whole; one replica polls a stream until its time is up, and what is known of a stream outlives it.
func testSignals[O STSOrg](t *testing.T, a, b STS[O]) {
	ctx, org, other := t.Context(), a.Org("signals"), b.Org("signals")
	equal(t, got(org.SignalCredentials(ctx))(t), nil)
	first := store.SignalCredential{Stream: "b", Endpoint: "https://one.test", Sealed: []byte("one"), Created: at(1)}
	second := store.SignalCredential{Stream: "a", Endpoint: "https://two.test", Sealed: []byte("two"), Created: at(2)}
	head := got(a.Head(ctx))(t)
	ok(t, org.PutSignalCredential(ctx, first))
	ok(t, other.PutSignalCredential(ctx, second))
	equal(t, got(org.SignalCredentials(ctx))(t), []store.SignalCredential{second, first})
	first.Endpoint, first.Sealed = "https://three.test", []byte("three")
	ok(t, org.PutSignalCredential(ctx, first))
	ok(t, org.PutSignalCredential(ctx, store.SignalCredential{Stream: "a"}))
	ok(t, org.PutSignalCredential(ctx, store.SignalCredential{Stream: "never"}))
	equal(t, got(other.SignalCredentials(ctx))(t), []store.SignalCredential{first})

	is(t, org.ResealSignalCredential(ctx, "b", []byte("stale"), []byte("x")), store.ErrConflict)
	is(t, org.ResealSignalCredential(ctx, "a", first.Sealed, []byte("x")), store.ErrConflict) // it was forgotten
	ok(t, org.ResealSignalCredential(ctx, "b", first.Sealed, []byte("again")))
	first.Sealed = []byte("again")
	equal(t, got(other.SignalCredentials(ctx))(t), []store.SignalCredential{first})
	var told int // beside what other tests change
	for _, c := range changes(t, a, head, store.MaxPage) {
		if c.Org == "signals" && c.Kind == store.ChangeConfig {
			told++
		}
	}
	equal(t, told, 5)

	equal(t, got(org.SignalPolls(ctx))(t), nil)
	poll := func(holder string, until, succeeded, failed int, failure string) store.SignalPoll {
		p := store.SignalPoll{Stream: "b", Holder: holder, Until: at(until), Failure: failure}
		if succeeded > 0 {
			p.Succeeded = at(succeeded)
		}
		if failed > 0 {
			p.Failed = at(failed)
		}
		return p
	}
	ok(t, org.PutSignalPoll(ctx, poll("x", 10, 0, 0, ""), at(1)))
	is(t, other.PutSignalPoll(ctx, poll("y", 20, 0, 0, ""), at(10)), store.ErrConflict)
	ok(t, org.PutSignalPoll(ctx, poll("x", 15, 6, 5, "away"), at(6)))
	ok(t, org.PutSignalPoll(ctx, poll("x", 16, 4, 4, "older"), at(6)))
	equal(t, got(other.SignalPolls(ctx))(t), []store.SignalPoll{poll("x", 16, 6, 5, "away")})
	ok(t, other.PutSignalPoll(ctx, poll("y", 30, 0, 0, ""), at(17))) // x died; what it said stays
	equal(t, got(org.SignalPolls(ctx))(t), []store.SignalPoll{poll("y", 30, 6, 5, "away")})
	is(t, org.PutSignalPoll(ctx, poll("x", 40, 0, 0, ""), at(18)), store.ErrConflict)
	ok(t, other.PutSignalPoll(ctx, poll("y", 18, 0, 19, "refused"), at(19))) // it lets go
	ok(t, org.PutSignalPoll(ctx, poll("x", 40, 0, 0, ""), at(19)))
	equal(t, got(org.SignalPolls(ctx))(t), []store.SignalPoll{poll("x", 40, 6, 19, "refused")})
}

// Of many who want to poll a stream, one may.
func testSignalPollRace[O STSOrg](t *testing.T, a, b STS[O]) {
	orgs := []O{a.Org("signals-race"), b.Org("signals-race")}
	for round := range 2 {
		now := at(round * 100)
		race(t, 50, func(i int) error {
			return orgs[i%2].PutSignalPoll(t.Context(),
				store.SignalPoll{Stream: "s", Holder: fmt.Sprint(round, i), Until: now.Add(time.Second)}, now)
		})
	}
}
