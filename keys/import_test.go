package keys_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
)

// TestImport: a key that the operator made succeeds the one that signs, as JWK or PEM, under its thumbprint; and what is not a sound
// private key of the one algorithm (JW2) does not.
func TestImport(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(*testing.T) []byte{
		"JWK": func(t *testing.T) []byte {
			private, err := jose.Generate(jose.ES256)
			if err != nil {
				t.Fatal(err)
			}
			text, err := jose.MarshalPrivateJWK("mine", jose.ES256, private)
			if err != nil {
				t.Fatal(err)
			}
			return text
		},
		"PEM": func(t *testing.T) []byte {
			private, err := jose.Generate(jose.ES256)
			if err != nil {
				t.Fatal(err)
			}
			der, err := x509.MarshalPKCS8PrivateKey(private)
			if err != nil {
				t.Fatal(err)
			}
			return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, m, key := &clock{at: time.Now()}, &memory{}, kek(t)
			r, secret := open(t, m, key, c.now), write(t)
			id, err := r.Import(t.Context(), keys.ImportRequest{Algorithm: jose.ES256, Private: secret})
			if err != nil {
				t.Fatal(err)
			}
			again, err := r.Import(t.Context(), keys.ImportRequest{Algorithm: jose.ES256, Private: secret})
			if err != nil || again != id || len(r.Keys()) != 2 {
				t.Errorf("a second time: %s, %v", again, err)
			}
			if _, err := r.Import(t.Context(), keys.ImportRequest{Algorithm: jose.ES256, Private: write(t)}); !errors.Is(err, keys.ErrWaiting) {
				t.Errorf("another while it waits: %v", err)
			}
			c.add(policy.PublishAhead)
			text, err := open(t, m, key, c.now).Sign(t.Context(), unsigned(t, c.now(), time.Minute))
			if err != nil || kid(t, text) != id {
				t.Errorf("after a restart %s signs, want %s: %v", kid(t, text), id, err)
			}
		})
	}
	r := open(t, &memory{}, kek(t), time.Now)
	for name, req := range map[string]keys.ImportRequest{
		"nothing":              {Algorithm: jose.ES256},
		"no key":               {Algorithm: jose.ES256, Private: []byte("key")},
		"a public key":         {Algorithm: jose.ES256, Private: r.JWKS()},
		"another algorithm":    {Algorithm: jose.EdDSA, Private: []byte(`{}`)},
		"a source that is not": {Algorithm: jose.ES256, Source: "pkcs11", Reference: "x"},
	} {
		if _, err := r.Import(t.Context(), req); err == nil || strings.Contains(err.Error(), `"d"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestVerifiersThatCache: MD6. Two replicas rotate for a quarter, the operator brings rotations forward, and a verifier keeps each key
// set for as long as it may, and never asks because of an unknown kid: no unexpired token fails.
func TestVerifiersThatCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m, key := &memory{}, kek(t)
		rings := []*keys.Ring{open(t, m, key, time.Now), open(t, m, key, time.Now)}
		var wg sync.WaitGroup
		for _, r := range rings {
			wg.Go(func() { _ = r.Run(ctx) })
		}
		var verifier *delegation.Verifier
		fetched, signers := time.Time{}, map[string]bool{}
		verify := func(text string) {
			t.Helper()
			if time.Since(fetched) >= policy.PublishAhead*8/10 { // the rest is what a replica may take to hear of a new key
				fetched = time.Now()
				set, err := jose.ParseKeySet(rings[len(signers)%2].JWKS())
				if err != nil {
					t.Fatal(err)
				}
				if verifier, err = delegation.NewVerifier(delegation.VerifierConfig{Issuer: issuer, Audience: audience,
					Keys: delegation.StaticKeys(set), Revocations: delegation.NoRevocations}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := verifier.Verify(ctx, text); err != nil {
				t.Fatalf("%s: %v", time.Now(), err)
			}
		}
		for i := range 92 * 24 {
			if i%331 == 330 {
				if err := rings[i%2].Rotate(ctx); err != nil {
					t.Fatal(err)
				}
			}
			text, err := rings[i%2].Sign(ctx, unsigned(t, time.Now(), policy.MaxTokenLife))
			if err != nil {
				t.Fatal(err)
			}
			signers[kid(t, text)] = true
			verify(text)
			time.Sleep(policy.MaxTokenLife - time.Second)
			verify(text)
			time.Sleep(time.Hour - policy.MaxTokenLife)
		}
		cancel()
		wg.Wait()
		if len(signers) < 6 {
			t.Errorf("%d keys signed", len(signers))
		}
	})
}
