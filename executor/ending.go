package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/onbehalf/obo/connection"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/store"
)

// Ender ends connections for good: those of subjects that have departed, and those that were revoked themselves. An entry of
// the feed is forgotten after a day; a connection that is marked stays unusable, and its credential is gone.
type Ender struct {
	admin *Admin
	log   *slog.Logger

	mu   sync.Mutex
	due  map[store.Revocation]struct{} // without its sequence and reason, so that one that is told again is the same
	wake chan struct{}
}

// NewEnder makes an Ender, which works while Run does.
func NewEnder(a *Admin, log *slog.Logger) (*Ender, error) {
	if a == nil || log == nil {
		return nil, errors.New("executor: an Ender needs an Admin and a log")
	}
	return &Ender{admin: a, log: log, due: map[store.Revocation]struct{}{}, wake: make(chan struct{}, 1)}, nil
}

// End takes entries of which each ends connections. It does not wait.
func (e *Ender) End(entries []store.Revocation) {
	e.mu.Lock()
	for _, r := range entries {
		r.Sequence, r.Reason = 0, ""
		e.due[r] = struct{}{}
	}
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// again is how long an entry waits that could not be carried out.
const again = 2 * time.Second

// Run ends connections until ctx ends. What fails is tried again, so a store that was away delays it and no more.
func (e *Ender) Run(ctx context.Context) error {
	for {
		var retry <-chan time.Time
		if err := e.all(ctx); err != nil && ctx.Err() == nil {
			e.log.ErrorContext(ctx, "connections that were revoked could not be ended; trying again", "error", err)
			retry = time.After(again)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.wake:
		case <-retry:
		}
	}
}

// all carries out what is due.
func (e *Ender) all(ctx context.Context) error {
	e.mu.Lock()
	due := make([]store.Revocation, 0, len(e.due))
	for r := range e.due {
		due = append(due, r)
	}
	e.mu.Unlock()
	var failed error
	for _, r := range due {
		if err := e.one(ctx, r); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		e.mu.Lock()
		delete(e.due, r)
		e.mu.Unlock()
	}
	return failed
}

// one ends the connections that an entry names. One whose credential was put after the entry's time is another: the subject has
// come back.
func (e *Ender) one(ctx context.Context, r store.Revocation) error {
	conns, err := e.admin.Links.List(ctx, r.Org)
	if err != nil {
		return fmt.Errorf("executor: connections of org %s: %w", r.Org, err)
	}
	var failed error
	for _, c := range conns {
		if c.Status == connection.StatusRevoked || c.Updated.After(r.Before) || !names(r, c) {
			continue
		}
		reason := "it was revoked"
		if r.Departed {
			reason = "its subject has left"
		}
		ending := change{
			org: r.Org, connection: c.ID, subject: c.Subject, what: "end connection: " + reason,
			changes: connectionChanges(c, connection.Ended(c, reason)),
		}
		err := e.admin.As(theFeed()).change(ctx, ending, func() error {
			e.admin.Release.Release(ctx, r.Org, c) // what the provider does not do keeps nothing from ending here
			return e.admin.Links.End(ctx, r.Org, c, reason)
		})
		failed = errors.Join(failed, err)
	}
	return failed
}

func names(r store.Revocation, c store.Connection) bool {
	if revocation.Kind(r.Kind) == revocation.Connection {
		return c.ID == r.ID
	}
	return r.Departed && c.Subject != "" && c.Subject == r.ID
}

// theFeed is who ends connections by itself: whoever revoked is on the token server's trail.
func theFeed() delegation.Administrator {
	return delegation.Administrator{Subject: "obo-executor:feed", Role: "feed"}
}
