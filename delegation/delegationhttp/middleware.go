// Package delegationhttp lets an HTTP service accept delegation tokens in one line:
//
//	http.ListenAndServe(addr, delegationhttp.Middleware(verifier, handler))
//
// A handler then asks delegation.FromContext. Refusals are those of RFC 6750 §3.
package delegationhttp

import (
	"errors"
	"net/http"
	"strings"

	"github.com/onbehalf/obo/delegation"
)

// Middleware verifies the bearer token of every request and puts it into the request's context for next. Only the
// Authorization header is looked at; a token in a URL or a form is no token (TE6). It panics when v or next is nil.
//
// Answers (MD8): 401 with a bare challenge when there are no credentials; 400 invalid_request when there are several;
// 401 invalid_token; and 503 with Retry-After when it cannot be known whether the token is good.
func Middleware(v *delegation.Verifier, next http.Handler) http.Handler {
	if v == nil || next == nil {
		panic("delegationhttp: nil Verifier or Handler")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers := r.Header.Values("Authorization")
		if len(headers) == 0 {
			challenge(w, http.StatusUnauthorized, "Bearer")
			return
		}
		scheme, token, _ := strings.Cut(headers[0], " ")
		switch {
		case len(headers) > 1:
			refuse(w, http.StatusBadRequest, "invalid_request", "more than one Authorization header", "")
			return
		case !strings.EqualFold(scheme, "Bearer"):
			challenge(w, http.StatusUnauthorized, "Bearer")
			return
		case token == "":
			refuse(w, http.StatusBadRequest, "invalid_request", "no token after Bearer", "")
			return
		}
		verified, err := v.Verify(r.Context(), token)
		switch {
		case err == nil:
			next.ServeHTTP(w, r.WithContext(delegation.NewContext(r.Context(), verified)))
		case errors.Is(err, delegation.ErrUnavailable):
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "the token cannot be verified now", http.StatusServiceUnavailable)
		default:
			refuse(w, http.StatusUnauthorized, "invalid_token", delegation.Describe(err), "")
		}
	})
}

// RequireScope lets a request through to next when its verified token has the scope, and answers 403 insufficient_scope
// when it does not. It belongs inside Middleware.
func RequireScope(scope string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, ok := delegation.FromContext(r.Context())
		switch {
		case !ok:
			challenge(w, http.StatusUnauthorized, "Bearer")
		case !v.Scope().Contains(scope):
			refuse(w, http.StatusForbidden, "insufficient_scope", "the token lacks a scope", scope)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// refuse writes a challenge with an error code. All that goes in is text of ours, so it needs no quoting.
func refuse(w http.ResponseWriter, code int, oauth, description, scope string) {
	header := `Bearer error="` + oauth + `", error_description="` + description + `"`
	if scope != "" {
		header += `, scope="` + scope + `"`
	}
	challenge(w, code, header)
}

func challenge(w http.ResponseWriter, code int, header string) {
	w.Header().Set("WWW-Authenticate", header)
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(code), code)
}
