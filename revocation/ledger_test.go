package revocation

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
)

// ledger is a ChangeStore in memory that may be away, hang, lose hints and be rewound.
type ledger struct {
	mu      sync.Mutex
	changes []store.Change
	entries []store.Revocation
	hints   []chan struct{}
	away    bool
	hang    bool
	asked   int    // how often changes were asked for
	mute    bool   // no notifications
	history uint64 // part of every mark
	between func() // called between Head and Revocations of a load
}

func (l *ledger) change(kind store.ChangeKind, org delegation.OrgID) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.append(kind, org)
}

func (l *ledger) append(kind store.ChangeKind, org delegation.OrgID) uint64 {
	n := uint64(len(l.changes) + 1)
	l.changes = append(l.changes, store.Change{Sequence: n, Org: org, Kind: kind, Mark: n*1000 + l.history})
	for _, h := range l.hints {
		select {
		case h <- struct{}{}:
		default:
		}
	}
	return n
}

func (l *ledger) revoke(r store.Revocation) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Sequence = l.append(store.ChangeRevocation, r.Org)
	l.entries = append(l.entries, r)
	return r.Sequence
}

func (l *ledger) set(f func(*ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

func (l *ledger) answer(ctx context.Context) error {
	l.mu.Lock()
	hang, away := l.hang, l.away
	l.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if away {
		return errAway
	}
	return ctx.Err()
}

func (l *ledger) Changes(ctx context.Context, after uint64, limit int) ([]store.Change, error) {
	if err := l.answer(ctx); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	from := min(int(after), len(l.changes))
	return slices.Clone(l.changes[from:min(from+limit, len(l.changes))]), nil
}

func (l *ledger) Head(ctx context.Context) (uint64, error) {
	if err := l.answer(ctx); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.changes)), nil
}

func (l *ledger) Revocations(ctx context.Context, after uint64, now time.Time, limit int) ([]store.Revocation, error) {
	if err := l.answer(ctx); err != nil {
		return nil, err
	}
	l.mu.Lock()
	between := l.between
	l.between = nil
	l.mu.Unlock()
	if between != nil {
		between()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []store.Revocation
	for _, e := range l.entries {
		if e.Sequence > after && !now.After(e.Until) && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, nil
}

func (l *ledger) Notifications(ctx context.Context) (<-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mute {
		return nil, errAway
	}
	h := make(chan struct{}, 1)
	l.hints = append(l.hints, h)
	return h, nil
}

// running starts a hub in a synctest bubble.
func running(t *testing.T, l *ledger, s *Set, onChange func(store.Change)) *Hub {
	t.Helper()
	h, err := NewHub(HubConfig{Store: l, Set: s, Log: silent, OnChange: onChange})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return h
}

// live is an entry in synctest's time.
func live(kind Kind, id string) store.Revocation {
	return New("acme", kind, id, "", time.Now(), time.Hour)
}

func refused(s *Set) bool {
	c := claims()
	c.IssuedAt, c.SubjectIssuedAt = time.Now(), time.Now().Add(-time.Hour)
	return errors.Is(s.Check(c, time.Now()), delegation.ErrRevoked)
}
