package connection

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
)

// IssuerClient is the name of the org's client at one of its issuers, where its users sign in to our pages.
func IssuerClient(issuer string) string { return "issuer/" + issuer }

// issuers remember what issuers say of themselves (OpenID Connect Discovery). Trust does not come from it: the token server decides
// whose an ID token is.
type issuers struct {
	mu    sync.Mutex
	known map[string]issuerMetadata
}

type issuerMetadata struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Methods       []string `json:"token_endpoint_auth_methods_supported"`
	Iss           bool     `json:"authorization_response_iss_parameter_supported"`

	until time.Time
}

const issuerKept = 10 * time.Minute

// metadata is what an issuer says of itself; it must name that very issuer (OpenID Connect Discovery section 4.3).
func (c *Connector) metadata(ctx context.Context, issuer string) (issuerMetadata, error) {
	now := c.Now()
	c.issuers.mu.Lock()
	m, ok := c.issuers.known[issuer]
	c.issuers.mu.Unlock()
	if ok && now.Before(m.until) {
		return m, nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return issuerMetadata{}, err
	}
	body, err := c.fetch(r)
	if err != nil {
		return issuerMetadata{}, fmt.Errorf("connection: the issuer's metadata: %w", err)
	}
	m = issuerMetadata{}
	if err := jose.Decode(body, &m); err != nil {
		return issuerMetadata{}, errors.New("connection: the issuer's metadata cannot be read")
	}
	if m.Issuer != issuer {
		return issuerMetadata{}, errors.New("connection: the metadata is another issuer's")
	}
	for _, endpoint := range []string{m.Authorization, m.Token} {
		if _, why := endpointURL(endpoint); why != "" {
			return issuerMetadata{}, errors.New("connection: the issuer's metadata has an endpoint that " + why)
		}
	}
	m.until = now.Add(issuerKept)
	c.issuers.mu.Lock()
	defer c.issuers.mu.Unlock()
	if c.issuers.known == nil || len(c.issuers.known) >= 1000 {
		c.issuers.known = map[string]issuerMetadata{}
	}
	c.issuers.known[issuer] = m
	return m, nil
}

// fetch makes a request and reads a small answer of status 200.
func (c *Connector) fetch(r *http.Request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(r.Context(), sendFor)
	defer cancel()
	response, err := c.HTTP.Do(r.WithContext(ctx))
	if err != nil {
		return nil, errors.New("no answer")
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxTokenAnswer+1))
	switch {
	case err != nil || len(body) > MaxTokenAnswer:
		return nil, errors.New("the answer cannot be read, or is too long")
	case response.StatusCode != http.StatusOK:
		return body, fmt.Errorf("it answers %d", response.StatusCode)
	}
	return body, nil
}

// signIn is one of the org's issuers, as our pages use it.
type signIn struct {
	client Client
	issuerMetadata
}

// withIssuer lends the org's client at the issuer of a subject.
func (c *Connector) withIssuer(ctx context.Context, org delegation.OrgID, subject string, f func(signIn) error) error {
	_, issuer, _, err := delegation.ParseUserID(subject)
	if err != nil {
		return err
	}
	return lendClient(ctx, c.Org(org), c.Vault, org, IssuerClient(issuer), func(client Client) error {
		m, err := c.metadata(ctx, client.Settings["issuer"])
		if err != nil {
			return err
		}
		return f(signIn{client, m})
	})
}

// signInURL is where the user's browser goes to sign in (OpenID Connect Core section 3.1.2.1).
func (s signIn) url(a attempt, state, redirectURI string) (string, error) {
	u, err := url.Parse(s.Authorization)
	if err != nil {
		return "", err
	}
	q := u.Query()
	for name, value := range map[string]string{
		"response_type": "code", "client_id": s.client.ID, "redirect_uri": redirectURI, "scope": "openid", "state": state,
		"nonce": a.Nonce, "code_challenge": a.challenge(), "code_challenge_method": "S256",
	} {
		q.Set(name, value)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// idToken spends the code of a sign-in.
func (c *Connector) idToken(ctx context.Context, s signIn, a attempt, code string) (string, error) {
	e := endpoint{method: http.MethodPost, clientAuth: "none", body: "form", url: template{literals: []string{s.Token}}}
	if len(s.client.Secret.Reveal()) > 0 {
		e.clientAuth = "basic"
		if len(s.Methods) > 0 && !slices.Contains(s.Methods, "client_secret_basic") {
			e.clientAuth = "body"
		}
	}
	r, err := (&Provider{}).tokenRequest(ctx, e, s.client, fields{
		"grant_type": "authorization_code", "code": code, "redirect_uri": RedirectURI(c.Origin), "code_verifier": a.Verifier,
	})
	if err != nil {
		return "", err
	}
	body, err := c.fetch(r)
	if err != nil {
		return "", fmt.Errorf("connection: the issuer's token endpoint: %w", err)
	}
	var answer struct {
		IDToken string `json:"id_token"`
	}
	if err := jose.Decode(body, &answer); err != nil || answer.IDToken == "" {
		return "", errors.New("connection: the issuer gave no ID token")
	}
	return answer.IDToken, nil
}
