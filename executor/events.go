package executor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// EventStore is one org's connection events. ConnectionEvents MUST list them without gaps, in the order of their numbers, but
// for those that are so old that they are kept no more.
type EventStore interface {
	ConnectionEvents(ctx context.Context, after uint64, limit int) ([]store.ConnectionEvent, error)
	ConnectionHead(ctx context.Context) (uint64, error)
}

// The bounds of watching.
const (
	maxWatchers    = 256         // of all orgs, in this process
	maxOrgWatchers = 16          // of one org
	eventPage      = 500         // events that a watcher holds at once
	watchEvery     = time.Second // that the store is read, for all watchers of an org who have seen everything
)

// Events tells watchers of connection events. It is safe for many goroutines.
type Events struct {
	org func(delegation.OrgID) EventStore

	mu       sync.Mutex
	watchers int
	rooms    map[delegation.OrgID]*room
}

// NewEvents makes Events of a store.
func NewEvents(org func(delegation.OrgID) EventStore) (*Events, error) {
	if org == nil {
		return nil, errors.New("executor: Events need a store")
	}
	return &Events{org: org, rooms: map[delegation.OrgID]*room{}}, nil
}

// room is what the watchers of one org share: what the store answered last.
type room struct {
	watchers int           // under Events.mu
	turn     chan struct{} // held by whoever reads the store or what follows

	read   time.Time
	after  uint64
	events []store.ConnectionEvent
}

// Watch tells of each event after a number, then of new ones as they come, until ctx ends or told fails. Without a number it
// begins now. begun is called when no event can be missed any more.
func (e *Events) Watch(
	ctx context.Context, org string, after *uint64, begun func() error, told func(store.ConnectionEvent) error,
) error {
	id, err := orgID(org)
	if err != nil {
		return err
	}
	r, err := e.enter(id)
	if err != nil {
		return err
	}
	defer e.leave(id, r)
	at, err := e.start(ctx, id, after)
	if err != nil {
		return err
	}
	if err := begun(); err != nil {
		return err
	}
	for {
		events, err := r.next(ctx, e.org(id), at)
		if err != nil {
			return unreadable(ctx, err)
		}
		for _, event := range events {
			if event.Sequence != at+1 {
				return forgotten(at, event.Sequence-1)
			}
			if err := told(event); err != nil {
				return err
			}
			at = event.Sequence
		}
		if len(events) == eventPage {
			continue
		}
		wait := time.NewTimer(watchEvery)
		select {
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		case <-wait.C:
		}
	}
}

// start is the number to begin after. One that no event has yet is of another org, or of a database that was restored since:
// what was seen then is not what happened here.
func (e *Events) start(ctx context.Context, id delegation.OrgID, after *uint64) (uint64, error) {
	head, err := e.org(id).ConnectionHead(ctx)
	switch {
	case err != nil:
		return 0, unreadable(ctx, err)
	case after == nil:
		return head, nil
	case *after > head:
		return 0, invalid("after", fmt.Sprintf("no event has number %d: the newest is %d. Read the connections, and go on after that",
			*after, head))
	case *after == head:
		return head, nil
	}
	events, err := e.org(id).ConnectionEvents(ctx, *after, 1)
	switch {
	case err != nil:
		return 0, unreadable(ctx, err)
	case len(events) == 0:
		return 0, forgotten(*after, head)
	case events[0].Sequence != *after+1:
		return 0, forgotten(*after, events[0].Sequence-1)
	}
	return *after, nil
}

// forgotten refuses to pass events over.
func forgotten(after, gone uint64) *Error {
	return invalid("after", fmt.Sprintf("events %d to %d are not kept any more: an event is kept for %d days. Read the connections, and go "+
		"on after %d", after+1, gone, store.EventsKept/(24*time.Hour), gone))
}

func unreadable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return unavailable("the events cannot be read now", err)
}

// next lists the events after a number, at most eventPage. Watchers who have seen everything share one look at the store in
// watchEvery.
func (r *room) next(ctx context.Context, from EventStore, at uint64) ([]store.ConnectionEvent, error) {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-r.turn }()
	seen := at - r.after // of what is shared
	if at >= r.after && seen <= uint64(len(r.events)) && time.Since(r.read) < watchEvery {
		return r.events[seen:], nil
	}
	events, err := from.ConnectionEvents(ctx, at, eventPage)
	if err == nil && at >= r.after { // who lags behind is not whom the others follow
		r.read, r.after, r.events = time.Now(), at, events
	}
	return events, err
}

func (e *Events) enter(id delegation.OrgID) (*room, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, ok := e.rooms[id]
	if !ok {
		r = &room{turn: make(chan struct{}, 1)}
	}
	if e.watchers >= maxWatchers || r.watchers >= maxOrgWatchers {
		return nil, &Error{Reason: RateLimited, RetryAfter: time.Minute, Description: fmt.Sprintf(
			"too many watch already: at most %d of an org, and %d in all. End one, or watch at another replica", maxOrgWatchers, maxWatchers)}
	}
	e.watchers++
	r.watchers++
	e.rooms[id] = r
	return r, nil
}

func (e *Events) leave(id delegation.OrgID, r *room) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.watchers--
	if r.watchers--; r.watchers == 0 {
		delete(e.rooms, id)
	}
}
