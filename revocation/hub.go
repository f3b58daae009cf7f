package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	// Revocations returns at most limit live entries of all orgs after a sequence number, in sequence order.
	Revocations(ctx context.Context, after uint64, now time.Time, limit int) ([]store.Revocation, error)
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
	page        = store.MaxPage   // changes or entries read at once
	readTimeout = 3 * time.Second // of one question; a store that hangs must not hang the hub
	sweep       = time.Minute     // how often entries that have ended are forgotten
	backlog     = 4096            // events that are kept for subscribers, all of them together
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

	mu     sync.Mutex
	head   Position // of the newest change that was delivered
	seen   time.Time
	events [backlog]Event // the newest events: event n is at n % backlog
	count  uint64         // events ever
	more   chan struct{}  // closed when there are more
}

// Position is a place in the history of changes. Two histories that differ have different marks at the same sequence
// number, so what is known up to a position of one is never taken for the same of the other.
type Position struct {
	Sequence uint64
	Mark     uint64 // store.Change.Mark
}

// Event is one change.
type Event struct {
	Position
	Change     store.Change
	Revocation *store.Revocation // the entry, when the change is a revocation that is still live; else nil
	known      time.Time         // when the hub had put it into force
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
	h := &Hub{c: c, ready: make(chan struct{}), turn: make(chan struct{}, 1), more: make(chan struct{})}
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
		err := h.Sync(ctx)
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

// ask asks the store one question.
func ask[T any](ctx context.Context, question func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return question(ctx)
}

// Ready is closed once the hub has read the whole state for the first time.
func (h *Hub) Ready() <-chan struct{} { return h.ready }

// Sync catches up with the store now: when it returns nil, the set, OnChange and every subscriber have what was committed
// before the call. A replica calls it after its own write, so that it knows what it wrote.
//
// Of many callers at once, one reads for those that came before it began.
func (h *Hub) Sync(ctx context.Context) error {
	came := h.c.Now()
	select {
	case <-h.turn:
		defer func() { h.turn <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("revocation: %w", ctx.Err())
	}
	if h.Seen().After(came) {
		return nil
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
		if err := h.sameHistory(ctx); err != nil {
			return err
		}
	}
	for {
		start := h.c.Now() // what is read is at least as new as this
		after := h.Head()
		changes, err := h.changes(ctx, after, page)
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

// sameHistory returns ErrRewound when the store, which was away, came back with another past.
func (h *Hub) sameHistory(ctx context.Context) error {
	known := h.Position()
	head, err := h.readHead(ctx)
	switch {
	case err != nil:
		return err
	case head.Sequence < known.Sequence:
		return ErrRewound
	case known.Sequence == 0 || known.Mark == 0:
		return nil
	}
	last, err := h.changes(ctx, known.Sequence-1, 1)
	if err == nil && len(last) == 1 && last[0].Sequence == known.Sequence && last[0].Mark != known.Mark {
		return ErrRewound
	}
	return err
}

func (h *Hub) changes(ctx context.Context, after uint64, limit int) ([]store.Change, error) {
	return ask(ctx, func(ctx context.Context) ([]store.Change, error) { return h.c.Store.Changes(ctx, after, limit) })
}

// load reads the whole state. The head comes first: what is committed between the two reads is then in both the entries
// and the changes, instead of in neither.
func (h *Hub) load(ctx context.Context) error {
	start := h.c.Now()
	head, err := h.readHead(ctx)
	if err != nil {
		return err
	}
	draft := h.c.Set.Draft()
	err = h.entries(ctx, 0, start, func(page []store.Revocation) { draft.Add(page...) })
	if err != nil {
		return err
	}
	draft.Commit()
	h.mu.Lock()
	h.head = head
	h.mu.Unlock()
	h.saw(start)
	h.loaded, h.swept = true, start
	close(h.ready)
	return nil
}

// readHead reads the position of the newest change. Its mark is not known when the change is gone with what it revoked.
func (h *Hub) readHead(ctx context.Context) (Position, error) {
	head, err := ask(ctx, h.c.Store.Head)
	if err != nil || head == 0 {
		return Position{}, err
	}
	last, err := h.changes(ctx, head-1, 1)
	if err != nil || len(last) == 0 || last[0].Sequence != head {
		return Position{Sequence: head}, err
	}
	return position(last[0]), nil
}

func position(c store.Change) Position { return Position{c.Sequence, c.Mark} }

// Entries reads the first live entries after a sequence number from the store: all that there are when they are fewer than
// store.MaxPage.
func (h *Hub) Entries(ctx context.Context, after uint64, now time.Time) ([]store.Revocation, error) {
	return ask(ctx, func(ctx context.Context) ([]store.Revocation, error) {
		return h.c.Store.Revocations(ctx, after, now, page)
	})
}

// Changes reads the first changes after a sequence number from the store, at most store.MaxPage.
func (h *Hub) Changes(ctx context.Context, after uint64) ([]store.Change, error) {
	return h.changes(ctx, after, page)
}

// entries reads the live entries after a sequence number, page by page.
func (h *Hub) entries(ctx context.Context, after uint64, now time.Time, each func([]store.Revocation)) error {
	for {
		entries, err := h.Entries(ctx, after, now)
		if err != nil {
			return err
		}
		each(entries)
		if len(entries) < page {
			return nil
		}
		after = entries[len(entries)-1].Sequence
	}
}

// deliver puts changes into effect: first the set, then caches, then subscribers.
func (h *Hub) deliver(ctx context.Context, after uint64, changes []store.Change) error {
	live := map[uint64]*store.Revocation{}
	if slices.ContainsFunc(changes, func(c store.Change) bool { return c.Kind == store.ChangeRevocation }) {
		err := h.entries(ctx, after, h.c.Now(), func(page []store.Revocation) {
			h.c.Set.Add(page...)
			for i := range page {
				live[page[i].Sequence] = &page[i]
			}
		})
		if err != nil {
			return err
		}
	}
	for _, c := range changes {
		h.c.OnChange(c)
	}
	now := h.c.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range changes {
		h.head = position(c)
		h.events[h.count%backlog] = Event{Position: h.head, Change: c, Revocation: live[c.Sequence], known: now}
		h.count++
	}
	if len(changes) > 0 {
		close(h.more)
		h.more = make(chan struct{})
	}
	return nil
}

func (h *Hub) saw(at time.Time) {
	h.c.Set.Heard(at)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = at
}

// Seen returns when the hub last saw the store: every change committed before that time has been delivered.
func (h *Hub) Seen() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen
}

// Head returns the sequence number of the newest change that was delivered.
func (h *Hub) Head() uint64 { return h.Position().Sequence }

// Position returns the position of the newest change that was delivered.
func (h *Hub) Position() Position {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.head
}

// known returns when the hub had put a change into force; the zero time when that is too long ago.
func (h *Hub) known(sequence uint64) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n := h.count; n > 0 && n+backlog > h.count; n-- {
		if e := h.events[(n-1)%backlog]; e.Sequence <= sequence {
			return e.known
		}
	}
	return time.Time{}
}

// Has reports whether a position is in this history. It is not when its change has been forgotten.
func (h *Hub) Has(ctx context.Context, p Position) (bool, error) {
	if p.Sequence == 0 || p.Mark == 0 {
		return false, nil
	}
	h.mu.Lock()
	for n := h.count; n > 0 && n+backlog > h.count; n-- {
		if e := h.events[(n-1)%backlog]; e.Sequence <= p.Sequence {
			h.mu.Unlock()
			return e.Position == p, nil
		}
	}
	head := h.head
	h.mu.Unlock()
	if p.Sequence >= head.Sequence {
		return p == head, nil
	}
	found, err := h.changes(ctx, p.Sequence-1, 1)
	if err != nil {
		return false, fmt.Errorf("revocation: %w", err)
	}
	return len(found) == 1 && position(found[0]) == p, nil
}

// Subscribe returns the changes from now on. Wait for Ready first: what was committed before that is not delivered as
// changes.
func (h *Hub) Subscribe() *Subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &Subscription{hub: h, head: h.head, next: h.count, wake: h.more}
}

// Subscription is a subscriber's place in the hub's events. It costs the hub nothing, and needs no end: a thousand
// subscribers share one backlog, and a slow one holds up nobody. Its methods are for one goroutine.
type Subscription struct {
	hub  *Hub
	head Position
	next uint64
	wake chan struct{}
}

// Head returns the position of the last change before those that Take has not returned yet.
func (s *Subscription) Head() Position { return s.head }

// More is closed when there is something to take.
func (s *Subscription) More() <-chan struct{} { return s.wake }

// Take returns the events since the last call. It returns false when the subscriber was too slow: what it has missed is
// gone, so it must start again from what it has.
func (s *Subscription) Take() ([]Event, bool) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.count-s.next > backlog {
		return nil, false
	}
	events := make([]Event, 0, h.count-s.next)
	for ; s.next < h.count; s.next++ {
		events = append(events, h.events[s.next%backlog])
	}
	if len(events) > 0 {
		s.head = events[len(events)-1].Position
	}
	s.wake = h.more
	return events, true
}
