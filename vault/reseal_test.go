package vault_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/vault"
)

func rotated(t *testing.T, k seal.Key) (next seal.Key, old, current seal.ID) {
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

// TestReseal: a credential opens before, during and after, at every process that has the new key, and the old key opens nothing any
// more once it is gone.
func TestReseal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.sealed(t, "acme", "github", 1)
	next, old, current := rotated(t, f.key)
	if err := f.key.Adopt(next); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if _, err := vault.Reseal(t.Context(), f.db.Org("acme"), next, "acme"); err != nil {
				t.Error(err)
			}
		})
		v := f.another(t)
		all.Go(func() {
			for range 20 {
				if got, err := opens(t.Context(), v, "acme", c); err != nil || got != "alice:"+canary {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	all.Wait()
	if under, ok, err := vault.SealedUnder(t.Context(), f.db.Org("acme")); !ok || err != nil || under != current {
		t.Errorf("under %s, %v, %v", under, ok, err)
	}
	alone, err := next.Without(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.key.Adopt(alone); err != nil {
		t.Fatal(err)
	}
	if got, err := opens(t.Context(), f.another(t), "acme", c); err != nil || got != "alice:"+canary {
		t.Errorf("%q, %v", got, err)
	}
	if again, err := vault.Reseal(t.Context(), f.db.Org("acme"), next, "acme"); again || err != nil {
		t.Errorf("again: %v, %v", again, err)
	}
	if again, err := vault.Reseal(t.Context(), f.db.Org("nobody"), next, "nobody"); again || err != nil {
		t.Errorf("an org without a key: %v, %v", again, err)
	}
	// A row of another org's stays one: sealing it again would make it this org's.
	row, err := f.db.Org("acme").DataKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.db.Org("globex").CreateDataKey(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	further, _, _ := rotated(t, alone)
	if _, err := vault.Reseal(t.Context(), f.db.Org("globex"), further, "globex"); !errors.Is(err, vault.ErrOpen) {
		t.Errorf("a moved row was sealed again: %v", err)
	}
}

// shredding is a store whose key is destroyed between the look and the write.
type shredding struct {
	vault.ResealStore
	shred func() error
}

func (s shredding) ResealDataKey(ctx context.Context, old, sealed []byte) error {
	return errors.Join(s.shred(), s.ResealStore.ResealDataKey(ctx, old, sealed))
}

// TestResealBringsNothingBack: a data key that is shredded meanwhile stays destroyed.
func TestResealBringsNothingBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.sealed(t, "acme", "github", 1)
	next, _, _ := rotated(t, f.key)
	s := shredding{f.db.Org("acme"), func() error { return f.vault.Shred(t.Context(), "acme") }}
	if again, err := vault.Reseal(t.Context(), s, next, "acme"); again || err != nil {
		t.Errorf("%v, %v", again, err)
	}
	if _, err := f.db.Org("acme").DataKey(t.Context()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("it is back: %v", err)
	}
	if _, err := opens(t.Context(), f.vault, "acme", c); !errors.Is(err, vault.ErrDestroyed) {
		t.Errorf("a shredded credential opens: %v", err)
	}
}
