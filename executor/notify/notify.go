// Package notify tells each org that wants it of its connection events, by signed webhooks (Standard Webhooks, version 1).
//
// Events are posted one after the other, in the order of their numbers, and how far that has come moves only after the receiver
// has taken one: at least once, each time with the same id. Of several replicas one delivers for an org at a time, for as long
// as its lease lasts; whoever was overtaken moves nothing, since each write names the number of the lease. So a crash, wherever
// it comes, repeats an event and loses none.
package notify

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// Events are one org's. ConnectionEvents MUST list them without gaps, but for those that are kept no more.
type Events interface {
	ConnectionEvents(ctx context.Context, after uint64, limit int) ([]store.ConnectionEvent, error)
	ConnectionHead(ctx context.Context) (uint64, error)
}

// Deliveries are how far the telling of one org has come. AcquireWebhook MUST answer store.ErrConflict while another delivers
// or nothing is to be tried, and PutDelivery when another has taken over or the webhook was put again.
type Deliveries interface {
	Webhook(ctx context.Context) (store.Webhook, error)
	AcquireWebhook(ctx context.Context, now, until time.Time) (store.Webhook, error)
	PutDelivery(ctx context.Context, w store.Webhook) error
}

// Store is one org's part of the store.
type Store interface {
	Events
	Deliveries
}

// Config is what a Notifier is made of. Every field is required.
type Config struct {
	Due  func(ctx context.Context, now time.Time, limit int) ([]delegation.OrgID, error) // orgs that have something to be told
	Org  func(delegation.OrgID) Store
	Send Sender
	Now  func() time.Time
	Log  *slog.Logger
}

// How replicas share the work.
const (
	workers   = 64               // orgs that are told at once, by one replica
	pollEvery = time.Second      // that it looks for what is due
	holdFor   = 30 * time.Second // longer than Timeout and a write to the store; then another may take over
	turn      = time.Minute      // that an org has before others get theirs
	batch     = 100              // events that are read at once
	writeFor  = 5 * time.Second  // that a write may take, whatever became of the process meanwhile
)

// Notifier delivers, while Run runs.
type Notifier struct{ Config }

// New makes a Notifier.
func New(c Config) (*Notifier, error) {
	if c.Due == nil || c.Org == nil || c.Send.Vault == nil || c.Send.HTTP == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("notify: Config needs every field")
	}
	return &Notifier{c}, nil
}

// Run delivers until ctx ends. What is under way then is finished: a receiver is not asked twice for nothing.
func (n *Notifier) Run(ctx context.Context) error {
	var busy sync.WaitGroup
	defer busy.Wait()
	slots := make(chan struct{}, workers)
	for {
		orgs, err := n.Due(ctx, n.Now(), workers)
		if err != nil && ctx.Err() == nil {
			n.Log.ErrorContext(ctx, "it cannot be known whose webhooks are due; trying again", "error", err)
		}
		for _, org := range orgs {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			busy.Go(func() {
				defer func() { <-slots }()
				n.deliver(ctx, org)
			})
		}
		wait := time.NewTimer(pollEvery)
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
	}
}

// deliver tells one org what it has not been told, as far as its turn lasts.
func (n *Notifier) deliver(ctx context.Context, org delegation.OrgID) {
	begun := n.Now()
	s := n.Org(org)
	w, err := s.AcquireWebhook(ctx, begun, begun.Add(holdFor))
	if err != nil {
		if !errors.Is(err, store.ErrConflict) && ctx.Err() == nil {
			n.Log.ErrorContext(ctx, "a webhook cannot be delivered to: the store does not answer", "org", string(org), "error", err)
		}
		return
	}
	events, err := n.pending(ctx, s, org, &w)
	if err != nil {
		w.Next = begun.Add(firstWait)
		n.Log.ErrorContext(ctx, "a webhook cannot be delivered to: its events cannot be read", "org", string(org), "error", err)
	}
	for i, e := range events {
		sent := n.one(ctx, s, org, &w, e)
		now := n.Now()
		if !sent || i == len(events)-1 || ctx.Err() != nil || now.Sub(begun) > turn {
			break
		}
		w.Until = now.Add(holdFor)
		if !n.write(ctx, s, org, w) {
			return
		}
	}
	w.Until = time.Time{} // whoever comes next need not wait
	n.write(ctx, s, org, w)
}

