package client

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Transport is an http.RoundTripper that adds a token, and the proof of its key, to each request, and asks once more when the
// server wants a nonce (RFC 9449 §9). base may be nil.
//
// A request goes out with a token only over https or to loopback, and not when it follows a redirect to another server.
func (c *Client) Transport(r Request, base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{c, r, base}
}

type transport struct {
	c    *Client
	r    Request
	base http.RoundTripper
}

// Format is the client's.
func (t *transport) Format(f fmt.State, verb rune) { t.c.Format(f, verb) }

// RoundTrip sends a request.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if redirected(req) {
		return t.base.RoundTrip(req)
	}
	if !private(req.URL) {
		closeBody(req)
		return nil, errors.New("client: no token over http, but to loopback")
	}
	k, err := t.r.key()
	if err != nil {
		closeBody(req)
		return nil, err
	}
	for again := false; ; again = true {
		token, err := t.c.tokens.get(req.Context(), k, t.r)
		if err == nil {
			err = t.c.usable(token)
		}
		var out *http.Request
		if err == nil {
			out, err = t.dressed(req, token, again)
		}
		if err != nil {
			closeBody(req)
			return nil, err
		}
		resp, err := t.base.RoundTrip(out)
		if err != nil {
			return nil, err
		}
		nonce := t.c.nonces.put("rs "+origin(req.URL), resp.Header.Values("DPoP-Nonce"))
		problem := challenged(resp)
		if problem == "invalid_token" {
			t.c.tokens.forget(k, token.AccessToken)
		}
		if again || !nonce || problem != nonceCode || !replayable(req) {
			return resp, nil
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
		_ = resp.Body.Close()
	}
}

// dressed is a copy of a request with the token: a RoundTripper must not change what it is given.
func (t *transport) dressed(req *http.Request, token Token, again bool) (*http.Request, error) {
	out := req.Clone(req.Context())
	if again && req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = body
	}
	if strings.EqualFold(token.Type, "Bearer") {
		out.Header.Set("Authorization", "Bearer "+token.AccessToken)
		return out, nil
	}
	at := *req.URL
	at.RawQuery, at.ForceQuery, at.Fragment, at.RawFragment, at.User = "", false, "", "", nil // DP2
	proof, err := t.c.dpop.Proof(method(req), at.String(), t.c.nonces.get("rs "+origin(req.URL)), token.AccessToken)
	if err != nil {
		return nil, err
	}
	out.Header.Set("Authorization", "DPoP "+token.AccessToken)
	out.Header.Set("DPoP", proof)
	return out, nil
}

func method(req *http.Request) string {
	if req.Method == "" {
		return http.MethodGet
	}
	return req.Method
}

// redirected reports whether a request follows a redirect that left the server it was first meant for, or may have: not every
// base says in its answers what they answer.
func redirected(req *http.Request) bool {
	for at := req; at.Response != nil; {
		at = at.Response.Request
		if at == nil || !sameOrigin(at.URL, req.URL) {
			return true
		}
	}
	return false
}

func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }

// challenged is the error of a 401's challenge (RFC 6750 §3, RFC 9449 §9); empty when there is none.
func challenged(resp *http.Response) string {
	if resp.StatusCode != http.StatusUnauthorized {
		return ""
	}
	for _, challenge := range resp.Header.Values("WWW-Authenticate") {
		for _, code := range []string{nonceCode, "invalid_token"} {
			if strings.Contains(challenge, `error="`+code+`"`) {
				return code
			}
		}
	}
	return ""
}

func replayable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
