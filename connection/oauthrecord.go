package connection

// What a provider record says of grants: how a user's account is connected, kept alive and let go, and how an org's service
// account gets its tokens. All of it is data; no provider has code of its own.

// settingRecord is something of a connection that differs from one to another, and goes into holes such as {subdomain}.
type settingRecord struct {
	// Description for whoever has to say it.
	Description string `yaml:"description"`
	// Pattern is a regular expression that the whole value must match. Required: a setting can choose a host.
	Pattern string `yaml:"pattern"`
	// From is who says it: client (whoever registers the org's client; the default), user (on our page), grant (the token
	// endpoint's answer) or probe (the answer to the probe).
	From string `yaml:"from"`
	// At is where it stands in the answer, a JSON Pointer, for grant and probe.
	At string `yaml:"at"`
	// Default is its value when nobody says one.
	Default string `yaml:"default"`
}

// oauthRecord is the authorization code grant of a provider (RFC 6749 section 4.1).
type oauthRecord struct {
	// Authorize is the authorization request.
	Authorize authorizeRecord `yaml:"authorize"`
	// Token is the token endpoint.
	Token endpointRecord `yaml:"token"`
	// Refresh is the life of a refresh token.
	Refresh refreshRecord `yaml:"refresh"`
	// Response says where the token endpoint's answer has what; {} when it is as in RFC 6749.
	Response responseRecord `yaml:"response"`
	// Variants are other shapes of the answer, each known by what its body holds; the first that fits, before Response.
	Variants []variantRecord `yaml:"variants"`
	// Errors say how the token endpoint's failures are to be read, the first that fits; after them, the rules of RFC 6749.
	// Their kinds are revoked, expired, step_up, operator_config, rate_limited and unavailable.
	Errors []answerRecord `yaml:"errors"`
	// Revoke is how a grant is ended at the provider.
	Revoke *revokeRecord `yaml:"revoke"`
	// NoRevoke says why there is no revoke: what a user has to do at the provider instead.
	NoRevoke string `yaml:"no_revoke"`
	// Scopes are the provider's own scopes that each of the record's scopes needs.
	Scopes map[string][]string `yaml:"scopes"`
	// Always are provider scopes that every grant needs, such as offline_access.
	Always []string `yaml:"always"`
	// Implies says which provider scopes include others.
	Implies map[string][]string `yaml:"implies"`
}

// authorizeRecord is the authorization request.
type authorizeRecord struct {
	// URL is the authorization endpoint. Its holes are settings.
	URL string `yaml:"url"`
	// Params are sent besides those of RFC 6749 and RFC 7636.
	Params map[string]string `yaml:"params"`
	// ScopeParam is the name of the scope parameter: scope when empty. "-" sends none.
	ScopeParam string `yaml:"scope_param"`
	// ScopeSeparator is between scopes: a space when empty.
	ScopeSeparator string `yaml:"scope_separator"`
	// PKCE is S256 (RFC 7636), or none with a reason.
	PKCE string `yaml:"pkce"`
	// NoPKCE is the reason.
	NoPKCE string `yaml:"no_pkce"`
	// Incremental says that a grant adds to the ones before. Otherwise a new grant takes their place, and is asked for with all that
	// they had.
	Incremental bool `yaml:"incremental"`
	// Issuer is what `iss` of the answer must be (RFC 9207). Empty: an answer with iss is held against nothing.
	Issuer string `yaml:"issuer"`
	// IssuerRequired refuses an answer without iss (RFC 9207 section 2.4).
	IssuerRequired bool `yaml:"issuer_required"`
}

// endpointRecord is a token endpoint.
type endpointRecord struct {
	// URL is the endpoint's. Its holes are settings.
	URL string `yaml:"url"`
	// ClientAuth is basic (RFC 6749 section 2.3.1), body (the same section), bearer (the client's secret as a bearer token) or
	// none.
	ClientAuth string `yaml:"client_auth"`
	// Body is form or json.
	Body string `yaml:"body"`
	// Params are sent besides those of the RFC. Their holes are settings and {client_id}.
	Params map[string]string `yaml:"params"`
	// Headers are sent too. No holes.
	Headers map[string]string `yaml:"headers"`
}

// refreshRecord is the life of a refresh token (RFC 6749 section 6).
type refreshRecord struct {
	// URL when it is not the token endpoint.
	URL string `yaml:"url"`
	// Params are sent besides those of RFC 6749.
	Params map[string]string `yaml:"params"`
	// RedirectURI sends redirect_uri too.
	RedirectURI bool `yaml:"redirect_uri"`
	// Rotation says what a refresh does to the refresh token: never (it stays), kept (a new one comes, and the old one stays
	// good), single_use (a new one comes, and the old one is dead), or unknown, which is treated as single_use.
	Rotation string `yaml:"rotation"`
	// Reuse is how long a spent token of single_use still works.
	Reuse string `yaml:"reuse"`
	// Idle is how long a grant lives that nobody uses. It is refreshed well before.
	Idle string `yaml:"idle"`
	// Life is how long a refresh token lives when the answer does not say.
	Life string `yaml:"life"`
}

