package sample

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	codeLife = time.Minute
	maxCodes = 256
)

// authorizer is what the two authorization servers here have in common: clients that are public, PKCE, and codes, which stand for a T.
type authorizer[T any] struct {
	url     string            // its issuer identifier
	clients map[string]string // the redirect URI of each, on any port (RFC 8252 §7.3)

	mu    sync.Mutex
	codes map[string]pending[T]
}

// pending is a code that was not used yet.
type pending[T any] struct {
	of                          T
	client, redirect, challenge string
	until                       time.Time
}

// allow answers a checked request with a code.
func (a *authorizer[T]) allow(w http.ResponseWriter, r *http.Request, q url.Values, of T, now time.Time) {
	code, ok := a.code(q, of, now)
	if !ok {
		a.back(w, r, q, url.Values{"error": {"temporarily_unavailable"}})
		return
	}
	a.back(w, r, q, url.Values{"code": {code}})
}

// code makes a code, unless there are too many.
func (a *authorizer[T]) code(q url.Values, of T, now time.Time) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for code, old := range a.codes {
		if !now.Before(old.until) {
			delete(a.codes, code)
		}
	}
	if len(a.codes) >= maxCodes {
		return "", false
	}
	code := rand.Text()
	a.codes[code] = pending[T]{of, q.Get("client_id"), q.Get("redirect_uri"), q.Get("code_challenge"), now.Add(codeLife)}
	return code, true
}

// redeem gives away what a code stands for, once, whatever comes of it (RFC 6749 §4.1.2, RFC 7636 §4.6).
func (a *authorizer[T]) redeem(f url.Values, now time.Time) (T, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.codes[f.Get("code")]
	delete(a.codes, f.Get("code"))
	return p.of, ok && now.Before(p.until) && f.Get("client_id") == p.client && f.Get("redirect_uri") == p.redirect &&
		proves(f.Get("code_verifier"), p.challenge)
}

// request checks an authorization request. What is wrong with the client or where the answer goes is told to the browser alone;
// everything else goes back to the client.
func (a *authorizer[T]) request(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	switch {
	case !a.page(w, r):
		return nil, false
	case err != nil || !goesTo(q.Get("redirect_uri"), a.clients[q.Get("client_id")]):
		http.Error(w, "client_id or redirect_uri is not registered", http.StatusBadRequest)
		return nil, false
	case q.Get("response_type") != "code":
		a.back(w, r, q, url.Values{"error": {"unsupported_response_type"}})
		return nil, false
	case q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		a.back(w, r, q, url.Values{"error": {"invalid_request"}, "error_description": {"PKCE with S256 is required"}})
		return nil, false
	}
	return q, true
}

// page prepares the answer to a browser, unless that was sent here under a name that was rebound to loopback.
func (a *authorizer[T]) page(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	own, _ := url.Parse(a.url)
	if r.Host != own.Host {
		http.Error(w, "this is not "+own.Host, http.StatusMisdirectedRequest)
		return false
	}
	return true
}

// goesTo compares a redirect URI with the registered one, but for the port.
func goesTo(uri, registered string) bool {
	u, err := url.Parse(uri)
	if err != nil || u.Port() == "" {
		return false
	}
	u.Host = u.Hostname()
	return u.String() == registered
}

// back answers the client, by way of the browser. The answer names who gives it (RFC 9207).
func (a *authorizer[T]) back(w http.ResponseWriter, r *http.Request, q, answer url.Values) {
	answer.Set("iss", a.url)
	if q.Has("state") {
		answer.Set("state", q.Get("state"))
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+answer.Encode(), http.StatusSeeOther)
}

// proves holds a verifier against the challenge.
func proves(verifier, challenge string) bool {
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}
