package delegation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/onbehalf/obo/jose"
)

// maxContext is the longest tctx or rctx, in bytes.
const maxContext = 4 << 10

// TransactionToken is what a transaction token says beside the access token that it is made of.
type TransactionToken struct {
	Workload string // req_wl: the workload that asked for it
	Context  []byte // rctx: a JSON object about the request, or nil
	Details  []byte // tctx: a JSON object about the transaction, or nil
}

// wireTransaction is the payload of a transaction token (TT2): who and why as an access token says it, so that revocation and
// policy find the same names in both.
type wireTransaction struct {
	wireClaims
	Workloads string         `json:"req_wl,omitempty"`
	Details   jsontext.Value `json:"tctx,omitempty"`
	Context   jsontext.Value `json:"rctx,omitempty"`
}

// TransactionToken makes a transaction token of an approved token whose audience is the trust domain (TT2). It is no access
// token and no credential, so it is bound to no key and nobody can pick it up (TT6). Errors are *LawError.
func (u Unsigned) TransactionToken(t TransactionToken) (Unsigned, error) {
	c, err := u.reform()
	if err != nil {
		return Unsigned{}, err
	}
	c.Confirmation, c.MayAct = nil, nil
	if c.Scope.Empty() {
		return Unsigned{}, unlawful(RuleScope, "a transaction has a purpose")
	}
	w := wireTransaction{wireClaims: *toWire(c), Workloads: t.Workload}
	if w.Details, err = object(t.Details); err != nil || len(w.Details) > maxContext {
		return Unsigned{}, unlawful("tctx", "not a JSON object of at most %d bytes", maxContext)
	}
	if w.Context, err = object(t.Context); err != nil || len(w.Context) > maxContext {
		return Unsigned{}, unlawful("rctx", "not a JSON object of at most %d bytes", maxContext)
	}
	if !isText(t.Workload, maxText) || strings.Contains(t.Workload, workloadSeparator) {
		return Unsigned{}, unlawful("req_wl", "missing or out of form")
	}
	return c.as(TypeTransactionToken, w)
}

// workloadSeparator is between the workloads of req_wl that asked for the token and for its replacements, in order.
const workloadSeparator = ","

// Transaction is a transaction token of ours that a Verifier accepted. The zero Transaction stands for none.
type Transaction struct {
	claims           *Claims
	workloads        string
	details, context jsontext.Value
}

// Claims returns a copy of what it has in common with access tokens.
func (t Transaction) Claims() Claims {
	if t.claims == nil {
		return Claims{}
	}
	return t.claims.clone()
}

// Workloads are those that asked for the token and its replacements, the first one first (req_wl).
func (t Transaction) Workloads() []string {
	if t.workloads == "" {
		return nil
	}
	return strings.Split(t.workloads, workloadSeparator)
}

// Details is tctx, a JSON object, or nil.
func (t Transaction) Details() []byte { return slices.Clone(t.details) }

// Context is rctx, a JSON object, or nil.
func (t Transaction) Context() []byte { return slices.Clone(t.context) }

// VerifyTransaction accepts a transaction token as Verify accepts an access token: by its issuer, its trust domain as the
// audience, its time, and what was revoked. Errors wrap one of the sentinels.
func (v *Verifier) VerifyTransaction(ctx context.Context, token string) (Transaction, error) {
	if len(token) > MaxTokenSize {
		return Transaction{}, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxTokenSize)
	}
	payload, key, err := v.authentic(ctx, token, TypeTransactionToken)
	if err != nil {
		return Transaction{}, err
	}
	c, err := parseClaims(payload, v.config.MaxDepth)
	if err != nil {
		return Transaction{}, err
	}
	var more struct {
		Workloads string         `json:"req_wl"`
		Details   jsontext.Value `json:"tctx"`
		Context   jsontext.Value `json:"rctx"`
	}
	switch err := jose.DecodeClaims(payload, &more); {
	case err != nil || more.Workloads == "":
		return Transaction{}, badClaim("req_wl", "missing, or beside others out of form")
	case c.Issuer != v.config.Issuer:
		return Transaction{}, ErrIssuer
	case !v.config.AnyAudience && c.Audience != v.config.Audience:
		return Transaction{}, ErrAudience
	case c.Confirmation != nil:
		return Transaction{}, ErrBound
	}
	now := v.config.Now()
	if err := v.checkTime(c, now); err != nil {
		return Transaction{}, err
	}
	if err := v.checkRevoked(c, key, now); err != nil {
		return Transaction{}, err
	}
	return Transaction{claims: c, workloads: more.Workloads, details: more.Details, context: more.Context}, nil
}

// Replacement is what a replacement of a transaction token says differently.
type Replacement struct {
	Org      OrgID         // the org of the client that asks
	Workload string        // joins req_wl
	Scope    Scopes        // within that of the token
	ID       string        // a fresh jti
	Now      time.Time     // becomes iat
	Life     time.Duration // the token's expiry may cut it short
}

// Replace makes a replacement that says the same of who and why, and is no wider and lives no longer (TT5). The chain of actors
// stays as it is: a replacement is no delegation. Errors are *LawError.
func (t Transaction) Replace(r Replacement) (Unsigned, error) {
	if t.claims == nil {
		return Unsigned{}, unlawful(RuleUnverified, "the transaction token was not verified")
	}
	c := t.claims.clone()
	switch {
	case r.Org != c.OrgID:
		return Unsigned{}, unlawful(RuleOrg, "the client is of %q, the token of %q", r.Org, c.OrgID)
	case r.Scope.Empty() || !r.Scope.SubsetOf(c.Scope):
		return Unsigned{}, unlawful(RuleScope, "empty, or beyond the token: %s", r.Scope.Without(c.Scope))
	case !isText(r.Workload, maxText) || strings.Contains(r.Workload, workloadSeparator):
		return Unsigned{}, unlawful("req_wl", "missing or out of form")
	case r.Now.IsZero() || r.Life < time.Second || !r.Now.Before(c.Expiry):
		return Unsigned{}, unlawful(RuleExpiry, "the token has expired, or no time is asked for")
	}
	c.Scope = r.Scope
	c.Lineage = append(c.Lineage, c.ID)
	c.ID = r.ID
	c.IssuedAt = r.Now.UTC().Truncate(time.Second)
	c.Expiry = earlier(c.IssuedAt.Add(min(r.Life, maxFormatLife)).Truncate(time.Second), c.Expiry)
	if err := c.check(MaxDepth); err != nil {
		return Unsigned{}, unlawful(RuleFormat, "%v", err)
	}
	return c.as(TypeTransactionToken, wireTransaction{
		wireClaims: *toWire(&c), Workloads: t.workloads + workloadSeparator + r.Workload, Details: t.details, Context: t.context,
	})
}
