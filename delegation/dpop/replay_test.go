package dpop_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/jose"
)

// TestReplay: DP3: a proof is good once, on all replicas that share a memory.
func TestReplay(t *testing.T) {
	t.Parallel()
	s := newSigner(t, jose.ES256)
	memory := dpop.NewMemory(10)
	newVerifier := func(r dpop.Replay) *dpop.Verifier {
		v, err := dpop.NewVerifier(newChecker(t, dpop.Config{}), r)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	one, two := newVerifier(memory), newVerifier(memory)
	request := func(change map[string]any) dpop.Request {
		return dpop.Request{Proofs: []string{proofOf(t, s, change)}, Method: "POST", URI: tokenEndpoint}
	}
	r := request(nil)
	if jkt, err := one.Verify(t.Context(), r); err != nil || jkt != s.Key().Thumbprint() {
		t.Fatalf("%s, %v", jkt, err)
	}
	t.Run("DP3 the same proof twice", func(t *testing.T) {
		if jkt, err := one.Verify(t.Context(), r); !errors.Is(err, dpop.ErrProof) {
			t.Errorf("%s, %v", jkt, err)
		}
	})
	t.Run("DP3 the same proof on another replica", func(t *testing.T) {
		if _, err := two.Verify(t.Context(), r); !errors.Is(err, dpop.ErrProof) {
			t.Error(err)
		}
	})
	t.Run("DP3 the same jti signed anew", func(t *testing.T) {
		if _, err := one.Verify(t.Context(), request(map[string]any{"iat": noon.Unix() - 1})); !errors.Is(err, dpop.ErrProof) {
			t.Error(err)
		}
	})
	t.Run("DP3 a fresh jti", func(t *testing.T) {
		if _, err := one.Verify(t.Context(), request(map[string]any{"jti": "fresh"})); err != nil {
			t.Error(err)
		}
	})
	t.Run("DP3 a bad proof is not remembered", func(t *testing.T) {
		spoiled := request(map[string]any{"jti": "twice"})
		spoiled.Method = "GET"
		if _, err := one.Verify(t.Context(), spoiled); !errors.Is(err, dpop.ErrProof) {
			t.Error(err)
		}
		spoiled.Method = "POST"
		if _, err := one.Verify(t.Context(), spoiled); err != nil {
			t.Error(err)
		}
	})
	t.Run("DP3 a memory that cannot be asked", func(t *testing.T) {
		broken := newVerifier(func(context.Context, [32]byte, time.Time) (bool, error) { return true, errors.New("broken") })
		if _, err := broken.Verify(t.Context(), request(nil)); !errors.Is(err, dpop.ErrUnavailable) || errors.Is(err, dpop.ErrProof) {
			t.Error(err)
		}
	})
	if _, err := dpop.NewVerifier(nil, memory); err == nil {
		t.Error("a verifier without a checker")
	}
	if _, err := dpop.NewVerifier(newChecker(t, dpop.Config{}), nil); err == nil {
		t.Error("a verifier without a memory")
	}
}

// TestMemoryIsOneUse: DP3: of many at once, exactly one is the first.
func TestMemoryIsOneUse(t *testing.T) {
	t.Parallel()
	memory := dpop.NewMemory(10)
	var first atomic.Int32
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if ok, err := memory(t.Context(), [32]byte{7}, noon); err == nil && ok {
				first.Add(1)
			}
		})
	}
	wg.Wait()
	if first.Load() != 1 {
		t.Errorf("%d were the first", first.Load())
	}
}
