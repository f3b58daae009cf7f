package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/onbehalf/obo/store"
)

// ChangeStore is where a replica reads what any replica changed.
type ChangeStore interface {
	// Changes returns at most limit changes after a sequence number, in sequence order. It MUST NOT return a change while
	// one with a smaller number may still commit.
	Changes(ctx context.Context, after uint64, limit int) ([]store.Change, error)
	// Head returns the newest sequence number, 0 when there is none.
	Head(ctx context.Context) (uint64, error)
	// Revocations returns the live entries of all orgs after a sequence number, in sequence order.
	Revocations(ctx context.Context, after uint64, now time.Time) ([]store.Revocation, error)
	// Notifications returns a channel of hints that something changed. It may lose hints and may be closed.
	Notifications(ctx context.Context) (<-chan struct{}, error)
}

// HubConfig makes a Hub.
type HubConfig struct {
	Store ChangeStore      // required
	Set   *Set             // required; kept up to date and fresh by the hub
	Now   func() time.Time // default time.Now
	Poll  time.Duration    // how often the store is asked when no hint comes; default 500 ms
	Log   *slog.Logger     // required
	// OnChange is called for every change, in order, before any subscriber hears of it and before Sync returns: it is
	// where caches are invalidated, so that whoever is told of a change never reads what was before it. It must not block
	// and must not call the hub. Optional.
	OnChange func(store.Change)
}

// ErrRewound says that the store's newest change is older than what was read from it, as after restoring a backup. What
// this process knows is then of another history, and only a new process starts clean.
var ErrRewound = errors.New("revocation: the store went back in time")

const (
	page        = 500             // changes read at once
	readTimeout = 3 * time.Second // of one round; a store that hangs must not hang the hub
	sweep       = time.Minute     // how often entries that have ended are forgotten
	backlog     = 1024            // events that may wait for one subscriber
)

// Hub is one replica's view of the store's changes: it keeps the set up to date, and tells subscribers in order.
//
// While the store is away the set is not refreshed, so after its bound it refuses: a replica cut off from its store does
// not know what another one has revoked.
type Hub struct {
	c     HubConfig
	ready chan struct{}

	turn   chan struct{} // holds one value; whoever has it reads the store
	loaded bool          // guarded by turn
	doubt  bool          // the last read failed; guarded by turn
	swept  time.Time     // guarded by turn

	mu   sync.Mutex
	seq  uint64 // of the newest change that was delivered
	seen time.Time
	subs map[*Subscription]struct{}
}

// Event is one change.
type Event struct {
	Sequence   uint64
	Change     store.Change
	Revocation *store.Revocation // the entry, when the change is a revocation that is still live; else nil
}

// NewHub returns a hub. It does nothing before Run or Sync.
func NewHub(c HubConfig) (*Hub, error) {
	switch {
	case c.Store == nil:
		return nil, errors.New("revocation: a hub needs a store")
	case c.Set == nil:
		return nil, errors.New("revocation: a hub needs a set")
	case c.Log == nil:
		return nil, errors.New("revocation: a hub needs a log")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Poll <= 0 {
		c.Poll = 500 * time.Millisecond
	}
	if c.OnChange == nil {
		c.OnChange = func(store.Change) {}
	}
	h := &Hub{c: c, ready: make(chan struct{}), turn: make(chan struct{}, 1), subs: map[*Subscription]struct{}{}}
	h.turn <- struct{}{}
	return h, nil
}

// Run reads changes until ctx ends, then returns nil. It outlives a store that is away; the only error is ErrRewound.
func (h *Hub) Run(ctx context.Context) error {
	tick := time.NewTicker(h.c.Poll)
	defer tick.Stop()
	var hints <-chan struct{}
	healthy := true
	for {
		if hints == nil {
			hints = h.listen(ctx)
		}
		err := h.read(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrRewound):
			return err
		case err != nil && healthy:
			h.c.Log.WarnContext(ctx, "cannot read changes from the store; the revocation set grows stale", "error", err)
		case err == nil && !healthy:
			h.c.Log.InfoContext(ctx, "reading changes from the store again", "sequence", h.Head())
		}
		healthy = err == nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case _, ok := <-hints:
			if !ok {
				hints = nil
				select { // a store that closes at once must not make us spin
				case <-ctx.Done():
					return nil
				case <-tick.C:
				}
			}
		}
	}
}

// listen asks for hints; without them the poll does the work alone.
func (h *Hub) listen(ctx context.Context) <-chan struct{} {
	hints, err := h.c.Store.Notifications(ctx)
	if err != nil {
		return nil
	}
	return hints
}

// read is one round of Run.
func (h *Hub) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return h.Sync(ctx)
}

// Ready is closed once the hub has read the whole state for the first time.
func (h *Hub) Ready() <-chan struct{} { return h.ready }

