package exchange_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
)

func newSigner(t *testing.T, kid string, alg jose.Algorithm) jose.Signer {
	t.Helper()
	key, err := jose.Generate(alg)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(kid, alg, key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// TestSubjectAlgorithms: RS256, PS256, ES256 and EdDSA are taken (D4), unless the registration names fewer (JW1).
func TestSubjectAlgorithms(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	signers := map[jose.Algorithm]jose.Signer{}
	var keys []jose.Key
	for _, alg := range []jose.Algorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA} {
		signers[alg] = newSigner(t, "k-"+string(alg), alg)
		keys = append(keys, signers[alg].Key())
	}
	w.IDP.Publish(jose.NewKeySet(keys...))
	for alg, signer := range signers {
		want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(w.IDP.SignedBy(t, signer, string(alg), nil), "")), "")
	}
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.Issuers[0].Algorithms = []string{"ES256"} })
	want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(w.IDP.SignedBy(t, signers[jose.ES256], "a", nil), "")), "")
	want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(w.IDP.SignedBy(t, signers[jose.RS256], "a", nil), "")), exchange.SubjectTokenInvalid)
}

// TestRememberedLogin: a login that was verified once costs no fetch and survives its issuer's absence, but not the
// withdrawal of its key, nor a change of the org's trust, nor its own expiry.
func TestRememberedLogin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(t *testing.T, w *exchangetest.World)
		want   exchange.Reason
	}{
		"issuer away":     {func(_ *testing.T, w *exchangetest.World) { w.IDP.Down.Store(true) }, ""},
		"expired":         {func(t *testing.T, w *exchangetest.World) { w.Advance(t, 2*time.Hour) }, exchange.SubjectTokenInvalid},
		"trust withdrawn": {untrust, exchange.SubjectTokenInvalid},
		"JW3 key withdrawn": {func(t *testing.T, w *exchangetest.World) {
			w.IDP.Publish(jose.NewKeySet(newSigner(t, "idp-2", jose.ES256).Key()))
			w.Advance(t, 11*time.Minute)
			// The old set serves while the new one is fetched; the token of a new key waits for that fetch.
			_ = reason(t, w, w.Orchestrator, exchangetest.FirstHop(w.IDP.SignedBy(t, newSigner(t, "idp-3", jose.ES256), "bob", nil), ""))
		}, exchange.SubjectTokenInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := exchangetest.NewWorld(t)
			req := exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
			want(t, reason(t, w, w.Orchestrator, req), "")
			hits := w.IDP.Hits.Load()
			want(t, reason(t, w, w.Orchestrator, req), "")
			if w.IDP.Hits.Load() != hits {
				t.Error("a remembered login was fetched for")
			}
			c.change(t, w)
			want(t, reason(t, w, w.Orchestrator, req), c.want)
		})
	}
}

func untrust(t *testing.T, w *exchangetest.World) {
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) {
		d.Issuers = nil
		for i := range d.Agents { // whose audiences are those of issuers
			d.Agents[i].Audiences = nil
		}
	})
}

// TestRememberedForOneOrg: what one org's trust made good is not good for another.
func TestRememberedForOneOrg(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	req := exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read")
	want(t, reason(t, w, w.Orchestrator, req), "")
	want(t, reason(t, w, w.Stranger, req), exchange.DelegationDenied)
	req.SubjectTokenType = exchange.TypeJWT
	want(t, reason(t, w, w.Orchestrator, req), "") // registered for both types, and nothing says that it is the other
}

// TestKeyRotationAtIssuer: mcp-oauth-452, a new kid is fetched for at once; a flood of unknown ones is not.
func TestKeyRotationAtIssuer(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "")), "")
	next := newSigner(t, "idp-2", jose.ES256)
	w.IDP.Publish(jose.NewKeySet(w.IDP.Key.Key(), next.Key()))
	w.Advance(t, time.Minute)
	want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(w.IDP.SignedBy(t, next, "alice", nil), "")), "")
	hits := w.IDP.Hits.Load()
	forged := newSigner(t, "idp-9", jose.ES256)
	for range 20 {
		want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(w.IDP.SignedBy(t, forged, "alice", nil), "")), exchange.SubjectTokenInvalid)
	}
	if n := w.IDP.Hits.Load() - hits; n > 1 {
		t.Errorf("%d fetches for one unknown kid", n)
	}
}

// TestDiscoveryRefuses: a document of another issuer, a redirect, a private address, an issuer that is away. None of them can
// be told from the token, so the caller may try again.
func TestDiscoveryRefuses(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(w *exchangetest.World, cfg *exchange.Config){
		"another issuer": func(w *exchangetest.World, _ *exchange.Config) {
			w.IDP.Describe(map[string]any{"issuer": "https://elsewhere.test", "jwks_uri": w.IDP.URL + "/keys"})
		},
		"no jwks_uri": func(w *exchangetest.World, _ *exchange.Config) { w.IDP.Describe(map[string]any{"issuer": w.IDP.URL}) },
		"JW13 jwks_uri in plain text elsewhere": func(w *exchangetest.World, _ *exchange.Config) {
			w.IDP.Describe(map[string]any{"issuer": w.IDP.URL, "jwks_uri": "http://keys.test/"})
		},
		"away":                   func(w *exchangetest.World, _ *exchange.Config) { w.IDP.Down.Store(true) },
		"JW13 a private address": func(_ *exchangetest.World, cfg *exchange.Config) { cfg.HTTP = egress.NewClient(egress.Config{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := exchangetest.NewWorld(t)
			cfg := w.Config()
			spoil(w, &cfg)
			s, err := exchange.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				_, err = s.Exchange(t.Context(), w.Orchestrator.Credential(), exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), ""))
				want(t, exchange.ReasonOf(err), exchange.DependencyUnavailable)
			}
			if n := w.IDP.Hits.Load(); n > 1 {
				t.Errorf("%d requests to an issuer that fails", n)
			}
		})
	}
}

// TestDiscoveryFollowsNoRedirect: JW13.
func TestDiscoveryFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	redirect := httptest.NewServer(http.RedirectHandler(w.IDP.URL+"/.well-known/openid-configuration", http.StatusFound))
	t.Cleanup(redirect.Close)
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.Issuers[0].URL = redirect.URL })
	login := w.IDP.IDToken(t, "alice", func(c exchangetest.Claims) { c["iss"] = redirect.URL })
	want(t, reason(t, w, w.Orchestrator, exchangetest.FirstHop(login, "")), exchange.DependencyUnavailable)
	if w.IDP.Hits.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

// TestDiscoveryOnce: nanobot-220, a storm of first logins asks the issuer once for its document and once for its keys.
func TestDiscoveryOnce(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			_, err := w.Service.Exchange(t.Context(), w.Orchestrator.Credential(), exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), ""))
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := w.IDP.Hits.Load(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// TestDiscoveryWaitsNoLongerThanTheCaller: a slow issuer holds nobody beyond its own patience.
func TestDiscoveryWaitsNoLongerThanTheCaller(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(release) })
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.Issuers[0].URL = slow.URL })
	login := w.IDP.IDToken(t, "alice", func(c exchangetest.Claims) { c["iss"] = slow.URL })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := w.Service.Exchange(ctx, w.Orchestrator.Credential(), exchangetest.FirstHop(login, ""))
	if !errors.Is(err, ctx.Err()) || err == nil {
		t.Errorf("got %v", err)
	}
}
