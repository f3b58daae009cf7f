package poller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange/exchangetest"
	"github.com/onbehalf/obo/exchange/registry"
	"github.com/onbehalf/obo/exchange/signals"
	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/seal"
	"github.com/onbehalf/obo/store"
)

const endpoint = "https://idp.test/poll"

// direct calls a handler without a network, so that time can be faked around it.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	res := w.Result()
	res.Request = r
	return res, nil
}

// shared is what replicas have in common: a store with one org, its configuration, and what takes SETs.
type shared struct {
	t   testing.TB
	key seal.Key

	mu          sync.Mutex
	org         *registry.Org
	credentials []store.SignalCredential
	poll        *store.SignalPoll
	away        bool   // the store
	frozen      string // a holder whose writes do not arrive
	taken       []string
}

func share(t testing.TB) *shared {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kek")
	if err := (seal.KeyFile{Path: file}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, err := seal.KeyFile{Path: file}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &shared{t: t, key: key}
	s.register(endpoint)
	s.credential(endpoint, bearer)
	return s
}

// register replaces the org's configuration.
func (s *shared) register(endpoint string) {
	s.t.Helper()
	data, err := jose.Encode(registry.Document{
		Org:     "acme",
		Issuers: []registry.Issuer{{Name: "okta", URL: "https://idp.test", Audiences: []string{"app"}}},
		SignalStreams: []registry.SignalStream{{
			Name: "events", Issuer: "okta", Transmitter: "https://idp.test", Audience: "events", PollEndpoint: endpoint,
		}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	org, err := registry.Compile(store.OrgConfig{Org: "acme", Version: 1, Document: data}, store.OrgConfig{}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.org = org
}

// credential replaces the credential of the stream.
func (s *shared) credential(endpoint, secret string) {
	s.t.Helper()
	sealed, err := s.key.Seal([]byte(secret), signals.CredentialBinding("acme", "events", endpoint))
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credentials = []store.SignalCredential{{Stream: "events", Endpoint: endpoint, Sealed: sealed}}
}

func (s *shared) Org(context.Context, delegation.OrgID) (*registry.Org, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.org, nil
}

func (s *shared) TakeSignal(_ context.Context, _ delegation.OrgID, _, token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = append(s.taken, token)
	return nil
}

func (s *shared) SignalCredentials(context.Context) ([]store.SignalCredential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errAway
	}
	return slices.Clone(s.credentials), nil
}

func (s *shared) PutSignalPoll(ctx context.Context, p store.SignalPoll, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.away, s.frozen == p.Holder:
		return errAway
	case s.poll != nil && s.poll.Holder != p.Holder && !s.poll.Until.Before(now):
		return store.ErrConflict
	}
	s.poll = &p
	return nil
}

// seen is what was taken, and how the polling goes.
func (s *shared) seen() (taken int, poll store.SignalPoll) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poll != nil {
		poll = *s.poll
	}
	return len(s.taken), poll
}

// set changes anything.
func (s *shared) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *shared) holder() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poll == nil || s.poll.Until.Before(time.Now()) {
		return ""
	}
	return s.poll.Holder
}