// pending are the next events. Those that were kept no more when their turn came are passed over, and said to be.
func (n *Notifier) pending(
	ctx context.Context, s Store, org delegation.OrgID, w *store.Webhook,
) ([]store.ConnectionEvent, error) {
	head, err := s.ConnectionHead(ctx) // first: what comes after it is not passed over
	if err != nil {
		return nil, err
	}
	events, err := s.ConnectionEvents(ctx, w.Delivered, batch)
	if err != nil {
		return nil, err
	}
	gone := max(head, w.Delivered)
	if len(events) > 0 {
		gone = events[0].Sequence - 1
	}
	if gone > w.Delivered {
		n.Log.WarnContext(ctx, "events were never told to a webhook: they are kept no more", "org", string(org),
			"from", w.Delivered+1, "to", gone)
		w.Delivered = gone
	}
	return events, nil
}

// one posts an event and says in w what came of it, for the store. It reports whether the receiver has taken it.
func (n *Notifier) one(ctx context.Context, s Store, org delegation.OrgID, w *store.Webhook, e store.ConnectionEvent) bool {
	err := n.post(ctx, org, *w, e)
	now := n.Now()
	failure, refused := errors.AsType[*Failure](err)
	switch {
	case err == nil:
		if w.Failures > 0 {
			n.Log.InfoContext(ctx, "a webhook takes events again", "org", string(org), "sequence", e.Sequence)
		}
		*w = delivered(*w, e.Sequence, now)
		return true
	case refused:
		*w = failed(*w, failure, now, rand.Float64())
	case errors.Is(err, errSecret):
		if again, readErr := s.Webhook(ctx); readErr != nil || string(again.Sealed) != string(w.Sealed) {
			return false // it was sealed anew meanwhile: the next turn reads it
		}
		*w = failed(*w, &Failure{What: "its secret does not open any more: put the webhook again, with another", Final: true}, now, 0)
	default: // something of ours is away, which is not held against the receiver
		w.Next = now.Add(firstWait)
	}
	attributes := []any{
		"org", string(org), "sequence", e.Sequence, "failures", w.Failures, "paused", w.Paused, "error", err, "cause", errors.Unwrap(err),
	}
	if w.Paused {
		n.Log.ErrorContext(ctx, "a webhook is failing, and is told nothing more until it is put again", attributes...)
		return false
	}
	n.Log.WarnContext(ctx, "a webhook did not take an event", append(attributes, "again", w.Next.UTC().Format(time.RFC3339))...)
	return false
}

// post goes on when ctx ends: its own bound is short, and what was sent may have been taken.
func (n *Notifier) post(ctx context.Context, org delegation.OrgID, w store.Webhook, e store.ConnectionEvent) error {
	m, err := messageOf(org, e)
	if err != nil {
		return err
	}
	return n.Send.send(context.WithoutCancel(ctx), org, w, m, n.Now())
}

// write stores how it went, also when ctx has ended: what the receiver has taken would be told again.
func (n *Notifier) write(ctx context.Context, s Store, org delegation.OrgID, w store.Webhook) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeFor)
	defer cancel()
	err := s.PutDelivery(ctx, w)
	if err != nil && !errors.Is(err, store.ErrConflict) { // else another goes on, or it was put again or deleted
		n.Log.ErrorContext(ctx, "how far a webhook was told cannot be stored; it will be told again", "org", string(org),
			"sequence", w.Delivered, "error", err)
	}
	return err == nil
}
