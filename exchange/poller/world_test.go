package poller

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/egress"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/store"
)

const bearer = "transmitter-credential"

// receiving is a world with a stream that is polled, and a poller whose steps a test takes one by one.
type receiving struct {
	*exchangetest.World
	transmitter *exchangetest.Transmitter
	poller      *Poller
	target      target
	state       *state
	at          signals.Polled
}

// receive starts one. change may break a part of what the poller hands SETs to.
func receive(t testing.TB, change func(*exchange.Config)) *receiving {
	t.Helper()
	w := exchangetest.NewWorld(t)
	x := exchangetest.NewTransmitter(bearer)
	x.Hold = time.Millisecond
	server := httptest.NewServer(x)
	t.Cleanup(server.Close)
	w.Listen(t, func(s *registry.SignalStream) { s.PollEndpoint = server.URL + "/poll" })
	cfg := w.Config()
	cfg.Signals = w.Revoker(t)
	if change != nil {
		change(&cfg)
	}
	var err error
	if w.Service, err = exchange.New(cfg); err != nil {
		t.Fatal(err)
	}
	r := &receiving{World: w, transmitter: x, state: &state{}}
	r.poller = r.replica(t)
	r.target = target{name{exchangetest.Acme, exchangetest.StreamName}, server.URL + "/poll", bearer}
	return r
}

