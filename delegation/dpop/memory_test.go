package dpop

import (
	"testing"
	"time"
)

// TestMemoryIsBounded: DP3: a full memory refuses, until the oldest dies; it never forgets one that lives.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	m := newMemory(3, func() time.Time { return now })
	use := func(key byte, life time.Duration) (bool, error) {
		return m.use(t.Context(), [32]byte{key}, now.Add(life))
	}
	for key, life := range map[byte]time.Duration{1: 30 * time.Second, 2: 10 * time.Second, 3: 20 * time.Second} {
		if first, err := use(key, life); !first || err != nil {
			t.Fatal(first, err)
		}
	}
	if first, err := use(4, time.Minute); first || err == nil {
		t.Fatal("a full memory takes more")
	}
	for key := range byte(3) {
		if first, err := use(key+1, time.Minute); first || err != nil {
			t.Errorf("%d is forgotten: %v", key+1, err)
		}
	}
	now = now.Add(10 * time.Second) // the second dies
	if first, err := use(4, time.Minute); !first || err != nil {
		t.Error(first, err)
	}
	if first, err := use(5, time.Minute); first || err == nil {
		t.Error("there was room for one")
	}
	if first, err := use(1, time.Minute); first || err != nil {
		t.Error("the first is forgotten before its time")
	}
	if len(m.keys) != 3 || len(m.queue) != 3 {
		t.Errorf("%d keys, %d deadlines", len(m.keys), len(m.queue))
	}
	if first, err := newMemory(0, time.Now).use(t.Context(), [32]byte{}, now); first || err == nil {
		t.Error("no memory at all, and it takes proofs")
	}
}
