package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Token is an issued token and what is known of it. The token itself is opaque (AT9).
type Token struct {
	AccessToken          string
	Type                 string // "Bearer", "DPoP" when it is bound to a key, "N_A" when it is no access token (TX13)
	IssuedType           string // what was issued, such as TypeAccessToken
	Expiry               time.Time
	Scope                string // what was granted
	AuthorizationDetails string // JSON array; empty: none
	ActionID             string // under which the audit trail has the decision

	asked time.Time // when it was asked for: its life counts from then
}

// Format keeps the token out of whatever prints it.
func (t Token) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "Token(%s, scope %q, until %s, action %s)", t.Type, t.Scope, t.Expiry.Format(time.RFC3339), t.ActionID)
}

// usable is an error when the token cannot go into a request of this client.
func (c *Client) usable(t Token) error {
	switch {
	case strings.EqualFold(t.Type, "Bearer"), strings.EqualFold(t.Type, "DPoP") && c.dpop != nil:
		return nil
	case strings.EqualFold(t.Type, "DPoP"):
		return errors.New("client: the token is bound to a key, and Config.DPoP is not set")
	}
	return fmt.Errorf("client: a token of type %q is not for use in a request; it goes into another exchange", printable(t.Type))
}

// Exchange sends one request to the token endpoint, and keeps nothing. Token does the same and shares what comes.
func (c *Client) Exchange(ctx context.Context, r Request) (Token, error) {
	asked := c.now()
	var a struct {
		AccessToken          string    `json:"access_token"`
		IssuedType           string    `json:"issued_token_type"`
		Type                 string    `json:"token_type"`
		ExpiresIn            int64     `json:"expires_in"`
		Scope                string    `json:"scope"`
		AuthorizationDetails rawObject `json:"authorization_details"`
		ActionID             string    `json:"action_id"`
	}
	at := c.door(c.server.TokenEndpoint, c.server.Aliases.TokenEndpoint)
	if err := c.post(ctx, call{at: at, form: r.form, prove: c.dpop != nil}, &a); err != nil {
		return Token{}, err
	}
	switch {
	case a.AccessToken == "" || a.Type == "":
		return Token{}, errors.New("client: the answer lacks access_token or token_type")
	case a.ExpiresIn <= 0: // TE14
		return Token{}, errNoLife
	case c.dpop != nil && r.Actor == nil && strings.EqualFold(a.Type, "Bearer"):
		return Token{}, errBearer // DP5; RFC 9449 §5: a server that ignores the proof leaves the token for any thief
	}
	const longest = int64(366 * 24 * time.Hour / time.Second)
	return Token{AccessToken: a.AccessToken, Type: a.Type, IssuedType: a.IssuedType, Scope: a.Scope, ActionID: a.ActionID,
		AuthorizationDetails: string(a.AuthorizationDetails), asked: asked,
		Expiry: asked.Add(time.Duration(min(a.ExpiresIn, longest)) * time.Second)}, nil
}

// ClientCredentials asks for a token of the org's service account (RFC 6749 §4.4), on whose behalf a chain can begin without a
// user.
func (c *Client) ClientCredentials(ctx context.Context, r Request) (Token, error) {
	r.Grant = GrantClientCredentials
	return c.Exchange(ctx, r)
}

// door is the endpoint, or its alias for clients that authenticate by certificate (MT3).
func (c *Client) door(endpoint, alias string) string {
	if _, ok := c.auth.(certificate); ok && alias != "" {
		return alias
	}
	return endpoint
}

// call is one request to an endpoint of the server.
type call struct {
	at    string
	form  func(context.Context) (url.Values, error) // asked again for a second attempt: an assertion is accepted once
	prove bool
}

// post sends a form, and once more when the server asks for a nonce (RFC 9449 §8, DP4).
func (c *Client) post(ctx context.Context, to call, into any) error {
	if to.at == "" {
		return errors.New("client: the server's metadata does not name this endpoint")
	}
	for again := false; ; again = true {
		body, nonce, err := c.once(ctx, to)
		var e *Error
		if !again && nonce && errors.As(err, &e) && e.Code == nonceCode {
			continue
		}
		if err != nil {
			return err
		}
		if into == nil {
			return nil
		}
		if err := decode(body, into); err != nil {
			return fmt.Errorf("client: the answer of %s is not what RFC 6749 section 5.1 says: %w", to.at, err)
		}
		return nil
	}
}

// once sends a form. nonce reports whether the server sent one for next time.
func (c *Client) once(ctx context.Context, to call) (body []byte, nonce bool, err error) {
	form, err := to.form(ctx)
	if err != nil {
		return nil, false, err
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}
	if err := c.auth.authenticate(ctx, c, form, header); err != nil {
		return nil, false, err
	}
	server := "as " + c.server.Issuer
	if to.prove {
		proof, err := c.dpop.Proof(http.MethodPost, to.at, c.nonces.get(server), "")
		if err != nil {
			return nil, false, fmt.Errorf("client: cannot make a proof: %w", err)
		}
		header.Set("DPoP", proof)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.at, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, false, fmt.Errorf("client: %w", err)
	}
	req.Header = header
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, false, fmt.Errorf("client: %w", err)
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, resp.Body, 1<<10)
		_ = resp.Body.Close()
	}()
	nonce = c.nonces.put(server, resp.Header.Values("DPoP-Nonce"))
	if body, err = readAnswer(resp); err != nil {
		return nil, nonce, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nonce, refusal(resp, body, c.now())
	}
	return body, nonce, nil
}
