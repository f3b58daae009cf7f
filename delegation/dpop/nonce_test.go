package dpop_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation/dpop"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/seal"
)

func newKey(t *testing.T) seal.Key {
	t.Helper()
	key, err := seal.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func issue(t *testing.T, n *dpop.Nonces, now time.Time) string {
	t.Helper()
	nonce, err := n.Issue(now)
	if err != nil {
		t.Fatal(err)
	}
	return nonce
}

// TestNonces: DP4: unpredictable, good for a while and on every replica, and only where they were handed out.
func TestNonces(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	as, replica, rs := dpop.NewNonces(key, "as", time.Minute), dpop.NewNonces(key, "as", time.Minute), dpop.NewNonces(key, "rs", time.Minute)
	nonce := issue(t, as, noon)
	flipped := []byte(nonce)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		by    *dpop.Nonces
		nonce string
		now   time.Time
		want  bool
	}{
		"DP4 at once":                     {as, nonce, noon, true},
		"DP4 used again":                  {as, nonce, noon.Add(time.Second), true},
		"DP4 on another replica":          {replica, nonce, noon, true},
		"DP4 on a clock that is behind":   {replica, nonce, noon.Add(-10 * time.Second), true},
		"DP4 from the future":             {replica, nonce, noon.Add(-11 * time.Second), false},
		"DP4 at the end of its life":      {as, nonce, noon.Add(59 * time.Second), true},
		"DP4 behind its life":             {as, nonce, noon.Add(60 * time.Second), false},
		"DP4 of the other kind":           {rs, nonce, noon, false},
		"DP4 of another key":              {dpop.NewNonces(newKey(t), "as", time.Minute), nonce, noon, false},
		"DP4 changed":                     {as, string(flipped), noon, false},
		"DP4 none":                        {as, "", noon, false},
		"DP4 not base64url":               {as, "!" + nonce, noon, false},
		"DP4 too long":                    {as, strings.Repeat("A", 300), noon, false},
		"DP4 made up":                     {as, base64.RawURLEncoding.EncodeToString([]byte("made up")), noon, false},
		"DP4 nobody to ask":               {nil, nonce, noon, false},
		"DP4 life of 5 minutes by itself": {dpop.NewNonces(key, "as", 0), nonce, noon.Add(299 * time.Second), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.by.Valid(c.nonce, c.now); got != c.want {
				t.Errorf("valid: %t", got)
			}
		})
	}
	seen := map[string]bool{}
	for second := range 100 {
		seen[issue(t, as, noon.Add(time.Duration(second)*time.Second))] = true
	}
	if len(seen) != 100 || strings.Trim(nonce, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("%d of 100 differ, %q", len(seen), nonce)
	}
	if _, err := dpop.NewNonces(nil, "as", 0).Issue(noon); !errors.Is(err, dpop.ErrUnavailable) {
		t.Errorf("nonces without a key: %v", err)
	}
	// Another text that was sealed for us is no nonce.
	sealed, err := key.Seal([]byte("x"), []byte("dpop nonce for as"))
	if err != nil {
		t.Fatal(err)
	}
	if as.Valid(base64.RawURLEncoding.EncodeToString(sealed), noon) {
		t.Error("a text that is no time")
	}
}

// counting is a Sealer that counts what it seals.
type counting struct {
	dpop.Sealer
	sealed atomic.Int64
}

func (c *counting) Seal(plaintext, associated []byte) ([]byte, error) {
	c.sealed.Add(1)
	return c.Sealer.Seal(plaintext, associated)
}

// TestNoncesSpareTheKey: DP4. Strangers can ask for nonces as fast as they like, and the key, which may seal other things too, is
// not for any number of messages.
func TestNoncesSpareTheKey(t *testing.T) {
	t.Parallel()
	key := &counting{Sealer: newKey(t)}
	n := dpop.NewNonces(key, "as", 0)
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			if nonce, err := n.Issue(noon.Add(time.Duration(i) * time.Millisecond)); err != nil || !n.Valid(nonce, noon) {
				t.Errorf("%q, %v", nonce, err)
			}
		})
	}
	wg.Wait()
	if got := key.sealed.Load(); got != 1 {
		t.Errorf("sealed %d times in a second", got)
	}
}

// TestNonceIsAsked: DP4: with nonces, a proof has one of ours; only who did the rest right is told so.
func TestNonceIsAsked(t *testing.T) {
	t.Parallel()
	s := newSigner(t, jose.ES256)
	checker := newChecker(t, dpop.Config{Nonces: dpop.NewNonces(newKey(t), "as", 0)})
	check := func(change map[string]any) error {
		_, err := checker.Check(dpop.Request{Proofs: []string{proofOf(t, s, change)}, Method: "POST", URI: tokenEndpoint})
		return err
	}
	nonce, err := checker.Nonce()
	if err != nil || nonce == "" {
		t.Fatal(err)
	}
	if err := check(map[string]any{"nonce": nonce}); err != nil {
		t.Error(err)
	}
	for name, nonce := range map[string]any{"DP4 without": nil, "DP4 with an empty one": "", "DP4 with another's": "x"} {
		t.Run(name, func(t *testing.T) {
			if err := check(map[string]any{"nonce": nonce}); !errors.Is(err, dpop.ErrNonce) || errors.Is(err, dpop.ErrProof) {
				t.Error(err)
			}
		})
	}
	if err := check(map[string]any{"nonce": nil, "htm": "GET"}); !errors.Is(err, dpop.ErrProof) {
		t.Errorf("a bad proof without nonce: %v", err)
	}
	if err := check(map[string]any{"nonce": 7}); !errors.Is(err, dpop.ErrProof) {
		t.Errorf("a nonce of the wrong kind: %v", err)
	}
	if nonce, err := newChecker(t, dpop.Config{}).Nonce(); nonce != "" || err != nil {
		t.Errorf("a nonce %q that nobody asks for: %v", nonce, err)
	}
}
