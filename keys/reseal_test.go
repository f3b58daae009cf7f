package keys_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/seal"
)

// rotated is a key with another beside it, which seals.
func rotated(t testing.TB, k seal.Key) (next seal.Key, old, current seal.ID) {
	t.Helper()
	old = k.IDs()[0]
	next, current, err := k.WithNew()
	if err == nil {
		next, err = next.SealingBy(current)
	}
	if err != nil {
		t.Fatal(err)
	}
	return next, old, current
}

// TestReseal: after it every key is under the new key-encryption key, the keys and their times are as before, and the old one can
// go; whatever fails, and wherever, doing it again makes it whole.
func TestReseal(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, fault := range map[string]func(*memory){
		"nothing fails":   func(*memory) {},
		"no read":         func(m *memory) { m.before = broken },
		"a lost answer":   func(m *memory) { m.after = broken },
		"a changed store": func(m *memory) { m.keys[0].KID = "another" },
	} {
		m, k := &memory{}, kek(t)
		now := &clock{at: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)}
		ring := open(t, m, k, now.now)
		next, old, current := rotated(t, k)
		before := m.keys
		jwks := string(ring.JWKS())
		m.edit(fault)
		n, err := keys.Reseal(t.Context(), m, next)
		if name == "nothing fails" != (err == nil) || err == nil && n != len(before) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		m.edit(func(m *memory) { m.before, m.after = nil, nil })
		if name == "a changed store" {
			if !errors.Is(err, keys.ErrSealed) {
				t.Errorf("a key under another id was sealed again: %v", err)
			}
			continue
		}
		if _, err := keys.Reseal(t.Context(), m, next); err != nil {
			t.Errorf("%s: again: %v", name, err)
		}
		under, err := keys.SealedUnder(t.Context(), m)
		if err != nil || under[old] != 0 || under[current] != len(before) {
			t.Errorf("%s: %v, %v", name, under, err)
		}
		alone, err := next.Without(old)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(open(t, m, alone, now.now).JWKS()); got != jwks {
			t.Errorf("%s: the keys are %s and were %s", name, got, jwks)
		}
		if n, err := keys.Reseal(t.Context(), m, next); n != 0 || err != nil {
			t.Errorf("%s: nothing is left, and %d were sealed: %v", name, n, err)
		}
	}
}

// TestResealWhileServing: those who sign, verify and rotate meanwhile notice nothing, and of several who reseal none undoes another.
func TestResealWhileServing(t *testing.T) {
	t.Parallel()
	m, k := &memory{}, kek(t)
	now := &clock{at: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)}
	ring, replica := open(t, m, k, now.now), open(t, m, k, now.now)
	next, old, _ := rotated(t, k)
	if err := k.Adopt(next); err != nil { // as a reload does at each replica
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if _, err := keys.Reseal(t.Context(), m, next); err != nil {
				t.Error(err)
			}
		})
	}
	all.Go(func() {
		for range 5 {
			if err := replica.Rotate(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	all.Go(func() {
		for range 20 {
			if err := ring.Reload(t.Context()); err != nil {
				t.Error(err)
			}
			if len(ring.Algorithms()) == 0 || ring.Algorithms()[0] != jose.ES256 {
				t.Error("no key can sign")
			}
		}
	})
	all.Wait()
	if under, err := keys.SealedUnder(t.Context(), m); err != nil || under[old] != 0 {
		t.Errorf("%v, %v", under, err)
	}
}