// Sync catches up with the store now: when it returns nil, the set, OnChange and every subscriber have what was committed
// before the call. A replica calls it after its own write, so that it knows what it wrote.
func (h *Hub) Sync(ctx context.Context) error {
	select {
	case <-h.turn:
		defer func() { h.turn <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("revocation: %w", ctx.Err())
	}
	err := h.catchUp(ctx)
	h.doubt = err != nil
	if err != nil {
		return fmt.Errorf("revocation: %w", err)
	}
	if now := h.c.Now(); now.Sub(h.swept) >= sweep {
		h.c.Set.Expire(now)
		h.swept = now
	}
	return nil
}

func (h *Hub) catchUp(ctx context.Context) error {
	if !h.loaded {
		return h.load(ctx)
	}
	if h.doubt {
		if head, err := h.c.Store.Head(ctx); err != nil {
			return err
		} else if head < h.Head() {
			return ErrRewound
		}
	}
	for {
		start := h.c.Now() // what is read is at least as new as this
		after := h.Head()
		changes, err := h.c.Store.Changes(ctx, after, page)
		if err != nil {
			return err
		}
		if err := h.deliver(ctx, after, changes); err != nil {
			return err
		}
		if len(changes) < page {
			h.saw(start)
			return nil
		}
	}
}

// load reads the whole state. The head comes first: what is committed between the two reads is then in both the entries
// and the changes, instead of in neither.
func (h *Hub) load(ctx context.Context) error {
	start := h.c.Now()
	head, err := h.c.Store.Head(ctx)
	if err != nil {
		return err
	}
	entries, err := h.c.Store.Revocations(ctx, 0, start)
	if err != nil {
		return err
	}
	h.c.Set.Replace(entries)
	h.mu.Lock()
	h.seq = head
	h.mu.Unlock()
	h.saw(start)
	h.loaded, h.swept = true, start
	close(h.ready)
	return nil
}

// deliver puts changes into effect: first the set, then caches, then subscribers.
func (h *Hub) deliver(ctx context.Context, after uint64, changes []store.Change) error {
	live := map[uint64]*store.Revocation{}
	for _, c := range changes {
		if c.Kind != store.ChangeRevocation {
			continue
		}
		entries, err := h.c.Store.Revocations(ctx, after, h.c.Now())
		if err != nil {
			return err
		}
		h.c.Set.Add(entries...)
		for i := range entries {
			live[entries[i].Sequence] = &entries[i]
		}
		break
	}
	for _, c := range changes {
		h.c.OnChange(c)
		h.mu.Lock()
		h.seq = c.Sequence
		for s := range h.subs {
			h.send(s, Event{Sequence: c.Sequence, Change: c, Revocation: live[c.Sequence]})
		}
		h.mu.Unlock()
	}
	return nil
}

// send never waits: one slow subscriber must not hold up the others. h.mu is held.
func (h *Hub) send(s *Subscription, e Event) {
	select {
	case s.events <- e:
	default:
		h.drop(s)
	}
}

func (h *Hub) drop(s *Subscription) {
	if _, ok := h.subs[s]; ok {
		delete(h.subs, s)
		close(s.events)
	}
}

func (h *Hub) saw(at time.Time) {
	h.c.Set.Heard(at)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = at
}

// Entries reads the live entries of all orgs from the store: the set keeps none of their ids.
func (h *Hub) Entries(ctx context.Context) ([]store.Revocation, error) {
	return h.c.Store.Revocations(ctx, 0, h.c.Now())
}

// Seen returns when the hub last saw the store: every change committed before that time has been delivered.
func (h *Hub) Seen() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen
}

// Head returns the sequence number of the newest change that was delivered.
func (h *Hub) Head() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seq
}

// Subscribe returns the changes from now on, until ctx ends or Close is called. Wait for Ready first: what was committed
// before that is not delivered as changes.
func (h *Hub) Subscribe(ctx context.Context) *Subscription {
	s := &Subscription{hub: h, events: make(chan Event, backlog)}
	h.mu.Lock()
	h.subs[s] = struct{}{}
	s.head = h.seq
	h.mu.Unlock()
	s.stop = context.AfterFunc(ctx, s.end)
	return s
}

// Subscription is a subscriber's end.
type Subscription struct {
	hub    *Hub
	events chan Event
	head   uint64
	stop   func() bool
}

// Events returns the changes. It is closed when the subscription ends, also when the subscriber was too slow: what it has
// missed is then unknown, so it must start again from the whole state.
func (s *Subscription) Events() <-chan Event { return s.events }

// Head returns the sequence number of the last change before the first event.
func (s *Subscription) Head() uint64 { return s.head }

// Close ends the subscription.
func (s *Subscription) Close() {
	s.stop()
	s.end()
}

func (s *Subscription) end() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.drop(s)
}
