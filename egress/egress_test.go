package egress

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestPublicAddresses(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "172.32.0.1": true, "100.128.0.1": true, "2606:4700::1111": true, "2a00::1": true,
		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "127.0.0.1": false, "127.255.255.255": false,
		"169.254.169.254": false, "169.254.170.2": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false,
		"100.64.0.1": false, "100.100.100.200": false, "192.0.0.192": false, "168.63.129.16": false, "198.18.0.1": false,
		"224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false,
		"192.0.2.1": false, "198.51.100.1": false, "203.0.113.1": false, "192.88.99.1": false,
		"::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd00:ec2::254": false,
		"ff02::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false,
		"::127.0.0.1": false, "64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1": false,
		"2002:7f00:1::": false, "2001:0:1::1": false, "2001:db8::1": false, "100::1": false, "3fff::1": false,
		"::ffff:8.8.8.8": true, "5f00::1": false,
	}
	for s, want := range tests {
		addr := netip.MustParseAddr(s)
		err := Config{}.control(t.Context(), "tcp6", netip.AddrPortFrom(addr, 443).String(), nil)
		if (err == nil) != want {
			t.Errorf("%s: %v, want public %v", s, err, want)
		}
		if err != nil && !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v is not ErrAddress", s, err)
		}
	}
	for _, network := range []string{"udp4", "unix", ""} {
		if err := (Config{}).control(t.Context(), network, "8.8.8.8:1", nil); !errors.Is(err, ErrAddress) {
			t.Errorf("network %q: %v", network, err)
		}
	}
}

