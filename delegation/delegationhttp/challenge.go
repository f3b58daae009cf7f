package delegationhttp

import (
	"errors"
	"net/http"
	"strings"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/dpop"
)

// The schemes of Authorization and of challenges.
const (
	schemeBearer = "Bearer"
	schemeDPoP   = "DPoP"
)

// challengeKey finds, in the context of a request that was let in, the challenger for who refuses it later.
type challengeKey struct{}

// challenger refuses a request as the guard would have that let it in.
type challenger struct {
	*guard
	scheme string
}

// refusal is an answer. The zero refusal is 401 without an error code: there were no credentials to say anything about.
type refusal struct {
	code        int
	scheme      string // that the client used; empty: the one that this service likes best
	oauth       string // the error code
	description string // a text of ours, which needs no quoting
	scope       string // that is missing
}

// refusalOf says why a token or its proof is refused.
func refusalOf(c credentials, err error) *refusal {
	out := &refusal{code: http.StatusUnauthorized, scheme: c.scheme}
	switch {
	case errors.Is(err, delegation.ErrUnavailable), errors.Is(err, dpop.ErrUnavailable):
		out.code = http.StatusServiceUnavailable
	case errors.Is(err, dpop.ErrNonce):
		out.oauth, out.description = "use_dpop_nonce", "the proof needs the nonce of this answer"
	case errors.Is(err, dpop.ErrProof):
		out.oauth, out.description = "invalid_dpop_proof", strings.TrimPrefix(err.Error(), "dpop: ")
	default:
		out.oauth, out.description = "invalid_token", delegation.Describe(err)
	}
	return out
}

// refuse answers.
func (g *guard) refuse(w http.ResponseWriter, r *refusal) {
	w.Header().Set("Cache-Control", "no-store")
	if r.oauth == "use_dpop_nonce" {
		nonce, err := g.config.DPoP.Nonce()
		if err != nil {
			r = &refusal{code: http.StatusServiceUnavailable}
		} else {
			w.Header().Set("DPoP-Nonce", nonce) // exactly one (DP4)
		}
	}
	if r.code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the token cannot be verified now", r.code)
		return
	}
	for _, scheme := range g.schemes() {
		w.Header().Add("WWW-Authenticate", g.challenge(scheme, r))
	}
	code := r.code
	if code == 0 {
		code = http.StatusUnauthorized
	}
	http.Error(w, http.StatusText(code), code)
}

// schemes are those that this service takes, the one that it likes best first.
func (g *guard) schemes() []string {
	switch {
	case g.config.DPoP == nil:
		return []string{schemeBearer}
	case g.config.RequireDPoP:
		return []string{schemeDPoP}
	}
	return []string{schemeDPoP, schemeBearer}
}

// challenge is one WWW-Authenticate (RFC 6750 §3, RFC 9449 §7.1, RFC 9728 §5.1). The error stands with the scheme that was
// used, and with no other.
func (g *guard) challenge(scheme string, r *refusal) string {
	var parameters []string
	add := func(name, value string) {
		if value != "" {
			parameters = append(parameters, name+`="`+value+`"`)
		}
	}
	if r.scheme == scheme || r.scheme == "" && scheme == g.schemes()[0] {
		add("error", r.oauth)
		add("error_description", r.description)
		add("scope", r.scope)
	}
	if scheme == schemeDPoP {
		add("algs", dpop.Algorithms)
	}
	add("resource_metadata", g.config.ResourceMetadata)
	if len(parameters) == 0 {
		return scheme
	}
	return scheme + " " + strings.Join(parameters, ", ")
}
