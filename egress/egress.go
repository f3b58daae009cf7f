// Package egress is the only way out to a URL that someone else chose: an org's issuer, its key set, a provider.
//
// The attack is server-side request forgery (JW13): a URL that leads to this machine, to its network or to a cloud's
// metadata service. A check of the URL is not enough, since a name may resolve to anything, and to something else a second
// later (DNS rebinding). So the address is checked when the socket is about to connect to it, after DNS and for every
// attempt, and nothing between that check and the connection can change it.
package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"
)

// The reasons for which a request is refused. They come wrapped in a *url.Error; compare with errors.Is.
var (
	// ErrAddress: the host resolves to an address that is not public.
	ErrAddress = errors.New("egress: address is not public")
	// ErrPlaintext: http to an address that is not in AllowPrivate, or another scheme.
	ErrPlaintext = errors.New("egress: only https is allowed")
	// ErrRedirect: the answer is a redirect that may not be followed.
	ErrRedirect = errors.New("egress: redirect refused")
	// ErrTooLarge: the body is longer than MaxResponse.
	ErrTooLarge = errors.New("egress: response is too large")
)

// Config says where a client may go and how much it takes. The zero value is the strict one.
type Config struct {
	// AllowPrivate lists addresses that are not public and may be reached all the same, and may be reached without TLS:
	// for development, Loopback. Default none.
	AllowPrivate []netip.Prefix
	// AllowRedirect decides whether a redirect may be followed; at most 5 are. The address of the next hop is checked as
	// every other. To another host only Accept, Accept-Language and User-Agent are sent, and no body. Default: none.
	AllowRedirect func(from, to *url.URL) bool
	// Timeout bounds a whole exchange including the body. Default 10 seconds.
	Timeout time.Duration
	// MaxResponse bounds a body in bytes, after decompression. Default 1 MiB.
	MaxResponse int64
}

const (
	defaultTimeout     = 10 * time.Second
	defaultMaxResponse = 1 << 20
	maxRedirects       = 5
	maxResponseHeaders = 64 << 10
)

// NewClient returns a client that goes only where c lets it. It uses no proxy: a proxy would do the resolving, behind the
// check. The client is safe for concurrent use.
func NewClient(c Config) *http.Client {
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.MaxResponse <= 0 {
		c.MaxResponse = defaultMaxResponse
	}
	c.AllowPrivate = slices.Clone(c.AllowPrivate)
	dialer := &net.Dialer{Timeout: c.Timeout, ControlContext: c.control}
	return &http.Client{
		Timeout:       c.Timeout,
		CheckRedirect: c.checkRedirect,
		Transport: &transport{max: c.MaxResponse, base: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    c.Timeout,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    64, // without HTTP/2, each call at a time needs one: another costs a TLS handshake
			MaxIdleConns:           256,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: maxResponseHeaders,
		}},
	}
}

// plaintextKey marks the context of a dial that TLS will not protect.
type plaintextKey struct{}

// control runs between DNS and connect, once for each address that is tried.
func (c Config) control(ctx context.Context, network, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: %s %s", ErrAddress, network, address)
	}
	// IPv4 in IPv6 is the IPv4 address; a zone would make every prefix miss.
	addr := ap.Addr().Unmap().WithZone("")
	switch {
	case contains(c.AllowPrivate, addr):
		return nil
	case !public(addr):
		return fmt.Errorf("%w: %s", ErrAddress, addr)
	case ctx.Value(plaintextKey{}) != nil:
		return fmt.Errorf("%w: http to %s", ErrPlaintext, addr)
	}
	return nil
}

func (c Config) checkRedirect(next *http.Request, via []*http.Request) error {
	last := via[len(via)-1]
	switch {
	case c.AllowRedirect == nil || len(via) > maxRedirects || !c.AllowRedirect(last.URL, next.URL):
		return fmt.Errorf("%w: to host %q", ErrRedirect, next.URL.Host)
	case sameOrigin(last.URL, next.URL):
		return nil
	case next.Body != nil:
		// 307 and 308 repeat the body, which was meant for the first host.
		return fmt.Errorf("%w: body to host %q", ErrRedirect, next.URL.Host)
	}
	// net/http knows Authorization and Cookie; a provider's key may travel in any header.
	kept := http.Header{}
	for _, name := range []string{"Accept", "Accept-Language", "User-Agent"} {
		if v := next.Header.Values(name); len(v) > 0 {
			kept[name] = v
		}
	}
	next.Header = kept
	return nil
}

func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }
