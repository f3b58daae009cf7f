package delegationhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/delegation/dpop"
)

// Config is what the middleware must know.
type Config struct {
	Verifier *delegation.Verifier // of tokens; required. Its AcceptBound has no meaning here
	DPoP     *dpop.Verifier       // of proofs; nil: tokens that are bound to a DPoP key are refused

	// BaseURL is what stands before the path in the URLs of this service, as its callers know it behind any proxy, such as
	// "https://billing.example". Proofs name it, so it is required with DPoP. What a request says of its host is not asked.
	BaseURL string

	// ResourceMetadata is the URL of this service's protected resource metadata (RFC 9728), for the challenges (MD7).
	ResourceMetadata string

	RequireDPoP bool // take only tokens that come with a proof
}

// Middleware verifies the token of every request and puts it into the request's context for next. Only the Authorization
// header is looked at; a token in a URL or a form is no token (TE6). A token that is bound to a client certificate needs
// that certificate on its connection; one that is bound to a DPoP key is refused: see New. It panics when v or next is nil.
func Middleware(v *delegation.Verifier, next http.Handler) http.Handler {
	if v == nil || next == nil {
		panic("delegationhttp: nil Verifier or Handler")
	}
	return (&guard{config: Config{Verifier: v}}).wrap(next)
}

// New makes a middleware like Middleware, for services that take DPoP proofs or publish their metadata.
func New(config Config) (func(http.Handler) http.Handler, error) {
	switch {
	case config.Verifier == nil:
		return nil, errors.New("delegationhttp: a Verifier is needed")
	case config.RequireDPoP && config.DPoP == nil:
		return nil, errors.New("delegationhttp: RequireDPoP needs DPoP, or nobody can get in")
	case config.DPoP != nil && !isURL(config.BaseURL):
		return nil, fmt.Errorf("delegationhttp: BaseURL %q: want an https or http URL without user, query and fragment", config.BaseURL)
	case config.ResourceMetadata != "" && !isURL(config.ResourceMetadata):
		return nil, fmt.Errorf("delegationhttp: ResourceMetadata %q: want an https or http URL", config.ResourceMetadata)
	}
	config.BaseURL = strings.TrimSuffix(config.BaseURL, "/")
	g := &guard{config: config}
	return func(next http.Handler) http.Handler {
		if next == nil {
			panic("delegationhttp: nil Handler")
		}
		return g.wrap(next)
	}, nil
}

// isURL reports whether s may stand in a challenge and be compared with what a proof says.
func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && u.Opaque == "" &&
		!strings.ContainsAny(s, "?#\"\\ ")
}

// guard verifies by one configuration.
type guard struct{ config Config }

func (g *guard) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, refused := g.credentials(r)
		if refused != nil {
			g.refuse(w, refused)
			return
		}
		v, refused := g.verify(r, c)
		if refused != nil {
			g.refuse(w, refused)
			return
		}
		if c.proven() {
			g.offerNonce(w)
		}
		ctx := context.WithValue(delegation.NewContext(r.Context(), v), challengeKey{}, challenger{g, c.scheme})
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// credentials are what a request presents.
type credentials struct {
	scheme string // bearer or proof
	token  string
}

func (c credentials) proven() bool { return c.scheme == schemeDPoP }

// credentials finds the one token of a request. Two are refused: which of them counts would be anybody's guess.
func (g *guard) credentials(r *http.Request) (credentials, *refusal) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return credentials{}, &refusal{}
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	c := credentials{token: token}
	switch {
	case len(headers) > 1:
		return c, &refusal{code: http.StatusBadRequest, oauth: "invalid_request", description: "more than one Authorization header"}
	case strings.EqualFold(scheme, schemeDPoP) && g.config.DPoP != nil:
		c.scheme = schemeDPoP
	case strings.EqualFold(scheme, schemeBearer):
		c.scheme = schemeBearer
	default:
		return c, &refusal{}
	}
	switch {
	case token == "":
		return c, &refusal{code: http.StatusBadRequest, scheme: c.scheme, oauth: "invalid_request", description: "no token after " + c.scheme}
	case !c.proven() && g.config.RequireDPoP:
		return c, &refusal{oauth: "invalid_token", description: "this service takes tokens with a DPoP proof only"}
	}
	return c, nil
}

// verify holds the token, and the keys that were proven, to each other (DP6, MT2). The proof is used up last, when it is known
// that its sender has a token: a stranger cannot fill the memory of proofs.
func (g *guard) verify(r *http.Request, c credentials) (delegation.Verified, *refusal) {
	var possessed delegation.Possession
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		possessed.X5T = delegation.CertificateThumbprint(r.TLS.PeerCertificates[0])
	}
	var proof dpop.Proof
	if c.proven() {
		var err error
		proof, err = g.config.DPoP.Check(dpop.Request{
			Proofs: r.Header.Values("DPoP"), Method: r.Method, URI: g.config.BaseURL + r.URL.EscapedPath(), Token: c.token,
		})
		if err != nil {
			return delegation.Verified{}, refusalOf(c, err)
		}
		possessed.JKT = proof.JKT
	}
	v, err := g.config.Verifier.VerifyPossessed(r.Context(), c.token, possessed)
	if err == nil && c.proven() {
		err = g.config.DPoP.Use(r.Context(), proof)
	}
	if err != nil {
		return delegation.Verified{}, refusalOf(c, err)
	}
	return v, nil
}

// offerNonce gives a client a nonce for its next proof, so that it is never out of date (RFC 9449 §8.2). Without one the
// client will be asked for it; that is no reason to refuse this request.
func (g *guard) offerNonce(w http.ResponseWriter) {
	if nonce, err := g.config.DPoP.Nonce(); err == nil && nonce != "" {
		w.Header().Set("DPoP-Nonce", nonce)
	}
}

// RequireScope lets a request through to next when its verified token has the scope, and answers 403 insufficient_scope
// when it does not. It belongs inside Middleware, or what New makes.
func RequireScope(scope string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, ok := r.Context().Value(challengeKey{}).(challenger)
		if !ok {
			from = challenger{&guard{}, schemeBearer}
		}
		v, ok := delegation.FromContext(r.Context())
		switch {
		case !ok:
			from.refuse(w, &refusal{})
		case !v.Scope().Contains(scope):
			from.refuse(w, &refusal{
				code: http.StatusForbidden, scheme: from.scheme, oauth: "insufficient_scope", description: "the token lacks a scope", scope: scope,
			})
		default:
			next.ServeHTTP(w, r)
		}
	})
}
