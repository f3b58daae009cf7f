package keys_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/keys"
)

// kinds are one of each kind of JWT that can be made.
func kinds(t testing.TB, now time.Time, life time.Duration) map[string]delegation.Unsigned {
	t.Helper()
	root := unsigned(t, now, life)
	jag, err := root.IDJAG(delegation.IDJAG{ClientID: "there"})
	if err != nil {
		t.Fatal(err)
	}
	txn, err := root.TransactionToken(delegation.TransactionToken{Workload: "agent:acme/orchestrator"})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := delegation.Introspection{Issuer: issuer, Audience: "acme.orchestrator", IssuedAt: now, Members: []byte(`{"active":false}`)}.Unsigned()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]delegation.Unsigned{"at+jwt": root, "oauth-id-jag+jwt": jag, "txntoken+jwt": txn, "token-introspection+jwt": answer}
}

// TestKindsAreSignedApart: JW4, AT1, JG3, TT2, IN7. A ring signs these four kinds, each under its own typ, and nothing that was
// not approved.
func TestKindsAreSignedApart(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	r := open(t, &memory{}, kek(t), c.now)
	var typs []string
	for want, u := range kinds(t, c.now(), 5*time.Minute) {
		text, err := r.Sign(t.Context(), u)
		if err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		m, err := jose.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if m.Type() != want || !m.Plain() {
			t.Errorf("typ %q, want %q and no other member", m.Type(), want)
		}
		typs = append(typs, m.Type())
	}
	slices.Sort(typs)
	if typs = slices.Compact(typs); len(typs) != 4 {
		t.Errorf("%q are not four", typs)
	}
	if _, err := r.Sign(t.Context(), delegation.Unsigned{}); err == nil {
		t.Error("signed what nobody approved")
	}
}

// TestNoKindOutlivesItsKey: MD6. What would live longer than its key is published is not signed, whatever its kind.
func TestNoKindOutlivesItsKey(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Now()}
	for want, life := range map[string]time.Duration{"at+jwt": time.Hour, "oauth-id-jag+jwt": 5 * time.Minute, "txntoken+jwt": 5 * time.Minute} {
		t.Run("MD6 "+want, func(t *testing.T) {
			t.Parallel()
			short := policy
			short.MaxTokenLife = life - time.Minute
			r, err := keys.Open(t.Context(), keys.Config{Store: &memory{}, Key: kek(t), Policy: short, Burnt: sound, Now: c.now})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Sign(t.Context(), kinds(t, c.now(), life)[want]); !errors.Is(err, keys.ErrLife) {
				t.Errorf("%v, want %v", err, keys.ErrLife)
			}
		})
	}
}