// replica starts a poller; stop ends it in order.
func (s *shared) replica(h http.Handler) (p *Poller, stop func()) {
	s.t.Helper()
	p, err := New(Config{
		List:  func(context.Context) ([]delegation.OrgID, error) { return []delegation.OrgID{"acme"}, nil },
		Store: func(delegation.OrgID) Store { return s }, Orgs: s, Take: s, Key: s.key, HTTP: &http.Client{Transport: direct{h}}, Now: time.Now,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.Run(ctx); !errors.Is(err, context.Canceled) {
			s.t.Errorf("Run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	s.t.Cleanup(stop)
	return p, stop
}

// told is a change of the org's configuration, as the feed tells of it.
var told = store.Change{Org: "acme", Kind: store.ChangeConfig}

// TestOnePolls: SS4b. Of two replicas one polls a stream. The other takes over soon after it ends, and within bounds after it dies or
// cannot reach the store; what waits meanwhile is not lost.
func TestOnePolls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, x := share(t), exchangetest.NewTransmitter(bearer)
		a, stopA := s.replica(x)
		synctest.Wait()
		b, _ := s.replica(x)
		time.Sleep(10 * time.Minute)
		if _, most, problem := x.Polls(); most != 1 || problem != "" || s.holder() != a.holder {
			t.Fatalf("%d poll at once, %q polls; %s", most, s.holder(), problem)
		}
		stopA() // in order
		x.QueueAs("j-1", "one")
		time.Sleep(2 * standby)
		if taken, _ := s.seen(); s.holder() != b.holder || taken != 1 {
			t.Fatalf("%q polls, %d taken", s.holder(), taken)
		}
		c, _ := s.replica(x)
		s.set(func() { s.frozen = b.holder }) // it is cut off from the store
		time.Sleep(holdFor + 2*standby)
		x.QueueAs("j-2", "two")
		time.Sleep(time.Minute)
		if waiting, acked, _ := x.State(); s.holder() != c.holder || waiting != 0 || acked["j-2"] != 1 {
			t.Errorf("%q polls, %d wait, acknowledged %v", s.holder(), waiting, acked)
		}
		if _, most, _ := x.Polls(); most != 1 {
			t.Errorf("%d polled at once", most)
		}
	})
}

// TestHot: SS4b. What is polled follows the registration and the credential, without a restart; the credential goes to the endpoint
// that it was stored for and to no other.
func TestHot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, x := share(t), exchangetest.NewTransmitter(bearer)
		var mu sync.Mutex
		asked := map[string]int{}
		p, stop := s.replica(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			asked[r.URL.String()+" "+r.Header.Get("Authorization")]++
			mu.Unlock()
			x.ServeHTTP(w, r)
		}))
		during := func(change func()) map[string]int {
			t.Helper()
			change()
			p.Changed(told)
			time.Sleep(10 * time.Second) // those that were held have ended
			mu.Lock()
			clear(asked)
			mu.Unlock()
			time.Sleep(10 * time.Minute)
			mu.Lock()
			defer mu.Unlock()
			return maps.Clone(asked)
		}
		const one, two = endpoint + " Bearer " + bearer, "https://idp.test/other Bearer second"
		for _, c := range []struct {
			name   string
			change func()
			want   string // what is asked; empty: nothing
		}{
			{"as registered", func() {}, one},
			{"another endpoint, and no credential for it", func() { s.register("https://idp.test/other") }, ""},
			{"one for it", func() { s.credential("https://idp.test/other", "second") }, two},
			{"pushed", func() { s.register("") }, ""},
			{"back, while the store is away at first", func() {
				s.register(endpoint)
				s.credential(endpoint, bearer)
				s.set(func() { s.away = true })
				p.Changed(told)
				time.Sleep(time.Minute)
				s.set(func() { s.away = false })
			}, one},
			{"sealed by another key", func() { s.set(func() { s.credentials[0].Sealed = []byte("x") }) }, ""},
			{"no credential", func() { s.set(func() { s.credentials = nil }) }, ""},
		} {
			got := during(c.change)
			if c.want == "" && len(got) != 0 || c.want != "" && (len(got) != 1 || got[c.want] < 1) {
				t.Errorf("%s: asked %v, want %q", c.name, got, c.want)
			}
		}
		stop()
		if s.holder() != "" {
			t.Error("it holds a stream that it does not poll")
		}
	})
}

