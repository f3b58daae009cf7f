package connection

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/delegation"
)

// endpoint is a checked endpointRecord, or another of its kind.
type endpoint struct {
	url        template
	method     string
	clientAuth string
	body       string
	params     []member
	headers    http.Header
}

// grantRules is a checked oauthRecord.
type grantRules struct {
	authorize      endpoint // GET, without client authentication
	scopeParam     string
	scopeSeparator string
	pkce           bool
	incremental    bool
	issuer         string
	issuerRequired bool

	token       endpoint
	refresh     endpoint
	redirectURI bool
	rotation    Rotation
	reuse       time.Duration
	idle        time.Duration
	life        time.Duration

	response responseRules
	variants []variantRules
	revoke   *revokeRules
	noRevoke string
	scopes   scopeRules
}

// scopeRules say which of the provider's scopes are needed for ours.
type scopeRules struct {
	needs   map[string][]string
	always  []string
	implies map[string][]string
}

// responseRules is a checked responseRecord with the rules for failures.
type responseRules struct {
	responseRecord
	life   time.Duration
	errors []answerRule
}

type variantRules struct {
	at, value string
	response  responseRules
}

type revokeRules struct {
	endpoint
	access  bool // the access token, not the refresh token
	param   string
	account bool // all grants of the account end
	done    []int
}

// serviceRules is a checked serviceRecord.
type serviceRules struct {
	grant          string
	token          endpoint
	assertion      *assertionRules
	response       responseRules
	scopes         scopeRules
	scopeSeparator string
	keyFile        struct{ username, secret string }
}

type assertionRules struct {
	algorithm string
	members   []member // iss, sub, aud and the record's own
	keyID     template
	life      time.Duration
	backdate  time.Duration
	scoped    bool // a member holds the scope
	travels   string
}

// Rotation is what a refresh does to the refresh token that it spends.
type Rotation string

// The rotations.
const (
	RotationNever     Rotation = "never"      // it stays the grant's
	RotationKept      Rotation = "kept"       // a new one comes, and the old one stays good
	RotationSingleUse Rotation = "single_use" // a new one comes, and the old one is dead
	RotationUnknown   Rotation = "unknown"    // treated as single use
)

// grantKinds are what a token endpoint's failure can mean.
var grantKinds = []Kind{Revoked, Expired, StepUp, OperatorConfig, RateLimited, Unavailable}

const maxGrantLife = 10 * 365 * 24 * time.Hour

// buildGrants checks what the record says of grants and service accounts.
func (r record) buildGrants(out *Provider, p *problems) {
	_, wanted := r.Auth[OAuth]
	if wanted != (r.OAuth != nil) {
		p.add("oauth", "and auth/oauth belong together")
	}
	_, wanted = r.Auth[ServiceAccount]
	if wanted != (r.Service != nil) {
		p.add("service", "and auth/service_account belong together")
	}
	if r.OAuth != nil {
		out.oauth = r.OAuth.rules(r, out, p)
	}
	if r.Service != nil {
		out.service = r.Service.rules(r, out, p)
	}
	if r.Probe != nil {
		if !slices.Contains([]string{"GET", "HEAD", "POST"}, r.Probe.Method) {
			p.add("probe/method", "must be GET, HEAD, or POST for a call that changes nothing all the same")
		}
		if t, err := parseTemplate(r.Probe.URL); err != nil || !strings.HasPrefix(r.Probe.URL, "/") && !strings.HasPrefix(r.Probe.URL, "https://") {
			p.add("probe/url", "must be a path below base_url, or an https URL at one of the hosts")
		} else {
			out.knows("probe/url", t, p)
		}
		if !validPointer(r.Probe.Account) {
			p.add("probe/account", "must be a JSON Pointer")
		}
	}
}

