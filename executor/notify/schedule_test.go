package notify

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/telemetry"
	"github.com/onbehalf/obo/vault"
)

// TestSchedule: waits grow to an hour and no further, are never shorter than half of what they may be, and end three days after the first
// failure and not before.
func TestSchedule(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		begun := newClock().Now()
		now, w := begun, store.Webhook{}
		for !w.Paused {
			f := &Failure{What: "away", After: time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(rt, "after")) * rapid.SampledFrom([]time.Duration{0, 1}).Draw(rt, "asks")}
			n := w.Failures
			w = failed(w, f, now, rapid.Float64Range(0, 1).Draw(rt, "spread"))
			wait := w.Next.Sub(now)
			most := lastWait
			if n < 12 {
				most = min(firstWait<<n, lastWait)
			}
			if wait < most/2 || wait > max(most, min(f.After, lastWait)) || w.Failures != n+1 || !w.Since.Equal(begun) || w.Failure != "away" {
				rt.Fatalf("after %d failures %v, %+v", n, wait, w)
			}
			if w.Paused != (now.Sub(begun) >= giveUp) {
				rt.Fatalf("paused %v after %v", w.Paused, now.Sub(begun))
			}
			now = w.Next
		}
		if w = delivered(w, 7, now); w.Failures != 0 || !w.Since.IsZero() || w.Delivered != 7 || w.Failure != "" {
			rt.Fatalf("%+v", w)
		}
	})
}

// lender lends one secret.
type lender []byte

func (l lender) Use(_ context.Context, _ delegation.OrgID, _ store.Connection, f func(vault.Credential) error) error {
	return f(vault.NewCredential("", l))
}

// TestSpecification: the signature of the specification's own example.
func TestSpecification(t *testing.T) {
	t.Parallel()
	key, err := parseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	must(t, err)
	got, err := Sender{Vault: lender(key)}.sign(t.Context(), "acme", store.Webhook{},
		message{"msg_p5jXN8AQM9LWM0D4loKWxJek", []byte(`{"test": 2432232314}`)}, time.Unix(1614265330, 0))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	of := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for text, good := range map[string]bool{
		"whsec_" + of(24): true, "whsec_" + of(64): true,
		"whsec_" + of(23): false, "whsec_" + of(65): false, of(32): false, "": false, "whsec_": false, "WHSEC_" + of(32): false,
		"whsec_" + of(32) + "\n": false, "whsec_" + strings.TrimRight(of(32), "="): false, "whsec_" + of(32)[:42] + "B=": false,
	} {
		if _, err := parseSecret(telemetry.Secret(text)); (err == nil) != good || err != nil && (!errors.Is(err, ErrSecret) || len(text) > 12 && strings.Contains(err.Error(), text)) {
			t.Errorf("%q: %v", text, err)
		}
	}
	key, text := newSecret()
	again, err := parseSecret(text)
	other, _ := newSecret()
	if err != nil || string(again) != string(key) || string(other) == string(key) {
		t.Errorf("a secret that was made: %v", err)
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct{ strict, loopback bool }{
		"https://hooks.example/obo?x=1": {true, true}, "https://hooks.example:8443": {true, true},
		"https://127.0.0.1/":   {true, true}, // which egress refuses at each dial
		"http://127.0.0.1:80/": {false, true}, "http://[::1]/": {false, true}, "http://localhost/": {false, true},
		"http://hooks.example/": {false, false}, "http://127.0.0.1.example/": {false, false}, "http://10.0.0.1/": {false, false},
		"https://user@hooks.example/": {}, "https://user:pw@hooks.example/": {}, "https://hooks.example/#x": {}, "https://hooks.example/#": {},
		"https://": {}, "https:///x": {}, "https:opaque": {}, "hooks.example": {}, "//hooks.example": {}, "": {}, "file:///etc/passwd": {},
		"https://:443/": {}, "https://hooks.example\\@127.0.0.1/": {}, "https://hooks.example/\n": {}, "https://hooks.example/" + strings.Repeat("a", maxURL): {},
	} {
		for loopback, want := range map[bool]bool{false: c.strict, true: c.loopback} {
			if err := checkURL(text, loopback); (err == nil) != want || err != nil && !errors.Is(err, ErrURL) {
				t.Errorf("%q, loopback %v: %v", text, loopback, err)
			}
		}
	}
}

// TestMessageID: an id is the event's own: of no other org, number or happening, and the same each time.
func TestMessageID(t *testing.T) {
	t.Parallel()
	e := store.ConnectionEvent{Sequence: 1, Connection: "c", Before: "a", After: "b", Time: newClock().Now()}
	id := func(org delegation.OrgID, change func(*store.ConnectionEvent)) string {
		other := e
		change(&other)
		m, err := messageOf(org, other)
		must(t, err)
		return m.id
	}
	same := func(*store.ConnectionEvent) {}
	seen := map[string]bool{}
	for _, id := range []string{
		id("acme", same), id("globex", same), id("acme", func(e *store.ConnectionEvent) { e.Sequence = 2 }),
		id("acme", func(e *store.ConnectionEvent) { e.Connection = "d" }), id("acme", func(e *store.ConnectionEvent) { e.After = "c" }),
		id("acme", func(e *store.ConnectionEvent) { e.Time = e.Time.Add(time.Microsecond) }),
	} {
		if seen[id] || strings.Contains(id, ".") {
			t.Errorf("%s", id)
		}
		seen[id] = true
	}
	if id("acme", same) != id("acme", func(e *store.ConnectionEvent) { e.Reason = "told otherwise" }) {
		t.Error("the same event has two ids")
	}
}