// replica is another poller of the same world.
func (r *receiving) replica(t testing.TB) *Poller {
	t.Helper()
	p, err := New(Config{
		List: r.Store.Orgs, Store: func(id delegation.OrgID) Store { return r.Store.Org(id) }, Orgs: r.Registry, Take: r.Service, Key: r.Key,
		HTTP: egress.NewClient(egress.Config{AllowPrivate: egress.Loopback(), MaxResponse: signals.MaxReply}), Now: r.Clock.Now,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.CloseIdleConnections)
	return p
}

// step polls once.
func (r *receiving) step(t testing.TB) (wait time.Duration) {
	t.Helper()
	r.at, wait = r.poller.poll(t.Context(), r.target, r.state, r.at)
	return wait
}

func (r *receiving) token(t testing.TB, user string) string {
	t.Helper()
	return r.Exchange(t, r.Orchestrator, exchangetest.FirstHop(r.IDP.IDToken(t, user, nil), "github:read")).AccessToken
}

func (r *receiving) live(t testing.TB, token string) bool {
	t.Helper()
	_, err := r.Verifier.Verify(t.Context(), token)
	if err != nil && !errors.Is(err, delegation.ErrRevoked) {
		t.Fatal(err)
	}
	return err == nil
}

func (r *receiving) entries(t testing.TB) []store.Revocation {
	t.Helper()
	out, err := r.Store.Org(exchangetest.Acme).Revocations(t.Context(), r.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPolledEvent: SS4b, SS7. What is polled does what is pushed does: it ends the logins before the event and none after it. It is
// acknowledged in the request after; delivered again, it is acknowledged again and does nothing more.
func TestPolledEvent(t *testing.T) {
	t.Parallel()
	r := receive(t, nil)
	before, other := r.token(t, "alice"), r.token(t, "bob")
	r.Advance(t, time.Minute)
	set := r.IDP.SET(t, exchangetest.AccountDisabled, "alice", nil)
	r.Advance(t, time.Minute)
	after := r.token(t, "alice")
	for range 2 {
		r.transmitter.Queue(t, set)
		if wait := r.step(t); wait != 0 {
			t.Errorf("the next poll, with the answer, waits for %s", wait)
		}
		if waiting, _, _ := r.transmitter.State(); waiting != 1 {
			t.Error("it was answered before it was taken")
		}
		r.step(t)
		if r.live(t, before) || !r.live(t, after) || !r.live(t, other) || len(r.entries(t)) != 1 {
			t.Errorf("before %v, after %v, other %v, %+v", r.live(t, before), r.live(t, after), r.live(t, other), r.entries(t))
		}
	}
	waiting, acked, refused := r.transmitter.State()
	if waiting != 0 || len(acked) != 1 || len(refused) != 0 {
		t.Errorf("%d wait, acknowledged %v, refused %v", waiting, acked, refused)
	}
	if _, _, problem := r.transmitter.Polls(); problem != "" {
		t.Error(problem)
	}
	if r.state.succeeded.IsZero() || !r.state.failed.IsZero() {
		t.Errorf("%+v", r.state)
	}
}

// TestPolledRefusals: SS4b. What is no SET of the stream is refused with the code that a push would be answered with, and holds up no
// other; one that does nothing is acknowledged.
func TestPolledRefusals(t *testing.T) {
	t.Parallel()
	r := receive(t, nil)
	token := r.token(t, "alice")
	claim := func(name string, value any) string {
		return r.IDP.SET(t, exchangetest.SessionRevoked, "bob", func(c exchangetest.Claims) { c[name] = value })
	}
	good := r.IDP.SET(t, exchangetest.SessionRevoked, "alice", nil)
	for id, set := range map[string]string{
		"SS1 issuer":    claim("iss", "https://evil.test"),
		"SS1 audience":  claim("aud", "other"),
		"SS1 type":      claim("!typ", "JWT"),
		"SS1 signature": good[:len(good)-8] + "AAAAAAAA",
		"SS3 tenant":    claim("sub_id", map[string]any{"format": "iss_sub", "iss": "https://b.test", "sub": "x"}),
		"no JWT":        "x",
		"too large":     "eyJhbGciOiJFUzI1NiJ9." + string(make([]byte, 20<<10)) + ".x",
		"":              "",
	} {
		if len(set) > 100 && id != "too large" { // under its own jti
			r.transmitter.Queue(t, set)
		} else {
			r.transmitter.QueueAs(id, set)
		}
	}
	r.transmitter.QueueAs("another", claim("jti", "its own"))
	r.transmitter.Queue(t, claim("jti", "nothing"), r.IDP.SET(t, "https://other.test/event", "bob", func(c exchangetest.Claims) { c["jti"] = "unknown" }))
	for range 3 {
		r.step(t)
	}
	waiting, acked, refused := r.transmitter.State()
	codes := map[string]int{}
	for _, code := range refused {
		codes[code]++
	}
	want := map[string]int{"invalid_issuer": 1, "invalid_audience": 1, "invalid_key": 1, "access_denied": 1, "invalid_request": 5}
	for code, n := range want {
		if codes[code] != n {
			t.Errorf("%d were refused as %s, want %d: %v", codes[code], code, n, refused)
		}
	}
	if waiting != 0 || len(acked) != 2 || acked["unknown"] == 0 || refused["another"] != "invalid_request" || !r.live(t, token) {
		t.Errorf("%d wait, acknowledged %v, refused %v", waiting, acked, refused)
	}
	if r.state.failure == "" || r.state.failed.IsZero() {
		t.Error("the operator is not told")
	}
}

// TestPolledProfile: SS6. A stream of the interoperability profile: RS256 of 2048 bits, reasons for the administrator, and both ways
// of delivery.
func TestPolledProfile(t *testing.T) {
	t.Parallel()
	r := receive(t, nil)
	key := rsaKey(t)
	r.Listen(t, func(s *registry.SignalStream) {
		s.PollEndpoint, s.Algorithms, s.JWKS = r.target.endpoint, []string{"RS256"}, []byte(`{"keys":[`+string(key.Key().JSON())+`]}`)
	})
	weak := r.IDP.SET(t, exchangetest.SessionRevoked, "alice", nil) // ES256
	r.IDP.Publish(jose.NewKeySet(r.IDP.Key.Key(), key.Key()))
	r.IDP.Key = key
	for _, way := range []string{"push", "poll"} {
		token := r.token(t, way)
		r.Advance(t, time.Minute)
		set := r.IDP.SET(t, exchangetest.SessionRevoked, way, func(c exchangetest.Claims) {
			c["events"] = map[string]any{exchangetest.SessionRevoked: map[string]any{
				"event_timestamp": r.Clock.Now().Unix(), "reason_admin": map[string]string{"en": "Landspeed Policy Violation"},
			}}
		})
		if way == "poll" {
			r.transmitter.Queue(t, set, weak)
			r.step(t)
			r.step(t)
		} else if err := r.Service.TakeSignal(t.Context(), exchangetest.Acme, exchangetest.StreamName, set); err != nil {
			t.Fatal(err)
		}
		if r.live(t, token) {
			t.Errorf("%s: the token lives", way)
		}
	}
	if _, acked, refused := r.transmitter.State(); len(acked) != 1 || len(refused) != 1 {
		t.Errorf("acknowledged %v, refused %v", acked, refused)
	}
}

// TestPolledIsNotLost: SS4b, threat: a signal that is acknowledged and never acted on. While the store or the trail is away nothing is
// acknowledged, and the poller waits longer each time; then the SET that comes again has one effect.
func TestPolledIsNotLost(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]func(*exchange.Config, *int){
		"store": func(c *exchange.Config, n *int) {
			next := c.Assertions
			c.Assertions = func(id delegation.OrgID) exchange.Assertions { return failing{next: next(id), left: n} }
		},
		"trail": func(c *exchange.Config, n *int) { c.Signals = failing{signals: c.Signals, left: n} },
		"after the effect": func(c *exchange.Config, n *int) {
			c.Signals = failing{signals: c.Signals, left: n, late: true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failures := 0
			r := receive(t, func(c *exchange.Config) { fails(c, &failures) })
			token := r.token(t, "alice")
			failures = 2
			r.transmitter.Queue(t, r.IDP.SET(t, exchangetest.SessionRevoked, "alice", nil))
			var waits []time.Duration
			for range 2 {
				waits = append(waits, r.step(t))
				if _, acked, refused := r.transmitter.State(); len(acked) != 0 || len(refused) != 0 {
					t.Fatalf("acknowledged %v, refused %v", acked, refused)
				}
			}
			if waits[0] <= 0 || waits[1] <= waits[0] || r.state.failure == "" {
				t.Errorf("waits %v, failure %q", waits, r.state.failure)
			}
			r.transmitter.Deaf = 1 // and the first acknowledgement's answer is lost, too
			r.step(t)              // fails
			r.step(t)              // brings it again
			r.step(t)              // acknowledges
			waiting, acked, _ := r.transmitter.State()
			if waiting != 0 || len(acked) != 1 || r.live(t, token) || len(r.entries(t)) != 1 {
				t.Errorf("%d wait, acknowledged %v, live %v, %+v", waiting, acked, r.live(t, token), r.entries(t))
			}
		})
	}
}

var errAway = errors.New("away")

// failing fails as long as something is left.
type failing struct {
	next    exchange.Assertions
	signals exchange.Signals
	left    *int
	late    bool // after it took effect
}

func (f failing) Consume(ctx context.Context, key [32]byte, until time.Time) error {
	if *f.left > 0 {
		*f.left--
		return errAway
	}
	return f.next.Consume(ctx, key, until)
}

func (f failing) Signal(ctx context.Context, s exchange.Signal) error {
	if *f.left == 0 {
		return f.signals.Signal(ctx, s)
	}
	*f.left--
	if f.late {
		return errors.Join(errAway, f.signals.Signal(ctx, s))
	}
	return errAway
}

// TestTwoPoll: SS4b, threat: two replicas that poll one stream at once. What is revoked is what one would revoke (at the same instant
// both may say so), and each SET is acknowledged.
func TestTwoPoll(t *testing.T) {
	t.Parallel()
	r := receive(t, nil)
	r.transmitter.Most = 3
	users := []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace"}
	for _, u := range users {
		r.transmitter.Queue(t, r.IDP.SET(t, exchangetest.SessionRevoked, u, nil))
	}
	done := make(chan struct{})
	for _, p := range []*Poller{r.poller, r.replica(t)} {
		go func() {
			defer func() { done <- struct{}{} }()
			var at signals.Polled
			for range 8 {
				at, _ = p.poll(t.Context(), r.target, &state{}, at)
			}
		}()
	}
	<-done
	<-done
	effects := map[string]bool{}
	for _, e := range r.entries(t) {
		effects[e.Kind+e.ID+e.Before.String()] = true
	}
	if waiting, acked, _ := r.transmitter.State(); waiting != 0 || len(acked) != len(users) || len(effects) != len(users) {
		t.Errorf("%d wait, acknowledged %v, effects %v", waiting, acked, effects)
	}
}

func rsaKey(t testing.TB) jose.Signer {
	t.Helper()
	key, err := jose.Generate(jose.RS256)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner("idp-rsa", jose.RS256, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