func (o oauthRecord) rules(r record, out *Provider, p *problems) *grantRules {
	g := &grantRules{
		scopeParam: cmp.Or(o.Authorize.ScopeParam, "scope"), scopeSeparator: cmp.Or(o.Authorize.ScopeSeparator, " "),
		pkce: o.Authorize.PKCE == "S256", incremental: o.Authorize.Incremental, issuer: o.Authorize.Issuer, issuerRequired: o.Authorize.IssuerRequired,
		redirectURI: o.Refresh.RedirectURI, rotation: Rotation(o.Refresh.Rotation), noRevoke: o.NoRevoke,
	}
	g.authorize = endpoint{method: http.MethodGet}
	g.authorize.url = out.webURL("oauth/authorize/url", o.Authorize.URL, p)
	g.authorize.params = out.params("oauth/authorize/params", o.Authorize.Params, p)
	switch {
	case o.Authorize.PKCE != "S256" && o.Authorize.PKCE != "none":
		p.add("oauth/authorize/pkce", "must be S256, or none with a reason in no_pkce")
	case (o.Authorize.PKCE == "none") != (strings.TrimSpace(o.Authorize.NoPKCE) != ""):
		p.add("oauth/authorize/no_pkce", "must say why, when pkce is none, and only then")
	}
	if o.Authorize.IssuerRequired && o.Authorize.Issuer == "" {
		p.add("oauth/authorize/issuer", "must be there for issuer_required")
	}
	g.token = out.endpoint("oauth/token", o.Token, p)
	again := o.Token
	again.URL, again.Params = cmp.Or(o.Refresh.URL, o.Token.URL), o.Refresh.Params
	g.refresh = out.endpoint("oauth/refresh", again, p)
	if !slices.Contains([]Rotation{RotationNever, RotationKept, RotationSingleUse, RotationUnknown}, g.rotation) {
		p.add("oauth/refresh/rotation", "must be never, kept, single_use or unknown")
	}
	g.reuse = span("oauth/refresh/reuse", o.Refresh.Reuse, p)
	g.idle = span("oauth/refresh/idle", o.Refresh.Idle, p)
	g.life = span("oauth/refresh/life", o.Refresh.Life, p)
	if g.reuse > 0 && g.rotation != RotationSingleUse {
		p.add("oauth/refresh/reuse", "is for single_use")
	}
	g.response = o.Response.rules("oauth", o.Errors, p)
	for i, v := range o.Variants {
		place := fmt.Sprintf("oauth/variants/%d", i)
		if !validPointer(v.At) || v.At == "" || v.Value == "" {
			p.add(place, "must say by which text it is known: at, a JSON Pointer, and value")
		}
		g.variants = append(g.variants, variantRules{v.At, v.Value, v.Response.rules(place, o.Errors, p)})
	}
	if (o.Revoke == nil) != (strings.TrimSpace(o.NoRevoke) != "") {
		p.add("oauth/no_revoke", "must say what the user has to do at the provider, when there is no revoke, and only then")
	}
	if o.Revoke != nil {
		g.revoke = o.Revoke.rules(out, p)
	}
	g.scopes = scopes("oauth", r, o.Scopes, o.Always, o.Implies, p)
	return g
}

func (o responseRecord) rules(place string, failures []answerRecord, p *problems) responseRules {
	o.AccessToken = cmp.Or(o.AccessToken, "/access_token")
	o.RefreshToken = cmp.Or(o.RefreshToken, "/refresh_token")
	o.ExpiresIn = cmp.Or(o.ExpiresIn, "/expires_in")
	o.Scope = cmp.Or(o.Scope, "/scope")
	o.ScopeSeparator = cmp.Or(o.ScopeSeparator, " ")
	o.ExpiresUnit = cmp.Or(o.ExpiresUnit, "seconds")
	for name, pointer := range map[string]string{
		"access_token": o.AccessToken, "refresh_token": o.RefreshToken, "expires_in": o.ExpiresIn,
		"refresh_expires_in": o.RefreshExpiresIn, "scope": o.Scope, "account": o.Account,
	} {
		if !validPointer(pointer) {
			p.add(place+"/response/"+name, "must be a JSON Pointer")
		}
	}
	if !slices.Contains([]string{"seconds", "milliseconds", "epoch_seconds", "rfc3339"}, o.ExpiresUnit) {
		p.add(place+"/response/expires_unit", "must be seconds, milliseconds, epoch_seconds or rfc3339")
	}
	return responseRules{o, span(place+"/response/life", o.Life, p), answerRules(place+"/errors", failures, grantKinds, p)}
}