// TestBadReplies: SS4b. Whatever a transmitter answers, nothing is taken of what is no reply; the operator is told what it was and what
// to do, the transmitter is not asked in a hurry, and all is well when it is well again.
func TestBadReplies(t *testing.T) {
	t.Parallel()
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://evil.test/")
			w.WriteHeader(code)
		}
	}
	body := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(text))
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"the credential is refused": {status(401), "obo signals credential"},
		"forbidden":                 {status(403), "obo signals credential"},
		"no such endpoint":          {status(404), "poll_endpoint"},
		"a redirect":                {status(307), "redirect"},
		"away":                      {status(503), "asked again"},
		"no content":                {status(204), "204"},
		"a page":                    {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "application/json"},
		"nothing":                   {body(""), "RFC 8936"},
		"no sets":                   {body(`{"moreAvailable":false}`), "RFC 8936"},
		"sets that are a list":      {body(`{"sets":["a"]}`), "RFC 8936"},
		"a SET that is null":        {body(`{"sets":{"a":null}}`), "RFC 8936"},
		"a SET twice":               {body(`{"sets":{"a":"x","a":"y"}}`), "RFC 8936"},
		"sets twice":                {body(`{"sets":{"a":"x"},"sets":{}}`), "RFC 8936"},
		"names in capitals":         {body(`{"Sets":{"a":"x"}}`), "RFC 8936"},
		"more that is no bool":      {body(`{"sets":{"a":"x"},"moreAvailable":"yes"}`), "RFC 8936"},
		"cut off":                   {body(`{"sets":{"a":"x"`), "RFC 8936"},
		"nested without end":        {body(strings.Repeat("[", 1<<16)), "RFC 8936"},
		"too large":                 {body(`{"sets":{"a":"` + strings.Repeat("x", signals.MaxReply) + `"}}`), "RFC 8936"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, x := share(t), exchangetest.NewTransmitter(bearer)
				var well atomic.Bool
				x.Break = func(w http.ResponseWriter, r *http.Request) bool {
					if !well.Load() {
						c.answer(w, r)
					}
					return !well.Load()
				}
				s.replica(x)
				time.Sleep(time.Hour)
				synctest.Wait()
				if polls, _, _ := x.Polls(); polls < 8 || polls > 25 {
					t.Errorf("%d polls in an hour", polls)
				}
				if taken, poll := s.seen(); taken != 0 || !strings.Contains(poll.Failure, c.want) || !poll.Failed.After(poll.Succeeded) ||
					strings.Contains(poll.Failure, bearer) {
					t.Errorf("%d taken, %+v", taken, poll)
				}
				x.QueueAs("j", "set")
				well.Store(true)
				time.Sleep(10 * time.Minute)
				if taken, poll := s.seen(); taken != 1 || !poll.Succeeded.After(poll.Failed) {
					t.Errorf("%d taken, %+v", taken, poll)
				}
			})
		})
	}
}

// TestPace: SS4b. More is fetched at once; a transmitter that does not let us wait, repeats itself or says when to come back is not
// asked more often than is good for it.
func TestPace(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, x *exchangetest.Transmitter, d time.Duration) (polls int, s *shared) {
		t.Helper()
		s = share(t)
		s.replica(x)
		time.Sleep(d)
		synctest.Wait()
		polls, _, _ = x.Polls()
		return polls, s
	}
	t.Run("more", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			x := exchangetest.NewTransmitter(bearer)
			x.Most = 2
			for i := range 40 {
				x.QueueAs(fmt.Sprint(i), "set")
			}
			polls, s := run(t, x, time.Second)
			if taken, _ := s.seen(); polls != 21 || taken != 40 { // the last one is held
				t.Errorf("%d polls, %d taken", polls, taken)
			}
		})
	})
	t.Run("held", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			if polls, _ := run(t, exchangetest.NewTransmitter(bearer), time.Hour); polls < 59 || polls > 61 {
				t.Errorf("%d polls in an hour, held for a minute each", polls)
			}
		})
	})
	t.Run("not held", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			x := exchangetest.NewTransmitter(bearer)
			x.Hold = 0
			if polls, _ := run(t, x, time.Hour); polls > 3600/5+1 {
				t.Errorf("%d polls in an hour", polls)
			}
		})
	})
	t.Run("the same again and again", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			x := exchangetest.NewTransmitter(bearer)
			x.Break = func(w http.ResponseWriter, _ *http.Request) bool {
				if polls, _, _ := x.Polls(); polls > 5000 { // in no time: the clock must get on
					w.WriteHeader(http.StatusServiceUnavailable)
					return true
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"sets":{"j":"set"},"moreAvailable":true}`))
				return true
			}
			if polls, _ := run(t, x, time.Hour); polls > 3600/5+2 {
				t.Errorf("%d polls in an hour", polls)
			}
		})
	})
	t.Run("Retry-After", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			x := exchangetest.NewTransmitter(bearer)
			x.Break = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Retry-After", "120")
				w.WriteHeader(http.StatusTooManyRequests)
				return true
			}
			if polls, _ := run(t, x, 10*time.Minute); polls < 3 || polls > 5 {
				t.Errorf("%d polls in ten minutes", polls)
			}
		})
	})
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			x := exchangetest.NewTransmitter(bearer)
			x.Hold = 100 * time.Hour
			polls, s := run(t, x, time.Hour)
			if _, poll := s.seen(); polls < 8 || !strings.Contains(poll.Failure, "does not answer") {
				t.Errorf("%d polls in an hour, %+v", polls, poll)
			}
		})
	})
}
