package exchange_test

import (
	"testing"
	"time"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
)

// TestOrgsChooseTheAlgorithm: D4, JW2, FA6. An org's tokens are signed with the algorithm that it chose, by that algorithm's own key;
// one that the server does not sign with gets none; and the FAPI profile gets none that it forbids.
func TestOrgsChooseTheAlgorithm(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	ring, err := keys.Open(t.Context(), keys.Config{Store: w.Store, Key: w.Key, Burnt: w.Set.Burnt, Now: w.Clock.Now, Policy: keys.Policy{
		Algorithm: jose.ES256, Algorithms: []jose.Algorithm{jose.EdDSA}, PublishAhead: time.Hour, ActiveFor: 30 * 24 * time.Hour,
		MaxTokenLife: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := w.Config()
	cfg.Signer, cfg.Algorithm = ring, jose.ES256
	w.Service, err = exchange.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	signed := func() jose.Algorithm {
		t.Helper()
		r, err := w.Service.Exchange(t.Context(), w.Orchestrator.Credential(), exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
		if err != nil {
			return ""
		}
		m, err := jose.Parse(r.AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		if k, err := ring.Key(t.Context(), m.KeyID(), m.Algorithm()); err != nil || k.Algorithm() != m.Algorithm() {
			t.Errorf("the key of %s is for %s: %v", m.Algorithm(), k.Algorithm(), err)
		}
		return m.Algorithm()
	}
	choose := func(alg string) {
		w.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.SigningAlgorithm = alg })
	}
	if got := signed(); got != jose.ES256 {
		t.Errorf("nothing was chosen: %q", got)
	}
	choose("EdDSA")
	if got := signed(); got != "" {
		t.Errorf("its key was not published for long enough: %q", got)
	}
	w.Advance(t, time.Hour)
	if err := ring.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := signed(); got != jose.EdDSA {
		t.Errorf("EdDSA was chosen: %q", got)
	}
	choose("PS256")
	if got := signed(); got != "" {
		t.Errorf("the server has no PS256: %q", got)
	}
	for alg, want := range map[string]bool{"": true, "PS256": true, "ES256": true, "EdDSA": true, "RS256": false, "HS256": false} {
		err := registry.Document{Org: "bank", Profile: registry.ProfileFAPI, SigningAlgorithm: alg}.Validate()
		if (err == nil) != want {
			t.Errorf("the profile fapi with %q: %v", alg, err)
		}
	}
}
