package e2e_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/revocation"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/wire/feedgrpc"
)

// verdict is what a verifier says of a token.
type verdict string

const (
	accepted    verdict = "accepted"
	revoked     verdict = "revoked"
	unavailable verdict = "unavailable"
)

// verifier is a service in this process that follows the feed at an address, as an internal service does.
type verifier struct {
	tokens *delegation.Verifier

	mu       sync.Mutex
	versions map[delegation.OrgID]string // of the policies that it was told
}

// staleAfter is the bound of the verifiers in this process.
const staleAfter = 2 * time.Second

func (w *world) newVerifier(t *testing.T, feed string) *verifier {
	t.Helper()
	v := &verifier{versions: map[delegation.OrgID]string{}}
	set := revocation.NewSet(staleAfter)
	secret, err := os.ReadFile(filepath.Join(w.dir, "feed"))
	if err != nil {
		t.Fatal(err)
	}
	follower, err := revocation.NewFollower(revocation.FollowerConfig{
		Feeds: []revocation.Feed{feedgrpc.Client{Address: feed, Token: func() (telemetry.Secret, error) { return telemetry.Secret(secret), nil }}},
		Set:   set, Name: "verifier", Log: slog.New(slog.DiscardHandler),
		OnPolicy: func(p revocation.Policy) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.versions[p.Org] = p.Version
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := jose.ParseKeySet(get(t, w.issuer+"/jwks"))
	if err != nil {
		t.Fatal(err)
	}
	v.tokens, err = delegation.NewVerifier(delegation.VerifierConfig{
		Issuer: w.issuer, Audience: audience, Keys: delegation.StaticKeys(keys), Revocations: set,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = follower.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return v
}

func (v *verifier) judge(ctx context.Context, token string) (verdict, error) {
	_, err := v.tokens.Verify(ctx, token)
	switch {
	case err == nil:
		return accepted, nil
	case errors.Is(err, delegation.ErrRevoked):
		return revoked, nil
	case errors.Is(err, delegation.ErrUnavailable):
		return unavailable, nil
	}
	return "", err
}

// policy is the version of an org's policy that the verifier was told last.
func (v *verifier) policy(org string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.versions[delegation.OrgID(org)]
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return body
}
