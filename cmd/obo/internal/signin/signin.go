// Package signin signs a person in at an OpenID provider by the browser: the authorization code flow of a native app (RFC 8252)
// with PKCE (RFC 7636), state, nonce and the provider's own name in its answer (RFC 9207). The answer comes to a listener on
// loopback that takes one request and ends.
package signin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/onbehalf/obo/cmd/obo/internal/explain"
	"github.com/onbehalf/obo/cmd/obo/internal/remote"
	"github.com/onbehalf/obo/cmd/obo/internal/render"
	"github.com/onbehalf/obo/telemetry"
)

// Provider is where somebody signs in, and as which application.
type Provider struct {
	Issuer   string   `json:"issuer"`
	ClientID string   `json:"client_id"` // of a public client: it has no secret
	Scopes   []string `json:"scopes,omitempty"`
}

// Browser is what a sign-in needs from the machine.
type Browser struct {
	Port   int              // of the redirect URI; 0: any that is free
	Within time.Duration    // how long the person may take
	Show   func(url string) // lets the person's browser open it; returns at once
}

// ask bounds one request to the provider, and maxAnswer what it may answer with.
const (
	ask       = 30 * time.Second
	maxAnswer = 1 << 20
)

// IDToken signs a person in and returns the ID token, whose nonce is the one that was asked for. Errors are problems for a person.
func IDToken(ctx context.Context, p Provider, b Browser) (telemetry.Secret, error) {
	if err := secure("the provider's issuer", p.Issuer); err != nil {
		return "", err
	}
	ctx = oidc.ClientContext(ctx, client())
	provider, err := discover(ctx, p)
	if err != nil {
		return "", err
	}
	listening, err := Listen(ctx, b.Port)
	if err != nil {
		return "", err
	}
	defer listening.Close()
	config := oauth2.Config{
		ClientID: p.ClientID, Endpoint: provider.Endpoint(), RedirectURL: listening.redirect, Scopes: scopes(p.Scopes),
	}
	config.Endpoint.AuthStyle = oauth2.AuthStyleInParams // a public client; to try out another style would use the code up
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	b.Show(config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)))

	wait, cancel := context.WithTimeout(ctx, b.Within)
	defer cancel()
	answer, err := listening.Wait(wait)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", &explain.Problem{What: "nobody signed in", Why: fmt.Sprintf("the browser did not come back within %s", b.Within),
			Do: "run it again; over SSH, where a browser elsewhere cannot come back, use --token-file", Code: explain.Failed}
	}
	expected := expectation{state: state, issuer: p.Issuer, named: provider.named}
	code, err := expected.read(answer)
	if err != nil {
		return "", err
	}
	return redeem(ctx, provider, &config, code, verifier, nonce)
}

// redeem gets the ID token for the code. That its issuer, audience, signature and time are right is checked here, so that the
// error is one for a person; the token server judges by its own registration and trusts nothing of this.
func redeem(ctx context.Context, p *described, c *oauth2.Config, code, verifier, nonce string) (telemetry.Secret, error) {
	token, err := c.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return "", unredeemed(err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok || raw == "" {
		return "", refused("it answered without an ID token", "let its registration of the client offer the scope openid")
	}
	id, err := p.VerifierContext(ctx, &oidc.Config{ClientID: c.ClientID}).Verify(ctx, raw)
	if err != nil {
		return "", refused("its ID token is not a good one: "+render.Clean(err.Error()), "check --oidc-issuer and --client-id")
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1 { // a token of another sign-in was put in
		return "", refused("its ID token is not of this sign-in (nonce)",
			"run it again; if it persists, somebody is between you and the provider")
	}
	return telemetry.Secret(raw), nil
}

// described is a provider and what its metadata says beyond go-oidc's.
type described struct {
	*oidc.Provider
	named bool // its answers say whose they are
}

func discover(ctx context.Context, p Provider) (*described, error) {
	provider, err := oidc.NewProvider(ctx, p.Issuer)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &explain.Problem{What: "cannot use the OpenID provider " + p.Issuer, Why: render.Clean(err.Error()),
			Do:   "check --oidc-issuer: below it there must be /.well-known/openid-configuration, and in that the very same issuer",
			Code: explain.Unavailable}
	}
	var m struct {
		Named      bool     `json:"authorization_response_iss_parameter_supported"`
		Challenges []string `json:"code_challenge_methods_supported"`
	}
	if err := provider.Claims(&m); err != nil {
		return nil, refused("its metadata is malformed", "")
	}
	// Many a provider leaves the list out and takes S256 all the same. One that has a list without it does not.
	if m.Challenges != nil && !slices.Contains(m.Challenges, "S256") {
		return nil, refused("it does not offer PKCE with S256", "use another provider, or --token-file with an ID token")
	}
	for what, at := range map[string]string{
		"its authorization endpoint": provider.Endpoint().AuthURL, "its token endpoint": provider.Endpoint().TokenURL,
	} {
		if err := secure(what, at); err != nil {
			return nil, err
		}
	}
	return &described{provider, m.Named}, nil
}

// secure wants https, or http on loopback.
func secure(what, at string) error {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !remote.Loopback(u.Hostname())) {
		return explain.Misuse("cannot sign in", what+" is not an https URL: "+render.Clean(at),
			"give --oidc-issuer the https URL of your provider")
	}
	return nil
}

func scopes(more []string) []string {
	out := []string{oidc.ScopeOpenID}
	for _, s := range more {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func refused(why, do string) error {
	return &explain.Problem{What: "the OpenID provider did not sign you in", Why: why, Do: do, Code: explain.Refused}
}

// unredeemed explains a token endpoint's refusal. Its body is left out: nobody knows what it repeats.
func unredeemed(err error) error {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return explain.Of("cannot reach the OpenID provider's token endpoint", err)
	}
	why := fmt.Sprintf("its token endpoint answered %s", e.Response.Status)
	if e.ErrorCode != "" {
		why += ", " + render.Clean(e.ErrorCode)
	}
	do := "register the client as a public one (native app, no secret) with PKCE"
	if e.ErrorCode == "invalid_grant" {
		do = "run it again: a code is good once and for a short time"
	}
	return refused(why, do)
}

// client talks to the provider: no redirects, and no answer without an end.
func client() *http.Client {
	return &http.Client{
		Timeout: ask, Transport: bounded{http.DefaultTransport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}
