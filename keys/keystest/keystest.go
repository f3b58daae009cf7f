// Package keystest is what the tests of a keys.Source have in common: a store of signing keys in memory, and a token that is signed
// and verified.
package keystest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
	"github.com/onbehalf/obo/store"
)

// Store is a keys.Store in memory. Its zero value is empty.
type Store struct {
	mu         sync.Mutex
	keys       []store.SigningKey
	generation int64
}

// SigningKeys implements keys.Store.
func (s *Store) SigningKeys(context.Context) ([]store.SigningKey, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys), s.generation, nil
}

// PutSigningKeys implements keys.Store.
func (s *Store) PutSigningKeys(_ context.Context, generation int64, keys []store.SigningKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if generation != s.generation {
		return store.ErrConflict
	}
	s.keys, s.generation = slices.Clone(keys), generation+1
	return nil
}

// Signs lets a ring sign a token with an algorithm, verifies it by the published set alone, and answers with the kid.
func Signs(t testing.TB, r *keys.Ring, alg jose.Algorithm, now time.Time) string {
	t.Helper()
	scope, err := delegation.ParseScopes("github:read")
	must(t, err)
	u, err := delegation.Root(delegation.Subject{ID: "user:acme/okta|1"}, delegation.Grant{
		Issuer: "https://sts.example", Org: "acme", ClientID: "acme.a", Actor: "agent:acme/a", Audience: "https://e.example", Scope: scope,
		ID: "j", Transaction: "t", Now: now, Life: time.Minute,
	})
	must(t, err)
	token, err := r.Sign(t.Context(), u.SignedWith(alg))
	must(t, err)
	set, err := jose.ParseKeySet(r.JWKS())
	must(t, err)
	v, err := delegation.NewVerifier(delegation.VerifierConfig{
		Issuer: "https://sts.example", Audience: "https://e.example", Keys: delegation.StaticKeys(set), Revocations: delegation.NoRevocations,
		Now: func() time.Time { return now },
	})
	must(t, err)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("%s: %v", alg, err)
	}
	m, err := jose.Parse(token)
	must(t, err)
	if m.Algorithm() != alg {
		t.Errorf("signed with %s, want %s", m.Algorithm(), alg)
	}
	return m.KeyID()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
