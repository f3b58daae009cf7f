package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/onbehalf/obo/config"
	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/executor"
	"github.com/onbehalf/obo/wire/executorgrpc"
)

// web is the HTTP door: health, the protected resource metadata, and the resource itself, which needs a token and refers to
// the gRPC door.
type web struct {
	executor admitter
	ready    func() error
	metadata string // URL of the document, for challenges; empty: there is none
	document []byte
	origin   string // of the resource, as clients see it: scheme and host
}

// admitter verifies tokens: *executor.Service.
type admitter interface {
	Admit(ctx context.Context, p executor.Presented) (v delegation.Verified, nonce string, err error)
}

func newWeb(cfg config.Executor, x admitter, ready func() error, connect http.Handler) (http.Handler, error) {
	w := &web{executor: x, ready: ready, metadata: cfg.ResourceMetadata}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", w.healthz)
	resource, err := url.Parse(cfg.Audience)
	if err != nil {
		return nil, fmt.Errorf("audience: %w", err)
	}
	w.origin = resource.Scheme + "://" + resource.Host // nobody's, when the identifier is no URL of a server: no proof is good
	if w.metadata != "" {
		at, err := url.Parse(w.metadata)
		if err != nil {
			return nil, fmt.Errorf("resource_metadata: %w", err)
		}
		if w.document, err = json.Marshal(describe(cfg)); err != nil {
			return nil, err
		}
		mux.HandleFunc("GET "+at.Path, w.describe)
	}
	mux.Handle("/connect/", connect)
	mux.HandleFunc("/", w.resource)
	return secured(mux), nil
}

// document is that of RFC 9728 section 2. An array without elements is left out.
type document struct {
	Resource      string   `json:"resource"`
	Name          string   `json:"resource_name"`
	Servers       []string `json:"authorization_servers"`
	Bearer        []string `json:"bearer_methods_supported"`
	Proofs        []string `json:"dpop_signing_alg_values_supported"`
	ProofRequired bool     `json:"dpop_bound_access_tokens_required,omitempty"`
	Certificates  bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"`
}

// describe says what a client must know of this executor (MD7). Scopes are the orgs' to say, so none is listed.
func describe(cfg config.Executor) document {
	return document{
		Resource: cfg.Audience, Name: "obo executor", Servers: []string{cfg.Issuer},
		Bearer: []string{"header"}, // never in a query, which logs and proxies keep (FA4)
		Proofs: executorgrpc.ProofAlgorithms(), ProofRequired: cfg.RequireDPoP, Certificates: cfg.Listen.TLS != nil,
	}
}

func (w *web) describe(out http.ResponseWriter, _ *http.Request) {
	out.Header().Set("Content-Type", "application/json")
	out.Header().Set("Cache-Control", "public, max-age=300")
	out.Header().Set("Access-Control-Allow-Origin", "*") // it is public, and clients in browsers read it (TE17)
	_, _ = out.Write(w.document)
}

// healthz says whether the executor can do its work; why not is for the log.
func (w *web) healthz(out http.ResponseWriter, _ *http.Request) {
	if w.ready() != nil {
		say(out, http.StatusServiceUnavailable, "not ready")
		return
	}
	say(out, http.StatusOK, "ok")
}

// resource answers to whoever asks the executor itself something over HTTP: how to get a token, and with one, where the
// executor listens. Agents call it over gRPC.
func (w *web) resource(out http.ResponseWriter, r *http.Request) {
	p := executor.Presented{Proofs: r.Header.Values("DPoP"), Method: r.Method, URI: w.origin + r.URL.EscapedPath()}
	if r.TLS != nil {
		p.Certificates = r.TLS.PeerCertificates // of the connection, never of a header (CA8)
	}
	values := r.Header.Values("Authorization") // and nowhere else: a token in the query is nobody's (FA4)
	scheme, token, _ := strings.Cut(strings.Join(values, ""), " ")
	switch {
	case len(values) > 1:
		w.refuse(out, p, &executor.Error{Reason: executor.InvalidRequest, Description: "send one Authorization header"}) // DP6
		return
	case token == "", !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "DPoP"):
		w.refuse(out, p, &executor.Error{Reason: executor.InvalidToken, Description: "a delegation token is needed"})
		return
	}
	p.Scheme, p.Token = scheme, token
	_, nonce, err := w.executor.Admit(r.Context(), p)
	if refused, ok := errors.AsType[*executor.Error](err); ok {
		w.refuse(out, p, refused)
		return
	}
	if err != nil {
		w.refuse(out, p, &executor.Error{Reason: executor.InternalError, Description: "internal error"})
		return
	}
	if nonce != "" {
		out.Header().Set("DPoP-Nonce", nonce)
	}
	say(out, http.StatusNotFound, "the token is good; call obo.v1.ExecutorService over gRPC")
}

// statuses are those of RFC 6750 section 3.1 (MD8).
var statuses = map[executor.Reason]int{
	executor.InvalidRequest:        http.StatusBadRequest,
	executor.InvalidToken:          http.StatusUnauthorized,
	executor.InvalidProof:          http.StatusUnauthorized,
	executor.UseNonce:              http.StatusUnauthorized,
	executor.InsufficientScope:     http.StatusForbidden,
	executor.DependencyUnavailable: http.StatusServiceUnavailable,
}

func (w *web) refuse(out http.ResponseWriter, p executor.Presented, e *executor.Error) {
	for _, challenge := range executorgrpc.Challenges(p.Scheme, e, w.metadata) {
		out.Header().Add("WWW-Authenticate", challenge)
	}
	if e.Nonce != "" {
		out.Header().Set("DPoP-Nonce", e.Nonce)
	}
	if e.RetryAfter > 0 {
		out.Header().Set("Retry-After", fmt.Sprint(max(1, int(e.RetryAfter.Seconds()))))
	}
	say(out, cmp.Or(statuses[e.Reason], http.StatusInternalServerError), e.Description)
}

func say(out http.ResponseWriter, status int, text string) {
	out.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out.Header().Set("Cache-Control", "no-store")
	out.WriteHeader(status)
	fmt.Fprintln(out, text)
}

// secured adds what every answer has.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		h := out.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(out, r)
	})
}
