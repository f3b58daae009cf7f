package connection

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/jose"
	"github.com/onbehalf/obo/vault"
)

// MaxTokenAnswer is the longest answer of a token endpoint that is read, in bytes.
const MaxTokenAnswer = 64 << 10

// Client is an org's registration at a provider (RFC 6749 section 2), with its secret for as long as it is lent.
type Client struct {
	ID       string
	Secret   vault.Credential // zero for a public client
	Settings map[string]string
}

// Grant is what a token endpoint gave.
type Grant struct {
	Access         []byte
	Refresh        []byte    // nil: none came, and an old one stays
	Expires        time.Time // zero: until the provider refuses it
	RefreshExpires time.Time // zero: not known
	Scopes         []string  // nil: not said, so as asked (RFC 6749 section 5.1)
	Account        string
	Settings       map[string]string // what the answer said of them
}

// Refusal is a token endpoint's failure, with what showed it.
type Refusal struct {
	Failure
	Status int    // 0: no answer
	Code   string // the provider's error code, when it has the form of one
}

// Error implements error.
func (r *Refusal) Error() string {
	return fmt.Sprintf("connection: the token endpoint refuses: %s (%s)", r.Kind, r.Evidence())
}

// Evidence is what showed it, for people: no text of the provider's but its code.
func (r *Refusal) Evidence() string {
	switch {
	case r.Status == 0:
		return "no answer"
	case r.Code == "":
		return fmt.Sprintf("HTTP %d", r.Status)
	}
	return fmt.Sprintf("HTTP %d, %s", r.Status, r.Code)
}

// ErrUnsupported says that the provider's record has no such thing.
var ErrUnsupported = errors.New("connection: the provider's record does not have that")

// Ask is an authorization request (RFC 6749 section 4.1.1).
type Ask struct {
	Scopes      []string // the provider's
	State       string
	Challenge   string // S256 (RFC 7636); empty when the provider's record has no PKCE
	RedirectURI string
}

