package client_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/onbehalf/obo/client"
)

// site is an HTTP server that remembers each request.
type site struct {
	mu   sync.Mutex
	seen []*http.Request
	body []string
}

func serve(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) (*site, string) {
	t.Helper()
	s := &site{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.seen, s.body = append(s.seen, r), append(s.body, string(body))
		n := len(s.seen)
		s.mu.Unlock()
		if answer != nil {
			answer(n, w, r)
		}
	}))
	t.Cleanup(server.Close)
	return s, server.URL
}

func do(t *testing.T, c *client.Client, method, url, body string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: c.Transport(request, nil)}).Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if req.Header.Get("Authorization") != "" {
		t.Error("the caller's own request was changed")
	}
	return resp, err
}

// forgetful leaves out of an answer which request it is to.
type forgetful struct{}

func (forgetful) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		resp.Request = nil
	}
	return resp, err
}

func TestTransport(t *testing.T) {
	t.Parallel()
	bound := func(c *client.Config) { c.DPoP = prover{} }
	t.Run("a bearer token", func(t *testing.T) {
		t.Parallel()
		s, url := serve(t, nil)
		if _, err := do(t, newClient(t, &sts{answer: issue(300)}, nil), "GET", url, ""); err != nil {
			t.Fatal(err)
		}
		if got := s.seen[0].Header.Get("Authorization"); got != "Bearer opaque 1" {
			t.Errorf("sent %q", got)
		}
	})
	t.Run("DP2 DP6 a proof for the method and the URL without its query", func(t *testing.T) {
		t.Parallel()
		s, url := serve(t, nil)
		if _, err := do(t, newClient(t, &sts{answer: issue(300)}, bound), "PUT", url+"/a?b=c", "x"); err != nil {
			t.Fatal(err)
		}
		if h := s.seen[0].Header; h.Get("DPoP") != "PUT|"+url+"/a||opaque 1" || h.Get("Authorization") != "DPoP opaque 1" {
			t.Errorf("sent %v", h)
		}
	})
	t.Run("DP4 once more with the nonce, and the body again", func(t *testing.T) {
		t.Parallel()
		s, url := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
				w.Header().Set("DPoP-Nonce", "n-1")
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		resp, err := do(t, newClient(t, &sts{answer: issue(300)}, bound), "POST", url, "hello")
		if err != nil || resp.StatusCode != http.StatusOK || len(s.seen) != 2 || s.body[1] != "hello" ||
			!strings.Contains(s.seen[1].Header.Get("DPoP"), "|n-1|") {
			t.Errorf("%v %v, %v", resp, err, s.body)
		}
	})
	t.Run("a token that a server refuses is not used again", func(t *testing.T) {
		t.Parallel()
		s, url := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		c := newClient(t, &sts{answer: issue(300)}, nil)
		for range 2 {
			if _, err := do(t, c, "GET", url, ""); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.seen[1].Header.Get("Authorization"); got != "Bearer opaque 2" {
			t.Errorf("sent %q", got)
		}
	})
	t.Run("TX20 no token to another server behind a redirect", func(t *testing.T) {
		t.Parallel()
		other, elsewhere := serve(t, nil)
		_, url := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, http.StatusFound) })
		if _, err := do(t, newClient(t, &sts{answer: issue(300)}, nil), "GET", url, ""); err != nil {
			t.Fatal(err)
		}
		if got := other.seen[0].Header.Get("Authorization"); got != "" {
			t.Errorf("the other server got %q", got)
		}
	})
	t.Run("TX20 no token to nobody knows whom", func(t *testing.T) { // what is under the Transport does not say what it sent
		t.Parallel()
		other, elsewhere := serve(t, nil)
		_, url := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, http.StatusFound) })
		c := newClient(t, &sts{answer: issue(300)}, nil)
		resp, err := (&http.Client{Transport: c.Transport(request, forgetful{})}).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := other.seen[0].Header.Get("Authorization"); got != "" {
			t.Errorf("the other server got %q", got)
		}
	})
	t.Run("TX20 no token in the clear to another machine", func(t *testing.T) {
		t.Parallel()
		s := &sts{answer: issue(300)}
		if _, err := do(t, newClient(t, s, nil), "GET", "http://executor.example/", ""); err == nil || len(s.requests()) != 0 {
			t.Errorf("%v after %d exchanges", err, len(s.requests()))
		}
	})
}
