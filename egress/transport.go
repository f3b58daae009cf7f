package egress

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// transport refuses schemes before the dial and bounds the body after it.
type transport struct {
	base *http.Transport
	max  int64
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	switch r.URL.Scheme {
	case "https":
	case "http":
		// Whether plaintext is allowed depends on the address, so control decides. A connection is reused only for the same
		// scheme and host, so a plaintext one was checked as such.
		r = r.WithContext(context.WithValue(r.Context(), plaintextKey{}, true))
	default:
		if r.Body != nil {
			_ = r.Body.Close() // as a RoundTripper must
		}
		return nil, fmt.Errorf("%w: scheme %q", ErrPlaintext, r.URL.Scheme)
	}
	res, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if res.ContentLength > t.max {
		_ = res.Body.Close() // nothing of it is wanted
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, res.ContentLength, t.max)
	}
	res.Body = &boundedBody{ReadCloser: res.Body, left: t.max}
	return res, nil
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the connections.
func (t *transport) CloseIdleConnections() { t.base.CloseIdleConnections() }

// boundedBody fails where io.LimitReader would pass a cut body for a whole one.
type boundedBody struct {
	io.ReadCloser
	left int64 // bytes that may still come
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more than is allowed, to tell an end from a cut
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, ErrTooLarge
	}
	return n, err
}
