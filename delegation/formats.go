package delegation

import (
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/onbehalf/obo/jose"
)

// The typs of the other kinds of JWT that are made of what was approved. Each is accepted in exactly one place, and none where
// an access token is (JW4).
const (
	TypeIDJAG            = "oauth-id-jag+jwt"
	TypeTransactionToken = "txntoken+jwt"
	TypeIntrospection    = "token-introspection+jwt"
)

// maxFormatLife is how long a grant or a transaction token lives: one is spent at once, the other with one call from outside.
const maxFormatLife = 5 * time.Minute

// RuleFormat is the rule that only an approved access token becomes another kind of token.
const RuleFormat = "typ"

// IDJAG is what an identity assertion authorization grant says differently from the access token that it is made of.
type IDJAG struct {
	ClientID  string   // client_id of the agent at the authorization server that the grant is for
	Resources []string // of that server, which the grant is narrowed to; none: no limit but that server's own
}

// wireIDJAG is the payload of a grant (JG3). What is private to us has the name that others read: org_id is tenant (AT8).
type wireIDJAG struct {
	Issuer               string            `json:"iss"`
	Subject              string            `json:"sub"`
	Audience             string            `json:"aud"`
	ClientID             string            `json:"client_id"`
	ID                   string            `json:"jti"`
	Expiry               *numericDate      `json:"exp"`
	IssuedAt             *numericDate      `json:"iat"`
	Scope                Scopes            `json:"scope"`
	Resource             any               `json:"resource,omitempty"` // a string, or an array of several
	Tenant               OrgID             `json:"tenant"`
	Actor                *wireActor        `json:"act"`
	Confirmation         *wireConfirmation `json:"cnf,omitempty"`
	AuthorizationDetails jsontext.Value    `json:"authorization_details,omitempty"`
	AuthTime             *numericDate      `json:"auth_time,omitempty"`
	ACR                  string            `json:"acr,omitempty"`
	AMR                  []string          `json:"amr,omitempty"`
}

// IDJAG makes an identity assertion authorization grant of an approved root whose audience is the other authorization server
// (JG3). A chain cannot be told to that server, so only the first agent gets one. Errors are *LawError.
func (u Unsigned) IDJAG(g IDJAG) (Unsigned, error) {
	c, err := u.reform()
	if err != nil {
		return Unsigned{}, err
	}
	switch _, _, _, notUser := ParseUserID(c.Subject); {
	case c.Depth() != 1 || len(c.Lineage) != 0:
		return Unsigned{}, unlawful(RuleAct, "a grant is for the agent that the user signed in to")
	case notUser != nil:
		return Unsigned{}, unlawful(RuleSubject, "a grant is about a user")
	case c.Audience == c.Issuer:
		return Unsigned{}, unlawful(RuleAudience, "a grant is for another authorization server")
	case !isText(g.ClientID, maxText):
		return Unsigned{}, unlawful(RuleClient, "missing or out of form at the authorization server")
	case slices.ContainsFunc(g.Resources, func(uri string) bool { return !isURI(uri) }):
		return Unsigned{}, unlawful(RuleAudience, "a resource out of form")
	}
	w := toWire(c)
	return c.as(TypeIDJAG, wireIDJAG{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, ClientID: g.ClientID, ID: c.ID, Expiry: w.Expiry,
		IssuedAt: w.IssuedAt, Scope: c.Scope, Resource: oneOrMany(g.Resources), Tenant: c.OrgID, Actor: w.Actor,
		Confirmation:         w.Confirmation,
		AuthorizationDetails: w.AuthorizationDetails, AuthTime: w.AuthTime, ACR: c.ACR, AMR: c.AMR,
	})
}

func oneOrMany(list []string) any {
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return list
}

// reform is a copy of what was approved, to be written as another kind of token. It never lives longer than what was approved.
func (u Unsigned) reform() (*Claims, error) {
	if u.claims == nil || u.payload == nil || u.typ != "" {
		return nil, unlawful(RuleFormat, "only an approved access token becomes another kind of token")
	}
	c := u.claims.clone()
	c.Expiry = earlier(c.IssuedAt.Add(maxFormatLife), c.Expiry)
	return &c, nil
}

// as is the claims, written as another kind of token.
func (c *Claims) as(typ string, wire any) (Unsigned, error) {
	payload, err := jose.Encode(wire)
	if err != nil {
		return Unsigned{}, unlawful(RuleSize, "cannot be written: %v", err)
	}
	if len(payload) > payloadLimit {
		return Unsigned{}, unlawful(RuleSize, "claims of %d bytes: want at most %d", len(payload), payloadLimit)
	}
	return Unsigned{claims: c, payload: payload, typ: typ}, nil
}

// Introspection is the answer of RFC 7662 as a JWT (RFC 9701 §5).
type Introspection struct {
	Issuer   string
	Audience string // the caller's client_id
	IssuedAt time.Time
	Members  []byte // the JSON object of RFC 7662
}

// Unsigned is the answer, to be signed. It has no top-level sub and no exp, so that it cannot pass for an access token (IN7).
// Its size has no limit of its own: it says what a token says, and that has one. Errors are *LawError.
func (i Introspection) Unsigned() (Unsigned, error) {
	members, err := object(i.Members)
	switch {
	case !isURI(i.Issuer):
		return Unsigned{}, unlawful(RuleIssuer, "missing or out of form")
	case !isURI(i.Audience):
		return Unsigned{}, unlawful(RuleAudience, "missing or out of form")
	case i.IssuedAt.IsZero():
		return Unsigned{}, unlawful("iat", "missing")
	case err != nil || members == nil:
		return Unsigned{}, unlawful("token_introspection", "not a JSON object")
	}
	c := &Claims{Issuer: i.Issuer, Audience: i.Audience, IssuedAt: i.IssuedAt.UTC().Truncate(time.Second)}
	payload, err := jose.Encode(struct {
		Issuer   string         `json:"iss"`
		Audience string         `json:"aud"`
		IssuedAt *numericDate   `json:"iat"`
		Members  jsontext.Value `json:"token_introspection"`
	}{c.Issuer, c.Audience, toDate(c.IssuedAt), members})
	if err != nil {
		return Unsigned{}, unlawful("token_introspection", "cannot be written")
	}
	return Unsigned{claims: c, payload: payload, typ: TypeIntrospection}, nil
}

// object reads one JSON object with one meaning, and gives it back in its canonical form (RFC 8785), so that nothing hides in
// escapes. Nothing stays nothing.
func object(raw []byte) (jsontext.Value, error) {
	if raw == nil {
		return nil, nil
	}
	var members map[string]jsontext.Value
	if err := jose.Decode(raw, &members); err != nil || members == nil {
		return nil, ErrMalformed
	}
	v := jsontext.Value(slices.Clone(raw))
	if err := v.Canonicalize(); err != nil {
		return nil, ErrMalformed
	}
	return v, nil
}
