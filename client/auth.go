package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/onbehalf/obo/jose"
)

// Authentication is how a client proves who it is. Certificate, Workload and SPIFFE need no secret at rest: prefer them.
type Authentication interface {
	// authenticate adds the proof to one request. It is asked for each: an assertion is accepted once.
	authenticate(ctx context.Context, c *Client, form url.Values, header http.Header) error
}

// The types of client assertions (RFC 7523 §2.2 and its profile for SPIFFE).
const (
	assertionJWT    = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	assertionSPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
)

// Certificate authenticates by the TLS certificate that Config.HTTP presents: tls_client_auth, self_signed_tls_client_auth
// (RFC 8705 §2) or an X509-SVID.
func Certificate() Authentication { return certificate{} }

type certificate struct{}

func (certificate) authenticate(_ context.Context, c *Client, form url.Values, _ http.Header) error {
	form.Set("client_id", c.id) // CA7
	return nil
}

// Workload authenticates by the token that the platform gives the workload, such as a projected Kubernetes service-account
// token or a CI job's ID token: the org registers the platform as a workload issuer. token is called for each request, since
// the platform renews it.
func Workload(token func(context.Context) (string, error)) Authentication {
	return workload{token, assertionJWT}
}

// SPIFFE authenticates by a JWT-SVID whose audience is the issuer (CA10). token is called for each request.
func SPIFFE(token func(context.Context) (string, error)) Authentication {
	return workload{token, assertionSPIFFE}
}

type workload struct {
	token func(context.Context) (string, error)
	kind  string
}

func (w workload) authenticate(ctx context.Context, c *Client, form url.Values, _ http.Header) error {
	token, err := w.token(ctx)
	if err != nil {
		return fmt.Errorf("client: cannot get the workload's own token: %w", err)
	}
	form.Set("client_id", c.id)
	form.Set("client_assertion_type", w.kind)
	form.Set("client_assertion", token)
	return nil
}

// PrivateKey authenticates by assertions that the key signs (private_key_jwt; RFC 7523 §2.2). The org has its public part.
func PrivateKey(key jose.Signer) Authentication { return privateKey{key.Sign} }

type privateKey struct {
	sign func(typ string, payload []byte) (string, error)
}

func (p privateKey) authenticate(_ context.Context, c *Client, form url.Values, _ http.Header) error {
	assertion, err := p.assert(c, "client-authentication+jwt", "") // CA5
	if err != nil {
		return err
	}
	form.Set("client_id", c.id)
	form.Set("client_assertion_type", assertionJWT)
	form.Set("client_assertion", assertion)
	return nil
}

// assertionLife is short: an assertion is used at once. The server takes at most 5 minutes (CA3).
const assertionLife = time.Minute

// assert signs a statement that this client is who it is. Its one audience is the issuer (CA4).
func (p privateKey) assert(c *Client, typ, jkt string) (string, error) {
	now := c.now()
	claims := assertion{Issuer: c.id, Subject: c.id, Audience: c.server.Issuer, IssuedAt: now.Unix(),
		Expiry: now.Add(assertionLife).Unix(), ID: rand.Text()}
	if jkt != "" {
		claims.Confirmation = &confirmation{jkt}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("client: cannot write the assertion: %w", err)
	}
	token, err := p.sign(typ, payload)
	if err != nil {
		return "", fmt.Errorf("client: cannot sign the assertion: %w", err)
	}
	return token, nil
}

type assertion struct {
	Issuer       string        `json:"iss"`
	Subject      string        `json:"sub"`
	Audience     string        `json:"aud"`
	IssuedAt     int64         `json:"iat"`
	Expiry       int64         `json:"exp"`
	ID           string        `json:"jti"`
	Confirmation *confirmation `json:"cnf,omitempty"`
}

type confirmation struct {
	JKT string `json:"jkt"`
}

// ActorToken is a fresh statement that this client's agent will act: what a subagent gives to the orchestrator that hands
// over to it (RFC 8693 §2.1, actor_token; its type is TypeJWT). It is accepted once and good for a minute. With DPoP it names
// the key that the new token is to be bound to. The client must authenticate by PrivateKey; a workload gives its own token.
func (c *Client) ActorToken() (string, error) {
	key, ok := c.auth.(privateKey)
	if !ok {
		return "", errors.New("client: an actor token is signed by the agent's own key: use PrivateKey")
	}
	jkt := ""
	if c.dpop != nil {
		jkt = c.dpop.Thumbprint()
	}
	return key.assert(c, "actor-assertion+jwt", jkt) // JW4: whoever it is given to cannot authenticate with it
}

// Secret authenticates by a client secret in the Authorization header (client_secret_basic). It is the last choice: a secret
// lies somewhere, and is good until somebody changes it.
func Secret(secret string) Authentication { return basic{func() string { return secret }} }

// basic holds its secret in a function, as static does its token.
type basic struct{ secret func() string }

// authenticate form-encodes both before base64 (RFC 6749 §2.3.1, CA1).
func (b basic) authenticate(_ context.Context, c *Client, _ url.Values, header http.Header) error {
	r := http.Request{Header: header}
	r.SetBasicAuth(url.QueryEscape(c.id), url.QueryEscape(b.secret()))
	return nil
}
