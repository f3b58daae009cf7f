package oauthhttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
	"github.com/onbehalf/obo/exchange/admin"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/store"
	"github.com/onbehalf/obo/wire/oauthhttp"
)

const eventsPath = "/events/acme/" + exchangetest.StreamName

func push(path, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/secevent+jwt")
	return r
}

// TestEventsDoor: SS4. What the door itself judges, and how it says what came of a SET.
func TestEventsDoor(t *testing.T) {
	t.Parallel()
	with := func(r *http.Request, name, value string) *http.Request {
		r.Header.Set(name, value)
		return r
	}
	long := push(eventsPath, strings.Repeat("x", 64<<10+1))
	long.ContentLength = -1
	refusal := &signals.Refusal{Code: signals.InvalidKey, Description: "no key"}
	for name, c := range map[string]struct {
		r      *http.Request
		err    error
		status int
		code   string
		asked  bool
	}{
		"SS4 taken":         {push(eventsPath, "a.b.c"), nil, 202, "", true},
		"SS4 refused":       {push(eventsPath, "a.b.c"), refusal, 400, "invalid_key", true},
		"SS4 GET":           {httptest.NewRequest(http.MethodGet, eventsPath, nil), nil, 405, "invalid_request", false},
		"SS4 a form":        {with(push(eventsPath, "a.b.c"), "Content-Type", "application/x-www-form-urlencoded"), nil, 400, "invalid_request", false},
		"SS4 no type":       {with(push(eventsPath, "a.b.c"), "Content-Type", ""), nil, 400, "invalid_request", false},
		"SS4 compressed":    {with(push(eventsPath, "a.b.c"), "Content-Encoding", "gzip"), nil, 400, "invalid_request", false},
		"SS4 query":         {push(eventsPath+"?a=b", "a.b.c"), nil, 400, "invalid_request", false},
		"SS4 too large":     {long, nil, 400, "invalid_request", false},
		"SS4 store is away": {push(eventsPath, "a.b.c"), &exchange.Error{Reason: exchange.DependencyUnavailable}, 503, "", true},
		"SS4 too many":      {push(eventsPath, "a.b.c"), &exchange.Error{Reason: exchange.RateLimited}, 429, "", true},
		"SS4 caller left":   {push(eventsPath, "a.b.c"), context.Canceled, 503, "", true},
		"SS4 a bug":         {push(eventsPath, "a.b.c"), &exchange.Error{Reason: exchange.Internal}, 500, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{err: c.err}
			res := do(receiver(t, f), c.r)
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != c.status || (f.asked == 1) != c.asked || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %s, asked %d, %v", res.StatusCode, body, f.asked, res.Header)
			}
			if c.asked && (f.cred.ClientID != "acme" || f.hint != exchangetest.StreamName || f.token != "a.b.c") {
				t.Errorf("asked for %+v", f)
			}
			if c.code == "" && len(body) > 0 {
				t.Errorf("body %s", body)
			}
			if c.code != "" {
				told(t, body, c.code)
			}
		})
	}
}

func told(t *testing.T, body []byte, code string) {
	t.Helper()
	var said map[string]string
	if err := json.Unmarshal(body, &said); err != nil || len(said) != 2 || said["err"] != code || said["description"] == "" {
		t.Errorf("%s, want %s", body, code)
	}
}

// listening is a world whose server takes security events, behind its door.
type listening struct {
	*exchangetest.World
	door http.Handler
}

func listen(t *testing.T, change func(*exchange.Config)) listening {
	t.Helper()
	w := exchangetest.NewWorld(t)
	w.Listen(t, nil)
	a, err := admin.New(w.Admin())
	if err != nil {
		t.Fatal(err)
	}
	cfg := w.Config()
	cfg.Signals = a
	if change != nil {
		change(&cfg)
	}
	if w.Service, err = exchange.New(cfg); err != nil {
		t.Fatal(err)
	}
	return listening{w, receiver(t, w.Service)}
}

func receiver(t *testing.T, x interface {
	oauthhttp.Exchanger
	oauthhttp.Receiver
},
) http.Handler {
	t.Helper()
	return handler(t, x, func(c *oauthhttp.Config) { c.Events = x })
}

