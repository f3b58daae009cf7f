package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/onbehalf/obo/store"
)

// consumer is the part of both org handles that uses keys up.
type consumer interface {
	Consume(ctx context.Context, key [32]byte, until time.Time) error
}

// testConsume: an assertion, and a proof of possession, is single use across replicas.
func testConsume(t *testing.T, a, b consumer) {
	ctx, replicas := t.Context(), []consumer{a, b}
	ok(t, a.Consume(ctx, key(1), at(1)))
	for _, replica := range replicas {
		is(t, replica.Consume(ctx, key(1), at(9)), store.ErrConflict)
	}
	ok(t, b.Consume(ctx, key(2), at(1)))
	race(t, 50, func(i int) error { return replicas[i%2].Consume(ctx, key(3), at(1)) })
}

func testPurgeExecutor[O ExecutorOrg](t *testing.T, open Open[Executor[O]]) {
	ctx, e, other := t.Context(), handle(t, open), handle(t, open)
	org := e.Org("purge")
	ok(t, org.CreateDataKey(ctx, store.DataKey{Sealed: []byte("k"), Version: 1}))
	ok(t, e.Org("other").Consume(ctx, key(0), at(0)))
	for n := range 3 {
		ok(t, org.Consume(ctx, key(byte(n)), at(n)))
	}
	ok(t, other.PurgeExpired(ctx, at(1)))
	ok(t, org.Consume(ctx, key(0), at(0))) // forgotten
	is(t, org.Consume(ctx, key(1), at(9)), store.ErrConflict)
	is(t, org.Consume(ctx, key(2), at(9)), store.ErrConflict)
	ok(t, e.Org("other").Consume(ctx, key(0), at(0))) // in every org
	ok(t, e.PurgeExpired(ctx, at(100)))
	equal(t, got(org.DataKey(ctx))(t).Version, 1) // and nothing else
}
