package delegation_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/delegationtest"
	"github.com/onbehalf/obo/jose"
)

// publisher is an issuer's JWKS endpoint, without a network.
type publisher struct {
	mu    sync.Mutex
	keys  jose.KeySet
	err   error
	delay time.Duration
	calls int
}

func (p *publisher) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.calls++
	keys, err, delay := p.keys, p.err, p.delay
	p.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(keys.JSON()))), Request: r}, nil
}

func (p *publisher) publish(keys ...jose.Key) { p.set(func() { p.keys = jose.NewKeySet(keys...) }) }
func (p *publisher) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *publisher) count() (n int) {
	p.set(func() { n = p.calls })
	return n
}

func remote(t *testing.T, p *publisher) *delegation.RemoteKeys {
	t.Helper()
	r, err := delegation.NewRemoteKeys(delegation.RemoteKeysConfig{URL: "https://sts.test/jwks", Client: &http.Client{Transport: p}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantKey asks for a key, and for how often the issuer has been asked by then.
func wantKey(t *testing.T, r *delegation.RemoteKeys, p *publisher, kid string, want error, calls int) {
	t.Helper()
	key, err := r.Key(t.Context(), kid, jose.ES256)
	if !errors.Is(err, want) || err == nil && key.KeyID() != kid {
		t.Errorf("%s: %q, %v; want %v", kid, key.KeyID(), err, want)
	}
	synctest.Wait()
	if n := p.count(); n != calls {
		t.Errorf("%s: the issuer was asked %d times, want %d", kid, n, calls)
	}
}

// TestRemoteKeysLife: one day of a key set, told in order. synctest also proves that no goroutine stays behind.
func TestRemoteKeysLife(t *testing.T) {
	t.Parallel()
	a, b := newKeyWithID(t, "a"), newKeyWithID(t, "b")
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{}
		p.publish(a)
		r := remote(t, p)
		wantKey(t, r, p, "a", nil, 1)
		wantKey(t, r, p, "a", nil, 1) // from memory
		// An unknown kid is worth one fetch in ten seconds, whoever asks.
		wantKey(t, r, p, "b", delegation.ErrUnknownKey, 1)
		time.Sleep(10 * time.Second)
		wantKey(t, r, p, "b", delegation.ErrUnknownKey, 2)
		wantKey(t, r, p, "x1", delegation.ErrUnknownKey, 2)
		p.publish(a, b)
		wantKey(t, r, p, "b", delegation.ErrUnknownKey, 2)
		time.Sleep(10 * time.Second)
		wantKey(t, r, p, "b", nil, 3)
		// By age: the old answer at once, the new set behind it.
		time.Sleep(10*time.Minute + time.Second)
		p.publish(b)
		wantKey(t, r, p, "a", nil, 4)
		wantKey(t, r, p, "b", nil, 4)
		time.Sleep(10 * time.Second)
		wantKey(t, r, p, "a", delegation.ErrUnknownKey, 5) // withdrawn
		// The issuer is away: the old set serves, and whether another key exists cannot be told.
		p.set(func() { p.err = errors.New("connection refused") })
		time.Sleep(11 * time.Minute)
		wantKey(t, r, p, "b", nil, 6)
		wantKey(t, r, p, "c", delegation.ErrUnavailable, 6)
		time.Sleep(23 * time.Hour)
		wantKey(t, r, p, "b", nil, 7)
		// Until MaxStale, 24 hours after the last good fetch.
		time.Sleep(time.Hour)
		wantKey(t, r, p, "b", delegation.ErrUnavailable, 8)
		wantKey(t, r, p, "b", delegation.ErrUnavailable, 8)
		p.set(func() { p.err = nil })
		time.Sleep(10 * time.Second)
		wantKey(t, r, p, "b", nil, 9)
	})
}

// TestRemoteKeysSingleFlight: a hundred askers, known and unknown kids, one fetch.
func TestRemoteKeysSingleFlight(t *testing.T) {
	t.Parallel()
	a := newKeyWithID(t, "a")
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{delay: time.Second}
		p.publish(a)
		r := remote(t, p)
		var group sync.WaitGroup
		for n := range 100 {
			group.Go(func() {
				kid, want := "a", error(nil)
				if n%2 == 1 {
					kid, want = "x", delegation.ErrUnknownKey
				}
				time.Sleep(time.Duration(n) * 5 * time.Millisecond)
				if _, err := r.Key(t.Context(), kid, jose.ES256); !errors.Is(err, want) {
					t.Errorf("%s: %v", kid, err)
				}
			})
		}
		group.Wait()
		if n := p.count(); n != 1 {
			t.Errorf("the issuer was asked %d times", n)
		}
	})
}

// TestRemoteKeysImpatient: one caller gives up; the fetch goes on for the others. A hanging issuer costs 5 seconds.
func TestRemoteKeysImpatient(t *testing.T) {
	t.Parallel()
	a := newKeyWithID(t, "a")
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{delay: 2 * time.Second}
		p.publish(a)
		r := remote(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Key(ctx, "a", jose.ES256); !errors.Is(err, delegation.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("impatient: %v", err)
		}
		wantKey(t, r, p, "a", nil, 1)
		hanging := &publisher{delay: time.Hour}
		r, start := remote(t, hanging), time.Now()
		wantKey(t, r, hanging, "a", delegation.ErrUnavailable, 1)
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("waited %s", waited)
		}
	})
}

// TestRemoteKeysRefuses: what is not the issuer's key set, over real HTTP (JW13).
func TestRemoteKeysRefuses(t *testing.T) {
	t.Parallel()
	i := delegationtest.NewIssuer(t)
	elsewhere := i.ServeKeys(t)
	kid := i.Keys().Keys()[0].KeyID()
	for name, handler := range map[string]http.HandlerFunc{
		"redirect":   func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, http.StatusFound) },
		"error":      func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
		"not JSON":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"no keys":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"keys":[]}`) },
		"no content": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(i.Keys().JSON()[:10])
			_, _ = w.Write(make([]byte, jose.MaxKeySetSize))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(handler)
			defer server.Close()
			r, err := delegation.NewRemoteKeys(delegation.RemoteKeysConfig{URL: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Key(t.Context(), kid, jose.ES256); !errors.Is(err, delegation.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		})
	}
	r, err := delegation.NewRemoteKeys(delegation.RemoteKeysConfig{URL: elsewhere})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Key(t.Context(), kid, jose.ES256); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestNewRemoteKeysRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "sts.test/jwks", "http://sts.test/jwks", "ftp://sts.test/jwks", "https://", "https://user:pw@sts.test/", "file:///etc/passwd",
		"http://127.0.0.1.evil.test/", "http://10.0.0.1/jwks",
	} {
		if _, err := delegation.NewRemoteKeys(delegation.RemoteKeysConfig{URL: bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	for _, good := range []string{"https://sts.test/jwks", "http://127.0.0.1:8080/jwks", "http://[::1]/jwks", "http://localhost:1/jwks"} {
		if _, err := delegation.NewRemoteKeys(delegation.RemoteKeysConfig{URL: good}); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	if _, err := delegation.NewRemoteKeys(delegation.RemoteKeysConfig{URL: "https://sts.test", MaxAge: -1}); err == nil {
		t.Error("a negative age was taken")
	}
}
