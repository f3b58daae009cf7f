package storetest

import (
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// webhook is one as it is put.
func webhook(version int64) store.Webhook {
	return store.Webhook{
		URL: "https://hooks.acme.test/obo", Version: version, Sealed: []byte{0, 255, byte(version)}, Created: at(1), Updated: at(int(version)),
	}
}

func testWebhook[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx, org, replica := t.Context(), a.Org("webhook"), b.Org("webhook")
	_, err := org.Webhook(ctx)
	is(t, err, store.ErrNotFound)
	is(t, org.PutWebhook(ctx, webhook(2)), store.ErrConflict)
	is(t, org.DeleteWebhook(ctx, 1), store.ErrNotFound)
	equal(t, got(org.ConnectionHead(ctx))(t), 0)
	ok(t, org.PutConnection(ctx, connection("c", 1), ""))
	ok(t, replica.PutConnection(ctx, connection("d", 1), ""))
	equal(t, got(org.ConnectionHead(ctx))(t), 2)

	ok(t, org.PutWebhook(ctx, webhook(1)))
	is(t, replica.PutWebhook(ctx, webhook(1)), store.ErrConflict)
	want := webhook(1)
	want.Delivered = 2 // what was before is nothing new
	equal(t, got(replica.Webhook(ctx))(t), want)

	// Put again: where it was, without its failures.
	held := got(org.AcquireWebhook(ctx, at(1), at(5)))(t)
	failed := held
	failed.Failures, failed.Since, failed.Next, failed.Failure, failed.Paused = 3, at(2), at(4), "away", true
	ok(t, org.PutDelivery(ctx, failed))
	equal(t, got(org.Webhook(ctx))(t), failed)
	ok(t, replica.PutWebhook(ctx, webhook(2)))
	want = webhook(2)
	want.Delivered, want.Fence = 2, 2
	equal(t, got(org.Webhook(ctx))(t), want)
	is(t, org.PutDelivery(ctx, held), store.ErrConflict) // that was of the version before

	is(t, org.ResealWebhook(ctx, []byte("stale"), []byte("again")), store.ErrConflict)
	ok(t, org.ResealWebhook(ctx, want.Sealed, []byte("again")))
	want.Sealed = []byte("again")
	equal(t, got(org.Webhook(ctx))(t), want)

	is(t, org.DeleteWebhook(ctx, 1), store.ErrNotFound)
	ok(t, org.DeleteWebhook(ctx, 2))
	_, err = replica.Webhook(ctx)
	is(t, err, store.ErrNotFound)
	race(t, 20, func(i int) error { return []O{org, replica}[i%2].PutWebhook(ctx, webhook(1)) })
}

// One at a time delivers, and whoever was overtaken moves nothing.
func testDelivery[O ExecutorOrg](t *testing.T, a, b Executor[O]) {
	ctx, org, replica := t.Context(), a.Org("delivery"), b.Org("delivery")
	_, err := org.AcquireWebhook(ctx, at(1), at(3))
	is(t, err, store.ErrConflict) // there is none
	ok(t, org.PutWebhook(ctx, webhook(1)))
	first := got(org.AcquireWebhook(ctx, at(1), at(3)))(t)
	want := webhook(1)
	want.Fence, want.Until = 1, at(3)
	equal(t, first, want)
	_, err = replica.AcquireWebhook(ctx, at(2), at(9))
	is(t, err, store.ErrConflict)
	first.Delivered, first.Until = 7, at(4)
	ok(t, org.PutDelivery(ctx, first))
	_, err = replica.AcquireWebhook(ctx, at(3), at(9))
	is(t, err, store.ErrConflict) // it said that it goes on

	second := got(replica.AcquireWebhook(ctx, at(4), at(9)))(t)
	equal(t, second.Delivered, 7)
	equal(t, second.Fence, 2)
	first.Delivered = 8
	is(t, org.PutDelivery(ctx, first), store.ErrConflict)
	second.Failures, second.Since, second.Next, second.Failure, second.Until = 1, at(4), at(6), "away", time.Time{}
	ok(t, replica.PutDelivery(ctx, second))
	equal(t, got(org.Webhook(ctx))(t), second)
	_, err = org.AcquireWebhook(ctx, at(5), at(9))
	is(t, err, store.ErrConflict) // not yet
	third := got(org.AcquireWebhook(ctx, at(6), at(9)))(t)
	third.Paused, third.Until = true, time.Time{}
	ok(t, org.PutDelivery(ctx, third))
	_, err = org.AcquireWebhook(ctx, at(8), at(9))
	is(t, err, store.ErrConflict)
	ok(t, org.PutWebhook(ctx, webhook(2)))
	race(t, 20, func(i int) error {
		_, err := []O{org, replica}[i%2].AcquireWebhook(ctx, at(1), at(9))
		return err
	})
}

func testDueWebhooks[O ExecutorOrg](t *testing.T, open Open[Executor[O]]) {
	ctx, e := t.Context(), handle(t, open)
	tell := func(org delegation.OrgID, change func(*store.Webhook)) {
		ok(t, e.Org(org).PutWebhook(ctx, webhook(1)))
		w := got(e.Org(org).AcquireWebhook(ctx, at(0), at(1)))(t)
		change(&w)
		ok(t, e.Org(org).PutDelivery(ctx, w))
		if org != "quiet" {
			ok(t, e.Org(org).PutConnection(ctx, connection("c", 1), ""))
		}
	}
	tell("quiet", func(w *store.Webhook) {})
	tell("later", func(w *store.Webhook) { w.Next = at(2) })
	tell("first", func(w *store.Webhook) { w.Next = at(1) })
	tell("held", func(w *store.Webhook) { w.Until = at(5) })
	tell("paused", func(w *store.Webhook) { w.Paused = true })
	tell("told", func(w *store.Webhook) { w.Delivered = 1 })
	equal(t, got(e.DueWebhooks(ctx, at(0), 10))(t), nil)
	equal(t, got(e.DueWebhooks(ctx, at(1), 10))(t), []delegation.OrgID{"first"})
	equal(t, got(e.DueWebhooks(ctx, at(2), 10))(t), []delegation.OrgID{"first", "later"})
	equal(t, got(e.DueWebhooks(ctx, at(2), 1))(t), []delegation.OrgID{"first"})
	equal(t, got(e.DueWebhooks(ctx, at(5), 10))(t), []delegation.OrgID{"held", "first", "later"})
}

// webhookApart are the cases of testExecutorApart for webhooks.
func webhookApart[O ExecutorOrg]() map[string]func(t *testing.T, mine, theirs O, their delegation.OrgID) {
	return map[string]func(t *testing.T, mine, theirs O, their delegation.OrgID){
		"Webhook": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutWebhook(t.Context(), webhook(1)))
			_, err := mine.Webhook(t.Context())
			is(t, err, store.ErrNotFound)
		},
		"PutWebhook": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutConnection(t.Context(), connection("same", 1), ""))
			ok(t, theirs.PutWebhook(t.Context(), webhook(1)))
			is(t, mine.PutWebhook(t.Context(), webhook(2)), store.ErrConflict)
			ok(t, mine.PutWebhook(t.Context(), webhook(1)))
			ok(t, mine.PutWebhook(t.Context(), webhook(2)))
			equal(t, got(mine.Webhook(t.Context()))(t).Delivered, 0) // numbers tell nothing of others
			equal(t, got(theirs.Webhook(t.Context()))(t).Version, 1)
		},
		"ResealWebhook": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutWebhook(t.Context(), webhook(1)))
			is(t, mine.ResealWebhook(t.Context(), webhook(1).Sealed, []byte("mine")), store.ErrConflict)
			ok(t, mine.PutWebhook(t.Context(), webhook(1)))
			ok(t, mine.ResealWebhook(t.Context(), webhook(1).Sealed, []byte("mine")))
			equal(t, got(theirs.Webhook(t.Context()))(t), webhook(1))
		},
		"DeleteWebhook": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutWebhook(t.Context(), webhook(1)))
			is(t, mine.DeleteWebhook(t.Context(), 1), store.ErrNotFound)
			got(theirs.Webhook(t.Context()))(t)
		},
		"AcquireWebhook": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutWebhook(t.Context(), webhook(1)))
			_, err := mine.AcquireWebhook(t.Context(), at(1), at(9))
			is(t, err, store.ErrConflict)
			got(theirs.AcquireWebhook(t.Context(), at(1), at(9)))(t) // nobody held it up
		},
		"PutDelivery": func(t *testing.T, mine, theirs O, _ delegation.OrgID) {
			ok(t, theirs.PutWebhook(t.Context(), webhook(1)))
			w := got(theirs.AcquireWebhook(t.Context(), at(1), at(9)))(t)
			w.Delivered = 9
			is(t, mine.PutDelivery(t.Context(), w), store.ErrConflict)
			equal(t, got(theirs.Webhook(t.Context()))(t).Delivered, 0)
		},
	}
}
