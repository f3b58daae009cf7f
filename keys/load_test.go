package keys_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
)

// TestPlannedRotationUnderLoad: while two replicas sign and rotate, a verifier that keeps the key set for half of the time for which a
// key is published ahead takes every token.
func TestPlannedRotationUnderLoad(t *testing.T) {
	t.Parallel()
	m, k := &memory{}, kek(t)
	c := &clock{at: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)}
	a, b := open(t, m, k, c.now), open(t, m, k, c.now)
	var set atomic.Pointer[jose.KeySet]
	fetch := func() {
		s, err := jose.ParseKeySet(b.JWKS())
		if err != nil {
			t.Error(err)
		}
		set.Store(&s)
	}
	fetch()
	good := func(token string) {
		message, err := jose.Parse(token)
		if err != nil {
			t.Error(err)
			return
		}
		key, ok := set.Load().Find(message.KeyID(), message.Algorithm())
		if !ok {
			t.Errorf("the key %s is not in the set of the verifier", message.KeyID())
		} else if _, err := message.Verify(key); err != nil {
			t.Error(err)
		}
	}
	done := make(chan struct{})
	var signed atomic.Int64
	kids := sync.Map{}
	var all sync.WaitGroup
	for i := range 4 {
		ring := a
		if i%2 == 1 {
			ring = b
		}
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				token, err := ring.Sign(t.Context(), unsigned(t, c.now(), time.Minute))
				if err != nil {
					t.Error(err)
					return
				}
				good(token)
				kids.Store(kid(t, token), true)
				signed.Add(1)
			}
		})
	}
	for step := range 240 { // minutes
		if step%60 == 0 {
			if err := a.Rotate(t.Context()); err != nil {
				t.Error(err)
			}
		}
		before := signed.Load()
		for signed.Load() < before+8 && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
		c.add(time.Minute)
		for _, r := range []*keys.Ring{a, b} {
			if err := r.Reload(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if step%30 == 0 {
			fetch()
		}
	}
	close(done)
	all.Wait()
	n := 0
	kids.Range(func(any, any) bool { n++; return true })
	if n < 3 {
		t.Errorf("%d keys signed: nothing was rotated", n)
	}
	t.Logf("%d tokens by %d keys", signed.Load(), n)
}
