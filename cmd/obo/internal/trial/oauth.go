package trial

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"

	"github.com/onbehalf/obo/connection"
)

// oauth is the life of a grant: authorize, exchange, spend, refresh, revoke.
func (r *run) oauth(ctx context.Context) {
	var code, verifier string
	if !r.step(ctx, "authorize", func(ctx context.Context, s *Step) { code, verifier = r.authorize(ctx, s) }) {
		r.skip("there is no grant", "exchange", "probe", "tool", "refresh", "rotation", "revoke", "revoked")
		return
	}
	r.step(ctx, "exchange", func(ctx context.Context, s *Step) { r.exchange(ctx, s, code, verifier) })
	if len(r.held.Reveal()) == 0 {
		r.skip("there is no grant", "probe", "tool", "refresh", "rotation", "revoke", "revoked")
		return
	}
	r.spend(ctx)
	spent := bytes.Clone(r.held.Refresh())
	r.step(ctx, "refresh", r.refresh)
	alive := true
	r.step(ctx, "rotation", func(ctx context.Context, s *Step) { alive = r.rotation(ctx, s, spent) })
	switch {
	case r.Keep:
		r.skip("the grant is kept", "revoke", "revoked")
	case !alive:
		r.skip("the grant has ended", "revoke", "revoked")
	case r.step(ctx, "revoke", r.revoke):
		r.step(ctx, "revoked", r.revoked)
	default:
		r.skip("the grant is not revoked", "revoked")
	}
}

// authorize sends the browser and judges what it brings. That it is the answer to our request comes first: of any other, nothing is
// believed.
func (r *run) authorize(ctx context.Context, s *Step) (code, verifier string) {
	state := rand.Text()
	verifier = rand.Text() + rand.Text() // 43 characters at least (RFC 7636 section 4.1)
	r.hide(state, verifier)
	sum := sha256.Sum256([]byte(verifier))
	scopes := r.Provider.ScopesFor(r.Pattern, r.Scopes)
	to, err := r.Provider.AuthorizeURL(r.client(), connection.Ask{
		Scopes: scopes, State: state, Challenge: base64.RawURLEncoding.EncodeToString(sum[:]), RedirectURI: r.Browser.RedirectURI(),
	})
	if err != nil {
		s.fail(reason(err), "a request that can be built")
		return "", ""
	}
	if u, err := url.Parse(to); err == nil {
		s.Exchange = r.asked(&http.Request{Method: http.MethodGet, URL: u})
	}
	s.see("redirect URI: %s", r.Browser.RedirectURI())
	s.see("PKCE: %s", map[bool]string{true: "S256", false: "none, as the record says"}[r.Provider.PKCE()])
	r.Open(to)
	wait, cancel := context.WithTimeout(ctx, r.Within)
	defer cancel()
	q, err := r.Browser.Wait(wait)
	if err != nil {
		s.fail("the browser did not come back within "+r.Within.String(),
			"an answer at the redirect URI, which must be registered at the provider exactly as it is here")
		return "", ""
	}
	r.hide(q.Get("code"))
	s.Exchange.Body = formShape(q, true, r.clean)
	s.see("came back with: %s", names(q, r.clean))
	switch iss := q.Get("iss"); {
	case slices.ContainsFunc([]string{"state", "iss", "code", "error"}, func(name string) bool { return len(q[name]) > 1 }):
		s.fail("the answer says something twice", "each parameter once (RFC 6749 section 3.1)")
	case subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1:
		s.fail("the answer is not to this request (state)", "state as it was sent")
	case r.Provider.CheckIssuer(iss) != nil:
		s.fail(reason(r.Provider.CheckIssuer(iss)), "iss as the record's oauth/authorize/issuer")
	case q.Get("error") != "":
		what := "the provider refuses"
		if q.Get("error") == "access_denied" {
			what = "you, or the provider, said no"
		}
		s.fail(what+": "+errorCode(q.Get("error")), "a code")
	case q.Get("code") == "":
		s.fail("there is no code", "a code")
	case iss == "":
		s.see("iss: did not come, and the record does not ask for it")
	case r.Provider.CheckIssuer(iss+"/other") == nil:
		s.see("iss: came, and the record has no issuer to hold it against: worth adding")
	default:
		s.see("iss: came, and is the record's")
	}
	return q.Get("code"), verifier
}

// exchange spends the code.
func (r *run) exchange(ctx context.Context, s *Step, code, verifier string) {
	request, err := r.Provider.CodeRequest(ctx, r.client(), code, verifier, r.Browser.RedirectURI())
	if err != nil {
		s.fail(reason(err), "a request that can be built")
		return
	}
	g, refusal := r.grant(ctx, s, request)
	if refusal != nil {
		s.fail(meaning(refusal), "a 2xx answer with an access token where the record says")
		return
	}
	r.take(g)
	r.granted(s, g, r.Provider.ScopesFor(r.Pattern, r.Scopes))
}

