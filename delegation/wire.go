package delegation

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/onbehalf/obo/jose"
)

// wireClaims is the payload of a token. Its names are all the names that we ever write.
type wireClaims struct {
	Issuer               string            `json:"iss,omitempty"`
	Audience             string            `json:"aud,omitempty"`
	Subject              string            `json:"sub,omitempty"`
	ClientID             string            `json:"client_id,omitempty"`
	OrgID                OrgID             `json:"org_id,omitempty"`
	Scope                *Scopes           `json:"scope,omitempty"`
	IssuedAt             *numericDate      `json:"iat,omitempty"`
	Expiry               *numericDate      `json:"exp,omitempty"`
	NotBefore            *numericDate      `json:"nbf,omitempty"`
	SubjectIssuedAt      *numericDate      `json:"subject_iat,omitempty"`
	ID                   string            `json:"jti,omitempty"`
	Transaction          string            `json:"txn,omitempty"`
	Actor                *wireActor        `json:"act,omitempty"`
	MayAct               *wireMayAct       `json:"may_act,omitempty"`
	Lineage              []string          `json:"lineage,omitempty"`
	Confirmation         *wireConfirmation `json:"cnf,omitempty"`
	AuthorizationDetails jsontext.Value    `json:"authorization_details,omitempty"`
	ACR                  string            `json:"acr,omitempty"`
	AMR                  []string          `json:"amr,omitempty"`
	AuthTime             *numericDate      `json:"auth_time,omitempty"`
	SessionID            string            `json:"sid,omitempty"`
	Groups               []string          `json:"groups,omitempty"`
}

// wireActor keeps what it does not know, because a chain is handed on as it came (ACT3, ACT7).
type wireActor struct {
	Issuer  string         `json:"iss,omitempty"`
	Subject string         `json:"sub,omitempty"`
	Act     *wireActor     `json:"act,omitempty"`
	Other   jsontext.Value `json:",embed"`
}

// wireMayAct and wireConfirmation are closed: a member that is not understood would be a condition that is not checked.
type wireMayAct struct {
	Issuer  string         `json:"iss,omitempty"`
	Subject string         `json:"sub,omitempty"`
	Other   jsontext.Value `json:",embed"`
}

type wireConfirmation struct {
	JKT   string         `json:"jkt,omitempty"`
	X5T   string         `json:"x5t#S256,omitempty"`
	Other jsontext.Value `json:",embed"`
}

// numericDate is seconds since 1970 (RFC 7519 §2). A fraction is allowed on the way in, and dropped (JW10).
type numericDate int64

// maxDate is the last second of the year 9999.
const maxDate = 253402300799

// UnmarshalJSON refuses what is not a number of the years 1970 to 9999.
func (d *numericDate) UnmarshalJSON(data []byte) error {
	if n, err := strconv.ParseInt(string(data), 10, 64); err == nil && n >= 0 && n <= maxDate {
		*d = numericDate(n)
		return nil
	}
	if len(data) == 0 || data[0] < '0' || data[0] > '9' {
		return errors.New("not a NumericDate")
	}
	f, err := strconv.ParseFloat(string(data), 64)
	if err != nil || f > maxDate {
		return errors.New("not a NumericDate")
	}
	*d = numericDate(f)
	return nil
}

func (d *numericDate) time() time.Time {
	if d == nil {
		return time.Time{}
	}
	return time.Unix(int64(*d), 0).UTC()
}

func toDate(t time.Time) *numericDate {
	if t.IsZero() {
		return nil
	}
	d := numericDate(t.Unix())
	return &d
}

func toWire(c *Claims) *wireClaims {
	w := &wireClaims{
		Issuer: c.Issuer, Audience: c.Audience, Subject: c.Subject, ClientID: c.ClientID, OrgID: c.OrgID, Scope: &c.Scope,
		IssuedAt: toDate(c.IssuedAt), Expiry: toDate(c.Expiry), NotBefore: toDate(c.NotBefore),
		SubjectIssuedAt: toDate(c.SubjectIssuedAt),
		ID:              c.ID, Transaction: c.Transaction, Actor: toWireActor(c.Actor), Lineage: c.Lineage,
		AuthorizationDetails: c.AuthorizationDetails,
		ACR:                  c.ACR, AMR: c.AMR, AuthTime: toDate(c.AuthTime), SessionID: c.SessionID, Groups: c.Groups,
	}
	if c.MayAct != nil {
		w.MayAct = &wireMayAct{Issuer: c.MayAct.Issuer, Subject: c.MayAct.Subject}
	}
	if c.Confirmation != nil {
		w.Confirmation = &wireConfirmation{JKT: c.Confirmation.JKT, X5T: c.Confirmation.X5T}
	}
	return w
}

func toWireActor(a *Actor) *wireActor {
	if a == nil {
		return nil
	}
	return &wireActor{Issuer: a.Issuer, Subject: a.Subject, Act: toWireActor(a.Act), Other: a.Other}
}

func fromWireActor(w *wireActor) *Actor {
	if w == nil {
		return nil
	}
	return &Actor{Issuer: w.Issuer, Subject: w.Subject, Act: fromWireActor(w.Act), Other: w.Other}
}

// parseClaims reads a payload and judges all that can be judged without a clock and without knowing who asks.
func parseClaims(payload []byte, maxDepth int) (*Claims, error) {
	var w wireClaims
	if err := jose.DecodeClaims(payload, &w); err != nil {
		return nil, wireError(err)
	}
	c := &Claims{
		Issuer: w.Issuer, Audience: w.Audience, Subject: w.Subject, ClientID: w.ClientID, OrgID: w.OrgID,
		IssuedAt: w.IssuedAt.time(), Expiry: w.Expiry.time(), NotBefore: w.NotBefore.time(),
		SubjectIssuedAt: w.SubjectIssuedAt.time(),
		ID:              w.ID, Transaction: w.Transaction, Actor: fromWireActor(w.Actor), Lineage: w.Lineage,
		AuthorizationDetails: w.AuthorizationDetails,
		ACR:                  w.ACR, AMR: w.AMR, AuthTime: w.AuthTime.time(), SessionID: w.SessionID, Groups: w.Groups,
	}
	if w.Scope != nil {
		if w.Scope.Empty() {
			return nil, badClaim(RuleScope, "empty")
		}
		c.Scope = *w.Scope
	}
	if m := w.MayAct; m != nil {
		if m.Other != nil {
			return nil, badClaim("may_act", "unknown member")
		}
		c.MayAct = &MayAct{Issuer: m.Issuer, Subject: m.Subject}
	}
	if k := w.Confirmation; k != nil {
		if k.Other != nil {
			return nil, badClaim(RuleBinding, "unknown member")
		}
		c.Confirmation = &Confirmation{JKT: k.JKT, X5T: k.X5T}
	}
	if err := c.check(maxDepth); err != nil {
		return nil, err
	}
	return c, nil
}

// wireError tells JSON that is broken or has two meanings from JSON that says the wrong thing, and names the claim.
func wireError(err error) error {
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if _, syntactic := errors.AsType[*jsontext.SyntacticError](err); !ok || syntactic || semantic.JSONPointer == "" {
		return fmt.Errorf("%w: claims: %w", ErrMalformed, err)
	}
	for claim := range semantic.JSONPointer.Tokens() {
		e := badClaim(claim, "of the wrong kind")
		if claim == RuleAct {
			e.kind = ErrChain
		}
		return e
	}
	return ErrMalformed
}
