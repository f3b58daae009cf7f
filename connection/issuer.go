package connection

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
)

// IssuerClient is the name of the org's client at one of its issuers, where its users sign in to our pages.
func IssuerClient(issuer string) string { return "issuer/" + issuer }

// issuers remember what issuers say of themselves (OpenID Connect Discovery). Trust does not come from it: the token server decides
// whose an ID token is.
type issuers struct {
	mu    sync.Mutex
	known map[string]issuer
}

// issuer is what one says of itself.
type issuer struct {
	endpoint oauth2.Endpoint
	methods  []string
	named    bool // its answers say whose they are (RFC 9207)
	until    time.Time
}

const issuerKept = 10 * time.Minute

// discover reads an issuer's metadata, which must name that very issuer (OpenID Connect Discovery section 4.3).
func (c *Connector) discover(ctx context.Context, url string) (issuer, error) {
	now := c.Now()
	c.issuers.mu.Lock()
	known, ok := c.issuers.known[url]
	c.issuers.mu.Unlock()
	if ok && now.Before(known.until) {
		return known, nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return issuer{}, err
	}
	response, err := c.HTTP.Do(r)
	if err != nil {
		return issuer{}, errors.New("connection: the issuer's metadata cannot be had")
	}
	defer response.Body.Close()
	body, err := readAll(response.Body, MaxTokenAnswer)
	var said struct {
		Issuer        string   `json:"issuer"`
		Authorization string   `json:"authorization_endpoint"`
		Token         string   `json:"token_endpoint"`
		Methods       []string `json:"token_endpoint_auth_methods_supported"`
		Named         bool     `json:"authorization_response_iss_parameter_supported"`
	}
	switch {
	case err != nil || response.StatusCode != http.StatusOK || jose.Decode(body, &said) != nil:
		return issuer{}, errors.New("connection: the issuer's metadata cannot be read")
	case said.Issuer != url:
		return issuer{}, errors.New("connection: the metadata is another issuer's")
	}
	found := issuer{
		endpoint: oauth2.Endpoint{AuthURL: said.Authorization, TokenURL: said.Token}, methods: said.Methods, named: said.Named,
		until: now.Add(issuerKept),
	}
	for _, endpoint := range []string{found.endpoint.AuthURL, found.endpoint.TokenURL} {
		if _, why := endpointURL(endpoint); why != "" {
			return issuer{}, errors.New("connection: the issuer's metadata has an endpoint that " + why)
		}
	}
	c.issuers.mu.Lock()
	defer c.issuers.mu.Unlock()
	if c.issuers.known == nil || len(c.issuers.known) >= 1000 {
		c.issuers.known = map[string]issuer{}
	}
	c.issuers.known[url] = found
	return found, nil
}

// signIn is one of the org's issuers, as our pages use it.
type signIn struct {
	oauth2.Config
	issuer string
	named  bool
}

// withIssuer lends the org's client at the issuer of a subject.
func (c *Connector) withIssuer(ctx context.Context, org delegation.OrgID, subject string, f func(context.Context, signIn) error) error {
	_, name, _, err := delegation.ParseUserID(subject)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, c.HTTP), sendFor)
	defer cancel()
	return lendClient(ctx, c.Org(org), c.Vault, org, IssuerClient(name), func(client Client) error {
		url := client.Settings["issuer"]
		found, err := c.discover(ctx, url)
		if err != nil {
			return err
		}
		s := signIn{issuer: url, named: found.named, Config: oauth2.Config{
			ClientID: client.ID, ClientSecret: string(client.Secret.Reveal()), Endpoint: found.endpoint, RedirectURL: RedirectURI(c.Origin),
			Scopes: []string{"openid"},
		}}
		// One style, and not the library's trying out, which would spend the code twice.
		s.Endpoint.AuthStyle = oauth2.AuthStyleInParams
		if s.ClientSecret != "" && (len(found.methods) == 0 || slices.Contains(found.methods, "client_secret_basic")) {
			s.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
		}
		return f(ctx, s)
	})
}

// url is where the user's browser goes to sign in (OpenID Connect Core section 3.1.2.1).
func (s signIn) url(a attempt, state string) string {
	return s.AuthCodeURL(state, oauth2.SetAuthURLParam("nonce", a.Nonce), oauth2.S256ChallengeOption(a.Verifier))
}

// idToken spends the code of a sign-in.
func (s signIn) idToken(ctx context.Context, a attempt, code string) (string, error) {
	token, err := s.Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok { // its text quotes the answer
		return "", fmt.Errorf("connection: the issuer's token endpoint answers %s", refused.Response.Status)
	}
	if err != nil {
		return "", errors.New("connection: the issuer's token endpoint does not answer, or not with tokens")
	}
	id, _ := token.Extra("id_token").(string)
	if id == "" {
		return "", errors.New("connection: the issuer gave no ID token")
	}
	return id, nil
}
