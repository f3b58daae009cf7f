package exchange_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/telemetry"
)

// guess sends a secret from an address, and answers with the reason and how long to wait.
func guess(t *testing.T, s *exchange.Service, clientID, secret, from string) (exchange.Reason, time.Duration) {
	t.Helper()
	cred := exchange.Credential{ClientID: clientID, Secret: telemetry.Secret(secret), RemoteIP: netip.MustParseAddr(from)}
	_, err := s.Exchange(t.Context(), cred, exchange.Request{})
	if e, ok := errors.AsType[*exchange.Error](err); ok {
		return e.Reason, e.RetryAfter
	}
	return exchange.ReasonOf(err), 0
}

// authenticated is what a request gets that is empty, from a client that is known.
const authenticated = exchange.InvalidRequest

// TestGuessing: TE15, guesses of one address are slowed down; nobody else is.
func TestGuessing(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	ask := func(secret, from string) (exchange.Reason, time.Duration) {
		return guess(t, w.Service, w.Orchestrator.ClientID, secret, from)
	}
	for range 10 {
		got, _ := ask("a guess", "192.0.2.7")
		want(t, got, exchange.InvalidClient)
	}
	got, wait := ask("a guess", "192.0.2.7")
	want(t, got, exchange.RateLimited)
	if wait <= 0 || wait > time.Minute {
		t.Errorf("retry after %s", wait)
	}
	got, _ = ask(w.Orchestrator.Secret, "192.0.2.7") // a right one is told apart by nothing
	want(t, got, exchange.RateLimited)
	got, _ = ask(w.Orchestrator.Secret, "192.0.2.8") // from elsewhere, the client works
	want(t, got, authenticated)
	got, _ = guess(t, w.Service, w.Courier.ClientID, w.Courier.Secret, "192.0.2.7") // another client too
	want(t, got, authenticated)
	want(t, withCredential(t, w, w.Orchestrator.AssertionCredential(t, w, nil)), "") // nobody guesses a signature
	w.Advance(t, wait)
	got, _ = ask(w.Orchestrator.Secret, "192.0.2.7")
	want(t, got, authenticated)
}

// TestGuessingTellsNothing: TE15, a client that does not exist is throttled like one that does.
func TestGuessingTellsNothing(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	for n := range 15 {
		known, knownWait := guess(t, w.Service, w.Orchestrator.ClientID, "a guess", "192.0.2.7")
		unknown, unknownWait := guess(t, w.Service, "acme.nobody", "a guess", "192.0.2.9")
		if known != unknown || knownWait != unknownWait {
			t.Errorf("guess %d: %s after %s, %s after %s", n, known, knownWait, unknown, unknownWait)
		}
	}
}

// TestGuessingFromManyAddresses: TE15, a client whose secret many guess at gives each of them one guess, and goes on working
// for who never guessed wrong; an IPv6 guesser has all of its network.
func TestGuessingFromManyAddresses(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	ask := func(secret, from string) exchange.Reason {
		got, _ := guess(t, w.Service, w.Orchestrator.ClientID, secret, from)
		return got
	}
	from := netip.MustParseAddr("198.51.100.1")
	for range 100 {
		want(t, ask("a guess", from.String()), exchange.InvalidClient)
		from = from.Next()
	}
	want(t, ask("a guess", "203.0.113.1"), exchange.InvalidClient)
	want(t, ask("a guess", "203.0.113.1"), exchange.RateLimited)
	want(t, ask(w.Orchestrator.Secret, "203.0.113.2"), authenticated)
	want(t, ask("a guess", "2001:db8::1"), exchange.InvalidClient)
	want(t, ask("a guess", "2001:db8::ffff"), exchange.RateLimited)
	want(t, ask(w.Orchestrator.Secret, "2001:db8:0:1::1"), authenticated)
}

// TestSprayingManyClients: TE15, one address that tries many clients is slowed down as a whole.
func TestSprayingManyClients(t *testing.T) {
	t.Parallel()
	w := exchangetest.NewWorld(t)
	names := []byte("aa")
	limited := 0
	for n := range 400 {
		names[0], names[1] = 'a'+byte(n%26), 'a'+byte(n/26)
		if got, _ := guess(t, w.Service, "acme."+string(names), "a guess", "192.0.2.7"); got == exchange.RateLimited {
			limited++
		}
	}
	if limited != 100 {
		t.Errorf("%d of 400 were turned away", limited)
	}
}

// TestRates: TE15, an agent and an org ask for so much, by the narrower of the operator's and the org's limits.
func TestRates(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		operator         exchange.Rates
		org              registry.Limits
		client, together int // how many the orchestrator gets at once, and then the courier beside it
	}{
		"TE15 no limits":                          {exchange.Rates{}, registry.Limits{}, 50, 50},
		"TE15 the operator's for a client":        {exchange.Rates{Client: 3}, registry.Limits{}, 6, 6},
		"TE15 the org's own for a client":         {exchange.Rates{}, registry.Limits{AgentRate: 2}, 4, 4},
		"TE15 an org narrows":                     {exchange.Rates{Client: 3}, registry.Limits{AgentRate: 2}, 4, 4},
		"TE15 an org cannot widen":                {exchange.Rates{Client: 3}, registry.Limits{AgentRate: 50}, 6, 6},
		"TE15 the operator's for an org":          {exchange.Rates{Org: 4}, registry.Limits{}, 8, 0},
		"TE15 the org's own for the org":          {exchange.Rates{Org: 40}, registry.Limits{Rate: 2}, 4, 0},
		"TE15 a client's excess is not its org's": {exchange.Rates{Org: 4, Client: 3}, registry.Limits{}, 6, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := exchangetest.NewWorld(t)
			w.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.Limits = c.org })
			cfg := w.Config()
			cfg.Rates = c.operator
			s, err := exchange.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			through := func(a exchangetest.Agent) (n int, wait time.Duration) {
				for range 50 {
					switch got, after := guess(t, s, a.ClientID, a.Secret, "192.0.2.7"); got {
					case authenticated:
						n++
					case exchange.RateLimited:
						wait = after
					default:
						t.Fatalf("got %q", got)
					}
				}
				return n, wait
			}
			n, wait := through(w.Orchestrator)
			if n != c.client || (n < 50) != (wait > 0) {
				t.Errorf("the orchestrator got %d, wait %s", n, wait)
			}
			if n, _ := through(w.Courier); n != c.together {
				t.Errorf("the courier got %d", n)
			}
			w.Advance(t, time.Second)
			if n, _ := through(w.Orchestrator); n == 0 {
				t.Error("a second later still nothing")
			}
		})
	}
}
