package revocation

import (
	"context"
	"log/slog"
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

// Event is one change.
type Event struct {
	Sequence   uint64
	Change     store.Change
	Revocation *store.Revocation // the entry, when the change is a revocation that is still live; else nil
}

// Hub is one replica's view of the store's changes.
type Hub struct{}

// NewHub returns a hub that begins with Run.
func NewHub(c HubConfig) (*Hub, error) { return nil, errUnfinished }

// Run reads changes until ctx ends. It outlives a store that is away; meanwhile the set grows stale and refuses.
func (h *Hub) Run(ctx context.Context) error { return errUnfinished }

// Ready is closed once the hub has read the whole state for the first time.
func (h *Hub) Ready() <-chan struct{} { return nil }

// Sync catches up with the store now. A replica calls it after its own write, so that it knows what it wrote.
func (h *Hub) Sync(ctx context.Context) error { return errUnfinished }

// Seen returns when the hub last saw the store: every change committed before that time has been delivered.
func (h *Hub) Seen() time.Time { return time.Time{} }

// Head returns the sequence number of the newest change that was delivered.
func (h *Hub) Head() uint64 { return 0 }

// Subscribe returns the changes from now on, until ctx ends or Close is called.
func (h *Hub) Subscribe(ctx context.Context) *Subscription { return nil }

// Subscription is a subscriber's end.
type Subscription struct{}

// Events returns the changes. It is closed when the subscription ends, also when the subscriber was too slow: what it has
// missed is then unknown, so it must start again from the whole state.
func (s *Subscription) Events() <-chan Event { return nil }

// Head returns the sequence number of the last change before the first event.
func (s *Subscription) Head() uint64 { return 0 }

// Close ends the subscription.
func (s *Subscription) Close() {}
