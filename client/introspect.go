package client

import (
	"context"
	"net/url"
	"time"
)

// rawObject is a JSON value as it came.
type rawObject []byte

// UnmarshalJSON keeps the value.
func (r *rawObject) UnmarshalJSON(data []byte) error {
	*r = append((*r)[:0], data...)
	return nil
}

// Introspection is what the server says of a token (RFC 7662 §2.2). Only Active means anything when it is false.
type Introspection struct {
	Active               bool
	Subject, ClientID    string
	OrgID                string
	Scope                string
	Expiry               time.Time
	TokenType            string
	AuthorizationDetails string // JSON array
	Actor                string // JSON object: the chain (RFC 8693 §4.1)
	Confirmation         string // JSON object: what the token is bound to
}

// Introspect asks whether a token is good, now, for this client. An answer that is kept delays the effect of a revocation, so
// none is kept here.
func (c *Client) Introspect(ctx context.Context, token string) (Introspection, error) {
	var a struct {
		Active   bool      `json:"active"`
		Subject  string    `json:"sub"`
		ClientID string    `json:"client_id"`
		OrgID    string    `json:"org_id"`
		Scope    string    `json:"scope"`
		Expiry   int64     `json:"exp"`
		Type     string    `json:"token_type"`
		Details  rawObject `json:"authorization_details"`
		Actor    rawObject `json:"act"`
		Bound    rawObject `json:"cnf"`
	}
	at := c.door(c.server.IntrospectionEndpoint, c.server.Aliases.IntrospectionEndpoint)
	if err := c.post(ctx, call{at: at, form: about(token)}, &a); err != nil {
		return Introspection{}, err
	}
	if !a.Active {
		return Introspection{}, nil
	}
	out := Introspection{Active: true, Subject: a.Subject, ClientID: a.ClientID, OrgID: a.OrgID, Scope: a.Scope, TokenType: a.Type,
		AuthorizationDetails: string(a.Details), Actor: string(a.Actor), Confirmation: string(a.Bound)}
	if a.Expiry > 0 {
		out.Expiry = time.Unix(a.Expiry, 0)
	}
	return out, nil
}

// Revoke makes a token of this client, and every token that was derived from it, useless (RFC 7009). A token that is none is no
// error.
func (c *Client) Revoke(ctx context.Context, token string) error {
	at := c.door(c.server.RevocationEndpoint, c.server.Aliases.RevocationEndpoint)
	return c.post(ctx, call{at: at, form: about(token)}, nil)
}

func about(token string) func(context.Context) (url.Values, error) {
	return func(context.Context) (url.Values, error) { return url.Values{"token": {token}}, nil }
}
