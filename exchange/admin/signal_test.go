package admin_test

import (
	"errors"
	"testing"
	"time"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/revocation"
)

// TestSignal: SS4, SS7. A repeated SET does what is missing, and no more; what it does is as of the event, and lives as long as what
// it refuses; what cannot be recorded is not done.
func TestSignal(t *testing.T) {
	t.Parallel()
	w, s := start(t)
	at := w.Clock.Now().Add(-time.Hour)
	sig := exchange.Signal{Org: "acme", Stream: "events", ID: "j-1", Repeated: true, Effect: signals.Effect{
		Event: "sessions-revoked", Kind: revocation.Subject, ID: "user:acme/okta|alice", Before: at,
	}}
	check := func(entries, records int) {
		t.Helper()
		list, err := s.ListRevocations(t.Context(), "acme", 0, 100)
		if err != nil || len(list) != entries || len(w.Records(t, "acme")) != records {
			t.Fatalf("%+v, %d records, %v", list, len(w.Records(t, "acme")), err)
		}
		for _, e := range list {
			if !e.Before.Equal(at) || e.Until.Before(w.Clock.Now().Add(exchange.MaxLoginAge)) {
				t.Errorf("%+v", e)
			}
		}
	}
	signal := func() {
		t.Helper()
		if err := s.Signal(t.Context(), sig); err != nil {
			t.Fatal(err)
		}
	}
	signal() // the server died over the first delivery
	check(1, 1)
	signal()
	check(1, 1)
	sig.Effect.Departed = true // more than what is in force
	signal()
	check(2, 2)

	cfg := w.Admin()
	cfg.Audit = noTrail{}
	broken, err := admin.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sig.Repeated = false
	if err := broken.Signal(t.Context(), sig); !errors.Is(err, errTrail) {
		t.Errorf("got %v", err)
	}
	check(2, 2)
}