func (o revokeRecord) rules(out *Provider, p *problems) *revokeRules {
	e := endpoint{method: cmp.Or(o.Method, http.MethodPost), clientAuth: o.ClientAuth, body: o.Body}
	e.url = out.webURL("oauth/revoke/url", o.URL, p)
	e.params = out.params("oauth/revoke/params", o.Params, p)
	e.headers = fixedHeaders("oauth/revoke/headers", o.Headers, p)
	if !slices.Contains([]string{"GET", "POST", "DELETE"}, e.method) {
		p.add("oauth/revoke/method", "must be POST, DELETE or GET")
	}
	if !slices.Contains([]string{"basic", "body", "bearer", "none", "token"}, e.clientAuth) {
		p.add("oauth/revoke/client_auth", "must be basic, body, bearer, none or token")
	}
	if !slices.Contains([]string{"form", "json", "none"}, e.body) {
		p.add("oauth/revoke/body", "must be form, json or none")
	}
	if e.body == "none" && e.clientAuth == "body" {
		p.add("oauth/revoke/body", "must be there for client_auth body")
	}
	if o.Token != "" && o.Token != "refresh_token" && o.Token != "access_token" {
		p.add("oauth/revoke/token", "must be refresh_token or access_token")
	}
	if o.Ends != "" && o.Ends != "grant" && o.Ends != "account" {
		p.add("oauth/revoke/ends", "must be grant or account")
	}
	done := o.Done
	if len(done) == 0 {
		done = []int{http.StatusOK, http.StatusNoContent}
	}
	return &revokeRules{
		endpoint: e, access: o.Token == "access_token", param: cmp.Or(o.Param, "token"), account: o.Ends == "account", done: done,
	}
}

func (o serviceRecord) rules(r record, out *Provider, p *problems) *serviceRules {
	s := &serviceRules{grant: o.Grant, scopeSeparator: cmp.Or(o.ScopeSeparator, " ")}
	selfMade := o.Assertion != nil && o.Assertion.Travels == "token"
	if !selfMade {
		s.token = out.endpoint("service/token", o.Token, p)
	}
	bearer := o.Assertion != nil && o.Assertion.Travels == "bearer"
	if (o.Grant == "") != (selfMade || bearer) {
		p.add("service/grant", "must be the grant_type, unless the assertion travels as bearer or token")
	}
	if o.Assertion != nil {
		s.assertion = o.Assertion.rules(out, p)
	}
	s.response = o.Response.rules("service", o.Errors, p)
	s.scopes = scopes("service", r, o.Scopes, o.Always, nil, p)
	for _, theirs := range s.scopes.requested(slices.Sorted(maps.Keys(o.Scopes))) {
		if t, err := parseTemplate(theirs); err != nil {
			p.add("service/scopes", "%q: %v", cut(theirs, 64), err)
		} else {
			out.knows("service/scopes", t, p)
		}
	}
	if o.KeyFile != nil {
		s.keyFile.username, s.keyFile.secret = o.KeyFile.Username, o.KeyFile.Secret
		if !validPointer(s.keyFile.username) || !validPointer(s.keyFile.secret) || s.keyFile.secret == "" {
			p.add("service/key_file", "must be JSON Pointers to username and secret")
		}
	}
	return s
}

