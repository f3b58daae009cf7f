// Package oauthhttp is the standard's own door to the authorization server: the token endpoint (RFC 6749 section 3.2 with
// RFC 8693), introspection (RFC 7662, RFC 9701), revocation (RFC 7009), security events (RFC 8935), the JWKS (RFC 7517), the
// metadata (RFC 8414) and a health page. It translates and decides nothing: the same
// exchange service stands behind the gRPC door.
package oauthhttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/exchange"
)

// Exchanger is the authorization server: *exchange.Service. Every refusal MUST be an *exchange.Error; anything else is shown as
// server_error.
type Exchanger interface {
	Exchange(ctx context.Context, cred exchange.Credential, req exchange.Request) (exchange.Response, error)
	Introspect(ctx context.Context, cred exchange.Credential, token string, signed bool) (exchange.Introspection, error)
	RevokeToken(ctx context.Context, cred exchange.Credential, token, hint string) error
}

// Receiver takes security events: *exchange.Service. Every refusal MUST be a *signals.Refusal; after any other error the
// transmitter is to send the event again.
type Receiver interface {
	TakeSignal(ctx context.Context, org delegation.OrgID, stream, token string) error
}

// Config is what the door needs. Events, the algorithms and MTLS may be left out.
type Config struct {
	// Issuer is the issuer identifier: the endpoints live below its path.
	Issuer string
	// Exchange does the work.
	Exchange Exchanger
	// Events takes security events; nil: there is no such endpoint.
	Events Receiver
	// JWKS is the published key set at this moment, as JSON; empty while there is none.
	JWKS func() []byte
	// JWKSMaxAge is how long a client may keep the key set: no longer than a key is published before it signs.
	JWKSMaxAge time.Duration
	// ClientAlgorithms are the JWS algorithms that private_key_jwt may use.
	ClientAlgorithms []string
	// ProofAlgorithms are the JWS algorithms that a DPoP proof may use (DP9); empty: DPoP is not told of.
	ProofAlgorithms []string
	// SigningAlgorithms are those of the keys in JWKS, for signed introspection answers.
	SigningAlgorithms []string
	// MTLS is the URL below which the same endpoints ask for a TLS client certificate (RFC 8705): the issuer itself when its
	// own door does. Empty: no door asks, and nothing of certificates is told.
	MTLS string
	// Ready says whether the server can serve: nil, or why not.
	Ready func() error
	// Log gets internal errors and panics.
	Log *slog.Logger
}

// NewHandler builds the door.
func NewHandler(cfg Config) (http.Handler, error) {
	issuer, err := url.Parse(cfg.Issuer)
	switch {
	case err != nil, issuer.Host == "", issuer.RawQuery != "", issuer.Fragment != "":
		return nil, fmt.Errorf("oauthhttp: issuer %q is no URL without query and fragment (MD2)", cfg.Issuer)
	case cfg.Exchange == nil, cfg.JWKS == nil, cfg.Ready == nil, cfg.Log == nil, cfg.JWKSMaxAge <= 0:
		return nil, errors.New("oauthhttp: Exchange, JWKS, JWKSMaxAge, Ready and Log are required")
	}
	path := strings.TrimSuffix(issuer.EscapedPath(), "/")
	mtls, err := url.Parse(cfg.MTLS)
	if err != nil || cfg.MTLS != "" &&
		(mtls.Scheme != "https" || mtls.Host == "" || strings.TrimSuffix(mtls.EscapedPath(), "/") != path) {
		return nil, fmt.Errorf("oauthhttp: MTLS %q is no https URL with the issuer's path", cfg.MTLS)
	}
	document, err := metadata(cfg)
	if err != nil {
		return nil, err
	}
	d := door{cfg: cfg, metadata: document, mtlsHost: mtls.Host}
	mux := http.NewServeMux()
	mux.HandleFunc(path+tokenPath, shared(d.form(d.token)))
	mux.HandleFunc(path+introspectPath, shared(d.form(d.introspect)))
	mux.HandleFunc(path+revokePath, shared(d.form(d.revoke)))
	mux.HandleFunc(path+jwksPath, shared(d.read(d.jwks)))
	if cfg.Events != nil {
		mux.HandleFunc(path+eventsPath+"{org}/{stream}", d.events) // not shared: no web page sends them
	}
	mux.HandleFunc(wellKnown+path, shared(d.read(d.discovery))) // MD1: between host and path
	mux.HandleFunc("/healthz", d.read(d.health))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not found", http.StatusNotFound) })
	return d.protect(mux), nil
}

// Where things are, below the issuer.
const (
	tokenPath      = "/token"
	introspectPath = "/introspect"
	revokePath     = "/revoke"
	jwksPath       = "/jwks"
	eventsPath     = "/events/"
	wellKnown      = "/.well-known/oauth-authorization-server"
)

type door struct {
	cfg      Config
	metadata []byte
	mtlsHost string
}

// base is the URL that the request was made below: one of our own two, whatever the Host header says, so that the htu of a
// proof cannot be chosen by who relays it (DP2).
func (d door) base(r *http.Request) string {
	if d.mtlsHost != "" && strings.EqualFold(r.Host, d.mtlsHost) {
		return strings.TrimSuffix(d.cfg.MTLS, "/")
	}
	return strings.TrimSuffix(d.cfg.Issuer, "/")
}

// protect sets the headers that no answer may lack, and turns a panic into server_error with nothing else in it.
func (d door) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				d.writeError(w, r, fmt.Errorf("panic: %v", p))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// shared lets the scripts of any web page call an endpoint (TE17). There is nothing of the browser's own that they could
// misuse: no cookie is read, and who calls must bring the client's credential.
func shared(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", "DPoP-Nonce, Retry-After, WWW-Authenticate")
		if r.Method != http.MethodOptions {
			next(w, r)
			return
		}
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, DPoP, Traceparent")
		h.Set("Access-Control-Max-Age", "3600")
		w.WriteHeader(http.StatusNoContent)
	}
}

// read lets only GET and HEAD through to a public document.
func (d door) read(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		next(w, r)
	}
}

func (d door) jwks(w http.ResponseWriter, r *http.Request) {
	keys := d.cfg.JWKS()
	if len(keys) == 0 {
		d.writeError(w, r, &exchange.Error{Reason: exchange.DependencyUnavailable, Description: "no keys yet"})
		return
	}
	d.public(w, "application/jwk-set+json", keys)
}

func (d door) discovery(w http.ResponseWriter, _ *http.Request) {
	d.public(w, "application/json", d.metadata)
}

func (d door) public(w http.ResponseWriter, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(d.cfg.JWKSMaxAge.Seconds())))
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // it may have gone away
}

func (d door) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if err := d.cfg.Ready(); err != nil {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "ok")
}