func (l listening) push(t *testing.T, path, set string, status int) string {
	t.Helper()
	res := do(l.door, push(path, set))
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		t.Fatalf("%d %s, %v; want %d", res.StatusCode, body, err, status)
	}
	return string(body)
}

func (l listening) token(t *testing.T, user string) string {
	t.Helper()
	return l.Exchange(t, l.Orchestrator, exchangetest.FirstHop(l.IDP.IDToken(t, user, nil), "github:read")).AccessToken
}

func (l listening) live(t *testing.T, token string) bool {
	t.Helper()
	_, err := l.Verifier.Verify(t.Context(), token)
	if err != nil && !errors.Is(err, delegation.ErrRevoked) {
		t.Fatal(err)
	}
	return err == nil
}

func (l listening) entries(t *testing.T) []store.Revocation {
	t.Helper()
	out, err := l.Store.Org(exchangetest.Acme).Revocations(t.Context(), l.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEventsRevoke: SS2, SS4, SS7. A SET that comes late ends the logins from before its event and none of after it; somebody else's
// stay; who said so is on the trail; and the same SET again does nothing.
func TestEventsRevoke(t *testing.T) {
	t.Parallel()
	l := listen(t, nil)
	oldLogin := l.IDP.IDToken(t, "alice", nil)
	before, other := l.token(t, "alice"), l.token(t, "bob")
	l.Advance(t, time.Minute)
	set := l.IDP.SET(t, exchangetest.AccountDisabled, "alice", nil)
	l.Advance(t, time.Minute)
	after := l.token(t, "alice")

	records := len(l.Records(t, exchangetest.Acme))
	for range 2 {
		if body := l.push(t, eventsPath, set, 202); body != "" {
			t.Errorf("a body: %s", body)
		}
	}
	if l.live(t, before) || !l.live(t, after) || !l.live(t, other) {
		t.Errorf("before %v, after %v, other %v", l.live(t, before), l.live(t, after), l.live(t, other))
	}
	_, err := l.Service.Exchange(t.Context(), l.Orchestrator.Credential(), exchangetest.FirstHop(oldLogin, "github:read"))
	if exchange.ReasonOf(err) != exchange.SubjectTokenInvalid {
		t.Errorf("the old login starts anew: %v", err)
	}
	if entries := l.entries(t); len(entries) != 1 || !entries[0].Departed {
		t.Errorf("entries %+v", entries)
	}
	var found int
	for _, r := range l.Records(t, exchangetest.Acme)[records:] {
		if r.Administrator == "transmitter:"+exchangetest.StreamName && r.Role == "transmitter" {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d records of the transmitter", found)
	}
}

// TestEventsOfOthers: SS1, SS4. Who is no transmitter of the stream changes nothing, and cannot tell a stream that exists from one
// that does not.
func TestEventsOfOthers(t *testing.T) {
	t.Parallel()
	l := listen(t, nil)
	token := l.token(t, "alice")
	good := func(change func(exchangetest.Claims)) string {
		return l.IDP.SET(t, exchangetest.SessionRevoked, "alice", change)
	}
	claim := func(name string, value any) string { return good(func(c exchangetest.Claims) { c[name] = value }) }
	nobody := l.push(t, eventsPath, claim("iss", "https://evil.test"), 400)
	told(t, []byte(nobody), "invalid_issuer")
	for _, path := range []string{"/events/acme/nothing", "/events/nobody/" + exchangetest.StreamName, "/events/globex/" + exchangetest.StreamName, "/events/%5F/x"} {
		if body := l.push(t, path, good(nil), 400); body != nobody {
			t.Errorf("%s: %s", path, body)
		}
	}
	told(t, []byte(l.push(t, eventsPath, claim("aud", "other"), 400)), "invalid_audience")
	told(t, []byte(l.push(t, eventsPath, claim("!typ", "JWT"), 400)), "invalid_request")
	told(t, []byte(l.push(t, eventsPath, "x", 400)), "invalid_request")
	set := good(nil)
	told(t, []byte(l.push(t, eventsPath, set[:len(set)-8]+"AAAAAAAA", 400)), "invalid_key")
	if !l.live(t, token) || len(l.entries(t)) != 0 {
		t.Error("something changed")
	}
	l.Apply(t, exchangetest.Acme, func(d *registry.Document) { d.SignalStreams[0].Algorithms = []string{"PS256"} })
	told(t, []byte(l.push(t, eventsPath, set, 400)), "invalid_key")
}

// TestEventsByEmail: SS3. An address is that of one user of the org's own directory, or nobody's.
func TestEventsByEmail(t *testing.T) {
	t.Parallel()
	l := listen(t, nil)
	a, err := admin.New(l.Admin())
	if err != nil {
		t.Fatal(err)
	}
	d, err := a.Directory(t.Context(), l.Directory(t, exchangetest.Acme, nil))
	if err != nil {
		t.Fatal(err)
	}
	add := func(sub, email string) {
		t.Helper()
		u := exchangetest.Person(sub)
		u.Email = email
		if _, err := d.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	add("alice", "Alice@acme.test")
	add("bob", "team@acme.test")
	add("carol", "team@acme.test")
	alice, bob := l.token(t, "alice"), l.token(t, "bob")
	push := func(email string) {
		t.Helper()
		l.push(t, eventsPath, l.IDP.SET(t, exchangetest.SessionRevoked, "x", func(c exchangetest.Claims) {
			c["sub_id"] = map[string]any{"format": "email", "email": email}
		}), 202)
	}
	push("team@acme.test") // of two
	push("nobody@acme.test")
	if !l.live(t, alice) || !l.live(t, bob) || len(l.entries(t)) != 0 {
		t.Error("something changed")
	}
	push("alice@ACME.test")
	if l.live(t, alice) || !l.live(t, bob) {
		t.Errorf("alice's token is alive: %v, bob's: %v", l.live(t, alice), l.live(t, bob))
	}
	l.Apply(t, exchangetest.Acme, func(d *registry.Document) { // the directory is of another issuer's users
		d.Issuers = append(d.Issuers, registry.Issuer{Name: "other", URL: "https://other.test", Audiences: []string{"x"}})
		d.Directory.Issuer = "other"
	})
	before := len(l.entries(t))
	push("alice@acme.test")
	if len(l.entries(t)) != before {
		t.Error("another issuer's user was meant")
	}
}

// TestEventsByDiscovery: a transmitter's keys are found by its own discovery document (SSF §7), and not by a login's.
func TestEventsByDiscovery(t *testing.T) {
	t.Parallel()
	l := listen(t, nil)
	transmitter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		here := "http://" + r.Host
		switch r.URL.Path {
		case "/.well-known/ssf-configuration/ssf":
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": here + "/ssf", "jwks_uri": here + "/keys"})
		case "/keys":
			_, _ = w.Write([]byte(`{"keys":[` + string(l.IDP.Key.Key().JSON()) + `]}`))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(transmitter.Close)
	l.Listen(t, func(s *registry.SignalStream) { s.Transmitter, s.JWKS = transmitter.URL+"/ssf", nil })
	token := l.token(t, "alice")
	l.push(t, eventsPath, l.IDP.SET(t, exchangetest.SessionRevoked, "alice", func(c exchangetest.Claims) {
		c["iss"] = transmitter.URL + "/ssf"
	}), 202)
	if l.live(t, token) {
		t.Error("the token lives")
	}
}

// failing is a trail that fails once.
type failing struct {
	exchange.Signals
	failures int
}

func (f *failing) Signal(ctx context.Context, s exchange.Signal) error {
	if f.failures > 0 {
		f.failures--
		return errors.New("away")
	}
	return f.Signals.Signal(ctx, s)
}

// TestEventsAreNotLost: SS4, threat: a signal that is used up and never acted on. When the effect fails, the transmitter hears no
// 202, and the same SET does its work when it comes again.
func TestEventsAreNotLost(t *testing.T) {
	t.Parallel()
	l := listen(t, func(c *exchange.Config) { c.Signals = &failing{c.Signals, 1} })
	token := l.token(t, "alice")
	set := l.IDP.SET(t, exchangetest.SessionRevoked, "alice", nil)
	l.push(t, eventsPath, set, 503)
	if !l.live(t, token) {
		t.Fatal("it failed, and had an effect")
	}
	l.push(t, eventsPath, set, 202)
	if l.live(t, token) || len(l.entries(t)) != 1 {
		t.Error("the event was lost")
	}
}