// responseRecord says where the token endpoint's answer has what. Each is a JSON Pointer; those of RFC 6749 section 5.1 when
// empty.
type responseRecord struct {
	// AccessToken is where the access token is. An answer without one is a failure, whatever its status.
	AccessToken string `yaml:"access_token"`
	// RefreshToken is where the refresh token is. An answer without one leaves the old one in place.
	RefreshToken string `yaml:"refresh_token"`
	// ExpiresIn is where the access token's life is.
	ExpiresIn string `yaml:"expires_in"`
	// ExpiresUnit is seconds (the default), milliseconds, epoch_seconds or rfc3339.
	ExpiresUnit string `yaml:"expires_unit"`
	// RefreshExpiresIn is where the refresh token's life is, in the same unit. Nowhere when empty.
	RefreshExpiresIn string `yaml:"refresh_expires_in"`
	// Scope is where the granted scopes are, one text or a list. Absent in the answer: as asked.
	Scope string `yaml:"scope"`
	// ScopeSeparator is between scopes in the answer: a space when empty.
	ScopeSeparator string `yaml:"scope_separator"`
	// Account is what the user calls the account, such as a workspace's name.
	Account string `yaml:"account"`
	// Life is how long an access token lives when the answer does not say. Absent: until the provider refuses it.
	Life string `yaml:"life"`
}

// variantRecord is an answer of another shape: Slack's to a refresh is not like its first.
type variantRecord struct {
	At       string         `yaml:"at"`       // JSON Pointer
	Value    string         `yaml:"value"`    // the text there
	Response responseRecord `yaml:"response"` // as that of the grant
}

// revokeRecord revokes a grant at the provider (RFC 7009, or the provider's own way).
type revokeRecord struct {
	// URL is the endpoint's. Its holes are settings.
	URL string `yaml:"url"`
	// Method is POST when empty.
	Method string `yaml:"method"`
	// Token is what is revoked: refresh_token (the default; the access token when there is none) or access_token.
	Token string `yaml:"token"`
	// ClientAuth is as for the token endpoint, or token: the token itself as a bearer token.
	ClientAuth string `yaml:"client_auth"`
	// Body is form, json or none.
	Body string `yaml:"body"`
	// Param is the parameter with the token: token when empty. "-" sends none.
	Param string `yaml:"param"`
	// Params are sent too. Their holes are settings and {client_id}.
	Params map[string]string `yaml:"params"`
	// Headers are sent too. No holes.
	Headers map[string]string `yaml:"headers"`
	// Ends is what ends with it: grant (the default), or account: every grant of the account to this client. Then the provider is
	// not asked while another connection of the org lives from one of them.
	Ends string `yaml:"ends"`
	// Done are the statuses that say it is revoked, or was: 200 and 204 when empty.
	Done []int `yaml:"done"`
}

// serviceRecord is how an org's service account gets a token: minted anew each time, never refreshed.
type serviceRecord struct {
	// Grant is the grant_type, such as client_credentials or urn:ietf:params:oauth:grant-type:jwt-bearer. Empty with an
	// assertion that is a bearer or the token itself.
	Grant string `yaml:"grant"`
	// Token is the token endpoint. None when the assertion is the token itself.
	Token endpointRecord `yaml:"token"`
	// Assertion is a JWT that the account's private key signs (RFC 7523). Without one, the credential is the client's secret.
	Assertion *assertionRecord `yaml:"assertion"`
	// Response is as in oauth.
	Response responseRecord `yaml:"response"`
	// Errors are as in oauth.
	Errors []answerRecord `yaml:"errors"`
	// Scopes are as in oauth. They may have holes, which are settings.
	Scopes map[string][]string `yaml:"scopes"`
	// Always is as in oauth. It may have holes, which are settings: the account's name, as in as_account-{account}.
	Always []string `yaml:"always"`
	// ScopeSeparator is between scopes in the request.
	ScopeSeparator string `yaml:"scope_separator"`
	// KeyFile says where a key file in JSON, as the provider hands it out, has the account's name and its secret.
	KeyFile *struct {
		Username string `yaml:"username"` // a JSON Pointer to the account's name
		Secret   string `yaml:"secret"`   // a JSON Pointer to its secret
	} `yaml:"key_file"`
}

// assertionRecord is the JWT. Its members are templates whose holes are settings, {client_id}, {username} and {scope}. A scope goes
// into the request when no member holds it.
type assertionRecord struct {
	// Algorithm is RS256 or ES256.
	Algorithm string `yaml:"algorithm"`
	Issuer    string `yaml:"iss"` // who signs
	Subject   string `yaml:"sub"` // for whom
	Audience  string `yaml:"aud"` // to whom
	KeyID     string `yaml:"kid"` // of the key; no {scope}
	// Claims are more members.
	Claims map[string]string `yaml:"claims"`
	// Life is from now to exp; 5m when empty, 1h at most.
	Life string `yaml:"life"`
	// Backdate is how far iat lies back, for a provider whose clock may be behind ours.
	Backdate string `yaml:"backdate"`
	// Travels is parameter (assertion=; the default), bearer (in Authorization, to the token endpoint), or token (it is the access
	// token, and there is no token endpoint).
	Travels string `yaml:"travels"`
}

// probeRecord is a call that changes nothing, and shows whether a credential is good and whose it is.
type probeRecord struct {
	// Method is GET or HEAD, or POST for a call that changes nothing all the same.
	Method string `yaml:"method"`
	// URL is absolute, at one of the hosts, or a path below base_url.
	URL string `yaml:"url"`
	// Account is what the user calls the account: a JSON Pointer into the answer.
	Account string `yaml:"account"`
}