// renew spends a refresh token.
func (r *run) renew(ctx context.Context, s *Step, refresh []byte) (connection.Grant, *connection.Refusal, bool) {
	request, err := r.Provider.RefreshRequest(ctx, r.client(), refresh, r.Browser.RedirectURI())
	if err != nil {
		s.fail(reason(err), "a request that can be built")
		return connection.Grant{}, nil, false
	}
	g, refusal := r.grant(ctx, s, request)
	return g, refusal, true
}

// refresh shows whether the refresh token changes. One that changes where the record says that it never does is lost at the first
// crash: that is a failure. The other way round costs nothing but care.
func (r *run) refresh(ctx context.Context, s *Step) {
	before := bytes.Clone(r.held.Refresh())
	if len(before) == 0 {
		s.skip("no refresh token came with the grant")
		return
	}
	g, refusal, sent := r.renew(ctx, s, before)
	switch {
	case !sent:
		return
	case refusal != nil:
		s.fail(meaning(refusal), "a 2xx answer with a new access token")
		return
	}
	changed := g.Refresh != nil && !bytes.Equal(g.Refresh, before)
	r.take(g)
	says := r.Provider.Summary().Rotation
	s.see("refresh token: %s; the record says rotation %s", map[bool]string{true: "a new one", false: "the same"}[changed], says)
	switch {
	case changed && says == connection.RotationNever:
		s.fail("the refresh token stays", "the same refresh token, since the record says that it is never rotated")
	case !changed && (says == connection.RotationKept || says == connection.RotationSingleUse):
		s.see("the record is more careful than the provider here: worth an issue, and no harm")
	}
}

// rotation sends a refresh token once more that was spent, and reports whether the grant outlived that.
func (r *run) rotation(ctx context.Context, s *Step, spent []byte) (alive bool) {
	switch {
	case !r.Reuse:
		s.skip("--rotation sends the old refresh token once more; a provider may take that for theft, and end the grant")
		return true
	case len(spent) == 0 || bytes.Equal(spent, r.held.Refresh()):
		s.skip("there is no old refresh token")
		return true
	}
	g, refusal, sent := r.renew(ctx, s, spent)
	if !sent {
		return true
	}
	says := r.Provider.Summary().Rotation
	if refusal == nil {
		r.take(g)
		s.see("the old refresh token is still good; the record says rotation %s", says)
		if says == connection.RotationSingleUse {
			s.see("that is right when it is within oauth/refresh/reuse of the record; otherwise worth an issue")
		}
		return true
	}
	s.see("the old refresh token is refused; the record says rotation %s", says)
	if says == connection.RotationKept {
		s.fail(meaning(refusal), "a grant, since the record says that the old refresh token stays good")
	}
	g, refusal, sent = r.renew(ctx, s, r.held.Refresh())
	if sent && refusal == nil {
		r.take(g)
		s.see("the new one is still good: the grant outlives a reuse")
		return true
	}
	s.see("the new one is refused too: a reuse ends the grant")
	return false
}

// revoke ends the grant at the provider.
func (r *run) revoke(ctx context.Context, s *Step) {
	if can, otherwise := r.Provider.Revokes(); !can {
		s.skip("the record has no revocation: %s", otherwise)
		return
	}
	request, err := r.Provider.RevokeRequest(ctx, r.client(), r.held)
	if err != nil {
		s.fail(reason(err), "a request that can be built")
		return
	}
	a := r.send(ctx, s, request)
	switch {
	case a.err != nil:
		s.fail("no answer", "one of the statuses of oauth/revoke/done in the record")
	case !r.Provider.Revoked(a.status):
		s.fail("the grant may be there still", "one of the statuses of oauth/revoke/done in the record")
	}
}

// revoked shows how a grant looks that is no more: by a refresh, else by a call.
func (r *run) revoked(ctx context.Context, s *Step) {
	const expected = "revoked"
	if len(r.held.Refresh()) > 0 {
		_, refusal, sent := r.renew(ctx, s, r.held.Refresh())
		switch {
		case !sent:
		case refusal == nil:
			s.fail("the refresh token still works", expected)
		case refusal.Kind != connection.Revoked:
			s.fail(meaning(refusal), expected)
		}
		return
	}
	if r.Tool == nil {
		s.skip("there is neither a refresh token nor a tool to see it by")
		return
	}
	s.see("by %s: there is no refresh token", r.Tool.Name())
	a, failure, bad := r.call(ctx, s)
	switch {
	case s.Status == Failed:
	case a.err != nil:
		s.fail("no answer", expected)
	case !bad:
		s.fail("the access token still works", expected)
	case failure.Kind != connection.Revoked:
		s.fail(string(failure.Kind), expected)
	default:
		s.see("understood: %s", failure.Kind)
	}
}