func (o assertionRecord) rules(out *Provider, p *problems) *assertionRules {
	a := &assertionRules{algorithm: cmp.Or(o.Algorithm, "RS256"), travels: cmp.Or(o.Travels, "parameter")}
	if a.algorithm != "RS256" && a.algorithm != "ES256" {
		p.add("service/assertion/algorithm", "must be RS256 or ES256")
	}
	if !slices.Contains([]string{"parameter", "bearer", "token"}, a.travels) {
		p.add("service/assertion/travels", "must be parameter, bearer or token")
	}
	claims := maps.Clone(o.Claims)
	if claims == nil {
		claims = map[string]string{}
	}
	for name, text := range map[string]string{"iss": o.Issuer, "sub": o.Subject, "aud": o.Audience} {
		if _, twice := claims[name]; twice {
			p.add("service/assertion/claims/"+name, "has a field of its own")
		}
		if text != "" {
			claims[name] = text
		}
	}
	for _, own := range []string{"iat", "exp", "jti", "nbf"} {
		if _, there := claims[own]; there {
			p.add("service/assertion/claims/"+own, "is not the record's to say")
		}
	}
	var err error
	if a.members, err = members(claims); err != nil {
		p.add("service/assertion", "%v", err)
	}
	for _, m := range a.members {
		out.knows("service/assertion/"+m.name, m.template, p, "client_id", "username", "scope")
		a.scoped = a.scoped || slices.Contains(m.holes, "scope")
	}
	if a.keyID, err = parseTemplate(o.KeyID); err != nil {
		p.add("service/assertion/kid", "%v", err)
	}
	out.knows("service/assertion/kid", a.keyID, p, "client_id", "username")
	if a.life, err = duration(o.Life, 5*time.Minute, time.Hour); err != nil {
		p.add("service/assertion/life", "%v", err)
	}
	if a.backdate, err = duration(o.Backdate, 0, 5*time.Minute); err != nil {
		p.add("service/assertion/backdate", "%v", err)
	}
	return a
}

func (p *Provider) endpoint(place string, e endpointRecord, problems *problems) endpoint {
	out := endpoint{method: http.MethodPost, clientAuth: e.ClientAuth, body: e.Body}
	out.url = p.webURL(place+"/url", e.URL, problems)
	out.params = p.params(place+"/params", e.Params, problems)
	out.headers = fixedHeaders(place+"/headers", e.Headers, problems)
	if !slices.Contains([]string{"basic", "body", "bearer", "none"}, e.ClientAuth) {
		problems.add(place+"/client_auth", "must be basic, body, bearer or none")
	}
	if e.Body != "form" && e.Body != "json" {
		problems.add(place+"/body", "must be form or json")
	}
	return out
}

// webURL checks an endpoint: https (http on loopback), and its holes are settings.
func (p *Provider) webURL(place, text string, problems *problems) template {
	t, err := parseTemplate(text)
	if err != nil {
		problems.add(place, "%v", err)
		return t
	}
	p.knows(place, t, problems, "client_id")
	if len(t.holes) == 0 {
		if _, why := endpointURL(text); why != "" {
			problems.add(place, "%s", why)
		}
	}
	return t
}

func (p *Provider) params(place string, m map[string]string, problems *problems) []member {
	out, err := members(m)
	if err != nil {
		problems.add(place, "%v", err)
	}
	for _, e := range out {
		p.knows(place+"/"+e.name, e.template, problems, "client_id")
		if slices.Contains([]string{"client_id", "client_secret", "code", "state", "redirect_uri", "code_verifier", "code_challenge",
			"refresh_token", "grant_type", "assertion", "scope"}, e.name) {
			problems.add(place+"/"+e.name, "is not the record's to say")
		}
	}
	return out
}

func fixedHeaders(place string, m map[string]string, p *problems) http.Header {
	out := http.Header{}
	for name, value := range m {
		if !headerName(name) || !fieldValue(value) || strings.ContainsAny(value, "{}") {
			p.add(place+"/"+name, "must be a header that a record may set, with printable ASCII and no holes")
		}
		out.Set(name, value)
	}
	return out
}

// scopes checks the map from the record's scopes to the provider's.
func scopes(place string, r record, needs map[string][]string, always []string, implies map[string][]string, p *problems) scopeRules {
	for ours, theirs := range needs {
		if _, known := r.Scopes[ours]; !known {
			p.add(place+"/scopes/"+ours, "is none of the record's scopes")
		}
		for _, s := range theirs {
			if _, err := delegation.NewScopes(s); err != nil {
				p.add(place+"/scopes/"+ours, "%q is no scope (RFC 6749 section 3.3)", cut(s, 64))
			}
		}
	}
	if len(needs) > 0 {
		for ours := range r.Scopes {
			if _, said := needs[ours]; !said {
				p.add(place+"/scopes", "must say what %s needs; [] for nothing", ours)
			}
		}
	}
	return scopeRules{needs, always, implies}
}

// span reads an optional, long duration.
func span(place, text string, p *problems) time.Duration {
	d, err := duration(text, 0, maxGrantLife)
	if err != nil {
		p.add(place, "%v", err)
	}
	return d
}
