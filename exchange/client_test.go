package exchange_test

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
)

func withCredential(t *testing.T, w *exchangetest.World, cred exchange.Credential) exchange.Reason {
	t.Helper()
	_, err := w.Service.Exchange(t.Context(), cred, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
	return exchange.ReasonOf(err)
}

// TestCredentialsAtOdds: what some doors cannot even carry.
func TestCredentialsAtOdds(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	both := w.Orchestrator.AssertionCredential(t, w, nil)
	both.Secret = telemetry.Secret(w.Orchestrator.Secret)
	want(t, withCredential(t, w, both), exchange.InvalidClient) // TE11, RFC 7521 §4.2.1
	other := w.Orchestrator.AssertionCredential(t, w, nil)
	other.ClientID = w.Researcher.ClientID
	want(t, withCredential(t, w, other), exchange.InvalidClient) // CA6
	same := w.Orchestrator.AssertionCredential(t, w, nil)
	same.ClientID = w.Orchestrator.ClientID
	want(t, withCredential(t, w, same), "") // CA6
	want(t, withCredential(t, w, exchange.Credential{ClientID: w.Orchestrator.ClientID, Secret: telemetry.Secret(strings.Repeat("x", 1<<20))}), exchange.InvalidClient)
}

// TestForgerUsesUpNothing: a jti is consumed only after the signature was verified, so nobody can use up another's assertion.
func TestForgerUsesUpNothing(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	thief := w.Orchestrator
	thief.Key = w.Researcher.Key
	same := func(c exchangetest.Claims) { c["jti"] = "the-same" }
	want(t, withCredential(t, w, thief.AssertionCredential(t, w, same)), exchange.InvalidClient)
	want(t, withCredential(t, w, w.Orchestrator.AssertionCredential(t, w, same)), "")
	want(t, withCredential(t, w, w.Orchestrator.AssertionCredential(t, w, same)), exchange.InvalidClient)
	// A jti belongs to its signer: another agent may have the same.
	_, err := w.Service.Exchange(t.Context(), w.Researcher.AssertionCredential(t, w, same), exchange.Request{})
	want(t, exchange.ReasonOf(err), exchange.InvalidRequest)
}

// TestSingleUseOutlivesTheService: what was used stays used for another replica on the same store.
func TestSingleUseOutlivesTheService(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	cred := w.Orchestrator.AssertionCredential(t, w, nil)
	want(t, withCredential(t, w, cred), "")
	another, err := exchange.New(w.Config())
	if err != nil {
		t.Fatal(err)
	}
	_, err = another.Exchange(t.Context(), cred, exchangetest.FirstHop(w.IDP.IDToken(t, "alice", nil), "github:read"))
	want(t, exchange.ReasonOf(err), exchange.InvalidClient)
}

// TestTwoLiveSecrets: the newest secret and the one before it work, and no older one.
func TestTwoLiveSecrets(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	put := func(secret string) {
		w.Advance(t, time.Second)
		s := store.ClientSecret{Agent: "orchestrator", Hash: sha256.Sum256([]byte(secret)), Created: w.Clock.Now()}
		if err := w.Store.Org("acme").PutClientSecret(t.Context(), s, registry.MaxSecrets); err != nil {
			t.Fatal(err)
		}
		w.Advance(t, 0)
	}
	works := func(secret string) exchange.Reason {
		return withCredential(t, w, exchange.Credential{ClientID: w.Orchestrator.ClientID, Secret: telemetry.Secret(secret)})
	}
	want(t, works(w.Orchestrator.Secret), "")
	put("second")
	want(t, works(w.Orchestrator.Secret), "")
	want(t, works("second"), "")
	put("third")
	want(t, works(w.Orchestrator.Secret), exchange.InvalidClient)
	want(t, works("second"), "")
	want(t, works("third"), "")
	want(t, works(""), exchange.InvalidClient)
}

// TestAgentWithoutSecret: an agent that has no secret has no secret that works, the empty hash included.
func TestAgentWithoutSecret(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	w.Apply(t, exchangetest.Acme, func(d *registry.Document) {
		d.Agents = append(d.Agents, registry.Agent{Name: "keyed", Scopes: []string{"github:read"}, JWKS: jose.NewKeySet(w.Courier.Key.Key()).JSON()})
	})
	want(t, withCredential(t, w, exchange.Credential{ClientID: "acme.keyed", Secret: "x"}), exchange.InvalidClient)
	want(t, withCredential(t, w, exchange.Credential{ClientID: "acme.keyed", Secret: telemetry.Secret(strings.Repeat("\x00", 32))}), exchange.InvalidClient)
}
