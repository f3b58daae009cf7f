package dpop

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Replay remembers that a proof was used, until a time, and reports whether that was the first use. Of two calls with one
// key exactly one is the first, whatever the number of replicas that share it. An error means that it cannot be known.
type Replay func(ctx context.Context, key [32]byte, until time.Time) (first bool, err error)

// Verifier accepts each proof once. It is what a resource server needs, and may be used by many goroutines.
type Verifier struct {
	checker *Checker
	replay  Replay
}

// NewVerifier makes a Verifier of a Checker and a memory that all replicas of the service share.
func NewVerifier(c *Checker, r Replay) (*Verifier, error) {
	if c == nil || r == nil {
		return nil, errors.New("dpop: a verifier needs a Checker and a Replay; NewMemory is one for a single process")
	}
	return &Verifier{checker: c, replay: r}, nil
}

// Verify accepts the one proof of a request, for the first time, and returns the thumbprint of its key.
func (v *Verifier) Verify(ctx context.Context, r Request) (jkt string, err error) {
	p, err := v.Check(r)
	if err != nil {
		return "", err
	}
	return p.JKT, v.Use(ctx, p)
}

// Check is Checker.Check. Use must follow, and should only when the token is known to be good: a stranger then cannot fill
// the memory.
func (v *Verifier) Check(r Request) (Proof, error) { return v.checker.Check(r) }

// Use accepts a proof that was checked, for the first time only (DP3).
func (v *Verifier) Use(ctx context.Context, p Proof) error {
	first, err := v.replay(ctx, p.key, p.until)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case !first:
		return refused("it was used before")
	}
	return nil
}

// Nonce is Checker.Nonce.
func (v *Verifier) Nonce() (string, error) { return v.checker.Nonce() }

// NewMemory is a Replay for a service of one process. It remembers at most so many proofs, and when that many live it
// refuses: a memory that forgets is none.
func NewMemory(limit int) Replay { return newMemory(limit, time.Now).use }

// memory is a set of keys with the next to die on top. The dead are buried when room is needed.
type memory struct {
	limit int
	now   func() time.Time
	mu    sync.Mutex
	keys  map[[sha256.Size]byte]struct{}
	queue deadlines
}

func newMemory(limit int, now func() time.Time) *memory {
	return &memory{limit: limit, now: now, keys: map[[sha256.Size]byte]struct{}{}}
}

func (m *memory) use(_ context.Context, key [32]byte, until time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.keys[key]; known {
		return false, nil
	}
	for len(m.queue) >= m.limit {
		if len(m.queue) == 0 || m.now().Before(m.queue[0].until) {
			return false, fmt.Errorf("%d proofs are remembered, which is the limit", m.limit)
		}
		delete(m.keys, m.queue[0].key)
		heap.Pop(&m.queue)
	}
	m.keys[key] = struct{}{}
	heap.Push(&m.queue, deadline{key, until})
	return true, nil
}

type deadline struct {
	key   [sha256.Size]byte
	until time.Time
}

// deadlines is a heap.
type deadlines []deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].until.Before(d[j].until) }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }

// Push is heap.Interface.
func (d *deadlines) Push(x any) { *d = append(*d, x.(deadline)) }

// Pop is heap.Interface.
func (d *deadlines) Pop() any {
	old := *d
	last := old[len(old)-1]
	*d = old[:len(old)-1]
	return last
}
