package render

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/onbehalf/obo/jose"
)

// Token is what a token says, not verified: for looking at, never for deciding.
type Token struct {
	Header  map[string]string `json:"header"`
	Claims  json.RawMessage   `json:"claims"`
	Subject string            `json:"subject"`
	Org     string            `json:"org_id,omitempty"`
	Role    string            `json:"role,omitempty"`  // of an administrator
	Chain   []string          `json:"chain,omitempty"` // agents, current actor first
	Scope   []string          `json:"scope,omitempty"`
	Expiry  time.Time         `json:"expires"`

	Issuer      string   `json:"issuer"`
	Audience    string   `json:"audience"`
	ID          string   `json:"token_id"`
	Transaction string   `json:"transaction,omitempty"`
	Lineage     []string `json:"lineage,omitempty"`

	Details, Confirmation, MayAct json.RawMessage `json:"-"` // as in Claims
}

type actor struct {
	Subject string `json:"sub"`
	Act     *actor `json:"act"`
}

type claims struct {
	Issuer      string          `json:"iss"`
	Audience    json.RawMessage `json:"aud"`
	Subject     string          `json:"sub"`
	Org         string          `json:"org_id"`
	Role        string          `json:"role"`
	Scope       string          `json:"scope"`
	Expiry      float64         `json:"exp"`
	ID          string          `json:"jti"`
	Transaction string          `json:"txn"`
	Lineage     []string        `json:"lineage"`
	Act         *actor          `json:"act"`

	Details      json.RawMessage `json:"authorization_details"`
	Confirmation json.RawMessage `json:"cnf"`
	MayAct       json.RawMessage `json:"may_act"`
}

// ParseToken reads a token without verifying it.
func ParseToken(token string) (Token, error) {
	m, err := jose.Parse(token)
	if err != nil {
		return Token{}, err
	}
	var c claims
	if err := jose.Decode(m.UnverifiedPayload(), &c); err != nil {
		return Token{}, err
	}
	t := Token{
		Header: map[string]string{"typ": m.Type(), "alg": string(m.Algorithm()), "kid": m.KeyID()},
		Claims: m.UnverifiedPayload(), Subject: c.Subject, Org: c.Org, Role: c.Role, Scope: strings.Fields(c.Scope),
		Expiry: time.Unix(int64(c.Expiry), 0).UTC(), Issuer: c.Issuer, Audience: strings.Trim(string(c.Audience), `"`),
		ID: c.ID, Transaction: c.Transaction, Lineage: c.Lineage,
		Details: c.Details, Confirmation: c.Confirmation, MayAct: c.MayAct,
	}
	for a := c.Act; a != nil; a = a.Act {
		t.Chain = append(t.Chain, a.Subject)
	}
	return t, nil
}

// Tree draws on whose behalf, and who acts through whom: the user on top, the current actor at the bottom.
func (p Printer) Tree(indent, subject string, chain []string) {
	p.Printf("%s%s  %s\n", indent, p.Bold(Clean(subject)), p.Dim("on whose behalf (sub)"))
	actors := slices.Clone(chain)
	slices.Reverse(actors)
	for depth, a := range actors {
		note := fmt.Sprintf("hop %d", depth+1)
		if depth == len(actors)-1 {
			note += ", acts now (act)"
		}
		p.Printf("%s%s└─ %s  %s\n", indent, strings.Repeat("   ", depth), p.Bold(Clean(a)), p.Dim(note))
	}
}

// Token draws a token.
func (p Printer) Token(indent string, t Token, now time.Time) {
	p.Tree(indent, t.Subject, t.Chain)
	field := func(name, value string) {
		if value != "" {
			p.Printf("%s%-8s %s\n", indent, name, Clean(value))
		}
	}
	field("scope", strings.Join(t.Scope, " "))
	field("details", string(t.Details))
	field("for", t.Audience)
	field("bound to", string(t.Confirmation))
	field("may act", string(t.MayAct))
	field("org", t.Org)
	field("issuer", t.Issuer)
	field("token", t.ID)
	field("txn", t.Transaction)
	field("parents", strings.Join(t.Lineage, " "))
	left := t.Expiry.Sub(now).Round(time.Second)
	if left > 0 {
		field("expires", fmt.Sprintf("in %s (%s)", left, t.Expiry.Format(time.RFC3339)))
		return
	}
	p.Printf("%s%-8s %s\n", indent, "expired", p.Red(fmt.Sprintf("%s ago (%s)", -left, t.Expiry.Format(time.RFC3339))))
}
