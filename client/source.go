package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/oauth2"
)

// TokenSource is Token for whoever takes an oauth2.TokenSource. It is cached already: no oauth2.ReuseTokenSource around it. A
// token that is bound to a key needs a proof with each request, which oauth2.Transport does not send: use Transport or PerRPC.
func (c *Client) TokenSource(ctx context.Context, r Request) oauth2.TokenSource {
	return tokenSource{ctx, c, r}
}

type tokenSource struct {
	ctx context.Context
	c   *Client
	r   Request
}

// Format is the client's.
func (s tokenSource) Format(f fmt.State, verb rune) { s.c.Format(f, verb) }

// Token is the token as golang.org/x/oauth2 has it.
func (s tokenSource) Token() (*oauth2.Token, error) {
	t, err := s.c.Token(s.ctx, s.r)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(t.Type, "Bearer") {
		return nil, errors.New("client: an oauth2.TokenSource carries bearer tokens only; use Transport or PerRPC")
	}
	return (&oauth2.Token{AccessToken: t.AccessToken, TokenType: t.Type, Expiry: t.Expiry}).
		WithExtra(map[string]any{"scope": t.Scope, "issued_token_type": t.IssuedType, "action_id": t.ActionID}), nil
}

// AccessToken is a Source of this client's tokens, for the request of the next hop: when that is renewed, so is its subject
// token if need be. Keep it, as any Source.
func (c *Client) AccessToken(r Request) Source {
	return SourceFunc(func(ctx context.Context) (string, error) {
		t, err := c.Token(ctx, r)
		return t.AccessToken, err
	})
}
