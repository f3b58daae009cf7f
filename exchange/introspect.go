package exchange

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/onbehalf/obo/delegation"
	"github.com/onbehalf/obo/jose"
)

// Introspection is what a caller may know of a token (RFC 7662 §2.2).
type Introspection struct {
	Active bool
	Claims []byte // the members as one JSON object, "active" among them
	JWT    string // the same, signed (RFC 9701 §5); empty unless it was asked for
}

// members are those of RFC 7662 §2.2 that we tell. What is not named here is not told: the lineage, the session and the groups
// are between us and the resource that reads the token itself.
type members struct {
	Active       bool            `json:"active"`
	Issuer       json.RawMessage `json:"iss,omitempty"`
	Subject      json.RawMessage `json:"sub,omitempty"`
	Audience     json.RawMessage `json:"aud,omitempty"`
	ClientID     json.RawMessage `json:"client_id,omitempty"`
	OrgID        json.RawMessage `json:"org_id,omitempty"`
	Scope        json.RawMessage `json:"scope,omitempty"`
	TokenType    string          `json:"token_type,omitempty"` // how it is to be presented (DP7)
	Expiry       json.RawMessage `json:"exp,omitempty"`
	IssuedAt     json.RawMessage `json:"iat,omitempty"`
	NotBefore    json.RawMessage `json:"nbf,omitempty"`
	ID           json.RawMessage `json:"jti,omitempty"`
	Transaction  json.RawMessage `json:"txn,omitempty"`
	Actor        json.RawMessage `json:"act,omitempty"`     // as in the token, the whole chain (ACT12)
	MayAct       json.RawMessage `json:"may_act,omitempty"` // ACT12
	Confirmation json.RawMessage `json:"cnf,omitempty"`
	Details      json.RawMessage `json:"authorization_details,omitempty"` // RA6
	ACR          json.RawMessage `json:"acr,omitempty"`
	AMR          json.RawMessage `json:"amr,omitempty"`
	AuthTime     json.RawMessage `json:"auth_time,omitempty"`
}

// inactive is all that is said of a token that is dead, not ours or not the caller's business (IN2).
var inactive = []byte(`{"active":false}`)

// Introspect says what a token of ours is, to the resource that it is for and to those who hold it by right. It asks for no
// proof of possession: the caller does not present the token, it asks about it (DP7). It is not on the trail: it decides nothing.
func (s *Service) Introspect(ctx context.Context, cred Credential, token string, signed bool) (Introspection, error) {
	c, err := s.authenticate(ctx, cred)
	if err != nil {
		return Introspection{}, s.turnedAway(ctx, cred, err)
	}
	if token == "" {
		return Introspection{}, invalid("token", "token is missing") // IN1
	}
	out := Introspection{Claims: inactive}
	v, err := s.cfg.Tokens.Verify(ctx, token)
	switch {
	case err == nil && c.mayKnow(v):
		if out.Claims, err = describeToken(v); err != nil {
			return Introspection{}, refuse(Internal, "", err, "")
		}
		out.Active = true
	case err != nil:
		if _, dead := errors.AsType[flaw](s.verdict(ctx, err)); !dead { // "inactive" would have a good token dropped
			return Introspection{}, s.verdict(ctx, err)
		}
	}
	s.cfg.Log.LogAttrs(ctx, slog.LevelDebug, "introspection",
		slog.String("client_id", c.client.ClientID), slog.Bool("active", out.Active))
	if signed {
		return s.signIntrospection(ctx, c, out)
	}
	return out, nil
}

// mayKnow: the client that the token was issued to, the agent that acts by it, and the introspectors of the resource that it
// is for (IN3). To everybody else, and to every other org, the token does not exist.
func (c caller) mayKnow(v delegation.Verified) bool {
	if v.OrgID() != c.org.ID() {
		return false
	}
	return v.ClientID() == c.client.ClientID || v.Actor() == c.client.ID || c.org.MayIntrospect(v.Audience(), c.client.Name)
}

// describeToken is what is told of a live token.
func describeToken(v delegation.Verified) ([]byte, error) {
	claims := v.Claims()
	payload, err := claims.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var m members
	if err := jose.DecodeClaims(payload, &m); err != nil {
		return nil, err
	}
	m.Active, m.TokenType = true, "Bearer"
	if k := claims.Confirmation; k != nil && k.JKT != "" {
		m.TokenType = "DPoP"
	}
	return jose.Encode(m)
}

// signIntrospection is RFC 9701 §5, for the caller alone.
func (s *Service) signIntrospection(ctx context.Context, c caller, out Introspection) (Introspection, error) {
	u, err := delegation.Introspection{
		Issuer: s.cfg.Issuer, Audience: c.client.ClientID, IssuedAt: s.cfg.Now(), Members: out.Claims,
	}.Unsigned()
	if err != nil {
		return Introspection{}, refuse(Internal, "", err, "")
	}
	if out.JWT, err = s.cfg.Signer.Sign(ctx, u.SignedWith(c.org.SigningAlgorithm())); err != nil {
		if ctx.Err() != nil {
			return Introspection{}, ctx.Err()
		}
		return Introspection{}, unavailable(err, "answers cannot be signed now")
	}
	return out, nil
}