// AuthorizeURL is where the user's browser goes to grant access.
func (p Provider) AuthorizeURL(c Client, a Ask) (string, error) {
	if p.oauth == nil {
		return "", ErrUnsupported
	}
	u, err := p.endpointURL(p.oauth.authorize.url, c)
	if err != nil {
		return "", err
	}
	q := u.Query()
	if err := p.fillParams(q.Set, p.oauth.authorize.params, c); err != nil {
		return "", err
	}
	q.Set("response_type", "code")
	q.Set("client_id", c.ID)
	q.Set("redirect_uri", a.RedirectURI)
	q.Set("state", a.State)
	if p.oauth.scopeParam != "-" && len(a.Scopes) > 0 {
		q.Set(p.oauth.scopeParam, strings.Join(a.Scopes, p.oauth.scopeSeparator))
	}
	if p.oauth.pkce {
		q.Set("code_challenge", a.Challenge)
		q.Set("code_challenge_method", "S256")
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// PKCE reports whether the authorization request has a code_challenge.
func (p Provider) PKCE() bool { return p.oauth != nil && p.oauth.pkce }

// CheckIssuer holds `iss` of an authorization response against the record (RFC 9207 section 2.4).
func (p Provider) CheckIssuer(iss string) error {
	if p.oauth == nil {
		return ErrUnsupported
	}
	switch {
	case iss == "" && p.oauth.issuerRequired:
		return errors.New("connection: the answer does not say who gives it (RFC 9207)")
	case iss != "" && p.oauth.issuer != "" && iss != p.oauth.issuer:
		return errors.New("connection: the answer is another server's (RFC 9207)")
	}
	return nil
}

// CodeRequest spends an authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
func (p Provider) CodeRequest(ctx context.Context, c Client, code, verifier, redirectURI string) (*http.Request, error) {
	if p.oauth == nil {
		return nil, ErrUnsupported
	}
	f := fields{"grant_type": "authorization_code", "code": code, "redirect_uri": redirectURI}
	if p.oauth.pkce {
		f["code_verifier"] = verifier
	}
	return p.tokenRequest(ctx, p.oauth.token, c, f)
}

// RefreshRequest spends a refresh token (RFC 6749 section 6).
func (p Provider) RefreshRequest(ctx context.Context, c Client, refresh []byte, redirectURI string) (*http.Request, error) {
	if p.oauth == nil {
		return nil, ErrUnsupported
	}
	f := fields{"grant_type": "refresh_token", "refresh_token": string(refresh)}
	if p.oauth.redirectURI {
		f["redirect_uri"] = redirectURI
	}
	return p.tokenRequest(ctx, p.oauth.refresh, c, f)
}

// AuthenticatesClient reports whether the token endpoint wants a client's secret.
func (p Provider) AuthenticatesClient() bool {
	return p.oauth != nil && p.oauth.token.clientAuth != "none"
}

// RevokeRequest revokes a grant at the provider; ErrUnsupported when the record has no way to.
func (p Provider) RevokeRequest(ctx context.Context, c Client, g vault.Credential) (*http.Request, error) {
	if p.oauth == nil || p.oauth.revoke == nil {
		return nil, ErrUnsupported
	}
	rules := p.oauth.revoke
	token := g.Refresh()
	if rules.access || len(token) == 0 {
		token = g.Reveal()
	}
	f := fields{}
	if rules.param != "-" {
		f[rules.param] = string(token)
	}
	r, err := p.tokenRequest(ctx, rules.endpoint, c, f)
	if err == nil && rules.clientAuth == "token" {
		r.Header.Set("Authorization", "Bearer "+string(g.Reveal()))
	}
	return r, err
}

// Revokes reports whether a grant can be revoked at the provider, and if not, what the user has to do there.
func (p Provider) Revokes() (can bool, otherwise string) {
	if p.oauth == nil {
		return false, "nothing: the credential is deleted here; whoever made it ends it at the provider"
	}
	return p.oauth.revoke != nil, p.oauth.noRevoke
}

// Revoked reads the answer to a RevokeRequest.
func (p Provider) Revoked(status int) bool {
	return p.oauth != nil && p.oauth.revoke != nil && slices.Contains(p.oauth.revoke.done, status)
}

// MintRequest asks for a token of a service account. The second result is that token, when the account makes it itself.
func (p Provider) MintRequest(ctx context.Context, c Client, account vault.Credential, scopes []string, now time.Time) (*http.Request, Grant, error) {
	s := p.service
	if s == nil {
		return nil, Grant{}, ErrUnsupported
	}
	f := fields{}
	if s.grant != "" {
		f["grant_type"] = s.grant
	}
	scope, err := p.scopeText(scopes, s.scopeSeparator, c.Settings)
	if err != nil {
		return nil, Grant{}, err
	}
	if s.assertion == nil {
		if scope != "" {
			f["scope"] = scope
		}
		c.ID, c.Secret = account.Username(), account
		r, err := p.tokenRequest(ctx, s.token, c, f)
		return r, Grant{}, err
	}
	signed, expires, err := p.assertion(c, account, scope, now)
	if err != nil {
		return nil, Grant{}, err
	}
	switch s.assertion.travels {
	case "token":
		return nil, Grant{Access: []byte(signed), Expires: expires}, nil
	case "bearer":
		c.ID = "" // the assertion says whose it is, and the body is the provider's own
		r, err := p.tokenRequest(ctx, s.token, c, f)
		if err == nil {
			r.Header.Set("Authorization", "Bearer "+signed)
		}
		return r, Grant{}, err
	}
	f["assertion"] = signed
	if scope != "" && !s.assertion.scoped { // RFC 7521 section 4.1
		f["scope"] = scope
	}
	r, err := p.tokenRequest(ctx, s.token, c, f)
	return r, Grant{}, err
}

// scopeText is the scope parameter, with the settings in it.
func (p *Provider) scopeText(scopes []string, separator string, settings map[string]string) (string, error) {
	out := make([]string, len(scopes))
	for i, s := range scopes {
		t, err := parseTemplate(s)
		if err != nil {
			return "", fmt.Errorf("%w: scope %q: %w", ErrInvalid, cut(s, 64), err)
		}
		if out[i], err = p.fill(t, settings); err != nil {
			return "", err
		}
	}
	return strings.Join(out, separator), nil
}

// assertion is the JWT that the account's private key signs (RFC 7523 section 3).
func (p Provider) assertion(c Client, account vault.Credential, scope string, now time.Time) (string, time.Time, error) {
	a := p.service.assertion
	values := fields{"client_id": c.ID, "username": account.Username(), "scope": scope}
	for name, v := range c.Settings {
		if _, own := values[name]; !own {
			values[name] = v
		}
	}
	expires := now.Add(a.life)
	claims := map[string]any{"iat": now.Add(-a.backdate).Unix(), "exp": expires.Unix()}
	for _, m := range a.members {
		text, err := p.fill(m.template, values)
		if err != nil {
			return "", time.Time{}, err
		}
		if text != "" {
			claims[m.name] = text
		}
	}
	kid, err := p.fill(a.keyID, values)
	if err != nil {
		return "", time.Time{}, err
	}
	payload, err := encodeJSON(claims)
	if err != nil {
		return "", time.Time{}, err
	}
	signed, err := jose.SignAssertion(account.Reveal(), jose.Algorithm(a.algorithm), kid, payload)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%w: the service account's key cannot sign %s", ErrCredential, a.algorithm)
	}
	return signed, expires, nil
}

// fields are the parameters of a token request.
type fields map[string]string

// tokenRequest builds a request to a token endpoint, with the client's authentication in the record's one style: a client that tries
// both styles spends a single-use token twice.
func (p *Provider) tokenRequest(ctx context.Context, e endpoint, c Client, f fields) (*http.Request, error) {
	u, err := p.endpointURL(e.url, c)
	if err != nil {
		return nil, err
	}
	if err := p.fillParams(func(k, v string) { f[k] = v }, e.params, c); err != nil {
		return nil, err
	}
	secret := string(c.Secret.Reveal())
	if e.clientAuth == "body" || e.clientAuth == "none" && e.body != "none" && c.ID != "" {
		f["client_id"] = c.ID
	}
	if e.clientAuth == "body" && secret != "" {
		f["client_secret"] = secret
	}
	var body []byte
	contentType := ""
	switch e.body {
	case "json":
		if body, err = jose.Encode(map[string]string(f)); err != nil {
			return nil, err
		}
		contentType = "application/json"
	case "form":
		form := url.Values{}
		for k, v := range f {
			form.Set(k, v)
		}
		body, contentType = []byte(form.Encode()), "application/x-www-form-urlencoded"
	default: // none: nothing of it may be lost, so it goes into the query, and no secret is among it
		q := u.Query()
		for k, v := range f {
			q.Set(k, v)
		}
		u.RawQuery = q.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, e.method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("connection: the URL cannot be built")
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "obo-executor")
	for name, values := range e.headers {
		r.Header[name] = values
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	switch e.clientAuth {
	case "basic": // RFC 6749 section 2.3.1: each is form-encoded first
		r.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(secret))
	case "bearer":
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	return r, nil
}

func (p *Provider) fillParams(set func(name, value string), params []member, c Client) error {
	values := map[string]string{"client_id": c.ID}
	for name, v := range c.Settings {
		values[name] = v
	}
	for _, m := range params {
		text, err := p.fill(m.template, values)
		if err != nil {
			return err
		}
		set(m.name, text)
	}
	return nil
}

// endpointURL fills and checks an endpoint's URL.
func (p *Provider) endpointURL(t template, c Client) (*url.URL, error) {
	values := maps.Clone(c.Settings)
	if values == nil {
		values = map[string]string{}
	}
	values["client_id"] = escape(c.ID) // it is the administrator's to say, and may hold anything
	text, err := p.fill(t, values)
	if err != nil {
		return nil, err
	}
	u, why := endpointURL(text)
	if why != "" {
		return nil, fmt.Errorf("%w: the settings make an endpoint that %s", ErrInvalid, why)
	}
	return u, nil
}

// endpointURL reads an endpoint's URL, or says what is wrong with it. It may have a query (RFC 6749 section 3.1).
func endpointURL(text string) (*url.URL, string) {
	u, err := url.Parse(text)
	if err != nil || u.Fragment != "" {
		return nil, "must be a URL without a fragment"
	}
	query := u.RawQuery
	u.RawQuery = ""
	base, why := baseURL(u.String())
	if why != "" {
		return nil, why
	}
	base.RawQuery = query
	return base, ""
}

// Requested are the provider's scopes that a tool with these scopes of ours needs, sorted.
func (s scopeRules) requested(ours []string) []string {
	out := slices.Clone(s.always)
	for _, o := range ours {
		out = append(out, s.needs[o]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ScopesFor are the provider's own scopes that scopes of ours need, for a pattern, sorted.
func (p Provider) ScopesFor(pattern Pattern, ours []string) []string {
	switch {
	case pattern == OAuth && p.oauth != nil:
		return p.oauth.scopes.requested(ours)
	case pattern == ServiceAccount && p.service != nil:
		return p.service.scopes.requested(ours)
	}
	return nil
}

// Missing are those of the wanted provider scopes that are not granted, also not by one that implies them.
func (p Provider) Missing(granted, wanted []string) []string {
	if p.oauth == nil {
		return nil
	}
	has := map[string]bool{}
	var add func(s string)
	add = func(s string) {
		if has[s] {
			return
		}
		has[s] = true
		for _, more := range p.oauth.scopes.implies[s] {
			add(more)
		}
	}
	for _, s := range granted {
		add(s)
	}
	var out []string
	for _, s := range wanted {
		if !has[s] && !slices.Contains(p.oauth.scopes.always, s) { // offline_access and its like are seldom told back
			out = append(out, s)
		}
	}
	return out
}

// ServiceKey reads a service account's key file as the provider hands it out, when the record says how; otherwise the secret is
// the file.
func (p Provider) ServiceKey(username string, file []byte) (vault.Credential, error) {
	if p.service == nil || p.service.keyFile.secret == "" || !bytes.HasPrefix(bytes.TrimSpace(file), []byte("{")) {
		return vault.NewCredential(username, file), nil
	}
	tree, err := parseJSON(file, argumentLimits)
	if err != nil {
		return vault.Credential{}, fmt.Errorf("%w: the key file is not JSON that can be read", ErrInvalid)
	}
	secret, _ := textAt(tree, p.service.keyFile.secret)
	if name, ok := textAt(tree, p.service.keyFile.username); ok && username == "" {
		username = name
	}
	if secret == "" {
		return vault.Credential{}, fmt.Errorf("%w: the key file has no %s", ErrInvalid, p.service.keyFile.secret)
	}
	return vault.NewCredential(username, []byte(secret)), nil
}