// server counts the requests that reach it.
func server(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, c *http.Client, target string) (string, error) {
	t.Helper()
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer x")
	r.Header.Set("X-Api-Key", "key")
	res, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// TestJW13: an attacker's URL does not reach this machine, under whatever name or spelling.
func TestJW13LoopbackIsRefused(t *testing.T) {
	t.Parallel()
	s := server(t, func(http.ResponseWriter, *http.Request) { t.Error("a request came through") })
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1.2.3", "0.0.0.0", "[::]"} {
		if _, err := get(t, NewClient(Config{}), "http://"+host+":"+port); !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestRebinding: the name is public when it is looked at and loopback when it is dialled. The check sees what is dialled.
func TestRebinding(t *testing.T) {
	t.Parallel()
	s := server(t, func(http.ResponseWriter, *http.Request) { t.Error("a request came through") })
	c := NewClient(Config{})
	dial := c.Transport.(*transport).base.DialContext
	c.Transport.(*transport).base.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dial(ctx, network, s.Listener.Addr().String()) // what a resolver under the attacker's hand comes to
	}
	if _, err := get(t, c, "https://rebind.example"); !errors.Is(err, ErrAddress) {
		t.Errorf("error %v", err)
	}
}

func TestAllowPrivate(t *testing.T) {
	t.Parallel()
	s := server(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	body, err := get(t, NewClient(Config{AllowPrivate: Loopback()}), s.URL)
	if err != nil || body != "hello" {
		t.Errorf("got %q, %v", body, err)
	}
	other := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	if _, err := get(t, NewClient(Config{AllowPrivate: other}), s.URL); !errors.Is(err, ErrAddress) {
		t.Errorf("another range: %v", err)
	}
}

func TestOnlyHTTPS(t *testing.T) {
	t.Parallel()
	ctx := context.WithValue(t.Context(), plaintextKey{}, true)
	if err := (Config{AllowPrivate: Loopback()}).control(ctx, "tcp4", "8.8.8.8:80", nil); !errors.Is(err, ErrPlaintext) {
		t.Errorf("plaintext to a public address: %v", err)
	}
	for _, target := range []string{"file:///etc/passwd", "gopher://x", "ftp://x"} {
		if _, err := get(t, NewClient(Config{}), target); !errors.Is(err, ErrPlaintext) {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestNoProxyFromEnvironment(t *testing.T) {
	s := server(t, func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") })
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		t.Setenv(name, s.URL)
	}
	if _, err := get(t, NewClient(Config{AllowPrivate: Loopback(), Timeout: time.Second}), "https://10.1.2.3"); !errors.Is(err, ErrAddress) {
		t.Errorf("error %v", err)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	var last *http.Request
	target := server(t, func(w http.ResponseWriter, r *http.Request) {
		last = r.Clone(context.Background())
		io.WriteString(w, "target")
	})
	var code int
	var to string
	s := server(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, code) })
	allow := func(_, _ *url.URL) bool { return true }

	code, to = http.StatusFound, target.URL
	if _, err := get(t, NewClient(Config{AllowPrivate: Loopback()}), s.URL); !errors.Is(err, ErrRedirect) || last != nil {
		t.Errorf("by default: %v", err)
	}
	refuse := func(_, to *url.URL) bool { return to.Host == "other.example" }
	if _, err := get(t, NewClient(Config{AllowPrivate: Loopback(), AllowRedirect: refuse}), s.URL); !errors.Is(err, ErrRedirect) {
		t.Errorf("not on the list: %v", err)
	}
	body, err := get(t, NewClient(Config{AllowPrivate: Loopback(), AllowRedirect: allow}), s.URL)
	if err != nil || body != "target" {
		t.Fatalf("allowed: %q, %v", body, err)
	}
	if last.Header.Get("X-Api-Key") != "" || last.Header.Get("Authorization") != "" {
		t.Errorf("another host was given the credential: %v", last.Header)
	}

	// The next hop's address is checked like the first.
	to = "http://10.0.0.1/"
	if _, err := get(t, NewClient(Config{AllowPrivate: Loopback(), AllowRedirect: allow}), s.URL); !errors.Is(err, ErrAddress) {
		t.Errorf("to a private address: %v", err)
	}
	to = s.URL
	if _, err := get(t, NewClient(Config{AllowPrivate: Loopback(), AllowRedirect: allow}), s.URL); !errors.Is(err, ErrRedirect) {
		t.Errorf("a loop: %v", err)
	}

	last, code, to = nil, http.StatusTemporaryRedirect, target.URL
	c := NewClient(Config{AllowPrivate: Loopback(), AllowRedirect: allow})
	defer c.CloseIdleConnections()
	if res, err := c.Post(s.URL, "text/plain", strings.NewReader("secret")); !errors.Is(err, ErrRedirect) || last != nil {
		t.Errorf("307 carried the body elsewhere: %v, %v", res, err)
	}
}

func TestBodyIsBounded(t *testing.T) {
	t.Parallel()
	const limit = 1000
	size, chunked, zipped := 0, false, false
	s := server(t, func(w http.ResponseWriter, _ *http.Request) {
		body := bytes.Repeat([]byte("a"), size)
		switch {
		case zipped:
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			z.Write(body)
		case chunked:
			w.(http.Flusher).Flush()
			fallthrough
		default:
			w.Write(body)
		}
	})
	client := NewClient(Config{AllowPrivate: Loopback(), MaxResponse: limit})
	for _, tt := range []struct {
		name            string
		size            int
		chunked, zipped bool
		fits            bool
	}{
		{"exactly", limit, false, false, true},
		{"exactly, chunked", limit, true, false, true},
		{"one more", limit + 1, false, false, false},
		{"one more, chunked", limit + 1, true, false, false},
		{"a bomb", 10 << 20, false, true, false},
	} {
		size, chunked, zipped = tt.size, tt.chunked, tt.zipped
		body, err := get(t, client, s.URL)
		if tt.fits && (err != nil || len(body) != tt.size) || !tt.fits && !errors.Is(err, ErrTooLarge) || len(body) > limit {
			t.Errorf("%s: %d bytes, %v", tt.name, len(body), err)
		}
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		<-release
	})
	defer close(release)
	_, err := get(t, NewClient(Config{AllowPrivate: Loopback(), Timeout: 100 * time.Millisecond}), s.URL)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a body that never ends: %v", err)
	}
}
